//! What a burst of stops says of a process, as evidence: whether its loop turned, and what woke it.
//!
//! Pure. The calls are decoded as `trace` decodes them; a burst saw a moment only, so it supports a verdict or speaks
//! against it and is never necessary for one.

use std::collections::BTreeMap;

use super::rules::{Case, Condition};
use super::thresholds::UNDRAINED;
use crate::capture::traced::Traced;
use crate::trace::calls::{Call, calls};
use crate::trace::fold::{is_poll, taken_in};

/// Fewest polls that say anything.
const FEWEST_POLLS: u64 = 5;

/// The calls of the loop thread in the burst, if there was one.
fn loop_calls(case: &Case<'_, '_>) -> Option<Vec<Call>> {
    let process = case.features.process;
    let burst = process.burst?;
    let traced = Traced {
        role: process.facts.role,
        arch: case.view.capture.header.host.arch.clone(),
        burst: burst.clone(),
        names: BTreeMap::new(),
        descriptors: process.descriptors.last().map(|d| d.value.to_vec()).unwrap_or_default(),
        epoll: process.epoll.iter().map(|(fd, entries)| (*fd, entries.to_vec())).collect(),
        sockets: Vec::new(),
        pipes: Vec::new(),
        blind: Vec::new(),
    };
    let tid = process.facts.loop_tid;
    let calls: Vec<Call> = calls(&traced).into_iter().filter(|call| call.tid == tid).collect();
    burst.threads.iter().any(|thread| thread.tid == tid).then_some(calls)
}

/// Whether the polls of the burst were woken by a descriptor that nothing took in.
#[must_use]
pub fn woken_by(case: &Case<'_, '_>, fd: i32) -> Option<Condition> {
    let calls = loop_calls(case)?;
    let back: Vec<&Call> = calls.iter().filter(|c| is_poll(&c.name) && c.result.is_some()).collect();
    let polls = back.len() as u64;
    if polls < FEWEST_POLLS {
        return None;
    }
    let woken = back.iter().filter(|c| c.ready.iter().any(|r| r.fd == Some(fd))).count() as u64;
    let taken = taken_in(calls.iter().map(|c| (c.name.as_str(), c.fd, c.error.is_some()))).contains(&fd);
    let share = woken as f64 / polls as f64;
    let then = if taken { "and it was handled" } else { "and nothing read, wrote or closed it" };
    let observed = format!("in a burst, {woken} of {polls} polls were woken by fd {fd} {then}");
    Some(if taken {
        Condition::holds("burst", observed, false)
    } else {
        Condition::at_least("burst", observed, share, UNDRAINED).sampled(woken, polls)
    })
}

/// Whether the loop thread came back to its poll in the burst.
#[must_use]
pub fn no_turn(case: &Case<'_, '_>) -> Option<Condition> {
    let calls = loop_calls(case)?;
    let length_ms = case.features.process.burst?.limit_ns / 1_000_000;
    let polls = calls.iter().filter(|call| is_poll(&call.name)).count();
    let observed =
        format!("in a burst of {length_ms} ms it made {} calls and polled {polls} times", calls.len());
    Some(Condition::holds("burst", observed, polls == 0))
}
