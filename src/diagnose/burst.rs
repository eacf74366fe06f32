//! What a burst of stops says of a process, as evidence: whether its loop turned, and what woke it.
//!
//! Pure. The calls are decoded as `trace` decodes them; a burst saw a moment only, so it supports a verdict or speaks
//! against it. Only where a descriptor could be seen in no other way does it name that descriptor.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::budget::part;
use super::rules::{Case, Condition};
use super::thresholds::UNDRAINED;
use crate::capture::traced::Traced;
use crate::trace::calls::{Call, calls};
use crate::trace::fold::{is_poll, taken_in};

/// Fewest polls that say anything.
const FEWEST_POLLS: u64 = 5;

/// Where it was seen.
pub const SOURCE: &str = "burst";

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

/// The polls that came back, if they were enough to say anything.
fn polls(calls: &[Call]) -> Option<Vec<&Call>> {
    let back: Vec<&Call> = calls.iter().filter(|c| is_poll(&c.name) && c.result.is_some()).collect();
    (back.len() as u64 >= FEWEST_POLLS).then_some(back)
}

fn was_ready(poll: &Call, fd: i32) -> bool {
    poll.ready.iter().any(|ready| ready.fd == Some(fd))
}

/// The descriptors that something was done with.
fn handled(calls: &[Call]) -> BTreeSet<i32> {
    taken_in(calls.iter().map(|c| (c.name.as_str(), c.fd, c.error.is_some())))
}

/// The descriptor that woke nearly every poll of the burst and that nothing took in.
#[must_use]
pub fn undrained(case: &Case<'_, '_>) -> Option<i32> {
    let calls = loop_calls(case)?;
    let (polls, handled) = (polls(&calls)?, handled(&calls));
    let woken = |fd: i32| polls.iter().filter(|poll| was_ready(poll, fd)).count() as u64;
    let ready: BTreeSet<i32> = polls.iter().flat_map(|c| c.ready.iter().filter_map(|r| r.fd)).collect();
    let worst = ready.difference(&handled).copied().max_by_key(|fd| (woken(*fd), Reverse(*fd)))?;
    (part(woken(worst), polls.len() as u64) >= UNDRAINED).then_some(worst)
}

/// Whether the polls of the burst came back with nothing.
#[must_use]
pub fn found_nothing(case: &Case<'_, '_>) -> Option<Condition> {
    let calls = loop_calls(case)?;
    let polls = polls(&calls)?;
    let of = polls.len() as u64;
    let empty = polls.iter().filter(|poll| poll.result == Some(0)).count() as u64;
    let name = &polls.first()?.name;
    let observed = format!("in a burst, {empty} of {of} polls ({name}) found nothing ready");
    Some(Condition::at_least(SOURCE, observed, part(empty, of), UNDRAINED).sampled(empty, of))
}

/// Whether the polls of the burst were woken by a descriptor that nothing took in.
#[must_use]
pub fn woken_by(case: &Case<'_, '_>, fd: i32) -> Option<Condition> {
    let calls = loop_calls(case)?;
    let back = polls(&calls)?;
    let polls = back.len() as u64;
    let woken = back.iter().filter(|poll| was_ready(poll, fd)).count() as u64;
    let taken = handled(&calls).contains(&fd);
    let share = part(woken, polls);
    let then = if taken { "and it was handled" } else { "and nothing read, wrote or closed it" };
    let observed = format!("in a burst, {woken} of {polls} polls were woken by fd {fd} {then}");
    Some(if taken {
        Condition::holds(SOURCE, observed, false)
    } else {
        Condition::at_least(SOURCE, observed, share, UNDRAINED).sampled(woken, polls)
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
    Some(Condition::holds(SOURCE, observed, polls == 0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::capture::burst::{Burst, Event, FollowedThread, What, Woken};
    use crate::capture::model::{Capture, Doing, Record};
    use crate::capture::reader;
    use crate::diagnose::diagnose;
    use crate::diagnose::model::{Code, Evidence};
    use crate::trace::calls::tests::spin;

    const SPIN: &str = "fixtures/captures/modern-gevent-spin_watcher.hot_spin.cap";

    fn capture() -> Capture {
        reader::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(SPIN)).unwrap()
    }

    /// The worker that spins, the descriptor it spins on, and its epoll set.
    fn spinner(capture: &Capture) -> (i32, i32) {
        let judged = diagnose(capture);
        let process = judged.processes.iter().find(|p| p.verdict.code == Code::HotSpin).unwrap();
        (process.pid, process.verdict.culprit.as_ref().unwrap().fd.unwrap())
    }

    /// Twenty turns, each woken by `fd`, which is read where `read` says so.
    fn with_burst(pid: i32, fd: i32, read: bool) -> Capture {
        add_burst(capture(), pid, fd, read)
    }

    fn add_burst(mut capture: Capture, pid: i32, fd: i32, read: bool) -> Capture {
        let tid = capture
            .records
            .iter()
            .find_map(|r| match r {
                Record::Process(facts) if facts.pid == pid => Some(facts.loop_tid),
                _ => None,
            })
            .unwrap();
        let mut seen: Burst = spin(20).burst;
        seen.pid = pid;
        seen.threads = vec![FollowedThread { tid, doing: Doing::Running, woken: Woken::No }];
        for event in &mut seen.events {
            event.tid = tid;
            match &mut event.what {
                // A word that no set of the capture knows stands for the descriptor itself.
                What::Leave { memory, .. } if !memory.is_empty() => {
                    memory[4..].copy_from_slice(&(77u64 << 32 | fd as u64).to_ne_bytes());
                }
                What::Enter { args, .. } => args[0] = u64::MAX,
                _ => {}
            }
        }
        if read {
            let at_ns = 40_000_000;
            let what = What::Enter { number: 0, args: [fd as u64, 0, 1, 0, 0, 0], memory: Vec::new() };
            seen.events.push(Event { tid, at_ns, resumed_ns: Some(at_ns + 1), what });
            let what = What::Leave { result: 1, memory: Vec::new() };
            seen.events.push(Event { tid, at_ns: at_ns + 2, resumed_ns: Some(at_ns + 3), what });
        }
        let end = capture.records.pop().unwrap();
        capture.records.push(Record::Burst { at_ns: 3_000_000_000, burst: Box::new(seen) });
        capture.records.push(end);
        capture
    }

    fn of_burst(evidence: &[Evidence]) -> Vec<&str> {
        evidence.iter().filter(|e| e.source == "burst").map(|e| e.observed.as_str()).collect()
    }

    #[test]
    fn a_descriptor_that_wakes_every_poll_and_is_never_read_supports_a_spin() {
        let (pid, fd) = spinner(&capture());
        let judged = diagnose(&with_burst(pid, fd, false));
        let process = judged.processes.iter().find(|p| p.pid == pid).unwrap();
        assert_eq!(process.verdict.code, Code::HotSpin);
        let wanted =
            format!("in a burst, 20 of 20 polls were woken by fd {fd} and nothing read, wrote or closed it");
        assert_eq!(of_burst(&process.evidence), [wanted.as_str()]);
    }

    #[test]
    fn one_that_is_read_speaks_against_it() {
        let (pid, fd) = spinner(&capture());
        let judged = diagnose(&with_burst(pid, fd, true));
        let process = judged.processes.iter().find(|p| p.pid == pid).unwrap();
        assert!(of_burst(&process.evidence).is_empty());
        assert_eq!(of_burst(&process.counter_evidence).len(), 1);
    }

    /// What no `poll` could be asked about, and no stack could tell.
    #[test]
    fn one_that_only_the_burst_has_seen_is_named_by_it() {
        let (pid, fd) = spinner(&capture());
        let mut blind = capture();
        blind.records.retain(|record| !matches!(record, Record::Readiness { .. }));
        for stacks in [true, false] {
            if !stacks {
                for record in &mut blind.records {
                    if let Record::Tick(tick) = record {
                        tick.samples.iter_mut().for_each(|sample| sample.stack = None);
                    }
                }
            }
            let judge = |capture: &Capture| {
                let judged = diagnose(capture).processes.into_iter().find(|p| p.pid == pid).unwrap();
                (judged.verdict.code, judged.verdict.culprit.and_then(|culprit| culprit.fd))
            };
            assert_eq!(judge(&blind).1, None, "stacks {stacks}");
            let seen = add_burst(blind.clone(), pid, fd, false);
            assert_eq!(judge(&seen), (Code::HotSpin, Some(fd)), "stacks {stacks}");
            // Handled is not undrained.
            let handled = add_burst(blind.clone(), pid, fd, true);
            assert_eq!(judge(&handled).1, None, "stacks {stacks}");
        }
    }

    #[test]
    fn polls_that_find_nothing_make_a_spin_by_its_limit_sure() {
        let (pid, _) = spinner(&capture());
        let mut blind = capture();
        blind.records.retain(|record| !matches!(record, Record::Readiness { .. }));
        let confidence = |capture: &Capture| {
            let judged = diagnose(capture).processes.into_iter().find(|p| p.pid == pid).unwrap();
            assert_eq!(judged.verdict.subcause.as_deref(), Some("zero_timeout"));
            (judged.verdict.confidence, of_burst(&judged.evidence).len())
        };
        let mut seen = add_burst(blind.clone(), pid, 0, false);
        for record in &mut seen.records {
            let Record::Burst { burst, .. } = record else { continue };
            for event in &mut burst.events {
                if let What::Leave { result, memory } = &mut event.what
                    && !memory.is_empty()
                {
                    *result = 0;
                    memory.clear();
                }
            }
        }
        let (before, after) = (confidence(&blind), confidence(&seen));
        assert!(before.0 <= 0.85 && after.0 > before.0, "{before:?} {after:?}");
        assert_eq!((before.1, after.1), (0, 1));
    }
}
