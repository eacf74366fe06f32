//! A comparison for a pull request: the verdict, one table of what changed, what is new and what is gone.

use std::fmt::Write as _;

use super::text::{Row, facts, load, measures, trouble, verdict, verdicts};
use super::{Change, Comparison, Trouble};
use crate::report::markdown::{code, footer, mark, prose};
use crate::report::received::severity;
use crate::report::words::loud;

/// The comparison as Markdown.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    let sign = match comparison.change {
        Change::Worse => "🔴",
        Change::Better => "🟢",
        Change::Same => "⚪",
        Change::Undecided => "❔",
    };
    let because = prose(&comparison.because.join("; "));
    let _ = writeln!(text, "### {sign} {}: {because}\n", verdict(comparison.change).0);
    text.push_str("| | server | verdict | |\n|---|---|---|---|\n");
    for (name, side) in [("before", &comparison.before), ("after", &comparison.after)] {
        let severity = severity(side.severity.as_deref());
        let _ = writeln!(
            text,
            "| **{name}** | {} | {} {} {} | {} |",
            code(&facts(side)),
            mark(severity),
            loud(severity),
            code(&side.code),
            prose(&side.summary)
        );
    }
    table(&mut text, "processes", &verdicts(comparison));
    table(&mut text, "time of a worker, on average", &measures(&comparison.time_budget));
    table(&mut text, "measured", &measures(&comparison.measures));
    if let Some(loads) = &comparison.load {
        let title = format!("the same load on both: {}", loads.plan);
        table(&mut text, &title, &load(&loads.before, &loads.after));
    }
    troubles(&mut text, "New", &comparison.new);
    troubles(&mut text, "Gone", &comparison.gone);
    troubles(&mut text, "In both", &comparison.stayed);
    if !comparison.caution.is_empty() {
        text.push_str("\n**Compare with care**\n\n");
        for caution in &comparison.caution {
            let _ = writeln!(text, "- {}", prose(caution));
        }
    }
    text.push_str(&footer(&comparison.tool, &comparison.exit));
    text
}

fn table(text: &mut String, title: &str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| {} | before | after | |\n|---|---:|---:|---:|", prose(title));
    for (_, [name, before, after, by]) in rows {
        let _ = writeln!(text, "| {} | {before} | {after} | {by} |", prose(name));
    }
}

fn troubles(text: &mut String, title: &str, troubles: &[Trouble]) {
    if troubles.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n**{title}**\n");
    for item in troubles {
        let _ = writeln!(text, "- {} {} {}", mark(item.severity), loud(item.severity), code(&trouble(item)));
    }
}
