//! Bursts at the workers of a real gunicorn, idle and under load: no request is lost, no worker changes, and who dies
//! meanwhile is replaced at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::capture::burst::End;
use stallscope::observe::burst::{Bounds, DEFAULT_LIMIT};
use stallscope::portal::Stack;
use stallscope::portal::http;
use stallscope::portal::load::{Load, Outcome, Plan};
use stallscope::portal::server::{Options, Portal};

use crate::rig::{
    Canary, Times, any, assert_free, burst, burst_with, helper_of, is_full, long, of_ms, share, try_burst,
};
use crate::tool::until;

/// How soon the arbiter has replaced a worker that was killed.
const REPLACED: Duration = Duration::from_millis(300);

/// Kinds of workers that are tried: all of them, or the story's.
fn classes() -> &'static [&'static str] {
    if is_full() { &["gevent", "gthread", "uvicorn", "sync"] } else { &["gevent"] }
}

struct Server {
    portal: Portal,
    _folder: tempfile::TempDir,
}

impl Server {
    fn new(class: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::of(Stack::Modern, class, &folder.path().join("portal"));
        Self { portal: Portal::up(&options, &mut |_| {}).unwrap(), _folder: folder }
    }

    fn workers(&self) -> BTreeSet<i32> {
        let arbiter = self.portal.arbiter_pid;
        let path = format!("/proc/{arbiter}/task/{arbiter}/children");
        let text = std::fs::read_to_string(Path::new(&path)).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn worker(&self) -> i32 {
        *self.workers().first().unwrap()
    }

    fn load(&self) -> Load {
        Load::start(&Plan {
            address: self.portal.direct,
            path: "/".into(),
            connections: 4,
            keep_alive: false,
            pause: Duration::from_millis(10),
            patience: Duration::from_secs(5),
            at_most: Duration::from_hours(1),
        })
    }

    fn answers(&self) {
        let answer = http::get(self.portal.direct, "/oracle", Duration::from_secs(5)).unwrap();
        assert_eq!(answer.status, 200);
    }
}

fn in_words(outcome: &Outcome) -> String {
    let Outcome { answers, p99_ms, .. } = outcome;
    format!("0 of {answers} requests lost, 99 of 100 answered within {p99_ms:.0} ms")
}

#[test]
fn workers_go_on_and_no_request_is_lost() {
    for class in classes() {
        let server = Server::new(class);
        bursts_at_rest_and_under_load(&server, class);
        helpers_killed_under_load(&server, class);
        server.portal.down();
    }
}

/// Bursts one after the other.
fn bursts_at_rest_and_under_load(server: &Server, class: &str) {
    let workers = server.workers();
    let bursts = share(500, 10);
    let many = || {
        for _ in 0..bursts {
            let worker = server.worker();
            let seen = burst(worker, &of_ms(5 + any(45)));
            assert_ne!(seen.end, End::Killed);
            assert_free(worker);
        }
    };
    many();
    server.answers();
    let load = server.load();
    many();
    let outcome = load.stop();
    assert!(outcome.answers > 0);
    assert_eq!((outcome.failures, server.workers()), (0, workers), "{class}: {outcome:?}");
    println!(
        "PROOF {bursts} bursts at an idle {class} worker, {bursts} at a busy one: {}, the same worker afterwards",
        in_words(&outcome)
    );
}

/// Helpers killed at random.
fn helpers_killed_under_load(server: &Server, class: &str) {
    let workers = server.workers();
    let undisturbed = server.load();
    std::thread::sleep(Duration::from_secs(u64::from(share(5, 1))));
    let undisturbed = undisturbed.stop();
    let load = server.load();
    let (kills, mut died) = (share(250, 12), 0);
    while died < kills {
        let worker = server.worker();
        let seen = burst_with(worker, &long(1_000), Duration::from_millis(30), Signal::SIGKILL);
        died += u32::from(seen.end == End::Killed);
        assert_free(worker);
    }
    let outcome = load.stop();
    assert!(outcome.answers > 0);
    assert_eq!((outcome.failures, server.workers()), (0, workers), "{class}: {outcome:?}");
    println!(
        "PROOF {class} worker under load, helper killed {died} times: {} (undisturbed {:.0} ms)",
        in_words(&outcome),
        undisturbed.p99_ms
    );
}

/// Kills the worker and gives how long its arbiter took to have another one.
fn replaced(server: &Server, worker: i32) -> Duration {
    let killed = Instant::now();
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    let deadline = killed + Duration::from_secs(20);
    loop {
        let workers = server.workers();
        if !workers.is_empty() && !workers.contains(&worker) {
            return killed.elapsed();
        }
        assert!(Instant::now() < deadline, "worker {worker} was not replaced");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The arbiter hears of a worker's death although somebody else traced it, even if that one hangs.
#[test]
fn a_worker_that_is_killed_meanwhile_is_replaced() {
    let (server, mut control) = (Server::new("gevent"), Canary::control());
    let bounds = Bounds { limit: DEFAULT_LIMIT, ..long(0) };
    let ways: [(&str, Option<(Bounds, bool)>); 3] = [
        ("without a burst", None),
        ("during a burst", Some((long(10_000), false))),
        ("during a burst whose helper is stopped", Some((bounds, true))),
    ];
    for (what, way) in ways {
        let (number, mut times) = (share(20, 2), Times::promised(REPLACED));
        while times.len() < number as usize {
            until("the worker serves", || {
                http::get(server.portal.direct, "/oracle", Duration::from_secs(2))
                    .is_ok_and(|a| a.status == 200)
            });
            let worker = server.worker();
            control.ask();
            let took = std::thread::scope(|scope| {
                let Some((bounds, stopped)) = &way else { return Some(replaced(&server, worker)) };
                let burst = scope.spawn(move || try_burst(worker, bounds));
                let helper = helper_of(worker, || burst.is_finished())?;
                if *stopped {
                    kill(helper, Signal::SIGSTOP).ok()?;
                }
                let took = replaced(&server, worker);
                let end = burst.join().unwrap().unwrap().end;
                // One that was over before it was stopped proves nothing.
                (end == if *stopped { End::Timer } else { End::NothingLeft }).then_some(took)
            });
            if let Some(took) = took {
                times.add((took, control.ask().stood));
            }
        }
        times.tell(&format!("worker killed {what}, replaced"));
    }
    server.portal.down();
}
