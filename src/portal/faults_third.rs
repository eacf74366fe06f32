//! The third set of faults, written as what happens in production and not as the first two sets were, and its controls:
//! data.
//!
//! Each handler stands in `fixtures/portal/third_*.py` and says there what its cause in code is. The labels were decided
//! from the definitions of the verdicts before any rule was tried on them.

use super::faults::{Client, Fault, Set, fault};
use super::faults_second::control;

const fn third(
    name: &'static str,
    family: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { set: Set::Third, family, ..fault(name, what, expected) }
}

const OFF: &str = "loop_blocked_off_cpu";
const ON: &str = "loop_blocked_on_cpu";
const UP: &str = "waiting_upstream";
const STALL: &str = "stalled_in_process";

/// The third set.
pub const THIRD: &[Fault] = &[
    Fault {
        subcause: "sleep",
        ..third(
            "third_off_retry",
            "block_sleep",
            "a client that retries and sleeps in between",
            &[("asyncio", OFF)],
        )
    },
    Fault {
        subcause: "upstream",
        ..third(
            "third_off_libpq",
            "block_upstream",
            "a driver in C that polls its own socket",
            &[("gevent", OFF), ("gthread", UP)],
        )
    },
    Fault {
        subcause: "upstream",
        ..third("third_off_unix", "block_upstream", "a silent backend on a unix socket", &[("uvicorn", OFF)])
    },
    Fault {
        subcause: "upstream",
        ..third(
            "third_off_connect",
            "block_upstream",
            "a backend that takes no connection",
            &[("gevent", OFF), ("sync", UP)],
        )
    },
    Fault {
        subcause: "upstream",
        ..third("third_off_upload", "block_upstream", "a backend that stops reading", &[("sync", UP)])
    },
    third(
        "third_off_result",
        "second_off_lock",
        "a thread's answer waited for in the loop",
        &[("asyncio", OFF)],
    ),
    Fault {
        subcause: "lock",
        ..third(
            "third_off_self_wait",
            "second_off_lock",
            "a loop that waits for what only itself can do",
            &[("uvicorn", OFF)],
        )
    },
    third(
        "third_off_syslog",
        "second_off_pipe",
        "a system log whose daemon has stopped reading",
        &[("asyncio", OFF)],
    ),
    Fault {
        requests: 8,
        ..third("third_off_stderr", "second_off_pipe", "a log collector that hangs", &[("gthread", OFF)])
    },
    third("third_off_fifo", "third_off_fifo", "a named pipe that nobody writes to", &[("tornado", OFF)]),
    Fault {
        subcause: "subprocess",
        ..third(
            "third_off_check_output",
            "block_subprocess",
            "what a program says, read to its end",
            &[("asyncio", OFF)],
        )
    },
    Fault {
        subcause: "subprocess",
        ..third(
            "third_off_communicate",
            "block_subprocess",
            "a program with a time limit",
            &[("uvicorn", OFF)],
        )
    },
    Fault {
        subcause: "lock",
        ..third(
            "third_off_mp_lock",
            "second_off_lock",
            "a lock that another process holds",
            &[("gevent", OFF)],
        )
    },
    Fault {
        subcause: "database_file",
        requests: 8,
        ..third(
            "third_off_orm",
            "block_sqlite_lock",
            "the portal's database, to which somebody else writes",
            &[("gthread", OFF)],
        )
    },
    Fault {
        subcause: "sleep",
        ..third(
            "third_off_poll_flag",
            "block_sleep",
            "a file that is waited for by short sleeps",
            &[("sync", OFF)],
        )
    },
    third(
        "third_off_dsync",
        "second_disk_sync",
        "small writes that reach storage each, where it is slow",
        &[("sync", "waiting_disk"), ("asyncio", OFF)],
    ),
    third("third_cpu_deepcopy", "cpu_python", "a large structure copied in depth", &[("gevent", ON)]),
    Fault {
        subcause: "native_gil_released",
        ..third("third_cpu_lzma", "cpu_pbkdf2", "an export that is packed", &[("asyncio", ON)])
    },
    Fault {
        subcause: "native_gil_released",
        ..third("third_cpu_scrypt", "cpu_pbkdf2", "passwords hashed one after the other", &[("sync", ON)])
    },
    third("third_cpu_template", "cpu_python", "a page of many thousand rows", &[("eventlet", ON)]),
    Fault {
        subcause: "native_gil_held",
        ..third(
            "third_cpu_bessel",
            "cpu_regex",
            "native calls that keep the interpreter lock",
            &[("uvicorn", ON)],
        )
    },
    third("third_cpu_objects", "cpu_python", "a model of many objects and its collector", &[("tornado", ON)]),
    third("third_cpu_await", "cpu_python", "a handler that awaits what is there already", &[("asyncio", ON)]),
    third("third_cpu_eagain", "cpu_python", "a socket asked for data without a pause", &[("sync", ON)]),
    Fault {
        requests: 8,
        ..third(
            "third_gil_json",
            "gil_contention",
            "large documents written in all threads of a pool",
            &[("gthread", "gil_contention")],
        )
    },
    Fault {
        background: true,
        ..third(
            "third_gil_convoy",
            "gil_contention",
            "native threads that compute Python beside the loop",
            &[("asyncio", "gil_contention")],
        )
    },
    Fault {
        background: true,
        ..third(
            "third_gil_native",
            "third_gil_native",
            "a native thread that keeps the interpreter lock in long calls",
            &[("uvicorn", "gil_contention")],
        )
    },
    spin("third_spin_eventfd", "an eventfd that is never read", &[("asyncio", "hot_spin")]),
    Fault {
        subcause: "",
        family: "spin_sleep0",
        background: false,
        ..spin(
            "third_spin_select0",
            "a request that asks select() without a pause",
            &[("gevent", "hot_spin")],
        )
    },
    spin("third_spin_timerfd", "a timer of the kernel that is never read", &[("gevent", "hot_spin")]),
    spin("third_spin_inotify", "news of a folder that nobody reads", &[("uvicorn", "hot_spin")]),
    Fault {
        subcause: "",
        ..spin("third_spin_pidfd", "a child that has ended, watched for ever", &[("gevent", "hot_spin")])
    },
    Fault {
        subcause: "hup_err_fd",
        ..spin(
            "third_spin_udp",
            "a datagram socket's error that is never fetched",
            &[("asyncio", "hot_spin")],
        )
    },
    spin(
        "third_spin_accept",
        "a listener and no descriptor left to accept with",
        &[("eventlet", "hot_spin")],
    ),
    Fault {
        subcause: "",
        family: "spin_sleep0",
        ..spin("third_spin_wait0", "a greenlet that waits no time at all", &[("gevent", "hot_spin")])
    },
    Fault {
        subcause: "",
        family: "spin_sleep0",
        ..spin("third_spin_idle", "a greenlet that goes on when nothing else does", &[("gevent", "hot_spin")])
    },
    Fault {
        subcause: "",
        family: "spin_sleep0",
        ..spin("third_spin_threadsafe", "a callback that wakes its own loop", &[("asyncio", "hot_spin")])
    },
    Fault {
        subcause: "",
        family: "spin_sleep0",
        ..spin("third_spin_pingpong", "two tasks that hand each other a token", &[("asyncio", "hot_spin")])
    },
    Fault {
        requests: 3,
        ..third(
            "third_upstream_unix",
            "upstream_cooperative",
            "a silent backend on a unix socket, asked as it should be",
            &[("gevent", UP), ("asyncio", UP)],
        )
    },
    Fault {
        requests: 3,
        ..third(
            "third_upstream_connect",
            "upstream_cooperative",
            "a backend that takes no connection, waited for by tasks",
            &[("asyncio", UP)],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_upstream_pool",
            "upstream_cooperative",
            "a pool of connections to a silent backend, and more requests",
            &[("gevent", UP), ("gthread", UP)],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_upstream_executor",
            "upstream_cooperative",
            "a driver that blocks, in threads beside the loop",
            &[("gevent", UP), ("uvicorn", UP)],
        )
    },
    Fault {
        requests: 3,
        ..third(
            "third_upstream_dns",
            "second_off_dns",
            "a name looked up in the loop's threads",
            &[("asyncio", UP)],
        )
    },
    Fault {
        requests: 3,
        ..third(
            "third_upstream_upload",
            "upstream_cooperative",
            "a backend that stops reading",
            &[("gevent", UP)],
        )
    },
    Fault {
        requests: 4,
        ..third(
            "third_stall_join",
            "stall_event",
            "a greenlet that ends with another one",
            &[("gevent", STALL)],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_stall_ring",
            "stall_event",
            "three locks taken in a ring",
            &[("gevent", STALL), ("asyncio", STALL), ("gthread", "deadlock")],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_stall_condition",
            "stall_event",
            "a condition that nobody announces",
            &[("eventlet", STALL), ("gthread", "deadlock")],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_stall_executor",
            "stall_event",
            "threads of the loop that wait for each other's news",
            &[("asyncio", STALL)],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_stall_get",
            "deadlock",
            "an answer of a thread that has died",
            &[("gthread", "deadlock")],
        )
    },
    Fault {
        requests: 8,
        ..third(
            "third_lock_backend",
            "lock_contention",
            "one connection for all, each question under its lock",
            &[("gthread", "lock_contention")],
        )
    },
    Fault {
        client: Client::Upload,
        requests: 2,
        ..third(
            "third_client_upload",
            "second_client_silent",
            "a body that is announced and not sent",
            &[("sync", "waiting_client"), ("gevent", "waiting_client")],
        )
    },
    Fault {
        client: Client::SlowReader,
        requests: 2,
        ..third(
            "third_client_download",
            "second_client_silent",
            "few large pieces that the client does not read",
            &[("gevent", "waiting_client"), ("asyncio", "waiting_client")],
        )
    },
];

const fn spin(
    name: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { subcause: "ready_fd_undrained", background: true, ..third(name, "spin_watcher", what, expected) }
}

const fn beside(
    name: &'static str,
    what: &'static str,
    expected: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { background: true, ..control(name, what, expected) }
}

/// What only looks like a fault, written with the third set.
pub const THIRD_CONTROLS: &[Fault] = &[
    beside(
        "control_cron",
        "a timer twice a second with a little work",
        &[("gevent", "idle"), ("asyncio", "idle")],
    ),
    beside(
        "control_idle_pool",
        "connections kept for the next request",
        &[("asyncio", "idle"), ("gevent", "idle")],
    ),
    beside(
        "control_subscriber",
        "somebody who waits for a backend's news by design",
        &[("gevent", "idle"), ("gthread", "idle"), ("asyncio", "idle")],
    ),
    beside("control_consumer", "a thread that waits for what others log", &[("sync", "idle")]),
    beside("control_drained", "an eventfd that is rung and read", &[("uvicorn", "idle")]),
    beside(
        "control_compute",
        "a native thread that computes and lets the lock go",
        &[("asyncio", "healthy_busy"), ("gevent", "healthy_busy")],
    ),
];
