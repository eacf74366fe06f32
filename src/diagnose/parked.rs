//! What the parked greenlets and tasks of a loop wait for, as far as their stacks and the loop's timers tell. Pure.
//!
//! A wait is for the other end of a socket (of a client's, where a request is read), until a time, or for something inside the process: an event, a lock, a free
//! connection of a pool. The last kind may have a deadline that no stack shows; there are then timers that no wait on a
//! stack accounts for, and as many waits are given the benefit of the doubt.

use super::known::{self, in_table};
use super::stack::{culprit, is_application};
use super::view::{ProcessView, View};
use crate::capture::model::Frame;

/// Innermost frames among which the one that waits for a socket is: above it stand only its own helpers.
const INNERMOST: usize = 6;

/// The parked greenlets and tasks, by what they wait for. What a server keeps for itself is not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parked {
    /// For the other end of a socket.
    pub on_sockets: u64,
    /// For the rest of a request's body: for its client, and for nobody else.
    pub on_bodies: u64,
    /// Until a time, by their stacks.
    pub timed: u64,
    /// For something inside the process.
    pub inside: u64,
    /// Of those, how many wait for a free connection of a pool.
    pub in_pools: u64,
    /// Of the others inside, how many have no deadline.
    pub for_ever: u64,
    /// Where most of those inside wait, or of those on sockets if there are none: the application's own function.
    pub place: Option<Frame>,
}

/// The parked of a process; `None` when they were not counted.
#[must_use]
pub fn parked(view: &View<'_>, process: &ProcessView<'_>) -> Option<Parked> {
    let seen = process.tasks?;
    let mut parked = Parked::default();
    let mut timed_of_all = 0;
    let mut most: Option<((bool, u64), Frame)> = None;
    for group in &seen.groups {
        let frames = view.stack(group.stack);
        let within = |table, frames: &[&Frame]| frames.iter().any(|f| in_table(table, &f.file, &f.function));
        let innermost = frames.get(..INNERMOST.min(frames.len())).unwrap_or_default();
        let on_body = within(known::BODY_READS, &frames);
        let on_socket = !on_body && within(known::SOCKET_WAITS, innermost);
        let in_pool = !on_body && !on_socket && within(known::POOLS, innermost);
        let timed = !on_body && !on_socket && !in_pool && within(known::TIMED_WAITS, innermost);
        timed_of_all += if timed { group.count } else { 0 };
        if within(known::STANDING, &frames) || frames.is_empty() {
            continue;
        }
        let kind = match () {
            () if on_body => &mut parked.on_bodies,
            () if on_socket => &mut parked.on_sockets,
            () if timed => &mut parked.timed,
            () => &mut parked.inside,
        };
        *kind += group.count;
        parked.in_pools += if in_pool { group.count } else { 0 };
        let owned: Vec<Frame> = frames.iter().rev().map(|f| (*f).clone()).collect();
        let rank = (!on_body && !on_socket && !timed, group.count);
        if let Some(frame) = culprit(&owned).filter(|frame| is_application(frame))
            && most.as_ref().is_none_or(|(so_far, _)| rank > *so_far)
        {
            most = Some((rank, frame.clone()));
        }
    }
    let deadlines = seen.timers.unwrap_or(0).saturating_sub(timed_of_all);
    // Each wait in a pool has its deadline, too.
    let others = parked.inside - parked.in_pools;
    parked.for_ever = others.saturating_sub(deadlines.saturating_sub(parked.in_pools));
    parked.place = most.map(|(_, frame)| frame);
    Some(parked)
}

impl Parked {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "of its parked greenlets or tasks {} wait for the other end of a socket, {} until a time, {} for something \
             inside the process: {} of these for a pool, {} without a deadline{}",
            self.on_sockets,
            self.timed,
            self.inside,
            self.in_pools,
            self.for_ever,
            if self.on_bodies > 0 {
                format!("; {} for the rest of their request", self.on_bodies)
            } else {
                String::new()
            }
        )
    }
}
