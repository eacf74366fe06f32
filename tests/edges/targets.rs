//! Targets that cannot be looked at: not there, dead, not a program, ambiguous, leaving.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::tool::{
    Target, assert_error, await_samples, finish, look, run, skipped, start, status, tool, until, verdicts,
};

#[test]
fn a_pid_that_nobody_has() {
    assert_error(&["2147483646"], "not_found", "no such process");
}

#[test]
fn what_is_no_pid() {
    for word in ["0", "-1", "12x", "99999999999"] {
        let ran = run(&[word, "--format", "json"]);
        assert_eq!((ran.code, &ran.json()["error"]["kind"]), (2, &"usage".into()), "{word}: {ran:?}");
    }
}

#[test]
fn a_zombie() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id() as i32;
    // Waits for its end and leaves it unreaped.
    waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    assert_error(&[&pid.to_string()], "not_observable", "it is a zombie");
    child.wait().unwrap();
}

#[test]
fn a_kernel_thread() {
    if status(2, "Name").as_deref() != Some("kthreadd") {
        return skipped("no kernel thread is visible here");
    }
    assert_error(&["2"], "not_observable", "kernel thread");
}

#[test]
fn a_port_where_nobody_listens() {
    // A port that only UDP has: nothing listens there in the sense of a server.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    assert_error(&["--port", &port.to_string()], "not_found", "no listening TCP socket");
}

#[test]
fn a_name_that_nobody_has_and_one_that_two_have() {
    assert_error(&["--name", "no-such-server-anywhere"], "not_found", "no process has this in its name");
    let name = format!("edge-server-{}", std::process::id());
    let start = || {
        let mut command = Command::new("sleep");
        command.arg0(&name).arg("60");
        Target::silent(command)
    };
    let (one, other) = (start(), start());
    let ran = run(&["--name", &name, "--format", "json"]);
    assert_error(&["--name", &name], "not_found", "several servers match");
    let value = ran.json()["error"]["value"].to_string();
    for target in [&one, &other] {
        assert!(value.contains(&target.pid().to_string()), "{value}");
    }
}

#[test]
fn only_a_stranger() {
    let target = Target::waiting();
    let (pid, me) = (target.pid().to_string(), std::process::id().to_string());
    assert_error(&[&pid, "--only", &me], "not_found", "is neither it nor one of its workers");
}

#[test]
fn only_one_of_the_workers() {
    let head = Target::python("python3", "os.fork(); sys.stdin.read()", &[]);
    let pid = head.pid();
    let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    until("it has a child", || !children().is_empty());
    let child = children().trim().to_owned();
    for named in [pid.to_string(), child.clone()] {
        let more = ["--only", &child, "--fail-on", "never"];
        let (ran, document) = look(named.parse().unwrap(), &more);
        assert!([0, 4].contains(&ran.code), "{ran:?}");
        let looked_at: Vec<_> = document["processes"].as_array().unwrap().iter().map(|p| &p["pid"]).collect();
        assert_eq!(looked_at, [&serde_json::Value::from(child.parse::<i32>().unwrap())]);
    }
}

#[test]
fn a_target_that_leaves_during_the_look() {
    let mut target = Target::waiting();
    let child = start(tool(&[&target.pid().to_string(), "--format", "json", "-d", "20s"]));
    await_samples(&child, 40);
    target.hang_up();
    target.child.wait().unwrap();
    let ran = finish(child);
    assert!(ran.took.as_secs() < 5, "it went on looking at nobody: {:?}", ran.took);
    let document = ran.json();
    if ran.code == 3 {
        assert_eq!(document["error"]["kind"], "gone", "{document}");
    } else {
        let codes: Vec<String> = verdicts(&document).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, ["not_running"], "{document}");
        assert_eq!(ran.code, 1, "{document}");
    }
}
