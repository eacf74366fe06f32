//! A target in a pid namespace of its own: its interpreter knows other thread ids than we do.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

const PROGRAM: &str = "
import selectors, socket, sys
loop = selectors.DefaultSelector()
listener = socket.create_server(('127.0.0.1', 0))
loop.register(listener, selectors.EVENT_READ)

def serve():
    print('ready', flush=True)
    while True:
        loop.select(1.0)

serve()
";

#[test]
fn thread_ids_are_translated() {
    let python =
        ["/usr/bin/python3.11", "/usr/bin/python3"].into_iter().find(|p| std::path::Path::new(p).exists());
    let Some(python) = python else {
        eprintln!("SKIPPED: no Python under /usr/bin");
        return;
    };
    let mut unshare = Command::new("unshare");
    unshare.args(["--fork", "--pid", "--kill-child", python, "-c", PROGRAM]);
    let Ok(mut child) = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    else {
        eprintln!("SKIPPED: unshare is not installed");
        return;
    };
    let mut line = String::new();
    let _ = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    if line.is_empty() {
        let _ = child.wait();
        eprintln!("SKIPPED: a pid namespace may not be made here");
        return;
    }
    let head = child.id();
    let children = std::fs::read_to_string(format!("/proc/{head}/task/{head}/children")).unwrap();
    let pid = children.split_whitespace().next().unwrap();
    let out =
        Command::new(env!("CARGO_BIN_EXE_stallscope")).args([pid, "--format", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let process = &report["processes"][0];
    assert_eq!(process["pid"].to_string(), pid);
    assert_eq!(process["ns_pid"], 1, "{process:#}");
    assert_eq!(process["verdict"]["code"], "idle", "{process:#}");
    let stack = process["stacks"][0]["frames"].to_string();
    assert!(stack.contains("serve"), "{stack}");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("TracerPid:\t0"));
    child.kill().unwrap();
    child.wait().unwrap();
}
