//! The panes: each a function of the state, drawn into a rectangle. They change nothing and judge nothing.
//!
//! ```text
//! header   server, verdict, accept queue, processors, our own cost
//! list     one row per worker            | or the page of one worker, or the keys
//! footer   keys, a message, or the filter being typed
//! ```

mod footer;
mod header;
mod help;
mod page;
mod workers;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::app::App;
use super::look::span;
use crate::report::style::{Style, Tone};

/// The smallest window that everything fits into.
pub const LEAST: (u16, u16) = (60, 15);

/// Draws everything.
pub fn draw(app: &mut App, style: Style, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("The window is too small: {} x {} at least. q quits.", LEAST.0, LEAST.1);
        frame.render_widget(Line::from(span(style, Tone::Plain, &text)), area);
        return;
    }
    let lines = header::lines(app, style, area.width as usize);
    let rows =
        Layout::vertical([Constraint::Length(lines.len() as u16), Constraint::Min(3), Constraint::Length(1)]);
    let [top, middle, bottom] = rows.areas(area);
    put(frame, top, lines);
    if app.help {
        put(frame, middle, help::lines(style, middle.width as usize, middle.height as usize));
    } else if app.on_page() {
        page::draw(app, style, frame, middle);
    } else {
        workers::draw(app, style, frame, middle);
    }
    put(frame, bottom, vec![footer::line(app, style, area.width as usize)]);
}

/// Puts lines below each other, as many as there is room for.
fn put(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}
