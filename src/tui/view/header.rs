//! The header: which server, its verdict, its queue, the processors, and what looking at it costs.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::capture::live::Live;
use crate::capture::recorder::rfc3339;
use crate::report::model::Report;
use crate::report::style::{Style, Tone};
use crate::report::words::{band, count, loud, percent, word};
use crate::tui::app::App;
use crate::tui::look::{cell, span};

/// Lines for the facts.
const FACTS: usize = 2;

/// The lines of the header; their number does not change from one picture to the next.
pub fn lines(app: &App, style: Style, width: usize) -> Vec<Line<'static>> {
    let report = app.shown.report.as_deref();
    let mut lines = vec![title(app, report, style, width), verdict(report, style, width)];
    lines.extend(facts(&app.shown.live, report, style, width));
    lines
}

fn title(app: &App, report: Option<&Report>, style: Style, width: usize) -> Line<'static> {
    let mut who = vec!["stallscope".to_owned()];
    if let Some(report) = report {
        let server = &report.server;
        who.push(report.target.pid.to_string());
        who.push(word(&server.kind));
        who.extend(server.version.clone());
        who.extend(server.worker_class.as_ref().map(word));
        who.extend(server.listen.iter().cloned());
        who.push(format!("on {}", report.host.hostname));
    }
    let time = rfc3339(app.shown.live.realtime_ns);
    // The time of day of "2026-03-01T03:12:44.000Z".
    let time = time.get(11..19).unwrap_or_default();
    let mut state = match app.shown.played {
        Some((at_ns, of_ns)) => format!("REPLAY {:.1} of {:.1} s", at_ns as f64 / 1e9, of_ns as f64 / 1e9),
        None => format!("{time} UTC"),
    };
    if app.paused {
        state = format!("PAUSED  {state}");
    }
    let room = width.saturating_sub(state.width() + 2);
    let tone = if app.paused { Tone::Warning } else { Tone::Plain };
    Line::from(vec![
        span(style, Tone::Strong, &cell(style, &who.join(" "), room)),
        Span::raw("  "),
        span(style, tone, &state),
    ])
}

fn verdict(report: Option<&Report>, style: Style, width: usize) -> Line<'static> {
    let Some(report) = report else {
        return Line::from(span(style, Tone::Faint, "looking: the first verdict comes after a second"));
    };
    let verdict = &report.server.verdict;
    let severity = loud(verdict.severity);
    let told = format!("{}: {}", word(&verdict.code), verdict.summary);
    let confidence = format!("  confidence {}", band(verdict.confidence));
    let room = width.saturating_sub(severity.len() + 2);
    let told = if told.width() + confidence.width() <= room { told + &confidence } else { told };
    Line::from(vec![
        span(style, Tone::of(verdict.severity), severity),
        Span::raw("  "),
        span(style, Tone::Strong, &cell(style, &told, room)),
    ])
}

/// The facts in their order, whole ones only, as many as there is room for.
fn facts(live: &Live, report: Option<&Report>, style: Style, width: usize) -> Vec<Line<'static>> {
    const BETWEEN: &str = "   ";
    let mut lines = vec![String::new()];
    for fact in told(live, report) {
        let many = lines.len();
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            *last = fact;
        } else if last.width() + BETWEEN.len() + fact.width() <= width {
            last.push_str(BETWEEN);
            last.push_str(&fact);
        } else if many < FACTS {
            lines.push(fact);
        }
    }
    lines.resize(FACTS, String::new());
    lines.into_iter().map(|line| Line::from(span(style, Tone::Plain, &cell(style, &line, width)))).collect()
}

fn told(live: &Live, report: Option<&Report>) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(report) = report {
        let queue = &report.server.accept_queue;
        let of = queue.backlog.map_or_else(String::new, |backlog| format!(" of {}", count(backlog)));
        let most = queue.max.map_or_else(|| "unknown".into(), |max| count(max) + &of);
        facts.push(format!("accept queue {most}"));
    }
    let used = live.host_busy.map_or_else(String::new, |busy| format!(", {} used", percent(busy)));
    facts.push(format!("CPUs {}{used}", live.cpus));
    facts.extend(live.throttled.map(|share| format!("throttled {}", percent(share))));
    let own = &live.own;
    facts.extend(
        own.cpu.map(|cpu| format!("we: {:.1} % CPU, {:.0} MiB", cpu * 100.0, own.rss_kib as f64 / 1_024.0)),
    );
    if own.asked > 0 {
        facts.push(format!("lost {} of {}", count(own.lost), count(own.asked)));
    }
    facts.push(format!("{:.0}/s, late {} ms", own.rate_hz, own.late_ms));
    if let Some(unseen) = report.map(|r| r.blind_spots.len()).filter(|n| *n > 0) {
        facts.push(format!("not seen: {unseen}"));
    }
    facts
}
