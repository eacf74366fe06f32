//! Who may use the processors of this machine at once.
//!
//! A server that computes takes the machine for itself: two that spin on two processors would starve each other, and
//! starvation is another verdict. Servers that only wait may be looked at side by side. Whoever came first is served
//! first, so that those who want the whole machine get it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How much of it a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nobody else.
    Whole,
    /// One neighbour that waits, too.
    Half,
}

struct Queue {
    free: usize,
    waiting: VecDeque<u64>,
    next: u64,
}

const ALL: usize = 2;

static QUEUE: Mutex<Queue> = Mutex::new(Queue { free: ALL, waiting: VecDeque::new(), next: 0 });
static CHANGED: Condvar = Condvar::new();

/// A share of the machine, given back when dropped.
pub struct Held(usize);

/// Waits for a share.
pub fn take(need: Need) -> Held {
    let share = if need == Need::Whole { ALL } else { ALL / 2 };
    let mut queue = queue();
    let ticket = queue.next;
    queue.next += 1;
    queue.waiting.push_back(ticket);
    while queue.waiting.front() != Some(&ticket) || queue.free < share {
        queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    queue.waiting.pop_front();
    queue.free -= share;
    CHANGED.notify_all();
    Held(share)
}

impl Drop for Held {
    fn drop(&mut self) {
        queue().free += self.0;
        CHANGED.notify_all();
    }
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}
