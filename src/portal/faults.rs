//! What can go wrong in the portal, and the verdict that it must get: data.
//!
//! Each fault of the first set has a second implementation or more with another cause in code and the same true verdict
//! ([`super::faults_second`]): the rules were made with the first in sight and have never seen the second. A verdict
//! here is the truth about what was done to the server, and not what the tool says of it.

use serde::Serialize;

pub use super::faults_second::{CONTROLS, SECOND};
pub use super::faults_third::{THIRD, THIRD_CONTROLS};

/// Which set a fault belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// The rules were made with it in sight.
    First,
    /// Second implementations, held out from the making of the rules.
    Second,
    /// Written when the second had been used to mend rules.
    Third,
    /// No fault at all: what only looks like one.
    Control,
}

/// What the client of a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// Asks and waits for the answer.
    Asks,
    /// Connects and says nothing.
    Silent,
    /// Sends half a request.
    Half,
    /// Asks, and does not read the answer.
    SlowReader,
    /// Announces a body and sends the beginning of it.
    Upload,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name in the address `/fault/NAME`.
    pub name: &'static str,
    /// Which set it belongs to.
    pub set: Set,
    /// Name of the first fault of its kind: it pairs first and second implementations.
    pub family: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Expected verdict by worker class; a class that is not listed does not know the fault.
    pub expected: &'static [(&'static str, &'static str)],
    /// The true cause below the verdict; empty where none is claimed.
    pub subcause: &'static str,
    /// What its client does.
    pub client: Client,
    /// Whether it goes on after its request was answered.
    pub background: bool,
    /// Requests that it takes at once to show.
    pub requests: u32,
}

pub(super) const fn fault(
    name: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault {
        name,
        set: Set::First,
        family: name,
        what,
        expected,
        subcause: "",
        client: Client::Asks,
        background: false,
        requests: 1,
    }
}

/// Blocks a loop off the processor, or holds the only slot.
pub(super) const OFF: &[(&str, &str)] = &[
    ("gevent", "loop_blocked_off_cpu"),
    ("eventlet", "loop_blocked_off_cpu"),
    ("uvicorn", "loop_blocked_off_cpu"),
    ("tornado", "loop_blocked_off_cpu"),
    ("sync", "loop_blocked_off_cpu"),
    ("builtin", "loop_blocked_off_cpu"),
];
/// Blocks a loop on the processor.
pub(super) const ON: &[(&str, &str)] = &[
    ("gevent", "loop_blocked_on_cpu"),
    ("eventlet", "loop_blocked_on_cpu"),
    ("uvicorn", "loop_blocked_on_cpu"),
    ("tornado", "loop_blocked_on_cpu"),
    ("sync", "loop_blocked_on_cpu"),
    ("builtin", "loop_blocked_on_cpu"),
];

/// Blocks a loop in calls to a backend, which is what a slot is for.
pub(super) const BACKEND: &[(&str, &str)] = &[
    ("gevent", "loop_blocked_off_cpu"),
    ("eventlet", "loop_blocked_off_cpu"),
    ("uvicorn", "loop_blocked_off_cpu"),
    ("tornado", "loop_blocked_off_cpu"),
    ("sync", "waiting_upstream"),
    ("builtin", "loop_blocked_off_cpu"),
];

/// The first set.
pub const FAULTS: &[Fault] = &[
    Fault {
        subcause: "ready_fd_undrained",
        background: true,
        ..fault(
            "spin_watcher",
            "a readable descriptor that nobody reads (the story)",
            &[
                ("gevent", "hot_spin"),
                ("eventlet", "hot_spin"),
                ("uvicorn", "hot_spin"),
                ("builtin", "hot_spin"),
            ],
        )
    },
    Fault {
        background: true,
        ..fault(
            "spin_half_closed",
            "a connection closed by the other end, watched for ever",
            &[("gevent", "hot_spin"), ("eventlet", "hot_spin"), ("uvicorn", "hot_spin")],
        )
    },
    Fault {
        subcause: "busy_wait",
        background: true,
        ..fault(
            "spin_sleep0",
            "a greenlet or task that polls by sleep(0)",
            &[("gevent", "hot_spin"), ("eventlet", "hot_spin"), ("uvicorn", "hot_spin")],
        )
    },
    Fault { subcause: "sleep", ..fault("block_sleep", "a plain sleep in a request", OFF) },
    Fault {
        subcause: "upstream",
        ..fault("block_upstream", "a driver that waits for a silent backend in blocking calls", BACKEND)
    },
    Fault {
        subcause: "database_file",
        ..fault(
            "block_sqlite_lock",
            "a database file that somebody else has locked",
            &[
                ("gevent", "loop_blocked_off_cpu"),
                ("eventlet", "loop_blocked_off_cpu"),
                ("uvicorn", "loop_blocked_off_cpu"),
                ("sync", "loop_blocked_off_cpu"),
            ],
        )
    },
    Fault { subcause: "file_lock", ..fault("block_flock", "a file lock that another process holds", OFF) },
    Fault { subcause: "subprocess", ..fault("block_subprocess", "a child process that is waited for", OFF) },
    fault("cpu_python", "pure Python that does not yield", ON),
    Fault {
        subcause: "native_gil_released",
        ..fault("cpu_pbkdf2", "native code that lets the interpreter lock go", ON)
    },
    Fault {
        subcause: "native_gil_held",
        ..fault("cpu_regex", "a regular expression that backtracks without end", ON)
    },
    Fault {
        requests: 8,
        ..fault(
            "gil_contention",
            "pure Python in all threads of a pool (cpu_python, several times)",
            &[("gthread", "gil_contention")],
        )
    },
    Fault {
        requests: 8,
        ..fault(
            "upstream_slots",
            "all threads of a pool wait for a backend (block_upstream, several times)",
            &[("gthread", "waiting_upstream")],
        )
    },
    Fault {
        requests: 3,
        ..fault(
            "upstream_cooperative",
            "requests that wait for a backend as they should",
            &[
                ("gevent", "waiting_upstream"),
                ("eventlet", "waiting_upstream"),
                ("uvicorn", "waiting_upstream"),
            ],
        )
    },
    Fault {
        requests: 3,
        ..fault(
            "stall_event",
            "requests that wait for an event nobody sets",
            &[
                ("gevent", "stalled_in_process"),
                ("eventlet", "stalled_in_process"),
                ("uvicorn", "stalled_in_process"),
            ],
        )
    },
    Fault {
        requests: 8,
        ..fault("lock_contention", "one lock that all requests want", &[("gthread", "lock_contention")])
    },
    Fault { requests: 8, ..fault("deadlock", "locks that nobody will release", &[("gthread", "deadlock")]) },
];

/// All of them: the sets, one after the other, and the controls.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    FAULTS.iter().chain(SECOND).chain(THIRD).chain(CONTROLS).chain(THIRD_CONTROLS)
}

/// A fault by its name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Fault> {
    all().find(|f| f.name == name)
}

impl Fault {
    /// The address that triggers it.
    #[must_use]
    pub fn path(&self, seconds: u32) -> String {
        let handler = match self.name {
            "gil_contention" => "cpu_python",
            "upstream_slots" => "block_upstream",
            "second_client_silent" | "second_client_half" => return "/register".into(),
            other => other,
        };
        format!("/fault/{handler}?seconds={seconds}")
    }

    /// The verdict expected of a worker class.
    #[must_use]
    pub fn expected_of(&self, worker_class: &str) -> Option<&'static str> {
        self.expected.iter().find(|(class, _)| *class == worker_class).map(|(_, code)| *code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Where handlers live.
    fn python() -> String {
        let handlers = |name: &str| {
            let own = ["faults.py", "controls.py", "third_async.py"].contains(&name);
            own || name.starts_with("third_") || (name.starts_with("second_") && !name.contains("async"))
        };
        crate::portal::FILES.iter().filter(|(name, _)| handlers(name)).map(|(_, text)| *text).collect()
    }

    #[test]
    fn every_fault_has_a_handler_and_every_verdict_a_name() {
        let python = python();
        for fault in all() {
            let path = fault.path(1);
            if let Some(handler) = path.strip_prefix("/fault/").and_then(|p| p.split('?').next()) {
                assert!(python.contains(&format!("def {handler}(")), "{handler}");
            }
            assert!(!fault.expected.is_empty(), "{}", fault.name);
            for (_, code) in fault.expected {
                let parsed: Result<crate::diagnose::model::Code, _> = serde_json::from_value((*code).into());
                assert!(parsed.is_ok(), "{code}");
            }
        }
    }

    #[test]
    fn every_handler_of_the_later_sets_is_a_fault() {
        let python = python();
        let lines = python.lines().map(|line| line.strip_prefix("async ").unwrap_or(line));
        let handlers = lines.filter_map(|l| l.strip_prefix("def ")?.split('(').next());
        let later =
            handlers.filter(|h| ["second_", "third_", "control_"].iter().any(|set| h.starts_with(set)));
        let known: BTreeSet<&str> = all().map(|f| f.name).collect();
        let unknown: Vec<&str> = later.filter(|h| !known.contains(h) && !h.ends_with("_callback")).collect();
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn names_are_unique_and_a_family_is_that_of_a_fault() {
        let names: BTreeSet<&str> = all().map(|f| f.name).collect();
        assert_eq!(names.len(), all().count());
        for fault in all() {
            let head = by_name(fault.family).unwrap_or_else(|| panic!("{}", fault.family));
            assert_eq!(head.family, head.name, "a family is called after its first fault");
            assert_eq!(fault.set == Set::Second, fault.name.starts_with("second_"), "{}", fault.name);
            assert_eq!(fault.set == Set::Third, fault.name.starts_with("third_"), "{}", fault.name);
            assert_eq!(fault.set == Set::Control, fault.name.starts_with("control_"), "{}", fault.name);
        }
    }
}
