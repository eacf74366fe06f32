//! One summary of many reports: verdicts on each host and over all, the worst, and what several hosts have in common.
//!
//! The document, and [`Gatherer`], which takes one report after the other and keeps counts and a line for each, so that
//! hundreds fit into little memory; [`text`] and [`markdown`] show it. Pure, and it judges no process again.

mod gather;
pub mod markdown;
mod tally;
#[cfg(test)]
mod tests;
pub mod text;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Exit, Tool};
use crate::diagnose::model::Severity;

pub use gather::Gatherer;

/// One summary of many reports.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Fleet {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who summed up.
    pub tool: Tool,
    /// Reports that were read.
    pub reports: u64,
    /// Hosts that they are of.
    pub hosts: u64,
    /// Processes that serve, on all of them.
    pub workers: u64,
    /// How many servers had which verdict, the worst first.
    pub servers: Vec<Count>,
    /// How many processes had which verdict, the worst first.
    pub processes: Vec<Count>,
    /// Each report in a line, the worst first.
    pub looks: Vec<Look>,
    /// Backends that processes on several hosts are held up by, the most blamed first.
    pub upstreams: Vec<Shared>,
    /// Code that processes on several hosts are held up in, the most blamed first.
    pub functions: Vec<Shared>,
    /// Which versions run where.
    pub versions: Vec<Version>,
    /// What was not seen, the most frequent first.
    pub blind_spots: Vec<BlindSpots>,
    /// What could not be taken in.
    pub missing: Vec<Missing>,
    /// Names that were too many to be counted apart.
    pub left_out: u64,
    /// The exit code and its reason.
    pub exit: Exit,
}

/// How often a verdict was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Count {
    /// `arbiter`, `worker` or `process`; `null` for servers.
    pub role: Option<String>,
    /// The verdict.
    pub code: String,
    /// How bad it is; `null` when not known.
    pub severity: Option<Severity>,
    /// How often.
    pub count: u64,
    /// On how many hosts.
    pub hosts: u64,
}

/// A report in a line.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Look {
    /// Where it was read from.
    pub source: String,
    /// The machine.
    pub hostname: String,
    /// Start of the look, RFC 3339 in UTC.
    pub started_at: String,
    /// What kind of server.
    pub kind: String,
    /// Class of its workers.
    pub worker_class: Option<String>,
    /// Verdict of the server.
    pub code: String,
    /// How bad it is; `null` when not known.
    pub severity: Option<Severity>,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence.
    pub summary: String,
    /// How many processes serve.
    pub workers: u64,
    /// What is wrong with how many of them, the worst first.
    pub troubles: Vec<Count>,
}

/// A backend or a function that several hosts blame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Shared {
    /// Which.
    pub what: String,
    /// Processes that are held up by it.
    pub processes: u64,
    /// Hosts on which they are.
    pub hosts: u64,
    /// Some of these hosts.
    pub hostnames: Vec<String>,
    /// The verdicts of these processes.
    pub codes: Vec<String>,
}

/// How many hosts have a version of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Version {
    /// Of what: `stallscope`, `rules`, `gunicorn`, `cpython`, `kernel`.
    pub of: String,
    /// Which.
    pub version: String,
    /// Hosts that have it.
    pub hosts: u64,
}

/// Something that was not seen, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlindSpots {
    /// What; `N` stands for the number of a process.
    pub what: String,
    /// Why.
    pub why: String,
    /// What would help.
    pub remedy: String,
    /// How often.
    pub count: u64,
    /// On how many hosts.
    pub hosts: u64,
}

/// A document that is no report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Missing {
    /// Where it was read from.
    pub source: String,
    /// What kind of error: that of the look, or that of reading its report.
    pub kind: String,
    /// The one cause.
    pub cause: String,
}
