//! `hot_spin`: the loop turns and turns and does nothing useful. The opposite of a blocked loop, at the same CPU.
//!
//! **Necessary:** the loop thread wants a processor ([`COMPUTING_DEMAND`]); the loop turns (no gap of a second); the
//! processor time goes into the loop's own code or into yielding to it, not into requests (where nobody is served, a part
//! of it is enough: a callback takes time, too); and either a watched descriptor is ready every time and never drained, or
//! that time bears no relation to the requests served. A descriptor that `poll` cannot be asked about (one of a `select`, a
//! named pipe, a terminal) is seen by a burst only.
//! **Nearest neighbours:** `loop_blocked_on_cpu` (no turns, old heartbeat), `saturated_productive` (bytes move, stacks
//! in requests). A throttled or starved spinner is still a spinner: removing the quota would not restore service.
//! **Sources:** libev's and `CPython`'s level-triggered use of epoll; gevent issues 1710 and 1273, celery 1845.
//! **Advice:** find the owner of the descriptor; changing the worker class hides it.

use std::collections::BTreeSet;

use super::{Assessment, Case, Condition, percent, seconds};
use crate::capture::model::{Doing, EpollEntry, Frame, LoopKind};
use crate::capture::syscalls::{Wait, describe};
use crate::diagnose::activity::{Activity, Other, other_end};
use crate::diagnose::budget::part;
use crate::diagnose::burst;
use crate::diagnose::culprit::describe_fd;
use crate::diagnose::features::{Features, ReadyFd};
use crate::diagnose::known;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{Place, Stack, common_path, culprit, is_application};
use crate::diagnose::thresholds::{
    BLOCKED_GAP_NS, BYTES_PER_REQUEST, COMPUTING_DEMAND, FEWEST_SAMPLES, KERNEL_PER_REQUEST_NS, LOOP_CODE,
    LOOP_CODE_PER_REQUEST_NS, LOOP_CODE_UNASKED, POLLING, SAME_PLACE, UNDRAINED, UNDRAINED_ANSWERS,
};

const POLLIN: i16 = 0x1;
const POLLOUT: i16 = 0x4;
const POLLERR: i16 = 0x8;
const POLLHUP: i16 = 0x10;

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    if f.main.total() == 0 {
        return None;
    }
    let undrained = undrained(f);
    let of_burst = burst::undrained(case).filter(|_| undrained.is_none());
    let demand = f.main.demand();
    let mut a = Assessment::new(Code::HotSpin)
        .need(Condition::at_least(
            "proc.schedstat",
            format!("wants a processor {} of the time", percent(demand)),
            demand,
            COMPUTING_DEMAND,
        ))
        .need(turning(f, undrained.is_some() || of_burst.is_some(), closed_entry(case)));
    let (turns, stacks) = turning_samples(f);
    if stacks > 0 {
        let share = part(turns, stacks);
        let unasked = nobody_served(f);
        let least = if unasked { LOOP_CODE_UNASKED } else { LOOP_CODE };
        a = a
            .need(match undrained.as_ref().filter(|fd| unasked && share < least && !is_client(case, fd)) {
                Some(fd) => fd_condition(case, fd),
                None => Condition::at_least(
                    "memory.stack",
                    format!("{} of its running time is the loop's own code or a yield to it", percent(share)),
                    share,
                    least,
                )
                .sampled(turns, stacks),
            })
            .need(fruitless(f, share, undrained.as_ref()));
    } else {
        // Without stacks a descriptor that is never drained tells a spin from a computation, or that it asks its poller for
        // nobody, or that it turns for nobody.
        let by_poll = undrained.as_ref().map(|fd| fd_condition(case, fd));
        let seen = by_poll.or_else(|| burst::woken_by(case, of_burst?));
        // A worker without a loop does in the kernel what its requests do.
        let seen = seen.or_else(|| polling(f).filter(|_| f.slots.capacity == 0));
        a = a.need(seen.unwrap_or_else(|| {
            let words = "no stacks, and no descriptor was seen to stay ready";
            if f.gaps.known && f.slots.capacity == 0 && nobody_served(f) {
                Condition::holds("sockets", format!("{words}; it turns, and serves nobody"), true)
            } else {
                Condition::unseen("poll", words.into())
            }
        }));
        a = a.cap(0.7);
    }
    if let Some(system) = f.system_share {
        a = a.note(Condition::at_least(
            "proc.stat",
            format!("{} of its processor time is in the kernel", percent(system)),
            system,
            POLLING,
        ));
    }
    Some(explain(case, a, undrained, of_burst))
}

/// Says what spins.
fn explain(
    case: &Case<'_, '_>,
    mut a: Assessment,
    undrained: Option<ReadyFd>,
    of_burst: Option<i32>,
) -> Assessment {
    let f = &case.features;
    let callback = callback(f);
    let waiter = busy_waiter(f);
    let closed = closed_entry(case);
    a = a
        .unless("a read or accept on the descriptor between two polls: healthy_busy")
        .unless("a heartbeat or loop turn older than a second: loop_blocked_on_cpu");
    if let Some(fd) = undrained.map(|fd| fd.fd).or(of_burst) {
        let (what, peer) = describe_fd(case.view, f.process, fd, f.span.end_ns);
        let hup = undrained.is_some_and(|fd| fd.revents & (POLLHUP | POLLERR) != 0);
        a.subcause = Some(if hup { "hup_err_fd" } else { "ready_fd_undrained" }.into());
        let to_whom = peer.as_deref().map_or_else(String::new, |p| format!(" ({p})"));
        let how = undrained.as_ref().map_or("ready", readiness_words);
        a.summary =
            format!("the loop spins: fd {fd} ({what}{to_whom}) is {how} every time and nobody handles it");
        let mut culprit =
            Culprit { kind: "fd".into(), fd: Some(fd), what: Some(what), peer, ..Culprit::default() };
        if let Some(frame) = &callback {
            culprit = culprit.at(frame);
        }
        a.culprit = Some(culprit);
        if let Some(asked) = &undrained {
            a = a.note(fd_condition(case, asked));
        }
        // Without stacks it is among the necessary conditions already.
        let said = a.needs.iter().any(|need| need.source == burst::SOURCE);
        if let Some(seen) = burst::woken_by(case, fd).filter(|_| !said) {
            a = a.note(seen);
        }
    } else if let Some(entry) = closed {
        a.subcause = Some("closed_fd_registered".into());
        a.summary =
            format!("the loop spins: fd {} was closed while its epoll set still watches it", entry.fd);
        a.culprit = Some(Culprit {
            kind: "fd".into(),
            fd: Some(entry.fd),
            what: Some("closed descriptor still registered with epoll".into()),
            ..Culprit::default()
        });
    } else if let Some(frame) = waiter {
        a.subcause = Some("busy_wait".into());
        a.culprit = Some(Culprit::function(&frame));
        let place = a.culprit.as_ref().and_then(Culprit::place).unwrap_or_default();
        a.summary = format!(
            "the loop spins: {place} yields to the loop and is called again at once, without waiting for anything"
        );
    } else if let Some(frame) = unpolled(f) {
        a.subcause = Some("housekeeping_no_poll".into());
        a.culprit = Some(Culprit::function(&frame));
        let place = a.culprit.as_ref().and_then(Culprit::place).unwrap_or_default();
        a.summary = format!(
            "the loop spins: {place} goes round and round without polling once, so that nobody is accepted or served"
        );
    } else {
        a.subcause = Some("zero_timeout".into());
        a.summary = "the loop spins: it polls again and again, nothing is ready and nothing is served".into();
        a = match burst::found_nothing(case) {
            Some(seen) if seen.met == Some(true) => a.note(seen),
            Some(seen) => a.note(seen).cap(0.85),
            None => a.cap(0.85),
        };
    }
    a
}

fn readiness_words(fd: &ReadyFd) -> &'static str {
    match fd.revents {
        r if r & POLLERR != 0 => "in error",
        r if r & POLLHUP != 0 => "hung up",
        r if r & POLLIN != 0 && fd.queued_bytes == Some(0) => "readable (end of file)",
        r if r & POLLIN != 0 => "readable",
        r if r & POLLOUT != 0 => "writable",
        _ => "ready",
    }
}

fn fd_condition(case: &Case<'_, '_>, fd: &ReadyFd) -> Condition {
    let (what, _) = describe_fd(case.view, case.features.process, fd.fd, case.features.span.end_ns);
    let bytes = fd.queued_bytes.map_or_else(String::new, |n| format!(", {n} bytes waiting all the time"));
    let share = part(fd.ready, fd.asked);
    Condition::at_least(
        "poll",
        format!(
            "fd {} ({what}) was {} in {} of {} looks{bytes}",
            fd.fd,
            readiness_words(fd),
            fd.ready,
            fd.asked
        ),
        share,
        UNDRAINED,
    )
    .sampled(fd.ready, fd.asked)
}

/// The watched descriptor that is ready most constantly. One that is writable is suspect only if nothing is readable:
/// a healthy loop watches for writability while a buffer is full, and then it is not writable.
fn undrained(f: &Features<'_, '_>) -> Option<ReadyFd> {
    let stuck =
        |r: &&ReadyFd| r.asked >= UNDRAINED_ANSWERS && part(r.ready, r.asked) >= UNDRAINED && r.constant;
    f.ready
        .iter()
        .filter(stuck)
        .max_by_key(|r| (r.revents & POLLIN != 0, r.ready, std::cmp::Reverse(r.fd)))
        .copied()
}

/// An entry of the loop's epoll set whose descriptor is closed, or names another file by now.
///
/// A set that was inherited through a fork watches the parent's files: nothing of it is open here, and nobody polls it.
fn closed_entry<'a>(case: &Case<'_, 'a>) -> Option<&'a EpollEntry> {
    let f = &case.features;
    let open = f.process.descriptors.last()?;
    let closed = |entry: &&EpollEntry| {
        let now = open.value.iter().find(|d| d.fd == entry.fd);
        match (now, entry.inode) {
            (None, _) => true,
            (Some(d), Some(watched)) => d.inode.is_some_and(|inode| inode != watched),
            _ => false,
        }
    };
    let polled = polled_sets(case);
    let of_the_loop = |epfd: i32, entries: &[EpollEntry]| {
        if polled.is_empty() { !entries.iter().all(|e| closed(&e)) } else { polled.contains(&epfd) }
    };
    let sets = f.process.epoll.iter().filter(|(epfd, entries)| of_the_loop(**epfd, entries));
    sets.flat_map(|(_, entries)| entries.iter()).find(closed)
}

/// The epoll sets that the loop thread was seen to wait for.
fn polled_sets(case: &Case<'_, '_>) -> BTreeSet<i32> {
    let f = &case.features;
    let arch = &case.view.capture.header.host.arch;
    let samples = f.process.samples.get(&f.process.facts.loop_tid).into_iter().flatten();
    let set = |doing: &Doing| match doing {
        Doing::Syscall(number, args) => describe(arch, *number)
            .filter(|call| call.wait == Wait::Epoll)
            .and_then(|_| i32::try_from(args[0]).ok()),
        _ => None,
    };
    samples.filter_map(|sample| set(&sample.value.doing)).collect()
}

/// Whether the loop turns. An undrained descriptor with the loop's own code on the stack is itself a proof.
/// So is a closed one that its epoll set still watches: it may wake the loop at every turn, and where the loop's own code
/// is what runs, it does.
fn turning(f: &Features<'_, '_>, undrained: bool, closed: Option<&EpollEntry>) -> Condition {
    let gap = f.gaps.longest_ns;
    if let Some(entry) = closed.filter(|_| !undrained && gap >= BLOCKED_GAP_NS) {
        let (turns, stacks) = turning_samples(f);
        return Condition::at_least(
            "proc.fdinfo",
            format!(
                "fd {} was closed while the loop's epoll set watches it, and {} of its running time is the loop's own code",
                entry.fd,
                percent(part(turns, stacks))
            ),
            part(turns, stacks),
            LOOP_CODE,
        );
    }
    if !f.gaps.known
        && f.stacked() == 0
        && f.slots.capacity == 0
        && let Some(polls) = polling(f)
    {
        return polls;
    }
    if !f.gaps.known && !undrained {
        return Condition::unseen("heartbeat", "whether the loop turns could not be seen".into());
    }
    let observed = format!("the loop turns: its longest silence was {}", seconds(gap));
    if undrained && f.stacked() == 0 {
        return Condition::holds(
            "poll",
            "a descriptor it watches stays ready, which wakes it at every turn".into(),
            true,
        );
    }
    Condition::below("loop.signs", observed, gap as f64 / 1e9, BLOCKED_GAP_NS as f64 / 1e9)
}

/// Runnable samples in the loop's own code or in a yield to it, of those with a stack.
fn turning_samples(f: &Features<'_, '_>) -> (u64, u64) {
    let runnable = f.loop_stacks.iter().filter(|s| s.meaning.activity == Activity::Runnable);
    runnable.filter_map(|s| Some((s.stack?, s.count))).fold((0, 0), |(turns, all), (stack, n)| {
        let turn = stack.place == Place::Loop || stack.yields();
        (turns + if turn { n } else { 0 }, all + n)
    })
}

/// Time in the kernel that no request accounts for: what a loop does there is to ask its poller.
fn polling(f: &Features<'_, '_>) -> Option<Condition> {
    let share = f.system_share.filter(|share| *share >= POLLING)?;
    let requests = f.traffic.events as f64 + f.traffic.bytes as f64 / BYTES_PER_REQUEST;
    let each = share * f.main.on_cpu() * f.main.span_ns as f64 / requests.max(1.0);
    (each >= KERNEL_PER_REQUEST_NS).then(|| {
        Condition::at_least(
            "proc.stat",
            format!(
                "{} of its processor time is in the kernel: {} for each sign of service",
                percent(share),
                seconds(each as u64)
            ),
            share,
            POLLING,
        )
    })
}

/// Whether nobody was served all the time: no client was accepted, answered or let go, and no backend said anything that
/// somebody could have waited for.
const fn nobody_served(f: &Features<'_, '_>) -> bool {
    f.traffic.readings > 1 && f.traffic.events == 0 && f.traffic.spoken_readings == 0
}

/// Whether a descriptor is a client's: that one waits to be read is what a busy worker looks like, too.
fn is_client(case: &Case<'_, '_>, fd: &ReadyFd) -> bool {
    let other = other_end(case.view, case.features.process, fd.fd, case.features.span.end_ns);
    matches!(other, Other::Client(_))
}

/// Processor time in the loop's own code that no request accounts for.
fn fruitless(f: &Features<'_, '_>, share: f64, undrained: Option<&ReadyFd>) -> Condition {
    if undrained.is_some() {
        return Condition::holds(
            "poll",
            "a watched descriptor stays ready and is never drained".into(),
            true,
        );
    }
    let requests = f.traffic.events as f64 + f.traffic.bytes as f64 / BYTES_PER_REQUEST;
    let in_loop_ns = f.main.on_cpu() * f.main.span_ns as f64 * share;
    let each = in_loop_ns / requests.max(1.0);
    Condition::at_least(
        "sockets",
        format!(
            "{} of the loop's own code for each sign of service ({} seen)",
            seconds(each as u64),
            f.traffic.events
        ),
        each / 1e6,
        LOOP_CODE_PER_REQUEST_NS / 1e6,
    )
}

/// The callback that the loop calls at every turn: seen right above the loop's own frames, and one of the
/// application's. A request that happened to be served meanwhile is no culprit.
fn callback(f: &Features<'_, '_>) -> Option<Frame> {
    let stacks = loop_stacks(f, |s| s.place == Place::Callback && s.above < s.frames.len());
    let path = common_path(&stacks, SAME_PLACE);
    culprit(&path).filter(|frame| is_application(frame)).cloned()
}

/// The greenlet or task that yields and is called again: it must account for much of the running time.
fn busy_waiter(f: &Features<'_, '_>) -> Option<Frame> {
    // A greenlet that switches all the time often changes under our reading: only readings that held still count.
    let running: u64 =
        f.runnable_at.iter().filter(|(place, _)| **place != Place::Other).map(|(_, n)| n).sum();
    let stacks = loop_stacks(f, |s| s.place == Place::Callback);
    let seen: u64 = stacks.iter().map(|(_, n)| n).sum();
    let path = common_path(&stacks, SAME_PLACE);
    culprit(&path).filter(|frame| is_application(frame) && part(seen, running) >= 0.02).cloned()
}

/// The loop's own function that goes round without ever asking its poller. It can be told where the poller is a function of
/// Python's, which is on the stack whenever the loop asks it.
fn unpolled(f: &Features<'_, '_>) -> Option<Frame> {
    if !matches!(f.process.facts.loop_kind, LoopKind::Selectors) || f.main.count(Activity::OwnPoller) > 0 {
        return None;
    }
    let stacks = loop_stacks(f, |s| s.place == Place::Loop);
    let seen: u64 = stacks.iter().map(|(_, n)| n).sum();
    let polls =
        |s: &Stack<'_>| s.frames.iter().any(|f| known::in_table(known::SELECTORS, &f.file, &f.function));
    if seen < FEWEST_SAMPLES || stacks.iter().any(|(s, _)| polls(s)) {
        return None;
    }
    let root = stacks.iter().find_map(|(s, _)| s.frames.get(s.above).copied());
    root.cloned()
}

fn loop_stacks<'v, 'a>(f: &Features<'v, 'a>, wanted: fn(&Stack<'_>) -> bool) -> Vec<(&'v Stack<'a>, u64)> {
    let of_loop = f.loop_stacks.iter().filter(|s| s.meaning.activity == Activity::Runnable);
    of_loop.filter_map(|s| Some((s.stack?, s.count))).filter(|(s, _)| wanted(s)).collect()
}
