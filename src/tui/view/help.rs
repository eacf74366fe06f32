//! The keys, as the table has them.

use ratatui::text::{Line, Span};

use crate::report::style::{Style, Tone};
use crate::tui::keys::KEYS;
use crate::tui::look::{cell, span};

/// Width of the keys' names.
const NAMES: usize = 11;

/// The keys in so many lines: in columns of short words where there is no room for the sentences.
pub fn lines(style: Style, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(span(style, Tone::Strong, "Keys"))];
    let room = height.saturating_sub(1).max(1);
    let sentences = KEYS.len() <= room;
    let columns = if sentences { 1 } else { KEYS.len().div_ceil(room) };
    let each = KEYS.len().div_ceil(columns);
    let words = (width / columns).saturating_sub(NAMES + 1);
    for at in 0..each {
        let mut spans: Vec<Span<'static>> = Vec::new();
        for column in 0..columns {
            if let Some(binding) = KEYS.get(at + column * each) {
                let text = if sentences { binding.long } else { binding.short };
                spans.push(span(style, Tone::Strong, &cell(style, binding.shown, NAMES)));
                spans.push(span(style, Tone::Plain, &cell(style, text, words)));
                spans.push(Span::raw(" "));
            }
        }
        lines.push(Line::from(spans));
    }
    lines
}
