//! The second set of faults, held out from the making of the rules, and controls, which are no faults: data.
//!
//! Each handler stands in `fixtures/portal/second_*.py` or `controls.py` and says there what its cause in code is. A
//! control must get a verdict that asks nobody to do anything; the one named here is the one that fits best.

use super::faults::{BACKEND, Client, Fault, OFF, ON, Set, fault};

const fn second(
    name: &'static str,
    family: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { set: Set::Second, family, ..fault(name, what, expected) }
}

pub(super) const fn control(
    name: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { set: Set::Control, ..second(name, name, what, expected) }
}

const SPIN: &[(&str, &str)] =
    &[("gevent", "hot_spin"), ("eventlet", "hot_spin"), ("uvicorn", "hot_spin"), ("tornado", "hot_spin")];
/// By design, in loops and in slots.
const UPSTREAM: &[(&str, &str)] = &[
    ("gevent", "waiting_upstream"),
    ("eventlet", "waiting_upstream"),
    ("uvicorn", "waiting_upstream"),
    ("gthread", "waiting_upstream"),
    ("sync", "waiting_upstream"),
];
/// Whatever else asks nothing of a worker.
const QUIET: &[(&str, &str)] = &[
    ("gevent", "idle"),
    ("eventlet", "idle"),
    ("uvicorn", "idle"),
    ("tornado", "idle"),
    ("sync", "idle"),
    ("gthread", "idle"),
];

/// The second set.
pub const SECOND: &[Fault] = &[
    Fault {
        subcause: "hup_err_fd",
        background: true,
        ..second(
            "second_spin_hup",
            "spin_half_closed",
            "a pipe whose writer has gone, watched for ever",
            SPIN,
        )
    },
    Fault {
        subcause: "ready_fd_undrained",
        background: true,
        ..second(
            "second_spin_writable",
            "spin_watcher",
            "a socket with room to write, watched for that with nothing to write",
            SPIN,
        )
    },
    Fault {
        subcause: "closed_fd_registered",
        background: true,
        ..second(
            "second_spin_dup",
            "spin_watcher",
            "a watched descriptor that was closed while a duplicate lives",
            SPIN,
        )
    },
    Fault {
        subcause: "zero_timeout",
        background: true,
        ..second("second_spin_timer", "spin_sleep0", "a callback that asks to be called again at once", SPIN)
    },
    Fault {
        background: true,
        ..second("second_spin_idle", "spin_sleep0", "an idle handle left armed", &[("gevent", "hot_spin")])
    },
    Fault {
        subcause: "subprocess",
        ..second(
            "second_off_child",
            "block_subprocess",
            "a child process, by subprocess.run() where that blocks",
            OFF,
        )
    },
    Fault {
        subcause: "sleep",
        ..second("second_off_nanosleep", "block_sleep", "a C library that sleeps", OFF)
    },
    Fault {
        subcause: "sleep",
        ..second(
            "second_off_gil_sleep",
            "block_sleep",
            "a C extension that sleeps and keeps the interpreter lock",
            OFF,
        )
    },
    Fault {
        subcause: "dns",
        ..second(
            "second_off_dns",
            "second_off_dns",
            "a name that is looked up at a silent name server",
            BACKEND,
        )
    },
    Fault {
        subcause: "upstream",
        ..second(
            "second_off_http",
            "block_upstream",
            "an HTTP client on a socket that nobody has patched",
            BACKEND,
        )
    },
    Fault {
        subcause: "upstream",
        ..second(
            "second_off_select",
            "block_upstream",
            "a driver that asks select() whether its backend has answered",
            BACKEND,
        )
    },
    Fault {
        subcause: "file_lock",
        ..second("second_off_lockf", "block_flock", "a record lock of POSIX that another process holds", OFF)
    },
    Fault {
        subcause: "lock",
        ..second(
            "second_off_lock",
            "second_off_lock",
            "a lock that a native thread holds",
            &[
                ("gevent", "loop_blocked_off_cpu"),
                ("eventlet", "loop_blocked_off_cpu"),
                ("uvicorn", "loop_blocked_off_cpu"),
                ("tornado", "loop_blocked_off_cpu"),
                ("builtin", "loop_blocked_off_cpu"),
            ],
        )
    },
    Fault {
        subcause: "log_pipe",
        ..second("second_off_pipe", "second_off_pipe", "a log pipe that is full", OFF)
    },
    second("second_cpu_json", "cpu_python", "a large document written and read", ON),
    second("second_cpu_sort", "cpu_python", "sorting by a key in Python", ON),
    Fault {
        subcause: "native_gil_held",
        ..second("second_cpu_regex", "cpu_regex", "a search with nested repetitions, again and again", ON)
    },
    Fault {
        subcause: "native_gil_released",
        ..second("second_cpu_sha", "cpu_pbkdf2", "a digest of a large buffer", ON)
    },
    Fault {
        subcause: "gc",
        ..second("second_cpu_gc", "cpu_python", "full collections over a large heap", ON)
    },
    Fault {
        subcause: "native_gil_held",
        ..second("second_cpu_pow", "cpu_regex", "arithmetic on large numbers", ON)
    },
    Fault {
        requests: 8,
        ..second(
            "second_gil_strings",
            "gil_contention",
            "text put together in all threads of a pool",
            &[("gthread", "gil_contention")],
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_upstream_http",
            "upstream_cooperative",
            "an HTTP client and a backend that never answers",
            UPSTREAM,
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_upstream_drip",
            "upstream_cooperative",
            "a backend that answers a byte a second",
            UPSTREAM,
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_upstream_redis",
            "upstream_cooperative",
            "a connection that answered a PING and not the next question",
            UPSTREAM,
        )
    },
    Fault {
        requests: 4,
        ..second(
            "second_stall_queue",
            "stall_event",
            "an item of a queue that nobody fills",
            &[
                ("gevent", "stalled_in_process"),
                ("eventlet", "stalled_in_process"),
                ("uvicorn", "stalled_in_process"),
            ],
        )
    },
    Fault {
        requests: 4,
        ..second(
            "second_stall_pool",
            "stall_event",
            "a pool of two whose users never give back",
            &[
                ("gevent", "stalled_in_process"),
                ("eventlet", "stalled_in_process"),
                ("uvicorn", "stalled_in_process"),
            ],
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_lock_queue",
            "lock_contention",
            "a queue with one token that all requests want",
            &[("gthread", "lock_contention")],
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_lock_condition",
            "lock_contention",
            "requests that work under a condition's lock",
            &[("gthread", "lock_contention")],
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_deadlock_order",
            "deadlock",
            "two locks taken in opposite order",
            &[("gthread", "deadlock")],
        )
    },
    Fault {
        requests: 8,
        ..second(
            "second_deadlock_fork",
            "deadlock",
            "a lock that was held when the worker was forked",
            &[("gthread", "deadlock"), ("sync", "deadlock")],
        )
    },
    Fault {
        subcause: "silent_client",
        client: Client::Silent,
        requests: 8,
        ..second(
            "second_client_silent",
            "second_client_silent",
            "clients that connect and say nothing",
            &[("sync", "waiting_client")],
        )
    },
    Fault {
        subcause: "silent_client",
        client: Client::Half,
        requests: 8,
        ..second(
            "second_client_half",
            "second_client_silent",
            "clients that send half a request",
            &[("sync", "waiting_client"), ("gthread", "waiting_client")],
        )
    },
    Fault {
        subcause: "slow_reader",
        client: Client::SlowReader,
        requests: 8,
        ..second(
            "second_slow_reader",
            "second_client_silent",
            "clients that do not read their answer",
            &[("sync", "waiting_client"), ("gthread", "waiting_client")],
        )
    },
    second(
        "second_disk_sync",
        "second_disk_sync",
        "a mapped file forced to storage again and again, where storage is slow",
        &[("sync", "waiting_disk")],
    ),
];

/// What only looks like a fault.
pub const CONTROLS: &[Fault] = &[
    Fault {
        requests: 4,
        ..control(
            "control_long_poll",
            "pages that wait for news on purpose",
            &[("gevent", "idle"), ("eventlet", "idle"), ("uvicorn", "idle")],
        )
    },
    Fault {
        requests: 4,
        ..control(
            "control_websocket",
            "connections that stay, with a sign of life a second",
            &[("gevent", "healthy_busy"), ("eventlet", "healthy_busy"), ("uvicorn", "healthy_busy")],
        )
    },
    control(
        "control_cpu_page",
        "a page of 30 ms of pure Python, near the knee",
        &[
            ("gevent", "healthy_busy"),
            ("eventlet", "healthy_busy"),
            ("uvicorn", "healthy_busy"),
            ("tornado", "healthy_busy"),
            ("sync", "healthy_busy"),
            ("gthread", "healthy_busy"),
        ],
    ),
    Fault {
        background: true,
        ..control("control_poller", "a poller that looks ten times a second for work", QUIET)
    },
    Fault {
        background: true,
        ..control("control_agent", "a monitoring agent's thread that wakes once a second", QUIET)
    },
];
