//! What a burst tells is right: as strace says it, and more.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::programs::{Strace, assert_free, of_trace, target, turns};
use crate::tool::{Target, blind_spots, look, run, skipped};

#[test]
fn names_descriptors_and_results_are_those_of_strace() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: what trace says was not compared");
    }
    let steady = target("steady");
    let pid = steady.pid().to_string();
    let strace = Strace::start(steady.pid());
    strace.until_seen("getppid", 20);
    let theirs = turns(strace.end());

    let ran = run(&["trace", &pid, "-d", "1s", "--max-stops", "400", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let document = ran.json();
    let thread = &document["processes"][0]["threads"][0];
    let ours = turns(thread["calls"].as_array().unwrap().iter().filter_map(of_trace).collect());
    assert!(theirs.len() > 2 && ours.len() > 2, "{theirs:?} {ours:?}");
    assert!(theirs.iter().all(|turn| *turn == theirs[0]), "the program is not steady: {theirs:?}");
    for turn in &ours {
        assert_eq!(*turn, theirs[0]);
    }
    // What strace does not know by itself: whose readiness a word in an epoll set is, and that it is one pattern.
    let poll = thread["calls"].as_array().unwrap().iter().find(|call| call["name"] == "epoll_pwait").unwrap();
    let read = thread["calls"].as_array().unwrap().iter().find(|call| call["name"] == "read").unwrap();
    assert_eq!(poll["ready"][0]["fd"], read["fd"]);
    assert_eq!(thread["patterns"].as_array().unwrap().len(), 1, "{}", thread["patterns"]);
    assert_eq!(thread["patterns"][0]["steps"].as_array().unwrap().len(), 9);
    assert_free(steady.pid());
}

/// The story's second trace, alive.
#[test]
fn a_spin_is_one_line_and_names_the_descriptor_that_nobody_reads() {
    let program = "import select\nr, w = os.pipe(); os.write(w, b'x')\np = select.epoll(); p.register(r, 1)\n\
                   sys.stderr.write(f'{r}\\n'); sys.stderr.flush()\nwhile True: p.poll(0.395, 64), os.getpid()";
    let mut command = Command::new("python3");
    let ready = "import os, sys\nprint('ready', flush=True)\n";
    command.args(["-c", &format!("{ready}{program}")]).stderr(std::process::Stdio::piped());
    let mut spin = Target::announced(command);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(spin.child.stderr.take().unwrap()), &mut line)
        .unwrap();
    let fd: i64 = line.trim().parse().unwrap();
    let pid = spin.pid().to_string();
    let more = ["-d", "1s", "--max-stops", "200"];
    let document = run(&[&["trace", &pid, "--format", "json"], &more[..]].concat()).json();
    let process = &document["processes"][0];
    assert_eq!(process["burst"]["detached"], true);
    let pattern = &process["threads"][0]["patterns"][0];
    assert_eq!(pattern["never_taken_in"], serde_json::json!([fd]), "{pattern}");
    assert!(pattern["times"].as_u64().unwrap() > 5, "{pattern}");
    assert_eq!(pattern["steps"][0]["ready"], serde_json::json!([fd]));

    let text = run(&[&["trace", &pid], &more[..]].concat());
    let poll = if std::env::consts::ARCH == "x86_64" { "epoll_wait" } else { "epoll_pwait" };
    assert!(text.stdout.contains(&format!("fd {fd} readable")), "{text:?}");
    assert!(text.stdout.contains(poll) && text.stdout.contains("never read"), "{text:?}");
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 100), "{}", text.stdout);

    let lines = run(&[&["trace", &pid, "--format", "ndjson"], &more[..]].concat());
    let told: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_kind = |kind: &str| told.iter().filter(|line| line["type"] == kind).count();
    assert_eq!((of_kind("meta"), of_kind("process"), of_kind("end")), (1, 1, 1));
    assert!(of_kind("call") > 5);
    assert_free(spin.pid());
}

/// A diagnosis may make one burst, at a thread that runs; what it saw is in the capture.
#[test]
fn a_diagnosis_makes_its_burst_only_when_it_may_and_replays_it() {
    let program = "import select\nr, w = os.pipe(); os.write(w, b'x')\np = select.epoll(); p.register(r, 1)\n\
                   while True: p.poll(0.395, 64), os.getpid()";
    let spin = Target::python("python3", program, &[]);
    let (pid, folder) = (spin.pid().to_string(), tempfile::tempdir().unwrap());
    let capture = folder.path().join("spin.cap");
    let capture = capture.to_str().unwrap();
    let look =
        |level| [pid.as_str(), "--level", level, "--format", "json", "-d", "1s", "--max-duration", "1s"];
    let ran = run(&[&look("burst")[..], &["--save", capture]].concat());
    let document = ran.json();
    let burst = &document["collection"]["burst"];
    // A machine that starves the target leaves it to another verdict, which no burst would change.
    let code = document["processes"][0]["verdict"]["code"].as_str().unwrap();
    let suspect = matches!(code, "hot_spin" | "loop_blocked_on_cpu" | "unknown");
    assert_eq!(burst["used"], suspect, "{code}: {burst}");
    assert_eq!((burst["stops"].as_u64().unwrap() > 0, &burst["detached"]), (suspect, &true.into()));
    assert_free(spin.pid());
    let again = run(&["--replay", capture, "--format", "json"]);
    assert_eq!(again.stdout, ran.stdout);
    let gentle = run(&look("memory")).json();
    assert_eq!(gentle["collection"]["burst"]["used"], false);
}

/// A named pipe is never asked whether it is ready: a look says which command would tell, and that tells.
#[test]
fn a_spin_that_only_a_burst_can_name() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe").to_str().unwrap().to_owned();
    let program = "import asyncio\nasync def main():\n  os.mkfifo(sys.argv[1]); r = os.open(sys.argv[1], os.O_RDWR)\n  \
                   os.write(r, b'x'); asyncio.get_running_loop().add_reader(r, lambda: None)\n  \
                   await asyncio.sleep(3600)\nasyncio.run(main())";
    let spin = Target::python("python3", program, &[&pipe]);
    let (_, gentle) = look(spin.pid(), &[]);
    // A machine that starves the target leaves it to another verdict.
    if gentle["processes"][0]["verdict"]["subcause"] != "zero_timeout" {
        return skipped("the machine had no time for a target that spins");
    }
    let command = format!("stallscope diagnose {} --level burst", spin.pid());
    assert!(blind_spots(&gentle).contains(&command), "{gentle}");
    let (_, told) = look(spin.pid(), &["--level", "burst"]);
    assert!(!blind_spots(&told).contains(&command), "{told}");
    let verdict = &told["processes"][0]["verdict"];
    // The one moment of the burst may find it off the processor.
    if verdict["code"] == "hot_spin" && told["collection"]["burst"]["stops"].as_u64().unwrap() > 20 {
        assert_eq!(verdict["culprit"]["what"], pipe, "{verdict}");
    }
    assert_free(spin.pid());
}
