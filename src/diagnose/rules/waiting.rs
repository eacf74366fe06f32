//! `waiting_disk`, `waiting_upstream`, `waiting_client`: request slots (or a loop's requests) held by something outside.
//!
//! **Necessary (slots):** half of the slots' time ([`SLOTS_HELD`]; [`DISK_SHARE`] for storage) asleep on it, and no
//! room left: all slots taken, or nothing served.
//! **Necessary (loop, upstream):** the loop turns freely, requests are in flight for a second and more, and at the same
//! time backends were asked and have not answered. Which request waits for which backend needs the greenlets' or tasks'
//! own stacks; without them confidence is capped.
//! **Nearest neighbours:** `loop_blocked_off_cpu` (the loop thread itself sleeps on the backend), `idle` (nothing in
//! flight), `stalled_in_process` (no backend asked), and each other: the port says which side a socket is on.
//! **Advice:** timeouts, pool sizes, more threads, a buffering proxy.

use super::locks::{behind_words, holder};
use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::budget::part;
use crate::diagnose::culprit::{describe_fd, with_service};
use crate::diagnose::features::{Features, Seen};
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{common_path, culprit};
use crate::diagnose::thresholds::{
    BLOCKED_GAP_NS, DISK_SHARE, IN_FLIGHT, NO_FREE_SLOT, POLLER_FREE, SLOTS_HELD, UPSTREAM_AGE_MS,
};

/// Free slots that go on answering make a held slot nobody's fault. A worker with one slot answers when it comes back to
/// accept again and again, also where its connections are too short to be met.
#[must_use]
pub fn no_room(f: &Features<'_, '_>) -> Condition {
    let slots = &f.slots;
    let full = slots.busy_share >= NO_FREE_SLOT;
    let accepts =
        slots.capacity == 1 && f.main.count(Activity::OwnPoller) > 1 && f.gaps.longest_ns < BLOCKED_GAP_NS;
    Condition::holds(
        "memory.stack",
        format!(
            "{} of its {} slots' time is taken, {} signs of service",
            percent(slots.busy_share),
            slots.capacity,
            f.traffic.events
        ),
        full || (f.traffic.events == 0 && !accepts),
    )
}

/// Slots wait for storage.
#[must_use]
pub fn disk(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    if f.slots.capacity == 0 {
        return None;
    }
    let held = f.slots.held(Activity::Disk);
    let mut a = Assessment::new(Code::WaitingDisk)
        .need(Condition::at_least(
            "proc.stat",
            format!("{} of its slots' time is spent waiting for storage", percent(held)),
            held,
            DISK_SHARE,
        ))
        .need(no_room(f));
    let path = common_path(&f.stacks_of(|m| m.activity == Activity::Disk), 0.6);
    a.culprit = culprit(&path).map(Culprit::function);
    let place = a.culprit.as_ref().and_then(Culprit::place).map_or_else(String::new, |p| format!(" at {p}"));
    a.summary = format!("its request slots wait for storage{place}");
    Some(a)
}

/// Slots or cooperative requests wait for a backend.
#[must_use]
pub fn upstream(case: &Case<'_, '_>) -> Option<Assessment> {
    if case.features.slots.capacity > 0 { Some(upstream_slots(case)) } else { upstream_loop(case) }
}

fn upstream_slots(case: &Case<'_, '_>) -> Assessment {
    let f = &case.features;
    let is_upstream = |a| matches!(a, Activity::Upstream | Activity::Dns);
    let behind = holder(f).filter(|h| is_upstream(h.activity)).map_or(0.0, |h| h.behind);
    let held = f.slots.held(Activity::Upstream) + f.slots.held(Activity::Dns) + behind;
    let mut a = Assessment::new(Code::WaitingUpstream)
        .need(Condition::at_least(
            "proc.syscall",
            format!("{} of its slots' time is spent on backends{}", percent(held), behind_words(behind)),
            held,
            SLOTS_HELD,
        ))
        .need(no_room(f));
    let dns = f.slots.held(Activity::Dns) > f.slots.held(Activity::Upstream);
    a.subcause = Some(if dns { "dns" } else { "upstream" }.into());
    let path = common_path(&f.stacks_of(|m| is_upstream(m.activity)), 0.6);
    let fd = f.stacks.iter().filter(|s| is_upstream(s.meaning.activity)).find_map(|s| s.meaning.fd);
    let mut blamed = Culprit { kind: "peer".into(), ..Culprit::default() };
    if let Some(fd) = fd {
        let (what, peer) = describe_fd(case.view, f.process, fd, f.span.end_ns);
        (blamed.fd, blamed.what, blamed.peer) = (Some(fd), Some(what), peer);
    }
    if let Some(frame) = culprit(&path) {
        blamed = blamed.at(frame);
    }
    let to = blamed.peer.as_deref().map_or_else(|| "a backend".to_owned(), with_service);
    let place = blamed.place().map_or_else(String::new, |p| format!(" in {p}"));
    a.summary = format!("its request slots wait for {to}{place}");
    a.culprit = Some(blamed);
    a.unless("a free slot that answers: healthy_busy")
}

/// What is needed of a loop whose requests wait cooperatively: that it is free meanwhile.
fn free_loop(a: Assessment, f: &Features<'_, '_>) -> Assessment {
    let poller = f.main.share(Activity::OwnPoller);
    let gap = f.gaps.longest_ns as f64 / 1e9;
    a.need(
        Condition::at_least(
            "proc.syscall",
            format!("its loop turns freely: {} of the time in its own poller", percent(poller)),
            poller,
            POLLER_FREE,
        )
        .sampled(f.main.count(Activity::OwnPoller), f.main.total()),
    )
    .need(Condition::below(
        "loop.signs",
        format!("longest silence of the loop {gap:.1} s"),
        gap,
        BLOCKED_GAP_NS as f64 / 1e9,
    ))
}

fn upstream_loop(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let t = &f.traffic;
    if t.readings == 0 {
        return None;
    }
    let flying = t.flying(f.span);
    let asked = part(t.asked_readings, t.readings);
    let mut a = free_loop(Assessment::new(Code::WaitingUpstream), f)
        .need(Condition::at_least(
            flying.source,
            format!("requests were in flight in {} of the looks", percent(flying.share)),
            flying.share,
            IN_FLIGHT,
        ))
        .need(Condition::at_least(
            flying.source,
            format!("the oldest had waited {} ms", flying.oldest_ms),
            flying.oldest_ms as f64,
            UPSTREAM_AGE_MS as f64,
        ))
        .need(match &f.parked {
            _ if f.helpers.wait_for_backends() => Condition::holds(
                "proc.syscall",
                format!(
                    "{} of {} threads at work beside the loop wait for a backend",
                    f.helpers.on_backends, f.helpers.busy
                ),
                true,
            ),
            // What they wait for stands in their stacks; who spoke last is often too close to tell.
            Some(parked) if asked < IN_FLIGHT && !t.backends.is_empty() => Condition::holds(
                "memory.tasks",
                parked.words(),
                parked.on_sockets >= flying.stuck.max(1)
                    && parked.on_sockets > parked.for_ever + parked.in_pools,
            ),
            _ => Condition::at_least(
                "tcp_info",
                format!("backends were asked and silent in {} of the looks", percent(asked)),
                asked,
                IN_FLIGHT,
            ),
        })
        .cap(flying.most_confidence);
    // Where nobody is known to have been asked, one that is the only one is still the one.
    let only = || t.backends.iter().next().filter(|_| t.backends.len() == 1);
    let blamed = t.asked.iter().max_by_key(|(peer, n)| (**n, std::cmp::Reverse(*peer))).or_else(only);
    a.subcause = Some("upstream".into());
    let waits = |s: &&Seen<'_, '_>| matches!(s.meaning.activity, Activity::Upstream | Activity::Dns);
    let helper = f.beside.iter().find(waits).filter(|_| f.helpers.wait_for_backends());
    if let Some(seen) = helper.filter(|_| blamed.is_none()) {
        let most =
            f.beside.iter().filter(|s| s.meaning.activity == Activity::Dns).map(|s| s.count).sum::<u64>() * 2
                > f.beside.iter().filter(waits).map(|s| s.count).sum();
        return Some(through_helpers(case, a, seen, most));
    }
    let Some((peer, n)) = blamed else {
        let place = f.parked.as_ref().and_then(|p| p.place.as_ref());
        a.culprit = place.map(Culprit::function);
        let place =
            a.culprit.as_ref().and_then(Culprit::place).map_or_else(String::new, |p| format!(" at {p}"));
        a.summary = format!(
            "{} requests wait cooperatively{place} for a backend; the loop itself is free",
            flying.requests
        );
        return Some(a.unless("no backend asked: stalled_in_process"));
    };
    let what = if t.asked.is_empty() { "connections" } else { "connections asked and not answered" };
    let named = Culprit {
        kind: "peer".into(),
        peer: Some(peer.clone()),
        what: Some(format!("{n} {what}")),
        ..Culprit::default()
    };
    let place = f.parked.as_ref().filter(|p| p.on_sockets > p.inside).and_then(|p| p.place.as_ref());
    a.culprit = Some(place.map_or_else(|| named.clone(), |frame| named.clone().at(frame)));
    a.summary = format!(
        "{} requests wait cooperatively for {}; the loop itself is free",
        flying.requests,
        with_service(peer)
    );
    Some(a.unless("no backend asked: stalled_in_process"))
}

/// Requests of a loop wait for its threads, and these for a backend.
fn through_helpers(case: &Case<'_, '_>, mut a: Assessment, seen: &Seen<'_, '_>, dns: bool) -> Assessment {
    let f = &case.features;
    let mut blamed = Culprit { kind: "peer".into(), ..Culprit::default() };
    if let Some(fd) = seen.meaning.fd {
        let (what, peer) = describe_fd(case.view, f.process, fd, f.span.end_ns);
        (blamed.fd, blamed.what, blamed.peer) = (Some(fd), Some(what), peer);
    }
    let waiting = |s: &&Seen<'_, '_>| s.meaning.activity == seen.meaning.activity;
    let stacks: Vec<_> = f.beside.iter().filter(waiting).filter_map(|s| Some((s.stack?, s.count))).collect();
    if let Some(frame) = culprit(&common_path(&stacks, 0.6)) {
        blamed = blamed.at(frame);
    }
    a.subcause = Some(if dns { "dns" } else { "upstream" }.into());
    let to = blamed.peer.as_deref().map_or_else(|| "a backend".to_owned(), with_service);
    let place = blamed.place().map_or_else(String::new, |p| format!(" in {p}"));
    a.summary = format!(
        "its requests wait for threads beside the loop, and {} of these for {to}{place}; the loop itself is free",
        f.helpers.on_backends
    );
    a.culprit = Some(blamed);
    a.unless("threads that wait for nobody outside: stalled_in_process")
}

/// Slots or cooperative requests wait for silent or slow clients.
#[must_use]
pub fn client(case: &Case<'_, '_>) -> Option<Assessment> {
    if case.features.slots.capacity > 0 { Some(client_slots(case)) } else { client_loop(case) }
}

/// Clients that do not take their answers or do not send what they have announced, while nobody else is served. A loop
/// has nothing to fear from a few of them as long as others are.
fn client_loop(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let t = &f.traffic;
    let (readers, reader) = &t.stalled_readers;
    let bodies = f.parked.as_ref().map_or(0, |p| p.on_bodies);
    if t.readings < 2 || readers + bodies == 0 {
        return None;
    }
    let mut a = free_loop(Assessment::new(Code::WaitingClient), f)
        .need(Condition::below(
            "sockets",
            format!("{} signs of service for anybody else", t.events),
            t.events as f64,
            1.0,
        ))
        .need(Condition::holds(
            "tcp_info",
            format!(
                "{readers} clients took nothing of their answers through the whole span, {bodies} did not send the rest of \
                 their request; {} requests in flight had no answer",
                t.stuck
            ),
            t.stuck <= bodies,
        ))
        .cap(0.8);
    let slow = *readers >= bodies;
    a.subcause = Some(if slow { "slow_reader" } else { "silent_client" }.into());
    let what = if slow {
        format!("{readers} connections from clients that take nothing")
    } else {
        format!("{bodies} requests whose bodies do not come")
    };
    a.culprit = Some(Culprit {
        kind: "peer".into(),
        peer: reader.clone().filter(|_| slow),
        what: Some(what),
        ..Culprit::default()
    });
    let how = if slow { "do not take their answers" } else { "do not send what they have announced" };
    a.summary = format!("its requests wait cooperatively for clients that {how}; the loop itself is free");
    Some(a.unless("an answer to anybody else: healthy_busy"))
}

fn client_slots(case: &Case<'_, '_>) -> Assessment {
    let f = &case.features;
    let held = f.slots.held(Activity::Client);
    let slow = f.traffic.slow_readers > 0;
    let mut a = Assessment::new(Code::WaitingClient)
        .need(Condition::at_least(
            "proc.syscall",
            format!("{} of its slots' time is spent on clients", percent(held)),
            held,
            SLOTS_HELD,
        ))
        .need(no_room(f))
        .note(Condition::holds(
            "tcp_info",
            format!("{} clients have sent nothing at all", f.traffic.silent),
            f.traffic.silent > 0,
        ));
    a.subcause = Some(if slow { "slow_reader" } else { "silent_client" }.into());
    let fd = f.stacks.iter().filter(|s| s.meaning.activity == Activity::Client).find_map(|s| s.meaning.fd);
    if let Some(fd) = fd {
        let (what, peer) = describe_fd(case.view, f.process, fd, f.span.end_ns);
        a.culprit =
            Some(Culprit { kind: "peer".into(), fd: Some(fd), what: Some(what), peer, ..Culprit::default() });
    }
    let how = if slow { "do not take their answers" } else { "say nothing" };
    a.summary = format!("its request slots are held by clients that {how}");
    a
}
