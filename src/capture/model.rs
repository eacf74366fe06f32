//! What was observed, as plain data: the one stream that everything downstream of the live processes reads.
//!
//! `observe/`, `python/` and `target/` write these records; `capture/` stores them; `diagnose/` judges them and
//! has no other input, which is why a saved capture replays to the same verdict.
//! Units stand in the names. Times named `at_ns` count from the start of the window on `CLOCK_MONOTONIC`.

use serde::{Deserialize, Serialize};

use super::burst::Burst;

mod facts;
mod kernel;

pub use facts::{
    HostFacts, LoopKind, Package, ProcessFacts, PythonFacts, Role, ServerFacts, ServerKind, TargetFacts,
    WorkerClass,
};
pub use kernel::{
    CgroupSample, Descriptor, EpollEntry, HostSample, Socket, SocketFamily, SocketState, TcpCounters,
    ThreadCounters,
};

/// Version of the capture format. The major number changes when an old reader would misread a new file.
pub const CAPTURE_VERSION: &str = "1.3";

/// Everything that was seen in one look at one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// Who was looked at, from where, how.
    pub header: Header,
    /// The observations in the order in which they were made.
    pub records: Vec<Record>,
}

/// The fixed facts of a capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`CAPTURE_VERSION`] of the writer.
    pub capture_version: String,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Start of the window, RFC 3339 in UTC.
    pub started_at: String,
    /// `CLOCK_REALTIME` at the start of the window.
    pub started_realtime_ns: u64,
    /// `CLOCK_MONOTONIC` at the start of the window, to compare with clocks read from the target.
    pub started_monotonic_ns: u64,
    /// Requested sampling rate.
    pub rate_hz: u32,
    /// Requested window.
    pub duration_ms: u64,
    /// The most the look was allowed to do to the target.
    pub level: Level,
    /// The machine.
    pub host: HostFacts,
    /// What was asked for.
    pub target: TargetFacts,
    /// The server that the target belongs to.
    pub server: ServerFacts,
}

/// The most that a look may do to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Kernel files only.
    Proc,
    /// Also read the target's memory, without stopping it.
    Memory,
    /// Also one bounded burst of ptrace stops.
    Burst,
}

/// One observation. Each variant is one source at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "r", rename_all = "snake_case")]
pub enum Record {
    /// A process as first seen (at the start, or born while looking).
    Process(Box<ProcessFacts>),
    /// A process that ended while looking.
    Gone {
        /// When it was noticed.
        at_ns: u64,
        /// Which one.
        pid: i32,
        /// Its wait status, where the kernel tells it to others than the parent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<i32>,
    },
    /// A text that later records name by its number.
    Name {
        /// Its number, counting from 0.
        id: u32,
        /// The text.
        text: String,
    },
    /// A Python function at a line, named by number in [`Record::Stack`].
    Frame {
        /// Its number, counting from 0.
        id: u32,
        /// Where execution stands.
        #[serde(flatten)]
        frame: Frame,
    },
    /// A distinct stack, named by number in [`ThreadSample`].
    Stack {
        /// Its number, counting from 0.
        id: u32,
        /// Numbers of its frames, innermost first.
        frames: Vec<u32>,
        /// Whether the walk ended at the root of the stack.
        complete: bool,
    },
    /// One turn of the sampling clock.
    Tick(Tick),
    /// Exact counters of every thread of a process: at the start, the end and each sub-window's bound.
    Threads {
        /// When they were read.
        at_ns: u64,
        /// Whose they are.
        pid: i32,
        /// One entry per thread.
        threads: Vec<ThreadCounters>,
    },
    /// Open descriptors of a process.
    Descriptors {
        /// When they were listed.
        at_ns: u64,
        /// Whose they are.
        pid: i32,
        /// One entry per descriptor.
        fds: Vec<Descriptor>,
    },
    /// What an epoll descriptor watches.
    EpollSet {
        /// When it was read.
        at_ns: u64,
        /// Whose it is.
        pid: i32,
        /// The epoll descriptor.
        epfd: i32,
        /// What it watches.
        entries: Vec<EpollEntry>,
    },
    /// Sockets of one network namespace that belong to the server.
    Sockets {
        /// When they were read.
        at_ns: u64,
        /// The sockets.
        sockets: Vec<Socket>,
    },
    /// What `poll` says of a descriptor of the target.
    Readiness {
        /// When it was asked.
        at_ns: u64,
        /// Whose it is.
        pid: i32,
        /// The descriptor.
        fd: i32,
        /// The `POLL*` bits that were set.
        revents: i16,
        /// Bytes waiting to be read, where the kind of descriptor tells.
        queued_bytes: Option<u64>,
    },
    /// The clock that an event loop keeps of its own turns, read from its memory.
    LoopClock {
        /// When it was read.
        at_ns: u64,
        /// Whose it is.
        pid: i32,
        /// Time since the loop's last turn.
        age_ns: u64,
    },
    /// gunicorn's heartbeat file of a worker.
    Heartbeat {
        /// When it was read.
        at_ns: u64,
        /// Whose it is.
        pid: i32,
        /// `CLOCK_REALTIME` at the reading.
        now_realtime_ns: u64,
        /// Time of the last change: moves with every beat of every gunicorn.
        ctime_ns: u64,
        /// Time of the last modification: `CLOCK_MONOTONIC` since gunicorn 22, unrelated before.
        mtime_ns: u64,
        /// Permission bits: toggle with every beat before gunicorn 22.
        mode: u32,
    },
    /// Bandwidth control of one control group.
    Cgroup(CgroupSample),
    /// The machine's processors and pressure.
    Host(HostSample),
    /// Something that could not be seen, why, and what would help.
    Blind(BlindSpot),
    /// Greenlets and tasks of a process, counted once.
    Tasks(TasksSeen),
    /// What a blocked loop's thread does below Python, looked at once (since 1.3).
    Below(BelowSeen),
    /// A burst of stops at a process, without what the arguments of its calls led to but ready descriptors.
    Burst {
        /// When it was over.
        at_ns: u64,
        /// What it saw.
        burst: Box<Burst>,
    },
    /// The last record: the tool's own cost. Missing when the capture was cut short.
    End(SelfCost),
}

/// The native functions between the call that a loop's thread sleeps in and the Python function that led there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BelowSeen {
    /// When they were read.
    pub at_ns: u64,
    /// Whose they are.
    pub pid: i32,
    /// Number of the thread's Python stack.
    pub stack: u32,
    /// The functions that have names, innermost first.
    pub functions: Vec<NativeFunction>,
}

/// A native function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeFunction {
    /// Its name.
    pub name: String,
    /// Name of its program or library, without the folder.
    pub library: String,
}

/// Greenlets and tasks of a process at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TasksSeen {
    /// When they were counted.
    pub at_ns: u64,
    /// Whose they are.
    pub pid: i32,
    /// Greenlets, all of them.
    pub greenlets: u64,
    /// Greenlets that wait to be switched to.
    pub suspended: u64,
    /// Tasks of asyncio that have not ended.
    pub asyncio: u64,
    /// Timers of loops: whose wait ends by itself has one. `None` in captures before 1.2.
    #[serde(default)]
    pub timers: Option<u64>,
    /// The most frequent waits.
    pub groups: Vec<WaitingGroup>,
}

/// Greenlets or tasks that wait at the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingGroup {
    /// Greenlets or tasks.
    pub kind: WaitingKind,
    /// What the first of them runs or is called.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Number of their stack.
    pub stack: u32,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingKind {
    /// A greenlet.
    Greenlet,
    /// A task of asyncio.
    Asyncio,
}

/// A Python function at a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Qualified name where the interpreter keeps it (3.11 and later), else the plain name.
    pub function: String,
    /// File name as compiled.
    pub file: String,
    /// Line number, 0 when unknown.
    pub line: u32,
}

/// One turn of the sampling clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// When the turn began.
    pub at_ns: u64,
    /// How much later than planned.
    pub late_ns: u64,
    /// What was seen.
    pub samples: Vec<ThreadSample>,
}

/// One thread at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadSample {
    /// Process.
    pub pid: i32,
    /// Thread.
    pub tid: i32,
    /// Time on a processor so far (`schedstat`).
    pub run_ns: u64,
    /// Time in a run queue so far (`schedstat`); includes throttled time.
    pub delay_ns: u64,
    /// Times it was put on a processor so far (`schedstat`).
    pub slices: u64,
    /// What the kernel says it is doing.
    pub doing: Doing,
    /// State letter, read when a new sleep began.
    pub state: Option<char>,
    /// Number of the kernel function it sleeps in (`wchan`), read when a new sleep began.
    pub wchan: Option<u32>,
    /// Descriptors it polls, where the call takes them by pointer (`poll`, `select`); at most the first eight.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub fds: Vec<i32>,
    /// Number of its Python stack.
    pub stack: Option<u32>,
    /// Whether it held the GIL at that instant; `None` when unknown.
    pub holds_gil: Option<bool>,
    /// Whether its innermost function, running, stood at the same instruction as when its stack was last read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub still: Option<bool>,
    /// Whether a garbage collector of its interpreter ran when its stack, running, was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub collecting: Option<bool>,
}

impl ThreadSample {
    /// What a thread does, before anything else is known of it.
    #[must_use]
    pub const fn of(pid: i32, tid: i32, doing: Doing) -> Self {
        Self {
            pid,
            tid,
            run_ns: 0,
            delay_ns: 0,
            slices: 0,
            doing,
            state: None,
            wchan: None,
            fds: Vec::new(),
            stack: None,
            holds_gil: None,
            still: None,
            collecting: None,
        }
    }
}

/// What `/proc/PID/task/TID/syscall` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// `running`: on a processor or in a run queue.
    Running,
    /// Asleep in a system call: number and arguments.
    Syscall(i64, [u64; 6]),
    /// Blocked or stopped outside any system call (the two-value form).
    Elsewhere,
    /// Not permitted or gone.
    Unreadable,
}

/// How the reason of a blind spot begins that the kernel's refusal has made.
pub const NOT_PERMITTED: &str = "not permitted: ";

/// Something that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlindSpot {
    /// What is missing.
    pub what: String,
    /// Why.
    pub why: String,
    /// What would help.
    pub remedy: String,
}

/// The tool's own cost and the fate of its readings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfCost {
    /// End of the window.
    pub at_ns: u64,
    /// Processor time of the tool.
    pub cpu_ns: u64,
    /// Resident memory of the tool.
    pub rss_kib: u64,
    /// Per source: how often asked, how often answered.
    pub sources: Vec<SourceCount>,
    /// Stacks read and consistent.
    pub stacks_obtained: u64,
    /// Stacks found changing while read, and read again.
    pub stacks_torn: u64,
    /// Stacks given up after repeated tearing or unreadable memory.
    pub stacks_discarded: u64,
    /// Whether the window was cut short by a signal or by the target's end.
    pub interrupted: bool,
}

/// How often a source was asked and how often it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SourceCount {
    /// `proc.syscall`, `memory.stack`, …
    pub name: String,
    /// How often it was asked.
    pub requested: u64,
    /// How often it answered.
    pub obtained: u64,
    /// Why it did not, if it never may.
    pub denied: Option<String>,
    /// The latest it was asked after its planned time.
    pub late_ms_max: u64,
}
