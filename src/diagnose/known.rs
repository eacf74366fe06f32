//! What the field's loops, pools and drivers look like on a stack: data only.
//!
//! Library names appear here and nowhere else in the judge. A row is a file suffix and the plain function names
//! (without class) that have the meaning of the table. Sources: the projects' own code, versions in the comments.

/// A file suffix and the functions of it that are meant; no functions means all of them.
pub type Row = (&'static str, &'static [&'static str]);

/// Frames in which an event loop (or an accept loop) turns: with nothing but [`MACHINERY`] above, the loop itself runs.
pub const LOOP_ROOTS: &[Row] = &[
    ("gevent/hub.py", &["run"]), // Hub.run: since 1.0
    ("eventlet/hubs/hub.py", &["run"]),
    ("asyncio/base_events.py", &["_run_once", "run_forever", "run_until_complete"]),
    ("asyncio/runners.py", &["run"]), // uvloop's own loop has no Python frames below its callbacks
    ("uvloop/__init__.py", &["run"]),
    ("tornado/platform/asyncio.py", &["start"]),
    ("tornado/ioloop.py", &["start"]),
    ("gunicorn/workers/gthread.py", &["run", "poll_selector", "wait_for_events"]),
    ("gunicorn/workers/sync.py", &["wait", "run", "run_for_one", "run_for_multiple", "accept"]),
    ("gunicorn/workers/gasgi.py", &["run"]),
    ("socketserver.py", &["serve_forever"]),
    ("waitress/wasyncore.py", &["loop", "poll", "poll2"]),
];

/// Frames that belong to the turning of a loop and to nobody's request.
pub const MACHINERY: &[Row] = &[
    ("selectors.py", &[]),
    ("asyncio/base_events.py", &[]),
    ("asyncio/events.py", &["__init__", "__lt__", "cancel"]), // handles of calls to come; not `_run`, which calls them
    ("asyncio/runners.py", &[]),
    ("asyncio/unix_events.py", &[]),
    ("gevent/hub.py", &["run", "handle_error", "switch"]),
    ("eventlet/hubs/hub.py", &[]),
    ("eventlet/hubs/timer.py", &["__init__", "__lt__", "schedule", "cancel"]), // not `__call__`
    ("eventlet/hubs/poll.py", &[]),
    ("eventlet/hubs/epolls.py", &[]),
    ("tornado/platform/asyncio.py", &["start"]),
    ("tornado/ioloop.py", &["start"]),
    ("gunicorn/workers/workertmp.py", &[]),
    ("gunicorn/workers/base.py", &["notify"]),
    (
        "gunicorn/workers/gthread.py",
        &[
            "run",
            "poll_selector",
            "wait_for_events",
            "wait_for_and_dispatch_events", // since 24.0
            "is_parent_alive",
            "murder_keepalived",
        ],
    ),
    ("concurrent/futures/_base.py", &[]), // gthread waits for its pool where it may accept nobody: before 24.0
    ("gunicorn/workers/sync.py", &["wait", "run", "run_for_one", "run_for_multiple", "is_parent_alive"]),
    ("socketserver.py", &["serve_forever", "service_actions"]),
    ("waitress/wasyncore.py", &[]),
];

/// The standard library's pollers, by which a loop that an application has written itself is recognised.
pub const SELECTORS: &[Row] = &[("selectors.py", &["select"])];

/// A pool thread that waits for work has one of these with nothing but waiting above it.
pub const POOL_ROOTS: &[Row] = &[
    ("concurrent/futures/thread.py", &["_worker"]),
    ("waitress/task.py", &["handler_thread"]),
    ("cheroot/workers/threadpool.py", &["run"]),
    (
        "gevent/threadpool.py",
        &["__run_task", "_WorkerGreenlet__run_task", "_apply", "run", "_before_run_task"],
    ),
    ("multiprocessing/pool.py", &["worker"]),
    ("anyio/_backends/_asyncio.py", &["run"]),
];

/// Frames that may stand above a [`POOL_ROOTS`] frame while the thread waits for work.
pub const POOL_WAITS: &[Row] = &[
    ("queue.py", &["get"]),
    ("threading.py", &["wait", "acquire"]),
    ("concurrent/futures/thread.py", &["_worker"]),
    ("gevent/_threading.py", &[]), // the locks of gevent's pool: nothing else is called through them
    ("gevent/threadpool.py", &[]),
    ("gevent/hub.py", &[]),
    ("multiprocessing/connection.py", &[]),
    ("waitress/task.py", &["handler_thread"]),
    ("cheroot/workers/threadpool.py", &["run"]),
];

/// Frames of a server that loads the application before it serves.
pub const BOOT: &[Row] = &[
    ("gunicorn/workers/base.py", &["load_wsgi"]),
    ("gunicorn/util.py", &["import_app"]),
    ("gunicorn/app/base.py", &["wsgi", "load"]),
    ("gunicorn/app/wsgiapp.py", &["load", "load_wsgiapp"]),
    ("uvicorn/config.py", &["load"]),
    ("uvicorn/importer.py", &["import_from_string"]),
];

/// Frames of the import system.
pub const IMPORT: &[Row] =
    &[("<frozen importlib._bootstrap>", &[]), ("importlib/__init__.py", &["import_module"])];

/// Frames of a supervisor.
pub const ARBITER: &[Row] = &[
    (
        "gunicorn/arbiter.py",
        &["run", "sleep", "murder_workers", "manage_workers", "wait_for_signals", "maybe_promote_master"],
    ),
    ("uvicorn/supervisors/multiprocess.py", &["run", "keep_subprocess_alive"]),
    ("uvicorn/supervisors/basereload.py", &["run"]),
];

/// Innermost frames in which a thread talks to a database kept in a file.
pub const DATABASE_CALLS: &[Row] = &[
    (
        "sqlalchemy/engine/default.py",
        &["do_execute", "do_executemany", "do_execute_no_params", "do_commit", "do_rollback", "do_begin"],
    ),
    ("django/db/backends/sqlite3/base.py", &[]),
    ("peewee.py", &["execute_sql"]),
];

/// Name ends of database files that a process keeps open.
pub const DATABASE_FILES: &[&str] = &[".db", ".sqlite", ".sqlite3", "-wal", "-journal", "-shm"];

/// Innermost frames in which a greenlet or task gives way to the loop, or the loop empties its own wake-up.
pub const YIELDS: &[Row] = &[
    ("gevent/hub.py", &["sleep", "idle", "switch", "wait"]),
    ("gevent/timeout.py", &["_on_expiration"]), // called by the hub, to wake whoever has waited long enough
    ("asyncio/tasks.py", &["sleep", "__sleep0"]),
    ("asyncio/selector_events.py", &["_read_from_self", "_process_self_data"]),
    ("eventlet/greenthread.py", &["sleep"]),
    ("eventlet/hubs/hub.py", &["switch"]),
];

/// Frames in which a greenlet or task waits for the other end of a socket: one of them is among its innermost.
pub const SOCKET_WAITS: &[Row] = &[
    ("gevent/_socketcommon.py", &[]), // SocketMixin.recv and its like: since 20.5
    ("gevent/_socket3.py", &[]),
    ("gevent/_socket2.py", &[]),
    ("gevent/_ssl3.py", &[]),
    ("gevent/ssl.py", &[]),
    ("gevent/_sslgte279.py", &[]),
    ("gevent/select.py", &[]),
    ("eventlet/greenio/base.py", &[]),
    ("eventlet/green/ssl.py", &[]),
    ("eventlet/hubs/__init__.py", &["trampoline"]),
    ("asyncio/streams.py", &[]),
    ("asyncio/selector_events.py", &["sock_recv", "sock_connect", "sock_sendall", "sock_accept"]),
    ("anyio/_backends/_asyncio.py", &["receive", "send"]),
    ("aiohttp/streams.py", &[]),
    ("aiohttp/client_reqrep.py", &["start"]),
    ("tornado/iostream.py", &[]),
];

/// Frames that read the body of a request, which a client has announced and has still to send.
pub const BODY_READS: &[Row] = &[
    ("gunicorn/http/body.py", &[]),
    ("eventlet/wsgi.py", &["read", "_do_read", "_chunked_read"]),
    ("gevent/pywsgi.py", &["_do_read", "_chunked_read", "__read_chunk_length"]),
];

/// Parts of the names of unix sockets that are told and never answer: logs and statistics.
pub const TOLD_ONLY: &[&str] = &["/dev/log", "/dev-log", "/systemd/", "/syslog", "dsd.socket", "statsd"];

/// Frames of a wait that ends at a time.
pub const TIMED_WAITS: &[Row] = &[
    ("gevent/hub.py", &["sleep"]),
    ("gevent/timeout.py", &["with_timeout"]),
    ("asyncio/tasks.py", &["sleep", "wait_for"]),
    ("async_timeout/__init__.py", &[]),
    ("eventlet/greenthread.py", &["sleep"]),
    ("eventlet/timeout.py", &["with_timeout"]),
];

/// Frames that wait for a free connection of a pool. They give up at last, and it is a stall all the same.
pub const POOLS: &[Row] = &[
    ("sqlalchemy/pool/impl.py", &["_do_get"]),
    ("sqlalchemy/util/queue.py", &["get"]),
    ("psycopg_pool/pool.py", &["getconn"]),
    ("psycopg_pool/pool_async.py", &["getconn"]),
    ("asyncpg/pool.py", &["_acquire", "acquire"]),
    ("aiomysql/pool.py", &["_acquire"]),
    ("redis/connection.py", &["get_connection"]),
    ("redis/asyncio/connection.py", &["get_connection"]),
    ("urllib3/connectionpool.py", &["_get_conn"]),
    ("aiohttp/connector.py", &["connect", "_wait_for_available_connection"]),
    ("httpcore/_async/connection_pool.py", &["wait_for_connection"]),
    ("httpcore/_sync/connection_pool.py", &["wait_for_connection"]),
    ("gevent/pool.py", &["add", "spawn"]),
];

/// Frames of greenlets and tasks that a server keeps for itself, whether or not a request is served.
pub const STANDING: &[Row] = &[
    ("gunicorn/workers/ggevent.py", &["run"]),
    ("gunicorn/workers/geventlet.py", &["run"]),
    ("gunicorn/workers/gasgi.py", &["run", "_serve"]),
    ("uvicorn/server.py", &["main_loop"]),
    ("uvicorn/lifespan/on.py", &[]),
    ("gevent/threadpool.py", &[]),
    ("gevent/baseserver.py", &["serve_forever", "start_accepting"]),
    ("eventlet/wsgi.py", &["server"]),
    ("eventlet/hubs/hub.py", &["run"]),
];

/// Frames that resolve host names.
pub const RESOLVERS: &[Row] = &[("socket.py", &["getaddrinfo", "create_connection"])];

/// Frames that wait for another process.
pub const SUBPROCESS: &[Row] = &[(
    "subprocess.py",
    &["wait", "_wait", "_try_wait", "communicate", "_communicate", "call", "run", "check_output"],
)];

/// Frames that write log lines.
pub const LOGGING: &[Row] = &[("logging/__init__.py", &[]), ("logging/handlers.py", &[])];

/// Well-known ports of backends.
pub const SERVICES: &[(u16, &str)] = &[
    (53, "DNS"),
    (80, "HTTP"),
    (443, "HTTPS"),
    (1433, "SQL Server"),
    (1521, "Oracle"),
    (2181, "ZooKeeper"),
    (3306, "MySQL"),
    (5432, "PostgreSQL"),
    (5672, "RabbitMQ"),
    (6379, "Redis"),
    (6432, "PgBouncer"),
    (9042, "Cassandra"),
    (9092, "Kafka"),
    (9200, "Elasticsearch"),
    (11211, "memcached"),
    (27017, "MongoDB"),
];

/// Parts of a path by which a library is told from an application.
pub const LIBRARY_PATHS: &[&str] = &["/site-packages/", "/dist-packages/", "/lib/python"];

/// Whether a file and a plain function name are in a table.
#[must_use]
pub fn in_table(table: &[Row], file: &str, function: &str) -> bool {
    let plain = plain_name(function);
    table.iter().any(|(suffix, functions)| {
        ends_with_path(file, suffix) && (functions.is_empty() || functions.contains(&plain))
    })
}

/// The last part of a qualified name.
#[must_use]
pub fn plain_name(function: &str) -> &str {
    function.rsplit('.').next().unwrap_or(function)
}

/// Whether a path ends with another at a separator. Nearly all do not, and the byte where the other would begin tells.
fn ends_with_path(file: &str, suffix: &str) -> bool {
    let (file, suffix) = (file.as_bytes(), suffix.as_bytes());
    let Some(at) = file.len().checked_sub(suffix.len()) else { return false };
    (at == 0 || file.get(at - 1) == Some(&b'/')) && file.get(at..) == Some(suffix)
}

/// Name of the service that usually listens on a port.
#[must_use]
pub fn service(port: u16) -> Option<&'static str> {
    SERVICES.iter().find(|(p, _)| *p == port).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_matches_at_a_separator_only() {
        assert!(in_table(LOOP_ROOTS, "/x/site-packages/gevent/hub.py", "Hub.run"));
        assert!(!in_table(LOOP_ROOTS, "/x/mygevent/hub.py", "Hub.run"));
        assert!(!in_table(LOOP_ROOTS, "/x/gevent/hub.py", "sleep"));
    }

    #[test]
    fn ports_have_names() {
        assert_eq!(service(5432), Some("PostgreSQL"));
        assert_eq!(service(1), None);
    }
}
