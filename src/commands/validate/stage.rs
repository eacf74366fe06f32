//! The stage of a run: a portal with the load, the limit and the fault of a scenario on it, and what its workers say.
//!
//! Whatever is put up here ends when the stage is dropped, in any order and on every way out.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::signals;
use crate::portal::limits::{Group, Neighbours};
use crate::portal::load::{self, Plan, REQUEST_PATIENCE};
use crate::portal::oracle::{self, Stamp};
use crate::portal::process::Identity;
use crate::portal::scenarios::{Effect, Limit, Load, Outside, Scenario};
use crate::portal::server::{Options, Portal};
use crate::portal::{faults, http};

/// How long a fault lasts by itself: longer than the longest look.
const FAULT_SECONDS: u32 = 40;
/// How long anything may take to show.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often is looked whether it shows: what goes on inside a worker sends no event.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a pace is measured.
const PACE: Duration = Duration::from_secs(1);

/// What distinguishes portals that cannot stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    stack: crate::portal::Stack,
    class: String,
    workers: u32,
    threads: Option<u32>,
    boot_slow: bool,
}

impl Kind {
    /// Of a scenario.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self {
            stack: scenario.stack,
            class: scenario.class.clone(),
            workers: scenario.workers,
            threads: scenario.threads,
            boot_slow: scenario.outside() == Some(Outside::BootSlow),
        }
    }
}

/// A portal with everything that is put on it.
#[derive(Debug)]
pub struct Stage {
    /// What it is.
    pub kind: Kind,
    /// The portal.
    pub portal: Portal,
    load: Option<load::Load>,
    group: Option<Group>,
    neighbours: Option<Neighbours>,
    silent: Vec<TcpStream>,
    held: Option<load::Held>,
    stopped: Option<Identity>,
}

/// What the workers say, by pid.
pub type Stamps = Vec<(i32, Stamp)>;

impl Stage {
    /// Brings up the portal of a scenario in a folder of its own.
    pub fn up(scenario: &Scenario, dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let kind = Kind::of(scenario);
        let mut env = vec![(oracle::SWITCH.0.to_owned(), oracle::SWITCH.1.to_owned())];
        if kind.boot_slow {
            env.push(("PORTAL_FAULT".to_owned(), "boot_slow".to_owned()));
            env.push(("PORTAL_SECONDS".to_owned(), FAULT_SECONDS.to_string()));
        }
        let options = Options {
            workers: scenario.workers,
            threads: scenario.threads,
            timeout_s: Some(60),
            env,
            wait: !kind.boot_slow,
            ..Options::of(scenario.stack, &scenario.class, dir)
        };
        let portal = Portal::up(&options, progress)?;
        let stage = Self {
            kind,
            portal,
            load: None,
            group: None,
            neighbours: None,
            silent: Vec::new(),
            held: None,
            stopped: None,
        };
        stage.settle(scenario.workers as usize)?;
        Ok(stage)
    }

    /// Waits until all workers are born: the first one answers before the last one is.
    fn settle(&self, workers: usize) -> Result<()> {
        let born = until(PATIENCE * 2, || self.workers().len() >= workers)?;
        if born { Ok(()) } else { Err(failed("not all of its workers were born")) }
    }

    /// Its workers.
    #[must_use]
    pub fn workers(&self) -> Vec<Identity> {
        Identity::of(self.portal.arbiter_pid).map(Identity::children).unwrap_or_default()
    }

    /// What they say now; nothing where they have no oracle.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        let workers = self.workers().into_iter();
        workers.filter_map(|w| Some((w.pid, Stamp::read(&self.portal.dir, w.pid)?))).collect()
    }

    /// Puts the load on, and waits until it is served.
    pub fn load(&mut self, load: Load) -> Result<()> {
        let Some(plan) = plan(load, self.portal.direct) else { return Ok(()) };
        let before = self.stamps();
        self.load = Some(load::Load::start(&plan));
        if before.is_empty() {
            return Ok(());
        }
        let enough = answered(&before) + 2 * plan.connections as u64;
        let served = until(PATIENCE, || answered(&self.stamps()) >= enough)?;
        if served { Ok(()) } else { Err(failed("the load is not served")) }
    }

    /// The pace of work under load alone: what the workers say, twice.
    pub fn pace(&self) -> Result<(Stamps, Stamps)> {
        let first = self.stamps();
        until(PACE, || false)?;
        Ok((first, self.stamps()))
    }

    /// Holds the portal back.
    pub fn limit(&mut self, limit: Limit) -> Result<()> {
        match limit {
            Limit::None => {}
            Limit::Starve => self.neighbours = Some(Neighbours::start()),
            Limit::Throttle => {
                let group = Group::new(&format!("stallscope-validate-{}", std::process::id()))?;
                for worker in self.workers() {
                    group.add(worker.pid)?;
                }
                self.group = Some(group);
            }
        }
        Ok(())
    }

    /// Brings the fault about and waits until somebody is in it. Gives the worker that is, if that is known.
    pub fn fault(&mut self, scenario: &Scenario, before: &Stamps) -> Result<Option<i32>> {
        match scenario.outside() {
            Some(Outside::BootSlow) => self.boots(),
            Some(Outside::Stopped) => self.stop(),
            Some(Outside::SilentClients) => self.silence(scenario.slots().max(1)),
            None => match scenario.path(FAULT_SECONDS) {
                Some(path) if scenario.client().is_some() => self.hold(scenario, &path, before),
                Some(path) => self.ask(scenario, &path, before),
                None => Ok(None),
            },
        }
    }

    fn boots(&self) -> Result<Option<i32>> {
        let asleep = |worker: &Identity| {
            std::fs::read_to_string(format!("/proc/{}/wchan", worker.pid))
                .is_ok_and(|w| w.contains("nanosleep"))
        };
        let mut found = None;
        until(PATIENCE * 3, || {
            found = self.workers().into_iter().find(asleep);
            found.is_some()
        })?;
        found.map(|w| Some(w.pid)).ok_or_else(|| failed("no worker loads the application"))
    }

    fn stop(&mut self) -> Result<Option<i32>> {
        let worker = self.workers().into_iter().next().ok_or_else(|| failed("it has no worker"))?;
        // A worker of the portal that we have started ourselves; it goes on when the stage is cleared.
        kill(Pid::from_raw(worker.pid), Signal::SIGSTOP).map_err(|e| failed(&e.to_string()))?;
        self.stopped = Some(worker);
        let stands = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid)).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        if until(PATIENCE, stands)? { Ok(Some(worker.pid)) } else { Err(failed("the worker does not stop")) }
    }

    fn silence(&mut self, slots: u64) -> Result<Option<i32>> {
        for _ in 0..slots {
            let mut stream = TcpStream::connect(self.portal.direct).map_err(|e| failed(&e.to_string()))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").map_err(|e| failed(&e.to_string()))?;
            self.silent.push(stream);
        }
        self.accepted()?;
        Ok(None)
    }

    fn hold(&mut self, scenario: &Scenario, path: &str, before: &Stamps) -> Result<Option<i32>> {
        let client = scenario.client().unwrap_or(faults::Client::Asks);
        let held = load::Held::new(self.portal.direct, client, path, scenario.requests());
        self.held = Some(held.map_err(|e| failed(&e.to_string()))?);
        // More clients than slots: some of them stay in the queue, so what is awaited is that somebody was taken.
        until(PATIENCE, || self.connected() > 0)?;
        // A client that is never let in does not reach the application.
        if scenario.effect == Effect::Unanswered || before.is_empty() {
            return Ok(None);
        }
        self.entered(scenario, before)
    }

    fn ask(&self, scenario: &Scenario, path: &str, before: &Stamps) -> Result<Option<i32>> {
        let patience = Duration::from_secs(u64::from(FAULT_SECONDS) + 5);
        for _ in 0..scenario.requests() {
            let mut client =
                http::Client::connect(self.portal.direct, patience).map_err(|e| failed(&e.to_string()))?;
            client.ask(path, false).map_err(|e| failed(&e.to_string()))?;
            if scenario.background() {
                let answer = client.answer().map_err(|e| failed(&format!("the fault's request: {e}")))?;
                if answer.status != 200 {
                    return Err(failed(&format!("the fault was refused: {} {}", answer.status, answer.body)));
                }
            } else {
                // Whoever is blocked by it answers late or never; the connection lives until then.
                std::thread::spawn(move || client.answer());
            }
        }
        // What only looks like a fault tells the oracle nothing; what goes on in the background has answered.
        if scenario.control && scenario.background() {
            return Ok(None);
        }
        if before.is_empty() || scenario.control {
            self.accepted()?;
            return Ok(None);
        }
        self.entered(scenario, before)
    }

    /// Waits until all that can be are in the fault. Gives the worker that they are in.
    fn entered(&self, scenario: &Scenario, before: &Stamps) -> Result<Option<i32>> {
        let wanted = match scenario.slots() {
            0 => u64::from(scenario.requests()),
            slots => u64::from(scenario.requests()).min(slots),
        };
        let entered = |stamps: &Stamps| {
            let new = |(pid, now): &&(i32, Stamp)| {
                let was = before.iter().find(|(p, _)| p == pid).map(|(_, s)| *s).unwrap_or_default();
                now.entered_since(&was) && (scenario.background() || now.fault_waiting >= wanted)
            };
            stamps.iter().find(new).map(|(pid, _)| *pid)
        };
        let mut worker = None;
        until(PATIENCE, || {
            worker = entered(&self.stamps());
            worker.is_some()
        })?;
        // Who is not seen in it after all this time is told by what follows: its effect is not there.
        Ok(worker)
    }

    /// Without an oracle: waits until no connection waits to be accepted. Then the request is in a worker's hands.
    fn accepted(&self) -> Result<()> {
        until(PATIENCE, || {
            let (queued, connected) = self.connections();
            queued == 0 && connected > 0
        })?;
        Ok(())
    }

    fn connected(&self) -> u64 {
        self.connections().1
    }

    /// Connections to the portal that wait to be accepted, and all of them.
    fn connections(&self) -> (u64, u64) {
        let port = format!(":{:04X}", self.portal.direct.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let (mut queued, mut connected) = (0, 0);
        for row in rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&port))) {
            match row.get(3).copied() {
                Some("0A") => {
                    let queue = row.get(4).and_then(|q| q.split_once(':')).map(|(_, q)| q);
                    queued += queue.and_then(|q| u64::from_str_radix(q, 16).ok()).unwrap_or(0);
                }
                Some("01") => connected += 1,
                _ => {}
            }
        }
        (queued, connected)
    }

    /// A visitor who comes now: tells later whether he got an answer.
    #[must_use]
    pub fn visitor(&self) -> Visitor {
        let (told, answer) = mpsc::channel();
        let address = self.portal.direct;
        std::thread::spawn(move || {
            if http::get(address, "/oracle", Duration::from_secs(u64::from(FAULT_SECONDS))).is_ok() {
                let _ = told.send(());
            }
        });
        Visitor(answer)
    }

    /// Takes away load, limit and clients. `true` when the portal is as if it had just come up.
    pub fn clear(&mut self, scenario: &Scenario) -> bool {
        let loaded = self.load.take().map(load::Load::stop).is_some();
        self.neighbours = None;
        self.group = None;
        self.silent.clear();
        self.held = None;
        self.wake();
        // What only looks like a fault goes on for a while, too.
        if !scenario.control || scenario.fault != "none" {
            return false;
        }
        let quiet = || {
            let stamps = self.stamps();
            !stamps.is_empty() && stamps.iter().all(|(_, s)| s.requests_started == s.requests_done)
        };
        !loaded || until(PACE * 2, quiet).unwrap_or(false)
    }

    fn wake(&mut self) {
        if let Some(worker) = self.stopped.take().filter(|w| w.lives()) {
            let _ = kill(Pid::from_raw(worker.pid), Signal::SIGCONT);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The portal ends itself; a stopped worker could not hear that it shall.
        self.wake();
    }
}

/// Somebody who has come to the portal.
#[derive(Debug)]
pub struct Visitor(mpsc::Receiver<()>);

impl Visitor {
    /// Whether he has got an answer by now.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.0.try_recv().is_ok()
    }
}

/// Requests answered by all workers.
#[must_use]
pub fn answered(stamps: &Stamps) -> u64 {
    stamps.iter().map(|(_, s)| s.requests_done).sum()
}

/// Looks again and again until something holds, or patience ends; a signal ends it with an error.
fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> Result<bool> {
    let end = Instant::now() + patience;
    loop {
        if signals::caught().is_some() {
            return Err(failed("interrupted"));
        }
        if holds() {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What the portal is asked for.
fn plan(load: Load, address: std::net::SocketAddr) -> Option<Plan> {
    let (path, connections, pause_ms) = match load {
        Load::None => return None,
        Load::Light => ("/fault/slow_page", 3, 50),
        // About a hundred pages of 5 ms a second.
        Load::Knee => ("/fault/cpu_page", 4, 35),
        Load::Overload => ("/fault/cpu_page", 8, 0),
        Load::Keepalive => ("/", 16, 250),
        // Clients give up after a second; nobody is kept that long. A page that waits on purpose tells the oracle nothing.
        Load::Longpoll => ("/fault/control_long_poll?seconds=0.8", 8, 0),
        Load::Health => ("/register", 1, 500),
        Load::Large => ("/fault/large_page", 4, 20),
    };
    Some(Plan {
        address,
        path: path.to_owned(),
        connections,
        keep_alive: load != Load::Health,
        pause: Duration::from_millis(pause_ms),
        patience: REQUEST_PATIENCE,
        at_most: Duration::from_mins(2),
    })
}

fn failed(cause: &str) -> Error {
    Error::new(ErrorKind::Portal, "the scenario cannot be set up", cause)
}
