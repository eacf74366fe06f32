//! What can go wrong in the portal, and the verdict that it must get: data.

use serde::Serialize;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name in the address `/fault/NAME`.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Expected verdict by worker class; a class that is not listed does not know the fault.
    pub expected: &'static [(&'static str, &'static str)],
    /// Whether it goes on after its request was answered.
    pub background: bool,
    /// Requests that it takes at once to show.
    pub requests: u32,
}

const fn fault(
    name: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { name, what, expected, background: false, requests: 1 }
}

/// Blocks a loop off the processor, or holds the only slot.
const OFF: &[(&str, &str)] = &[
    ("gevent", "loop_blocked_off_cpu"),
    ("eventlet", "loop_blocked_off_cpu"),
    ("uvicorn", "loop_blocked_off_cpu"),
    ("tornado", "loop_blocked_off_cpu"),
    ("sync", "loop_blocked_off_cpu"),
    ("builtin", "loop_blocked_off_cpu"),
];
/// Blocks a loop on the processor.
const ON: &[(&str, &str)] = &[
    ("gevent", "loop_blocked_on_cpu"),
    ("eventlet", "loop_blocked_on_cpu"),
    ("uvicorn", "loop_blocked_on_cpu"),
    ("tornado", "loop_blocked_on_cpu"),
    ("sync", "loop_blocked_on_cpu"),
    ("builtin", "loop_blocked_on_cpu"),
];

/// All faults.
pub const FAULTS: &[Fault] = &[
    Fault {
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
        background: true,
        ..fault(
            "spin_sleep0",
            "a greenlet or task that polls by sleep(0)",
            &[("gevent", "hot_spin"), ("eventlet", "hot_spin"), ("uvicorn", "hot_spin")],
        )
    },
    fault("block_sleep", "a plain sleep in a request", OFF),
    fault(
        "block_upstream",
        "a driver that waits for a silent backend in blocking calls",
        &[
            ("gevent", "loop_blocked_off_cpu"),
            ("eventlet", "loop_blocked_off_cpu"),
            ("uvicorn", "loop_blocked_off_cpu"),
            ("tornado", "loop_blocked_off_cpu"),
            ("sync", "waiting_upstream"),
            ("builtin", "loop_blocked_off_cpu"),
        ],
    ),
    fault(
        "block_sqlite_lock",
        "a database file that somebody else has locked",
        &[
            ("gevent", "loop_blocked_off_cpu"),
            ("eventlet", "loop_blocked_off_cpu"),
            ("uvicorn", "loop_blocked_off_cpu"),
            ("sync", "loop_blocked_off_cpu"),
        ],
    ),
    fault("block_flock", "a file lock that another process holds", OFF),
    fault("block_subprocess", "a child process that is waited for", OFF),
    fault("cpu_python", "pure Python that does not yield", ON),
    fault("cpu_pbkdf2", "native code that lets the interpreter lock go", ON),
    fault("cpu_regex", "a regular expression that backtracks without end", ON),
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

/// A fault by its name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|f| f.name == name)
}

impl Fault {
    /// The address that triggers it.
    #[must_use]
    pub fn path(&self, seconds: u32) -> String {
        let handler = match self.name {
            "gil_contention" => "cpu_python",
            "upstream_slots" => "block_upstream",
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
    use super::*;

    #[test]
    fn every_fault_has_a_handler_and_every_verdict_a_name() {
        let python = include_str!("../../fixtures/portal/faults.py");
        for fault in FAULTS {
            let path = fault.path(1);
            let handler = path.trim_start_matches("/fault/").split('?').next().unwrap();
            assert!(python.contains(&format!("def {handler}(")), "{handler}");
            for (_, code) in fault.expected {
                let parsed: Result<crate::diagnose::model::Code, _> = serde_json::from_value((*code).into());
                assert!(parsed.is_ok(), "{code}");
            }
        }
    }
}
