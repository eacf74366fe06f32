//! `loop_blocked_off_cpu`: the loop thread sleeps anywhere but in its own poller; or request slots are held by a sleep,
//! a child process, a file lock, a locked database file or a full log pipe.
//!
//! **Necessary (loop):** half of the time asleep elsewhere ([`BLOCKED_SLEEP`]), and either no turn for a second or
//! sleeps of at least 0.1 s. **Necessary (slots):** half of the slots' time, those asleep on a lock that one of them holds
//! counted in, and no free slot left that answers.
//! **Nearest neighbours:** `idle` (the same system call, but on the loop's own epoll set and called by the loop),
//! `waiting_upstream` (slots that wait for a backend by design), `gil_contention`.
//! **Advice:** by subcause: a cooperative driver, timeouts, another worker class.

use super::locks::{behind_words, holder};
use super::{Assessment, Case, Condition, percent, seconds};
use crate::capture::model::{Doing, ThreadSample};
use crate::diagnose::activity::{Activity, Other, other_end};
use crate::diagnose::below::{asks_name_server, below, words as below_words};
use crate::diagnose::budget::part;
use crate::diagnose::culprit::{describe_fd, peer, with_service};
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{Place, common_path, culprit};
use crate::diagnose::thresholds::{BLOCKED_GAP_NS, BLOCKED_SLEEP, BLOCKING_SLEEP_NS, SAME_PLACE, SLOTS_HELD};
use crate::diagnose::view::At;

/// Sleeps that block a loop.
const BLOCKS_LOOP: &[Activity] = &[
    Activity::Upstream,
    Activity::Dns,
    Activity::Client,
    Activity::Lock,
    Activity::Disk,
    Activity::Sleep,
    Activity::Subprocess,
    Activity::FileLock,
    Activity::DatabaseFile,
    Activity::LogPipe,
];

/// Sleeps that hold a slot and are nobody else's verdict.
const HOLDS_SLOT: &[Activity] =
    &[Activity::Sleep, Activity::Subprocess, Activity::FileLock, Activity::DatabaseFile, Activity::LogPipe];

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let slots = f.slots.capacity > 0;
    let kinds = if slots { HOLDS_SLOT } else { BLOCKS_LOOP };
    let tally = f.judged();
    if tally.total() == 0 || !f.serves() {
        return None;
    }
    // A sleep below application frames blocks the loop even where its kind could not be told.
    let untold = if slots { 0 } else { unknown_in_callbacks(case) };
    let count: u64 = kinds.iter().map(|k| tally.count(*k)).sum::<u64>() + untold;
    let asleep = tally.asleep();
    let share = (1.0 - tally.demand()).max(0.0) * part(count, asleep);
    let worst = kinds.iter().copied().max_by_key(|k| tally.count(*k)).filter(|k| tally.count(*k) > untold);
    let words = worst.map_or("outside its poller", Activity::words);
    let mut a = Assessment::new(Code::LoopBlockedOffCpu);
    a.subcause = worst.and_then(Activity::subcause).map(str::to_owned);
    if slots {
        let behind = holder(f).filter(|h| Some(h.activity) == worst).map_or(0.0, |h| h.behind);
        let held = share * part(f.slots.seen, f.slots.capacity) + behind;
        a = a
            .need(Condition::at_least(
                "proc.syscall",
                format!("{} of its slots' time is spent {words}{}", percent(held), behind_words(behind)),
                held,
                SLOTS_HELD,
            ))
            .need(super::waiting::no_room(f));
    } else {
        a = a
            .need(
                Condition::at_least(
                    "proc.syscall",
                    format!("{} of the time asleep {words}", percent(share)),
                    share,
                    BLOCKED_SLEEP,
                )
                .sampled(count, tally.total()),
            )
            .need(Condition::holds(
                "loop.signs",
                format!(
                    "did not turn for {}; longest single sleep outside its poller {}",
                    seconds(f.gaps.longest_ns),
                    seconds(f.longest_sleep_ns)
                ),
                f.gaps.longest_ns >= BLOCKED_GAP_NS || f.longest_sleep_ns >= BLOCKING_SLEEP_NS,
            ));
    }
    let wanted = |activity| worst.map_or(activity == Activity::Unknown, |w| activity == w);
    let path = common_path(&f.stacks_of(|m| wanted(m.activity)), SAME_PLACE);
    let fd = f.stacks.iter().find(|s| wanted(s.meaning.activity)).and_then(|s| s.meaning.fd);
    a.culprit = name(case, worst, &path, fd);
    let place = a.culprit.as_ref().and_then(Culprit::place).map_or_else(String::new, |p| format!(" at {p}"));
    let to = a
        .culprit
        .as_ref()
        .and_then(|c| c.peer.as_deref())
        .map_or_else(String::new, |p| format!(", {}", with_service(p)));
    let what = if slots { "its request slots are held" } else { "the loop is blocked" };
    let ids = f.stacks.iter().filter(|s| wanted(s.meaning.activity)).filter_map(|s| s.id);
    let below = below(f.process, ids);
    let native = below.and_then(below_words).map_or_else(String::new, |words| format!(" ({words})"));
    a.summary = format!("{what}{place}: asleep {words}{to}{native}");
    // What looks like any other backend from outside says here what it is.
    if !slots && worst == Some(Activity::Upstream) && below.is_some_and(asks_name_server) {
        a.subcause = Activity::Dns.subcause().map(str::to_owned);
    }
    if f.stacked() == 0 {
        a = a.cap(0.75);
    }
    if worst.is_none() {
        a = a.cap(0.7);
    }
    Some(a.unless("the same sleep in the loop's own poller: idle"))
}

fn unknown_in_callbacks(case: &Case<'_, '_>) -> u64 {
    let f = &case.features;
    let facts = f.process.facts;
    // Without stacks every sleep of a worker's loop whose call is known, and is not its poller, is somebody else's.
    if facts.python.is_none() && facts.worker_class.is_some() && f.stacked() == 0 {
        let called = |s: &&At<&ThreadSample>| matches!(s.value.doing, Doing::Syscall(..));
        let calls = f.process.samples_in(facts.loop_tid, f.span).filter(called).count() as u64;
        return if calls >= f.main.asleep() { f.main.count(Activity::Unknown) } else { 0 };
    }
    let asleep = f.stacks.iter().filter(|s| s.meaning.activity == Activity::Unknown);
    asleep.filter(|s| s.stack.is_some_and(|s| s.place == Place::Callback)).map(|s| s.count).sum()
}

fn name(
    case: &Case<'_, '_>,
    worst: Option<Activity>,
    path: &[crate::capture::model::Frame],
    fd: Option<i32>,
) -> Option<Culprit> {
    let f = &case.features;
    let frame = culprit(path);
    let mut named = match (worst, fd) {
        (Some(Activity::Upstream | Activity::Dns | Activity::Client), Some(fd)) => {
            let (what, to) = describe_fd(case.view, f.process, fd, f.span.end_ns);
            let to = match other_end(case.view, f.process, fd, f.span.end_ns) {
                Other::Backend(socket) | Other::Client(socket) => peer(socket),
                _ => to,
            };
            Some(Culprit {
                kind: "peer".into(),
                fd: Some(fd),
                what: Some(what),
                peer: to,
                ..Culprit::default()
            })
        }
        (Some(Activity::FileLock | Activity::LogPipe), Some(fd)) => {
            let what = f.process.link(fd).map(str::to_owned);
            Some(Culprit { kind: "file".into(), fd: Some(fd), what, ..Culprit::default() })
        }
        _ => None,
    };
    if let Some(frame) = frame {
        named = Some(named.map_or_else(|| Culprit::function(frame), |c| c.at(frame)));
    }
    named
}
