//! Two reports side by side: what changed between them, and whether it became worse.
//!
//! The document and how it comes about ([`compare()`]); [`text`] and [`markdown`] show it. Pure: it takes two
//! reports that were read ([`super::received`]) and judges no process again. Processes are other ones after a restart, so
//! they are counted by role and verdict; only where pid and start time say that it is the same one is it followed.

mod build;
pub mod markdown;
#[cfg(test)]
mod tests;
pub mod text;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Exit, Tool};
use crate::diagnose::model::Severity;

pub use build::{Named, compare};

/// Two reports side by side.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who compared.
    pub tool: Tool,
    /// The first report.
    pub before: Side,
    /// The second report.
    pub after: Side,
    /// What became of it.
    pub change: Change,
    /// Why, in a sentence each.
    pub because: Vec<String>,
    /// How many processes had which verdict, the worst first.
    pub verdicts: Vec<VerdictCount>,
    /// Processes that are the same in both reports and got another verdict.
    pub same_processes: Vec<Followed>,
    /// Where the time of a worker went, the mean over all of them.
    pub time_budget: Vec<Measure>,
    /// What else was measured.
    pub measures: Vec<Measure>,
    /// What is wrong only in the second report, the worst first.
    pub new: Vec<Trouble>,
    /// What was wrong only in the first report, the worst first.
    pub gone: Vec<Trouble>,
    /// What is wrong in both.
    pub stayed: Vec<Trouble>,
    /// What the load was answered with; `null` unless both sides were loaded by this program.
    pub load: Option<Loads>,
    /// What makes the two hard to compare.
    pub caution: Vec<String>,
    /// The exit code and its reason.
    pub exit: Exit,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The server's verdict is more severe, or more workers are critical.
    Worse,
    /// The server's verdict is less severe, or fewer workers are critical.
    Better,
    /// Neither.
    Same,
    /// One of the two verdicts of the server is not known.
    Undecided,
}

/// One of the two reports.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Side {
    /// Where it was read from.
    pub source: String,
    /// The machine.
    pub hostname: String,
    /// Start of the look, RFC 3339 in UTC.
    pub started_at: String,
    /// Length of the look.
    pub duration_ms: u64,
    /// What kind of server.
    pub kind: String,
    /// Its version.
    pub version: Option<String>,
    /// Class of its workers.
    pub worker_class: Option<String>,
    /// How many processes serve.
    pub workers: u64,
    /// How many of them are critical.
    pub critical_workers: u64,
    /// Verdict of the server.
    pub code: String,
    /// How bad it is, in the report's own word; `null` when not known.
    pub severity: Option<String>,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence.
    pub summary: String,
}

/// How many processes of a role had a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerdictCount {
    /// `arbiter`, `worker` or `process`.
    pub role: String,
    /// The verdict.
    pub code: String,
    /// How bad it is, in the report's own word.
    pub severity: Option<String>,
    /// In the first report.
    pub before: u64,
    /// In the second report.
    pub after: u64,
}

/// A process that is the same in both reports and got another verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Followed {
    /// Its process id.
    pub pid: i32,
    /// What it is for.
    pub role: String,
    /// Its verdict in the first report.
    pub before: String,
    /// Its verdict in the second report.
    pub after: String,
    /// How bad that is, in the report's own word.
    pub severity: Option<String>,
}

/// A number in both reports; `null` where a report does not have it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Measure {
    /// What it is: `on_cpu`, `loop_longest_gap_ms`, …
    pub name: String,
    /// What it counts.
    pub unit: Unit,
    /// In the first report.
    pub before: Option<f64>,
    /// In the second report.
    pub after: Option<f64>,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A part of the whole, 0 to 1.
    Share,
    /// Something countable.
    Count,
    /// Times per second.
    PerSecond,
    /// Milliseconds.
    Ms,
}

/// Something that is wrong in at least one of the reports: a verdict with its culprit, or a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Trouble {
    /// The verdict or the finding.
    pub code: String,
    /// The kind of cause.
    pub subcause: Option<String>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// Who or what is to blame, in a few words.
    pub culprit: Option<String>,
    /// Processes in the first report.
    pub before: u64,
    /// Processes in the second report.
    pub after: u64,
}

/// What the same load was answered with.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Loads {
    /// How it loaded, in words.
    pub plan: String,
    /// The first server.
    pub before: Load,
    /// The second server.
    pub after: Load,
}

/// Answers to a load.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Load {
    /// Answers in all.
    pub answers: u64,
    /// Answers per second.
    pub per_second: f64,
    /// Median time to answer; `null` when nobody was answered.
    pub p50_ms: Option<f64>,
    /// 99th percentile of it; `null` when nobody was answered.
    pub p99_ms: Option<f64>,
}
