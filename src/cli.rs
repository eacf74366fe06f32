//! The command line: what can be typed, and its help. Definitions only; `commands` acts on them.
//!
//! What was typed is kept apart from what it means: a selector is not looked up and a file not opened here.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::capture::model::Level;
use crate::report::style::ColorWhen;

mod compare;
mod diagnose;
mod diff;
mod doctor;
mod dump;
mod merge;
mod portal;
mod record;
mod top;
mod trace;

pub use compare::PortalCompareArgs;
pub use diagnose::{DiagnoseArgs, DiagnoseLevel, ReportFormat};
pub use diff::{DiffArgs, SummaryFormat};
pub use doctor::{DoctorArgs, DoctorFormat};
pub use dump::{DumpArgs, DumpFormat, DumpLevel};
pub use merge::MergeArgs;
pub use portal::{
    PortalAction, PortalDownArgs, PortalFaultsArgs, PortalUpArgs, PortalValidateArgs, SetArg, StackArg,
};
pub use record::{ByArg, ModeArg, RecordArgs, RecordFormat};
pub use top::TopArgs;
pub use trace::{EngineArg, TraceArgs, TraceFormat};

/// Says what is wrong with each worker of a running server, without stopping it
///
/// Looks at the server from outside for three seconds and names, for each worker, what is wrong, the evidence, the
/// culprit and what to change. The server is never stopped and nothing is written into it.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "stallscope",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    override_usage = "stallscope [OPTIONS] <PID>\n       stallscope <COMMAND>",
    after_help = "\
Examples:
  stallscope 4242                      the server that process 4242 belongs to
  stallscope --port 8000               the server that listens on port 8000
  stallscope demo                      see it work: a server with a fault, and its diagnosis

Exit status: 0 nothing found, 1 found, 2 wrong usage, 3 no verdict, 4 undecided, 130/143 interrupted"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Without a verb: `diagnose`.
    #[command(flatten)]
    pub diagnose: DiagnoseArgs,
    /// Print help
    // One screen, whether asked for by `-h` or `--help`; the man pages are the long form.
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// The verbs.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Say what is wrong with each worker of a server (the default)
    ///
    /// A PID may be the arbiter or any worker: the whole server is found.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        override_usage = "stallscope diagnose [OPTIONS] <PID>",
        after_help = "\
Examples:
  stallscope diagnose 4242 -d 10s                 look longer
  stallscope diagnose --name gunicorn -q          the verdict lines only
  stallscope diagnose --port 8000 --format json | jq .server.verdict
  stallscope diagnose 4242 --save stall.cap       keep what was seen ...
  stallscope diagnose --replay stall.cap -v       ... and judge it again, anywhere
  stallscope diagnose 4242 --fail-on hot_spin,deadlock || page-somebody
  stallscope diagnose 4242 --format junit -o junit.xml    for a pipeline
  stallscope diagnose 4242 --format html -o stall.html    for a browser, in one file

Exit status: 0 nothing found, 1 found, 2 wrong usage, 3 no verdict, 4 undecided, 130/143 interrupted"
    )]
    Diagnose(DiagnoseArgs),
    /// Show every stack now: threads, greenlets, asyncio tasks, running and suspended
    ///
    /// Nothing is stopped. What is parked at the same place is one entry with a count. Threads bear their Python names,
    /// with what they do with the GIL and the exception they are at; `--locals` adds the variables of each frame,
    /// `--native` what a sleeping thread or a suspended greenlet does below Python, and with `--level burst` a thread
    /// that runs, too: that one is stopped for some microseconds.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        override_usage = "stallscope dump [OPTIONS] <PID>",
        after_help = "\
Examples:
  stallscope dump 4242                            all workers of the server of process 4242
  stallscope dump 4242 --only 4245                one of them
  stallscope dump 4242 --locals                   with local variables, secrets masked
  stallscope dump 4242 --native                   with native and kernel frames
  stallscope dump 4242 --native --level burst     of threads that run, too (stops them, briefly)
  stallscope dump --port 8000 --format json | jq '.processes[].greenlets[0]'

Exit status: 0 shown, 2 wrong usage, 3 nothing could be seen"
    )]
    Dump(DumpArgs),
    /// Record where the time goes: flame graph, speedscope, pprof, Chrome trace, folded stacks
    ///
    /// Samples every worker until Ctrl-C or for a time, without stopping it: threads, and parked greenlets and asyncio
    /// tasks under themselves instead of their loop. The file is whole at every moment: it is renewed every few seconds,
    /// and what was recorded is there whatever ends the recording.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        override_usage = "stallscope record [OPTIONS] <PID>",
        after_help = record::EXAMPLES
    )]
    Record(RecordArgs),
    /// Say what may be read here, what not, why, and what opens it
    ///
    /// Without a PID: this machine, this user, and the servers that could be looked at. With one: every source is tried
    /// on the process, without harm, and the one gate that is closed is named with the command that opens it. Exit status
    /// 0 says that a diagnosis is possible, be it from less than all (then the report says what is missing), 3 that none is.
    #[command(
        max_term_width = 100,
        after_help = "\
Examples:
  stallscope doctor                            this machine, this user
  stallscope doctor 4242                       what may be read of process 4242
  stallscope doctor 4242 --format json | jq .target.gate

Exit status: 0 a diagnosis is possible (full, or degraded: the report says which), 2 wrong usage,
3 none is possible"
    )]
    Doctor(DoctorArgs),
    /// Live view of a server and its workers
    ///
    /// Looks at the server without end and judges the last seconds again every second. The server is never stopped and
    /// nothing is written into it.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        after_help = "\
Examples:
  stallscope top 4242                      the server that process 4242 belongs to
  stallscope top --port 8000 --only 4245   one of its workers
  stallscope top --replay stall.cap        play what was saved
  stallscope top --replay stall.cap --picture top.svg --size 100x28

Keys: ? shows them all, q quits. Without a terminal: stallscope diagnose"
    )]
    Top(TopArgs),
    /// Two reports side by side: what became better, what worse
    ///
    /// Takes reports (--format json) or captures (--save). Processes are counted by role and verdict; only the same
    /// process, by pid and start time, is followed.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        after_help = "\
Examples:
  stallscope 4242 --format json -o before.json    a report of now, to compare with later
  stallscope diff before.json after.json
  stallscope diff before.cap after.cap            captures, judged by today's rules
  stallscope 4242 --format json | stallscope diff before.json -
  stallscope diff before.json after.json --format markdown | gh pr comment 7 -F -

Exit status: 0 not worse, 1 worse (a more severe verdict of the server, or more critical workers),
2 wrong usage, 3 a report cannot be read"
    )]
    Diff(DiffArgs),
    /// One summary of many reports: which hosts are bad, and what they have in common
    ///
    /// Counts verdicts on each host and over all of them, names the worst, and finds the backends and the code that
    /// several hosts blame. Reports are read one by one, so there may be hundreds.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        after_help = "\
Examples:
  stallscope merge reports/*.json
  for host in web-1 web-2; do ssh $host sudo stallscope --name gunicorn --format json; done |
    stallscope merge -                             standard input holds any number of them
  stallscope merge reports/*.json --format json | jq '.upstreams[0]'
  stallscope merge reports/*.json --fail-on warning

Exit status: 0 nothing found, 1 found, 2 wrong usage, 3 a report was missing or could not be read,
4 undecided"
    )]
    Merge(MergeArgs),
    /// Show the system calls of each thread, decoded (this stops threads, briefly)
    ///
    /// A helper process holds each thread for some microseconds at each call, one process at a time, for 50 ms and 200
    /// stops at most, and the kernel ends it at that limit whatever happens. Descriptors are named with their other end, and
    /// what repeats is one line with a count. A thread that sleeps in one of thirteen calls (`epoll_wait` first of all) comes
    /// back from it with EINTR when it is stopped; that is said before, and counted behind. `--engine perf` stops nobody.
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        override_usage = "stallscope trace [OPTIONS] <PID>",
        after_help = trace::EXAMPLES
    )]
    Trace(TraceArgs),
    /// The reference portal: a server to try things on, with faults to choose from
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        after_help = "\
Examples:
  stallscope portal faults
  stallscope portal up --worker-class gevent --fault spin_watcher
  stallscope portal down
  stallscope portal compare
  stallscope portal validate --quick"
    )]
    Portal {
        /// What to do with it.
        #[command(subcommand)]
        action: PortalAction,
    },
    /// Portal, fault and diagnosis in one go
    ///
    /// Brings up the reference portal with a fault, looks at it, says what is wrong and takes it down again.
    #[command(
        max_term_width = 100,
        after_help = "\
Examples:
  stallscope demo                              the fault this tool was made for
  stallscope demo --worker-class gthread       the same fault, other workers
  stallscope portal faults                     the faults to choose from"
    )]
    Demo(DemoArgs),
    /// Write man pages, shell completions or JSON Schemas
    #[command(
        max_term_width = 100,
        arg_required_else_help = true,
        after_help = "\
Examples:
  stallscope generate man /usr/local/share/man/man1
  stallscope generate completions /tmp/completions
  stallscope generate schema schema"
    )]
    Generate(GenerateArgs),
}

/// Which server to look at.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "target", required = true, multiple = false)]
pub struct TargetArgs {
    /// Process of the server: the arbiter or any worker
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub pid: Option<i32>,
    /// Owner of the socket that listens on this port
    #[arg(long, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Server whose name contains this
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A saved capture in the place of a process
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
}

/// Which running server to look at.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "live", required = true, multiple = false)]
pub struct LiveArgs {
    /// Process of the server: the arbiter or any worker
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub pid: Option<i32>,
    /// Owner of the socket that listens on this port
    #[arg(long, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Server whose name contains this
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// The most that a look may do to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    /// Read kernel files only: processor time and queues, no stacks
    Proc,
    /// Also read the target's memory: stacks
    Memory,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Proc => Self::Proc,
            LevelArg::Memory => Self::Memory,
        }
    }
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl From<ColorArg> for ColorWhen {
    fn from(color: ColorArg) -> Self {
        match color {
            ColorArg::Auto => Self::Auto,
            ColorArg::Always => Self::Always,
            ColorArg::Never => Self::Never,
        }
    }
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Fault to show
    #[arg(value_name = "FAULT")]
    pub fault: Option<String>,
    /// gunicorn's worker class
    #[arg(long, value_name = "CLASS")]
    pub worker_class: Option<String>,
    /// Software that the portal runs on
    #[arg(long, value_enum, value_name = "STACK")]
    pub stack: Option<StackArg>,
}

/// Options of `generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// What to write
    #[arg(value_enum, value_name = "WHAT")]
    pub what: Generated,
    /// Folder to write into; made if it is missing
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// What can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// Man pages
    Man,
    /// Completions for bash, zsh and fish
    Completions,
    /// JSON Schemas of the documents
    Schema,
}

/// A process id. What is none may be a misspelt verb, so the message names both.
fn parse_pid(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err("neither a process id nor a verb".into()),
    }
}

#[cfg(test)]
mod tests;
