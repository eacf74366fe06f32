//! What was promised, and whether the counts keep it.
//!
//! A goal that nothing was counted for neither holds nor fails; one that fails makes the whole fail.

use schemars::JsonSchema;
use serde::Serialize;

use super::tally::Tally;
use crate::capture::model::Level;
use crate::portal::scenarios::Set;

/// A promise and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Goal {
    /// Stable identifier.
    pub id: String,
    /// The set that it is about.
    pub set: Set,
    /// In words.
    pub what: String,
    /// What was measured; `null` when there was nothing to measure.
    pub value: Option<f64>,
    /// `>=` or `<=`.
    pub op: String,
    /// What it is compared with.
    pub threshold: f64,
    /// Whether it holds; `null` when there was nothing to measure.
    pub holds: Option<bool>,
}

/// A look takes three seconds; what it says then is said within this.
const SEVERE_WITHIN_MS: f64 = 3_100.0;

/// Holds the counts of one set against the promises.
#[must_use]
pub fn goals(set: Set, tally: &Tally, level: Level) -> Vec<Goal> {
    // Kernel files alone tell less, and less is promised.
    let f1 = if level == Level::Proc { 0.85 } else { 0.97 };
    let least = |id: &str, what: &str, value: Option<f64>, threshold: f64| {
        goal(set, id, what, value, ">=", threshold)
    };
    let most = |id: &str, what: &str, value: Option<f64>, threshold: f64| {
        goal(set, id, what, value, "<=", threshold)
    };
    let mut goals = vec![
        least("macro_f1", "mean F1 of the verdicts", tally.macro_f1, f1),
        least("coverage", "share of the runs with a verdict", tally.coverage.share, 0.95),
        most(
            "control_alarms",
            "controls that were called critical",
            tally.control_alarms.share.map(|_| tally.control_alarms.k as f64),
            0.0,
        ),
        least("culprit", "right culprits", tally.culprit.share, 0.95),
        least("stability", "same verdict in all repeats", tally.stability.share, 0.95),
        most(
            "time_critical",
            "95 % of the critical verdicts came within, ms",
            tally.time_critical.p95_ms.map(|ms| ms as f64),
            SEVERE_WITHIN_MS,
        ),
        least("confident", "right ones among verdicts of high confidence", tally.confident.share, 0.99),
    ];
    if level == Level::Proc {
        // Without stacks nobody can be named.
        goals.retain(|goal| goal.id != "culprit");
    }
    let counts = tally.counts;
    let scored = (counts.scored > 0).then_some(counts.unproven as f64);
    goals.push(most("unproven", "runs whose effect nobody has proven", scored, 0.0));
    goals
}

fn goal(set: Set, id: &str, what: &str, value: Option<f64>, op: &str, threshold: f64) -> Goal {
    let holds = value.map(|value| if op == ">=" { value >= threshold } else { value <= threshold });
    Goal { id: id.to_owned(), set, what: what.to_owned(), value, op: op.to_owned(), threshold, holds }
}
