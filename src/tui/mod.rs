//! SHOW: the live view. It draws what was judged elsewhere and acts on keys, nothing else.
//!
//! The looking goes on in a thread of its own and publishes its newest [`app::Snapshot`]; this loop takes it, draws,
//! and waits for a key or for the next frame. Neither ever waits for the other. [`app`] is the state, [`keys`] the one
//! table of keys, [`view`] the panes, [`terminal`] what is taken and given back, [`picture`] a frame as a file.

pub mod app;
pub mod columns;
pub mod keys;
pub mod look;
pub mod picture;
pub mod terminal;
pub mod view;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod view_tests;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::report::style::Style;
use app::{App, Effect, Snapshot};
use terminal::{Came, Screen};

/// The newest snapshot: written by the looking side, read by this one, never a queue.
#[derive(Debug, Default)]
pub struct Latest(Mutex<Arc<Snapshot>>);

impl Latest {
    /// Publishes a snapshot in the place of the one before.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// The newest one.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why the view was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user had enough.
    Quit {
        /// Whether to print the report.
        print: bool,
    },
    /// Ctrl-C.
    Interrupted,
    /// The outside said so: a signal, or the target's end.
    Ended,
    /// The terminal is gone.
    HungUp,
}

/// What the view needs from the side that looks.
pub trait Source {
    /// The newest snapshot.
    fn latest(&self) -> Arc<Snapshot>;
    /// Whether to leave, for a reason that the source knows.
    fn over(&self) -> bool;
    /// Begin again.
    fn reset(&mut self);
    /// Hold a played capture, or let it go on.
    fn hold(&mut self, held: bool);
    /// Write what is shown; says where, or why not.
    fn write(&mut self, shown: &Snapshot) -> String;
}

/// Shows until it is left. Gives the terminal back on every way out, and the last state.
pub fn run(source: &mut dyn Source, style: Style, frames_per_s: u32) -> io::Result<(Left, App)> {
    let mut screen = Screen::take()?;
    let frame = Duration::from_secs(1) / frames_per_s.max(1);
    let mut app = App::default();
    let mut changed = true;
    loop {
        let next = Instant::now() + frame;
        changed |= app.take(&source.latest());
        if !terminal::is_taken() || source.over() {
            return Ok((Left::Ended, app));
        }
        if std::mem::take(&mut changed) {
            screen.terminal.draw(|frame| view::draw(&mut app, style, frame))?;
        }
        // A key is answered at once, the numbers at the next frame.
        while !changed {
            let came = terminal::wait(next.saturating_duration_since(Instant::now()));
            if came == Came::HungUp {
                return Ok((Left::HungUp, app));
            }
            if source.over() {
                return Ok((Left::Ended, app));
            }
            while event::poll(Duration::ZERO)? {
                changed = true;
                if let Some(left) = react(&mut app, source, &mut screen, &event::read()?)? {
                    return Ok((left, app));
                }
            }
            if came == Came::Nothing {
                break;
            }
        }
    }
}

/// Acts on what was typed; says whether the view is left.
fn react(
    app: &mut App,
    source: &mut dyn Source,
    screen: &mut Screen,
    event: &Event,
) -> io::Result<Option<Left>> {
    let effect = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(app, *key),
        _ => Effect::None,
    };
    match effect {
        Effect::None => {}
        Effect::Quit { interrupted: true, .. } => return Ok(Some(Left::Interrupted)),
        Effect::Quit { print, .. } => return Ok(Some(Left::Quit { print })),
        Effect::Write => app.message = Some(source.write(&app.shown)),
        Effect::Reset => {
            source.hold(false);
            source.reset();
        }
        Effect::Redraw => screen.terminal.clear()?,
        Effect::Suspend => screen.suspend()?,
        Effect::Pause(held) => source.hold(held),
    }
    Ok(None)
}

/// What a key does: a letter of the filter while one is typed, else what the table says.
pub fn press(app: &mut App, key: KeyEvent) -> Effect {
    if app.typing.is_none() {
        return keys::action(key, app.open).map_or(Effect::None, |action| app.update(action));
    }
    let plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    match key.code {
        KeyCode::Char('c') if !plain => return app.update(keys::Action::Interrupt),
        KeyCode::Char(letter) if plain => app.type_letter(letter),
        KeyCode::Backspace => app.erase(),
        KeyCode::Enter => app.end_typing(true),
        KeyCode::Esc => app.end_typing(false),
        _ => {}
    }
    Effect::None
}
