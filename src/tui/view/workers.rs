//! The list: one row per worker, the selected one reversed, ended ones dim until they leave.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::put;
use crate::report::style::{Style, Tone};
use crate::tui::app::{App, Row};
use crate::tui::columns::{Column, fit};
use crate::tui::look::{cell, harmless, painted, right, span, sparkline};

/// Draws the list into an area.
pub fn draw(app: &mut App, style: Style, frame: &mut Frame<'_>, area: Rect) {
    let columns = fit(area.width as usize - 2);
    let room = (area.height as usize).saturating_sub(1);
    app.screen = room;
    let rows = app.visible();
    let selected = app.selected().map(|row| row.id);
    let place = rows.iter().position(|row| Some(row.id) == selected).unwrap_or(0);
    // The selected row is always on the screen, and the list moves no further than it must.
    let from = place.saturating_sub(room.saturating_sub(1));
    let mut lines = vec![titles(app, &columns, style)];
    let shown = rows.iter().skip(from).take(room);
    lines.extend(shown.map(|row| line(row, Some(row.id) == selected, &columns, style)));
    if rows.is_empty() {
        let why = if app.rows.is_empty() { "nothing seen yet" } else { "no worker matches the filter" };
        lines.push(Line::from(span(style, Tone::Faint, &format!("  {why}"))));
    }
    put(frame, area, lines);
}

fn titles(app: &App, columns: &[(Column, usize)], style: Style) -> Line<'static> {
    let arrow = match (app.inverted, style.ascii) {
        (false, false) => "▼",
        (true, false) => "▲",
        (false, true) => "v",
        (true, true) => "^",
    };
    let mut spans = vec![Span::raw("  ")];
    for (column, width) in columns {
        let sorted = *column == app.sort;
        // The indent of the signs in front of a verdict.
        let indent = if *column == Column::Verdict { "   " } else { "" };
        let title = format!("{indent}{}{}", column.title(), if sorted { arrow } else { "" });
        let text =
            if column.is_number() { right(style, &title, *width) } else { cell(style, &title, *width) };
        spans.push(Span::styled(text, painted(style, if sorted { Tone::Strong } else { Tone::Faint })));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn line(row: &Row, selected: bool, columns: &[(Column, usize)], style: Style) -> Line<'static> {
    let gone = row.gone_at_ns.is_some();
    let mut spans = vec![span(style, Tone::Strong, if selected { "> " } else { "  " })];
    for (column, width) in columns {
        let text = match column {
            Column::History => sparkline(style, row.cpu.iter(), 1.0, *width),
            column if column.is_number() => right(style, &column.text(row), *width),
            column => cell(style, &column.text(row), *width),
        };
        let tone = match column {
            _ if gone => Tone::Faint,
            Column::Verdict => row.judged.as_ref().map_or(Tone::Faint, |p| Tone::of(p.verdict.severity)),
            Column::Pid => Tone::Strong,
            _ => Tone::Plain,
        };
        spans.push(span(style, tone, &text));
        spans.push(Span::raw(" "));
    }
    let line = Line::from(spans);
    if selected { line.style(ratatui::style::Style::new().add_modifier(Modifier::REVERSED)) } else { line }
}

/// A name that is shown alone.
#[must_use]
pub fn title(row: &Row, style: Style) -> String {
    harmless(style, &format!("{} {}", crate::report::words::word(&row.role), row.id.0))
}
