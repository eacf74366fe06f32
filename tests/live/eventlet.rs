//! eventlet workers, on the last gunicorn that has the class and on the one of the story.

use super::harness::{Rig, Setup, check_on};
use stallscope::portal::Stack;

fn modern() -> Setup<'static> {
    Setup::of("eventlet")
}

fn period() -> Setup<'static> {
    Setup { stack: Stack::Period, ..Setup::of("eventlet") }
}

fn fault(setup: &Setup<'_>, fault: &str, subcause: &str, culprit: &str) {
    check_on(setup, fault, |report| {
        assert_eq!(report.subcause(), subcause, "{:#}", report.worker());
        assert!(report.culprit().contains(culprit), "{culprit} is not named in {}", report.culprit());
    });
}

// Each fault on one of the two stacks: what they share is the hub.

#[test]
fn hubs_that_spin() {
    fault(&modern(), "spin_watcher", "ready_fd_undrained", "unix socket");
    fault(&period(), "spin_half_closed", "ready_fd_undrained", "closed by the other end");
    // A greenlet that switches all the time is named or nobody is, never another.
    check_on(&modern(), "spin_sleep0", |report| {
        let culprit = report.culprit();
        assert!(culprit.contains("poll_by_sleep0") || culprit == "null", "{culprit}");
    });
}

#[test]
fn hubs_that_are_blocked() {
    fault(&period(), "block_sleep", "sleep", "block_sleep");
    fault(&modern(), "block_upstream", "upstream", "block_upstream");
    check_on(&period(), "cpu_python", |r| assert!(r.culprit().contains("cpu_python"), "{}", r.culprit()));
}

#[test]
fn requests_that_wait() {
    check_on(&period(), "upstream_cooperative", |r| {
        assert!(r.culprit().contains("127.0.0.1:"), "{}", r.culprit());
    });
    check_on(&modern(), "stall_event", |_| {});
}

#[test]
fn nothing_asked() {
    for setup in [modern(), period()] {
        let Some(rig) = Rig::up_idle(&Setup { workers: 2, ..setup }) else { continue };
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
