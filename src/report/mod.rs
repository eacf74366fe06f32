//! SAY: the report and its formats.
//!
//! [`build()`] puts a capture and its judgement into one document ([`model::Report`]); [`text`], [`json`], [`ndjson`],
//! [`markdown`], [`github`], [`junit`], [`sarif`] and [`html`] show it, [`schema`] describes it, [`output`] puts it where the
//! user wants it. Nothing here judges, and nothing but [`output`] and [`style`] asks the environment.
//! [`markdown`], [`github`], [`junit`] and [`sarif`] show it, [`schema`] describes it, [`output`] puts it where the
//! user wants it; [`profile`] writes recordings. Nothing here judges, and nothing but [`output`] and [`style`] asks the environment.

mod build;
pub mod catalogue;
mod complaints;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod dump_text;
pub mod error;
pub mod exit;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod merge;
pub mod model;
pub mod ndjson;
pub mod output;
mod page;
pub mod profile;
pub mod received;
pub mod sanitize;
pub mod sarif;
pub mod schema;
pub mod style;
pub mod text;
pub mod trace;
pub mod trace_lines;
pub mod trace_text;
pub mod validate;
mod verbose;
pub(crate) mod words;

#[cfg(test)]
mod attacks;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use build::{build, build_with};
use words::word;

use crate::diagnose::timeline::Timeline;

/// The form of a report or of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<'a> {
    /// For people.
    Text(text::TextOptions),
    /// For programs.
    Json,
    /// For programs that read line by line.
    Ndjson,
    /// For comments and pages.
    Markdown,
    /// Annotations of a GitHub workflow.
    Github {
        /// Folder of the checked-out sources.
        root: Option<&'a str>,
    },
    /// A list of tests, for anything that shows test reports.
    Junit {
        /// What is a failure.
        fail_on: &'a exit::FailOn,
        /// Folder of the checked-out sources.
        root: Option<&'a str>,
    },
    /// For code scanning.
    Sarif {
        /// Folder of the checked-out sources.
        root: Option<&'a str>,
    },
    /// For a browser.
    Html {
        /// Where the time went, slice by slice, where that is known.
        timeline: Option<&'a Timeline>,
    },
}

/// A report in the form that was asked for.
#[must_use]
pub fn render(report: &model::Report, form: Form<'_>) -> String {
    match form {
        Form::Text(options) => text::render(report, options),
        Form::Json => json::render(report),
        Form::Ndjson => ndjson::render(report),
        Form::Markdown => markdown::render(report),
        Form::Github { root } => github::render(report, root),
        Form::Junit { fail_on, root } => junit::render(report, fail_on, root),
        Form::Sarif { root } => sarif::render(report, root),
        Form::Html { timeline } => html::render(report, timeline),
    }
}

/// An error in the form that was asked for. Text belongs on standard error; JSON, lines and workflow commands, which
/// somebody reads by machine, on standard output. The other forms have no word for "no report".
#[must_use]
pub fn render_error(error: &crate::error::Error, form: Form<'_>) -> String {
    match form {
        Form::Text(options) => error::render(error, options.style),
        Form::Json => json::render(&model::ErrorDocument::from(error.clone())),
        Form::Ndjson => ndjson::error(error),
        Form::Github { .. } => github::error(error),
        Form::Markdown | Form::Junit { .. } | Form::Sarif { .. } | Form::Html { .. } => {
            error::render(error, style::Style::default())
        }
    }
}
