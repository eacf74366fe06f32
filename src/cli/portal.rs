//! What can be typed behind `portal`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::{Format, LevelArg, PortalCompareArgs};

/// What to do with the reference portal.
#[derive(Debug, Clone, Subcommand)]
pub enum PortalAction {
    /// Bring it up
    #[command(
        max_term_width = 100,
        after_help = "\
Examples:
  stallscope portal up                                     four workers that are well
  stallscope portal up --worker-class gevent --fault spin_watcher
  stallscope portal up --stack period --workers 2 --port 8080 --no-nginx"
    )]
    Up(PortalUpArgs),
    /// Take it down
    #[command(max_term_width = 100, after_help = "Examples:\n  stallscope portal down")]
    Down(PortalDownArgs),
    /// List its faults and the verdict that each must get
    #[command(
        max_term_width = 100,
        after_help = "Examples:\n  stallscope portal faults\n  stallscope portal faults --format json"
    )]
    Faults(PortalFaultsArgs),
    /// The story: a server under its fault, then the same with other workers, and what changed
    ///
    /// Brings up one worker of the first class under the fault, loads and looks; then the same with the second class, the
    /// same requests and the same load; then shows the two reports side by side, with throughput and latency.
    #[command(
        max_term_width = 100,
        after_help = "\
Examples:
  stallscope portal compare                        gevent under its fault, then gthread
  stallscope portal compare block_upstream
  stallscope portal compare cpu_python --before gevent --after sync --format markdown

Exit status: 0 not worse, 1 worse, 2 wrong usage, 3 a server could not be brought up or looked at,
130/143 interrupted"
    )]
    Compare(PortalCompareArgs),
    /// Prove the verdicts: run labelled scenarios, look at each, and score what is said
    ///
    /// Each scenario brings up a server with a known fault or with none, waits until the fault shows, looks as
    /// `diagnose` does, and compares. What is said of it stands beside what simpler methods say of the same captures.
    /// With --replay kept captures are judged in the place of processes.
    #[command(
        max_term_width = 100,
        after_help = "\
Examples:
  stallscope portal validate --quick               the small matrix, under four minutes
  stallscope portal validate --repeats 5 --keep captures -o validation.json --format json
  stallscope portal validate --only gevent-spin    some of the scenarios
  stallscope portal validate --replay captures     judge kept captures again, without a process
  stallscope portal validate --list

Exit status: 0 the goals hold, 1 they do not, 2 wrong usage, 3 nothing could be run, 130/143 interrupted"
    )]
    Validate(PortalValidateArgs),
}

/// Software that the portal runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StackArg {
    /// The versions of the time of the story
    Period,
    /// Today's versions
    Modern,
    /// What is installed, nothing fetched
    Builtin,
}

/// Options of `portal up`.
#[derive(Debug, Clone, Args)]
pub struct PortalUpArgs {
    /// Software that it runs on
    #[arg(long, value_enum, value_name = "STACK", default_value_t = StackArg::Modern)]
    pub stack: StackArg,
    /// gunicorn's worker class
    #[arg(long, value_name = "CLASS", default_value = "gevent")]
    pub worker_class: String,
    /// Number of workers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Threads of each worker
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// gunicorn's worker timeout, seconds; 0 switches it off
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Port to listen on; a free one if not given
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Without nginx in front
    #[arg(long)]
    pub no_nginx: bool,
    /// Folder for its files
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Fault to bring it up with
    #[arg(long, value_name = "NAME")]
    pub fault: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Options of `portal down`.
#[derive(Debug, Clone, Args)]
pub struct PortalDownArgs {
    /// Folder of its files
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Options of `portal faults`.
#[derive(Debug, Clone, Args)]
pub struct PortalFaultsArgs {
    /// Form of the list
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Options of `portal validate`.
#[derive(Debug, Clone, Args)]
pub struct PortalValidateArgs {
    /// The small matrix, once each
    #[arg(long)]
    pub quick: bool,
    /// How often each scenario is run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=100), conflicts_with = "quick")]
    pub repeats: u32,
    /// Scenarios whose id contains this (`*` stands for anything)
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Which scenarios: those the rules were made with, other implementations, what happens in production, or all
    #[arg(long, value_enum, value_name = "SET", default_value_t = SetArg::All)]
    pub set: SetArg,
    /// The most that is done to the target; neither level stops it
    #[arg(long, value_enum, default_value_t = LevelArg::Memory)]
    pub level: LevelArg,
    /// List the scenarios, run none
    #[arg(long, conflicts_with_all = ["replay", "keep"])]
    pub list: bool,
    /// Judge kept captures in the place of processes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["keep", "repeats"])]
    pub replay: Option<PathBuf>,
    /// Keep the captures in a folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write the report to a file (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Which scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SetArg {
    /// Those the rules were made with
    Tune,
    /// Other implementations of the same faults, held out when the rules were made
    HeldOut,
    /// What happens in production, written when both had been used
    Third,
    /// All
    All,
}
