//! `saturated_productive` and `healthy_busy`: work gets done, with or without head-room.
//!
//! **Necessary (saturated):** the thread wants a processor all the time (or all slots are taken), and answers go out.
//! The trap: with keep-alive clients that always have data a hub hardly polls, so a saturated loop looks blocked; what
//! tells is that bytes move.
//! **Necessary (healthy):** answers go out or the loop turns between pieces of work, no silence of a second, processor to
//! spare.
//! **Nearest neighbours:** `loop_blocked_on_cpu` (no answers), `hot_spin` (no work), `idle` (nothing asked).
//! **Advice:** more workers up to the quota, more machines; nothing for `healthy_busy`.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::features::Features;
use crate::diagnose::model::Code;
use crate::diagnose::stack::Place;
use crate::diagnose::thresholds::{BLOCKED_GAP_NS, IDLE_ON_CPU, NO_FREE_SLOT, POLLER_IDLE, SATURATED_DEMAND};

fn served(f: &Features<'_, '_>) -> Condition {
    let t = &f.traffic;
    let observed =
        format!("{} signs of service (accepted, answered, closed), {} bytes moved", t.events, t.bytes);
    if t.readings < 2 {
        return Condition::unseen("sockets", "its sockets could not be read twice".into());
    }
    Condition::at_least("sockets", observed, t.events as f64, 1.0)
}

fn turns(f: &Features<'_, '_>) -> Condition {
    let gap = f.gaps.longest_ns as f64 / 1e9;
    Condition::below(
        "loop.signs",
        format!("longest time without a turn or an answer: {gap:.2} s"),
        gap,
        BLOCKED_GAP_NS as f64 / 1e9,
    )
}

/// Works with all it has.
#[must_use]
pub fn saturated(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    // A pool's threads share one interpreter; what threads beside a loop compute takes nothing from the loop.
    let pool = if f.slots.capacity > 1 { f.process_on_cpu.min(1.0) } else { 0.0 };
    let demand = f.main.demand().max(pool);
    let full = f.slots.capacity > 1 && f.slots.busy_share >= NO_FREE_SLOT;
    let mut a = Assessment::new(Code::SaturatedProductive);
    a = if full {
        a.need(Condition::at_least(
            "memory.stack",
            format!("{} of its slots' time is taken", percent(f.slots.busy_share)),
            f.slots.busy_share,
            NO_FREE_SLOT,
        ))
    } else {
        a.need(Condition::at_least(
            "proc.schedstat",
            format!("wants a processor {} of the time", percent(demand)),
            demand,
            SATURATED_DEMAND,
        ))
    };
    a = a.need(served(f)).need(turns(f));
    // A loop that spins beside its requests looks the same from outside.
    if f.stacked() == 0 {
        a = a.cap(0.85);
    }
    if let Some(waiting) = case.accept_waiting {
        a = a.note(Condition::at_least(
            "sockets",
            format!("connections waited to be accepted in {} of the looks", percent(waiting)),
            waiting,
            0.5,
        ));
    }
    if f.traffic.unread > 0 {
        a = a.note(Condition::holds(
            "sockets",
            format!("{} connections had bytes the worker had not read yet", f.traffic.unread),
            true,
        ));
    }
    a.summary = "works with all it has: it answers, and has no processor time or slot to spare".into();
    Some(a.unless("no answers within a second: loop_blocked_on_cpu"))
}

/// Free slots beside busy ones: whoever asks is served, whether or not somebody asked in this window.
fn has_room(f: &Features<'_, '_>) -> Option<Condition> {
    let slots = &f.slots;
    let room = slots.capacity > 1 && slots.busy_share > 0.02 && slots.busy_share < NO_FREE_SLOT;
    room.then(|| {
        let observed = format!("{} of its slots' time is free", percent(1.0 - slots.busy_share));
        Condition::at_least("memory.stack", observed, 1.0 - slots.busy_share, 1.0 - NO_FREE_SLOT)
    })
}

/// Short connections come and go between two looks at the sockets. A loop that is not always asleep in its poller, spends
/// processor time and turns all the same works, whether or not an answer was seen: for requests, or for its share of
/// waking up to see that another worker was faster.
fn worked(f: &Features<'_, '_>) -> Option<Condition> {
    let turning = f.traffic.events == 0 && f.gaps.known && f.gaps.signs > 1;
    let awake = f.main.share(Activity::OwnPoller) < POLLER_IDLE;
    let in_requests = f.runnable_at.get(&Place::Callback).copied().unwrap_or(0);
    (turning && awake && (in_requests > 0 || f.process_on_cpu >= IDLE_ON_CPU)).then(|| {
        let signs = f.gaps.signs;
        let observed =
            format!("{signs} turns of its loop seen, {in_requests} running samples in requests' code");
        Condition::at_least("memory.stack", observed, signs as f64, 2.0)
    })
}

/// Works with head-room.
#[must_use]
pub fn healthy(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let demand = f.main.demand();
    let mut a = Assessment::new(Code::HealthyBusy)
        .need(has_room(f).or_else(|| worked(f)).unwrap_or_else(|| served(f)))
        .need(turns(f))
        .need(Condition::below(
            "proc.schedstat",
            format!("wants a processor {} of the time", percent(demand)),
            demand,
            0.95,
        ));
    if !f.gaps.known || (f.slots.capacity > 1 && f.stacked() == 0) {
        a = a.cap(0.75);
    }
    a = a.note(Condition::at_least(
        "proc.schedstat",
        format!("its threads used {:.2} processors", f.process_on_cpu),
        f.process_on_cpu,
        IDLE_ON_CPU,
    ));
    a.summary = format!("serves, with head-room: {} of a processor in use", percent(f.process_on_cpu));
    Some(a)
}
