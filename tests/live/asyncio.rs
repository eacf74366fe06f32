//! uvicorn's workers (uvloop), where the heartbeat says nothing and the loop leaves no frames.

use super::harness::{Rig, Setup, check};

#[test]
fn loops_that_spin() {
    check("uvicorn", "spin_watcher", |r| assert_eq!(r.subcause(), "ready_fd_undrained"));
    check("uvicorn", "spin_half_closed", |r| assert!(r.culprit().contains("closed by the other end")));
    // uvloop's own turns leave the task only a sliver of the samples: it is named or nobody is, never somebody else.
    check("uvicorn", "spin_sleep0", |r| {
        assert!(r.culprit().contains("poll_by_sleep0") || r.culprit() == "null", "{}", r.culprit());
    });
}

#[test]
fn loops_that_are_blocked() {
    for fault in ["block_sleep", "block_upstream", "cpu_python", "cpu_regex"] {
        check("uvicorn", fault, |r| assert!(r.culprit().contains(fault), "{}", r.culprit()));
    }
}

#[test]
fn requests_that_wait() {
    check("uvicorn", "upstream_cooperative", |_| {});
    check("uvicorn", "stall_event", |_| {});
}

#[test]
fn ten_wake_ups_a_second_are_idle() {
    let Some(rig) = Rig::up(&Setup::of("uvicorn")) else { return };
    rig.look(&[]).expect("idle");
    rig.unharmed();
}
