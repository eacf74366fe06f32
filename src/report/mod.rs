//! SAY: the report and its formats.
//!
//! [`build`] puts a capture and its judgement into one document ([`model::Report`]); [`json`] and [`text`] show
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
mod words;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use build::{build, build_with};
use words::word;
