//! The report as `JUnit` XML, in the de-facto form that GitLab, Jenkins and GitHub's test reporters read.
//!
//! A suite for the server; in it a case for the server's verdict, one for each process's verdict and one for each
//! finding beside it. A case fails where it counts for `--fail-on`, and is skipped where nothing is known, so that a
//! failed case and exit code 1 come together. Workers are numbered in the order of their pids, which stays the same
//! from run to run while pids do not; the pid stands in the text.
//! Takes a finished document, gives text; every foreign text is made visible and escaped.

use std::fmt::Write as _;

use super::complaints::{pid, source};
use super::exit::FailOn;
use super::model::{Process, Report};
use super::sanitize::{Charset, PROSE_COLUMNS, escape};
use super::word;
use super::words::{Paths, band, culprit, loud, number};
use crate::capture::model::Role;
use crate::diagnose::model::{Culprit, Evidence, Severity};

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// A case, before it is written.
struct Case {
    class: String,
    name: String,
    outcome: Outcome,
    severity: Option<Severity>,
    summary: String,
    place: Option<(String, Option<u32>)>,
    details: String,
}

/// The report as `JUnit` XML. What counts for `fail_on` is a failure; `root` is the folder of the sources.
#[must_use]
pub fn render(report: &Report, fail_on: &FailOn, root: Option<&str>) -> String {
    let cases = cases(report, fail_on, root);
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    let seconds = report.collection.duration_ms as f64 / 1_000.0;
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\"",
        cases.len(),
        count(Outcome::Failed),
        count(Outcome::Skipped)
    );
    let server = &report.server;
    let suite = format!("{} {}", word(&server.kind), server.listen.join(" "));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"stallscope\" {totals}>");
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" hostname=\"{}\" timestamp=\"{}\" {totals}>\n    <properties>",
        attribute(suite.trim_end()),
        attribute(&report.host.hostname),
        attribute(&report.collection.started_at)
    );
    for (name, value) in properties(report) {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", attribute(&value));
    }
    xml.push_str("    </properties>\n");
    for case in &cases {
        write_case(&mut xml, case, seconds);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn properties(report: &Report) -> Vec<(&'static str, String)> {
    vec![
        ("stallscope.version", report.tool.version.clone()),
        ("stallscope.rules_version", report.tool.rules_version.clone()),
        ("target.pid", report.target.pid.to_string()),
        ("target.selected_by", report.target.selected_by.clone()),
        ("exit.code", report.exit.code.to_string()),
        ("exit.reason", report.exit.reason.clone()),
    ]
}

fn cases(report: &Report, fail_on: &FailOn, root: Option<&str>) -> Vec<Case> {
    let server = &report.server.verdict;
    let code = word(&server.code);
    let mut cases = vec![Case {
        class: "server".into(),
        outcome: outcome(fail_on, &code, server.severity, true),
        name: code,
        severity: server.severity,
        summary: server.summary.clone(),
        place: None,
        details: not_seen(report),
    }];
    let mut numbers = [0_usize; 2];
    for process in &report.processes {
        let class = match process.role {
            Role::Arbiter => "arbiter".to_owned(),
            role => {
                let number = &mut numbers[usize::from(role == Role::Worker)];
                *number += 1;
                format!("{} {number}", word(&role))
            }
        };
        let verdict = &process.verdict;
        let code = word(&verdict.code);
        cases.push(Case {
            class: class.clone(),
            outcome: outcome(fail_on, &code, verdict.severity, true),
            name: code,
            severity: verdict.severity,
            summary: format!("pid {}: {}", pid(process), verdict.summary),
            place: verdict.culprit.as_ref().and_then(|culprit| source(culprit, root)),
            details: details(process, verdict.culprit.as_ref()),
        });
        for finding in &process.findings {
            cases.push(Case {
                class: class.clone(),
                outcome: outcome(fail_on, &finding.code, Some(finding.severity), false),
                name: finding.code.clone(),
                severity: Some(finding.severity),
                summary: format!("pid {}: {}", pid(process), finding.text),
                place: None,
                details: String::new(),
            });
        }
    }
    cases
}

fn outcome(fail_on: &FailOn, code: &str, severity: Option<Severity>, is_verdict: bool) -> Outcome {
    if fail_on.counts(code, severity) {
        Outcome::Failed
    } else if is_verdict && severity.is_none() {
        Outcome::Skipped
    } else {
        Outcome::Passed
    }
}

/// What a verdict rests on and what to do, as a person reads it in the list of tests.
fn details(process: &Process, found: Option<&Culprit>) -> String {
    let verdict = &process.verdict;
    let mut lines = vec![format!(
        "{} {}, confidence {} ({:.2}), same verdict in {} sub-windows",
        loud(verdict.severity),
        word(&verdict.code),
        band(verdict.confidence),
        verdict.confidence,
        verdict.sub_windows_agree
    )];
    lines.extend(verdict.subcause.as_ref().map(|subcause| format!("Cause: {subcause}")));
    lines.extend(found.map(|found| format!("In: {}", culprit(found, Paths::Whole))));
    lines.extend(process.evidence.iter().map(|item| observed("Evidence", item)));
    lines.extend(process.counter_evidence.iter().map(|item| observed("Against it", item)));
    for advice in &process.advice {
        lines.push(format!("What to do, {}: {}", advice.id, advice.change));
        lines.push(format!("  then: {}; risk: {}", advice.expected_effect, advice.risk));
    }
    visible_lines(&lines)
}

fn observed(title: &str, item: &Evidence) -> String {
    let measured = match (item.value, &item.op, item.threshold) {
        (Some(value), Some(op), Some(threshold)) => {
            format!(" ({} {op} {})", number(value), number(threshold))
        }
        _ => String::new(),
    };
    format!("{title} {} {}: {}{measured}", item.id, item.source, item.observed)
}

fn not_seen(report: &Report) -> String {
    let lines: Vec<String> = report
        .blind_spots
        .iter()
        .map(|spot| format!("Not seen: {}: {}. What helps: {}.", spot.what, spot.why, spot.remedy))
        .collect();
    visible_lines(&lines)
}

/// Lines of which none can pretend to be two.
fn visible_lines(lines: &[String]) -> String {
    lines.iter().map(|line| visible(line) + "\n").collect()
}

fn write_case(xml: &mut String, case: &Case, seconds: f64) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"",
        attribute(&case.class),
        attribute(&case.name)
    );
    if let Some((file, line)) = &case.place {
        let _ = write!(xml, " file=\"{}\"", attribute(file));
        if let Some(line) = line {
            let _ = write!(xml, " line=\"{line}\"");
        }
    }
    xml.push_str(">\n");
    match case.outcome {
        Outcome::Passed => {}
        Outcome::Failed => {
            let _ = writeln!(
                xml,
                "      <failure message=\"{}\" type=\"{}\">{}\n{}</failure>",
                attribute(&case.summary),
                case.severity.map_or_else(|| "unknown".into(), |severity| word(&severity)),
                markup(&visible(&case.summary)),
                markup(&case.details)
            );
        }
        Outcome::Skipped => {
            let _ = writeln!(xml, "      <skipped message=\"{}\"/>", attribute(&case.summary));
        }
    }
    let said = format!("{}\n{}", visible(&case.summary), case.details);
    let _ = writeln!(xml, "      <system-out>{}</system-out>\n    </testcase>", markup(&said));
}

fn visible(text: &str) -> String {
    escape(text, Charset::Unicode, PROSE_COLUMNS)
}

/// A foreign text as the value of an attribute.
fn attribute(text: &str) -> String {
    markup(&visible(text))
}

/// A text that is visible already, between tags or in quotes. XML has no way to write some characters at all.
fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_element() {
        assert_eq!(markup(r#"]]><a b="c'">&"#), "]]&gt;&lt;a b=&quot;c&apos;&quot;&gt;&amp;");
    }

    #[test]
    fn what_xml_cannot_say_is_visible() {
        assert_eq!(attribute("a\0b\u{b}c\u{fffe}d\u{ffff}e"), r"a\x00b\x0bc\u{fffe}d\u{ffff}e");
    }
}
