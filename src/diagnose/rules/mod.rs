//! The rules, a page each, and the words in which they argue.
//!
//! A rule looks at one [`Case`] and gives an [`Assessment`]: a list of necessary conditions, each measured against its
//! threshold. It fires when all hold. What was measured becomes the evidence; what failed becomes the reason why the
//! rule lost. Rules see numbers and never a process.

pub mod arbiter;
pub mod blocked_off_cpu;
pub mod blocked_on_cpu;
pub mod booting;
pub mod cgroup_throttled;
pub mod cpu_starved;
pub mod gil_contention;
pub mod hot_spin;
pub mod idle;
pub mod locks;
pub mod not_running;
pub mod productive;
pub mod stalled;
pub mod waiting;

use foldhash::HashMap;
use std::collections::BTreeMap;

use super::budget::{round, wilson95};
use super::features::Features;
use super::model::{Code, Culprit};
use super::stack::Stack;
use super::thresholds::FEWEST_SAMPLES;
use super::view::View;
use crate::capture::model::Role;

/// What a rule looks at: one process in one span.
#[derive(Debug)]
pub struct Case<'v, 'a> {
    /// The capture.
    pub view: &'v View<'a>,
    /// The numbers.
    pub features: Features<'v, 'a>,
    /// Share of readings in which connections waited to be accepted.
    pub accept_waiting: Option<f64>,
    /// Processors that all processes of the server used together.
    pub server_on_cpu: f64,
    /// Every stack of the capture, looked at.
    pub stacks: &'v HashMap<u32, Stack<'a>>,
}

impl<'v, 'a> Case<'v, 'a> {
    /// The stacks of a thread with how often each was seen.
    #[must_use]
    pub fn stacks_of_thread(&self, tid: i32) -> Vec<(&'v Stack<'a>, u64)> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for sample in self.features.process.samples_in(tid, self.features.span) {
            if let Some(id) = sample.value.stack {
                *counts.entry(id).or_default() += 1;
            }
        }
        counts.into_iter().filter_map(|(id, n)| Some((self.stacks.get(&id)?, n))).collect()
    }
}

/// A rule.
pub type Rule = fn(&Case<'_, '_>) -> Option<Assessment>;

/// The ladder for workers and other processes: the first rule that fires is the verdict. A fault whose removal would
/// restore service stands above the states it causes.
pub const LADDER: &[Rule] = &[
    not_running::assess,
    booting::assess,
    hot_spin::assess,
    blocked_on_cpu::assess,
    cgroup_throttled::assess,
    cpu_starved::assess,
    blocked_off_cpu::assess,
    gil_contention::assess,
    locks::deadlock,
    locks::contention,
    waiting::disk,
    waiting::upstream,
    waiting::client,
    stalled::assess,
    productive::saturated,
    productive::healthy,
    idle::assess,
];

/// The ladder for supervisors.
pub const ARBITER_LADDER: &[Rule] = &[not_running::assess, arbiter::fault, arbiter::normal];

/// The ladder that fits a role.
#[must_use]
pub const fn ladder(role: Role) -> &'static [Rule] {
    match role {
        Role::Arbiter => ARBITER_LADDER,
        Role::Worker | Role::Process => LADDER,
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Where the value was seen.
    pub source: &'static str,
    /// What was seen, in words.
    pub observed: String,
    /// The value.
    pub value: Option<f64>,
    /// How it is compared.
    pub op: Option<&'static str>,
    /// What it is compared with.
    pub threshold: Option<f64>,
    /// Whether it holds; `None` when the value could not be seen.
    pub met: Option<bool>,
    /// How sure that is, 0 to 1.
    pub firmness: f64,
}

impl Condition {
    /// The value is at least the threshold.
    #[must_use]
    pub fn at_least(source: &'static str, observed: String, value: f64, threshold: f64) -> Self {
        Self::compared(source, observed, value, ">=", threshold, value >= threshold, value - threshold)
    }

    /// The value is below the threshold.
    #[must_use]
    pub fn below(source: &'static str, observed: String, value: f64, threshold: f64) -> Self {
        Self::compared(source, observed, value, "<", threshold, value < threshold, threshold - value)
    }

    fn compared(
        source: &'static str,
        observed: String,
        value: f64,
        op: &'static str,
        threshold: f64,
        met: bool,
        distance: f64,
    ) -> Self {
        // A value a tenth beyond its threshold is as firm as can be; one on the threshold could fall either way.
        let scale = (threshold.abs() * 0.1).max(1e-9);
        let firmness = 0.8 + 0.2 * (distance.abs() / scale).min(1.0);
        Self {
            source,
            observed,
            value: Some(round(value)),
            op: Some(op),
            threshold: Some(threshold),
            met: Some(met),
            firmness,
        }
    }

    /// Something that is or is not so.
    #[must_use]
    pub fn holds(source: &'static str, observed: String, met: bool) -> Self {
        Self { source, observed, value: None, op: None, threshold: None, met: Some(met), firmness: 1.0 }
    }

    /// Something that could not be seen.
    #[must_use]
    pub fn unseen(source: &'static str, observed: String) -> Self {
        Self { source, observed, value: None, op: None, threshold: None, met: None, firmness: 0.0 }
    }

    /// The value is a share of `k` in `n` samples: its interval decides how firm it is.
    #[must_use]
    pub fn sampled(mut self, k: u64, n: u64) -> Self {
        let [low, high] = wilson95(k, n);
        let threshold = self.threshold.unwrap_or(0.5);
        let clear = if self.op == Some("<") { high < threshold } else { low >= threshold };
        let enough: f64 = if n >= FEWEST_SAMPLES { 1.0 } else { 0.7 };
        self.firmness = enough.min(if clear { 1.0 } else { 0.8 });
        self
    }
}

/// What a rule says of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The verdict it argues for.
    pub code: Code,
    /// The kind of cause.
    pub subcause: Option<String>,
    /// All must hold.
    pub needs: Vec<Condition>,
    /// Seen besides; none is necessary.
    pub supports: Vec<Condition>,
    /// Seen, and speaks against it.
    pub against: Vec<Condition>,
    /// The most confidence the visible evidence allows.
    pub cap: f64,
    /// Who or what is to blame.
    pub culprit: Option<Culprit>,
    /// One sentence for a person.
    pub summary: String,
    /// What would lead to another verdict.
    pub would_change: Vec<String>,
}

impl Assessment {
    /// An assessment with nothing said yet.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            code,
            subcause: None,
            needs: Vec::new(),
            supports: Vec::new(),
            against: Vec::new(),
            cap: 0.99,
            culprit: None,
            summary: String::new(),
            would_change: Vec::new(),
        }
    }

    /// Adds a necessary condition.
    #[must_use]
    pub fn need(mut self, condition: Condition) -> Self {
        self.needs.push(condition);
        self
    }

    /// Adds what was seen besides: it supports when it holds, and speaks against when it does not.
    #[must_use]
    pub fn note(mut self, condition: Condition) -> Self {
        match condition.met {
            Some(true) => self.supports.push(condition),
            Some(false) => self.against.push(condition),
            None => {}
        }
        self
    }

    /// Bounds the confidence.
    #[must_use]
    pub const fn cap(mut self, cap: f64) -> Self {
        self.cap = self.cap.min(cap);
        self
    }

    /// Adds what would have led elsewhere.
    #[must_use]
    pub fn unless(mut self, words: &str) -> Self {
        self.would_change.push(words.to_owned());
        self
    }

    /// Whether all necessary conditions hold.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.needs.iter().all(|c| c.met == Some(true))
    }

    /// How near it is to firing, 0 to 1: each necessary condition counts the same, an unseen one half.
    #[must_use]
    pub fn score(&self) -> f64 {
        if self.needs.is_empty() {
            return 0.0;
        }
        let each = self.needs.iter().map(|c| match (c.met, c.value, c.threshold, c.op) {
            (Some(true), ..) => 1.0,
            (None, ..) => 0.5,
            (_, Some(value), Some(threshold), Some(">=")) if threshold > 0.0 => {
                (value / threshold).clamp(0.0, 0.95)
            }
            (_, Some(value), Some(threshold), Some("<")) if value > 0.0 => {
                (threshold / value).clamp(0.0, 0.95)
            }
            _ => 0.0,
        });
        each.fold(1.0, f64::min)
    }

    /// The least firm of what it stands on.
    #[must_use]
    pub fn firmness(&self) -> f64 {
        self.needs.iter().map(|c| c.firmness).fold(1.0, f64::min)
    }
}

/// A share in words.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A time in words.
#[must_use]
pub fn seconds(ns: u64) -> String {
    match ns {
        ..10_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        10_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}
