//! The threads of a process in the order in which they are worth following, and what each is doing.
//!
//! Reads the files of `/proc/PID/task` once each, gives plain data.

use std::cmp::Reverse;

use super::kernel_file::ProcDir;
use super::{parse, thread_files};
use crate::capture::model::Doing;

/// Longest text of a thread's file.
const TEXT_BYTES: u64 = 4096;

/// A thread that may be followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Thread.
    pub tid: i32,
    /// What it was doing.
    pub doing: Doing,
    run_ns: u64,
}

/// Threads that are not known yet: those on a processor first, then those that have used one most.
#[must_use]
pub fn candidates(process: &ProcDir, known: impl Fn(i32) -> bool) -> Vec<Candidate> {
    let tids = thread_files::list_threads(process).unwrap_or_default();
    let mut found: Vec<Candidate> = tids
        .into_iter()
        .filter(|tid| !known(*tid))
        .map(|tid| Candidate { tid, doing: doing(process, tid), run_ns: run_ns(process, tid) })
        .collect();
    found.sort_by_key(|c| (c.doing != Doing::Running, Reverse(c.run_ns)));
    found
}

/// What a thread is doing now.
#[must_use]
pub fn doing(process: &ProcDir, tid: i32) -> Doing {
    let text = process.read(&format!("task/{tid}/syscall"), TEXT_BYTES).unwrap_or_default();
    parse::syscall(&text).unwrap_or(Doing::Unreadable)
}

fn run_ns(process: &ProcDir, tid: i32) -> u64 {
    let text = process.read(&format!("task/{tid}/schedstat"), TEXT_BYTES).unwrap_or_default();
    parse::schedstat(&text).map_or(0, |sched| sched.run_ns)
}
