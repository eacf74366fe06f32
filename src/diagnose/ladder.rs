//! From assessments to one verdict: the order of the rules, the agreement of the sub-windows, the confidence.
//!
//! Pure. Confidence is the least of what the verdict stands on: evidence that could be seen, samples that are enough,
//! sub-windows that agree, distance to the runner-up.

use super::model::{Code, RunnerUp, Severity};
use super::rules::{Assessment, Case, ladder};
use super::thresholds::{FEWEST_SAMPLES, LEAST_CONFIDENCE};

/// The outcome of the ladder for one process.
#[derive(Debug)]
pub struct Outcome {
    /// What won; an empty `unknown` when nothing did.
    pub winner: Assessment,
    /// 0 to 1.
    pub confidence: f64,
    /// How many sub-windows agree, of how many.
    pub agree: (usize, usize),
    /// What came second.
    pub runner_up: Option<RunnerUp>,
    /// Other rules that fired: true as well, but explained by the winner or less urgent.
    pub also: Vec<Assessment>,
}

/// Judges a process by its whole window and its sub-windows.
#[must_use]
pub fn judge(whole: &Case<'_, '_>, parts: &[Case<'_, '_>]) -> Outcome {
    let rules = ladder(whole.features.process.facts.role);
    let mut all: Vec<Assessment> = rules.iter().filter_map(|rule| rule(whole)).collect();
    let of_parts: Vec<Option<Assessment>> =
        parts.iter().map(|part| rules.iter().filter_map(|rule| rule(part)).find(Assessment::fires)).collect();
    let agreeing = |code| of_parts.iter().flatten().filter(|a| a.code == code).count();
    let need = (parts.len() * 2).div_ceil(3);
    // What ended a process need not show in every part of the window.
    let decisive = |code| matches!(code, Code::NotRunning);
    let position = all.iter().position(|a| a.fires() && (agreeing(a.code) >= need || decisive(a.code)));
    let winner = match position {
        Some(position) => all.remove(position),
        // Something else at one end of the window (a worker that was still booting) must not hide what holds since.
        None => match of_parts.iter().flatten().rev().find(|a| agreeing(a.code) >= need) {
            Some(part) => {
                all.retain(|a| a.code != part.code);
                part.clone()
            }
            None => return undecided(&all, whole, parts.len()),
        },
    };
    let agree = (agreeing(winner.code), parts.len());
    let runner_up = runner_up(&winner, &all);
    let also = all.into_iter().filter(Assessment::fires).filter(|a| a.code != winner.code).collect();
    let margin = runner_up.as_ref().map_or(1.0, |r| r.margin);
    let samples = whole.features.main.total();
    let mut confidence = winner.cap.min(winner.firmness());
    confidence *= if agree.0 == agree.1 || decisive(winner.code) { 1.0 } else { 0.9 };
    confidence *= if margin < 0.1 { 0.93 } else { 1.0 };
    if samples < FEWEST_SAMPLES && !decisive(winner.code) {
        confidence = confidence.min(0.45);
    }
    if confidence < LEAST_CONFIDENCE {
        let mut outcome = undecided(&[winner], whole, parts.len());
        outcome.also = also;
        return outcome;
    }
    Outcome { winner, confidence: super::budget::round(confidence), agree, runner_up, also }
}

/// Nothing holds: say so, and what came nearest.
fn undecided(all: &[Assessment], whole: &Case<'_, '_>, parts: usize) -> Outcome {
    let nearest = all.iter().max_by(|a, b| a.score().total_cmp(&b.score()));
    let mut winner = Assessment::new(Code::Unknown);
    let samples = whole.features.main.total();
    winner.summary = match nearest {
        _ if samples < FEWEST_SAMPLES => {
            format!("not enough was seen to judge: {samples} samples of its main thread")
        }
        Some(a) if a.fires() => format!("undecided: {} holds, but not through the window", code_name(a.code)),
        Some(a) => {
            let missing: Vec<&str> =
                a.needs.iter().filter(|c| c.met != Some(true)).map(|c| c.observed.as_str()).take(2).collect();
            format!("undecided: nearest is {}, but {}", code_name(a.code), missing.join("; "))
        }
        None => "undecided: no rule applies".to_owned(),
    };
    let runner_up = nearest.map(|a| RunnerUp { code: a.code, margin: 0.0, rejected_because: reasons(a) });
    for condition in nearest.into_iter().flat_map(|a| &a.needs) {
        if condition.met == Some(true) {
            winner.supports.push(condition.clone());
        }
    }
    winner
        .would_change
        .push("a longer window (--duration 10s), or memory reading where it was denied".to_owned());
    Outcome { winner, confidence: 0.0, agree: (0, parts), runner_up, also: Vec::new() }
}

fn runner_up(winner: &Assessment, others: &[Assessment]) -> Option<RunnerUp> {
    let second =
        others.iter().filter(|a| a.code != winner.code).max_by(|a, b| a.score().total_cmp(&b.score()))?;
    let rejected_because = if second.fires() {
        vec![format!("it holds too, but {} explains it", code_name(winner.code))]
    } else {
        reasons(second)
    };
    Some(RunnerUp {
        code: second.code,
        margin: super::budget::round((1.0 - second.score()).max(0.0)),
        rejected_because,
    })
}

/// What was missing, in words with numbers.
fn reasons(a: &Assessment) -> Vec<String> {
    let missing = a.needs.iter().filter(|c| c.met != Some(true));
    missing
        .map(|c| match (c.value, c.op, c.threshold) {
            (Some(_), Some(op), Some(threshold)) => format!("{} (needs {op} {threshold})", c.observed),
            _ => c.observed.clone(),
        })
        .collect()
}

/// The name of a code as it stands in the document.
#[must_use]
pub fn code_name(code: Code) -> String {
    serde_json::to_value(code).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Code {
    /// How bad it is; `None` for `unknown`.
    #[must_use]
    pub const fn severity(self) -> Option<Severity> {
        Some(match self {
            Self::NotRunning
            | Self::HotSpin
            | Self::LoopBlockedOnCpu
            | Self::LoopBlockedOffCpu
            | Self::Deadlock
            | Self::StalledInProcess
            | Self::ArbiterFault => Severity::Critical,
            Self::Booting
            | Self::CgroupThrottled
            | Self::CpuStarved
            | Self::GilContention
            | Self::LockContention
            | Self::WaitingDisk
            | Self::WaitingUpstream
            | Self::WaitingClient
            | Self::SaturatedProductive => Severity::Warning,
            Self::HealthyBusy | Self::Idle | Self::ArbiterNormal => Severity::Info,
            Self::Unknown => return None,
        })
    }
}
