//! The last line: the keys that are valid now, something to tell, or the filter being typed.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::report::style::{Style, Tone};
use crate::tui::app::App;
use crate::tui::keys::footer;
use crate::tui::look::{cell, span};

/// The line.
pub fn line(app: &App, style: Style, width: usize) -> Line<'static> {
    if app.typing.is_some() {
        let text = format!("filter: {}_", app.filter);
        return Line::from(span(style, Tone::Strong, &cell(style, &text, width)));
    }
    if let Some(message) = &app.message {
        return Line::from(span(style, Tone::Strong, &cell(style, message, width)));
    }
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut used = 0;
    if !app.filter.is_empty() && !app.on_page() {
        let text = format!("only \"{}\"  ", app.filter);
        used += text.width();
        spans.push(span(style, Tone::Warning, &text));
    }
    for binding in footer(app.open) {
        let text = format!(" {}  ", binding.short);
        let more = binding.shown.width() + text.width();
        if used + more > width {
            break;
        }
        used += more;
        spans.push(span(style, Tone::Strong, binding.shown));
        spans.push(span(style, Tone::Plain, &text));
    }
    Line::from(spans)
}
