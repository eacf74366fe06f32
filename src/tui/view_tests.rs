//! The panes at three sizes, with and without colour and Unicode.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use std::sync::Arc;

use super::app::App;
use super::keys::Action;
use super::picture::frame;
use super::samples::{app, hostile, snapshot};
use crate::report::sanitize::is_harmful;
use crate::report::style::Style;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (60, 15)];
const PLAIN: Style = Style { color: false, ascii: false };
const COLOR: Style = Style { color: true, ascii: false };
const ASCII: Style = Style { color: false, ascii: true };

/// A frame as text, a line each.
fn text(buffer: &Buffer) -> String {
    let line = |y| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..buffer.area.height).map(line).collect::<Vec<_>>().join("\n")
}

fn shown(app: &mut App, style: Style, (width, height): (u16, u16)) -> String {
    text(&frame(app, style, width, height))
}

fn page() -> App {
    let mut app = app(30);
    app.update(Action::Open);
    app
}

#[test]
fn lists() {
    for size in SIZES {
        let name = |kind: &str| format!("list_{}x{}_{kind}", size.0, size.1);
        insta::assert_snapshot!(name("unicode"), shown(&mut app(30), PLAIN, size));
        insta::assert_snapshot!(name("ascii"), shown(&mut app(30), ASCII, size));
    }
}

#[test]
fn pages() {
    for size in SIZES {
        insta::assert_snapshot!(format!("page_{}x{}", size.0, size.1), shown(&mut page(), PLAIN, size));
    }
    insta::assert_snapshot!("page_tall_ascii", shown(&mut page(), ASCII, (100, 90)));
}

#[test]
fn keys_and_modes() {
    for size in SIZES {
        let mut app = app(3);
        app.update(Action::Help);
        insta::assert_snapshot!(format!("help_{}x{}", size.0, size.1), shown(&mut app, PLAIN, size));
    }
    let mut app = app(3);
    app.update(Action::Pause);
    app.update(Action::Filter);
    "hot".chars().for_each(|c| app.type_letter(c));
    insta::assert_snapshot!("paused_and_filtering", shown(&mut app, PLAIN, (80, 24)));
}

#[test]
fn the_first_moment_and_a_small_window() {
    insta::assert_snapshot!("first_moment", shown(&mut App::default(), PLAIN, (80, 24)));
    for size in [(59, 15), (60, 14), (1, 1), (10, 3)] {
        let screen = shown(&mut app(3), PLAIN, size);
        let first = screen.lines().next().unwrap();
        assert!("The window is too small: 60 x 15 at least. q quits.".starts_with(first), "{screen}");
    }
}

#[test]
fn colour_adds_nothing_that_words_and_signs_do_not_say() {
    for size in SIZES {
        for make in [|| app(30), page] {
            let (plain, color) =
                (frame(&mut make(), PLAIN, size.0, size.1), frame(&mut make(), COLOR, size.0, size.1));
            assert_eq!(text(&plain), text(&color));
            assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
            assert!(color.content.iter().all(|cell| cell.bg == Color::Reset), "no background");
            let allowed = [Color::Reset, Color::Red, Color::Yellow, Color::Green, Color::Magenta];
            assert!(color.content.iter().all(|cell| allowed.contains(&cell.fg)));
            assert!(color.content.iter().any(|cell| cell.fg == Color::Red), "the bad one is red");
            assert!(plain.content.iter().any(|cell| cell.modifier.contains(Modifier::BOLD)));
        }
    }
}

#[test]
fn ascii_is_ascii_and_hostile_names_are_harmless() {
    for size in SIZES {
        for open in [false, true] {
            let mut app = App::default();
            app.take(&Arc::new(hostile()));
            if open {
                app.update(Action::Open);
            }
            for style in [PLAIN, ASCII] {
                let screen = shown(&mut app, style, size);
                assert!(!screen.chars().any(|c| c != '\n' && is_harmful(c)), "{screen:?}");
                assert!(!style.ascii || screen.is_ascii(), "{screen}");
            }
        }
    }
}

#[test]
fn the_selected_row_is_marked_by_a_sign_too() {
    let mut app = app(3);
    app.update(Action::Last);
    let lines = shown(&mut app, PLAIN, (80, 24));
    let marked: Vec<&str> = lines.lines().filter(|line| line.starts_with('>')).collect();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].contains(&app.selected().unwrap().id.0.to_string()));
}

#[test]
fn a_long_list_keeps_the_selected_row_on_the_screen() {
    let mut shot = snapshot(1);
    let like = shot.live.processes[2].clone();
    for pid in 10_000..10_100 {
        let mut process = like.clone();
        process.pid = pid;
        shot.live.processes.push(process);
    }
    let mut app = App::default();
    app.take(&Arc::new(shot));
    for action in [Action::Last, Action::PageUp, Action::First, Action::PageDown, Action::Down] {
        app.update(action);
        let pid = app.selected().unwrap().id.0.to_string();
        let screen = shown(&mut app, PLAIN, (60, 15));
        assert!(screen.lines().any(|line| line.starts_with('>') && line.contains(&pid)), "{screen}");
    }
}

#[test]
fn a_page_scrolls_to_its_end_and_no_further() {
    let mut app = page();
    shown(&mut app, PLAIN, (60, 15));
    app.update(Action::Last);
    let screen = shown(&mut app, PLAIN, (60, 15));
    assert_eq!(app.scroll, app.most_scroll);
    assert!(
        screen.contains("What helps") || screen.contains("Not seen") || screen.contains("- "),
        "{screen}"
    );
    assert!(!screen.lines().nth(13).unwrap().is_empty(), "the last line of the page is at the bottom");
}
