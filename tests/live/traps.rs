//! The measured traps: what looks like one thing and is another.

use std::time::Duration;

use super::harness::{Rig, Setup};
use stallscope::portal::faults::by_name;
use stallscope::portal::load::{Load, Plan, REQUEST_PATIENCE};

fn load(rig: &Rig, path: &str, connections: usize, pause_ms: u64) -> Load {
    Load::start(&Plan {
        address: rig.portal.direct,
        path: path.into(),
        connections,
        keep_alive: true,
        pause: Duration::from_millis(pause_ms),
        patience: REQUEST_PATIENCE,
        at_most: Duration::from_secs(40),
    })
}

/// With keep-alive clients that always have data, the hub hardly runs: it looks blocked, and it serves.
#[test]
fn keep_alive_saturation_is_not_a_blocked_loop() {
    let Some(rig) = Rig::up(&Setup::of("gevent")) else { return };
    let load = load(&rig, "/fault/cpu_page", 16, 0);
    let report = rig.look(&[]);
    let answers = load.stop().answers;
    assert!(answers > 50, "the load must have been served: {answers}");
    // On a machine with two processors the clients compete with the worker.
    assert!(["saturated_productive", "cpu_starved"].contains(&report.code()), "{:#}", report.worker());
    rig.unharmed();
}

#[test]
fn light_work_is_healthy() {
    for class in ["gevent", "gthread"] {
        let Some(rig) = Rig::up(&Setup::of(class)) else { return };
        let load = load(&rig, "/fault/slow_page", 2, 100);
        let report = rig.look(&[]);
        assert!(load.stop().answers > 10);
        report.expect("healthy_busy");
        rig.unharmed();
    }
}

/// `SQLite` sleeps by the millisecond: sampling alone sees a running thread, the counters see one that waits.
#[test]
fn microsecond_sleeps_are_sleeps() {
    let Some(rig) = Rig::up(&Setup::of("sync")) else { return };
    rig.trigger(by_name("block_sqlite_lock").unwrap(), 30);
    let report = rig.look(&[]);
    report.expect("loop_blocked_off_cpu");
    let on_cpu = report.worker()["time_budget"]["on_cpu"]["share"].as_f64().unwrap();
    assert!(on_cpu < 0.5, "{on_cpu}");
    rig.unharmed();
}

/// A throttled thread always shows state R: only counters tell it from a computing one.
#[test]
fn a_throttled_worker_is_throttled_and_a_throttled_spinner_spins() {
    let Some(group) = Group::new() else { return };
    let Some(rig) = Rig::up(&Setup::of("gevent")) else { return };
    let idle = rig.look(&["-d", "500ms"]);
    let pid = idle.worker()["pid"].as_i64().unwrap();
    group.add(pid);
    let busy = load(&rig, "/fault/cpu_page", 4, 0);
    let report = rig.look(&[]);
    drop(busy.stop());
    report.expect("cgroup_throttled");
    assert!(report.culprit().contains("stallscope-test"), "{}", report.culprit());
    rig.trigger(by_name("spin_watcher").unwrap(), 30);
    rig.look(&[]).expect("hot_spin");
    rig.unharmed();
}

/// Other work on the same processors: runnable is not running.
#[test]
fn a_starved_worker_is_starved() {
    let Some(rig) = Rig::up(&Setup::of("gevent")) else { return };
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let hogs: Vec<_> = (0..cpus * 3).map(|_| Hog::start()).collect();
    let busy = load(&rig, "/fault/cpu_page", 4, 0);
    let report = rig.look(&[]);
    drop(busy.stop());
    drop(hogs);
    report.expect("cpu_starved");
    rig.unharmed();
}

struct Hog(std::process::Child);

impl Hog {
    fn start() -> Self {
        Self(std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control group with a fifth of a processor.
struct Group(std::path::PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("stallscope-test-{}", std::process::id());
        let v1 = std::path::Path::new("/sys/fs/cgroup/cpu").join(&name);
        let v2 = std::path::Path::new("/sys/fs/cgroup").join(&name);
        if std::fs::create_dir(&v1).is_ok() {
            let set = std::fs::write(v1.join("cpu.cfs_quota_us"), "20000");
            let group = Self(v1);
            if set.is_ok() {
                return Some(group);
            }
        } else if std::fs::create_dir(&v2).is_ok() {
            let set = std::fs::write(v2.join("cpu.max"), "20000 100000");
            let group = Self(v2);
            if set.is_ok() {
                return Some(group);
            }
        }
        eprintln!("SKIPPED: no control group with a quota may be made here");
        None
    }

    fn add(&self, pid: i64) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is still inside goes back to the root group first.
        if let (Ok(pids), Some(parent)) =
            (std::fs::read_to_string(self.0.join("cgroup.procs")), self.0.parent())
        {
            for pid in pids.split_whitespace() {
                let _ = std::fs::write(parent.join("cgroup.procs"), pid);
            }
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}
