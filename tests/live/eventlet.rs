//! eventlet workers, on the last gunicorn that has the class and on the one of the story.

use super::harness::{Rig, Setup, check_on};
use stallscope::portal::Stack;

fn setups() -> [Setup<'static>; 2] {
    [Setup::of("eventlet"), Setup { stack: Stack::Period, ..Setup::of("eventlet") }]
}

fn all(fault: &str, subcause: &str, culprit: &str) {
    for setup in setups() {
        check_on(&setup, fault, |report| {
            assert_eq!(report.subcause(), subcause, "{:#}", report.worker());
            assert!(report.culprit().contains(culprit), "{culprit} is not named in {}", report.culprit());
        });
    }
}

#[test]
fn hubs_that_spin() {
    all("spin_watcher", "ready_fd_undrained", "unix socket");
    all("spin_half_closed", "ready_fd_undrained", "closed by the other end");
    for setup in setups() {
        // A greenlet that switches all the time is named or nobody is, never another.
        check_on(&setup, "spin_sleep0", |report| {
            let culprit = report.culprit();
            assert!(culprit.contains("poll_by_sleep0") || culprit == "null", "{culprit}");
        });
    }
}

#[test]
fn hubs_that_are_blocked() {
    all("block_sleep", "sleep", "block_sleep");
    all("block_upstream", "upstream", "block_upstream");
    for setup in setups() {
        check_on(&setup, "cpu_python", |r| assert!(r.culprit().contains("cpu_python"), "{}", r.culprit()));
    }
}

#[test]
fn requests_that_wait() {
    for setup in setups() {
        check_on(&setup, "upstream_cooperative", |r| {
            assert!(r.culprit().contains("127.0.0.1:"), "{}", r.culprit());
        });
        check_on(&setup, "stall_event", |_| {});
    }
}

#[test]
fn nothing_asked() {
    for setup in setups() {
        let Some(rig) = Rig::up(&Setup { workers: 2, ..setup }) else { continue };
        let report = rig.look(&[]);
        for worker in report.workers() {
            assert_eq!(worker["verdict"]["code"], "idle", "{worker:#}");
            assert_eq!(worker["worker_class"], "eventlet");
            let age = worker["heartbeat"]["age_ms"].as_u64().unwrap();
            assert!(age < 3_000, "it beats once a second: {age}");
        }
        assert_eq!(report.workers().count(), 2);
        rig.unharmed();
    }
}
