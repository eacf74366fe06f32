//! Perf events of real processes: the same calls as strace and the other engine tell, without a stop, and what is lost is
//! counted.
//!
//! Each test sees tracefs in a mount namespace of its own thread, which the programs that it starts inherit: nothing is
//! mounted for anybody else.

mod programs;
mod schema;
mod tool;

#[allow(dead_code, reason = "this test uses its share of it")]
#[path = "gunicorn/rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use serde_json::Value;
use stallscope::capture::burst::{Burst, End, Engine, What, Woken};
use stallscope::capture::calls::name;
use stallscope::observe::clock::monotonic_ns;
use stallscope::observe::perf::{Bounds, NoPerf, take};

use programs::{Over, Strace, Told, asleep, assert_free, dir, last_words, of_trace, target, turns};
use rig::{Rig, Way, children, free_port};
use schema::Schema;
use tool::{Target, assert_error, finish, run, skipped, start, status, until};

const ARCH: &str = std::env::consts::ARCH;

/// Events of perf in this process: only one test has any at a time, so that they can be counted.
static ALONE: Mutex<()> = Mutex::new(());

fn mount(what: &str, place: &Path, kind: Option<&str>, flags: libc::c_ulong) -> Result<(), Errno> {
    let text = |text: &str| CString::new(text).unwrap();
    let (what, place, kind) = (text(what), text(place.to_str().unwrap()), kind.map(text));
    let kind = kind.as_ref().map_or(std::ptr::null(), |kind| kind.as_ptr());
    // SAFETY: texts that end with a zero, numbers, and no data.
    let result = unsafe { libc::mount(what.as_ptr(), place.as_ptr(), kind, flags, std::ptr::null()) };
    Errno::result(result).map(drop)
}

/// This thread, and what it starts, sees the same mounts as before but for the kernel's tracing files.
fn without_tracefs() -> Result<(), Errno> {
    // SAFETY: takes a number; mounts of other threads stay as they are.
    Errno::result(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount("none", Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)?;
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    for line in mounts.lines().rev() {
        let words: Vec<&str> = line.split(' ').collect();
        if matches!(words[2], "tracefs" | "debugfs") {
            let place = CString::new(words[1].replace("\\040", " ")).unwrap();
            // SAFETY: a text that ends with a zero, and a number.
            Errno::result(unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) })?;
        }
    }
    Ok(())
}

/// The same with tracefs where it belongs, or in a folder. `None`, and said so, where that or the events are not permitted.
fn with_tracefs(folder: Option<&Path>) -> Option<()> {
    let usual = ["/sys/kernel/tracing", "/mnt"].map(Path::new).into_iter().find(|place| place.is_dir())?;
    let place = folder.unwrap_or(usual);
    if let Err(why) = without_tracefs().and_then(|()| mount("tracefs", place, Some("tracefs"), 0)) {
        skipped(&format!("tracefs cannot be mounted here ({why}): perf events were not tried"));
        return None;
    }
    let _alone = alone();
    match take(&dir(std::process::id() as i32), &of_ms(1)) {
        Err(why @ (NoPerf::Refused(_) | NoPerf::NoRoom(_) | NoPerf::Unreadable { .. })) => {
            skipped(&format!("perf events are not permitted here ({why}): they were not tried"));
            None
        }
        Err(why) => panic!("{why}"),
        Ok(_) => Some(()),
    }
}

/// Whoever comes first, also behind a test that has failed.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Descriptors of perf events that this process has open.
fn open_events() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("[perf_event]")).count()
}

/// Follows a process while somebody watches that it is never traced nor stopped, and leaves nothing open.
fn follow(pid: i32, bounds: &Bounds) -> Burst {
    let (over, watched) = (AtomicBool::new(false), Barrier::new(2));
    let seen = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            watched.wait();
            while !over.load(Ordering::Relaxed) {
                assert_free(pid);
            }
            assert_free(pid);
        });
        let end = Over(&over);
        watched.wait();
        let seen = take(&dir(pid), bounds);
        drop(end);
        watch.join().unwrap();
        seen.unwrap()
    });
    assert_eq!(open_events(), 0);
    assert_eq!((seen.engine, seen.stops, seen.stopped_ns_total), (Engine::Perf, 0, 0));
    assert!(seen.threads.iter().all(|thread| thread.woken == Woken::No));
    let (began, ended) = (seen.began_ns, seen.ended_ns.unwrap());
    assert!(seen.events.iter().all(|event| (began..=ended).contains(&event.at_ns)), "{seen:?}");
    assert!(seen.events.is_sorted_by_key(|event| event.at_ns));
    seen
}

/// Follows a process for long, and does something when that has begun.
fn follow_and(pid: i32, then: impl FnOnce()) -> Burst {
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let burst = scope.spawn(move || {
            tell.send(nix::unistd::gettid()).unwrap();
            take(&dir(pid), &of_ms(20_000)).unwrap()
        });
        // It waits for its rings from then on.
        let path = format!("/proc/self/task/{}/syscall", told.recv().unwrap());
        until("it is followed", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let number = text.split(' ').next().and_then(|number| number.parse().ok());
            burst.is_finished()
                || number.and_then(|number| name(ARCH, number)).is_some_and(|n| n.ends_with("poll"))
        });
        then();
        burst.join().unwrap()
    })
}

fn of_ms(limit: u64) -> Bounds {
    Bounds { limit: Duration::from_millis(limit), ..Bounds::default() }
}

/// The document of a trace by perf events, which has stopped nobody and lost nothing.
fn traced(pid: i32, more: &[&str]) -> Value {
    let pid = pid.to_string();
    let ran = run(&[&["trace", &pid, "--engine", "perf", "--format", "json"], more].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let document = ran.json();
    assert_eq!(Schema::of("trace-v1.json").check(&document), Ok(()));
    for process in document["processes"].as_array().unwrap() {
        let burst = &process["burst"];
        assert_eq!(
            (&burst["engine"], &burst["stops"], &burst["lost"]),
            (&"perf".into(), &0.into(), &0.into())
        );
        assert_eq!((&burst["detached"], &burst["interrupted"]), (&true.into(), &0.into()));
    }
    document
}

fn calls_of(thread: &Value) -> Vec<Told> {
    thread["calls"].as_array().unwrap().iter().filter_map(of_trace).collect()
}

fn is_strace_there() -> bool {
    let there = Path::new("/usr/bin/strace").exists();
    if !there {
        skipped("strace is not installed: what perf events say was not compared");
    }
    there
}

#[test]
fn names_descriptors_and_results_are_those_of_strace_and_of_the_other_engine() {
    if with_tracefs(None).is_none() || !is_strace_there() {
        return;
    }
    let steady = target("steady");
    let strace = Strace::start(steady.pid());
    strace.until_seen("getppid", 20);
    let theirs = turns(strace.end());
    let pid = steady.pid().to_string();
    let stops = ["-d", "1s", "--max-stops", "400"];
    let stopped = run(&[&["trace", &pid, "--format", "json"], &stops[..]].concat()).json();
    let stopped = turns(calls_of(&stopped["processes"][0]["threads"][0]));

    let document = traced(steady.pid(), &["-d", "1s", "--max-events", "4000"]);
    let process = &document["processes"][0];
    assert_eq!(process["burst"]["ended_by"], "events", "{}", process["burst"]);
    assert_eq!(process["burst"]["events"], 4000);
    let thread = &process["threads"][0];
    let ours = turns(calls_of(thread));
    assert!(theirs.len() > 2 && stopped.len() > 2 && ours.len() > 50, "{} {}", theirs.len(), ours.len());
    for turn in theirs.iter().chain(&stopped).chain(&ours) {
        assert_eq!(*turn, theirs[0]);
    }
    // All of it is one pattern, and what was opened and is a number only is said.
    assert_eq!(thread["patterns"][0]["steps"].as_array().unwrap().len(), 9, "{}", thread["patterns"]);
    assert!(document["blind_spots"].to_string().contains("which names and addresses calls were given"));
    let text = run(&["trace", &pid, "--engine", "perf"]);
    assert!(text.stdout.contains("1 thread followed by perf events: 0 stops, "), "{text:?}");
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 100), "{}", text.stdout);
    let lines = run(&["trace", &pid, "--engine", "perf", "--format", "ndjson"]);
    let schema = Schema::of("trace-ndjson-v1.json");
    let told: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().all(|line| schema.check(line) == Ok(())), "{lines:?}");
    assert!(told.iter().any(|line| line["burst"]["engine"] == "perf"), "{lines:?}");
}

/// The tool's own calls, as strace sees them: none by which it could stop, change or signal anybody, or mount anything.
#[test]
fn the_tool_stops_signals_and_mounts_nothing() {
    if with_tracefs(None).is_none() || !is_strace_there() {
        return;
    }
    let (target, folder) = (Target::waiting(), tempfile::tempdir().unwrap());
    let (log, pid) = (folder.path().join("log"), target.pid().to_string());
    let calls = "trace=ptrace,kill,tkill,tgkill,rt_sigqueueinfo,rt_tgsigqueueinfo,pidfd_send_signal,process_vm_writev,\
                 mount,fsmount,move_mount,umount2,perf_event_open";
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "signal=none", "-e", calls, "-o"]).arg(&log);
    command.args([env!("CARGO_BIN_EXE_stallscope"), "trace", &pid, "--engine", "perf"]);
    let ran = finish(start(command));
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains('(')).collect();
    assert_eq!(lines.len(), 2, "an event for the beginnings of calls and one for their ends: {told}");
    assert!(lines.iter().all(|line| line.contains("perf_event_open(")), "{told}");
    assert_free(target.pid());
}

/// The programs count each call that got `EINTR`.
#[test]
fn nobody_gets_eintr() {
    if with_tracefs(None).is_none() {
        return;
    }
    let _alone = alone();
    let mut waits = target("waits");
    let pid = waits.pid();
    until("all threads sleep", || asleep(pid) == 11);
    let seen = follow(pid, &of_ms(50));
    assert_eq!((seen.end, seen.threads.len(), seen.lost), (End::Time, 11, 0));
    // Nobody came back, and each is known to be in its call.
    let within = seen.events.iter().filter(|event| matches!(event.what, What::Within { .. })).count();
    assert_eq!((within, seen.events.len()), (11, 11), "{seen:?}");
    for line in last_words(&mut waits).lines() {
        assert!(line.ends_with(" 0"), "{line}");
    }

    let mut turns = target("turns");
    let mut slept = 0;
    for _ in 0..5 {
        let seen = follow(turns.pid(), &Bounds { max_events: 60, ..of_ms(10_000) });
        slept += seen.events.iter().filter(|event| event.what == What::OffCpu).count();
    }
    assert!(slept > 0, "it never slept");
    assert_eq!(last_words(&mut turns).trim(), "0");
}

/// A ring of one page in a loop that does nothing but call. What is lost is counted, and what is left is still right.
#[test]
fn what_has_no_room_is_counted_and_nothing_is_mixed_up() {
    if with_tracefs(None).is_none() {
        return;
    }
    let _alone = alone();
    let target = target("calls");
    let bounds = Bounds { ring_bytes: Some(4096), max_events: 5_000, ..of_ms(10_000) };
    let seen = follow(target.pid(), &bounds);
    let told: u64 = seen.events.iter().map(|e| if let What::Lost(n) = e.what { n } else { 0 }).sum();
    assert!(told > 0 && seen.lost >= told, "{} {told}", seen.lost);
    let mut pairs = 0;
    for two in seen.events.windows(2) {
        let (What::Enter { number, .. }, What::Leave { result, .. }) = (&two[0].what, &two[1].what) else {
            continue;
        };
        let parent = i64::from(std::process::id());
        match name(ARCH, *number).unwrap() {
            "getppid" => assert_eq!(*result, parent),
            "stat" | "newfstatat" => assert_eq!(*result, 0),
            other => panic!("{other} is not in its loop"),
        }
        pairs += 1;
    }
    assert!(pairs > 10, "{pairs}");

    // With rings as they are, the same loop loses nothing or says so, and its bound ends it.
    let seen = follow(target.pid(), &Bounds { max_events: 1_000, ..of_ms(5_000) });
    assert_eq!((seen.end, seen.events.len()), (End::Events, 1_000));
}

#[test]
fn time_off_the_processor_is_told_apart() {
    if with_tracefs(None).is_none() {
        return;
    }
    let _alone = alone();
    let sleeper = Target::python("python3", "while True: time.sleep(0.01)", &[]);
    let document = traced(sleeper.pid(), &["-d", "10s", "--max-events", "60"]);
    let thread = &document["processes"][0]["threads"][0];
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_else(|| panic!("{key}: {value}"));
    let calls = thread["calls"].as_array().unwrap();
    let sleeps: Vec<&Value> = calls
        .iter()
        .filter(|call| call["name"] == "clock_nanosleep" && call["took_ns"].is_u64())
        .filter(|call| call["resumed"] == false)
        .collect();
    assert!(sleeps.len() > 2, "{thread}");
    for call in &sleeps {
        let (took, off) = (number(call, "took_ns"), number(call, "off_cpu_ns"));
        assert!(took >= 10_000_000 && off <= took && off > took / 2, "{call}");
    }
    let spent = &thread["spent"];
    let (in_calls, off) = (number(spent, "in_calls_ns"), number(spent, "off_cpu_in_calls_ns"));
    assert!(off <= in_calls && off > in_calls / 2, "{spent}");

    // One that computes and calls nothing has no time in calls; a sleeper is in its call from the beginning.
    let idle = Target::waiting();
    until("it sleeps", || status(idle.pid(), "State").is_some_and(|state| state.starts_with('S')));
    let document = traced(idle.pid(), &["-d", "50ms"]);
    let thread = &document["processes"][0]["threads"][0];
    let call = &thread["calls"][0];
    assert_eq!((&call["name"], &call["resumed"], &call["fd"]), (&"read".into(), &true.into(), &0.into()));
    assert!(call["took_ns"].is_null() && number(call, "off_cpu_ns") >= 50_000_000, "{call}");
}

/// Both see the same events: what perf says is a piece of what strace says, call by call.
#[test]
fn a_gunicorn_worker_makes_the_calls_that_strace_sees_and_answers_undisturbed() {
    if with_tracefs(None).is_none() || !is_strace_there() {
        return;
    }
    let Some(python) = rig::version("23.0.0").python() else { return };
    let port = free_port();
    let bind = format!("127.0.0.1:{port}");
    let gunicorn = Rig::start(&python, Way::Script, &["-w", "1", "-b", &bind, "app:app"]);
    gunicorn.until_serving(port, 1);
    let worker = children(gunicorn.pid())[0];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = Over(&over);
        let clients = scope.spawn(|| {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(rig::answers(port), "a request was not answered");
                answers += 1;
            }
            answers
        });
        // Some requests' worth, however long that takes here.
        let only = worker.to_string();
        let some = ["--only", &only, "-d", "10s", "--max-events", "600"];
        let strace = Strace::start(worker);
        strace.until_seen("accept", 1);
        let document = traced(gunicorn.pid(), &some);
        let then = strace.seen("accept");
        strace.until_seen("accept", then + 2);
        let theirs = strace.end();
        let thread = &document["processes"][0]["threads"][0];
        let whole = thread["calls"].as_array().unwrap().iter().filter(|call| call["resumed"] == false);
        let ours: Vec<Told> = whole.filter_map(of_trace).collect();
        assert!(ours.len() > 20, "{thread}");
        assert!(is_piece(&ours, &theirs), "not the same calls: {ours:#?} {theirs:#?}");

        // Now without strace: never traced, and each descriptor has its other end.
        let watch = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_free(worker);
            }
        });
        let document = traced(gunicorn.pid(), &some);
        drop(end);
        watch.join().unwrap();
        assert!(clients.join().unwrap() > 2);
        let process = &document["processes"][0];
        let called: BTreeMap<&str, u64> = process["calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| (name["name"].as_str().unwrap(), name["calls"].as_u64().unwrap()))
            .collect();
        let accepts: u64 = called.iter().filter(|(name, _)| name.starts_with("accept")).map(|(_, n)| n).sum();
        assert!(accepts > 0 && called.contains_key("sendto"), "{called:?}");
        let descriptors = process["descriptors"].to_string();
        assert!(descriptors.contains(&format!("socket that listens on {bind}")), "{descriptors}");
    });
}

/// Whether calls stand in others one behind the other. Which descriptor a call is about is not always its first argument.
fn is_piece(ours: &[Told], theirs: &[Told]) -> bool {
    let same = |one: &Told, other: &Told| {
        one.0 == other.0
            && (one.2 == other.2 || other.2 == "?")
            && (one.1.is_none() || other.1.is_none() || one.1 == other.1)
    };
    theirs.windows(ours.len()).any(|piece| piece.iter().zip(ours).all(|(theirs, ours)| same(ours, theirs)))
}

#[test]
fn threads_that_come_and_go_are_followed_and_the_end_of_all_is_noticed() {
    if with_tracefs(None).is_none() {
        return;
    }
    let _alone = alone();
    let program = "import threading\ndef work():\n  for _ in range(20): os.getppid(), time.sleep(0.002)\n\
                   while True:\n  t = threading.Thread(target=work); t.start(); t.join()";
    let mut target = Target::python("python3", program, &[]);
    // Several threads' worth, however long that takes here.
    let seen = follow(target.pid(), &Bounds { max_events: 600, ..of_ms(20_000) });
    assert!(seen.late > 0 && seen.threads.len() <= 2, "{seen:?}");
    let first: Vec<i32> = seen.threads.iter().map(|thread| thread.tid).collect();
    let of_the_late = |what: fn(&What) -> bool| {
        seen.events.iter().filter(|event| !first.contains(&event.tid) && what(&event.what)).count()
    };
    assert!(of_the_late(|what| matches!(what, What::Enter { .. })) > 10, "{seen:?}");
    assert!(of_the_late(|what| *what == What::Ended) > 0, "{seen:?}");

    let seen = follow_and(target.pid(), || {
        target.child.kill().unwrap();
        target.child.wait().unwrap();
    });
    assert_eq!((seen.end, open_events()), (End::NothingLeft, 0));
    assert_eq!(take(&dir(std::process::id() as i32), &of_ms(1)).map(|seen| seen.end), Ok(End::Time));
}

#[test]
fn another_program_is_the_end() {
    if with_tracefs(None).is_none() {
        return;
    }
    let _alone = alone();
    let mut target =
        Target::python("python3", "sys.stdin.read(); os.execv('/bin/sleep', ['sleep', '60'])", &[]);
    let began = monotonic_ns();
    let seen = follow_and(target.pid(), || target.hang_up());
    assert_eq!(seen.end, End::Exec);
    assert!(seen.over_ns - began < 10_000_000_000);
}

#[test]
fn what_is_missing_is_said_and_nothing_is_mounted() {
    if let Err(why) = without_tracefs() {
        return skipped(&format!("no mount namespace can be had ({why}): a missing tracefs was not tried"));
    }
    let target = Target::waiting();
    let pid = target.pid().to_string();
    let mounts = || std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let before = mounts();
    assert_eq!(take(&dir(target.pid()), &of_ms(1)), Err(NoPerf::NotMounted));
    assert_error(&["trace", &pid, "--engine", "perf"], "not_permitted", "is not mounted");
    let ran = run(&["trace", &pid, "--engine", "perf"]);
    assert!(ran.stderr.contains("mount -t tracefs tracefs /sys/kernel/tracing"), "{ran:?}");
    // Whoever wants either gets the other, and is told.
    let ran = run(&["trace", &pid, "--engine", "auto", "--format", "json"]);
    assert!(ran.stderr.starts_with("note: no perf events (tracefs"), "{ran:?}");
    assert_eq!(ran.json()["processes"][0]["burst"]["engine"], "ptrace");
    assert_eq!(mounts(), before);

    // Wherever it is mounted it is found.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("my tracing");
    std::fs::create_dir(&place).unwrap();
    if with_tracefs(Some(&place)).is_some() {
        let ran = run(&["trace", &pid, "--engine", "auto", "--format", "json"]);
        assert_eq!((ran.stderr.as_str(), ran.code), ("", 0), "{ran:?}");
        assert_eq!(ran.json()["processes"][0]["burst"]["engine"], "perf");
        // The folder is removed, and nothing else.
        without_tracefs().unwrap();
    }
}
