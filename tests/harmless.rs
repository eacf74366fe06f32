//! The promise: the server is never stopped, never signalled, never written to. Proven by what the kernel saw.

mod tool;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stallscope::portal::server::{Options, Portal};
use stallscope::portal::{Stack, http};

use tool::{Ran, finish, skipped, start, status};

/// All calls by which a process could do something to another one.
const CALLS: &str = "ptrace,process_vm_writev,pwrite64,kill,tgkill,tkill,rt_sigqueueinfo,rt_tgsigqueueinfo,\
                     pidfd_send_signal,pidfd_getfd,setns,process_madvise,open,openat,openat2";

fn portal(folder: &Path) -> Portal {
    let options = Options { workers: 2, ..Options::of(Stack::Modern, "gevent", folder) };
    Portal::up(&options, &mut |_| {}).unwrap()
}

/// The workers of an arbiter.
fn workers(arbiter: i32) -> BTreeSet<i32> {
    let text = std::fs::read_to_string(format!("/proc/{arbiter}/task/{arbiter}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The threads of a process.
fn threads(pid: i32) -> BTreeSet<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
}

/// That nobody traces a process and nobody has stopped it.
fn assert_free(pid: i32) {
    assert_eq!(status(pid, "TracerPid").as_deref(), Some("0"), "process {pid} is traced");
    let state = status(pid, "State").unwrap();
    assert!(!state.starts_with(['t', 'T']), "process {pid} is stopped: {state}");
}

fn traced(log: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-y",
        "-s",
        "256",
        "-e",
        &format!("trace={CALLS}"),
        "-e",
        "signal=none",
        "-o",
    ]);
    command.arg(log).arg(env!("CARGO_BIN_EXE_stallscope")).args(args);
    finish(start(command))
}

/// A call that did something to a target, if the line of the log is one.
fn harm(line: &str, targets: &BTreeSet<i32>) -> Option<&'static str> {
    // `PID name(arguments) = result`
    let (name, arguments) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    let of_target = || {
        targets.iter().any(|pid| {
            arguments.contains(&format!("/proc/{pid}/")) || arguments.contains(&format!("/proc/{pid}>"))
        })
    };
    let writes = || ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag));
    match name {
        "open" | "openat" | "openat2" => {
            (of_target() && writes()).then_some("a file of the target opened for writing")
        }
        "pwrite64" => of_target().then_some("a file of the target written"),
        // A signal of number 0 asks whether the process is there and is not sent.
        "kill" | "tkill" | "tgkill" | "pidfd_send_signal" | "rt_sigqueueinfo" | "rt_tgsigqueueinfo" => {
            let numbers: Vec<&str> = arguments.split([',', ')']).map(str::trim).collect();
            let sent = !numbers.contains(&"0");
            sent.then_some("a signal sent")
        }
        "ptrace" | "process_vm_writev" | "process_madvise" | "setns" => {
            Some("a call that changes another process")
        }
        _ => None,
    }
}

#[test]
fn a_look_does_nothing_to_its_target() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: what the tool does to its target was not proven");
    }
    let folder = tempfile::tempdir().unwrap();
    let portal = portal(&folder.path().join("portal"));
    let before = workers(portal.arbiter_pid);
    assert_eq!(before.len(), 2);
    let mut targets: BTreeSet<i32> = before.iter().flat_map(|pid| threads(*pid)).collect();
    targets.insert(portal.arbiter_pid);
    for pid in &targets {
        assert_free(*pid);
    }

    let log = folder.path().join("calls");
    let pid = portal.arbiter_pid.to_string();
    let ran = traced(&log, &[&pid, "--format", "json", "-d", "2s", "--max-duration", "2s"]);
    assert!([0, 1, 4].contains(&ran.code), "{ran:?}");
    let document = ran.json();
    assert!(
        document["collection"]["stacks"]["obtained"].as_u64().unwrap() > 0,
        "memory was not read: {document}"
    );
    assert_eq!(document["collection"]["burst"]["stops"], 0);

    let calls = std::fs::read_to_string(&log).unwrap();
    let opened = calls.lines().filter(|line| line.contains(&format!("/proc/{pid}"))).count();
    assert!(opened > 0, "the log does not show the look at all");
    let done: Vec<String> =
        calls.lines().filter_map(|line| harm(line, &targets).map(|what| format!("{what}: {line}"))).collect();
    assert_eq!(done, Vec::<String>::new());

    for pid in &targets {
        assert_free(*pid);
    }
    assert_eq!(workers(portal.arbiter_pid), before, "a worker was replaced");
    let answer = http::get(portal.direct, "/oracle", Duration::from_secs(5)).unwrap();
    assert_eq!(answer.status, 200);
    portal.down();
}

#[test]
fn a_doctor_does_nothing_to_its_patient() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: what doctor does to its target was not proven");
    }
    let folder = tempfile::tempdir().unwrap();
    let target = tool::Target::waiting();
    let (log, pid) = (folder.path().join("calls"), target.pid().to_string());
    let ran = traced(&log, &["doctor", &pid]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let calls = std::fs::read_to_string(&log).unwrap();
    assert!(calls.contains(&format!("/proc/{pid}")) && calls.contains("\"mem\""), "nothing was tried");
    let targets = BTreeSet::from([target.pid()]);
    let done: Vec<&str> = calls.lines().filter(|line| harm(line, &targets).is_some()).collect();
    assert_eq!(done, Vec::<&str>::new());
    // Not even a duplicate of a descriptor is taken, nor its environment read.
    assert!(!calls.contains("pidfd_getfd("), "{calls}");
    assert_free(target.pid());
}

#[test]
fn the_proof_would_see_harm() {
    let targets = BTreeSet::from([77]);
    for line in [
        "9 ptrace(PTRACE_SEIZE, 77, NULL, 0) = 0",
        "9 openat(3</proc/77>, \"mem\", O_RDWR|O_CLOEXEC) = 5",
        "9 openat(AT_FDCWD</x>, \"/proc/77/mem\", O_WRONLY) = 5",
        "9 pwrite64(5</proc/77/mem>, \"x\", 1, 4096) = 1",
        "9 kill(77, SIGSTOP) = 0",
        "9 tgkill(77, 77, SIGUSR1) = 0",
        "9 process_vm_writev(77, [], 0, [], 0, 0) = 0",
    ] {
        assert!(harm(line, &targets).is_some(), "{line}");
    }
    for line in [
        "9 openat(3</proc/77>, \"mem\", O_RDONLY|O_CLOEXEC) = 5",
        "9 openat(AT_FDCWD</x>, \"/tmp/report\", O_WRONLY|O_CREAT) = 5",
        "9 kill(77, 0) = 0",
    ] {
        assert_eq!(harm(line, &targets), None, "{line}");
    }
}
