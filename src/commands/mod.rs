//! Short scripts that connect the rooms, one per verb.

pub mod compare;
pub mod complete;
pub mod completions;
pub mod demo;
pub mod diagnose;
pub mod diff;
pub mod doctor;
pub mod dump;
mod folder;
mod found;
pub mod generate;
pub mod merge;
mod pipeline;
pub mod portal;
pub mod record;
mod reports;
pub mod top;
pub mod trace;
pub mod validate;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as ClapKind;

use crate::cli::{Cli, Verb};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::burst;
use crate::report::output::write_quietly;
use crate::report::style::{ColorWhen, Place, Style};
use crate::report::text::{Detail, TextOptions};
use crate::report::{Form, render_error};

/// Runs what was typed and gives the exit code of the contract.
#[must_use]
pub fn main() -> ExitCode {
    // Started by ourselves to hold somebody's threads: nothing else may happen on the way there.
    burst::child::answer(std::env::args());
    if let Some(code) = complete::answer(std::env::args()) {
        return ExitCode::from(code);
    }
    let machine = machine_form(std::env::args());
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error)
            if machine.is_none()
                || matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) =>
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
            say(&error, machine);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<u8> {
    match cli.verb {
        None => diagnose::run(&cli.diagnose),
        Some(Verb::Diagnose(args)) => diagnose::run(&args),
        Some(Verb::Dump(args)) => dump::run(&args),
        Some(Verb::Record(args)) => record::run(&args),
        Some(Verb::Doctor(args)) => doctor::run(&args),
        Some(Verb::Trace(args)) => trace::run(&args),
        Some(Verb::Top(args)) => top::run(&args),
        Some(Verb::Diff(args)) => diff::run(&args),
        Some(Verb::Merge(args)) => merge::run(&args),
        Some(Verb::Generate(args)) => generate::run(&args).map(|()| 0),
        Some(Verb::Portal { action }) => portal::run(action),
        Some(Verb::Demo(args)) => demo::run(&args),
    }
}

/// An error is for machines on standard output where such a form was asked for, and text on standard error otherwise.
fn say(error: &Error, machine: Option<Form<'_>>) {
    if let Some(form) = machine {
        let _ = write_quietly(&mut std::io::stdout(), &render_error(error, form));
    } else {
        let style = Style::choose(ColorWhen::Auto, &Place::stderr());
        let text = render_error(error, Form::Text(TextOptions { style, detail: Detail::Normal }));
        let _ = write_quietly(&mut std::io::stderr(), &text);
    }
    let _ = std::io::stdout().flush();
}

/// The form in which machines want their errors, also on a command line that does not parse.
fn machine_form(args: impl Iterator<Item = String>) -> Option<Form<'static>> {
    let args: Vec<String> = args.collect();
    let spaced = args.windows(2).filter(|pair| pair[0] == "--format").map(|pair| pair[1].as_str());
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--format="));
    spaced.chain(joined).find_map(|format| match format {
        "json" => Some(Form::Json),
        "ndjson" => Some(Form::Ndjson),
        "github" => Some(Form::Github { root: None }),
        _ => None,
    })
}

/// What clap says, as an error of ours.
fn usage(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Error::new(ErrorKind::Usage, first, "the command line was not understood").remedy("stallscope --help")
}
