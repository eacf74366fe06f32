//! What can be typed behind `portal compare`.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::{ColorArg, StackArg, SummaryFormat};

/// Options of `portal compare`.
#[derive(Debug, Clone, Args)]
pub struct PortalCompareArgs {
    /// Fault of both servers: the same requests are sent to both
    #[arg(value_name = "FAULT", default_value = "spin_watcher")]
    pub fault: String,
    /// Worker class of the first server
    #[arg(long, value_name = "CLASS", default_value = "gevent")]
    pub before: String,
    /// Worker class of the second server
    #[arg(long, value_name = "CLASS", default_value = "gthread")]
    pub after: String,
    /// Connections that ask for the landing page again and again
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=256))]
    pub connections: u32,
    /// Software that both run on
    #[arg(long, value_enum, value_name = "STACK", default_value_t = StackArg::Modern)]
    pub stack: StackArg,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = SummaryFormat::Text)]
    pub format: SummaryFormat,
    /// Write it to a file (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// When to colour (`NO_COLOR` is respected)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
}
