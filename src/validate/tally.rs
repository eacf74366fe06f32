//! Counting: confusion, precision and recall, coverage, false alarms, culprits, stability, times, calibration.
//!
//! `unknown` is abstention: it lowers the coverage, and the recall of what it should have been, and nobody's precision.
//! Every share carries its counts and its 95 % Wilson interval; a share of nothing is `null`, not zero.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::others::DISTURBED;
use super::run::{Outcome, Run, Said};
use crate::diagnose::budget::{round, wilson95};
use crate::diagnose::model::{Code, Severity};

/// A share with what it was counted from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// 0 to 1; `null` when there was nothing to count.
    pub share: Option<f64>,
    /// How many are meant.
    pub k: u64,
    /// Of how many.
    pub of: u64,
    /// 95 % Wilson interval.
    pub ci95: [f64; 2],
}

impl Rate {
    /// `k` of `of`.
    #[must_use]
    pub fn new(k: u64, of: u64) -> Self {
        let share = (of > 0).then(|| round(k as f64 / of as f64));
        Self { share, k, of, ci95: wilson95(k, of).map(round) }
    }

    /// Those of which something holds.
    fn of<T>(all: impl Iterator<Item = T>, holds: impl Fn(&T) -> bool) -> Self {
        let (k, of) = all.fold((0, 0), |(k, of), one| (k + u64::from(holds(&one)), of + 1));
        Self::new(k, of)
    }
}

/// How one verdict did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct CodeScore {
    /// The verdict.
    pub code: Code,
    /// How often it was right when it was said.
    pub precision: Rate,
    /// How often it was said when it was right.
    pub recall: Rate,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// A cell of the confusion matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cell {
    /// What it was.
    pub truth: Code,
    /// What was said.
    pub said: Code,
    /// How often.
    pub n: u64,
}

/// A band of confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Band {
    /// From this on.
    pub from: f64,
    /// Below this (the last one includes 1).
    pub to: f64,
    /// Mean confidence inside it.
    pub confidence: f64,
    /// How many of its verdicts were right.
    pub right: Rate,
}

/// Runs by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// All of them.
    pub runs: u64,
    /// Those that are right or wrong: proven and unproven ones.
    pub scored: u64,
    /// The effect was there.
    pub proven: u64,
    /// Whether the effect was there is not known.
    pub unproven: u64,
    /// The effect was not there.
    pub no_effect: u64,
    /// Could not be brought up here.
    pub skipped: u64,
    /// Something went wrong.
    pub failed: u64,
    /// Scored ones during which a quarter of the machine or more went to somebody else.
    pub disturbed: u64,
}

/// Milliseconds from the beginning of a look to its verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Times {
    /// Verdicts.
    pub n: u64,
    /// Half of them came within this; `null` without any.
    pub p50_ms: Option<u64>,
    /// 95 % of them came within this.
    pub p95_ms: Option<u64>,
}

/// All that is counted.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Tally {
    /// Runs by what became of them.
    pub counts: Counts,
    /// Share of the scored runs with a verdict other than `unknown`.
    pub coverage: Rate,
    /// Share of these verdicts that were right.
    pub accuracy: Rate,
    /// Mean F1 of the codes that were to be found; `null` without any.
    pub macro_f1: Option<f64>,
    /// How each of them did.
    pub codes: Vec<CodeScore>,
    /// What was said of what; cells of zero are left out.
    pub confusion: Vec<Cell>,
    /// Controls that were called critical, and workers beside a bad one.
    pub false_alarms: Rate,
    /// The same for controls alone.
    pub control_alarms: Rate,
    /// Right subcauses among right verdicts that have one.
    pub subcause: Rate,
    /// Right culprits among verdicts that should name one.
    pub culprit: Rate,
    /// Share of the repeats that gave the most frequent verdict of their scenario; scenarios with one repeat are left out.
    pub stability: Rate,
    /// Times to a verdict.
    pub time: Times,
    /// Times to a critical verdict.
    pub time_critical: Times,
    /// Right ones among verdicts with a confidence of 0.9 and more.
    pub confident: Rate,
    /// How much the confidence is worth.
    pub reliability: Vec<Band>,
    /// Expected calibration error: mean distance of confidence and accuracy over the bands; `null` without verdicts.
    pub ece: Option<f64>,
}

/// Verdicts that count are firm from here on.
pub const CONFIDENT: f64 = 0.9;
/// Where the bands of confidence begin; the last ends at 1.
const BANDS: [f64; 6] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// Counts runs.
#[must_use]
pub fn tally<'r>(runs: impl Iterator<Item = &'r Run>) -> Tally {
    let runs: Vec<&Run> = runs.collect();
    let scored: Vec<(&Run, &Said)> = runs.iter().filter_map(|r| Some((*r, r.counted()?))).collect();
    let answered: Vec<(&Run, &Said)> = scored.iter().copied().filter(|(_, said)| said.answered()).collect();
    let pairs: Vec<(Code, Code)> =
        scored.iter().map(|(run, said)| (run.truth(said.code), said.code)).collect();
    let codes = code_scores(&pairs);
    let critical = |said: &Said| said.severity == Some(Severity::Critical);
    let controls = || scored.iter().filter(|(run, _)| run.control);
    let (reliability, ece) = calibration(&answered);
    Tally {
        counts: counts(&runs),
        coverage: Rate::new(answered.len() as u64, scored.len() as u64),
        accuracy: Rate::of(answered.iter(), |(run, _)| run.right == Some(true)),
        macro_f1: macro_f1(&codes),
        confusion: confusion(&pairs),
        codes,
        false_alarms: Rate::of(scored.iter(), |(run, said)| {
            (run.control && critical(said)) || said.bystanders_critical > 0
        }),
        control_alarms: Rate::of(controls(), |(_, said)| critical(said) || said.bystanders_critical > 0),
        subcause: Rate::of(scored.iter().filter_map(|(run, _)| run.subcause_right), |right| *right),
        culprit: Rate::of(scored.iter().filter_map(|(run, _)| run.culprit_right), |right| *right),
        stability: stability(&scored),
        time: times(answered.iter().map(|(_, said)| said.after_ms)),
        time_critical: times(answered.iter().filter(|(_, s)| critical(s)).map(|(_, said)| said.after_ms)),
        confident: Rate::of(answered.iter().filter(|(_, s)| s.confidence >= CONFIDENT), |(run, _)| {
            run.right == Some(true)
        }),
        reliability,
        ece,
    }
}

fn counts(runs: &[&Run]) -> Counts {
    let of = |outcome| runs.iter().filter(|r| r.outcome == outcome).count() as u64;
    let (proven, unproven) = (of(Outcome::Proven), of(Outcome::Unproven));
    Counts {
        runs: runs.len() as u64,
        scored: proven + unproven,
        proven,
        unproven,
        no_effect: of(Outcome::NoEffect),
        skipped: of(Outcome::Skipped),
        failed: of(Outcome::Failed),
        disturbed: runs
            .iter()
            .filter(|r| r.counted().is_some() && r.others_share.is_some_and(|share| share >= DISTURBED))
            .count() as u64,
    }
}

/// Precision, recall and F1 of each code that was to be found, from pairs of truth and saying.
#[must_use]
pub fn code_scores(pairs: &[(Code, Code)]) -> Vec<CodeScore> {
    let truths: BTreeSet<Code> = pairs.iter().map(|(truth, _)| *truth).collect();
    let score = |code: Code| {
        let precision = Rate::of(pairs.iter().filter(|(_, said)| *said == code), |(truth, _)| *truth == code);
        let recall = Rate::of(pairs.iter().filter(|(truth, _)| *truth == code), |(_, said)| *said == code);
        let (p, r) = (precision.share.unwrap_or(0.0), recall.share.unwrap_or(0.0));
        CodeScore {
            code,
            precision,
            recall,
            f1: round(if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 }),
        }
    };
    truths.into_iter().map(score).collect()
}

/// The mean of the F1 of all codes, each counting the same however often it occurs.
#[must_use]
pub fn macro_f1(codes: &[CodeScore]) -> Option<f64> {
    (!codes.is_empty()).then(|| round(codes.iter().map(|c| c.f1).sum::<f64>() / codes.len() as f64))
}

fn confusion(pairs: &[(Code, Code)]) -> Vec<Cell> {
    let mut cells: BTreeMap<(Code, Code), u64> = BTreeMap::new();
    for pair in pairs {
        *cells.entry(*pair).or_default() += 1;
    }
    cells.into_iter().map(|((truth, said), n)| Cell { truth, said, n }).collect()
}

fn stability(scored: &[(&Run, &Said)]) -> Rate {
    let mut by_scenario: BTreeMap<&str, BTreeMap<Code, u64>> = BTreeMap::new();
    for (run, said) in scored {
        *by_scenario.entry(&run.scenario).or_default().entry(said.code).or_default() += 1;
    }
    let repeated = by_scenario.values().filter(|codes| codes.values().sum::<u64>() > 1);
    let (k, of) = repeated.fold((0, 0), |(k, of), codes| {
        (k + codes.values().max().copied().unwrap_or(0), of + codes.values().sum::<u64>())
    });
    Rate::new(k, of)
}

fn times(all: impl Iterator<Item = u64>) -> Times {
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    // Nearest rank: a time that really occurred.
    let at = |share: f64| {
        let rank = (share * all.len() as f64).ceil() as usize;
        all.get(rank.max(1) - 1).copied()
    };
    Times { n: all.len() as u64, p50_ms: at(0.5), p95_ms: at(0.95) }
}

fn calibration(answered: &[(&Run, &Said)]) -> (Vec<Band>, Option<f64>) {
    let mut bands = Vec::new();
    let mut error = 0.0;
    for (place, from) in BANDS.iter().copied().enumerate() {
        let to = BANDS.get(place + 1).copied();
        // A verdict below the first band is not given; if one is, it belongs to the lowest.
        let inside =
            |confidence: f64| (place == 0 || confidence >= from) && to.is_none_or(|to| confidence < to);
        let members: Vec<_> = answered.iter().filter(|(_, said)| inside(said.confidence)).collect();
        if members.is_empty() {
            continue;
        }
        let mean = members.iter().map(|(_, said)| said.confidence).sum::<f64>() / members.len() as f64;
        let right = Rate::of(members.iter(), |(run, _)| run.right == Some(true));
        let accuracy = right.k as f64 / right.of as f64;
        error += (mean - accuracy).abs() * members.len() as f64;
        bands.push(Band { from, to: to.unwrap_or(1.0), confidence: round(mean), right });
    }
    let ece = (!answered.is_empty()).then(|| round(error / answered.len() as f64));
    (bands, ece)
}
