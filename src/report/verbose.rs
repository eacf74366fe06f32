//! What `-v` adds to the text: the time budget of each process as bars, its loop, its threads and its stacks.

use super::model::Process;
use super::page::{Cell, Fit, Page};
use super::style::Tone;
use super::word;
use super::words::{count, name, number, percent, share};
use crate::diagnose::model::{ReportFrame, Severity, Share, StackShare, ThreadShare, TimeBudget};

/// Width of a bar that stands for the whole window.
const BAR_COLUMNS: usize = 30;

/// Most frames of a stack that are shown; its middle says least.
const FRAMES: usize = 24;

/// The details of every process.
pub(super) fn details(page: &mut Page, processes: &[Process]) {
    for process in processes {
        page.gap();
        let python = process
            .python
            .as_ref()
            .map_or_else(String::new, |python| format!(", {} {}", python.implementation, python.version));
        let title = format!("Details of {} {}{python}", word(&process.role), process.pid);
        page.line(0, Tone::Strong, &title);
        budget(page, &process.time_budget);
        event_loop(page, process);
        threads(page, &process.threads);
        tasks(page, process);
        notes(page, process);
        for stack in &process.stacks {
            show_stack(page, stack);
        }
    }
}

fn budget(page: &mut Page, budget: &TimeBudget) {
    let parts: [(&str, &Share); 11] = [
        ("on_cpu", &budget.on_cpu),
        ("throttled", &budget.throttled),
        ("run_queue", &budget.run_queue),
        ("own_poller", &budget.own_poller),
        ("client_socket", &budget.client_socket),
        ("upstream_socket", &budget.upstream_socket),
        ("gil", &budget.gil),
        ("lock", &budget.lock),
        ("disk", &budget.disk),
        ("other", &budget.other),
        ("stopped", &budget.stopped),
    ];
    let (full, empty) = if page.style().ascii { ("#", ".") } else { ("█", "░") };
    for (name, part) in parts.into_iter().filter(|(_, part)| part.share > 0.0) {
        let filled = ((part.share.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize).min(BAR_COLUMNS);
        let bar = full.repeat(filled) + &empty.repeat(BAR_COLUMNS - filled);
        let percent = percent(part.share);
        page.row(
            2,
            &[
                Cell { tone: Tone::Plain, text: name, columns: 15 },
                Cell { tone: Tone::Plain, text: &bar, columns: BAR_COLUMNS },
                Cell { tone: Tone::Strong, text: &format!("{percent:>6}"), columns: 6 },
            ],
            Tone::Faint,
            &share(part),
            Fit::Wrap,
        );
    }
}

fn event_loop(page: &mut Page, process: &Process) {
    let event_loop = &process.event_loop;
    let mut facts = vec![event_loop.kind.clone()];
    facts.extend(event_loop.turns_per_s.map(|turns| format!("{} turns per second", number(turns))));
    facts.extend(event_loop.longest_gap_ms.map(|gap| format!("longest gap {} ms", count(gap))));
    facts.extend(event_loop.gap_p99_ms.map(|gap| format!("99 % of gaps under {} ms", count(gap))));
    page.item(2, Tone::Plain, "loop", 15, &facts.join(", "));
    if let Some(beat) = &process.heartbeat {
        let text = format!(
            "{} ms ago by its {}, normally every {} ms",
            count(beat.age_ms),
            beat.source,
            count(beat.cadence_ms)
        );
        page.item(2, Tone::Plain, "heartbeat", 15, &text);
    }
}

fn threads(page: &mut Page, threads: &[ThreadShare]) {
    for thread in threads {
        let mut facts = vec![format!("state {}", name(&thread.state))];
        facts.extend(thread.on_cpu_share.map(|share| format!("{} on a processor", percent(share))));
        facts.extend(thread.run_queue_share.map(|share| format!("{} in a run queue", percent(share))));
        facts.extend(thread.gil.as_ref().filter(|gil| *gil != "none").map(|gil| format!("GIL: {gil}")));
        facts.extend(thread.sleeping_in.as_ref().map(|place| format!("asleep {place}")));
        let label = format!("thread {}", thread.tid);
        page.item(2, Tone::Plain, &label, 15, &format!("{}: {}", name(&thread.name), facts.join(", ")));
    }
}

fn tasks(page: &mut Page, process: &Process) {
    let Some(tasks) = &process.tasks else { return };
    let (greenlets, suspended) = (tasks.greenlets.total, tasks.greenlets.suspended);
    if greenlets > 0 {
        page.item(
            2,
            Tone::Plain,
            "greenlets",
            15,
            &format!("{}, {} of them suspended", count(greenlets), count(suspended)),
        );
    }
    if tasks.asyncio.total > 0 {
        page.item(2, Tone::Plain, "asyncio tasks", 15, &count(tasks.asyncio.total));
    }
    for group in &tasks.longest_waiting {
        page.line(2, Tone::Strong, &format!("{} x {} {}", count(group.count), group.kind, name(&group.name)));
        frames(page, &group.frames);
    }
}

/// Findings that need no action; the others stand with the verdicts.
fn notes(page: &mut Page, process: &Process) {
    for finding in process.findings.iter().filter(|finding| finding.severity == Severity::Info) {
        page.item(2, Tone::Plain, "note", 15, &format!("{}: {}", finding.code, finding.text));
    }
}

fn show_stack(page: &mut Page, stack: &StackShare) {
    let title =
        format!("stack of thread {}, {}, {} of its samples", stack.thread, stack.state, percent(stack.share));
    page.line(2, Tone::Strong, &title);
    frames(page, &stack.frames);
}

fn frames(page: &mut Page, frames: &[ReportFrame]) {
    for frame in frames.iter().take(FRAMES) {
        let place =
            if frame.line > 0 { format!("{}:{}", name(&frame.file), frame.line) } else { name(&frame.file) };
        let kind = if frame.kind == "python" { String::new() } else { format!(" [{}]", frame.kind) };
        page.line(4, Tone::Plain, &format!("{}  {place}{kind}", name(&frame.function)));
    }
    if frames.len() > FRAMES {
        page.line(4, Tone::Faint, &format!("and {} frames further out", frames.len() - FRAMES));
    }
}
