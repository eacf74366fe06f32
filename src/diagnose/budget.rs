//! Where the time of a thread went: exact counters for what the kernel counts, samples for what it only shows.
//!
//! Pure. The shares of a budget sum to 1: what is not on a processor and not in a run queue was asleep, and the
//! sleep is divided in the proportions in which it was sampled.

use std::collections::BTreeMap;

use super::activity::Activity;
use super::model::{Method, Share, TimeBudget};
use super::view::Span;

/// What a thread did in a span.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Length of the span in which the thread was seen.
    pub span_ns: u64,
    /// Time on a processor; `None` when the kernel keeps no count.
    pub run_ns: Option<u64>,
    /// Time in a run queue, throttling included.
    pub delay_ns: Option<u64>,
    /// Time its control group was held back, at most the run-queue time.
    pub throttled_ns: u64,
    /// Samples by what they meant.
    pub samples: BTreeMap<Activity, u64>,
}

impl Tally {
    /// All samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.samples.values().sum()
    }

    /// Samples asleep, wherever.
    #[must_use]
    pub fn asleep(&self) -> u64 {
        self.total() - self.count(Activity::Runnable)
    }

    /// Samples of one meaning.
    #[must_use]
    pub fn count(&self, activity: Activity) -> u64 {
        self.samples.get(&activity).copied().unwrap_or(0)
    }

    /// Share of the span on a processor.
    #[must_use]
    pub fn on_cpu(&self) -> f64 {
        self.counted(self.run_ns, Activity::Runnable)
    }

    /// Share of the span in a run queue, throttling included.
    #[must_use]
    pub fn delayed(&self) -> f64 {
        self.delay_ns.map_or(0.0, |ns| part(ns, self.span_ns)).min(1.0 - self.on_cpu())
    }

    /// Share of the span held back by a quota.
    #[must_use]
    pub fn throttled(&self) -> f64 {
        part(self.throttled_ns, self.span_ns).min(self.delayed())
    }

    /// Share of the span in which it wanted a processor.
    #[must_use]
    pub fn demand(&self) -> f64 {
        (self.on_cpu() + self.delayed()).min(1.0)
    }

    /// Share of the span asleep with one meaning.
    #[must_use]
    pub fn share(&self, activity: Activity) -> f64 {
        let asleep = self.asleep();
        if asleep == 0 {
            return if activity == Activity::Unknown { (1.0 - self.demand()).max(0.0) } else { 0.0 };
        }
        (1.0 - self.demand()).max(0.0) * part(self.count(activity), asleep)
    }

    fn counted(&self, ns: Option<u64>, sampled: Activity) -> f64 {
        match ns {
            Some(ns) => part(ns, self.span_ns).min(1.0),
            None => part(self.count(sampled), self.total()),
        }
    }

    /// Adds another thread's tally, to see several request slots as one.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        if self.span_ns == 0 {
            *self = other.clone();
            return;
        }
        self.span_ns += other.span_ns;
        self.run_ns = sum(self.run_ns, other.run_ns);
        self.delay_ns = sum(self.delay_ns, other.delay_ns);
        self.throttled_ns += other.throttled_ns;
        for (activity, n) in &other.samples {
            *self.samples.entry(*activity).or_default() += n;
        }
    }

    /// The budget as the report shows it.
    #[must_use]
    pub fn budget(&self) -> TimeBudget {
        let exact = |share| Share { share: round(share), method: Method::Counter, ..Share::default() };
        let total = self.total();
        let sampled = |activities: &[Activity]| {
            let n = activities.iter().map(|a| self.count(*a)).sum();
            let share = activities.iter().map(|a| self.share(*a)).sum();
            Share {
                share: round(share),
                method: Method::Sampled,
                n: Some(n),
                of: Some(total),
                ci95: Some(wilson95(n, total).map(round)),
            }
        };
        let on_cpu =
            if self.run_ns.is_some() { exact(self.on_cpu()) } else { sampled(&[Activity::Runnable]) };
        let mut budget = TimeBudget {
            on_cpu,
            throttled: Share { method: Method::Apportioned, ..exact(self.throttled()) },
            run_queue: exact(self.delayed() - self.throttled()),
            own_poller: sampled(&[Activity::OwnPoller, Activity::FreeSlot]),
            client_socket: sampled(&[Activity::Client]),
            upstream_socket: sampled(&[Activity::Upstream, Activity::Dns]),
            gil: sampled(&[Activity::Gil]),
            lock: sampled(&[Activity::Lock]),
            disk: sampled(&[Activity::Disk]),
            other: sampled(&[
                Activity::Sleep,
                Activity::Subprocess,
                Activity::FileLock,
                Activity::DatabaseFile,
                Activity::LogPipe,
                Activity::Unknown,
            ]),
            stopped: sampled(&[Activity::Stopped]),
        };
        close(&mut budget);
        budget
    }
}

/// Rounding must not break the sum: the remainder goes where nothing is known.
fn close(budget: &mut TimeBudget) {
    let b = &*budget;
    let sum = b.on_cpu.share
        + b.throttled.share
        + b.run_queue.share
        + b.own_poller.share
        + b.client_socket.share
        + b.upstream_socket.share
        + b.gil.share
        + b.lock.share
        + b.disk.share
        + b.other.share
        + b.stopped.share;
    budget.other.share = round((budget.other.share + 1.0 - sum).max(0.0));
}

/// A part of a whole, 0 when there is no whole.
#[must_use]
pub fn part(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Rounded to four places: more would be noise, and the same everywhere.
#[must_use]
pub fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// 95 % Wilson score interval of `k` in `n`.
#[must_use]
pub fn wilson95(k: u64, n: u64) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (n as f64, k as f64 / n as f64);
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// How much of a counter that rose from one reading to the next fell into a span, assuming it rose evenly.
#[must_use]
pub fn overlap(from: (u64, u64), to: (u64, u64), span: Span) -> u64 {
    let (start, end) = (from.0.max(span.start_ns), to.0.min(span.end_ns));
    let between = to.0.saturating_sub(from.0);
    let rise = to.1.saturating_sub(from.1);
    if end <= start || between == 0 {
        0
    } else {
        (rise as f64 * (end - start) as f64 / between as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_of_all_in_twenty_is_the_published_value() {
        let [low, high] = wilson95(20, 20);
        assert!((low - 0.8389).abs() < 0.001 && high > 0.9999);
    }

    #[test]
    fn shares_sum_to_one() {
        let tally = Tally {
            span_ns: 3_000,
            run_ns: Some(1_000),
            delay_ns: Some(333),
            throttled_ns: 100,
            samples: BTreeMap::from([(Activity::Runnable, 5), (Activity::OwnPoller, 3), (Activity::Lock, 4)]),
        };
        let b = tally.budget();
        let sum = b.on_cpu.share
            + b.throttled.share
            + b.run_queue.share
            + b.own_poller.share
            + b.lock.share
            + b.other.share;
        assert!((sum - 1.0).abs() < 0.000_2, "{sum}");
        assert!(b.own_poller.share > 0.0 && b.own_poller.share < b.lock.share);
    }

    #[test]
    fn a_sleep_nobody_sampled_is_unknown_not_idle() {
        let tally = Tally { span_ns: 100, run_ns: Some(30), delay_ns: Some(0), ..Tally::default() };
        assert!((tally.share(Activity::Unknown) - 0.7).abs() < 1e-9);
        assert!(tally.share(Activity::OwnPoller).abs() < 1e-9);
    }
}
