//! Which threads a burst follows, and how it gets hold of them.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::Choice;
use super::child::{Burst, Followed, TEXT_BYTES};
use super::shared::{Record, kind};
use super::tracee;
use crate::capture::calls::{self, Disturbed};
use crate::capture::model::Doing;
use crate::observe::clock::monotonic_ns;
use crate::observe::{parse, thread_files};

/// Most passes over the list of threads: a process that makes threads faster than this is followed as far as it goes.
const MOST_PASSES: u32 = 8;

/// A thread that may be followed.
pub(super) struct Candidate {
    pub(super) tid: i32,
    pub(super) doing: Doing,
    pub(super) run_ns: u64,
}

impl Burst<'_> {
    /// Threads that nobody has looked at yet: those on a processor first, then those that have used one most.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let known = |tid: &i32| self.threads.contains_key(tid) || self.left_out.contains(tid);
        let tids = thread_files::list_threads(&self.process).unwrap_or_default();
        let mut found: Vec<Candidate> = tids
            .into_iter()
            .filter(|tid| !known(tid))
            .map(|tid| Candidate { tid, doing: self.doing(tid), run_ns: self.run_ns(tid) })
            .collect();
        found.sort_by_key(|c| (c.doing != Doing::Running, Reverse(c.run_ns)));
        found
    }

    pub(super) fn doing(&self, tid: i32) -> Doing {
        let text = self.process.read(&format!("task/{tid}/syscall"), TEXT_BYTES as u64).unwrap_or_default();
        parse::syscall(&text).unwrap_or(Doing::Unreadable)
    }

    fn run_ns(&self, tid: i32) -> u64 {
        let text = self.process.read(&format!("task/{tid}/schedstat"), TEXT_BYTES as u64).unwrap_or_default();
        parse::schedstat(&text).map_or(0, |sched| sched.run_ns)
    }

    /// Seizes and stops every thread that is to be followed, until a pass finds no new one.
    pub(super) fn seize_all(&mut self, first: Vec<Candidate>) {
        let mut found = first;
        for _ in 0..MOST_PASSES {
            if found.is_empty() || monotonic_ns() >= self.deadline_ns {
                break;
            }
            for candidate in &found {
                if let Some(why) = self.unwanted(candidate) {
                    why.fetch_add(1, Ordering::Relaxed);
                    self.left_out.insert(candidate.tid);
                    continue;
                }
                match tracee::seize(candidate.tid).and_then(|()| tracee::interrupt(candidate.tid)) {
                    Ok(()) => self.follow_thread(candidate),
                    Err(errno) => {
                        self.left_out.insert(candidate.tid);
                        self.refused(errno);
                    }
                }
            }
            found = self.candidates();
        }
    }

    /// The kernel says no.
    pub(super) fn refused(&self, errno: Errno) {
        self.shared.state().refused.fetch_add(1, Ordering::Relaxed);
        self.shared.state().error.store(errno as i32, Ordering::Relaxed);
    }

    /// Where to count a thread that is not to be followed, if it is one.
    fn unwanted(&self, candidate: &Candidate) -> Option<&AtomicU64> {
        let state = self.shared.state();
        // Each takes two stops before it does anything of its own: half of them are for that.
        if 4 * (self.threads.len() as u64 + 1) > self.orders.max_stops {
            return Some(&state.no_room);
        }
        match (Choice::from_number(self.orders.choice), candidate.doing) {
            (Choice::Running, doing) if doing != Doing::Running => Some(&state.asleep),
            (Choice::Undisturbed, Doing::Syscall(number, args))
                if self.would_be_disturbed(number, args[0]) =>
            {
                Some(&state.spared)
            }
            _ => None,
        }
    }

    /// Whether a stop would end this call with an error. Whether a socket has a time limit cannot be seen from outside.
    fn would_be_disturbed(&self, number: i64, fd: u64) -> bool {
        match calls::disturbed(std::env::consts::ARCH, number) {
            Disturbed::No => false,
            Disturbed::Always => true,
            Disturbed::WithTimeLimit => !super::is_no_socket(&self.process, fd),
        }
    }

    /// Counts a thread as followed, and tells what it was doing before.
    pub(super) fn follow_thread(&mut self, candidate: &Candidate) {
        let mut record = Record::new(kind::RUNNING, candidate.tid, monotonic_ns());
        let mut call = None;
        match candidate.doing {
            Doing::Running => {}
            Doing::Syscall(number, args) => {
                (record.kind, record.number, record.args) = (kind::ASLEEP, number, args);
                call = Some((number, args));
            }
            Doing::Elsewhere => record.kind = kind::ELSEWHERE,
            Doing::Unreadable => record.kind = kind::UNREADABLE,
        }
        self.shared.append(&record);
        self.shared.state().seized.fetch_add(1, Ordering::Relaxed);
        self.threads.insert(candidate.tid, Followed { call, stopped_ns: 0 });
        self.row.push(candidate.tid);
    }
}
