//! Brings up a portal, triggers a fault, looks at it with the real binary, and checks that nothing was harmed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stallscope::portal::faults::{Fault, by_name};
use stallscope::portal::server::{Options, Portal};
use stallscope::portal::{Stack, http};

use machine::Need;

mod machine;

/// A portal under test.
pub struct Rig {
    pub portal: Portal,
    before: BTreeMap<i32, String>,
    dir: PathBuf,
    unix_socket: bool,
    _share: machine::Held,
}

/// What is brought up.
pub struct Setup<'s> {
    pub stack: Stack,
    pub class: &'s str,
    pub workers: u32,
    pub threads: Option<u32>,
    pub env: Vec<(String, String)>,
    pub wait: bool,
    pub nginx: bool,
    pub unix_socket: bool,
}

impl Setup<'_> {
    pub fn of(class: &str) -> Setup<'_> {
        Setup {
            stack: if class == "builtin" { Stack::Builtin } else { Stack::Modern },
            class,
            workers: 1,
            threads: (class == "gthread").then_some(4),
            env: Vec::new(),
            wait: true,
            nginx: false,
            unix_socket: false,
        }
    }
}

impl Rig {
    /// Brings it up; `None`, and said so, where the software cannot be had.
    pub fn up(setup: &Setup<'_>) -> Option<Self> {
        Self::up_beside(setup, Need::Whole)
    }

    /// The same for one that is only idle, and may have a neighbour that waits.
    pub fn up_idle(setup: &Setup<'_>) -> Option<Self> {
        Self::up_beside(setup, Need::Half)
    }

    fn up_beside(setup: &Setup<'_>, need: Need) -> Option<Self> {
        let share = machine::take(need);
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("stallscope-test-XXXXXX")).unwrap();
        let options = Options {
            workers: setup.workers,
            threads: setup.threads,
            timeout_s: Some(60),
            nginx: setup.nginx,
            unix_socket: setup.unix_socket,
            env: setup.env.clone(),
            wait: setup.wait,
            ..Options::of(setup.stack, setup.class, &dir)
        };
        match Portal::up(&options, &mut |line| eprintln!("{line}")) {
            Ok(portal) => {
                let before = settled(portal.arbiter_pid, if setup.wait { setup.workers as usize } else { 0 });
                Some(Self { portal, before, dir, unix_socket: setup.unix_socket, _share: share })
            }
            Err(error)
                if error.message.contains("was found") || error.message.contains("cannot be installed") =>
            {
                let _ = std::fs::remove_dir_all(&dir);
                eprintln!(
                    "SKIPPED: {:?} portal with {} workers: {}: {}",
                    setup.stack, setup.class, error.message, error.cause
                );
                None
            }
            Err(error) => panic!("{}: {}", error.message, error.cause),
        }
    }

    /// Asks for a fault, and waits until it shows: a background fault has answered, a blocking one has been received.
    pub fn trigger(&self, fault: &Fault, seconds: u32) {
        let path = fault.path(seconds);
        let address = if self.unix_socket { self.portal.front } else { self.portal.direct };
        for _ in 0..fault.requests {
            let path = path.clone();
            let ask = std::thread::spawn(move || {
                http::get(address, &path, Duration::from_secs(u64::from(seconds)))
            });
            if fault.background {
                assert_eq!(ask.join().unwrap().unwrap().status, 200);
            }
        }
        if !fault.background {
            self.await_accepted();
        }
    }

    /// Waits until no connection waits to be accepted: then the request is in the worker's hands.
    fn await_accepted(&self) {
        // Of a unix socket the kernel shows the connections that were accepted under its path.
        let accepted = || {
            let table = std::fs::read_to_string("/proc/net/unix").unwrap();
            table.lines().any(|l| l.ends_with("portal.sock") && l.split_whitespace().nth(5) == Some("03"))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while self.unix_socket && !accepted() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.unix_socket {
            return;
        }
        let port = self.portal.direct.port();
        let suffix = format!(":{port:04X}");
        for _ in 0..200 {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let queued = table.lines().filter_map(|l| {
                let f: Vec<&str> = l.split_whitespace().collect();
                (f.get(1)?.ends_with(&suffix) && *f.get(3)? == "0A")
                    .then(|| f[4].split(':').nth(1).map(str::to_owned))?
            });
            let established = table.lines().filter(|l| {
                let f: Vec<&str> = l.split_whitespace().collect();
                f.len() > 3 && f[1].ends_with(&suffix) && f[3] == "01"
            });
            if queued.clone().all(|q| u64::from_str_radix(&q, 16) == Ok(0)) && established.count() > 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// The report of the real binary on the whole server.
    pub fn look(&self, extra: &[&str]) -> Report {
        let pid = self.portal.arbiter_pid.to_string();
        let out = Command::new(env!("CARGO_BIN_EXE_stallscope"))
            .args([&pid, "--format", "json"])
            .args(extra)
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let json: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text} {:?}", String::from_utf8_lossy(&out.stderr)));
        Report { json, exit: out.status.code() }
    }

    /// The report, looked at again where other work on this machine had the processors meanwhile: that is a true
    /// verdict, and not the one that is tested.
    pub fn look_in_peace(&self, expected: &str) -> Report {
        for _ in 0..2 {
            let report = self.look(&[]);
            let disturbed =
                report.code() == "cpu_starved" && ["neighbours", "steal"].contains(&report.subcause());
            if !disturbed || expected == "cpu_starved" {
                return report;
            }
            eprintln!("other work has the processors: looking again");
        }
        self.look(&[])
    }

    /// The target is as it was: same processes, not traced, not stopped.
    pub fn unharmed(self) {
        let after = states(self.portal.arbiter_pid);
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            self.before.keys().collect::<Vec<_>>(),
            "same processes"
        );
        for (pid, status) in after {
            let field = |name: &str| {
                let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
                line.split_whitespace().nth(1).unwrap_or_default().to_owned()
            };
            assert_eq!(field("TracerPid:"), "0", "process {pid}");
            assert!(!["t", "T"].contains(&field("State:").as_str()), "process {pid} is {}", field("State:"));
        }
        self.portal.down();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The states once all workers are there: the first one answers before the last one is born.
fn settled(arbiter: i32, workers: usize) -> BTreeMap<i32, String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let states = states(arbiter);
        if states.len() > workers || std::time::Instant::now() > deadline {
            return states;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn states(arbiter: i32) -> BTreeMap<i32, String> {
    let children =
        std::fs::read_to_string(format!("/proc/{arbiter}/task/{arbiter}/children")).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|p| p.parse().ok()).chain([arbiter]);
    // Only processes of the server itself: a fault may have a child for a while.
    let status = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
    pids.filter_map(|pid| Some((pid, status(pid)?))).filter(|(_, s)| !s.contains("Name:\tsleep")).collect()
}

/// A report.
pub struct Report {
    pub json: Value,
    pub exit: Option<i32>,
}

impl Report {
    /// The one worker that is judged.
    pub fn worker(&self) -> &Value {
        self.workers().next().unwrap_or_else(|| panic!("no worker in {:#}", self.json))
    }

    pub fn workers(&self) -> impl Iterator<Item = &Value> {
        self.json["processes"].as_array().unwrap().iter().filter(|p| p["role"] != "arbiter")
    }

    pub fn arbiter(&self) -> &Value {
        self.json["processes"].as_array().unwrap().iter().find(|p| p["role"] == "arbiter").unwrap()
    }

    pub fn code(&self) -> &str {
        self.worker()["verdict"]["code"].as_str().unwrap()
    }

    pub fn subcause(&self) -> &str {
        self.worker()["verdict"]["subcause"].as_str().unwrap_or_default()
    }

    pub fn culprit(&self) -> String {
        self.worker()["verdict"]["culprit"].to_string()
    }

    /// Asserts the verdict, with the whole argument in the message.
    pub fn expect(&self, code: &str) -> &Self {
        assert_eq!(self.code(), code, "{:#}\n{:#}", self.worker(), self.json["blind_spots"]);
        self
    }
}

/// One fault, one worker class: its verdict, and no harm.
pub fn check(class: &str, fault: &str, also: impl FnOnce(&Report)) {
    check_on(&Setup::of(class), fault, also);
}

/// The same on a given setup.
pub fn check_on(setup: &Setup<'_>, fault: &str, also: impl FnOnce(&Report)) {
    let fault = by_name(fault).unwrap();
    let expected = fault.expected_of(setup.class).unwrap();
    // What these servers do needs no processor.
    let waits = ["loop_blocked_off_cpu", "waiting_upstream", "stalled_in_process", "deadlock", "idle"];
    let need = if waits.contains(&expected) { Need::Half } else { Need::Whole };
    let Some(rig) = Rig::up_beside(setup, need) else { return };
    rig.trigger(fault, 30);
    let report = rig.look_in_peace(expected);
    report.expect(expected);
    if setup.class != "builtin" {
        assert_eq!(report.arbiter()["verdict"]["code"], "arbiter_normal", "{:#}", report.arbiter());
    }
    also(&report);
    rig.unharmed();
}
