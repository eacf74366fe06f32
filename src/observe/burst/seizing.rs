//! Which threads a burst follows, and how it gets hold of them.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::Choice;
use super::child::{Burst, Followed};
use super::shared::{Record, kind};
use super::tracee;
use crate::capture::calls::{self, Disturbed};
use crate::capture::model::Doing;
use crate::observe::candidates::{Candidate, candidates};
use crate::observe::clock::monotonic_ns;

/// Most passes over the list of threads: a process that makes threads faster than this is followed as far as it goes.
const MOST_PASSES: u32 = 8;

impl Burst<'_> {
    /// Threads that nobody has looked at yet.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        candidates(&self.process, |tid| self.threads.contains_key(&tid) || self.left_out.contains(&tid))
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
                    Ok(()) => self.follow_thread(candidate.tid, candidate.doing),
                    // It has ended meanwhile, which refuses nothing.
                    Err(Errno::ESRCH) => {
                        self.left_out.insert(candidate.tid);
                    }
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
    pub(super) fn follow_thread(&mut self, tid: i32, doing: Doing) {
        let mut record = Record::new(kind::RUNNING, tid, monotonic_ns());
        let mut call = None;
        match doing {
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
        self.threads.insert(tid, Followed { call, stopped_ns: 0 });
        self.row.push(tid);
    }
}
