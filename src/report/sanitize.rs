//! The one edge at which foreign text becomes harmless for a terminal.
//!
//! Names of functions, files, threads and peers come out of a process that may be hostile. A terminal acts on
//! control characters, bidirectional marks reorder a line and zero-width characters hide in one; all of them
//! become visible (`\x1b`, `\u{202e}`). Whoever puts text on a terminal goes through [`escape`]; no other module
//! may write foreign text there. Logs of pipelines are terminals too: GitHub's and Azure's runners act on `##[…]` and
//! `##vso[…]` anywhere in a line.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// Widest foreign name that is shown whole.
pub const NAME_COLUMNS: usize = 200;

/// Longest sentence that is shown whole.
pub const PROSE_COLUMNS: usize = 1_200;

/// Whether a terminal would act on a character or hide it.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control() // C0, DEL and C1
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' // soft hyphen, fillers, selectors
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // zero width, separators, bidi
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}') // musical controls, tags, selectors
}

/// Which characters a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// All of Unicode.
    Unicode,
    /// ASCII only.
    Ascii,
}

/// A text that a terminal shows and does not act on, at most `max_columns` wide (plus the note of its length).
#[must_use]
pub fn escape(text: &str, charset: Charset, max_columns: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max_columns));
    let mut columns = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let start = shown.len();
        if c == '#'
            && shown.ends_with('#')
            && ["[", "vso["].iter().any(|name| rest.as_str().starts_with(name))
        {
            shown.push_str("\\x23");
        } else {
            push_visible(&mut shown, c, charset);
        }
        // A combining mark counts too: otherwise thousands of them would fit into no column at all.
        columns +=
            shown.get(start..).map_or(0, |piece| piece.chars().map(|c| c.width().unwrap_or(0).max(1)).sum());
        if columns > max_columns {
            shown.truncate(start);
            let ellipsis = if charset == Charset::Ascii { "..." } else { "…" };
            let _ = write!(shown, "{ellipsis} ({} characters)", text.chars().count());
            break;
        }
    }
    shown
}

fn push_visible(shown: &mut String, c: char, charset: Charset) {
    match c {
        c if c.is_ascii_control() => {
            let _ = write!(shown, "\\x{:02x}", u32::from(c));
        }
        c if is_harmful(c) => {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
        c if c.is_ascii() || charset == Charset::Unicode => shown.push(c),
        c => match plain(c) {
            Some(plain) => shown.push_str(plain),
            None => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
        },
    }
}

/// What ASCII has in the place of the punctuation that our own sentences use.
const fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        '…' => "...",
        '–' | '—' | '·' | '−' => "-",
        '→' => "->",
        '←' => "<-",
        '≥' => ">=",
        '≤' => "<=",
        '≠' => "!=",
        '×' => "x",
        'µ' => "u",
        '“' | '”' => "\"",
        '‘' | '’' => "'",
        '\u{a0}' | '\u{2009}' | '\u{202f}' => " ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        escape(text, Charset::Unicode, NAME_COLUMNS)
    }

    #[test]
    fn osc_title() {
        assert_eq!(shown("f\x1b]0;pwned\x07()"), r"f\x1b]0;pwned\x07()");
    }

    #[test]
    fn osc52_clipboard() {
        assert_eq!(shown("\x1b]52;c;cm0gLXJm\x1b\\"), "\\x1b]52;c;cm0gLXJm\\x1b\\");
    }

    #[test]
    fn csi() {
        assert_eq!(shown("\x1b[2J\x1b[31m"), r"\x1b[2J\x1b[31m");
    }

    #[test]
    fn newline() {
        assert_eq!(shown("ok\r\nserver: healthy\t"), r"ok\x0d\x0aserver: healthy\x09");
    }

    #[test]
    fn delete_and_nul() {
        assert_eq!(shown("a\x7f\0b"), r"a\x7f\x00b");
    }

    #[test]
    fn bidi() {
        assert_eq!(shown("a\u{202e}b\u{2066}c\u{200f}"), r"a\u{202e}b\u{2066}c\u{200f}");
    }

    #[test]
    fn c1() {
        assert_eq!(shown("\u{9b}2J\u{90}q\u{9c}"), r"\u{9b}2J\u{90}q\u{9c}");
    }

    #[test]
    fn zero_width() {
        assert_eq!(
            shown("ad\u{200b}min\u{feff}\u{e0041}\u{fe0f}"),
            r"ad\u{200b}min\u{feff}\u{e0041}\u{fe0f}"
        );
    }

    #[test]
    fn commands_of_pipelines() {
        assert_eq!(
            shown("##[error]x ###[y ##vso[z] ## #[derive]"),
            r"#\x23[error]x ##\x23[y #\x23vso[z] ## #[derive]"
        );
    }

    #[test]
    fn flood() {
        let text = escape(&"x".repeat(5_000), Charset::Unicode, 200);
        assert_eq!(text, format!("{}… (5000 characters)", "x".repeat(200)));
        let marks = escape(&format!("a{}", "\u{301}".repeat(5_000)), Charset::Unicode, 200);
        assert!(marks.chars().count() < 230, "{}", marks.chars().count());
        let wide = escape(&"漢".repeat(300), Charset::Unicode, 200);
        assert!(wide.starts_with(&"漢".repeat(100)) && !wide.starts_with(&"漢".repeat(101)));
    }

    #[test]
    fn ascii_terminals_get_ascii() {
        assert_eq!(escape("≥ 70 % – “é”", Charset::Ascii, 200), r#">= 70 % - "\u{e9}""#);
    }

    proptest::proptest! {
        #[test]
        fn nothing_harmful_passes(text in proptest::prelude::any::<String>(), columns in 0_usize..300) {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let shown = escape(&text, charset, columns);
                proptest::prop_assert!(!shown.chars().any(is_harmful));
                proptest::prop_assert!(charset == Charset::Unicode || shown.is_ascii());
            }
        }
    }
}
