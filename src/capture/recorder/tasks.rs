//! What a loop's own memory tells: when it last turned, and who waits in it.
//!
//! The clock is one small read a round. Greenlets and tasks are counted once, at the end of a look, in an order that the
//! caller gives and at a price that is bounded: the lists of the garbage collector are long where the heap is large.

use super::{Record, Recorder};
use crate::capture::model::{Role, WorkerClass};
use crate::observe::clock::{monotonic_ns, own_cpu_ns};

/// The count may cost this part of a processor's time in the window: it is not begun for another worker beyond that.
const SHARE: u64 = 200;
/// Objects up to which the lists of one process are followed: some ten milliseconds.
const MOST_OBJECTS: usize = 150_000;

/// Whether workers of a class have loops in which others wait.
const fn has_loop(class: Option<WorkerClass>) -> bool {
    !matches!(class, None | Some(WorkerClass::Sync | WorkerClass::Gthread))
}

impl Recorder<'_> {
    /// Counts the greenlets and tasks of workers in this order, as far as the price allows. Gives those that were counted.
    pub fn count_tasks(&mut self, order: &[i32]) -> Vec<i32> {
        let mut counted = Vec::new();
        let (before, budget_ns) = (own_cpu_ns(), self.clock.elapsed_ns() / SHARE);
        for pid in order {
            if own_cpu_ns().saturating_sub(before) > budget_ns {
                break;
            }
            let at_ns = self.clock.elapsed_ns();
            let Some(watched) = self.watched.get_mut(pid) else { continue };
            let wanted = watched.facts.role != Role::Arbiter && has_loop(watched.facts.worker_class);
            let Some(python) = watched.python.as_mut().filter(|_| wanted) else { continue };
            let seen = python.tasks(at_ns, *pid, MOST_OBJECTS, &mut self.interner, &mut self.records);
            counted.extend(seen.is_some().then_some(*pid));
            self.records.extend(seen.map(Record::Tasks));
        }
        counted
    }

    /// Reads the clocks that gevent's loops keep of their turns.
    pub(super) fn loop_clocks(&mut self, at_ns: u64) {
        for (pid, watched) in &mut self.watched {
            let gevent = watched.facts.worker_class == Some(WorkerClass::Gevent);
            if !gevent || !watched.same_clock {
                continue;
            }
            let Some(python) = watched.python.as_mut() else { continue };
            let turned_ns = python.last_turn_ns(watched.facts.ns_pid);
            // Asked after it was read: a turn in between cannot lie in the future.
            let age_ns = turned_ns.map(|turned| monotonic_ns().saturating_sub(turned));
            self.records.extend(age_ns.map(|age_ns| Record::LoopClock { at_ns, pid: *pid, age_ns }));
        }
    }
}
