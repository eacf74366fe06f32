//! A summary of many reports for people: how many hosts are bad, which, and what they have in common.

use super::{Count, Fleet, Look, Shared};
use crate::diagnose::model::Severity;
use crate::report::page::{Cell, Fit, Page};
use crate::report::style::{Style, Tone};
use crate::report::words::{count, loud, plural};

/// Hosts that are shown; the document has all.
const LOOKS: usize = 30;
/// Rows of any other list.
const ROWS: usize = 12;
/// Widest name of a host that is shown whole.
const HOST_COLUMNS: usize = 28;
/// Widest verdict with its role.
const NAME_COLUMNS: usize = 34;

/// The summary as text.
#[must_use]
pub fn render(fleet: &Fleet, style: Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, fleet);
    counts(&mut page, "Servers", "servers", &fleet.servers);
    counts(&mut page, "Processes", "processes", &fleet.processes);
    looks(&mut page, &fleet.looks);
    shared(&mut page, "Backends that several hosts are held up by", &fleet.upstreams);
    shared(&mut page, "Code that several hosts are held up in", &fleet.functions);
    versions(&mut page, fleet);
    blind_spots(&mut page, fleet);
    if !fleet.missing.is_empty() {
        page.gap();
        page.line(0, Tone::Strong, "Missing");
        for missing in fleet.missing.iter().take(LOOKS) {
            page.item(2, Tone::Warning, &missing.source, 0, &missing.cause);
        }
        rest(&mut page, fleet.missing.len(), LOOKS);
    }
    page.gap();
    page.line(0, Tone::Faint, &format!("exit code {}: {}", fleet.exit.code, fleet.exit.reason));
    page.finish()
}

/// How many of a severity there are, in a sentence; the worst first.
pub(super) fn sentence(fleet: &Fleet) -> String {
    let of = |severity| fleet.looks.iter().filter(|look| look.severity == severity).count();
    if fleet.looks.is_empty() {
        return "no report came in, so nothing is known".into();
    }
    let words = [
        (of(Some(Severity::Critical)), "critical"),
        (of(Some(Severity::Warning)), "warned of"),
        (of(None), "not known"),
        (of(Some(Severity::Info)), "well"),
    ];
    let said = words.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
    let all = plural(fleet.looks.len() as u64, "server");
    format!("{} of {all}", said.collect::<Vec<_>>().join(", "))
}

/// What was taken in, in a line.
pub(super) fn taken_in(fleet: &Fleet) -> String {
    let missing = if fleet.missing.is_empty() {
        String::new()
    } else {
        format!("; {} missing", count(fleet.missing.len() as u64))
    };
    format!(
        "{} of {}, {}{missing}",
        plural(fleet.reports, "report"),
        plural(fleet.hosts, "host"),
        plural(fleet.workers, "worker")
    )
}

fn head(page: &mut Page, fleet: &Fleet) {
    let worst = fleet.looks.first();
    let severity = worst.and_then(|look| look.severity);
    let word = loud(severity);
    let columns = word.len();
    page.row(
        0,
        &[Cell { tone: Tone::of(severity), text: word, columns }],
        Tone::Strong,
        &sentence(fleet),
        Fit::Wrap,
    );
    page.line(columns + 2, Tone::Plain, &taken_in(fleet));
    if let Some(look) = worst.filter(|_| severity != Some(Severity::Info)) {
        let text = format!("the worst: {}: {}: {}", look.hostname, look.code, look.summary);
        page.line(columns + 2, Tone::Plain, &text);
    }
}

fn counts(page: &mut Page, title: &str, what: &str, counts: &[Count]) {
    if counts.is_empty() {
        return;
    }
    page.gap();
    let right = |text: &str| format!("{text:>9}");
    let (heads, hosts) = (right(what), right("hosts"));
    let cells = [
        Cell { tone: Tone::Strong, text: title, columns: NAME_COLUMNS + 12 },
        Cell { tone: Tone::Faint, text: &heads, columns: 9 },
    ];
    page.row(0, &cells, Tone::Faint, &hosts, Fit::Cut);
    for item in counts.iter().take(ROWS) {
        let name = name(item);
        let number = right(&count(item.count));
        let cells = [
            Cell { tone: Tone::Plain, text: &name, columns: NAME_COLUMNS },
            Cell { tone: Tone::of(item.severity), text: loud(item.severity), columns: 8 },
            Cell { tone: Tone::Plain, text: &number, columns: 9 },
        ];
        page.row(2, &cells, Tone::Plain, &right(&count(item.hosts)), Fit::Cut);
    }
    rest(page, counts.len(), ROWS);
}

fn name(count: &Count) -> String {
    count.role.as_ref().map_or_else(|| count.code.clone(), |role| format!("{role} {}", count.code))
}

/// What is wrong on a host, in a few words.
pub(super) fn troubles(look: &Look) -> String {
    let class = look.worker_class.as_deref().unwrap_or(&look.kind);
    let wrong: Vec<String> = look.troubles.iter().map(|t| format!("{} {}", t.count, t.code)).collect();
    let workers = plural(look.workers, "worker");
    if wrong.is_empty() {
        format!("{class}, {workers}")
    } else {
        format!("{class}, {workers}: {}", wrong.join(", "))
    }
}

fn looks(page: &mut Page, looks: &[Look]) {
    if looks.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Hosts, the worst first");
    let widest = |of: fn(&Look) -> usize| looks.iter().take(LOOKS).map(of).max().unwrap_or(0);
    let host_columns = widest(|look| look.hostname.chars().count()).min(HOST_COLUMNS);
    let code_columns = widest(|look| look.code.chars().count()).min(HOST_COLUMNS);
    for look in looks.iter().take(LOOKS) {
        let cells = [
            Cell { tone: Tone::Strong, text: &look.hostname, columns: host_columns },
            Cell { tone: Tone::of(look.severity), text: loud(look.severity), columns: 8 },
            Cell { tone: Tone::Plain, text: &look.code, columns: code_columns },
        ];
        // Several servers on one host are told apart by where their reports were read from.
        let alone = looks.iter().filter(|other| other.hostname == look.hostname).count() == 1;
        let source = if alone { String::new() } else { format!(" ({})", look.source) };
        page.row(2, &cells, Tone::Plain, &(troubles(look) + &source), Fit::Cut);
    }
    rest(page, looks.len(), LOOKS);
}

/// Who is held up by it, in a line.
pub(super) fn held_up(item: &Shared) -> String {
    let more = item.hosts.saturating_sub(item.hostnames.len() as u64);
    let more = if more == 0 { String::new() } else { format!(" and {} more", count(more)) };
    let processes = plural(item.processes, "process");
    format!(
        "{processes} on {} hosts ({}{more}): {}",
        count(item.hosts),
        item.hostnames.join(", "),
        item.codes.join(", ")
    )
}

fn shared(page: &mut Page, title: &str, shared: &[Shared]) {
    if shared.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, title);
    for item in shared.iter().take(ROWS) {
        page.line(2, Tone::Strong, &item.what);
        page.line(6, Tone::Plain, &held_up(item));
    }
    rest(page, shared.len(), ROWS);
}

/// Each thing with its versions, in a line each.
pub(super) fn version_lines(fleet: &Fleet) -> Vec<(String, String)> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for version in &fleet.versions {
        let hosts = plural(version.hosts, "host");
        let text = format!("{} ({hosts})", version.version);
        match lines.last_mut() {
            Some((of, versions)) if *of == version.of => versions.push(text),
            _ => lines.push((version.of.clone(), vec![text])),
        }
    }
    lines.into_iter().map(|(of, versions)| (of, versions.join(", "))).collect()
}

fn versions(page: &mut Page, fleet: &Fleet) {
    let lines = version_lines(fleet);
    if lines.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Versions");
    let columns = lines.iter().map(|(of, _)| of.chars().count()).max().unwrap_or(0).min(HOST_COLUMNS);
    for (of, versions) in lines.iter().take(ROWS) {
        page.item(2, Tone::Plain, of, columns, versions);
    }
    rest(page, lines.len(), ROWS);
}

fn blind_spots(page: &mut Page, fleet: &Fleet) {
    if fleet.blind_spots.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Not seen");
    for spot in fleet.blind_spots.iter().take(ROWS) {
        let hosts = plural(spot.hosts, "host");
        let times = if spot.count == 1 { "once".into() } else { format!("{} times", count(spot.count)) };
        let text = format!("{}: {} ({times} on {hosts})", spot.what, spot.why);
        page.item(2, Tone::Plain, "-", 0, &text);
    }
    rest(page, fleet.blind_spots.len(), ROWS);
}

fn rest(page: &mut Page, all: usize, shown: usize) {
    if all > shown {
        page.line(2, Tone::Faint, &format!("and {} more (--format json has all)", all - shown));
    }
}
