//! More than one server at once, and workers that come and go: an upgrade in place, recycled workers, dirty workers.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::portal::load::{Load, Plan, REQUEST_PATIENCE};
use stallscope::portal::process::Identity;

use super::rig::{Ends, Rig, Way, children, free_port, look, look_for, version};

/// An upgrade: the old arbiter has a child that is an arbiter itself, and both have workers.
#[test]
fn an_upgrade_is_two_servers() {
    upgrade("19.10.0", Way::Script);
    upgrade("20.1.0", Way::Title);
}

#[test]
fn an_upgrade_of_newer_versions_is_two_servers() {
    upgrade("23.0.0", Way::Module);
    upgrade("27.0.1", Way::Script);
    upgrade("27.0.1", Way::Title);
}

fn upgrade(gunicorn: &str, way: Way) {
    let Some(python) = version(gunicorn).python() else { return };
    let port = free_port();
    let rig = Rig::start(&python, way, &["-w", "2", "-b", &format!("127.0.0.1:{port}"), "app:app"]);
    rig.until_serving(port, 2);
    let old = children(rig.pid());
    kill(Pid::from_raw(rig.pid()), Signal::SIGUSR2).unwrap();
    let newer = || children(rig.pid()).into_iter().find(|pid| !old.contains(pid));
    rig.until("the new arbiter's workers", || newer().is_some_and(|pid| children(pid).len() == 2));
    let new = Identity::of(newer().unwrap()).unwrap();
    let ends = Ends(new);
    let workers = children(new.pid);
    let from_worker = workers[0];
    let looks = [rig.pid(), old[0], new.pid, from_worker].map(|pid| std::thread::spawn(move || look(pid)));
    let [of_old, of_old_worker, of_new, of_new_worker] = looks.map(|look| look.join().unwrap());
    let what = format!("upgrade of {gunicorn} {way:?}");
    for seen in [of_old, of_old_worker] {
        seen.assert_well(&what, "sync", 2);
        assert_eq!((seen.pids("arbiter"), seen.pids("worker")), (vec![rig.pid()], old.clone()), "{what}");
    }
    for seen in [of_new, of_new_worker] {
        seen.assert_well(&what, "sync", 2);
        assert_eq!((seen.pids("arbiter"), seen.pids("worker")), (vec![new.pid], workers.clone()), "{what}");
    }
    // The old one goes, as it does after an upgrade; the new one is adopted by somebody else and stays itself.
    kill(Pid::from_raw(rig.pid()), Signal::SIGTERM).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while rig.head.lives() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let adopted = look(from_worker);
    drop(ends);
    adopted.assert_well(&what, "sync", 2);
    assert_eq!(adopted.pids("arbiter"), [new.pid], "{what}");
}

/// Workers that are replaced after so many requests are no crash.
#[test]
fn recycled_workers_are_no_fault() {
    for gunicorn in ["20.1.0", "27.0.1"] {
        let Some(python) = version(gunicorn).python() else { continue };
        let port = free_port();
        let bind = format!("127.0.0.1:{port}");
        let args = ["-w", "2", "--max-requests", "15", "-b", &bind, "app:app"];
        let rig = Rig::start(&python, Way::Script, &args);
        rig.until_serving(port, 2);
        let load = Load::start(&Plan {
            address: ([127, 0, 0, 1], port).into(),
            path: "/slow".into(),
            connections: 1,
            keep_alive: false,
            pause: Duration::from_millis(10),
            patience: REQUEST_PATIENCE,
            at_most: Duration::from_secs(30),
        });
        let seen = look_for(rig.pid(), "3s", &[]);
        let answers = load.stop().answers;
        let text = format!("{gunicorn}: {:#}", seen.json);
        assert!(answers > 45, "not enough was served to recycle anybody: {answers}");
        let workers = seen.processes("worker");
        assert!(workers.len() > 2, "no birth was seen: {text}");
        assert_eq!(seen.json["server"]["worker_class"], "sync", "{text}");
        assert_eq!(seen.pids("arbiter"), [rig.pid()], "{text}");
        for process in seen.json["processes"].as_array().unwrap() {
            assert_ne!(process["verdict"]["severity"], "critical", "{process:#}");
        }
        assert!([Some(0), Some(4)].contains(&seen.exit), "{text}");
        assert_ne!(seen.json["server"]["verdict"]["severity"], "critical", "{text}");
    }
}

const DIRTY: &str = "
from gunicorn.dirty import DirtyApp

class Model(DirtyApp):
    def init(self):
        pass
    def __call__(self, action, *args, **kwargs):
        return action
    def close(self):
        pass
";

/// gunicorn 25 and later may have a second arbiter for long work, with workers of its own: they serve no request.
#[test]
fn dirty_workers_are_no_web_workers() {
    for (gunicorn, way) in [("25.3.0", Way::Script), ("27.0.1", Way::Title), ("27.0.1", Way::Module)] {
        let Some(python) = version(gunicorn).python() else { continue };
        let port = free_port();
        let bind = format!("127.0.0.1:{port}");
        let args = ["-w", "2", "-b", &bind, "--dirty-app", "model:Model", "--dirty-workers", "1", "app:app"];
        let rig = Rig::prepared(&Rig::command(&python, way, &args), way, &[("model.py", DIRTY)]);
        rig.until("an answer", || super::rig::answers(port));
        rig.until("its processes", || children(rig.pid()).len() == 3);
        let second = || children(rig.pid()).into_iter().find(|pid| !children(*pid).is_empty());
        rig.until("the dirty worker", || second().is_some());
        let second = second().unwrap();
        let web: Vec<i32> = children(rig.pid()).into_iter().filter(|pid| *pid != second).collect();
        let what = format!("{gunicorn} {way:?}");
        for pid in [rig.pid(), web[0]] {
            let seen = look(pid);
            seen.assert_well(&what, "sync", 2);
            assert_eq!(seen.pids("arbiter"), [rig.pid()], "{what}");
            assert_eq!(seen.pids("worker"), web, "{what}");
            assert_eq!(seen.listen(), std::slice::from_ref(&bind), "{what}");
        }
        // Asked for by themselves, they are looked at as what they are: processes with a loop.
        for pid in [second, children(second)[0]] {
            let seen = look(pid);
            let text = format!("{what}: {:#}", seen.json);
            assert_ne!(seen.json["server"]["kind"], "gunicorn", "{text}");
            assert!(seen.json["processes"].as_array().unwrap().iter().any(|p| p["pid"] == pid), "{text}");
            assert!([Some(0), Some(4)].contains(&seen.exit), "{text}");
        }
    }
}
