//! The report as a document: the keys of the contract in the contract's order, and nothing else.
//!
//! The judge's own types stand in it unchanged; this file adds who was looked at and how. It holds no logic:
//! [`super::build()`] fills it, [`super::json`], [`super::text`] and [`super::schema`] show it.
//! Fields are only ever added within a major version; a reader must accept fields that it does not know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capture::model::{
    BlindSpot, HostFacts, Level, Role, ServerKind, SourceCount, TargetFacts, WorkerClass,
};
use crate::diagnose::model as judged;

/// Version of the document. Minor: fields were added. Major: anything else.
pub const SCHEMA_VERSION: &str = "1.0";

/// What was found on one server in one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who looked and judged.
    pub tool: Tool,
    /// The machine.
    pub host: Host,
    /// What the user pointed at.
    pub target: TargetFacts,
    /// The server that the target belongs to.
    pub server: Server,
    /// How the look went.
    pub collection: Collection,
    /// Each process: the arbiter first, then the workers by pid.
    pub processes: Vec<Process>,
    /// What was not seen, why, and what would help.
    pub blind_spots: Vec<BlindSpot>,
    /// The exit code and its reason.
    pub exit: Exit,
}

/// Who looked and judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `stallscope`.
    pub name: String,
    /// Version of the tool that looked.
    pub version: String,
    /// Version of the rules that judged. Same capture and same rules give the same document.
    pub rules_version: String,
}

impl Tool {
    /// This program as the one that judges, and the version that looked.
    #[must_use]
    pub fn looked(version: &str) -> Self {
        Self {
            name: "stallscope".into(),
            version: version.to_owned(),
            rules_version: crate::diagnose::RULES_VERSION.into(),
        }
    }

    /// This program, which has looked itself.
    #[must_use]
    pub fn own() -> Self {
        Self::looked(env!("CARGO_PKG_VERSION"))
    }
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
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
}

impl From<&HostFacts> for Host {
    fn from(facts: &HostFacts) -> Self {
        Self {
            hostname: facts.hostname.clone(),
            kernel: facts.kernel.clone(),
            arch: facts.arch.clone(),
            cpus: facts.cpus,
            boot_id: facts.boot_id.clone(),
        }
    }
}

/// The server that the target belongs to, and its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
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
    /// Configured worker timeout. Zero means that it is switched off.
    pub timeout_s: Option<u64>,
    /// Connections waiting to be accepted.
    pub accept_queue: judged::AcceptQueue,
    /// Verdict of the server as a whole.
    pub verdict: judged::ServerVerdict,
}

/// How the look went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Collection {
    /// Start of the window, RFC 3339 in UTC.
    pub started_at: String,
    /// Length of the window as it came out.
    pub duration_ms: u64,
    /// Number of sub-windows it was cut into.
    pub sub_windows: u32,
    /// The most the look was allowed to do to the target.
    pub level: Level,
    /// Requested sampling rate.
    pub rate_hz: u32,
    /// Per source: how often asked, how often answered.
    pub sources: Vec<SourceCount>,
    /// The fate of the stacks; `null` when the look was cut short.
    pub stacks: Option<Stacks>,
    /// The burst of stops, if one was made.
    pub burst: Burst,
    /// What the look cost; `null` when it was cut short.
    #[serde(rename = "self")]
    pub own_cost: Option<OwnCost>,
}

/// The fate of the stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stacks {
    /// Read and consistent.
    pub obtained: u64,
    /// Found changing while read, and read again.
    pub torn: u64,
    /// Given up.
    pub discarded: u64,
}

/// A bounded burst of stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Burst {
    /// Whether one was made. When not, no thread of the target was ever stopped.
    pub used: bool,
    /// Threads that were stopped at least once.
    pub threads: u64,
    /// Stops in all.
    pub stops: u64,
    /// Time in which threads stood still, summed.
    pub stopped_ns_total: u64,
    /// The longest single stop.
    pub stopped_ns_max: u64,
    /// Whether every thread was let go.
    pub detached: bool,
}

impl Burst {
    /// No burst was made.
    pub const UNUSED: Self =
        Self { used: false, threads: 0, stops: 0, stopped_ns_total: 0, stopped_ns_max: 0, detached: true };
}

/// What the look cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnCost {
    /// Processor time of the tool.
    pub cpu_ms: u64,
    /// Resident memory of the tool.
    pub rss_kib: u64,
}

/// One process and its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id in the tool's namespace.
    pub pid: i32,
    /// Process id in its own innermost namespace.
    pub ns_pid: i32,
    /// Start time in clock ticks since boot: with the pid, the identity of the process.
    pub start_time_ticks: u64,
    /// What the process is for.
    pub role: Role,
    /// How it does its work, if known.
    pub worker_class: Option<WorkerClass>,
    /// Its interpreter, if it has one that can be read.
    pub python: Option<Python>,
    /// The verdict.
    pub verdict: judged::Verdict,
    /// The next best explanation and why it lost; `null` when no other came near.
    pub runner_up: Option<judged::RunnerUp>,
    /// Where the time of the loop thread (or of the request slots) went.
    pub time_budget: judged::TimeBudget,
    /// The event loop.
    #[serde(rename = "loop")]
    pub event_loop: judged::EventLoop,
    /// The heartbeat towards the arbiter; `null` for a process that has none.
    pub heartbeat: Option<judged::Heartbeat>,
    /// Requests in flight and what was asked of backends; `null` where sockets could not be read.
    #[serde(default)]
    pub connections: Option<judged::Connections>,
    /// What speaks for the verdict.
    pub evidence: Vec<judged::Evidence>,
    /// What speaks against it.
    pub counter_evidence: Vec<judged::Evidence>,
    /// What would have led to another verdict.
    pub what_would_change: Vec<String>,
    /// Secondary findings.
    pub findings: Vec<judged::Finding>,
    /// What to do, best first.
    pub advice: Vec<judged::Advice>,
    /// The most telling stacks.
    pub stacks: Vec<judged::StackShare>,
    /// The threads.
    pub threads: Vec<judged::ThreadShare>,
    /// Greenlets and asyncio tasks; `null` when they were not read.
    pub tasks: Option<judged::Tasks>,
}

/// The interpreter of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Python {
    /// `3.13.0`.
    pub version: String,
    /// `cpython`.
    pub implementation: String,
}

/// The exit code and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// 0, 1, 2, 3, 4, 130 or 143.
    pub code: u8,
    /// Why, in one sentence.
    pub reason: String,
}

/// An error as a document, for scripts that asked for JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// The error.
    pub error: crate::error::Error,
}

impl From<crate::error::Error> for ErrorDocument {
    fn from(error: crate::error::Error) -> Self {
        Self { schema_version: SCHEMA_VERSION.into(), error }
    }
}
