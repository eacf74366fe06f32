//! `idle`: nothing is asked of it.
//!
//! **Necessary:** asleep in its own poller (or all slots free) [`POLLER_IDLE`] of the time, hardly any processor time,
//! nothing served, nothing unread, nothing in flight (but what waits by design: long polling, websockets), nobody waiting
//! to be accepted.
//! **Nearest neighbours:** every hang that looks idle. Where requests in flight cannot be seen, `idle` keeps a cap.
//! **Benign:** gthread wakes once a second, uvicorn ten times, gevent once: that is their housekeeping.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::features::Features;
use crate::diagnose::model::Code;
use crate::diagnose::thresholds::{IDLE_ON_CPU, POLLER_IDLE};

/// Requests that wait as they are meant to: until a time, or for whatever their clients will say next. A backend that
/// somebody may be waiting for makes it unclear, and so does a wait that nothing ends.
fn parked_by_design(f: &Features<'_, '_>) -> bool {
    let no_backend = f.traffic.asked_readings == 0 && f.traffic.spoken_readings == 0;
    f.parked.as_ref().is_some_and(|p| {
        let clients_only = p.on_sockets == 0 || f.traffic.backends.is_empty();
        p.for_ever + p.in_pools + p.on_bodies == 0 && clients_only && p.on_sockets + p.timed + p.inside > 0
    }) && no_backend
}

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let t = &f.traffic;
    if f.main.total() == 0 {
        return None;
    }
    let poller = f.main.share(Activity::OwnPoller) + f.main.share(Activity::FreeSlot);
    let n = f.main.count(Activity::OwnPoller) + f.main.count(Activity::FreeSlot);
    let busy = f.process_on_cpu;
    let mut a = Assessment::new(Code::Idle)
        .need(
            Condition::at_least(
                "proc.syscall",
                format!("{} of the time asleep in its own poller", percent(poller)),
                poller,
                POLLER_IDLE,
            )
            .sampled(n, f.main.total()),
        )
        // Housekeeping of agents and monitors is allowed for; a computing thread is not.
        .need(Condition::below(
            "proc.schedstat",
            format!("its threads used {busy:.3} processors"),
            busy,
            IDLE_ON_CPU * 5.0,
        ));
    let by_design = t.in_flight > 0 && parked_by_design(f);
    if let Some(parked) = f.parked.as_ref().filter(|_| by_design) {
        a = a.cap(0.75).note(Condition::holds("memory.tasks", parked.words(), true));
    }
    a = a.need(if t.readings > 0 {
        let quiet = (t.in_flight == 0 || by_design) && t.unread == 0;
        let why = if by_design { " that wait until a time or for their clients" } else { "" };
        Condition::holds(
            "sockets",
            format!("{} requests in flight{why}, {} connections with unread bytes", t.in_flight, t.unread),
            quiet,
        )
    } else {
        Condition::unseen("sockets", "its sockets could not be read".into())
    });
    a = a.need(Condition::below("sockets", format!("{} signs of service", t.events), t.events as f64, 1.0));
    if f.slots.capacity > 1 {
        a = a.need(Condition::below(
            "memory.stack",
            format!("{} of its slots' time is taken", percent(f.slots.busy_share)),
            f.slots.busy_share,
            0.05,
        ));
    }
    if let Some(waiting) = case.accept_waiting {
        a = a.need(Condition::below(
            "sockets",
            format!("connections waited to be accepted in {} of the looks", percent(waiting)),
            waiting,
            0.5,
        ));
    }
    if !t.counted {
        a = a.cap(0.7);
    }
    if f.stacked() == 0 {
        a = a.cap(0.85);
    }
    a.summary = "idle: asleep in its own poller, and nothing is asked of it".into();
    Some(a.unless("a request in flight: stalled_in_process or waiting_upstream"))
}
