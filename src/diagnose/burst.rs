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
        let mut capture = capture();
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
}
