//! gevent workers, on today's stack and on the one of the story.

use super::harness::{Report, Rig, Setup, check, check_on};
use stallscope::portal::Stack;

fn period() -> Setup<'static> {
    Setup { stack: Stack::Period, ..Setup::of("gevent") }
}

fn names(report: &Report, what: &str) {
    assert!(report.culprit().contains(what), "{what} is not named in {}", report.culprit());
}

fn spin(report: &Report) {
    assert_eq!(report.subcause(), "ready_fd_undrained");
    assert!(report.worker()["verdict"]["culprit"]["fd"].is_i64(), "{}", report.culprit());
    names(report, "unix socket");
    assert_eq!(report.exit, Some(1));
}

/// A greenlet that switches all the time often changes under the reading: it is named or nobody is, never another.
fn waits_busily(report: &Report) {
    assert!(
        report.culprit().contains("poll_by_sleep0") || report.culprit() == "null",
        "{}",
        report.culprit()
    );
}

#[test]
fn a_descriptor_nobody_reads() {
    check("gevent", "spin_watcher", spin);
}

#[test]
fn a_descriptor_nobody_reads_in_the_story() {
    check_on(&period(), "spin_watcher", spin);
}

#[test]
fn a_half_closed_connection() {
    check("gevent", "spin_half_closed", |report| names(report, "closed by the other end"));
}

#[test]
fn a_half_closed_connection_in_the_story() {
    check_on(&period(), "spin_half_closed", |report| names(report, "closed by the other end"));
}

#[test]
fn a_greenlet_that_polls_by_sleep_0() {
    check("gevent", "spin_sleep0", waits_busily);
}

#[test]
fn a_greenlet_that_polls_by_sleep_0_in_the_story() {
    check_on(&period(), "spin_sleep0", waits_busily);
}

fn waits_that_block_the_loop_of(setup: &Setup<'_>) {
    for (fault, subcause, culprit) in [
        ("block_sleep", "sleep", "block_sleep"),
        ("block_upstream", "upstream", "block_upstream"),
        ("block_sqlite_lock", "database_file", "block_sqlite_lock"),
        ("block_flock", "file_lock", "block_flock"),
        ("block_subprocess", "subprocess", "block_subprocess"),
    ] {
        check_on(setup, fault, |report| {
            assert_eq!(report.subcause(), subcause);
            names(report, culprit);
        });
    }
}

#[test]
fn waits_that_block_the_loop() {
    waits_that_block_the_loop_of(&Setup::of("gevent"));
}

#[test]
fn waits_that_block_the_loop_in_the_story() {
    waits_that_block_the_loop_of(&period());
}

#[test]
fn computations_that_block_the_loop() {
    for (fault, subcause) in [
        ("cpu_python", "python"),
        ("cpu_pbkdf2", "native_gil_released"),
        ("cpu_regex", "native_gil_held"),
        ("second_cpu_gc", "gc"),
    ] {
        let story = matches!(fault, "cpu_python" | "cpu_regex").then(period);
        for setup in [Some(Setup::of("gevent")), story].into_iter().flatten() {
            check_on(&setup, fault, |report| {
                names(report, fault);
                // Python may be told from native code, or left open; never the other way round.
                let open = subcause == "python" && report.subcause().is_empty();
                assert!(open || report.subcause() == subcause, "{fault}: {:#}", report.worker());
            });
        }
    }
}

#[test]
fn a_backend_waited_for_as_it_should_be() {
    for setup in [Setup::of("gevent"), period()] {
        check_on(&setup, "upstream_cooperative", |report| names(report, "127.0.0.1:"));
    }
}

#[test]
fn a_hang_that_looks_idle() {
    for setup in [Setup::of("gevent"), period()] {
        check_on(&setup, "stall_event", |_| {});
    }
}

#[test]
fn nothing_asked() {
    for setup in [Setup { workers: 4, ..Setup::of("gevent") }, Setup { workers: 2, ..period() }] {
        let Some(rig) = Rig::up_idle(&setup) else { continue };
        let report = rig.look(&[]);
        for worker in report.workers() {
            assert_eq!(worker["verdict"]["code"], "idle", "{worker:#}");
        }
        assert_eq!(report.json["server"]["verdict"]["code"], "idle");
        assert_eq!(report.json["server"]["worker_class"], "gevent");
        assert_eq!(report.workers().count() as u32, setup.workers);
        assert_eq!(report.exit, Some(0));
        rig.unharmed();
    }
}
