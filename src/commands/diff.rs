//! `stallscope diff`: two reports side by side.

use super::reports;
use crate::cli::{DiffArgs, SummaryFormat};
use crate::error::{Error, ErrorKind, Result};
use crate::report::diff::{self, Comparison, Named};
use crate::report::json;
use crate::report::output::Output;
use crate::report::style::{ColorWhen, Style};

/// Compares and says what changed. Gives the exit code.
pub fn run(args: &DiffArgs) -> Result<u8> {
    if reports::is_stdin(&args.before) && reports::is_stdin(&args.after) {
        return Err(Error::new(
            ErrorKind::Usage,
            "both reports cannot come from standard input",
            "a report ends where the input ends",
        )
        .remedy("name a file for one of them"));
    }
    let output = Output::open(args.output.as_deref())?;
    let (before, after) = (reports::one(&args.before)?, reports::one(&args.after)?);
    let names = [reports::name(&args.before), reports::name(&args.after)];
    let comparison = diff::compare(
        Named { source: &names[0], report: &before },
        Named { source: &names[1], report: &after },
    );
    let text = render(&comparison, args.format, args.color.into(), &output);
    output.write(&text)?;
    Ok(comparison.exit.code)
}

/// The comparison in the form that was asked for.
pub(super) fn render(
    comparison: &Comparison,
    format: SummaryFormat,
    color: ColorWhen,
    output: &Output,
) -> String {
    match format {
        SummaryFormat::Json => json::render(comparison),
        SummaryFormat::Markdown => diff::markdown::render(comparison),
        SummaryFormat::Text => diff::text::render(comparison, Style::choose(color, &output.place())),
    }
}
