//! The page of one worker: where its time goes, its hottest and its blocking stacks, threads, tasks, sockets, events.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::workers::title;
use crate::capture::recorder::rfc3339;
use crate::diagnose::model::{Share, StackShare, TimeBudget};
use crate::report::model::Process;
use crate::report::style::{Style, Tone};
use crate::report::words::{Paths, band, count, culprit, loud, number, percent, word};
use crate::tui::app::{App, Row};
use crate::tui::columns::{hundredths, time};
use crate::tui::look::{cell, span, sparkline};

/// Frames of a stack that are shown.
const FRAMES: usize = 12;
/// Width of a history.
const LATELY: usize = 40;
/// Width of the labels.
const LABEL: usize = 12;

/// Draws the page of the selected worker into an area.
pub fn draw(app: &mut App, style: Style, frame: &mut Frame<'_>, area: Rect) {
    let lines = app.selected().map_or_else(Vec::new, |row| lines(app, row, style, area.width as usize));
    app.screen = area.height as usize;
    app.most_scroll = lines.len().saturating_sub(app.screen);
    app.scroll = app.scroll.min(app.most_scroll);
    put(frame, area, lines.into_iter().skip(app.scroll).collect());
}

struct Page {
    style: Style,
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Page {
    fn line(&mut self, tone: Tone, text: &str) {
        self.lines.push(Line::from(span(self.style, tone, &cell(self.style, text, self.width))));
    }

    fn section(&mut self, name: &str) {
        self.lines.push(Line::default());
        self.line(Tone::Strong, name);
    }

    fn item(&mut self, label: &str, tone: Tone, text: &str) {
        let room = self.width.saturating_sub(LABEL + 1);
        self.lines.push(Line::from(vec![
            span(self.style, Tone::Faint, &cell(self.style, label, LABEL)),
            Span::raw(" "),
            span(self.style, tone, &cell(self.style, text, room)),
        ]));
    }

    /// Text that may need more than a line.
    fn prose(&mut self, label: &str, text: &str) {
        let room = self.width.saturating_sub(LABEL + 1).max(10);
        let text = super::super::look::harmless(self.style, text);
        let wrapped = textwrap::wrap(&text, room);
        for (at, line) in wrapped.iter().enumerate() {
            self.item(if at == 0 { label } else { "" }, Tone::Plain, line);
        }
    }
}

fn lines(app: &App, row: &Row, style: Style, width: usize) -> Vec<Line<'static>> {
    let mut page = Page { style, width, lines: Vec::new() };
    heading(&mut page, row);
    if let Some(process) = &row.judged {
        judgement(&mut page, process);
        budget(&mut page, &process.time_budget);
    }
    numbers(&mut page, row);
    if let Some(process) = &row.judged {
        stacks(&mut page, process);
        threads(&mut page, process);
        tasks(&mut page, process);
        connections(&mut page, process);
    }
    events(&mut page, row);
    not_seen(&mut page, app);
    page.lines
}

fn heading(page: &mut Page, row: &Row) {
    let mut who = vec![title(row, page.style)];
    if let Some(process) = &row.judged {
        who.extend(process.worker_class.as_ref().map(word));
        who.extend(process.python.as_ref().map(|p| format!("{} {}", p.implementation, p.version)));
        if process.ns_pid != process.pid {
            who.push(format!("in its container {}", process.ns_pid));
        }
    }
    if row.gone_at_ns.is_some() {
        who.push("ended".into());
    }
    page.line(Tone::Strong, &who.join(", "));
}

fn judgement(page: &mut Page, process: &Process) {
    let verdict = &process.verdict;
    let subcause = verdict.subcause.as_ref().map_or_else(String::new, |s| format!(", {s}"));
    let sure = match verdict.severity {
        None => String::new(),
        Some(_) => format!(
            "  confidence {} ({:.2}), {} sub-windows",
            band(verdict.confidence),
            verdict.confidence,
            verdict.sub_windows_agree
        ),
    };
    let (style, severity) = (page.style, loud(verdict.severity));
    let told = format!("{}{subcause}{sure}", word(&verdict.code));
    let room = page.width.saturating_sub(severity.len() + 2);
    page.lines.push(Line::from(vec![
        span(style, Tone::of(verdict.severity), severity),
        Span::raw("  "),
        span(style, Tone::Strong, &cell(style, &told, room)),
    ]));
    page.prose("", &verdict.summary);
    if let Some(found) = &verdict.culprit {
        page.prose("in", &culprit(found, Paths::Whole));
    }
    for evidence in process.evidence.iter().take(4) {
        page.item(&evidence.id, Tone::Plain, &format!("{}: {}", evidence.source, evidence.observed));
    }
    for advice in process.advice.iter().take(2) {
        page.prose("do", &advice.change);
    }
    if let Some(second) = &process.runner_up {
        page.item("next best", Tone::Faint, &format!("{}, {:.2} behind", word(&second.code), second.margin));
    }
}

/// The parts of the time, each with the letter that stands for it.
fn parts(budget: &TimeBudget) -> [(char, &'static str, &Share, Tone); 11] {
    [
        ('C', "on a CPU", &budget.on_cpu, Tone::Fine),
        ('T', "throttled", &budget.throttled, Tone::Critical),
        ('Q', "in a run queue", &budget.run_queue, Tone::Warning),
        ('.', "own poller", &budget.own_poller, Tone::Faint),
        ('c', "client", &budget.client_socket, Tone::Warning),
        ('u', "backend", &budget.upstream_socket, Tone::Warning),
        ('G', "interpreter lock", &budget.gil, Tone::Critical),
        ('L', "lock", &budget.lock, Tone::Critical),
        ('D', "disk", &budget.disk, Tone::Warning),
        ('s', "other sleep", &budget.other, Tone::Unknown),
        ('X', "stopped", &budget.stopped, Tone::Critical),
    ]
}

fn budget(page: &mut Page, budget: &TimeBudget) {
    page.section("Where its time went");
    let style = page.style;
    let width = page.width.saturating_sub(2).min(100);
    let parts = parts(budget);
    let shares: Vec<f64> = parts.iter().map(|(_, _, share, _)| share.share).collect();
    let columns = divide(&shares, width);
    let mut bar = vec![Span::raw("[")];
    for ((letter, _, _, tone), columns) in parts.iter().zip(columns) {
        if columns > 0 {
            bar.push(span(style, *tone, &letter.to_string().repeat(columns)));
        }
    }
    bar.push(Span::raw("]"));
    page.lines.push(Line::from(bar));
    let mut legend: Vec<String> = Vec::new();
    for (letter, name, share, _) in parts.iter().filter(|(_, _, share, _)| share.share > 0.0) {
        legend.push(format!("{letter} {name} {}", percent(share.share)));
    }
    for line in textwrap::wrap(&legend.join("   "), page.width) {
        page.line(Tone::Plain, &line);
    }
}

/// Divides columns in proportion to shares: all are used if the shares sum to one, and none is used twice.
fn divide(shares: &[f64], columns: usize) -> Vec<usize> {
    let mut sum = 0.0;
    let mut used = 0;
    let mut divided = Vec::with_capacity(shares.len());
    for share in shares {
        sum += share.max(0.0);
        let upto = ((sum * columns as f64).round() as usize).clamp(used, columns.max(used));
        divided.push(upto - used);
        used = upto;
    }
    divided
}

fn numbers(page: &mut Page, row: &Row) {
    page.section("Now and lately");
    let style = page.style;
    let unknown = || "unknown".to_owned();
    let cpu = row.live.cpu.map_or_else(unknown, hundredths);
    page.item("CPU", Tone::Plain, &format!("{cpu:>7}  {}", sparkline(style, row.cpu.iter(), 1.0, LATELY)));
    page.item(
        "run queue",
        Tone::Plain,
        &format!("{:>7}", row.live.run_queue.map_or_else(unknown, hundredths)),
    );
    if let Some(now) = &row.live.now {
        let frame = now
            .frame
            .as_ref()
            .map_or_else(String::new, |f| format!(" in {} ({}:{})", f.function, f.file, f.line));
        page.item("now", Tone::Plain, &format!("{}{frame}", now.doing));
    }
    let Some(process) = &row.judged else { return };
    let event_loop = &process.event_loop;
    if let Some(gap) = event_loop.longest_gap_ms {
        let most = row.gaps.iter().copied().fold(1.0, f64::max);
        let lately = sparkline(style, row.gaps.iter(), most, LATELY);
        page.item("longest gap", Tone::Plain, &format!("{:>7}  {lately}", time(gap)));
    }
    let turns = event_loop.turns_per_s.map_or_else(|| "uncounted".to_owned(), |t| number(t) + " a second");
    page.item("loop", Tone::Plain, &format!("{}, turns {turns}", event_loop.kind));
    if let Some(beat) = &process.heartbeat {
        let text = format!("{} ago, due every {}", time(beat.age_ms), time(beat.cadence_ms));
        page.item("heartbeat", Tone::Plain, &text);
    }
}

/// First what it computes, then what it waits in.
fn stacks(page: &mut Page, process: &Process) {
    let hot = |stack: &&StackShare| matches!(stack.state.as_str(), "running" | "on_cpu" | "run_queue");
    let groups: [(&str, Vec<&StackShare>); 2] = [
        ("Hottest stacks", process.stacks.iter().filter(hot).collect()),
        ("Waiting stacks", process.stacks.iter().filter(|s| !hot(s)).collect()),
    ];
    for (name, stacks) in groups.into_iter().filter(|(_, stacks)| !stacks.is_empty()) {
        page.section(name);
        for stack in stacks.into_iter().take(2) {
            let title =
                format!("{} of its samples, thread {}, {}", percent(stack.share), stack.thread, stack.state);
            page.line(Tone::Plain, &title);
            for frame in stack.frames.iter().take(FRAMES) {
                page.line(Tone::Plain, &format!("    {}  {}:{}", frame.function, frame.file, frame.line));
            }
            if stack.frames.len() > FRAMES {
                page.line(Tone::Faint, &format!("    and {} further out", stack.frames.len() - FRAMES));
            }
        }
    }
}

fn threads(page: &mut Page, process: &Process) {
    if process.threads.is_empty() {
        return;
    }
    page.section("Threads");
    for thread in &process.threads {
        let mut facts = vec![thread.name.clone(), format!("state {}", thread.state)];
        facts.extend(thread.on_cpu_share.map(|share| format!("CPU {}", percent(share))));
        facts.extend(thread.run_queue_share.map(|share| format!("run queue {}", percent(share))));
        facts.extend(thread.gil.as_ref().filter(|gil| *gil != "none").map(|gil| format!("GIL {gil}")));
        facts.extend(thread.sleeping_in.clone());
        page.item(&thread.tid.to_string(), Tone::Plain, &facts.join(", "));
    }
}

fn tasks(page: &mut Page, process: &Process) {
    let Some(tasks) = &process.tasks else { return };
    page.section("Greenlets and tasks");
    let greenlets = &tasks.greenlets;
    let total = format!("{}, {} of them suspended", count(greenlets.total), count(greenlets.suspended));
    page.item("greenlets", Tone::Plain, &total);
    page.item("asyncio", Tone::Plain, &count(tasks.asyncio.total));
    for task in tasks.longest_waiting.iter().take(3) {
        page.item(&task.kind, Tone::Plain, &task.name);
        for frame in task.frames.iter().take(FRAMES) {
            page.line(Tone::Plain, &format!("    {}  {}:{}", frame.function, frame.file, frame.line));
        }
    }
}

fn connections(page: &mut Page, process: &Process) {
    let Some(connections) = &process.connections else { return };
    page.section("Sockets");
    let flying = connections.in_flight.map_or_else(|| "unknown".into(), count);
    let oldest =
        connections.oldest_ms.map_or_else(String::new, |ms| format!(", the oldest for {}", time(ms)));
    page.item("in flight", Tone::Plain, &format!("{flying}{oldest}"));
    let unread = connections.unread;
    page.item(
        "clients",
        Tone::Plain,
        &format!("{}, {} with bytes not read", count(connections.clients), count(unread)),
    );
    for backend in &connections.backends {
        let text = format!("{}: {} unanswered", backend.peer, count(backend.waiting));
        page.item("backend", Tone::Warning, &text);
    }
}

fn events(page: &mut Page, row: &Row) {
    if row.events.is_empty() {
        return;
    }
    page.section("Lately");
    for event in row.events.iter().rev().take(10) {
        let time = rfc3339(event.realtime_ns);
        page.item(time.get(11..19).unwrap_or_default(), Tone::Plain, &event.text);
    }
}

fn not_seen(page: &mut Page, app: &App) {
    let Some(report) = app.shown.report.as_deref().filter(|r| !r.blind_spots.is_empty()) else { return };
    page.section("Not seen");
    for spot in &report.blind_spots {
        page.prose("-", &format!("{}: {}. What helps: {}.", spot.what, spot.why, spot.remedy));
    }
}

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn the_bar_is_as_long_as_it_is_told() {
        assert_eq!(divide(&[0.5, 0.5], 10), [5, 5]);
        assert_eq!(divide(&[1.0 / 3.0; 3], 10).iter().sum::<usize>(), 10);
        assert_eq!(divide(&[0.7, 0.6], 10).iter().sum::<usize>(), 10, "never longer");
        assert_eq!(divide(&[0.04, 0.96], 10), [0, 10]);
        assert_eq!(divide(&[0.0, -1.0], 10), [0, 0]);
    }
}
