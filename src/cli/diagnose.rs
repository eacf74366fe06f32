//! What can be typed behind `diagnose`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use super::{ColorArg, TargetArgs, parse_pid};
use crate::capture::model::Level;
use crate::duration;
use crate::report::exit::FailOn;

/// Options of `diagnose`.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub struct DiagnoseArgs {
    /// Which server to look at.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How long to look: 3s, 500ms, 1m
    #[arg(short, long, value_name = "TIME", default_value = "3s", value_parser = duration::parse)]
    pub duration: Duration,
    /// How far an undecided look may go on
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub max_duration: Duration,
    /// Samples per second
    #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// The most that is done: proc, memory, or burst (which stops it, for 50 ms at most)
    #[arg(long, value_enum, default_value_t = DiagnoseLevel::Memory, hide_possible_values = true, hide_default_value = true)]
    pub level: DiagnoseLevel,
    /// Look at this process of the server only
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub only: Option<i32>,
    /// Form: text (default), json, ndjson, markdown, github, junit, sarif, html
    #[arg(long, value_enum, default_value_t = ReportFormat::Text, hide_possible_values = true, hide_default_value = true)]
    pub format: ReportFormat,
    /// Write the report to a file (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Keep what was seen, to be replayed anywhere
    #[arg(long, value_name = "CAPTURE", conflicts_with = "replay")]
    pub save: Option<PathBuf>,
    /// Exit code 1 for: warning, critical (default), never or verdicts (a,b)
    #[arg(long, value_name = "WHAT", default_value = "critical", hide_default_value = true)]
    pub fail_on: FailOn,
    /// Colour: auto (respects `NO_COLOR`), always or never
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto, hide_possible_values = true)]
    pub color: ColorArg,
    /// Show passwords and keys in command lines
    #[arg(long)]
    pub show_values: bool,
    /// Pseudonyms for hosts, peers, homes, sockets and arguments
    #[arg(long, conflicts_with = "show_values")]
    pub redact: bool,
    /// Say the verdicts only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Also say where the time went, thread by thread
    #[arg(short, long)]
    pub verbose: bool,
}

/// The most that a diagnosis may do to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiagnoseLevel {
    /// Read kernel files only: processor time and queues, no stacks
    Proc,
    /// Also read the target's memory: stacks
    Memory,
    /// Also stop threads that spin, where that firms up the verdict: once, 50 ms and 200 stops at most
    Burst,
}

impl From<DiagnoseLevel> for Level {
    fn from(level: DiagnoseLevel) -> Self {
        match level {
            DiagnoseLevel::Proc => Self::Proc,
            DiagnoseLevel::Memory => Self::Memory,
            DiagnoseLevel::Burst => Self::Burst,
        }
    }
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// For programs: the document that schema/report-v1.json describes
    Json,
    /// The same as a JSON object for each line: schema/ndjson-v1.json
    Ndjson,
    /// For a comment on a pull request
    Markdown,
    /// Annotations of a GitHub workflow
    Github,
    /// A test for each process as XML, for GitLab, Jenkins and others
    Junit,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// A page for a browser, in one file
    Html,
}
