//! SAY: the report and its formats.
//!
//! [`build()`] puts a capture and its judgement into one document ([`model::Report`]); [`json`] and [`text`] show
//! it, [`schema`] describes it, [`output`] puts it where the user wants it. Nothing here judges.

mod build;
pub mod error;
pub mod exit;
pub mod json;
pub mod model;
pub mod output;
mod page;
pub mod sanitize;
pub mod schema;
pub mod style;
pub mod text;
mod verbose;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use build::{build, build_with};
use words::word;

/// The form of a report or of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text(text::TextOptions),
    /// For programs.
    Json,
}

/// A report in the form that was asked for.
#[must_use]
pub fn render(report: &model::Report, form: Form) -> String {
    match form {
        Form::Text(options) => text::render(report, options),
        Form::Json => json::render(report),
    }
}

/// An error in the form that was asked for: text belongs on standard error, JSON on standard output.
#[must_use]
pub fn render_error(error: &crate::error::Error, form: Form) -> String {
    match form {
        Form::Text(options) => error::render(error, options.style),
        Form::Json => json::render(&model::ErrorDocument::from(error.clone())),
    }
}
