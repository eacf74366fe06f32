//! One labelled look: what was claimed, whether it was true, what the tool said, whether that was right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::baselines::{Statement, statements};
use super::others;
use crate::capture::model::Capture;
use crate::diagnose::budget::round;
use crate::diagnose::model::{Code, Culprit, Severity};
use crate::portal::scenarios::{Limit, Scenario, Set};

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The effect was there: this counts.
    Proven,
    /// Whether the effect was there is not known. It counts, and is told apart.
    Unproven,
    /// The effect was not there: the label would be wrong, so this does not count.
    NoEffect,
    /// It cannot be brought up here: software or rights are missing.
    Skipped,
    /// It could be brought up, and something went wrong.
    Failed,
}

impl Outcome {
    /// The name that a kept capture carries.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::NoEffect => "no_effect",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    /// What the name of a kept capture says: `ID.REPEAT.WORD.cap`. A name that says nothing proves nothing.
    #[must_use]
    pub fn of_name(file_name: &str) -> Self {
        match file_name.split('.').nth(2) {
            Some("proven") => Self::Proven,
            Some("no_effect") => Self::NoEffect,
            _ => Self::Unproven,
        }
    }

    /// Whether a verdict of such a run is right or wrong at all.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Proven | Self::Unproven)
    }
}

/// What the tool said of the worker in question.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Said {
    /// The worker.
    pub pid: i32,
    /// The verdict.
    pub code: Code,
    /// Its subcause.
    pub subcause: Option<String>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// 0 to 1.
    pub confidence: f64,
    /// Who or what is to blame, as the report has it.
    pub culprit: Option<Culprit>,
    /// How many sub-windows agree.
    pub sub_windows_agree: String,
    /// How long the look took to say it.
    pub after_ms: u64,
    /// Other workers that were called critical.
    pub bystanders_critical: u32,
}

impl Said {
    /// Whether anything was said at all.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.code != Code::Unknown
    }
}

/// One labelled look.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    /// Which scenario.
    pub scenario: String,
    /// Which repeat of it, from 1.
    pub repeat: u32,
    /// What the scenario is for.
    pub set: Set,
    /// Whether nothing is wrong in it.
    pub control: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it does not count, or is not proven.
    pub why: Option<String>,
    /// Right verdicts, the label first.
    pub expected: Vec<Code>,
    /// What was said; `null` when nothing could be looked at.
    pub said: Option<Said>,
    /// Whether the verdict is right; `null` when the run does not count.
    pub right: Option<bool>,
    /// Whether the subcause is right; `null` when there is none to compare, or the verdict is not right.
    pub subcause_right: Option<bool>,
    /// Whether the right one is blamed; `null` when there is none to compare, or no verdict was given.
    pub culprit_right: Option<bool>,
    /// Share of all processors that went to neither the server nor the tool; `null` when the capture does not tell.
    pub others_share: Option<f64>,
    /// What simpler methods say of the same capture.
    pub baselines: Vec<Statement>,
}

/// What a capture tells besides the verdict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// Share of all processors that went to neither the server nor the tool.
    pub others_share: Option<f64>,
    /// What simpler methods say.
    pub baselines: Vec<Statement>,
}

impl Beside {
    /// Of a capture and the worker in question.
    #[must_use]
    pub fn of(capture: &Capture, pid: i32) -> Self {
        Self { others_share: others::share(capture).map(round), baselines: statements(capture, pid) }
    }
}

impl Run {
    /// A run that was looked at.
    #[must_use]
    pub fn looked_at(
        scenario: &Scenario,
        repeat: u32,
        outcome: Outcome,
        why: Option<String>,
        said: Said,
        beside: Beside,
    ) -> Self {
        let right = scenario.expected.contains(&said.code);
        let compare = outcome.counts() && !scenario.subcause.is_empty() && right;
        let subcause_right =
            compare.then(|| said.subcause.as_ref().is_some_and(|said| scenario.subcause.contains(said)));
        let culprit_right = scenario.culprit.as_deref().filter(|_| outcome.counts() && said.answered());
        let culprit_right = culprit_right.map(|text| blames(&said, text, scenario.culprit_optional));
        Self {
            right: outcome.counts().then_some(right),
            subcause_right,
            culprit_right,
            said: Some(said),
            // Where other work is the fault, it disturbs nothing.
            others_share: beside.others_share.filter(|_| scenario.limit != Limit::Starve),
            baselines: beside.baselines,
            ..Self::not_looked_at(scenario, repeat, outcome, why)
        }
    }

    /// A run that came to nothing.
    #[must_use]
    pub fn not_looked_at(scenario: &Scenario, repeat: u32, outcome: Outcome, why: Option<String>) -> Self {
        Self {
            scenario: scenario.id.clone(),
            repeat,
            set: scenario.set,
            control: scenario.control,
            outcome,
            why,
            expected: scenario.expected.clone(),
            said: None,
            right: None,
            subcause_right: None,
            culprit_right: None,
            others_share: None,
            baselines: Vec::new(),
        }
    }

    /// What it was, for whoever says something of it: the label, or another right verdict if that is said.
    #[must_use]
    pub fn truth(&self, said: Code) -> Code {
        let label = self.expected.first().copied().unwrap_or(Code::Unknown);
        if self.expected.contains(&said) { said } else { label }
    }

    /// What was said, where it counts.
    #[must_use]
    pub fn counted(&self) -> Option<&Said> {
        self.said.as_ref().filter(|_| self.outcome.counts())
    }
}

/// Whether a text occurs in the culprit as the document has it.
fn blames(said: &Said, text: &str, optional: bool) -> bool {
    said.culprit.as_ref().map_or(optional, |culprit| {
        serde_json::to_string(culprit).is_ok_and(|culprit| culprit.contains(text))
    })
}
