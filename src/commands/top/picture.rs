//! `--picture`: the last frame of a capture as a file, without a terminal. The same capture gives the same picture.

use std::path::Path;
use std::sync::Arc;

use super::feed::{values, window_ns};
use super::player::{Tape, steps};
use crate::cli::{ColorArg, TopArgs};
use crate::error::{Error, ErrorKind, Result};
use crate::report::output::Output;
use crate::report::style::Style;
use crate::tui::app::App;
use crate::tui::picture::{frame, svg};

/// Plays the capture to its end and writes what is shown then.
pub fn write(args: &TopArgs, file: &Path) -> Result<u8> {
    let Some(path) = &args.target.replay else {
        return Err(Error::new(ErrorKind::Usage, "a picture needs a capture", "--replay is missing"));
    };
    let output = Output::open(Some(file))?;
    let capture = crate::capture::reader::read(path)?;
    let mut tape = Tape::new(&capture, window_ns(args), values(args));
    let mut app = App::default();
    for snapshot in steps(&mut tape) {
        app.take(&Arc::new(snapshot));
    }
    // A picture is no terminal: it has its own colours and all letters, whatever the environment says.
    let style = Style { color: args.color != ColorArg::Never, ascii: args.ascii };
    let frame = frame(&mut app, style, args.size.0, args.size.1);
    output.write(&svg(&frame, "stallscope top"))?;
    Ok(0)
}
