//! What each key does, without a terminal.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::capture::samples::ARBITER;
use crate::tui::press;
use crate::tui::samples::{SECOND, app, snapshot};

fn pids(app: &App) -> Vec<i32> {
    app.visible().iter().map(|row| row.id.0).collect()
}

fn selected(app: &App) -> i32 {
    app.selected().unwrap().id.0
}

fn keys(app: &mut App, text: &str) -> Effect {
    let press =
        |app: &mut App, c| super::super::press(app, KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    text.chars().map(|c| press(app, c)).last().unwrap_or(Effect::None)
}

fn code(app: &mut App, code: KeyCode) -> Effect {
    press(app, KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn the_worst_comes_first_and_is_selected() {
    let app = app(2);
    assert_eq!(pids(&app)[0], ARBITER + 1);
    assert_eq!(selected(&app), ARBITER + 1);
}

#[test]
fn the_selection_moves_and_stays_on_the_screen() {
    let mut app = app(2);
    let order = pids(&app);
    keys(&mut app, "jj");
    assert_eq!(selected(&app), order[2]);
    keys(&mut app, "k");
    assert_eq!(selected(&app), order[1]);
    keys(&mut app, "G");
    assert_eq!(selected(&app), *order.last().unwrap());
    keys(&mut app, "j");
    assert_eq!(selected(&app), *order.last().unwrap(), "no further than the last");
    code(&mut app, KeyCode::Home);
    assert_eq!(selected(&app), order[0]);
    code(&mut app, KeyCode::Up);
    assert_eq!(selected(&app), order[0]);
}

#[test]
fn the_selection_is_kept_by_identity() {
    let mut app = app(2);
    keys(&mut app, "jj");
    let chosen = selected(&app);
    for _ in 0..SORTABLE.len() {
        code(&mut app, KeyCode::Right);
        assert_eq!(selected(&app), chosen, "{:?}", app.sort);
    }
    keys(&mut app, "i");
    assert_eq!(selected(&app), chosen);
    // The same pid with another start time is another process.
    let mut other = snapshot(5);
    let process = other.live.processes.iter_mut().find(|p| p.pid == chosen).unwrap();
    process.start_time_ticks += 1;
    app.take(&Arc::new(other));
    assert_eq!(app.rows.keys().filter(|id| id.0 == chosen).count(), 2);
    assert!(app.selected().unwrap().gone_at_ns.is_some(), "still the old one, which has ended");
}

#[test]
fn every_column_sorts() {
    let mut app = app(2);
    let by = |app: &mut App, column| {
        app.sort = column;
        pids(app)
    };
    assert_eq!(by(&mut app, Column::Pid), [0, 1, 2, 3, 4].map(|n| ARBITER + n));
    assert_eq!(by(&mut app, Column::Cpu)[..2], [ARBITER + 1, ARBITER + 3]);
    assert_eq!(by(&mut app, Column::RunQueue)[..2], [ARBITER + 1, ARBITER + 3]);
    assert_eq!(by(&mut app, Column::InFlight)[0], ARBITER + 1);
    app.inverted = true;
    assert_eq!(*by(&mut app, Column::Cpu).last().unwrap(), ARBITER + 1);
}

#[test]
fn enter_opens_and_escape_closes_and_never_quits() {
    let mut app = app(2);
    code(&mut app, KeyCode::Enter);
    assert!(app.on_page());
    app.most_scroll = 5;
    keys(&mut app, "jjj");
    assert_eq!((app.scroll, selected(&app)), (3, ARBITER + 1), "on a page, down scrolls");
    keys(&mut app, "G");
    assert_eq!(app.scroll, 5);
    code(&mut app, KeyCode::Tab);
    assert_eq!((app.scroll, selected(&app)), (0, pids(&app)[1]));
    code(&mut app, KeyCode::BackTab);
    code(&mut app, KeyCode::BackTab);
    assert_eq!(selected(&app), *pids(&app).last().unwrap(), "around the end");
    for _ in 0..3 {
        assert_eq!(code(&mut app, KeyCode::Esc), Effect::None);
    }
    assert!(!app.on_page());
}

#[test]
fn nothing_moves_behind_the_keys() {
    let mut app = app(2);
    keys(&mut app, "?j");
    assert!(app.help);
    assert_eq!(selected(&app), ARBITER + 1);
    assert_eq!(keys(&mut app, "q"), Effect::None, "closes the keys");
    assert!(!app.help);
    assert_eq!(keys(&mut app, "q"), Effect::Quit { interrupted: false, print: false });
    assert_eq!(keys(&mut app, "Q"), Effect::Quit { interrupted: false, print: true });
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    keys(&mut app, "?");
    assert_eq!(press(&mut app, interrupt), Effect::Quit { interrupted: true, print: false });
}

#[test]
fn the_filter_is_typed_kept_and_given_up() {
    let mut app = app(2);
    keys(&mut app, "/hot_spq");
    assert!(pids(&app).is_empty(), "q is a letter now");
    code(&mut app, KeyCode::Backspace);
    assert_eq!(pids(&app), [ARBITER + 1, ARBITER + 3]);
    code(&mut app, KeyCode::Enter);
    assert!(app.typing.is_none());
    keys(&mut app, "/xyz");
    code(&mut app, KeyCode::Esc);
    assert_eq!(app.filter, "hot_sp", "what was there before");
    code(&mut app, KeyCode::Esc);
    assert_eq!(pids(&app).len(), 5);
    keys(&mut app, "/ARBITER");
    assert_eq!(pids(&app), [ARBITER]);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut app, interrupt), Effect::Quit { interrupted: true, print: false });
}

#[test]
fn a_held_picture_takes_nothing() {
    let mut app = app(2);
    assert_eq!(keys(&mut app, " "), Effect::Pause(true));
    assert!(!app.take(&Arc::new(snapshot(7))));
    assert_eq!(app.shown.live.at_ns, SECOND);
    assert_eq!(keys(&mut app, " "), Effect::Pause(false));
    assert!(app.take(&Arc::new(snapshot(7))));
    assert_eq!(app.shown.live.at_ns, 7 * SECOND);
}

#[test]
fn the_same_snapshot_is_taken_once() {
    let (mut app, shot) = (App::default(), Arc::new(snapshot(1)));
    assert!(app.take(&shot));
    assert!(!app.take(&shot));
}

#[test]
fn ended_workers_fade_and_leave() {
    let mut app = app(2);
    let mut without = snapshot(2);
    without.live.processes.retain(|p| p.pid != ARBITER + 1);
    app.take(&Arc::new(without.clone()));
    let row = app.rows.values().find(|row| row.id.0 == ARBITER + 1).unwrap();
    assert_eq!(row.gone_at_ns, Some(2 * SECOND));
    assert_eq!(row.events.back().unwrap().text, "ended");
    assert_eq!(*pids(&app).last().unwrap(), ARBITER + 1, "the ended come last");
    keys(&mut app, "G");
    assert_eq!(selected(&app), ARBITER + 1);
    without.live.at_ns = 2 * SECOND + FADE_NS;
    app.take(&Arc::new(without));
    assert!(!pids(&app).contains(&(ARBITER + 1)));
    assert_eq!(selected(&app), *pids(&app).last().unwrap(), "whoever took its place");
}

#[test]
fn births_and_changes_are_told() {
    let mut app = app(2);
    let mut more = snapshot(3);
    let mut born = more.live.processes[1].clone();
    born.pid = 9_000;
    more.live.processes.push(born);
    let mut report = (**more.report.as_ref().unwrap()).clone();
    report.processes[1].verdict.code = crate::diagnose::model::Code::Idle;
    more.report = Some(Arc::new(report));
    app.take(&Arc::new(more));
    let events = |app: &App, pid: i32| -> Vec<String> {
        let row = app.rows.values().find(|row| row.id.0 == pid).unwrap();
        row.events.iter().map(|event| event.text.clone()).collect()
    };
    assert_eq!(events(&app, 9_000), ["born"]);
    assert_eq!(events(&app, ARBITER + 1), ["hot_spin", "hot_spin -> idle"]);
}

#[test]
fn histories_have_a_value_a_second_and_an_end() {
    let mut app = App::default();
    for tenth in 0..3_000 {
        let mut shot = snapshot(0);
        shot.live.at_ns = tenth * SECOND / 10;
        app.take(&Arc::new(shot));
    }
    let row = &app.rows.values().nth(1).unwrap();
    assert_eq!(row.cpu.len(), HISTORY);
    assert!(row.gaps.len() <= HISTORY && row.events.len() <= EVENTS);
}

#[test]
fn reset_forgets_histories_and_a_capture_begins_again() {
    let mut app = app(5);
    assert_eq!(keys(&mut app, "r"), Effect::Reset);
    assert!(app.rows.values().all(|row| row.cpu.is_empty() && row.events.is_empty()));
    let mut app = self::app(5);
    app.take(&Arc::new(snapshot(0)));
    assert!(app.rows.values().all(|row| row.cpu.len() <= 1), "time went backwards");
}

#[test]
fn nothing_seen_yet_is_no_trouble() {
    let mut app = App::default();
    app.take(&Arc::new(Snapshot::default()));
    for (code, modifiers) in super::super::keys::KEYS.iter().flat_map(|b| b.keys) {
        press(&mut app, KeyEvent::new(*code, *modifiers));
    }
    assert!(app.selected().is_none() && !app.on_page());
}
