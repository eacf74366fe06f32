//! The report as Markdown: a comment on a pull request, the summary of a step, a page of a wiki.
//!
//! The verdict, a table of the processes, and a section for each complaint with evidence and advice. Takes a finished
//! document, gives text. Names stand in code spans; sentences have everything escaped that Markdown, HTML or a forge
//! would act on: tables, links, mentions of people, references to issues, formulas.

use std::fmt::Write as _;

use super::complaints::{Complaint, complaints, pid};
use super::model::{Exit, Report, Tool};
use super::sanitize::{Charset, PROSE_COLUMNS, escape};
use super::word;
use super::words::{Paths, band, count, culprit, loud, number, percent};
use crate::diagnose::model::{Evidence, Severity};

/// What is written behind a character that a forge would act on: it is not shown, and it parts what it stands in.
const PART: &str = "<!-- -->";

/// The report as Markdown.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    heading(&mut text, report);
    table(&mut text, report);
    for complaint in complaints(report) {
        section(&mut text, &complaint);
    }
    blind_spots(&mut text, report);
    let burst = &report.collection.burst;
    let harm = if burst.used { "its threads were stopped for moments" } else { "it was never stopped" };
    let _ = writeln!(
        text,
        "\n<sub>stallscope {}, rules {}; looked for {:.1} s, {harm}; exit code {}: {}</sub>",
        prose(&report.tool.version),
        prose(&report.tool.rules_version),
        report.collection.duration_ms as f64 / 1_000.0,
        report.exit.code,
        prose(&report.exit.reason)
    );
    text
}

pub(super) const fn mark(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "🔴",
        Some(Severity::Warning) => "🟡",
        Some(Severity::Info) => "🟢",
        None => "⚪",
    }
}

fn heading(text: &mut String, report: &Report) {
    let server = &report.server;
    let verdict = &server.verdict;
    let _ = writeln!(
        text,
        "### {} {} `{}`: {}\n",
        mark(verdict.severity),
        loud(verdict.severity),
        word(&verdict.code),
        prose(&verdict.summary)
    );
    let version = server.version.as_deref().unwrap_or_default();
    let mut facts = vec![prose(format!("{} {version}", word(&server.kind)).trim_end())];
    facts.extend(server.worker_class.map(|class| word(&class)));
    facts.extend(server.timeout_s.map(|timeout| format!("timeout {timeout} s")));
    facts.extend(server.listen.iter().map(|listen| code(listen)));
    let _ = write!(
        text,
        "{} on {}; confidence {} ({:.2})",
        facts.join(", "),
        code(&report.host.hostname),
        band(verdict.confidence),
        verdict.confidence
    );
    if let Some(max) = server.accept_queue.max {
        let _ = write!(text, "; accept queue at most {}", count(max));
        if let Some(share) = server.accept_queue.share_nonzero {
            let _ = write!(text, ", somebody waits in {} of the readings", percent(share));
        }
    }
    text.push('\n');
}

fn table(text: &mut String, report: &Report) {
    text.push_str("\n| process | | verdict | confidence | culprit |\n|---|---|---|---|---|\n");
    for process in &report.processes {
        let verdict = &process.verdict;
        let what = match &verdict.culprit {
            Some(found) => code(&culprit(found, Paths::Short)),
            None => prose(&verdict.summary),
        };
        let _ = writeln!(
            text,
            "| {} {} | {} {} | `{}` | {} | {what} |",
            word(&process.role),
            pid(process),
            mark(verdict.severity),
            loud(verdict.severity),
            word(&verdict.code),
            band(verdict.confidence)
        );
    }
}

fn section(text: &mut String, complaint: &Complaint<'_>) {
    let _ = writeln!(
        text,
        "\n#### {} {} {}: {}\n\n{}\n",
        mark(complaint.severity),
        loud(complaint.severity),
        code(&complaint.name()),
        complaint.whose(),
        prose(complaint.summary)
    );
    if let Some(found) = complaint.culprit {
        let _ = writeln!(text, "In {}\n", code(&culprit(found, Paths::Whole)));
    }
    let advice = complaint.advice();
    if !advice.is_empty() {
        text.push_str("**What to do**\n\n");
        for item in advice {
            let _ = write!(text, "- {}: {}", code(&item.id), prose(&item.change));
            for (title, said) in [("then", &item.expected_effect), ("risk", &item.risk)] {
                if !said.is_empty() {
                    let _ = write!(text, "<br>*{title}*: {}", prose(said));
                }
            }
            text.push('\n');
        }
        text.push('\n');
    }
    let against = complaint.first().map_or(&[][..], |process| &process.counter_evidence);
    if !complaint.evidence().is_empty() || !against.is_empty() {
        text.push_str("<details><summary>Evidence</summary>\n\n");
        evidence(text, complaint.evidence(), "");
        evidence(text, against, " *against it*");
        if let Some(runner_up) = complaint.first().and_then(|process| process.runner_up.as_ref()) {
            let because = prose(&runner_up.rejected_because.join("; "));
            let _ = writeln!(text, "- next best: `{}`: {because}", word(&runner_up.code));
        }
        text.push_str("\n</details>\n");
    }
}

fn evidence(text: &mut String, evidence: &[Evidence], note: &str) {
    for item in evidence {
        let _ = write!(text, "- {}{note} {}: {}", code(&item.id), code(&item.source), prose(&item.observed));
        if let (Some(value), Some(op), Some(threshold)) = (item.value, &item.op, item.threshold) {
            let _ = write!(text, " ({} {} {})", number(value), prose(op), number(threshold));
        }
        text.push('\n');
    }
}

fn blind_spots(text: &mut String, report: &Report) {
    if report.blind_spots.is_empty() {
        return;
    }
    text.push_str("\n<details><summary>Not seen</summary>\n\n");
    for spot in &report.blind_spots {
        let _ = writeln!(
            text,
            "- {}: {}. *What helps*: {}.",
            prose(&spot.what),
            prose(&spot.why),
            prose(&spot.remedy)
        );
    }
    text.push_str("\n</details>\n");
}

/// A foreign name as a code span, in which nothing is acted on.
///
/// A bar ends the cell of a table even in a span, and renderers differ in how it can be escaped there, so it is
/// shown as other dangerous characters are.
pub(super) fn code(text: &str) -> String {
    let visible = escape(text, Charset::Unicode, PROSE_COLUMNS).replace('|', "\\x7c");
    if visible.trim().is_empty() {
        return "``` ```".into();
    }
    let longest = visible.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A space between the fence and the text is taken off again; a text that begins with a backtick needs it.
    let room = if visible.starts_with(['`', ' ']) || visible.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{room}{visible}{room}{fence}")
}

/// A sentence with foreign words in it, in which nothing is acted on.
pub(super) fn prose(text: &str) -> String {
    // Four spaces at the beginning of a line would make it code.
    let visible = escape(text.trim_start(), Charset::Unicode, PROSE_COLUMNS);
    let mut safe = String::with_capacity(visible.len() + visible.len() / 4);
    let begins_list = |safe: &str| safe.chars().all(|c| c.is_ascii_digit());
    let mut word = String::new();
    let mut rest = visible.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '|' => safe.push_str("&#124;"),
            // Mentions and addresses, issues, merge requests, formulas, labels: parted from what they refer to.
            '@' | '#' | '!' | '$' | '~' => {
                safe.push('\\');
                safe.push(c);
                safe.push_str(PART);
            }
            '\\' | '`' | '*' | '_' | '[' | ']' => {
                safe.push('\\');
                safe.push(c);
            }
            // A list, a numbered list or a rule, where the sentence is the first of its line.
            '-' | '+' | '=' if safe.is_empty() => {
                safe.push('\\');
                safe.push(c);
            }
            '.' | ')' if !safe.is_empty() && begins_list(&safe) => {
                safe.push('\\');
                safe.push(c);
            }
            // Neither a scheme (`http://…`, `mailto:…`) nor the name of a picture (`:rocket:`).
            ':' if rest.peek().is_some_and(|next| !next.is_whitespace() && !next.is_ascii_digit()) => {
                safe.push(c);
                safe.push_str(PART);
            }
            '.' if word.eq_ignore_ascii_case("www") => {
                // In front of the dot: behind it, the address would only be shorter.
                safe.push_str(PART);
                safe.push(c);
            }
            c => safe.push(c),
        }
        if c.is_alphanumeric() {
            word.push(c);
        } else {
            word.clear();
        }
    }
    safe
}

/// The last line of what is made of several reports.
pub(super) fn footer(tool: &Tool, exit: &Exit) -> String {
    format!(
        "\n<sub>stallscope {}; exit code {}: {}</sub>\n",
        prose(&tool.version),
        exit.code,
        prose(&exit.reason)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_holds_any_number_of_backticks() {
        assert_eq!(code("f"), "`f`");
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`x`"), "`` `x` ``");
        assert_eq!(code("a|b\n"), r"`a\x7cb\x0a`");
        assert_eq!(code(""), "``` ```");
    }

    #[test]
    fn a_sentence_mentions_nobody_and_links_nowhere() {
        assert_eq!(prose("ask @root"), "ask \\@<!-- -->root");
        assert_eq!(prose("http://x.y"), "http:<!-- -->//x.y");
        assert_eq!(prose("see WWW.evil.example"), "see WWW<!-- -->.evil.example");
        assert_eq!(prose("[a](b) #1 <b>"), r"\[a\](b) \#<!-- -->1 &lt;b&gt;");
        assert_eq!(prose("peer: 10.0.0.5:5432"), "peer: 10.0.0.5:5432");
    }

    #[test]
    fn a_sentence_begins_no_list_and_no_rule() {
        assert_eq!(
            ["- a", "+ a", "===", "1. a", "12) a"].map(prose),
            ["\\- a", "\\+ a", "\\===", "1\\. a", "12\\) a"]
        );
        assert_eq!(["    a", "0.5 of 1", "2 of 4: x"].map(prose), ["a", "0\\.5 of 1", "2 of 4: x"]);
        assert_eq!(prose("a|b `c` *d*"), r"a&#124;b \`c\` \*d\*");
    }
}
