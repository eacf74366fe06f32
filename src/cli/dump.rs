//! What can be typed behind `dump`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ColorArg, LiveArgs, parse_pid};

/// Options of `dump`.
#[derive(Debug, Clone, Args)]
pub struct DumpArgs {
    /// Which server to look at.
    #[command(flatten)]
    pub target: LiveArgs,
    /// Look at this process of the server only
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub only: Option<i32>,
    /// Show the local variables of each frame, as short texts
    #[arg(long)]
    pub locals: bool,
    /// Show native and kernel frames of sleeping threads and suspended greenlets, joined with those of Python
    #[arg(long)]
    pub native: bool,
    /// The most that is done: memory, or burst (which stops threads that run, for microseconds)
    #[arg(long, value_enum, default_value_t = DumpLevel::Memory, hide_possible_values = true, hide_default_value = true, requires = "native")]
    pub level: DumpLevel,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = DumpFormat::Text)]
    pub format: DumpFormat,
    /// Write it to a file (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// When to colour (`NO_COLOR` is respected)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
    /// Show passwords and keys in command lines and local variables
    #[arg(long)]
    pub show_values: bool,
}

/// The most that a dump may do to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpLevel {
    /// Read the target's memory
    Memory,
    /// Also stop threads that run, each for the moment of a copy: 16 times a process at most
    Burst,
}

/// Form of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    /// For people
    Text,
    /// For programs: the document that schema/dump-v1.json describes
    Json,
}
