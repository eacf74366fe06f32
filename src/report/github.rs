//! The report as GitHub workflow commands: an annotation for each complaint, on the line of the culprit where
//! that line lies in the checked-out sources, and a notice that sums up.
//!
//! Takes a finished document and the root of the sources, gives text. GitHub shows ten annotations of a kind for a
//! step, so the tenth sums up what would not be shown. Every foreign text is made visible first and then escaped
//! as the toolkit does, so that it can neither end a command nor begin one.

use super::complaints::{Complaint, complaints, source};
use super::model::Report;
use super::sanitize::{Charset, PROSE_COLUMNS, escape};
use super::word;
use super::words::{Paths, band, culprit, loud};
use crate::diagnose::model::Severity;
use crate::error::Error;

/// Annotations of a kind that GitHub shows for a step.
const SHOWN: usize = 10;

/// Pieces of evidence in an annotation; the whole list is in the other formats.
const EVIDENCE: usize = 4;

/// The kinds of annotation, the loudest first.
const KINDS: [&str; 2] = ["error", "warning"];

/// The report as workflow commands, a line each. `root` is the folder of the checked-out sources.
#[must_use]
pub fn render(report: &Report, root: Option<&str>) -> String {
    let all = complaints(report);
    let mut text = String::new();
    for kind in KINDS {
        let of_kind: Vec<&Complaint<'_>> = all.iter().filter(|c| kind_of(c.severity) == kind).collect();
        let shown = if of_kind.len() > SHOWN { SHOWN - 1 } else { of_kind.len() };
        let (first, rest) = of_kind.split_at(shown);
        for complaint in first {
            text.push_str(&annotation(kind, complaint, root));
        }
        if !rest.is_empty() {
            let names: Vec<String> =
                rest.iter().map(|complaint| format!("{}: {}", complaint.name(), complaint.whose())).collect();
            let title = format!("and {} more", rest.len());
            text.push_str(&command(kind, &[("title", &title)], &lines(&names)));
        }
    }
    text.push_str(&summary(report));
    text
}

/// An error as a workflow command.
#[must_use]
pub fn error(error: &Error) -> String {
    let shown = error.value.as_ref().map_or_else(String::new, |value| format!(" ({value})"));
    let mut said = vec![error.message.clone(), format!("cause: {}{shown}", error.cause)];
    said.extend(error.remedies.iter().map(|remedy| format!("fix: {remedy}")));
    command("error", &[("title", "stallscope: no verdict")], &lines(&said))
}

fn kind_of(severity: Option<Severity>) -> &'static str {
    if severity == Some(Severity::Critical) { "error" } else { "warning" }
}

fn annotation(kind: &str, complaint: &Complaint<'_>, root: Option<&str>) -> String {
    let title = format!("{}: {}", complaint.name(), complaint.whose());
    let place = complaint.culprit.and_then(|culprit| source(culprit, root));
    let line = place.as_ref().and_then(|(_, line)| line.as_ref()).map(ToString::to_string);
    let mut properties = Vec::new();
    if let Some((file, _)) = &place {
        properties.push(("file", file.as_str()));
    }
    if let Some(line) = &line {
        properties.push(("line", line.as_str()));
    }
    properties.push(("title", &title));
    let mut said = vec![complaint.summary.to_owned()];
    said.extend(complaint.culprit.map(|found| format!("in {}", culprit(found, Paths::Whole))));
    let evidence = complaint.evidence().iter().take(EVIDENCE);
    said.extend(evidence.map(|item| format!("{} {}: {}", item.id, item.source, item.observed)));
    said.extend(complaint.advice().first().map(|advice| format!("What to do: {}", advice.change)));
    command(kind, &properties, &lines(&said))
}

fn summary(report: &Report) -> String {
    let verdict = &report.server.verdict;
    let title = format!("stallscope: {} {}", loud(verdict.severity), word(&verdict.code));
    let mut said = vec![verdict.summary.clone()];
    said.extend(report.processes.iter().map(|process| {
        format!(
            "{} {}: {} ({} confidence)",
            word(&process.role),
            process.pid,
            word(&process.verdict.code),
            band(process.verdict.confidence)
        )
    }));
    said.push(format!("exit code {}: {}", report.exit.code, report.exit.reason));
    command("notice", &[("title", &title)], &lines(&said))
}

/// Texts made visible, a line each. What they bring of line ends themselves is visible and ends nothing.
fn lines(texts: &[String]) -> String {
    let visible: Vec<String> =
        texts.iter().map(|text| escape(text, Charset::Unicode, PROSE_COLUMNS)).collect();
    visible.join("\n")
}

fn command(name: &str, properties: &[(&str, &str)], data: &str) -> String {
    let properties: Vec<String> = properties
        .iter()
        .map(|(key, value)| {
            format!("{key}={}", escape_property(&escape(value, Charset::Unicode, PROSE_COLUMNS)))
        })
        .collect();
    format!("::{name} {}::{}\n", properties.join(","), escape_data(data))
}

/// What the toolkit does to the message of a command.
fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// What the toolkit does to a property of a command.
fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_properties_are_escaped_as_the_toolkit_does() {
        assert_eq!(escape_data("50 %\r\n::error::x"), "50 %25%0D%0A::error::x");
        assert_eq!(escape_property("a,b=c::d%\n"), "a%2Cb=c%3A%3Ad%25%0A");
    }

    #[test]
    fn an_error_is_an_annotation_too() {
        let failed =
            Error::new(crate::error::ErrorKind::Gone, "gone\n::error::x", "it ended").remedy("again");
        assert_eq!(
            error(&failed),
            "::error title=stallscope%3A no verdict::gone\\x0a::error::x%0Acause: it ended%0Afix: again\n"
        );
    }
}
