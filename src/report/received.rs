//! A report that somebody else wrote, perhaps a newer version of this program: read with an open mind.
//!
//! Takes a stream, gives what a comparison or a summary needs of them. Codes are words, not enumerations, fields that are
//! missing are empty, fields that are not known are passed over: a reader must accept both. What is no report, was cut
//! short or has a newer major version is refused with the one reason. Pure, and the bytes are not trusted.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use super::model::Report;
use crate::diagnose::model::{Culprit, Severity};
use crate::error::{Error, ErrorKind, Result};

/// Major version of the documents that are understood.
const MAJOR: u64 = 1;

/// The most that is read of one document, unpacked.
const MOST_BYTES: u64 = 64 << 20;

/// What stands in a stream of documents.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A report.
    Report(Box<Received>),
    /// What a look that failed said instead.
    Error(ReceivedError),
}

/// A report, as much of it as others need.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Received {
    /// Who looked and judged.
    pub tool: ReceivedTool,
    /// The machine.
    pub host: ReceivedHost,
    /// The server.
    pub server: ReceivedServer,
    /// How the look went.
    pub collection: ReceivedCollection,
    /// Each process.
    pub processes: Vec<ReceivedProcess>,
    /// What was not seen.
    pub blind_spots: Vec<ReceivedBlindSpot>,
}

/// Who looked and judged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedTool {
    /// Version of the tool.
    pub version: String,
    /// Version of the rules.
    pub rules_version: String,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedHost {
    /// Node name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Online processors.
    pub cpus: u32,
    /// Boot identity.
    pub boot_id: String,
}

/// The server and its verdict.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedServer {
    /// Its kind.
    pub kind: String,
    /// Its version.
    pub version: Option<String>,
    /// Class of its workers.
    pub worker_class: Option<String>,
    /// Connections that wait to be accepted.
    pub accept_queue: ReceivedQueue,
    /// Its verdict.
    pub verdict: ReceivedVerdict,
}

/// Connections that wait to be accepted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedQueue {
    /// The most at once.
    pub max: Option<u64>,
    /// Share of readings in which somebody waited.
    pub share_nonzero: Option<f64>,
}

/// How the look went.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedCollection {
    /// Start, RFC 3339.
    pub started_at: String,
    /// Length of the window.
    pub duration_ms: u64,
    /// The most that the look was allowed to do.
    pub level: String,
}

/// A verdict, of a server or of a process.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedVerdict {
    /// The verdict.
    pub code: String,
    /// The kind of cause.
    pub subcause: Option<String>,
    /// How bad it is, in the writer's word.
    pub severity: Option<String>,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence.
    pub summary: String,
    /// Who or what is to blame.
    pub culprit: Option<Culprit>,
}

impl ReceivedVerdict {
    /// How bad it is; `None` also where the word is not known here.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        severity(self.severity.as_deref())
    }
}

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedProcess {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time_ticks: u64,
    /// What it is for.
    pub role: String,
    /// How it does its work.
    pub worker_class: Option<String>,
    /// Its interpreter.
    pub python: Option<ReceivedPython>,
    /// Its verdict.
    pub verdict: ReceivedVerdict,
    /// Where its time went.
    pub time_budget: BTreeMap<String, ReceivedShare>,
    /// Its event loop.
    #[serde(rename = "loop")]
    pub event_loop: ReceivedLoop,
    /// What went over its sockets.
    pub connections: Option<ReceivedConnections>,
    /// Secondary findings.
    pub findings: Vec<ReceivedFinding>,
}

impl ReceivedProcess {
    /// Whether it serves requests: everybody but the one who supervises.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.role != "arbiter"
    }
}

/// An interpreter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedPython {
    /// Its version.
    pub version: String,
    /// Who made it.
    pub implementation: String,
}

/// A share of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedShare {
    /// 0 to 1.
    pub share: f64,
}

/// An event loop.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedLoop {
    /// Turns per second.
    pub turns_per_s: Option<f64>,
    /// Longest time in which it was not seen to turn.
    pub longest_gap_ms: Option<u64>,
}

/// What went over the sockets of a process.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedConnections {
    /// Requests in flight.
    pub in_flight: Option<u64>,
    /// Age of the oldest.
    pub oldest_ms: Option<u64>,
}

/// A secondary finding.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReceivedFinding {
    /// Its identifier.
    pub code: String,
    /// How bad it is, in the writer's word.
    pub severity: Option<String>,
    /// One sentence.
    pub text: String,
}

/// What was not seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReceivedBlindSpot {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// What would help.
    pub remedy: String,
}

/// What a look that failed said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReceivedError {
    /// What kind of error.
    pub kind: String,
    /// What failed.
    pub message: String,
    /// Why.
    pub cause: String,
}

/// A severity by its word.
#[must_use]
pub fn severity(word: Option<&str>) -> Option<Severity> {
    match word? {
        "info" => Some(Severity::Info),
        "warning" => Some(Severity::Warning),
        "critical" => Some(Severity::Critical),
        _ => None,
    }
}

/// One of our own reports as if it had been received.
pub fn own(report: &Report) -> Result<Received> {
    let value = serde_json::to_value(report).map_err(|error| not_one("this look", &error.to_string()))?;
    report_of(value, "this look")
}

/// The documents of a stream, one behind the other; `name` is what errors call it. However many there are, one at a time is
/// kept. Behind what is no JSON nothing can be read; behind a document that is no report, the next one can.
pub fn documents(input: impl Read, name: &str) -> impl Iterator<Item = Result<Document>> {
    documents_within(MOST_BYTES, input, name)
}

fn documents_within(most: u64, input: impl Read, name: &str) -> impl Iterator<Item = Result<Document>> {
    let left = Rc::new(Cell::new(most));
    let input = BufReader::new(Bounded { input, left: Rc::clone(&left) });
    let mut values = serde_json::Deserializer::from_reader(input).into_iter::<Value>();
    let mut empty = true;
    std::iter::from_fn(move || {
        let value = values.next();
        left.set(most);
        match value {
            None if std::mem::take(&mut empty) => Some(Err(bad(name, "it is empty"))),
            value => {
                empty = false;
                let value = value?.map_err(|error| broken(name, error));
                Some(value.and_then(|value| document(value, name)))
            }
        }
    })
}

/// A stream of which only so much is read.
struct Bounded<R> {
    input: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        let left = self.left.get().checked_sub(length as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.left.set(left);
        Ok(length)
    }
}

/// The one report of a stream.
pub fn parse_one(input: impl Read, name: &str) -> Result<Received> {
    let mut documents = documents(input, name);
    match (documents.next().transpose()?, documents.next().transpose()?) {
        (Some(Document::Report(report)), None) => Ok(*report),
        (Some(Document::Error(error)), None) => {
            Err(bad(name, "the look failed, and it holds the error instead of a report")
                .value(format!("{}: {}", error.message, error.cause))
                .remedy("look again: stallscope PID --format json -o report.json"))
        }
        _ => Err(bad(name, "it holds more than one document")
            .remedy("one report for each side")
            .remedy("stallscope merge, for a summary of many")),
    }
}

/// A stream that cannot be read; one that was packed and ends too early is no report.
#[must_use]
pub fn cannot_read(name: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            let cause = "it ends in the middle: it was cut short";
            Error::new(ErrorKind::BadReport, no_report(name), cause).remedy("copy it again")
        }
        io::ErrorKind::FileTooLarge => {
            bad(name, &format!("it is longer than {} MiB, which no report is", MOST_BYTES >> 20))
        }
        kind => {
            // A pattern reaches us as it was typed where the shell has nothing to put in its place.
            let pattern = kind == io::ErrorKind::NotFound && name.contains('*');
            let cause = if pattern { "no file fits this pattern".into() } else { error.to_string() };
            Error::new(ErrorKind::Io, format!("cannot read {name}"), cause)
        }
    }
}

fn document(value: Value, name: &str) -> Result<Document> {
    let Some(version) = value.get("schema_version").and_then(Value::as_str) else {
        return Err(not_one(name, "it has no schema_version"));
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    match major {
        Some(MAJOR) => {}
        Some(newer) if newer > MAJOR => {
            return Err(bad(name, "it was written by a newer version, in a form that this one cannot know")
                .value(format!("schema_version={version}, understood: {MAJOR}"))
                .remedy("use the stallscope that wrote it, or a newer one"));
        }
        _ => return Err(not_one(name, &format!("schema_version={version}"))),
    }
    if let Some(error) = value.get("error") {
        let error = ReceivedError::deserialize(error).map_err(|e| not_one(name, &e.to_string()))?;
        return Ok(Document::Error(error));
    }
    report_of(value, name).map(|report| Document::Report(Box::new(report)))
}

fn report_of(value: Value, name: &str) -> Result<Received> {
    if value.get("type").is_some() {
        return Err(bad(name, "these are the lines of a report, not the report")
            .value("--format ndjson")
            .remedy("stallscope PID --format json"));
    }
    let code = value.pointer("/server/verdict/code").and_then(Value::as_str);
    if code.is_none() || !value.get("processes").is_some_and(Value::is_array) {
        return Err(not_one(name, "no verdict of a server stands in it"));
    }
    serde_json::from_value(value).map_err(|error| not_one(name, &error.to_string()))
}

fn broken(name: &str, error: serde_json::Error) -> Error {
    if error.is_io() {
        cannot_read(name, &error.into())
    } else if error.is_eof() {
        bad(name, "it ends in the middle: it was cut short").value(format!(
            "line {} column {}",
            error.line(),
            error.column()
        ))
    } else {
        bad(name, "it is neither JSON nor a capture").value(error.to_string())
    }
}

fn not_one(name: &str, value: &str) -> Error {
    bad(name, "it is no report of stallscope").value(value)
}

fn no_report(name: &str) -> String {
    format!("{name} is no report that can be read")
}

fn bad(name: &str, cause: &str) -> Error {
    let error = Error::new(ErrorKind::BadReport, no_report(name), cause);
    if cause.starts_with("it is") || cause.starts_with("it ends") {
        error.remedy("stallscope PID --format json -o report.json")
    } else {
        error
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
