//! What is fixed while a look lasts: the machine, what was asked for, the server and its processes.

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Node name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture as the kernel names it.
    pub arch: String,
    /// Online processors.
    pub cpus: u32,
    /// Boot identity, which makes start times comparable.
    pub boot_id: String,
    /// Clock ticks per second of the times in `stat`.
    pub ticks_per_s: u64,
}

/// What the user pointed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TargetFacts {
    /// The process id, in the namespace of the tool.
    pub pid: i32,
    /// Start time in clock ticks since boot: with the pid, the identity of the process.
    pub start_time_ticks: u64,
    /// Its command line.
    pub cmdline: Vec<String>,
    /// Its executable, if readable.
    pub exe: Option<String>,
    /// Its control group path, if readable.
    pub cgroup: Option<String>,
    /// Its container, if the control group names one.
    pub container_id: Option<String>,
    /// How it was selected: `pid`, `port 8000`, `name gunicorn`.
    pub selected_by: String,
}

/// The server that the target belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// What kind of server it is.
    pub kind: ServerKind,
    /// Its version, where the installation tells.
    pub version: Option<String>,
    /// Worker class of most workers.
    pub worker_class: Option<WorkerClass>,
    /// Listening addresses.
    pub listen: Vec<String>,
    /// Configured number of workers.
    pub workers_configured: Option<u32>,
    /// Configured number of threads of each worker.
    pub threads_configured: Option<u32>,
    /// Configured worker timeout. Zero means that it is switched off.
    pub timeout_s: Option<u64>,
    /// Requests after which a worker is replaced, where the command line says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Installed packages of which something is loaded, as far as versions of them matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
}

/// An installed package of which something is loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Name of the distribution, normalised: lower case, `-` between words.
    pub name: String,
    /// Its version, as the name of its folder tells.
    pub version: String,
}

/// Kinds of server that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    /// gunicorn, any version.
    Gunicorn,
    /// uvicorn without gunicorn.
    Uvicorn,
    /// Any other process with an event loop.
    Loop,
    /// Any other process.
    Process,
}

/// How a worker does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerClass {
    /// One request at a time.
    Sync,
    /// An accepting main thread and a pool of threads.
    Gthread,
    /// gevent's hub on libev or libuv.
    Gevent,
    /// eventlet's hub.
    Eventlet,
    /// tornado's loop.
    Tornado,
    /// asyncio or uvloop under gunicorn.
    Uvicorn,
    /// gunicorn's own ASGI worker.
    Asgi,
    /// asyncio or uvloop without gunicorn.
    Asyncio,
}

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Supervises workers and serves nothing itself.
    Arbiter,
    /// Serves requests.
    Worker,
    /// Anything else.
    Process,
}

/// A process as first seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// When it was first seen.
    pub at_ns: u64,
    /// Process id in the namespace of the tool.
    pub pid: i32,
    /// Process id in its own innermost namespace.
    pub ns_pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Start time in clock ticks since boot.
    pub start_time_ticks: u64,
    /// How old it was when first seen.
    pub age_ms: u64,
    /// Its `comm`.
    pub name: String,
    /// Its command line.
    pub cmdline: Vec<String>,
    /// Arbiter, worker or neither.
    pub role: Role,
    /// How it does its work, if known.
    pub worker_class: Option<WorkerClass>,
    /// What the worker class was recognised by, in words.
    pub recognised_by: String,
    /// Its Python, if it has one that can be read.
    pub python: Option<PythonFacts>,
    /// Process that traces it (0: nobody).
    pub tracer_pid: i32,
    /// Thread that runs the event loop or accepts requests.
    pub loop_tid: i32,
    /// Event-loop library, as far as mapped files tell.
    pub loop_kind: LoopKind,
    /// Listening ports and unix paths it holds.
    pub listen: Vec<String>,
    /// Control group path of the `cpu` controller.
    pub cgroup: Option<String>,
    /// Network namespace (inode), to know whose sockets can be seen.
    pub net_ns: Option<u64>,
    /// Soft limit of open descriptors.
    pub fd_limit: Option<u64>,
}

/// Libraries that run event loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopKind {
    /// libev (gevent's default).
    Libev,
    /// libuv (uvloop, gevent's alternative).
    Libuv,
    /// asyncio's own loop.
    Asyncio,
    /// A plain selector loop (gthread, sync).
    Selectors,
    /// No loop.
    None,
}

/// The interpreter of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonFacts {
    /// `3.13.0`; that of a free-threaded build ends in `t`.
    pub version: String,
    /// `cpython`.
    pub implementation: String,
    /// Start of the interpreter's static state: futexes inside it are the GIL's.
    pub runtime_start: u64,
    /// End of it; the same as its start where the interpreter runs without the GIL.
    pub runtime_end: u64,
}
