//! The keys: one table from which the program acts, the footer and the help are drawn, and the man page is written.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Leave as an interrupted look does.
    Interrupt,
    /// Leave and print the report.
    QuitAndPrint,
    /// Show or hide the keys.
    Help,
    /// Close what is open, one level at a time.
    Back,
    /// Open the page of the selected worker.
    Open,
    /// One up.
    Up,
    /// One down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// To the first.
    First,
    /// To the last.
    Last,
    /// The next worker, on its page.
    NextWorker,
    /// The worker before, on its page.
    PreviousWorker,
    /// Hold the picture, or go on.
    Pause,
    /// Sort by the column to the left.
    SortLeft,
    /// Sort by the column to the right.
    SortRight,
    /// Turn the order around.
    Invert,
    /// Show only what contains a text.
    Filter,
    /// Write the report.
    Write,
    /// Forget histories and the window.
    Reset,
    /// Draw everything anew.
    Redraw,
    /// Give the terminal back to the shell for a while.
    Suspend,
}

/// Where a key is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Everywhere.
    Anywhere,
    /// In the list of workers.
    List,
    /// On the page of a worker.
    Page,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// The keys.
    pub keys: &'static [(KeyCode, KeyModifiers)],
    /// How they are called.
    pub shown: &'static str,
    /// What they ask for.
    pub action: Action,
    /// Where they are valid.
    pub place: Place,
    /// What they do, in a word or two for the footer.
    pub short: &'static str,
    /// What they do, in a sentence.
    pub long: &'static str,
    /// Whether the footer shows them, where they are valid.
    pub footer: bool,
}

const fn key(code: KeyCode) -> (KeyCode, KeyModifiers) {
    (code, KeyModifiers::NONE)
}

const fn char(c: char) -> (KeyCode, KeyModifiers) {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> (KeyCode, KeyModifiers) {
    (KeyCode::Char(c), KeyModifiers::CONTROL)
}

const fn binding(
    keys: &'static [(KeyCode, KeyModifiers)],
    shown: &'static str,
    action: Action,
    place: Place,
    short: &'static str,
    long: &'static str,
) -> Binding {
    Binding { keys, shown, action, place, short, long, footer: false }
}

const fn in_footer(binding: Binding) -> Binding {
    Binding { footer: true, ..binding }
}

use Place::{Anywhere, List, Page};

/// All keys, in the order in which they are told.
pub const KEYS: &[Binding] = &[
    in_footer(binding(&[char('q')], "q", Action::Quit, Anywhere, "quit", "Quit.")),
    in_footer(binding(
        &[char('?'), char('h'), key(KeyCode::F(1))],
        "?",
        Action::Help,
        Anywhere,
        "keys",
        "Show the keys; ?, Esc or q closes.",
    )),
    in_footer(binding(
        &[key(KeyCode::Enter)],
        "Enter",
        Action::Open,
        List,
        "open",
        "Open the page of the selected worker.",
    )),
    in_footer(binding(
        &[key(KeyCode::Esc)],
        "Esc",
        Action::Back,
        Page,
        "back",
        "Go back, one level at a time; it never quits.",
    )),
    binding(&[char('k'), key(KeyCode::Up)], "k, Up", Action::Up, Anywhere, "up", "Go up."),
    binding(&[char('j'), key(KeyCode::Down)], "j, Down", Action::Down, Anywhere, "down", "Go down."),
    binding(&[key(KeyCode::PageUp)], "PgUp", Action::PageUp, Anywhere, "up more", "Go up a screen."),
    binding(&[key(KeyCode::PageDown)], "PgDn", Action::PageDown, Anywhere, "more", "Go down a screen."),
    binding(
        &[char('g'), key(KeyCode::Home)],
        "g, Home",
        Action::First,
        Anywhere,
        "first",
        "Go to the beginning.",
    ),
    binding(&[char('G'), key(KeyCode::End)], "G, End", Action::Last, Anywhere, "last", "Go to the end."),
    in_footer(binding(
        &[key(KeyCode::Tab)],
        "Tab",
        Action::NextWorker,
        Page,
        "next",
        "Show the next worker.",
    )),
    binding(
        &[key(KeyCode::BackTab)],
        "Shift-Tab",
        Action::PreviousWorker,
        Page,
        "previous",
        "Show the worker before.",
    ),
    in_footer(binding(
        &[char(' ')],
        "Space",
        Action::Pause,
        Anywhere,
        "pause",
        "Hold the picture, or go on; the server is looked at all the while, a capture stops playing.",
    )),
    in_footer(binding(
        &[char('/')],
        "/",
        Action::Filter,
        List,
        "filter",
        "Show only workers whose line contains a text; Enter keeps it, Esc gives it up.",
    )),
    binding(
        &[key(KeyCode::Left), char('<')],
        "Left, <",
        Action::SortLeft,
        List,
        "sort",
        "Sort by the column to the left.",
    ),
    in_footer(binding(
        &[key(KeyCode::Right), char('>')],
        "Right, >",
        Action::SortRight,
        List,
        "sort",
        "Sort by the column to the right.",
    )),
    binding(&[char('i')], "i", Action::Invert, List, "invert", "Turn the order around."),
    in_footer(binding(
        &[char('w')],
        "w",
        Action::Write,
        Anywhere,
        "write",
        "Write the report as JSON into the current folder, and say its name.",
    )),
    binding(
        &[char('r'), ctrl('r')],
        "r, Ctrl-R",
        Action::Reset,
        Anywhere,
        "reset",
        "Forget histories, events and the window; a capture begins again.",
    ),
    binding(&[ctrl('l')], "Ctrl-L", Action::Redraw, Anywhere, "redraw", "Draw everything anew."),
    binding(
        &[ctrl('z')],
        "Ctrl-Z",
        Action::Suspend,
        Anywhere,
        "suspend",
        "Give the terminal back to the shell; fg goes on.",
    ),
    binding(&[char('Q')], "Q", Action::QuitAndPrint, Anywhere, "print", "Quit and print the last report."),
    binding(&[ctrl('c')], "Ctrl-C", Action::Interrupt, Anywhere, "abort", "Quit with exit code 130."),
];

/// What a key asks for at a place.
#[must_use]
pub fn action(event: KeyEvent, place: Place) -> Option<Action> {
    // A capital letter says Shift by itself, and terminals differ in whether they say it again.
    let modifiers = event.modifiers.difference(KeyModifiers::SHIFT);
    let valid = |b: &&Binding| b.place == Place::Anywhere || b.place == place || b.action == Action::Back;
    let found = KEYS.iter().filter(valid).find(|b| b.keys.contains(&(event.code, modifiers)));
    found.map(|binding| binding.action)
}

/// The keys that the footer shows at a place.
pub fn footer(place: Place) -> impl Iterator<Item = &'static Binding> {
    KEYS.iter().filter(move |b| b.footer && (b.place == Place::Anywhere || b.place == place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        for place in [Place::List, Place::Page] {
            let mut seen = Vec::new();
            for binding in KEYS.iter().filter(|b| b.place == Place::Anywhere || b.place == place) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} twice in {place:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn every_key_finds_its_action() {
        for binding in KEYS {
            let place = if binding.place == Place::Page { Place::Page } else { Place::List };
            for (code, modifiers) in binding.keys {
                assert_eq!(action(KeyEvent::new(*code, *modifiers), place), Some(binding.action));
            }
        }
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(action(shifted, Place::List), Some(Action::Last));
        assert_eq!(action(KeyEvent::new(KeyCode::Char('x'), KeyModifiers::NONE), Place::List), None);
    }

    #[test]
    fn what_is_told_is_plain_and_short() {
        for binding in KEYS {
            assert!(binding.long.is_ascii() && binding.long.len() <= 100, "{}", binding.shown);
            assert!(!binding.short.is_empty() && binding.short.len() <= 8, "{}", binding.shown);
        }
        assert!(footer(Place::List).count() <= 8);
        assert!(footer(Place::Page).count() <= 8);
    }
}
