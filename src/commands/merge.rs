//! `stallscope merge`: one summary of many reports.

use super::reports;
use crate::cli::{MergeArgs, SummaryFormat};
use crate::error::{Error, Result};
use crate::report::json;
use crate::report::merge::{self, Gatherer};
use crate::report::output::Output;
use crate::report::received::Document;
use crate::report::style::Style;

/// Reads one report after the other and sums up. Gives the exit code.
///
/// A report that cannot be read is told of in the summary: with hundreds, one broken file must not cost the rest.
pub fn run(args: &MergeArgs) -> Result<u8> {
    let output = Output::open(args.output.as_deref())?;
    let mut gatherer = Gatherer::new(args.fail_on.clone());
    let mut first: Option<Error> = None;
    for path in &args.reports {
        let name = reports::name(path);
        reports::each(path, |document| match document {
            Ok(Document::Report(report)) => gatherer.add(&name, &report),
            Ok(Document::Error(error)) => gatherer.failed(&name, &error),
            Err(error) => {
                gatherer.unread(&name, &error);
                first.get_or_insert(error);
            }
        });
    }
    // Nothing but files that are no reports: that is no summary, it is a mistake.
    if let Some(error) = first.filter(|_| gatherer.is_empty()) {
        return Err(error);
    }
    let fleet = gatherer.finish();
    let text = match args.format {
        SummaryFormat::Json => json::render(&fleet),
        SummaryFormat::Markdown => merge::markdown::render(&fleet),
        SummaryFormat::Text => merge::text::render(&fleet, Style::choose(args.color.into(), &output.place())),
    };
    output.write(&text)?;
    Ok(fleet.exit.code)
}
