//! A page of text: lines of at most [`COLUMNS`] columns, and the only way by which text reaches a person.
//!
//! Everything that is put on a page is escaped here ([`super::sanitize`]), so no caller can forget it, and
//! wrapped under the place where it began.

use textwrap::{Options, WordSplitter};
use unicode_width::UnicodeWidthStr;

use super::sanitize::{NAME_COLUMNS, PROSE_COLUMNS, escape};
use super::style::{Style, Tone};

/// Width of a page.
pub const COLUMNS: usize = 100;

/// A cell in front of the text of a row.
#[derive(Debug, Clone)]
pub(super) struct Cell<'a> {
    /// What it is to the reader.
    pub tone: Tone,
    /// Its text.
    pub text: &'a str,
    /// How wide it is at least.
    pub columns: usize,
}

/// A page being written.
#[derive(Debug)]
pub(super) struct Page {
    style: Style,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new(style: Style) -> Self {
        Self { style, text: String::new() }
    }

    /// The finished page.
    pub fn finish(self) -> String {
        self.text
    }

    /// How the page looks.
    pub fn style(&self) -> Style {
        self.style
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A line of text.
    pub fn line(&mut self, indent: usize, tone: Tone, body: &str) {
        self.row(indent, &[], tone, body);
    }

    /// Text behind a label of a given width.
    pub fn item(&mut self, indent: usize, tone: Tone, label: &str, columns: usize, body: &str) {
        self.row(indent, &[Cell { tone, text: label, columns }], Tone::Plain, body);
    }

    /// Cells, then text that is wrapped under its own beginning.
    pub fn row(&mut self, indent: usize, cells: &[Cell<'_>], tone: Tone, body: &str) {
        let start = self.cells(indent, cells);
        let body = self.harmless(body, PROSE_COLUMNS);
        let width = COLUMNS.saturating_sub(start).max(20);
        let options = Options::new(width).word_splitter(WordSplitter::NoHyphenation);
        for (number, line) in textwrap::wrap(&body, options).iter().enumerate() {
            if number > 0 {
                self.text.push('\n');
                self.spaces(start);
            }
            self.text.push_str(&self.style.paint(tone, line));
        }
        self.end_line();
    }

    /// Cells, then as much text as fits on the line.
    pub fn short_row(&mut self, indent: usize, cells: &[Cell<'_>], tone: Tone, body: &str) {
        let start = self.cells(indent, cells);
        let body = self.harmless(body, PROSE_COLUMNS);
        let width = COLUMNS.saturating_sub(start).max(20);
        let mut lines =
            textwrap::wrap(&body, Options::new(width - 4).word_splitter(WordSplitter::NoHyphenation));
        let more = if lines.len() > 1 { if self.style.ascii { " ..." } else { " …" } } else { "" };
        if lines.len() > 1 && body.width() <= width {
            lines = vec![body.as_str().into()];
        }
        let shown = lines.first().map_or("", |line| line.as_ref());
        let more = if lines.len() > 1 { more } else { "" };
        self.text.push_str(&self.style.paint(tone, &format!("{shown}{more}")));
        self.end_line();
    }

    fn harmless(&self, text: &str, columns: usize) -> String {
        escape(text, self.style.charset(), columns)
    }

    /// Writes cells and gives the column behind them.
    fn cells(&mut self, indent: usize, cells: &[Cell<'_>]) -> usize {
        self.spaces(indent);
        let mut column = indent;
        for cell in cells {
            let text = self.harmless(cell.text, NAME_COLUMNS.min(COLUMNS / 2));
            let width = text.width();
            self.text.push_str(&self.style.paint(cell.tone, &text));
            let columns = cell.columns.max(width) + 2;
            self.spaces(columns - width);
            column += columns;
        }
        column
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
    }

    fn end_line(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }
}
