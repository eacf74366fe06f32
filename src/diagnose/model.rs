//! What the judge says, as plain data. `report/` formats it and adds nothing.
//!
//! Enums are open for readers: a report may carry codes that an older reader does not know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The judgement of one capture.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The server as a whole.
    pub server: ServerDiagnosis,
    /// Each process: the arbiter first, then the workers by pid.
    pub processes: Vec<ProcessDiagnosis>,
    /// What was judged without being seen.
    pub blind_spots: Vec<crate::capture::model::BlindSpot>,
    /// Number of sub-windows the window was cut into.
    pub sub_windows: u32,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// Somebody should look.
    Warning,
    /// Requests are lost or held up.
    Critical,
}

/// Verdict of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Stopped, frozen, a zombie or exiting.
    NotRunning,
    /// Has not begun to serve.
    Booting,
    /// Wants the processor, its control group's quota forbids.
    CgroupThrottled,
    /// Wants the processor, other processes have it.
    CpuStarved,
    /// The loop turns without useful work.
    HotSpin,
    /// One computation keeps the loop from turning.
    LoopBlockedOnCpu,
    /// One wait keeps the loop from turning.
    LoopBlockedOffCpu,
    /// Threads wait for the interpreter lock.
    GilContention,
    /// Threads wait for an application lock that changes hands.
    LockContention,
    /// Threads wait for a lock that nobody will release.
    Deadlock,
    /// Waits for storage.
    WaitingDisk,
    /// Waits for a backend, by design.
    WaitingUpstream,
    /// Waits for silent or slow clients.
    WaitingClient,
    /// Requests in flight, nobody outside is waited for.
    StalledInProcess,
    /// Works with all it has.
    SaturatedProductive,
    /// Works with head-room.
    HealthyBusy,
    /// Nothing is asked of it.
    Idle,
    /// The arbiter does what an arbiter does.
    ArbiterNormal,
    /// The arbiter itself is hot, blocked or stopped.
    ArbiterFault,
    /// Evidence is insufficient or conflicting.
    Unknown,
}

/// Verdict of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerCode {
    /// Serves with head-room.
    Healthy,
    /// Nothing is asked of it.
    Idle,
    /// A minority of workers is bad.
    OneBadWorker,
    /// One worker does a multiple of the others' work.
    Imbalance,
    /// Nearly all workers are blocked.
    AllBlocked,
    /// All workers work, demand waits.
    CapacitySaturated,
    /// All slots wait, processors do not: too few slots.
    UnderProvisioned,
    /// Most blocked slots wait for one backend.
    UpstreamBound,
    /// Most blocked slots wait for clients.
    ClientBound,
    /// The machine has no processor time to give.
    HostStarved,
    /// The control group's quota holds it back.
    Throttled,
    /// Workers die and are born again.
    CrashLoop,
    /// The arbiter itself is at fault.
    ArbiterFault,
    /// Not enough is known.
    Unknown,
}

/// The server as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerDiagnosis {
    /// Verdict of the server.
    pub verdict: ServerVerdict,
    /// Connections waiting to be accepted.
    pub accept_queue: AcceptQueue,
}

/// Verdict of the server with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerVerdict {
    /// The verdict.
    pub code: ServerCode,
    /// How bad it is; `null` for `unknown`.
    pub severity: Option<Severity>,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence for a person.
    pub summary: String,
}

/// Connections that no worker has accepted yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptQueue {
    /// The most seen at once; `null` when no listener could be read.
    pub max: Option<u64>,
    /// Room in the queue; `null` when the kernel does not tell.
    pub backlog: Option<u64>,
    /// Share of readings in which somebody waited.
    pub share_nonzero: Option<f64>,
}

/// The judgement of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessDiagnosis {
    /// Process id in the tool's namespace.
    pub pid: i32,
    /// The verdict.
    pub verdict: Verdict,
    /// The next best explanation and why it lost.
    pub runner_up: Option<RunnerUp>,
    /// Where the time of the loop thread (or of the request slots) went.
    pub time_budget: TimeBudget,
    /// The event loop.
    pub event_loop: EventLoop,
    /// The heartbeat towards the arbiter.
    pub heartbeat: Option<Heartbeat>,
    /// Requests in flight and what was asked of backends; `None` where sockets could not be read.
    pub connections: Option<Connections>,
    /// What speaks for the verdict.
    pub evidence: Vec<Evidence>,
    /// What speaks against it.
    pub counter_evidence: Vec<Evidence>,
    /// What would have led to another verdict.
    pub what_would_change: Vec<String>,
    /// Secondary findings.
    pub findings: Vec<Finding>,
    /// What to do, best first.
    pub advice: Vec<Advice>,
    /// The most telling stacks.
    pub stacks: Vec<StackShare>,
    /// The threads.
    pub threads: Vec<ThreadShare>,
    /// Its greenlets and tasks; `None` when they were not counted.
    pub tasks: Option<Tasks>,
}

/// Verdict of one process with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The verdict.
    pub code: Code,
    /// The kind of cause, where the evidence tells.
    pub subcause: Option<String>,
    /// How bad it is; `null` for `unknown`.
    pub severity: Option<Severity>,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence for a person.
    pub summary: String,
    /// Who or what is to blame, where the evidence tells.
    pub culprit: Option<Culprit>,
    /// How many sub-windows alone would give the same verdict, as `3/3`.
    pub sub_windows_agree: String,
}

/// Who or what is to blame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Culprit {
    /// `function`, `fd`, `peer`, `lock`, `thread`, `cgroup` or `file`.
    pub kind: String,
    /// Function that computes, waits or owns the descriptor.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function: Option<String>,
    /// File of the function, or the file that is waited for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// Line in the file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// Descriptor number in the target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fd: Option<i32>,
    /// What the descriptor, lock or group is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub what: Option<String>,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<String>,
}

/// The next best explanation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunnerUp {
    /// Its verdict.
    pub code: Code,
    /// How far behind it was, 0 to 1.
    pub margin: f64,
    /// Why it lost.
    pub rejected_because: Vec<String>,
}

/// A share of time and how it was obtained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// 0 to 1.
    pub share: f64,
    /// Exact or sampled.
    pub method: Method,
    /// Samples in this share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n: Option<u64>,
    /// Samples in all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    /// 95 % Wilson interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ci95: Option<[f64; 2]>,
}

/// How a share was obtained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// From the kernel's exact counters.
    #[default]
    Counter,
    /// From samples.
    Sampled,
    /// From a counter of a whole control group, apportioned to the thread.
    Apportioned,
}

/// Where the time went. The shares sum to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimeBudget {
    /// On a processor.
    pub on_cpu: Share,
    /// Runnable, held back by the control group's quota.
    pub throttled: Share,
    /// Runnable, waiting for a processor.
    pub run_queue: Share,
    /// Asleep in the loop's own poller, or a free slot.
    pub own_poller: Share,
    /// Asleep on a client's socket.
    pub client_socket: Share,
    /// Asleep on a backend's socket.
    pub upstream_socket: Share,
    /// Asleep waiting for the interpreter lock.
    pub gil: Share,
    /// Asleep on an application lock.
    pub lock: Share,
    /// Waiting for storage.
    pub disk: Share,
    /// Any other sleep.
    pub other: Share,
    /// Stopped by a signal or a tracer.
    pub stopped: Share,
}

/// The event loop of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventLoop {
    /// `libev`, `libuv`, `asyncio`, `selectors` or `none`.
    pub kind: String,
    /// Turns per second, where they can be counted.
    pub turns_per_s: Option<f64>,
    /// Longest time in which the loop was not seen to turn.
    pub longest_gap_ms: Option<u64>,
    /// 99th percentile of such times.
    pub gap_p99_ms: Option<u64>,
}

/// The heartbeat of a gunicorn worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Age at the end of the window.
    pub age_ms: u64,
    /// How often this class of worker beats when it is well.
    pub cadence_ms: u64,
    /// `ctime` or `mtime`.
    pub source: String,
}

/// What went on over the sockets of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Connections of clients, at most.
    pub clients: u64,
    /// Requests in flight, at most; `null` where the kernel gives no counters for the connections.
    pub in_flight: Option<u64>,
    /// Age of the oldest request in flight; `null` when there is none.
    pub oldest_ms: Option<u64>,
    /// Client connections with bytes that were not read, at most.
    pub unread: u64,
    /// Backends that were asked and had not answered.
    pub backends: Vec<Backend>,
}

/// A backend that was asked and had not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Its address.
    pub peer: String,
    /// Connections that waited for its answer, at most.
    pub waiting: u64,
}

/// One observation that supports or contradicts a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `E1`, `E2`, …; advice refers to it.
    pub id: String,
    /// Where it was seen: `proc.schedstat`, `memory.stack`, `heartbeat.ctime`, …
    pub source: String,
    /// What was seen, in words.
    pub observed: String,
    /// The number, where there is one.
    pub value: Option<f64>,
    /// How it is compared with the threshold: `>=`, `<`, …
    pub op: Option<String>,
    /// What it is compared with.
    pub threshold: Option<f64>,
    /// The verdict it supports.
    pub supports: Code,
}

/// A secondary finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable identifier.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
}

/// A change to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Stable identifier.
    pub id: String,
    /// What to change.
    pub change: String,
    /// Evidence by id.
    pub why: Vec<String>,
    /// What could go wrong.
    pub risk: String,
    /// What should be seen afterwards.
    pub expected_effect: String,
}

/// A stack and how often it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StackShare {
    /// Thread id.
    pub thread: i32,
    /// `on_cpu`, `run_queue` or what it sleeps in.
    pub state: String,
    /// Share of the thread's samples.
    pub share: f64,
    /// Frames, innermost first.
    pub frames: Vec<ReportFrame>,
}

/// A frame in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportFrame {
    /// Function.
    pub function: String,
    /// File.
    pub file: String,
    /// Line; 0 when unknown.
    pub line: u32,
    /// `python`, `native` or `kernel`.
    pub kind: String,
}

/// Greenlets and asyncio tasks of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tasks {
    /// Greenlets.
    pub greenlets: Greenlets,
    /// asyncio tasks.
    pub asyncio: AsyncioTasks,
    /// Where they wait, the most frequent first. How long they have waited is not told by one look.
    pub longest_waiting: Vec<WaitingTask>,
}

/// How many greenlets there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Greenlets {
    /// All of them.
    pub total: u64,
    /// Those that wait.
    pub suspended: u64,
}

/// How many asyncio tasks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsyncioTasks {
    /// All of them.
    pub total: u64,
}

/// Greenlets or tasks that wait at the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingTask {
    /// `greenlet` or `asyncio`.
    pub kind: String,
    /// The name of the first of them, or what it runs.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Frames, innermost first.
    pub frames: Vec<ReportFrame>,
}

/// A thread and where its time went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadShare {
    /// Thread id.
    pub tid: i32,
    /// Its name.
    pub name: String,
    /// State letter at the end of the window.
    pub state: String,
    /// Share of the window on a processor; `null` without `schedstat`.
    pub on_cpu_share: Option<f64>,
    /// Share of the window in a run queue; `null` without `schedstat`.
    pub run_queue_share: Option<f64>,
    /// `holds`, `waits` or `none`: what it most often did with the interpreter lock; `null` when unknown.
    pub gil: Option<String>,
    /// What it most often slept in.
    pub sleeping_in: Option<String>,
}
