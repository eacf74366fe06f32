//! A frame of the view as a picture (SVG): what is drawn is what a terminal would show.
//!
//! Self-contained and the same to the byte for the same frame: the letters are text, so they can be searched and read
//! aloud, each run of one style placed and stretched to its columns whatever the font.

use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::app::App;
use super::view;
use crate::report::sanitize::is_harmful;
use crate::report::style::Style;

/// Width of a column and height of a line, in the picture's units.
const CELL: (usize, usize) = (8, 17);
const MARGIN: usize = 12;
const PAPER: &str = "#1d2026";
const INK: &str = "#d8dbe0";

/// Draws the view as it is in a window of a size.
#[must_use]
pub fn frame(app: &mut App, style: Style, columns: u16, lines: u16) -> Buffer {
    let mut terminal = match Terminal::new(TestBackend::new(columns, lines)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| view::draw(app, style, frame)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    terminal.backend().buffer().clone()
}

/// A frame as SVG.
#[must_use]
pub fn svg(buffer: &Buffer, title: &str) -> String {
    let (columns, lines) = (buffer.area.width as usize, buffer.area.height as usize);
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, lines * CELL.1 + 2 * MARGIN);
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{PAPER}\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13\" fill=\"{INK}\" xml:space=\"preserve\">",
        escape(title)
    );
    for line in 0..lines {
        runs(buffer, line, columns, &mut out);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// The runs of one style in a line.
fn runs(buffer: &Buffer, line: usize, columns: usize, out: &mut String) {
    let cells: Vec<&Cell> = (0..columns).map(|x| &buffer[(x as u16, line as u16)]).collect();
    let mut at = 0;
    while at < cells.len() {
        let first = cells[at];
        let look = (first.fg, first.modifier);
        let mut end = at;
        let mut text = String::new();
        while end < cells.len() && (cells[end].fg, cells[end].modifier) == look {
            text.push_str(cells[end].symbol());
            // The second half of a wide letter is empty.
            end += cells[end].symbol().width().max(1);
        }
        run(&text, (at, end.min(columns), line), look, out);
        at = end;
    }
}

fn run(text: &str, (from, to, line): (usize, usize, usize), look: (Color, Modifier), out: &mut String) {
    let (color, modifier) = look;
    let reversed = modifier.contains(Modifier::REVERSED);
    let (x, y) = (MARGIN + from * CELL.0, MARGIN + line * CELL.1);
    let ink = ink(color);
    if reversed {
        let width = (to - from) * CELL.0;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{ink}\"/>",
            CELL.1
        );
    }
    let shown = text.trim_end();
    if shown.trim_start().is_empty() {
        return;
    }
    let skipped = shown.width() - shown.trim_start().width();
    let (x, length) = (x + skipped * CELL.0, shown.trim_start().width() * CELL.0);
    let mut attributes = String::new();
    if reversed {
        let _ = write!(attributes, " fill=\"{PAPER}\"");
    } else if ink != INK {
        let _ = write!(attributes, " fill=\"{ink}\"");
    }
    if modifier.contains(Modifier::BOLD) {
        attributes.push_str(" font-weight=\"bold\"");
    }
    if modifier.contains(Modifier::DIM) {
        attributes.push_str(" opacity=\"0.65\"");
    }
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{}\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\"{attributes}>{}</text>",
        y + 13,
        escape(shown.trim_start())
    );
}

const fn ink(color: Color) -> &'static str {
    match color {
        Color::Red => "#ff6b6b",
        Color::Yellow => "#e5c07b",
        Color::Green => "#8cc570",
        Color::Magenta => "#d38aea",
        _ => INK,
    }
}

/// A text for XML. What a picture cannot hold was made visible before; what slipped through is left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_harmful(*c)) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style as Painted;

    use super::*;

    #[test]
    fn what_is_hostile_to_xml_is_text() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 40, 1));
        buffer.set_string(1, 0, "<script>\"&'漢", Painted::new().fg(Color::Red));
        let svg = svg(&buffer, "a<b\u{7}");
        assert!(svg.contains("<title>a&lt;b</title>"), "{svg}");
        assert!(svg.contains("fill=\"#ff6b6b\">&lt;script&gt;&quot;&amp;&#39;漢</text>"), "{svg}");
        assert!(svg.contains("textLength=\"104\""), "thirteen columns: {svg}");
        assert!(!svg.contains("<script"));
    }

    #[test]
    fn a_selected_line_is_dark_on_light() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 3, 1));
        buffer.set_string(0, 0, "abc", Painted::new().add_modifier(Modifier::REVERSED));
        let svg = svg(&buffer, "t");
        assert!(
            svg.contains("<rect x=\"12\" y=\"12\" width=\"24\" height=\"17\" fill=\"#d8dbe0\"/>"),
            "{svg}"
        );
        assert!(svg.contains("fill=\"#1d2026\">abc</text>"), "{svg}");
    }
}
