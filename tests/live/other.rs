//! Other servers and states: the built-in one, tornado, a worker that boots, one that is stopped, nginx in front.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::harness::{Rig, Setup, check, check_on};

#[test]
fn the_built_in_server_gives_the_same_verdicts() {
    check("builtin", "spin_watcher", |r| assert_eq!(r.subcause(), "ready_fd_undrained"));
    check("builtin", "cpu_python", |_| {});
    check("builtin", "block_sleep", |_| {});
    check("builtin", "block_upstream", |_| {});
}

#[test]
fn tornado_is_a_loop_like_any_other() {
    check("tornado", "block_sleep", |r| assert!(r.culprit().contains("block_sleep"), "{}", r.culprit()));
    check("tornado", "cpu_python", |r| assert!(r.culprit().contains("cpu_python"), "{}", r.culprit()));
}

#[test]
fn a_worker_that_boots() {
    let env = vec![("PORTAL_FAULT".to_owned(), "boot_slow".to_owned())];
    let Some(rig) = Rig::up(&Setup { env, wait: false, ..Setup::of("sync") }) else { return };
    // The worker is there when the arbiter has a child that loads the application.
    let children = format!("/proc/{0}/task/{0}/children", rig.portal.arbiter_pid);
    let booting = || {
        let pids = std::fs::read_to_string(&children).unwrap_or_default();
        pids.split_whitespace().any(|p| {
            let wchan = std::fs::read_to_string(format!("/proc/{p}/wchan")).unwrap_or_default();
            wchan.contains("nanosleep")
        })
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !booting() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    let report = rig.look(&[]);
    report.expect("booting");
    assert!(report.culprit().contains("_load_slowly"), "{}", report.culprit());
    rig.portal.down();
}

#[test]
fn a_worker_that_is_stopped_stays_stopped_and_is_named() {
    let Some(rig) = Rig::up(&Setup { workers: 2, ..Setup::of("gevent") }) else { return };
    let idle = rig.look(&["-d", "500ms"]);
    let pid = Pid::from_raw(idle.workers().next().unwrap()["pid"].as_i64().unwrap() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    let report = rig.look(&[]);
    let worker = report.workers().find(|w| w["pid"] == pid.as_raw()).unwrap();
    assert_eq!(worker["verdict"]["code"], "not_running", "{worker:#}");
    assert_eq!(worker["verdict"]["subcause"], "stopped");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("State:\tT"), "a look must not wake what somebody has stopped");
    kill(pid, Signal::SIGCONT).unwrap();
    rig.unharmed();
}

#[test]
fn behind_nginx_on_a_unix_socket() {
    if !std::path::Path::new("/usr/sbin/nginx").exists() {
        eprintln!("SKIPPED: nginx is not installed");
        return;
    }
    let Some(rig) = Rig::up_idle(&Setup { nginx: true, unix_socket: true, ..Setup::of("gevent") }) else {
        return;
    };
    let report = rig.look(&[]);
    report.expect("idle");
    let listen = report.json["server"]["listen"].to_string();
    assert!(listen.contains("portal.sock"), "{listen}");
    rig.unharmed();
}

/// The kernel counts nothing on unix sockets: that their connections stay open, and what the greenlets wait for, tells.
#[test]
fn requests_in_flight_on_a_unix_socket() {
    if !std::path::Path::new("/usr/sbin/nginx").exists() {
        eprintln!("SKIPPED: nginx is not installed");
        return;
    }
    for fault in ["stall_event", "upstream_cooperative"] {
        let setup = Setup { nginx: true, unix_socket: true, ..Setup::of("gevent") };
        check_on(&setup, fault, |report| {
            assert!(report.culprit().contains(fault), "{}", report.culprit());
            let confidence = report.worker()["verdict"]["confidence"].as_f64().unwrap();
            assert!(confidence <= 0.7, "{confidence}");
        });
    }
}
