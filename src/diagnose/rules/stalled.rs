//! `stalled_in_process`: a hang that looks idle. Requests are in flight, the loop sleeps, and nobody outside is asked.
//!
//! **Necessary:** the loop does nothing but poll; the same request is in flight through the whole window; no backend
//! was asked; greenlets or tasks are parked that wait neither for a socket nor until a time. Lost wake-ups, an exhausted
//! connection pool and a future nobody sets all look like this.
//! **Nearest neighbours:** `idle` (nothing in flight; long polling and websockets, whose requests are old by design and
//! wait until a time or for their clients), `waiting_upstream` (a backend was asked, or they wait for its socket).
//! **Advice:** look at what the parked requests wait for; size the pool; upgrade where a lost wake-up is known.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::budget::part;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::thresholds::POLLER_IDLE;

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let t = &f.traffic;
    if f.slots.capacity > 0 || t.readings == 0 {
        return None;
    }
    let flying = t.flying(f.span);
    let poller = f.main.share(Activity::OwnPoller);
    // A backend that threads beside the loop wait for was asked, whatever its socket is.
    let asked = if f.helpers.wait_for_backends() { 1.0 } else { part(t.asked_readings, t.readings) };
    let old_ms = f.span.len_ns() / 1_000_000;
    let mut a = Assessment::new(Code::StalledInProcess)
        .need(
            Condition::at_least(
                "proc.syscall",
                format!("{} of the time in its own poller", percent(poller)),
                poller,
                POLLER_IDLE,
            )
            .sampled(f.main.count(Activity::OwnPoller), f.main.total()),
        )
        .need(Condition::holds(
            flying.source,
            format!(
                "{} requests had no answer through the whole span; the oldest waited {} ms",
                flying.stuck, flying.oldest_ms
            ),
            flying.stuck > 0 && flying.oldest_ms >= old_ms,
        ))
        .need(Condition::below(
            "tcp_info",
            format!("a backend was asked and silent in {} of the looks", percent(asked)),
            asked,
            0.2,
        ))
        .need(match &f.parked {
            Some(parked) => Condition::holds(
                "memory.tasks",
                parked.words(),
                parked.in_pools + parked.for_ever >= flying.stuck.div_ceil(2)
                    && parked.inside > parked.on_sockets,
            ),
            // Long polling looks the same from outside: without their stacks nothing is said.
            None => Condition::unseen("memory.tasks", "what its requests wait for was not read".into()),
        })
        .cap(flying.most_confidence);
    let in_pools = f.parked.as_ref().is_some_and(|p| p.in_pools > p.for_ever);
    a.subcause = in_pools.then(|| "pool_exhausted".to_owned());
    a.culprit = f.parked.as_ref().and_then(|p| p.place.as_ref()).map(Culprit::function);
    let place = a.culprit.as_ref().and_then(Culprit::place).map_or_else(String::new, |p| format!(" at {p}"));
    a.summary = format!(
        "looks idle, but {} requests have waited up to {:.1} s and no backend was asked: they wait{place} for something inside the process",
        flying.requests,
        flying.oldest_ms as f64 / 1e3
    );
    Some(
        a.unless("a backend that was asked and is silent: waiting_upstream")
            .unless("no request in flight: idle"),
    )
}
