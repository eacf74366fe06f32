//! The report for a person at three in the morning.
//!
//! The verdict stands first, then a line for each process, then a block for each kind of trouble with its
//! evidence, its advice and what speaks against it; last, what was not seen and what the look itself did.
//! Takes a finished document and gives text; it adds no judgement and reads nothing else.

use super::complaints::{pid, troubles};
use super::model::{Process, Report};
use super::page::{Cell, Fit, Page};
use super::style::{Style, Tone};
use super::verbose;
use super::word;
use super::words::{Paths, band, count, culprit, loud, number, percent, plural};
use crate::capture::model::Role;
use crate::diagnose::model::{Advice, Evidence, Severity};

/// Widest identifier of evidence or advice that is shown whole.
const ID_COLUMNS: usize = 24;

/// Widest name of a source that is shown whole.
const SOURCE_COLUMNS: usize = 28;

/// How much to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// The verdict lines only (`-q`).
    Quiet,
    /// What a person needs to act.
    #[default]
    Normal,
    /// Also time budgets, threads and stacks (`-v`).
    Verbose,
}

/// How to say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// How it looks.
    pub style: Style,
    /// How much of it.
    pub detail: Detail,
}

/// The report as text.
#[must_use]
pub fn render(report: &Report, options: TextOptions) -> String {
    let mut page = Page::new(options.style);
    server(&mut page, report);
    page.gap();
    processes(&mut page, &report.processes);
    if options.detail == Detail::Quiet {
        return page.finish();
    }
    for group in troubles(&report.processes) {
        page.gap();
        trouble(&mut page, &group);
    }
    found_beside(&mut page, &report.processes);
    if options.detail == Detail::Verbose {
        verbose::details(&mut page, &report.processes);
    }
    blind_spots(&mut page, report);
    look(&mut page, report);
    page.finish()
}

fn server(page: &mut Page, report: &Report) {
    let server = &report.server;
    let verdict = &server.verdict;
    let word_of = loud(verdict.severity);
    let column = word_of.len();
    page.row(
        0,
        &[Cell { tone: Tone::of(verdict.severity), text: word_of, columns: column }],
        Tone::Strong,
        &format!("{}: {}", word(&verdict.code), verdict.summary),
        Fit::Wrap,
    );
    let mut facts = vec![match &server.version {
        Some(version) => format!("{} {version}", word(&server.kind)),
        None => word(&server.kind),
    }];
    facts.extend(server.worker_class.as_ref().map(word));
    let workers = report.processes.iter().filter(|process| process.role == Role::Worker).count();
    facts.push(match server.workers_configured {
        Some(configured) if configured as usize != workers => {
            format!("{}, {configured} configured", plural(workers as u64, "worker"))
        }
        _ => plural(workers as u64, "worker"),
    });
    facts.extend(server.timeout_s.map(|timeout| format!("timeout {timeout} s")));
    facts.push(server.listen.join(" "));
    facts.retain(|fact| !fact.is_empty());
    let on = format!("on {}", report.host.hostname);
    let confidence = format!("confidence {} ({:.2})", band(verdict.confidence), verdict.confidence);
    page.line(column + 2, Tone::Plain, &format!("{} {on}; {confidence}", facts.join(", ")));
    if let Some(max) = server.accept_queue.max {
        let room =
            server.accept_queue.backlog.map_or_else(String::new, |backlog| format!(" of {}", count(backlog)));
        let share = server.accept_queue.share_nonzero.map_or_else(String::new, |share| {
            format!(", somebody waits in {} of the readings", percent(share))
        });
        page.line(column + 2, Tone::Plain, &format!("accept queue: at most {}{room}{share}", count(max)));
    }
}

fn processes(page: &mut Page, processes: &[Process]) {
    let widest = |text: &dyn Fn(&Process) -> String| {
        processes.iter().map(|process| text(process).len()).max().unwrap_or(0)
    };
    let who = |process: &Process| format!("{} {}", word(&process.role), process.pid);
    let code = |process: &Process| word(&process.verdict.code);
    let (who_columns, code_columns) = (widest(&who), widest(&code));
    for process in processes {
        let verdict = &process.verdict;
        let what = match &verdict.culprit {
            Some(found) => culprit(found, Paths::Short),
            None => verdict.summary.clone(),
        };
        let cells = [
            Cell { tone: Tone::Strong, text: &who(process), columns: who_columns },
            Cell { tone: Tone::of(verdict.severity), text: loud(verdict.severity), columns: 8 },
            Cell { tone: Tone::Plain, text: &code(process), columns: code_columns },
            Cell { tone: Tone::Faint, text: band(verdict.confidence), columns: 7 },
        ];
        // What a healthy arbiter does all day looks like a fault in a trace: it is told in full.
        let fit = if process.role == Role::Arbiter { Fit::Wrap } else { Fit::Cut };
        page.row(2, &cells, Tone::Plain, &what, fit);
    }
}

fn trouble(page: &mut Page, group: &[&Process]) {
    let Some(process) = group.first() else { return };
    let verdict = &process.verdict;
    let pids: Vec<String> = group.iter().map(|process| pid(process)).collect();
    let subcause = verdict.subcause.as_ref().map_or_else(String::new, |subcause| format!(", {subcause}"));
    page.row(
        0,
        &[Cell { tone: Tone::of(verdict.severity), text: loud(verdict.severity), columns: 8 }],
        Tone::Strong,
        &format!("{}{subcause}: pid {}", word(&verdict.code), pids.join(", ")),
        Fit::Wrap,
    );
    page.line(2, Tone::Plain, &verdict.summary);
    if let Some(found) = &verdict.culprit {
        page.item(2, Tone::Strong, "in", 2, &culprit(found, Paths::Whole));
    }
    let alike =
        if group.len() > 1 { format!("; what follows is of pid {}", process.pid) } else { String::new() };
    page.line(
        2,
        Tone::Faint,
        &format!(
            "confidence {} ({:.2}), same verdict in {} sub-windows{alike}",
            band(verdict.confidence),
            verdict.confidence,
            verdict.sub_windows_agree
        ),
    );
    evidence(page, "Evidence", &process.evidence);
    evidence(page, "Against it", &process.counter_evidence);
    if let Some(runner_up) = &process.runner_up {
        section(page, "Next best");
        let because = runner_up.rejected_because.join("; ");
        page.line(
            4,
            Tone::Plain,
            &format!("{}, {:.2} behind: {because}", word(&runner_up.code), runner_up.margin),
        );
    }
    advice(page, &process.advice);
    if !process.findings.is_empty() {
        section(page, "Also found");
        for finding in &process.findings {
            let severity = Some(finding.severity);
            page.item(
                4,
                Tone::of(severity),
                loud(severity),
                8,
                &format!("{}: {}", finding.code, finding.text),
            );
        }
    }
    if !process.what_would_change.is_empty() {
        section(page, "Would change the verdict");
        for change in &process.what_would_change {
            page.item(4, Tone::Plain, "-", 0, change);
        }
    }
}

fn section(page: &mut Page, title: &str) {
    page.line(2, Tone::Strong, title);
}

fn evidence(page: &mut Page, title: &str, evidence: &[Evidence]) {
    if evidence.is_empty() {
        return;
    }
    section(page, title);
    let widest = |texts: &mut dyn Iterator<Item = &String>| texts.map(String::len).max().unwrap_or(0);
    let id_columns = widest(&mut evidence.iter().map(|item| &item.id)).min(ID_COLUMNS);
    let source_columns = widest(&mut evidence.iter().map(|item| &item.source)).min(SOURCE_COLUMNS);
    for item in evidence {
        let measured = match (item.value, &item.op, item.threshold) {
            (Some(value), Some(op), Some(threshold)) => {
                format!(" ({} {op} {})", number(value), number(threshold))
            }
            (Some(value), _, _) => format!(" ({})", number(value)),
            _ => String::new(),
        };
        page.row(
            4,
            &[
                Cell { tone: Tone::Strong, text: &item.id, columns: id_columns },
                Cell { tone: Tone::Faint, text: &item.source, columns: source_columns },
            ],
            Tone::Plain,
            &format!("{}{measured}", item.observed),
            Fit::Wrap,
        );
    }
}

fn advice(page: &mut Page, advice: &[Advice]) {
    if advice.is_empty() {
        return;
    }
    section(page, "What to do");
    let id_columns = advice.iter().map(|item| item.id.len()).max().unwrap_or(0).min(ID_COLUMNS);
    let below = 4 + id_columns + 2;
    for item in advice {
        page.item(4, Tone::Strong, &item.id, id_columns, &item.change);
        if !item.expected_effect.is_empty() {
            page.item(below, Tone::Faint, "then", 4, &item.expected_effect);
        }
        if !item.risk.is_empty() {
            page.item(below, Tone::Warning, "risk", 4, &item.risk);
        }
        if !item.why.is_empty() {
            page.item(below, Tone::Faint, "why", 4, &item.why.join(", "));
        }
    }
}

/// What was found on processes that are fine themselves.
fn found_beside(page: &mut Page, processes: &[Process]) {
    let fine = processes.iter().filter(|process| process.verdict.severity == Some(Severity::Info));
    let found: Vec<_> = fine
        .flat_map(|process| process.findings.iter().map(move |finding| (process.pid, finding)))
        .filter(|(_, finding)| finding.severity > Severity::Info)
        .collect();
    if found.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Also found");
    for (pid, finding) in found {
        let severity = Some(finding.severity);
        let text = format!("pid {pid}: {}: {}", finding.code, finding.text);
        page.item(2, Tone::of(severity), loud(severity), 8, &text);
    }
}

fn blind_spots(page: &mut Page, report: &Report) {
    if report.blind_spots.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Not seen");
    for spot in &report.blind_spots {
        page.item(
            2,
            Tone::Plain,
            "-",
            0,
            &format!("{}: {}. What helps: {}.", spot.what, spot.why, spot.remedy),
        );
    }
}

/// What the look did to the target, and what it rests on.
fn look(page: &mut Page, report: &Report) {
    let collection = &report.collection;
    page.gap();
    page.line(0, Tone::Strong, "This look");
    let burst = &collection.burst;
    let harm = if burst.used {
        let (stops, threads) = (count(burst.stops), count(burst.threads));
        let longest_us = count(burst.stopped_ns_max / 1_000);
        let now = if burst.detached { "all let go" } else { "NOT ALL LET GO" };
        format!(
            "stopped {threads} threads {stops} times, the longest for {longest_us} µs, {now}; nothing written"
        )
    } else {
        "the target was never stopped, nothing was written into it".into()
    };
    page.line(2, Tone::Plain, &harm);
    let requested: u64 = collection.sources.iter().map(|source| source.requested).sum();
    let obtained: u64 = collection.sources.iter().map(|source| source.obtained).sum();
    let window = collection.duration_ms as f64 / 1_000.0;
    let mut facts = vec![format!(
        "{window:.1} s at {} per second, level {}",
        collection.rate_hz,
        word(&collection.level)
    )];
    if requested > 0 {
        facts.push(format!("{} of {} samples", count(obtained), count(requested)));
    }
    facts.extend(collection.stacks.map(|stacks| {
        let (obtained, torn, lost) = (count(stacks.obtained), count(stacks.torn), count(stacks.discarded));
        format!("stacks {obtained} obtained, {torn} torn and read again, {lost} given up")
    }));
    facts.extend(collection.own_cost.map(|cost| {
        format!("our cost {} ms CPU, {:.1} MiB", count(cost.cpu_ms), cost.rss_kib as f64 / 1_024.0)
    }));
    page.line(2, Tone::Plain, &facts.join("; "));
    for source in &collection.sources {
        if let Some(denied) = &source.denied {
            page.item(2, Tone::Warning, "denied", 6, &format!("{}: {denied}", source.name));
        }
    }
    page.line(2, Tone::Plain, &format!("exit code {}: {}", report.exit.code, report.exit.reason));
}
