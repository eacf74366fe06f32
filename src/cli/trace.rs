//! What can be typed behind `trace`, and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use super::{ColorArg, LiveArgs, parse_pid};
use crate::duration;
use crate::observe::burst::{DEFAULT_STOPS, MOST_STOPS};
use crate::observe::perf::{DEFAULT_EVENTS, MOST_EVENTS};

/// Examples of `trace`.
pub const EXAMPLES: &str = "\
Examples:
  stallscope trace 4242                       all processes of the server, 50 ms each
  stallscope trace 4242 --only 4245 -d 200ms --max-stops 2000
  stallscope trace 4242 --undisturbed         leave out who sleeps in epoll_wait and the like
  stallscope trace 4242 --engine perf -d 1s   stop nobody: by the kernel's own events, as root
  stallscope trace --port 8000 --format json | jq '.processes[].threads[].patterns'

Exit status: 0 shown, 2 wrong usage, 3 nothing could be traced, 130/143 interrupted";

/// Options of `trace`.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Which server to look at.
    #[command(flatten)]
    pub target: LiveArgs,
    /// Trace this process of the server only
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub only: Option<i32>,
    /// What sees the calls: ptrace stops threads, perf nobody, auto takes perf where it is permitted
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = EngineArg::Ptrace, hide_possible_values = true)]
    pub engine: EngineArg,
    /// How long each process is traced, at most 10s
    #[arg(short, long, value_name = "TIME", default_value = "50ms", value_parser = bounded)]
    pub duration: Duration,
    /// Stops (by ptrace) of each process, at most: two for each call
    #[arg(long, value_name = "N", default_value_t = DEFAULT_STOPS, value_parser = value_parser!(u64).range(20..=MOST_STOPS))]
    pub max_stops: u64,
    /// Events (by perf) of each process, at most: two for each call
    #[arg(long, value_name = "N", default_value_t = DEFAULT_EVENTS, value_parser = value_parser!(u64).range(20..=MOST_EVENTS))]
    pub max_events: u64,
    /// Leave out threads that sleep in a call which a stop ends with EINTR
    #[arg(long)]
    pub undisturbed: bool,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = TraceFormat::Text)]
    pub format: TraceFormat,
    /// Write it to a file (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// When to colour (`NO_COLOR` is respected)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
    /// Show passwords and keys in command lines
    #[arg(long)]
    pub show_values: bool,
}

/// What sees the calls of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// Stops at each call
    Ptrace,
    /// Events of the kernel: stops nobody, and does not see names, addresses and what polls report
    Perf,
    /// `perf` where that is permitted, else `ptrace`
    Auto,
}

/// Form of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// For people
    Text,
    /// For programs: the document that schema/trace-v1.json describes
    Json,
    /// The same as a JSON object for each line: a `call` for each call
    Ndjson,
}

/// No heartbeat in sight may be missed because of a trace.
const LONGEST: Duration = Duration::from_secs(10);

fn bounded(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    (Duration::from_millis(1)..=LONGEST)
        .contains(&duration)
        .then_some(duration)
        .ok_or_else(|| "a trace takes between 1ms and 10s".into())
}
