//! The command line of `record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use super::{LiveArgs, parse_pid};
use crate::duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  stallscope record 4242 -d 30s -o stall.svg               a flame graph, for a browser
  stallscope record 4242 --mode cpu -o cpu.pb.gz           for pprof, until Ctrl-C
  stallscope record 4242 --mode blocked -o b.speedscope.json    what blocks, for speedscope.app
  stallscope record --port 8000 -o stall.trace.json        what came after what, for ui.perfetto.dev
  stallscope record 4242 -d 5s --format collapsed | grep parked

Exit status: 0 recorded (Ctrl-C is the usual end), 2 wrong usage, 3 nothing recorded or not all
written, 143 ended by SIGTERM (what was recorded is written)";

/// Options of `record`.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// Which server to look at.
    #[command(flatten)]
    pub target: LiveArgs,
    /// How long to record: 30s, 5m; until Ctrl-C if not given
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Samples per second, 1000 at most
    #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Which time: all of it, that on a processor, or that blocked
    #[arg(long, value_enum, default_value_t = ModeArg::Wall)]
    pub mode: ModeArg,
    /// Also show what waits for work: threads, and what the server keeps for itself (with --mode wall)
    #[arg(short, long)]
    pub idle: bool,
    /// What to tell apart: nothing (the same stack in all workers is one), workers or threads
    #[arg(long, value_enum, default_value_t = ByArg::Server)]
    pub by: ByArg,
    /// Look at this process of the server only
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub only: Option<i32>,
    /// Form of the recording; if not given, the ending of the file's name says it, else folded stacks
    #[arg(long, value_enum)]
    pub format: Option<RecordFormat>,
    /// Write it to a file: .svg, .speedscope.json, .pb.gz, .trace.json or .folded (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// Which time is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// All of it: running, blocked and parked
    Wall,
    /// Time on a processor
    Cpu,
    /// Time in which threads sleep in anything but waiting for work
    Blocked,
}

/// By what stacks are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    /// By nothing
    Server,
    /// By worker
    Worker,
    /// By worker and thread
    Thread,
}

/// Form of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordFormat {
    /// One line for each stack, with its microseconds: .folded, .collapsed, .txt
    Collapsed,
    /// A picture for browsers: .svg
    Flamegraph,
    /// For speedscope.app: .speedscope.json
    Speedscope,
    /// For pprof, Pyroscope, Parca, Perfetto: .pb.gz, .pprof
    Pprof,
    /// What came after what, for Perfetto (ui.perfetto.dev) and Chrome: .trace.json
    Chrome,
}
