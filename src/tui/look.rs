//! How text gets onto the screen: harmless, in a tone, as wide as its place.
//!
//! The panes put no text on the screen in any other way, so no foreign name reaches the terminal unescaped. Only the
//! sixteen ANSI colours, bold, dim and reverse; no background; what a colour says, a word or a sign says too.

use ratatui::style::{Color, Modifier, Style as Painted};
use ratatui::text::Span;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::sanitize::{PROSE_COLUMNS, escape};
use crate::report::style::{Style, Tone};

/// A piece of text in a tone.
#[must_use]
pub fn span(style: Style, tone: Tone, text: &str) -> Span<'static> {
    Span::styled(harmless(style, text), painted(style, tone))
}

/// A text that a terminal shows and does not act on.
#[must_use]
pub fn harmless(style: Style, text: &str) -> String {
    escape(text, style.charset(), PROSE_COLUMNS)
}

/// The terminal's way to show a tone.
#[must_use]
pub const fn painted(style: Style, tone: Tone) -> Painted {
    let (color, modifier) = match tone {
        Tone::Plain => (None, Modifier::empty()),
        Tone::Strong => (None, Modifier::BOLD),
        Tone::Faint => (None, Modifier::DIM),
        Tone::Critical => (Some(Color::Red), Modifier::BOLD),
        Tone::Warning => (Some(Color::Yellow), Modifier::empty()),
        Tone::Fine => (Some(Color::Green), Modifier::empty()),
        Tone::Unknown => (Some(Color::Magenta), Modifier::empty()),
    };
    let plain = Painted::new().add_modifier(modifier);
    match color {
        Some(color) if style.color => plain.fg(color),
        _ => plain,
    }
}

/// A text cut or padded to so many columns.
#[must_use]
pub fn cell(style: Style, text: &str, columns: usize) -> String {
    let text = harmless(style, text);
    let width = text.width();
    if width <= columns {
        return format!("{text}{}", " ".repeat(columns - width));
    }
    let ellipsis = if style.ascii { "~" } else { "…" };
    let room = columns.saturating_sub(1);
    let (mut cut, mut used) = (String::new(), 0);
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > room {
            break;
        }
        cut.push(c);
        used += wide;
    }
    if columns > 0 {
        cut.push_str(ellipsis);
        used += 1;
    }
    cut.push_str(&" ".repeat(columns.saturating_sub(used)));
    cut
}

/// The same, pushed to the right.
#[must_use]
pub fn right(style: Style, text: &str, columns: usize) -> String {
    let text = harmless(style, text);
    let pad = columns.saturating_sub(text.width());
    cell(style, &format!("{}{text}", " ".repeat(pad)), columns)
}

/// A short history, newest to the right, `most` at full height.
#[must_use]
pub fn sparkline<'v>(
    style: Style,
    values: impl DoubleEndedIterator<Item = &'v f64>,
    most: f64,
    columns: usize,
) -> String {
    const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    const ASCII: [&str; 9] = ["_", ".", ".", ":", "-", "=", "+", "*", "#"];
    let signs = if style.ascii { ASCII } else { BLOCKS };
    let newest: Vec<&f64> = values.rev().take(columns).collect();
    let mut line = " ".repeat(columns - newest.len());
    for value in newest.into_iter().rev() {
        let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
        // What is small and not nothing is seen.
        let height = if share > 0.0 { (share * 8.0).ceil().max(1.0) as usize } else { 0 };
        line.push_str(signs[height.min(8)]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Style = Style { color: false, ascii: false };
    const ASCII: Style = Style { color: false, ascii: true };

    #[test]
    fn cells_are_as_wide_as_told() {
        for text in ["", "short", "rather too long for it", "漢字漢字漢字漢字", "\x1b[31mred"] {
            for columns in 0..20 {
                for style in [UNICODE, ASCII] {
                    assert_eq!(cell(style, text, columns).width(), columns, "{text:?} in {columns}");
                    assert_eq!(right(style, text, columns).width(), columns, "{text:?} in {columns}");
                }
            }
        }
        assert_eq!(cell(UNICODE, "function_name", 8), "functio…");
        assert_eq!(right(ASCII, "42", 4), "  42");
    }

    #[test]
    fn what_is_hostile_is_shown_and_not_acted_on() {
        assert_eq!(span(UNICODE, Tone::Plain, "a\x1b]0;x\x07\u{202e}").content, r"a\x1b]0;x\x07\u{202e}");
    }

    #[test]
    fn sparklines_show_the_newest_at_the_right() {
        assert_eq!(sparkline(UNICODE, [0.0, 0.001, 0.5, 1.0, 9.0].iter(), 1.0, 7), "   ▁▄██");
        assert_eq!(sparkline(ASCII, [0.0, 0.5, 1.0].iter(), 1.0, 2), "-#");
        assert_eq!(sparkline(UNICODE, [].iter(), 1.0, 3), "   ");
    }

    #[test]
    fn without_colour_there_is_none_and_never_a_background() {
        for tone in [Tone::Plain, Tone::Critical, Tone::Warning, Tone::Fine, Tone::Unknown, Tone::Faint] {
            assert_eq!(painted(UNICODE, tone).fg, None);
            let colored = painted(Style { color: true, ascii: false }, tone);
            assert_eq!(colored.bg, None);
            assert!(!matches!(colored.fg, Some(Color::Black | Color::White)));
        }
    }
}
