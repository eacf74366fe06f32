//! Incidents of released versions, with the software that had them.

use std::net::TcpStream;

use super::rig::{Rig, Way, children, free_port, look_for, version};

/// gunicorn#3146: with all its connections taken by clients that say nothing, a gthread worker waits for none of its
/// futures, which is over at once, and never asks its poller.
#[test]
fn a_gthread_worker_whose_connections_are_all_taken() {
    let version = version("23.0.0");
    let Some(python) = version.python() else { return };
    let port = free_port();
    let bind = format!("127.0.0.1:{port}");
    let settings = ["-k", "gthread", "-w", "1", "--threads", "2", "--worker-connections", "3"];
    let rig = Rig::start(&python, Way::Script, &[&settings[..], &["-b", &bind, "app:app"]].concat());
    rig.until_serving(port, 1);
    let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let worker = children(rig.pid())[0];
    // It spins as soon as it has accepted the third.
    let run_ns = || {
        let text = std::fs::read_to_string(format!("/proc/{worker}/schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = run_ns();
    rig.until("a worker that spins", || run_ns() > before + 300_000_000);
    let seen = look_for(rig.pid(), "3s", &[]);
    drop(silent);
    let worker = seen.processes("worker")[0];
    let verdict = &worker["verdict"];
    assert_eq!(verdict["code"], "hot_spin", "{worker:#}");
    assert_eq!(verdict["subcause"], "housekeeping_no_poll", "{worker:#}");
    assert_eq!(verdict["culprit"]["function"], "ThreadWorker.run", "{worker:#}");
    let advice = worker["advice"].as_array().unwrap();
    let upgrade = advice.iter().find(|advice| advice["id"] == "A17").unwrap_or_else(|| panic!("{worker:#}"));
    assert!(upgrade["change"].as_str().unwrap().contains("gunicorn from 23.0.0 to 24.0"), "{upgrade}");
    assert_eq!(seen.exit, Some(1));
}

/// gunicorn#1663: workers that die of a signal while they load the application are replaced, for ever.
#[test]
fn workers_that_crash_while_they_boot() {
    let version = version("23.0.0");
    let Some(python) = version.python() else { return };
    let crash = "import os, signal, time\ntime.sleep(0.2)\nos.kill(os.getpid(), signal.SIGSEGV)\n";
    let bind = format!("127.0.0.1:{}", free_port());
    let line = Rig::command(&python, Way::Script, &["-w", "2", "-b", &bind, "crash:app"]);
    let rig = Rig::prepared(&line, Way::Script, &[("crash.py", crash)]);
    rig.until("workers", || !children(rig.pid()).is_empty());
    let seen = look_for(rig.pid(), "3s", &[]);
    let server = &seen.json["server"];
    assert_eq!(server["verdict"]["code"], "crash_loop", "{:#}", seen.json);
    assert_eq!(seen.exit, Some(1), "{server:#}");
}
