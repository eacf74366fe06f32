//! What a recording is made of: processes, who was seen in which stack and call, and what was added up. Plain data.

use crate::capture::model::{ProcessFacts, ServerFacts};

/// The fixed facts of a recording.
#[derive(Debug, Clone, Default)]
pub struct ProfileHeader {
    /// Version of the tool.
    pub tool_version: String,
    /// `CLOCK_REALTIME` at the start.
    pub started_realtime_ns: u64,
    /// Looks per second that were asked for.
    pub rate_hz: u32,
    /// Machine architecture: it tells what the numbers of system calls mean.
    pub arch: String,
    /// The server.
    pub server: Option<ServerFacts>,
    /// Most distinct stacks that are kept.
    pub max_stacks: usize,
}

/// A process that was seen.
#[derive(Debug, Clone)]
pub struct Process {
    /// What it is.
    pub facts: ProcessFacts,
    /// When it was first seen.
    pub joined_ns: u64,
    /// Up to when its greenlets and tasks were counted.
    pub counted_ns: u64,
    /// How often they were counted.
    pub counts: u64,
    /// Whether the last try to count them failed.
    pub uncounted: bool,
}

/// How it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Time since the start.
    pub at_ns: u64,
    /// Turns of the sampling clock.
    pub ticks: u64,
    /// Looks at threads.
    pub samples: u64,
    /// Of these, with a stack.
    pub with_stack: u64,
    /// Time in which nobody looked, as the tool itself was held up.
    pub unseen_ns: u64,
    /// Looks that were added to [`Stack::Other`].
    pub other: u64,
    /// Readings of stacks that were found changing, and repeated.
    pub torn: u64,
    /// Stacks that were given up after that.
    pub discarded: u64,
}

/// Who was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// A thread, by its id in the namespace of the tool; 0 stands for those that are no longer told apart.
    Thread(i32),
    /// Parked greenlets.
    Greenlets,
    /// Parked tasks of asyncio.
    Tasks,
}

/// Which stack was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stack {
    /// One that is kept.
    Kept(u32),
    /// None: it was not read, or there is none.
    Missing,
    /// One more than are kept.
    Other,
}

/// What it was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// On a processor, or waiting for one.
    Running,
    /// Asleep in the system call of that number.
    Syscall(i64),
    /// Asleep until it gets the interpreter lock.
    Gil,
    /// Asleep for storage, in the call of that number where it is in one.
    Disk(Option<i64>),
    /// Stopped by a signal or a tracer.
    Stopped,
    /// Asleep outside of any call, or in one that may not be told.
    Unknown,
    /// Parked until something happens.
    Parked,
    /// Parked, and its turn comes next.
    Ready,
}

/// What is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Process id.
    pub pid: i32,
    /// Who.
    pub who: Who,
    /// Which stack.
    pub stack: Stack,
    /// In what.
    pub call: Call,
}

/// What was added up of one combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Of what.
    pub key: Key,
    /// How often it was met.
    pub samples: u64,
    /// The time that these looks stand for.
    pub wall_ns: u64,
    /// Of that, on a processor.
    pub cpu_ns: u64,
}

/// Parked greenlets or tasks at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedGroup {
    /// Which of the two.
    pub who: Who,
    /// Whether their turn comes next.
    pub ready: bool,
    /// Where.
    pub stack: Stack,
    /// How many.
    pub count: u64,
}
