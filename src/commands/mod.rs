//! Short scripts that connect the rooms, one per verb.

pub mod demo;
pub mod diagnose;
pub mod generate;
pub mod portal;
pub mod top;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as ClapKind;

use crate::cli::{Cli, Verb};
use crate::error::{Error, ErrorKind, Result};
use crate::report::output::write_quietly;
use crate::report::style::{ColorWhen, Place, Style};
use crate::report::text::{Detail, TextOptions};
use crate::report::{Form, render_error};

/// Runs what was typed and gives the exit code of the contract.
#[must_use]
pub fn main() -> ExitCode {
    let wants_json = wants_json(std::env::args());
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error)
            if !wants_json || matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) =>
        {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // A reader that has gone away is nobody to tell.
            let _ = error.print();
            return ExitCode::from(code);
        }
        Err(error) => Err(usage(&error)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&error, wants_json);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<u8> {
    match cli.verb {
        None => diagnose::run(&cli.diagnose),
        Some(Verb::Diagnose(args)) => diagnose::run(&args),
        Some(Verb::Top(args)) => top::run(&args),
        Some(Verb::Generate(args)) => generate::run(&args).map(|()| 0),
        Some(Verb::Portal { action }) => portal::run(action),
        Some(Verb::Demo(args)) => demo::run(&args),
    }
}

/// An error is JSON on standard output where JSON was asked for, and text on standard error otherwise.
fn say(error: &Error, json: bool) {
    if json {
        let _ = write_quietly(&mut std::io::stdout(), &render_error(error, Form::Json));
    } else {
        let style = Style::choose(ColorWhen::Auto, &Place::stderr());
        let text = render_error(error, Form::Text(TextOptions { style, detail: Detail::Normal }));
        let _ = write_quietly(&mut std::io::stderr(), &text);
    }
    let _ = std::io::stdout().flush();
}

/// Whether JSON was asked for, also on a command line that does not parse.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.collect();
    args.iter().any(|a| a == "--format=json") || args.windows(2).any(|w| w[0] == "--format" && w[1] == "json")
}

/// What clap says, as an error of ours.
fn usage(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Error::new(ErrorKind::Usage, first, "the command line was not understood").remedy("stallscope --help")
}
