//! Repetition in a sequence of calls, folded: `epoll_wait(9) → fd 16 readable; getpid`, 42 times.
//!
//! Pure: plain steps in, runs out. A step is a call without what differs from one turn to the next (times, addresses,
//! results that are counts), so that a loop's turns look the same when they do the same.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::calls::Call;
use crate::capture::calls::{Class, takes_in};

/// Longest turn that is looked for, in calls.
const LONGEST: usize = 32;

/// A call, as far as its like in the next turn is the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Step {
    /// Name of the call.
    pub name: String,
    /// The descriptor it is about.
    pub fd: Option<i32>,
    /// The descriptors that it reported as ready.
    pub ready: Vec<i32>,
    /// How they are ready, or the error, or `timeout`.
    pub outcome: Option<String>,
}

impl Step {
    /// A call as a step.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        let ready: Vec<i32> = call.ready.iter().filter_map(|ready| ready.fd).collect();
        let outcome = if let Some(error) = &call.error {
            Some(error.clone())
        } else if call.took_ns.is_none() {
            Some("has not come back".to_owned())
        } else if let Some(first) = call.ready.first() {
            Some(first.how.clone())
        } else {
            (call.class == Class::Poll && call.result == Some(0) && is_poll(&call.name))
                .then(|| "timeout".to_owned())
        };
        Self { name: call.name.clone(), fd: call.fd, ready, outcome }
    }

    /// The step in words.
    #[must_use]
    pub fn words(&self) -> String {
        let fd = self.fd.map_or_else(String::new, |fd| format!("({fd})"));
        let ready = match self.ready.as_slice() {
            [] => String::new(),
            [one] => format!("fd {one} "),
            several => {
                format!("fds {} ", several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        };
        match &self.outcome {
            Some(outcome) => format!("{}{fd} → {ready}{outcome}", self.name),
            None => format!("{}{fd}", self.name),
        }
    }
}

/// Whether the call waits for several descriptors at once.
#[must_use]
pub fn is_poll(name: &str) -> bool {
    name.starts_with("epoll_wait")
        || name.starts_with("epoll_pwait")
        || matches!(name, "poll" | "ppoll" | "select" | "pselect6")
}

/// Calls that follow each other: once, or the same turn again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins.
    pub start: usize,
    /// Calls of a turn.
    pub turn: usize,
    /// Turns.
    pub times: usize,
}

impl Run {
    /// Where the next one begins.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.start + self.turn * self.times
    }
}

/// Folds a sequence. Each of its elements is in one run, in their order.
#[must_use]
pub fn fold<T: PartialEq>(steps: &[T]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < steps.len() {
        let mut best = Run { start, turn: 1, times: 1 };
        for turn in 1..=LONGEST.min((steps.len() - start) / 2) {
            let most = (steps.len() - start) / turn;
            let times = 1 + (1..most).take_while(|k| same(steps, start, turn, *k)).count();
            // The shortest turn that covers most.
            if times > 1 && turn * times > best.turn * best.times {
                best = Run { start, turn, times };
            }
        }
        start = best.end();
        runs.push(best);
    }
    runs
}

/// Whether the `k`th turn after the first is the same.
fn same<T: PartialEq>(steps: &[T], start: usize, turn: usize, k: usize) -> bool {
    let from = start + turn * k;
    match (steps.get(start..start + turn), steps.get(from..from + turn)) {
        (Some(first), Some(other)) => first == other,
        _ => false,
    }
}

/// A turn that a thread did again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pattern {
    /// The calls of a turn; one that polls comes first.
    pub steps: Vec<Step>,
    /// How often, in all stretches together.
    pub times: u64,
    /// Longest stretch without anything else between.
    pub longest_stretch: u64,
    /// Descriptors that it reported as ready, and that nothing in the whole trace of the process took in.
    pub never_taken_in: Vec<i32>,
}

/// The turns of a thread that were done more than once, the most calls first.
#[must_use]
pub fn patterns(steps: &[Step], taken_in: &BTreeSet<i32>) -> Vec<Pattern> {
    let mut found: Vec<Pattern> = Vec::new();
    for run in fold(steps).into_iter().filter(|run| run.times > 1) {
        let Some(turn) = steps.get(run.start..run.start + run.turn) else { continue };
        let turn = from_poll(turn);
        let times = run.times as u64;
        if let Some(pattern) = found.iter_mut().find(|pattern| pattern.steps == turn) {
            pattern.times += times;
            pattern.longest_stretch = pattern.longest_stretch.max(times);
            continue;
        }
        let ready: BTreeSet<i32> = turn.iter().flat_map(|step| step.ready.iter().copied()).collect();
        let never_taken_in = ready.difference(taken_in).copied().collect();
        found.push(Pattern { steps: turn, times, longest_stretch: times, never_taken_in });
    }
    found.sort_by_key(|pattern| std::cmp::Reverse(pattern.times * pattern.steps.len() as u64));
    found
}

/// A turn, begun with its poll: where a burst happens to start does not matter.
fn from_poll(turn: &[Step]) -> Vec<Step> {
    let mut turn = turn.to_vec();
    let poll = turn.iter().position(|step| is_poll(&step.name)).unwrap_or(0);
    turn.rotate_left(poll);
    turn
}

/// The descriptors on which something was read, accepted, written or given up.
#[must_use]
pub fn taken_in<'a>(calls: impl Iterator<Item = (&'a str, Option<i32>, bool)>) -> BTreeSet<i32> {
    calls.filter(|(name, _, failed)| takes_in(name) && !failed).filter_map(|(_, fd, _)| fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(text: &str) -> Vec<(String, usize)> {
        let steps: Vec<char> = text.chars().collect();
        fold(&steps)
            .iter()
            .map(|run| (steps[run.start..run.start + run.turn].iter().collect(), run.times))
            .collect()
    }

    #[test]
    fn turns_are_found_whatever_their_length() {
        assert_eq!(folded("ababab"), [("ab".into(), 3)]);
        assert_eq!(folded("aaaa"), [("a".into(), 4)]);
        assert_eq!(folded("xabcabcy"), [("x".into(), 1), ("abc".into(), 2), ("y".into(), 1)]);
        assert_eq!(folded("aabaab"), [("aab".into(), 2)]);
        assert_eq!(folded("abc"), [("a".into(), 1), ("b".into(), 1), ("c".into(), 1)]);
        assert_eq!(folded(""), []);
    }

    #[test]
    fn a_disturbed_loop_is_one_pattern() {
        let step = |name: &str| Step { name: name.into(), ..Step::default() };
        let steps: Vec<Step> =
            ["epoll_wait", "getpid", "epoll_wait", "getpid", "fchmod", "getpid", "epoll_wait"]
                .iter()
                .chain(&["getpid", "epoll_wait", "getpid", "epoll_wait"])
                .map(|name| step(name))
                .collect();
        let found = patterns(&steps, &BTreeSet::new());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].times, found[0].longest_stretch), (5, 3));
        assert_eq!(found[0].steps[0].name, "epoll_wait");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_is_twice(steps in proptest::collection::vec(0u8..3, 0..80)) {
            let mut at = 0;
            for run in fold(&steps) {
                prop_assert_eq!(run.start, at);
                for k in 0..run.times {
                    let from = run.start + k * run.turn;
                    prop_assert_eq!(&steps[from..from + run.turn], &steps[run.start..run.start + run.turn]);
                }
                at = run.end();
            }
            prop_assert_eq!(at, steps.len());
        }
    }
}
