//! What can be typed behind `merge`.

use std::path::PathBuf;

use clap::Args;

use super::{ColorArg, SummaryFormat};
use crate::report::exit::FailOn;

/// Options of `merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Reports (--format json) or captures; `-` for standard input
    #[arg(value_name = "REPORT", required = true)]
    pub reports: Vec<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = SummaryFormat::Text)]
    pub format: SummaryFormat,
    /// Write it to a file (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What gives exit code 1: warning, critical, never, or verdicts joined by commas
    #[arg(long, value_name = "WHAT", default_value = "critical")]
    pub fail_on: FailOn,
    /// When to colour (`NO_COLOR` is respected)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
}
