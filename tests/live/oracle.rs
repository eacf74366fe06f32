//! The portal's witness: a fault that claims to block, to spin or to wait must be seen to do so from within.

use std::time::{Duration, Instant};

use super::harness::{Rig, Setup};
use stallscope::portal::faults::by_name;

/// The words of a worker's page, by their offset.
fn words(rig: &Rig) -> impl Fn(usize) -> u64 + use<> {
    let entries = std::fs::read_dir(&rig.portal.dir).unwrap().flatten();
    let pages = entries.filter(|e| e.file_name().to_string_lossy().starts_with("oracle-"));
    let pages: Vec<Vec<u8>> = pages.map(|e| std::fs::read(e.path()).unwrap()).collect();
    let page = <[Vec<u8>; 1]>::try_from(pages).unwrap().into_iter().next().unwrap();
    assert_eq!(page.len(), 4096);
    assert_eq!(&page[..8], b"PORTAL01");
    move |offset| u64::from_le_bytes(page[offset..offset + 8].try_into().unwrap())
}

/// Waits until the page says something.
fn until(rig: &Rig, what: &str, says: impl Fn(&dyn Fn(usize) -> u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !says(&words(rig)) {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const LOOP_STAMP: usize = 16;
const STARTED: usize = 24;
const DONE: usize = 32;
const FAULT_ENDED: usize = 48;
const STEPS: usize = 56;
const WAITING: usize = 64;
const LATE_MAX: usize = 72;

// A loop in C, one that leaves no frames, and one of our own: each has another kind of timer.
#[test]
fn a_worker_says_what_its_loop_and_its_fault_do() {
    for class in ["gevent", "uvicorn", "builtin"] {
        let env = vec![("PORTAL_ORACLE".to_owned(), "1".to_owned())];
        let Some(rig) = Rig::up(&Setup { env, ..Setup::of(class) }) else { continue };
        let quiet = words(&rig);
        assert_eq!(
            [quiet(LOOP_STAMP), quiet(STARTED), quiet(WAITING)],
            [0; 3],
            "{class}: nothing is measured yet"
        );
        rig.trigger(by_name("block_sleep").unwrap(), 1);
        until(&rig, "the fault is entered", |w| w(WAITING) == 1 && w(LOOP_STAMP) > 0);
        assert_eq!(words(&rig)(STEPS), 1);
        let stood = words(&rig)(LOOP_STAMP);
        until(&rig, "the loop stood still, and went on", |w| {
            w(LATE_MAX) > 500_000_000 && w(LOOP_STAMP) > stood
        });
        until(&rig, "the fault is left", |w| w(WAITING) == 0 && w(FAULT_ENDED) > 0 && w(DONE) == w(STARTED));
        if by_name("spin_watcher").unwrap().expected_of(class).is_some() {
            rig.trigger(by_name("spin_watcher").unwrap(), 2);
            let (steps, stamp) = (words(&rig)(STEPS), words(&rig)(LOOP_STAMP));
            until(&rig, "the loop turns for nothing", |w| w(STEPS) > steps + 1_000 && w(LOOP_STAMP) > stamp);
        }
        rig.portal.down();
    }
}

#[test]
fn threads_in_a_fault_are_counted_and_have_no_loop() {
    let env = vec![("PORTAL_ORACLE".to_owned(), "1".to_owned())];
    let Some(rig) = Rig::up(&Setup { env, ..Setup::of("gthread") }) else { return };
    rig.trigger(by_name("lock_contention").unwrap(), 2);
    until(&rig, "all threads are in it and go on", |w| w(WAITING) == 4 && w(STEPS) > 3);
    until(&rig, "all are left", |w| w(WAITING) == 0 && w(DONE) >= 4);
    assert_eq!(words(&rig)(LOOP_STAMP), 0);
    rig.portal.down();
}
