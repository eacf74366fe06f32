//! What can be typed behind `doctor`.

use clap::{Args, ValueEnum};

use super::{ColorArg, parse_pid};

/// Options of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Process to try everything on
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub pid: Option<i32>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub format: DoctorFormat,
    /// When to colour (`NO_COLOR` is respected)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
}

/// Form of what `doctor` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people
    Text,
    /// For programs: the document that schema/doctor-v1.json describes
    Json,
}
