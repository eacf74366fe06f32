//! What a burst saw, as plain data: which threads were followed, which calls they made, and what it cost them.
//!
//! [`crate::observe::burst`] fills it by stops, [`crate::observe::perf`] without; [`crate::trace`] reads it. Numbers of calls are those of the architecture that
//! the capture names. Times are `CLOCK_MONOTONIC`, in a capture since the start of its window.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Doing;

/// Everything of one burst at one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// What saw the calls.
    #[serde(default, skip_serializing_if = "Engine::is_ptrace")]
    pub engine: Engine,
    /// Process.
    pub pid: i32,
    /// Just before the first thread was held.
    pub began_ns: u64,
    /// When the helper began to exit, which lets everything go; `None` where it was killed.
    pub ended_ns: Option<u64>,
    /// When it began to let threads go for good; `None` where it was killed before, and in older captures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letting_go_ns: Option<u64>,
    /// When it was seen to be gone: nothing was held any more, at the latest.
    pub over_ns: u64,
    /// The longest it was allowed to take.
    pub limit_ns: u64,
    /// The most stops it was allowed to make.
    pub max_stops: u64,
    /// The most events it was allowed to keep; 0 where stops are the bound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_events: u64,
    /// Why it ended.
    pub end: End,
    /// The threads that were followed from its beginning.
    pub threads: Vec<FollowedThread>,
    /// Threads that were there and not followed.
    pub left_out: LeftOut,
    /// Stops that it made.
    pub stops: u64,
    /// Together, from noticing each to letting go.
    pub stopped_ns_total: u64,
    /// The longest of them.
    pub stopped_ns_max: u64,
    /// How long the helper waited for a processor meanwhile: threads may have stood still for so much longer, unnoticed.
    pub helper_waited_ns: u64,
    /// Events that had no room.
    pub lost: u64,
    /// Threads that began meanwhile and whose first calls, or all of them, were not seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u64,
    /// Whether the helper's memory was locked, so that no page had to be fetched while something was held.
    pub locked: bool,
    /// Whether nothing is traced by it any more, as the kernel says.
    pub detached: bool,
    /// What was seen, in its order.
    pub events: Vec<Event>,
}

impl Burst {
    /// The same with times that count from a start.
    #[must_use]
    pub fn since(mut self, start_ns: u64) -> Self {
        let from_start = |at: &mut u64| *at = at.saturating_sub(start_ns);
        from_start(&mut self.began_ns);
        from_start(&mut self.over_ns);
        self.letting_go_ns.iter_mut().for_each(from_start);
        self.ended_ns.iter_mut().for_each(from_start);
        for event in &mut self.events {
            from_start(&mut event.at_ns);
            event.resumed_ns.iter_mut().for_each(from_start);
        }
        self
    }

    /// Whether a thread may have been about to begin a call when the end of the burst let it go: the kernel wakes it there as
    /// a signal would. One that was let go before, or was in a call already, is not touched by the end.
    #[must_use]
    pub fn was_at_large(&self, tid: i32) -> bool {
        if self.engine == Engine::Perf {
            return false;
        }
        let Some(last) = self.events.iter().rev().find(|event| event.tid == tid) else {
            // Asleep it would have been seen to stop, or was left alone.
            return self.threads.iter().any(|thread| thread.tid == tid && thread.doing == Doing::Running);
        };
        let let_go = || self.letting_go_ns.is_some_and(|at_ns| last.at_ns >= at_ns);
        match last.what {
            // It is over, or is not held at all.
            What::Ended
            | What::JobControl(_)
            | What::Within { .. }
            | What::OffCpu
            | What::OnCpu
            | What::Lost(_) => false,
            What::Enter { .. } => last.resumed_ns.is_none(),
            What::Leave { .. } | What::Signal(_) | What::Held(_) | What::Other => {
                last.resumed_ns.is_none() || !let_go()
            }
        }
    }

    /// How many threads that were born meanwhile were at large at the end.
    #[must_use]
    pub fn newborn_at_large(&self) -> u64 {
        let known: BTreeSet<i32> = self.threads.iter().map(|thread| thread.tid).collect();
        let newborn: BTreeSet<i32> =
            self.events.iter().map(|event| event.tid).filter(|tid| !known.contains(tid)).collect();
        newborn.into_iter().filter(|tid| self.was_at_large(*tid)).count() as u64
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What saw the calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Stops at each call, by ptrace.
    #[default]
    Ptrace,
    /// Events of the kernel's tracepoints, without a stop.
    Perf,
}

impl Engine {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_ptrace(&self) -> bool {
        *self == Self::Ptrace
    }
}

/// Why a burst ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its time was over.
    Time,
    /// It had made as many stops as it may.
    Stops,
    /// It had as many events as it may keep.
    Events,
    /// One of the threads had been held for a tenth of that time.
    Stopped,
    /// Nothing was left to follow.
    NothingLeft,
    /// The process began another program.
    Exec,
    /// The kernel's timer ended it: it could not end itself. A thread that was just about to begin a call that a stop
    /// interrupts may have got `EINTR` from it.
    Timer,
    /// Somebody ended it before its time, with the same effect.
    Killed,
    /// This kernel does not tell what a stop is about (before 5.3).
    OldKernel,
}

/// A thread that was followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FollowedThread {
    /// Thread.
    pub tid: i32,
    /// What it was doing just before it was held for the first time.
    pub doing: Doing,
    /// What holding it does to the call it sleeps in.
    pub woken: Woken,
}

/// What holding a sleeping thread does to the call it sleeps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Woken {
    /// Nothing that the program could see: it goes on.
    No,
    /// The call returns `EINTR`.
    Interrupted,
    /// It was not seen to stop, and sleeps in a call which returns `EINTR` when it does, always or if its socket has a time
    /// limit; or it may have been about to begin a call when the end of the burst let it go, which ends such a call so, too.
    PerhapsInterrupted,
}

/// Threads that were there and not followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Slept in a call that must not be interrupted.
    pub spared: u64,
    /// Were not on a processor.
    pub asleep: u64,
    /// There were more threads than stops.
    pub no_room: u64,
    /// The kernel said no.
    pub refused: u64,
    /// Its last error, as a number; 0 without one.
    pub error: i32,
}

/// Something that was seen of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Thread.
    pub tid: i32,
    /// When it was noticed.
    pub at_ns: u64,
    /// When the thread was let go; `None` where the end of the burst let it go. At once where nothing held it.
    pub resumed_ns: Option<u64>,
    /// What it was.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It begins a system call: number, arguments, and what they lead to in its memory.
    Enter {
        /// Number.
        number: i64,
        /// Arguments.
        args: [u64; 6],
        /// A name or an address, where the arguments lead to one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        memory: Vec<u8>,
    },
    /// It was within this call already when its calls began to be seen: number and arguments.
    Within {
        /// Number.
        number: i64,
        /// Arguments.
        args: [u64; 6],
    },
    /// A system call has come back.
    Leave {
        /// What it returned; an error is negative.
        result: i64,
        /// What it left in memory: ready descriptors.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        memory: Vec<u8>,
    },
    /// A signal was about to be delivered, and was.
    Signal(i32),
    /// It is stopped by job control, and stays so.
    JobControl(i32),
    /// It was stopped because that was asked of it, first of all at the beginning: with the number of the call that this
    /// ended with `EINTR`, if it did.
    Held(Option<i64>),
    /// It left its processor.
    OffCpu,
    /// It got one.
    OnCpu,
    /// So many of its events had no room before this.
    Lost(u64),
    /// It ended.
    Ended,
    /// It had a child or began another program.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::calls::tests::{enter, event, leave, traced};

    fn at_large(events: Vec<Event>) -> bool {
        let running = FollowedThread { tid: 7, doing: Doing::Running, woken: Woken::No };
        let mut burst = traced(vec![running], events).burst;
        burst.letting_go_ns = Some(1_000);
        burst.was_at_large(7)
    }

    #[test]
    fn who_is_in_a_call_or_was_let_go_is_not_touched_by_the_end() {
        assert!(!at_large(vec![event(100, What::Held(None)), enter(200, 232, [0; 6])]));
        assert!(!at_large(vec![enter(200, 232, [0; 6]), leave(1_100, 0)]), "let go behind the call");
        assert!(!at_large(vec![event(100, What::Ended)]));
        assert!(!at_large(vec![event(100, What::JobControl(19))]));
    }

    #[test]
    fn who_was_on_its_way_to_a_call_may_be() {
        assert!(at_large(vec![enter(200, 232, [0; 6]), leave(300, 0)]));
        assert!(at_large(vec![event(100, What::Held(None))]));
        assert!(at_large(Vec::new()), "it was not seen to stop");
        let held = Event { resumed_ns: None, ..enter(1_100, 232, [0; 6]) };
        assert!(at_large(vec![held]), "at the beginning of a call");
    }

    #[test]
    fn so_may_who_was_born_meanwhile() {
        let mut burst = traced(Vec::new(), vec![event(100, What::Held(None))]).burst;
        assert_eq!(burst.newborn_at_large(), 1);
        burst.events = vec![enter(200, 232, [0; 6])];
        assert_eq!(burst.newborn_at_large(), 0);
    }
}
