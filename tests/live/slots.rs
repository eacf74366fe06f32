//! Workers that serve in slots: gthread's pool and sync's single one.

use super::harness::{Rig, Setup, check};

#[test]
fn a_pool_that_is_held() {
    check("gthread", "gil_contention", |r| assert!(r.culprit().contains("cpu_python"), "{}", r.culprit()));
    check("gthread", "upstream_slots", |r| {
        assert!(
            r.culprit().contains("block_upstream") && r.culprit().contains("127.0.0.1:"),
            "{}",
            r.culprit()
        );
    });
    check("gthread", "lock_contention", |r| {
        assert!(r.culprit().contains("lock_contention"), "{}", r.culprit());
    });
    check("gthread", "deadlock", |r| assert!(r.culprit().contains("deadlock"), "{}", r.culprit()));
}

#[test]
fn a_single_slot_that_is_held() {
    for fault in ["block_sleep", "block_upstream", "block_sqlite_lock", "cpu_python"] {
        check("sync", fault, |r| assert!(r.culprit().contains(fault), "{}", r.culprit()));
    }
}

/// The trap: an idle sync worker beats only every `timeout / 2`, and looks at nothing meanwhile.
#[test]
fn idle_slots_are_idle_whatever_the_heartbeat_says() {
    for class in ["sync", "gthread"] {
        let Some(rig) = Rig::up_idle(&Setup { workers: 2, ..Setup::of(class) }) else { continue };
        let report = rig.look(&[]);
        for worker in report.workers() {
            assert_eq!(worker["verdict"]["code"], "idle", "{worker:#}");
        }
        rig.unharmed();
    }
}
