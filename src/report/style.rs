//! How a page looks: colour or none, all of Unicode or ASCII.
//!
//! Colour repeats what a word says and never stands alone. Only the sixteen ANSI colours, no background, neither
//! black nor white: those are readable on light and dark terminals.

use std::env;
use std::io::IsTerminal;

use super::sanitize::Charset;
use crate::diagnose::model::Severity;

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is known of the place that the text goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Whether a person may be looking.
    pub is_terminal: bool,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM`.
    pub term: Option<String>,
    /// The first of `LC_ALL`, `LC_CTYPE` and `LANG` that is set.
    pub locale: Option<String>,
}

impl Place {
    /// Standard output, as the environment describes it.
    #[must_use]
    pub fn stdout() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            no_color: env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            term: set("TERM"),
            locale: ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set),
        }
    }

    /// Standard error, where errors go.
    #[must_use]
    pub fn stderr() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), ..Self::stdout() }
    }

    /// A file: no terminal, the same locale.
    #[must_use]
    pub fn file() -> Self {
        Self { is_terminal: false, ..Self::stdout() }
    }
}

/// How a page looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Colour the words.
    pub color: bool,
    /// Use ASCII only.
    pub ascii: bool,
}

impl Style {
    /// The look that fits the user's wish and the place.
    #[must_use]
    pub fn choose(when: ColorWhen, place: &Place) -> Self {
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => place.is_terminal && !place.no_color && place.term.as_deref() != Some("dumb"),
        };
        let unicode = place.locale.as_deref().is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { color, ascii: !unicode }
    }

    /// What may be shown.
    #[must_use]
    pub const fn charset(self) -> Charset {
        if self.ascii { Charset::Ascii } else { Charset::Unicode }
    }

    /// A text that is already harmless, in a tone.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        match tone.ansi() {
            Some(code) if self.color && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// What a text is, to a reader in a hurry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it comes.
    Plain,
    /// A heading or a name to find again.
    Strong,
    /// For the second reading.
    Faint,
    /// Requests are lost or held up.
    Critical,
    /// Somebody should look.
    Warning,
    /// Nothing to do.
    Fine,
    /// Not known.
    Unknown,
}

impl Tone {
    /// The tone of a severity; none means that the verdict is not known.
    #[must_use]
    pub const fn of(severity: Option<Severity>) -> Self {
        match severity {
            Some(Severity::Critical) => Self::Critical,
            Some(Severity::Warning) => Self::Warning,
            Some(Severity::Info) => Self::Fine,
            None => Self::Unknown,
        }
    }

    const fn ansi(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Critical => Some("1;31"),
            Self::Warning => Some("33"),
            Self::Fine => Some("32"),
            Self::Unknown => Some("35"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Place {
        Place {
            is_terminal: true,
            no_color: false,
            term: Some("xterm".into()),
            locale: Some("de_DE.UTF-8".into()),
        }
    }

    #[test]
    fn colour_needs_a_terminal_that_wants_it() {
        assert!(Style::choose(ColorWhen::Auto, &terminal()).color);
        assert!(!Style::choose(ColorWhen::Auto, &Place { is_terminal: false, ..terminal() }).color);
        assert!(!Style::choose(ColorWhen::Auto, &Place { no_color: true, ..terminal() }).color);
        assert!(!Style::choose(ColorWhen::Auto, &Place { term: Some("dumb".into()), ..terminal() }).color);
    }

    #[test]
    fn what_the_user_says_wins() {
        assert!(Style::choose(ColorWhen::Always, &Place { no_color: true, ..Place::default() }).color);
        assert!(!Style::choose(ColorWhen::Never, &terminal()).color);
    }

    #[test]
    fn a_locale_that_is_not_utf8_gets_ascii() {
        assert!(!Style::choose(ColorWhen::Auto, &terminal()).ascii);
        assert!(Style::choose(ColorWhen::Auto, &Place { locale: Some("C".into()), ..terminal() }).ascii);
        assert!(Style::choose(ColorWhen::Auto, &Place { locale: None, ..terminal() }).ascii);
        assert!(
            !Style::choose(ColorWhen::Auto, &Place { locale: Some("C.utf8".into()), ..terminal() }).ascii
        );
    }
}
