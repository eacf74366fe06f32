//! The keys, as the table has them.

use ratatui::text::{Line, Span};

use crate::report::style::{Style, Tone};
use crate::tui::keys::KEYS;
use crate::tui::look::{cell, span};

/// Width of the keys' names.
const NAMES: usize = 11;

/// The keys in so many lines: in two columns of short words where the sentences need more.
pub fn lines(style: Style, height: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(span(style, Tone::Strong, "Keys"))];
    let room = height.saturating_sub(1);
    if KEYS.len() <= room {
        lines.extend(KEYS.iter().map(|binding| {
            Line::from(vec![
                span(style, Tone::Strong, &cell(style, binding.shown, NAMES)),
                span(style, Tone::Plain, binding.long),
            ])
        }));
        return lines;
    }
    let columns = KEYS.len().div_ceil(room.max(1)).max(2);
    let each = KEYS.len().div_ceil(columns);
    for at in 0..each {
        let mut spans: Vec<Span<'static>> = Vec::new();
        for column in 0..columns {
            if let Some(binding) = KEYS.get(at + column * each) {
                spans.push(span(style, Tone::Strong, &cell(style, binding.shown, NAMES)));
                spans.push(span(style, Tone::Plain, &cell(style, binding.short, 16)));
            }
        }
        lines.push(Line::from(spans));
    }
    lines
}
