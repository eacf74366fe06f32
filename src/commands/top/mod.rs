//! `stallscope top PID`: look without end, judge the last seconds every second, show it.
//!
//! The looking and the judging go on in a thread of their own (`feed`, `player`); this one draws. Whatever ends
//! it, the terminal is given back first.

mod feed;
mod judge;
mod picture;
mod player;

use std::io::IsTerminal;

use nix::sys::signal::Signal as OsSignal;

use crate::cli::TopArgs;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::signals;
use crate::report::output::write_quietly;
use crate::report::style::{Place, Style};
use crate::report::text::{Detail, TextOptions};
use crate::report::{Form, render};
use crate::tui::app::App;
use crate::tui::{self, Left};
use feed::Feed;

/// Shows until it is left. Gives the exit code.
pub fn run(args: &TopArgs) -> Result<u8> {
    if let Some(file) = &args.picture {
        return picture::write(args, file);
    }
    refuse_without_terminal(args)?;
    signals::catch_at_terminal();
    let mut feed = Feed::start(args)?;
    let style = style(args, &Place::stdout());
    let shown = tui::run(&mut feed, style, args.fps);
    // The terminal is the user's again from here on. What went wrong over there comes before what went wrong here.
    feed.end()?;
    if let Some(signal) = signals::caught() {
        return Ok(match signal {
            OsSignal::SIGHUP => 129,
            OsSignal::SIGTERM => 143,
            _ => 130,
        });
    }
    let (left, app) = shown.map_err(|e| {
        Error::new(ErrorKind::Io, "the terminal cannot be used", e.to_string()).remedy(instead(args))
    })?;
    match left {
        Left::Quit { print } => {
            if print {
                say(&app, style, Detail::Normal)?;
            }
            Ok(0)
        }
        Left::Interrupted => Ok(130),
        // Without a signal: the terminal itself is gone, and nobody is left to tell.
        Left::HungUp => Ok(129),
        Left::Ended => {
            say(&app, style, Detail::Quiet)?;
            Err(Error::new(ErrorKind::Gone, "the server has ended", "none of its processes is left")
                .remedy("the last verdicts stand above"))
        }
    }
}

fn style(args: &TopArgs, place: &Place) -> Style {
    let chosen = Style::choose(args.color.into(), place);
    Style { ascii: chosen.ascii || args.ascii, ..chosen }
}

/// Prints the last report.
fn say(app: &App, style: Style, detail: Detail) -> Result<()> {
    let Some(report) = &app.shown.report else { return Ok(()) };
    let text = render(report, Form::Text(TextOptions { style, detail }));
    write_quietly(&mut std::io::stdout().lock(), &text)
}

fn refuse_without_terminal(args: &TopArgs) -> Result<()> {
    let cause = if !std::io::stdout().is_terminal() {
        "standard output is none"
    } else if !std::io::stdin().is_terminal() {
        "standard input is none"
    } else if Place::stdout().term.is_none_or(|term| term == "dumb") {
        "this one cannot move its cursor (TERM)"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Usage, "the live view needs a terminal", cause).remedy(instead(args)))
}

/// What to use where there is no terminal.
fn instead(args: &TopArgs) -> String {
    let target = &args.target;
    let named = [
        target.pid.map(|pid| pid.to_string()),
        target.port.map(|port| format!("--port {port}")),
        target.name.as_ref().map(|name| format!("--name {name}")),
        target.replay.as_ref().map(|file| format!("--replay {}", file.display())),
    ];
    format!("stallscope diagnose {}", named.into_iter().flatten().collect::<Vec<_>>().join(" "))
}
