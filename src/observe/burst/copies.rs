//! Copies of stacks: each wished-for thread is held once, for its registers and what lies on its stack, and let go at once.
//!
//! Only a thread that is on a processor is stopped, so that no sleep ends with an error. One after the other: whoever is not
//! looked at goes on meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::child::{Burst, is_meant};
use super::shared::{Copied, Record, STACK_BYTES, Shared, WORDS, kind, phase};
use super::tracee::{self, Held, Told};
use crate::capture::model::Doing;
use crate::observe::candidates::doing;
use crate::observe::clock::monotonic_ns;
use crate::observe::registers;

/// What a function may use below its stack pointer without saying so.
const RED_ZONE: u64 = 128;

/// A thread whose stack is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    tid: i32,
    words: [u64; WORDS],
    place: u64,
}

/// The wishes that the tool has left.
pub fn wishes(shared: &Shared) -> Vec<Wish> {
    let records = shared.records().into_iter().filter(|record| record.kind == kind::WISH);
    let numbered = (0..).zip(records);
    numbered.map(|(place, r)| Wish { tid: r.tid, words: [r.args[0], r.args[1]], place }).collect()
}

/// Fetches the pages of the copies, so that none has to be fetched while somebody is held.
pub fn touch(shared: &Shared, wishes: &[Wish]) {
    for wish in wishes {
        shared.stack(wish.place, |copied| copied.bytes.fill(0));
    }
}

/// Copies what is wished for of a thread that is held, and says so in a record.
pub fn copy(shared: &Shared, memory: &File, held: &Held, wish: &Wish, at_ns: u64) -> Record {
    let mut record = Record::new(kind::HELD, held.tid(), at_ns);
    record.number = -1;
    let Some(words) = held.registers() else { return record };
    record.number = tracee::interrupted(&words).unwrap_or(-1);
    let stack_pointer = registers::here().and_then(|order| order.get(&words, order.stack_pointer));
    let filled = stack_pointer.and_then(|at| {
        shared.stack(wish.place, |copied| {
            copied.registers = words;
            fill(copied, memory, wish, at.saturating_sub(RED_ZONE));
        })
    });
    if filled.is_some() {
        (record.kind, record.value) = (kind::STACK, wish.place as i64);
    }
    record
}

fn fill(copied: &mut Copied, memory: &File, wish: &Wish, start: u64) {
    for (word, address) in copied.words.iter_mut().zip(wish.words) {
        let mut bytes = [0; 8];
        let read = address != 0 && memory.read_exact_at(&mut bytes, address).is_ok();
        *word = if read { u64::from_ne_bytes(bytes) } else { 0 };
    }
    copied.start = start;
    // It ends where nothing is mapped any more: then there is less.
    copied.length = memory.read_at(&mut copied.bytes, start).map_or(0, |read| read.min(STACK_BYTES) as u64);
}

impl Burst<'_> {
    /// Holds one thread after the other, each once.
    pub(super) fn copy_stacks(&mut self) -> u32 {
        let state = self.shared.state();
        // Each is let go for good when it has been held once.
        self.ending = true;
        state.letting_go_ns.store(monotonic_ns(), Ordering::Relaxed);
        let wishes = std::mem::take(&mut self.wishes);
        for (number, wish) in wishes.iter().enumerate() {
            if monotonic_ns() >= self.deadline_ns {
                return phase::TIME;
            }
            // It may have fallen asleep since it was asked for.
            if doing(&self.process, wish.tid) != Doing::Running {
                state.asleep.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Err(errno) = tracee::seize(wish.tid) {
                self.refused(errno);
                continue;
            }
            // What is traced now cannot be replaced by another process any more.
            if number == 0 && !is_meant(&self.process, &self.orders) {
                return phase::GONE;
            }
            self.follow_thread(wish.tid, Doing::Running);
            self.wish = Some(*wish);
            if let Err(errno) = tracee::interrupt(wish.tid) {
                self.refused(errno);
                continue;
            }
            let left = (wishes.len() - number) as u64;
            if let Some(end) = self.await_copy(left) {
                return end;
            }
        }
        phase::NOTHING_LEFT
    }

    /// Handles whatever stops until the wish is fulfilled, or its part of the time is over: the thread may be in a call that
    /// does not end, or have no processor. `left` says how many wishes there are, with this one.
    fn await_copy(&mut self, left: u64) -> Option<u32> {
        let now_ns = monotonic_ns();
        let until_ns = now_ns + self.deadline_ns.saturating_sub(now_ns) / left.max(1);
        while self.wish.is_some() {
            if self.shared.state().stops.load(Ordering::Relaxed) >= self.orders.max_stops {
                return Some(phase::STOPS);
            }
            let Some(told) = tracee::look(None) else {
                let now_ns = monotonic_ns();
                if now_ns >= until_ns {
                    self.wish = None;
                    break;
                }
                tracee::wait_for_news(until_ns - now_ns);
                continue;
            };
            if let Told::Ended(tid) = &told {
                self.wish.take_if(|wish| wish.tid == *tid);
            }
            if let Some(end) = self.handle(told) {
                return Some(end);
            }
        }
        None
    }
}

impl Wish {
    /// Whose stack is wanted.
    pub const fn tid(&self) -> i32 {
        self.tid
    }
}
