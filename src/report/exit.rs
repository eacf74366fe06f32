//! The exit code: what a script learns without reading a word.
//!
//! Pure: a judgement, what the user calls a failure, and the signal that ended the look, if one did.
//! Codes 2 and 3 for errors before a judgement come from [`crate::error::ErrorKind::exit_code`].

use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::{Error as WordError, StrDeserializer};

use super::model::Exit;
use super::word;
use crate::diagnose::model::{Code, Diagnosis, ServerCode, Severity};
use crate::error::Error;

/// The decision on the exit code, as it stands in the document.
pub type ExitDecision = Exit;

/// Nothing at or above the limit.
const FINE: u8 = 0;
/// A finding at or above the limit.
const FOUND: u8 = 1;
/// No verdict.
const NO_VERDICT: u8 = 3;
/// Every verdict is `unknown`.
const UNDECIDED: u8 = 4;

/// Which findings make the exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailOn {
    /// This severity or a worse one.
    Severity(Severity),
    /// One of these verdicts, of a process or of the server.
    Codes(Vec<String>),
    /// None.
    Never,
}

impl FailOn {
    /// Whether a verdict or finding of this code and severity is to fail.
    #[must_use]
    pub fn counts(&self, code: &str, severity: Option<Severity>) -> bool {
        match self {
            Self::Severity(limit) => severity.is_some_and(|severity| severity >= *limit),
            Self::Codes(codes) => codes.iter().any(|wanted| wanted == code),
            Self::Never => false,
        }
    }
}

impl Default for FailOn {
    fn default() -> Self {
        Self::Severity(Severity::Critical)
    }
}

/// Why a text names no `--fail-on`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither `warning`, `critical`, `never` nor a verdict such as `hot_spin`")]
pub struct UnknownFailOn(String);

impl FromStr for FailOn {
    type Err = UnknownFailOn;

    /// A misspelt verdict is refused: it would never fail, which a pipeline would take for health.
    fn from_str(text: &str) -> Result<Self, UnknownFailOn> {
        match text {
            "never" => Ok(Self::Never),
            "warning" => Ok(Self::Severity(Severity::Warning)),
            "critical" => Ok(Self::Severity(Severity::Critical)),
            list => list
                .split(',')
                .map(str::trim)
                .map(|code| {
                    is_verdict(code).then(|| code.to_owned()).ok_or_else(|| UnknownFailOn(code.into()))
                })
                .collect::<Result<_, _>>()
                .map(Self::Codes),
        }
    }
}

fn is_verdict(text: &str) -> bool {
    Code::deserialize(StrDeserializer::<WordError>::new(text)).is_ok()
        || ServerCode::deserialize(StrDeserializer::<WordError>::new(text)).is_ok()
}

/// A signal that ended the look early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    const fn code_and_name(self) -> (u8, &'static str) {
        match self {
            Self::Interrupt => (130, "SIGINT"),
            Self::Terminate => (143, "SIGTERM"),
        }
    }
}

/// Decides on the exit code. An interrupted look tells so first: its absence of findings proves nothing.
#[must_use]
pub fn decide(diagnosis: &Diagnosis, fail_on: &FailOn, interrupted: Option<Signal>) -> ExitDecision {
    if let Some(signal) = interrupted {
        let (code, name) = signal.code_and_name();
        return exit(code, format!("interrupted by {name}; what was gathered until then is reported"));
    }
    if diagnosis.processes.is_empty() {
        return exit(NO_VERDICT, "no verdict: no process could be sampled".into());
    }
    if let Some(finding) = first_failure(diagnosis, fail_on) {
        return exit(FOUND, finding);
    }
    if undecided(diagnosis) {
        return exit(
            UNDECIDED,
            "every verdict is unknown: the evidence is insufficient or conflicting".into(),
        );
    }
    exit(FINE, nothing_found(fail_on))
}

/// The decision where the capture that was asked for could not be kept: the report is whole, but it is no success.
#[must_use]
pub fn without_capture(decision: &ExitDecision, error: &Error) -> ExitDecision {
    let code = if decision.code == FINE { NO_VERDICT } else { decision.code };
    exit(code, format!("{}; the capture is incomplete: {}", decision.reason, error.cause))
}

fn exit(code: u8, reason: String) -> ExitDecision {
    ExitDecision { code, reason }
}

fn nothing_found(fail_on: &FailOn) -> String {
    match fail_on {
        FailOn::Severity(severity) => format!("nothing at or above {}", word(severity)),
        FailOn::Codes(codes) => format!("no verdict is {}", codes.join(" or ")),
        FailOn::Never => "looked; no finding is to fail (--fail-on never)".into(),
    }
}

/// The first finding that is to fail: processes before the server, because they name the culprit.
fn first_failure(diagnosis: &Diagnosis, fail_on: &FailOn) -> Option<String> {
    let of_processes = diagnosis.processes.iter().flat_map(|process| {
        let who = format!("pid {}", process.pid);
        let primary = (who.clone(), word(&process.verdict.code), process.verdict.severity);
        let secondary = process
            .findings
            .iter()
            .map(move |finding| (who.clone(), finding.code.clone(), Some(finding.severity)));
        std::iter::once(primary).chain(secondary)
    });
    let server = &diagnosis.server.verdict;
    let of_server = std::iter::once(("the server".to_owned(), word(&server.code), server.severity));
    let (who, code, severity) =
        of_processes.chain(of_server).find(|(_, code, severity)| fail_on.counts(code, *severity))?;
    Some(match (fail_on, severity) {
        (FailOn::Severity(_), Some(severity)) => format!("{who} is {code}, which is {}", word(&severity)),
        _ => format!("{who} is {code}"),
    })
}

/// Whether nothing is known of those who serve. An arbiter that does its rounds says nothing about them.
fn undecided(diagnosis: &Diagnosis) -> bool {
    let mut serving = diagnosis
        .processes
        .iter()
        .map(|p| p.verdict.code)
        .filter(|code| *code != Code::ArbiterNormal)
        .peekable();
    if serving.peek().is_none() {
        return diagnosis.server.verdict.code == ServerCode::Unknown;
    }
    serving.all(|code| code == Code::Unknown)
}
