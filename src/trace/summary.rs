//! Counts and times of the calls of a process: by name, by thread, between polls.
//!
//! Pure. Quantiles are of the calls that came back; they are exact, as a burst has at most some thousand calls.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::calls::Call;
use super::fold::is_poll;

/// Upper bounds of the classes of a histogram: a factor of ten each.
const BOUNDS_NS: [u64; 7] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// All calls of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NameSummary {
    /// Name of the call.
    pub name: String,
    /// How many were begun.
    pub calls: u64,
    /// How many of them had not come back at the end.
    pub unfinished: u64,
    /// Errors by name.
    pub errors: BTreeMap<String, u64>,
    /// How long they took.
    pub took: Times,
}

/// Times of calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Times {
    /// How many were timed.
    pub n: u64,
    /// Together.
    pub total_ns: u64,
    /// Half of them took no longer; `null` without any.
    pub p50_ns: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// How many took how long; classes without any are left out.
    pub histogram: Vec<TimeClass>,
}

/// A class of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimeClass {
    /// They took less; `null` for the last class.
    pub below_ns: Option<u64>,
    /// How many.
    pub n: u64,
}

impl Times {
    /// The times of calls.
    #[must_use]
    pub fn of(mut each_ns: Vec<u64>) -> Self {
        each_ns.sort_unstable();
        let n = each_ns.len();
        // The nearest rank: the smallest that so large a share does not exceed.
        let quantile = |per_cent: usize| each_ns.get((n * per_cent).div_ceil(100).saturating_sub(1)).copied();
        let mut classes: BTreeMap<usize, u64> = BTreeMap::new();
        for took in &each_ns {
            *classes.entry(BOUNDS_NS.partition_point(|bound| bound <= took)).or_default() += 1;
        }
        Self {
            n: n as u64,
            total_ns: each_ns.iter().sum(),
            p50_ns: quantile(50),
            p99_ns: quantile(99),
            max_ns: each_ns.last().copied(),
            histogram: classes
                .into_iter()
                .map(|(class, n)| TimeClass { below_ns: BOUNDS_NS.get(class).copied(), n })
                .collect(),
        }
    }
}

/// The calls by name, those that took longest first.
#[must_use]
pub fn by_name(calls: &[Call]) -> Vec<NameSummary> {
    let mut groups: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        groups.entry(&call.name).or_default().push(call);
    }
    let mut names: Vec<NameSummary> = groups
        .into_iter()
        .map(|(name, calls)| {
            let mut errors: BTreeMap<String, u64> = BTreeMap::new();
            for error in calls.iter().filter_map(|call| call.error.clone()) {
                *errors.entry(error).or_default() += 1;
            }
            NameSummary {
                name: name.to_owned(),
                calls: calls.len() as u64,
                unfinished: calls.iter().filter(|call| call.took_ns.is_none()).count() as u64,
                errors,
                took: Times::of(calls.iter().filter_map(|call| call.took_ns).collect()),
            }
        })
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse((name.took.total_ns, name.calls)));
    names
}

/// Where a thread's time went while it was followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Spent {
    /// In calls, the last one up to the end of the burst: in the kernel, or asleep there.
    pub in_calls_ns: u64,
    /// Between calls: in its own code, or waiting for a processor there.
    pub between_calls_ns: u64,
    /// How much of its time in calls it was on no processor; `null` where the engine does not see that.
    pub off_cpu_in_calls_ns: Option<u64>,
    /// And how much of its time between calls: it waited for a processor.
    pub off_cpu_between_calls_ns: Option<u64>,
}

/// Where a thread's time went. `length_ns` is that of the burst; `off_cpu_ns` tells how much of a span since it began the
/// thread was on no processor, if that was seen.
#[must_use]
pub fn spent(calls: &[&Call], length_ns: u64, off_cpu_ns: Option<&dyn Fn(u64, u64) -> u64>) -> Spent {
    let open = |call: &Call| length_ns.saturating_sub(call.at_ns);
    let between = |off_cpu_ns: &dyn Fn(u64, u64) -> u64| {
        let before =
            |call: &&Call| Some(off_cpu_ns(call.at_ns.saturating_sub(call.since_last_ns?), call.at_ns));
        calls.iter().filter_map(before).sum()
    };
    Spent {
        in_calls_ns: calls.iter().map(|call| call.took_ns.unwrap_or_else(|| open(call))).sum(),
        between_calls_ns: calls.iter().filter_map(|call| call.since_last_ns).sum(),
        off_cpu_in_calls_ns: off_cpu_ns.map(|_| calls.iter().filter_map(|c| c.off_cpu_ns).sum()),
        off_cpu_between_calls_ns: off_cpu_ns.map(between),
    }
}

/// How often a thread came back to its poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Polls {
    /// Polls that were begun.
    pub polls: u64,
    /// From the end of a poll to the beginning of the next, stops included: the longest; `null` with less than two.
    pub longest_gap_ns: Option<u64>,
    /// And on average.
    pub mean_gap_ns: Option<u64>,
}

/// The polls of a thread, if it made any.
#[must_use]
pub fn polls(calls: &[&Call]) -> Option<Polls> {
    let polls: Vec<&&Call> = calls.iter().filter(|call| is_poll(&call.name)).collect();
    if polls.is_empty() {
        return None;
    }
    let gaps: Vec<u64> = polls
        .iter()
        .zip(polls.iter().skip(1))
        .filter_map(|(one, next)| Some(next.at_ns.saturating_sub(one.at_ns + one.took_ns?)))
        .collect();
    let mean = gaps.iter().sum::<u64>().checked_div(gaps.len() as u64);
    Some(Polls { polls: polls.len() as u64, longest_gap_ns: gaps.iter().max().copied(), mean_gap_ns: mean })
}

#[cfg(test)]
mod tests {
    use super::super::calls::calls;
    use super::super::calls::tests::spin;
    use super::*;

    #[test]
    fn times_are_exact() {
        let times = Times::of((1..=100).map(|n| n * 1_000).collect());
        assert_eq!((times.p50_ns, times.p99_ns, times.max_ns), (Some(50_000), Some(99_000), Some(100_000)));
        let classes: Vec<_> = times.histogram.iter().map(|c| (c.below_ns, c.n)).collect();
        assert_eq!(classes, [(Some(10_000), 9), (Some(100_000), 90), (Some(1_000_000), 1)]);
        assert_eq!(Times::of(Vec::new()), Times::default());
        assert_eq!(Times::of(vec![5_000_000_000]).histogram, [TimeClass { below_ns: None, n: 1 }]);
    }

    #[test]
    fn a_spin_by_numbers() {
        let seen = calls(&spin(3));
        let names = by_name(&seen);
        assert_eq!(
            names.iter().map(|n| (n.name.as_str(), n.calls)).collect::<Vec<_>>(),
            [("epoll_wait", 3), ("getpid", 3)]
        );
        let all: Vec<&Call> = seen.iter().collect();
        let polls = polls(&all).unwrap();
        assert_eq!((polls.polls, polls.longest_gap_ns), (3, Some(900)));
        let stopped = spent(&all, 50_000_000, None);
        assert_eq!((stopped.in_calls_ns, stopped.off_cpu_in_calls_ns), (600, None));
        let call = Call { off_cpu_ns: Some(90), since_last_ns: Some(800), ..seen[1].clone() };
        let off_cpu_ns = |from, to| u64::from((from, to) == (call.at_ns - 800, call.at_ns));
        let seen = spent(&[&call], 50_000_000, Some(&off_cpu_ns));
        assert_eq!((seen.off_cpu_in_calls_ns, seen.off_cpu_between_calls_ns), (Some(90), Some(1)));
    }
}
