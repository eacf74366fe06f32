//! A page of text: lines of at most [`COLUMNS`] columns, and the only way by which text reaches a person.
//!
//! Everything that is put on a page is escaped here ([`super::sanitize`]), so no caller can forget it, and
//! wrapped under the place where it began.

use textwrap::{Options, WordSplitter};
use unicode_width::UnicodeWidthStr;

use super::sanitize::{PROSE_COLUMNS, escape};
use super::style::{Style, Tone};
use crate::capture::model::BlindSpot;

/// Width of a page.
pub const COLUMNS: usize = 100;

/// Least room for text, whatever stands in front of it.
const LEAST_COLUMNS: usize = 20;

/// Widest text that is shown whole in a cell without a width of its own.
const CELL_COLUMNS: usize = 36;

/// A cell in front of the text of a row.
#[derive(Debug, Clone)]
pub(super) struct Cell<'a> {
    /// What it is to the reader.
    pub tone: Tone,
    /// Its text.
    pub text: &'a str,
    /// How wide it is; a longer text is cut, a shorter one padded. 0: as wide as its text.
    pub columns: usize,
}

/// What becomes of text that is wider than the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It goes on below its own beginning.
    Wrap,
    /// It ends at the last word that fits.
    Cut,
}

impl Fit {
    fn lines(self, text: &str, width: usize, style: Style) -> Vec<String> {
        let wrap = |width| {
            let options = Options::new(width).word_splitter(WordSplitter::NoHyphenation);
            textwrap::wrap(text, options).into_iter().map(String::from).collect::<Vec<_>>()
        };
        if self == Self::Wrap || text.width() <= width {
            return wrap(width);
        }
        let ellipsis = if style.ascii { " ..." } else { " …" };
        let mut lines = wrap(width - ellipsis.width());
        lines.truncate(1);
        for line in &mut lines {
            line.push_str(ellipsis);
        }
        lines
    }
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
        self.row(indent, &[], tone, body, Fit::Wrap);
    }

    /// What could not be seen, why, and what helps; nothing where all was seen.
    pub fn not_seen(&mut self, spots: &[BlindSpot]) {
        if spots.is_empty() {
            return;
        }
        self.gap();
        self.line(0, Tone::Strong, "Not seen");
        for spot in spots {
            self.line(2, Tone::Plain, &format!("{}: {}; {}", spot.what, spot.why, spot.remedy));
        }
    }

    /// Text behind a label of a given width.
    pub fn item(&mut self, indent: usize, tone: Tone, label: &str, columns: usize, body: &str) {
        self.row(indent, &[Cell { tone, text: label, columns }], Tone::Plain, body, Fit::Wrap);
    }

    /// Cells, then text.
    pub fn row(&mut self, indent: usize, cells: &[Cell<'_>], tone: Tone, body: &str, fit: Fit) {
        let mut start = self.cells(indent, cells);
        if start > COLUMNS - LEAST_COLUMNS {
            self.end_line();
            start = indent + 4;
            self.spaces(start);
        }
        let body = self.harmless(body, PROSE_COLUMNS);
        let width = COLUMNS - start;
        let mut lines = fit.lines(&body, width, self.style);
        if lines.iter().any(|line| is_command(line)) {
            lines = fit.lines(&body.replace("::", "\\x3a\\x3a"), width, self.style);
        }
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                self.text.push('\n');
                self.spaces(start);
            }
            self.text.push_str(&self.style.paint(tone, line));
        }
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
            let most = if cell.columns == 0 { CELL_COLUMNS } else { cell.columns };
            let mut text = self.harmless(cell.text, most);
            if is_command(&text) {
                text = self.harmless(&text.replace("::", "\\x3a\\x3a"), most);
            }
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

/// Whether GitHub's runner would take a line that begins like this for a command.
fn is_command(line: &str) -> bool {
    line.trim_start().starts_with("::")
}
