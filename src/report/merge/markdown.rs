//! A summary of many reports for a page or a comment.

use std::fmt::Write as _;

use super::text::{held_up, sentence, taken_in, troubles, version_lines};
use super::{Count, Fleet, Shared};
use crate::report::markdown::{code, footer, mark, prose};
use crate::report::words::{count, loud};

/// Rows of a list; a comment has its limits, the document has all.
const ROWS: usize = 60;

/// The summary as Markdown.
#[must_use]
pub fn render(fleet: &Fleet) -> String {
    let mut text = String::new();
    let severity = fleet.looks.first().and_then(|look| look.severity);
    let _ = writeln!(
        text,
        "### {} {}: {}\n\n{}",
        mark(severity),
        loud(severity),
        prose(&sentence(fleet)),
        prose(&taken_in(fleet))
    );
    counts(&mut text, "servers", &fleet.servers);
    counts(&mut text, "processes", &fleet.processes);
    if !fleet.looks.is_empty() {
        text.push_str("\n| host | | verdict | workers |\n|---|---|---|---|\n");
    }
    for look in fleet.looks.iter().take(ROWS) {
        let _ = writeln!(
            text,
            "| {} | {} {} | {} | {} |",
            code(&look.hostname),
            mark(look.severity),
            loud(look.severity),
            code(&look.code),
            prose(&troubles(look))
        );
    }
    rest(&mut text, fleet.looks.len());
    shared(&mut text, "Backends that several hosts are held up by", &fleet.upstreams);
    shared(&mut text, "Code that several hosts are held up in", &fleet.functions);
    list(&mut text, "Versions", version_lines(fleet).iter().map(|(of, all)| format!("{of}: {all}")));
    list(
        &mut text,
        "Not seen",
        fleet.blind_spots.iter().map(|s| format!("{}: {} ({} hosts)", s.what, s.why, s.hosts)),
    );
    list(&mut text, "Missing", fleet.missing.iter().map(|m| format!("{}: {}", m.source, m.cause)));
    text.push_str(&footer(&fleet.tool, &fleet.exit));
    text
}

fn counts(text: &mut String, title: &str, counts: &[Count]) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| {title} | | count | hosts |\n|---|---|---:|---:|");
    for item in counts.iter().take(ROWS) {
        let name = [item.role.as_deref().unwrap_or_default(), &item.code].join(" ");
        let _ = writeln!(
            text,
            "| {} | {} {} | {} | {} |",
            code(name.trim_start()),
            mark(item.severity),
            loud(item.severity),
            count(item.count),
            count(item.hosts)
        );
    }
    rest(text, counts.len());
}

fn shared(text: &mut String, title: &str, shared: &[Shared]) {
    let lines = shared.iter().map(|item| (&item.what, held_up(item)));
    let lines: Vec<String> = lines.map(|(what, who)| format!("{}: {}", code(what), prose(&who))).collect();
    section(text, title, &lines);
}

fn list(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    section(text, title, &lines.map(|line| prose(&line)).collect::<Vec<_>>());
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n**{title}**\n");
    for line in lines.iter().take(ROWS) {
        let _ = writeln!(text, "- {line}");
    }
    rest(text, lines.len());
}

fn rest(text: &mut String, all: usize) {
    if all > ROWS {
        let _ = writeln!(text, "\nand {} more", all - ROWS);
    }
}
