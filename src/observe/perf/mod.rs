//! The system calls of a process's threads for a moment, without a stop: events of the kernel's tracepoints.
//!
//! [`take`] opens two events for each thread (`raw_syscalls:sys_enter` and `sys_exit`), which the kernel writes into a
//! ring of the thread's own, and gives what a burst of stops gives ([`crate::capture::burst`]), with times of the same
//! clock. The threads run on: nothing is stopped, interrupted or made to wait, and a ring that is full makes the kernel
//! count what had no room. The price is one record for each event, written by the thread itself, and that the kernel
//! looks at its tracepoints at every call on the machine as long as anybody has such an event open.
//!
//! What cannot be seen this way is what arguments lead to: names, addresses, the descriptors that a poll reported. They
//! are in the thread's memory, which has moved on when its record is read, so it is not read at all.
//!
//! Everything is bounded: time, events, threads, the memory of the rings. All of it is gone when its descriptors are
//! closed, whatever ends the tool.

mod follow;
mod format;
mod records;
mod sys;
mod thread;
mod tracefs;

use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::burst::DEFAULT_LIMIT;
use super::kernel_file::{ProcDir, Unseen};
use super::parse;
use crate::capture::burst::Burst;
use follow::Follow;

/// The most events that are kept unless somebody asks for more.
pub const DEFAULT_EVENTS: u64 = 20_000;
/// More events than this are no moment any more.
pub const MOST_EVENTS: u64 = 200_000;

/// The bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The longest it may take.
    pub limit: Duration,
    /// The most events that are kept.
    pub max_events: u64,
    /// Bytes of each thread's ring, a power of two of pages; `None`: what the number of threads leaves room for.
    pub ring_bytes: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, max_events: DEFAULT_EVENTS, ring_bytes: None }
    }
}

/// Why nothing was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPerf {
    /// The kernel's tracing files are mounted nowhere.
    #[error("tracefs is not mounted")]
    NotMounted,
    /// The kernel has none.
    #[error("this kernel has no tracefs")]
    NoTracefs,
    /// One of them gives nothing.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: Unseen,
    },
    /// The kernel gives no events of any thread.
    #[error("no events of its threads: {0}")]
    Refused(Errno),
    /// There is no room for events: no descriptor, or no memory that may be locked.
    #[error("no room for events: {0}")]
    NoRoom(Errno),
    /// The process is gone.
    #[error("it is gone")]
    Gone,
}

/// Follows the calls of a process until one of the bounds.
pub fn take(process: &ProcDir, bounds: &Bounds) -> Result<Burst, NoPerf> {
    let tracepoints = tracefs::tracepoints()?;
    let stat = process.read("stat", 4096).map_err(|_| NoPerf::Gone)?;
    parse::stat(&stat).filter(|stat| !matches!(stat.state, 'Z' | 'X')).ok_or(NoPerf::Gone)?;
    let mut follow = Follow::begin(process, tracepoints, bounds)?;
    let end = follow.until_over();
    Ok(follow.finish(end))
}
