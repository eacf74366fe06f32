//! `deadlock` and `lock_contention`: request slots asleep on application locks.
//!
//! **Necessary (both):** half of the slots' time on a futex outside the interpreter, and no free slot that answers.
//! **What tells them apart:** turnover. Where a lock changes hands the sleepers wake and sleep again; in a deadlock no
//! involved thread was switched in for the whole window. Three seconds of silence are a strong sign and no proof, so
//! `deadlock` keeps a cap on its confidence, and a lower one for a single slot: its lock may be held by another process's
//! thread or by one that works long. A thread inside the very function at whose lock the others sleep, asleep on something
//! outside, holds that lock: then what it waits for is the cause, and what sleeps behind it is counted to that.
//! **Nearest neighbours:** free pool threads (recognised by their stacks), `gil_contention`.
//! **Advice:** hold the named lock for less; order locks; initialise locks after fork.

use std::collections::BTreeMap;

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::budget::part;
use crate::diagnose::features::{Features, Seen};
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{common_path, culprit};
use crate::diagnose::thresholds::{SAME_PLACE, SLOTS_HELD};

/// Locks that nobody releases.
#[must_use]
pub fn deadlock(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = slotted(case)?;
    let (still, threads) = silent(f);
    let mut a = common(case, Code::Deadlock)
        .need(Condition::holds(
            "proc.schedstat",
            format!("{still} of {threads} threads that wait for a lock were never woken in the window"),
            threads > 0 && still == threads,
        ))
        .need(match holder(f) {
            Some(held) => Condition::holds(
                "memory.stack",
                format!("thread {} is inside what they wait for, asleep {}", held.tid, held.activity.words()),
                false,
            ),
            None => Condition::holds(
                "memory.stack",
                "nobody is inside what they wait for, asleep on something else".into(),
                true,
            ),
        });
    a.summary = "its request slots wait for locks and none of them was woken: most likely a deadlock".into();
    let cap = if threads >= 2 { 0.8 } else { 0.7 };
    Some(finish(case, a).cap(cap).unless("one wake-up among them: lock_contention"))
}

/// Locks that change hands.
#[must_use]
pub fn contention(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = slotted(case)?;
    let (still, threads) = silent(f);
    let mut a = common(case, Code::LockContention).need(Condition::holds(
        "proc.schedstat",
        format!("{} of {threads} threads that wait for a lock were woken in the window", threads - still),
        still < threads,
    ));
    a.summary = "its request slots wait for an application lock".into();
    Some(finish(case, a).unless("no wake-up at all: deadlock"))
}

/// A thread that others wait for, and what it waits for itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holder {
    /// The thread.
    pub tid: i32,
    /// What it is asleep on.
    pub activity: Activity,
    /// Share of all slots' time that is asleep behind it.
    pub behind: f64,
}

/// Whoever keeps slots waiting that were never woken: a thread inside the function at whose lock most of them sleep, which
/// itself sleeps on something that is no lock.
#[must_use]
pub fn holder(f: &Features<'_, '_>) -> Option<Holder> {
    let (still, threads) = silent(f);
    if threads == 0 || still < threads {
        return None;
    }
    let asleep =
        |activity| !matches!(activity, Activity::Runnable | Activity::OwnPoller | Activity::FreeSlot);
    let mut wanted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for seen in f.stacks.iter().filter(|s| s.meaning.activity == Activity::Lock) {
        if let Some(frame) = seen.stack.and_then(|s| s.frames.first()) {
            *wanted.entry((&frame.file, &frame.function)).or_default() += seen.count;
        }
    }
    let (place, _) = wanted.into_iter().max_by_key(|(place, n)| (*n, std::cmp::Reverse(*place)))?;
    let inside = |s: &&Seen<'_, '_>| {
        let outside = asleep(s.meaning.activity) && s.meaning.activity != Activity::Lock;
        outside && s.stack.is_some_and(|s| s.frames.iter().any(|f| (&*f.file, &*f.function) == place))
    };
    let seen = f.stacks.iter().filter(inside).max_by_key(|s| (s.count, std::cmp::Reverse(s.tid)))?;
    let all: u64 = f.stacks.iter().filter(|s| s.tid == seen.tid).map(|s| s.count).sum();
    (part(seen.count, all) >= SAME_PLACE).then(|| Holder {
        tid: seen.tid,
        activity: seen.meaning.activity,
        behind: f.slots.held(Activity::Lock),
    })
}

/// The share behind a lock in words; nothing where there is none.
#[must_use]
pub fn behind_words(behind: f64) -> String {
    if behind > 0.0 {
        format!(", {} of it behind a lock that one of them holds", percent(behind))
    } else {
        String::new()
    }
}

fn slotted<'c, 'v, 'a>(case: &'c Case<'v, 'a>) -> Option<&'c Features<'v, 'a>> {
    (case.features.slots.capacity > 0).then_some(&case.features)
}

fn common(case: &Case<'_, '_>, code: Code) -> Assessment {
    let f = &case.features;
    let held = f.slots.held(Activity::Lock);
    Assessment::new(code)
        .need(Condition::at_least(
            "proc.syscall",
            format!("{} of its slots' time is spent on application locks", percent(held)),
            held,
            SLOTS_HELD,
        ))
        .need(super::waiting::no_room(f))
}

fn finish(case: &Case<'_, '_>, mut a: Assessment) -> Assessment {
    let path = common_path(&case.features.stacks_of(|m| m.activity == Activity::Lock), 0.6);
    a.culprit = culprit(&path).map(|frame| Culprit { kind: "lock".into(), ..Culprit::default() }.at(frame));
    if let Some(place) = a.culprit.as_ref().and_then(Culprit::place) {
        a.summary = format!("{} ({place})", a.summary);
    }
    a
}

/// Threads that slept on a lock for the whole span without being switched in, of those that mostly did.
fn silent(f: &Features<'_, '_>) -> (u64, u64) {
    let mut still = 0;
    let mut threads = 0;
    for tid in f.process.samples.keys().filter(|t| **t != f.process.facts.loop_tid || f.slots.capacity == 1) {
        let locked: u64 = f
            .stacks
            .iter()
            .filter(|s| s.tid == *tid && s.meaning.activity == Activity::Lock)
            .map(|s| s.count)
            .sum();
        let all: u64 = f.stacks.iter().filter(|s| s.tid == *tid).map(|s| s.count).sum();
        if part(locked, all) < 0.5 {
            continue;
        }
        threads += 1;
        let mut slices = f.process.samples_in(*tid, f.span).map(|s| s.value.slices);
        let first = slices.next();
        still += u64::from(slices.all(|s| Some(s) == first));
    }
    (still, threads)
}
