//! `stallscope PID`: find the server, look at it for three seconds, judge, report.

use std::cmp::Reverse;
use std::io::{IsTerminal, Write};

use nix::sys::signal::Signal as OsSignal;

use super::found::{self, Found};
use super::pipeline;
use crate::capture::mask::{self, Values};
use crate::capture::model::{Capture, Header, Record};
use crate::capture::recorder::{self, Recorder};
use crate::capture::redact::Redactor;
use crate::capture::writer::{CaptureFile, CaptureWriter};
use crate::cli::{DiagnoseArgs, ReportFormat};
use crate::diagnose;
use crate::diagnose::model::{Code, Connections, ProcessDiagnosis, Severity};
use crate::diagnose::timeline::Timeline;
use crate::diagnose::would_help::is_suspect;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::signals;
use crate::report::exit::Signal;
use crate::report::output::Output;
use crate::report::style::Style;
use crate::report::text::{Detail, TextOptions};
use crate::report::{self, Form, exit};

/// Looks or replays, judges and reports. Gives the exit code.
pub fn run(args: &DiagnoseArgs) -> Result<u8> {
    let output = Output::open(args.output.as_deref())?;
    let values = if args.show_values { Values::Shown } else { Values::Masked };
    let (mut capture, unkept) = match &args.target.replay {
        Some(path) => (crate::capture::reader::read(path)?, None),
        None => look(args, values)?,
    };
    // What is judged is what would be saved, so that a replay cannot differ.
    mask::capture(&mut capture, values);
    let mut redactor = args.redact.then(Redactor::default);
    if let Some(redactor) = &mut redactor {
        redactor.capture(&mut capture);
    }
    let signal =
        signals::caught().map(|s| if s == OsSignal::SIGTERM { Signal::Terminate } else { Signal::Interrupt });
    // Interrupted before the first sample, it says so by its exit code and an empty report.
    if signal.is_none() && !seen_anything(&capture) {
        return Err(nothing_seen(&capture));
    }
    let diagnosis = diagnose::diagnose(&capture);
    let mut decision = exit::decide(&diagnosis, &args.fail_on, signal);
    if let Some(error) = &unkept {
        decision = exit::without_capture(&decision, error);
    }
    let report = report::build_with(&capture, &diagnosis, decision, values);
    let mut root = pipeline::source_root();
    if let (Some(redactor), Some(root)) = (&mut redactor, &mut root) {
        *root = redactor.path(root);
    }
    let timeline = (args.format == ReportFormat::Html).then(|| diagnose::timeline::timeline(&capture));
    let text = report::render(&report, form(args, &output, root.as_deref(), timeline.as_ref()));
    output.write(&text)?;
    if args.format == ReportFormat::Github {
        pipeline::append_summary(&report);
    }
    if let Some(error) = unkept {
        super::say(&error, None);
    }
    Ok(report.exit.code)
}

fn form<'a>(
    args: &'a DiagnoseArgs,
    output: &Output,
    root: Option<&'a str>,
    timeline: Option<&'a Timeline>,
) -> Form<'a> {
    match args.format {
        ReportFormat::Json => Form::Json,
        ReportFormat::Ndjson => Form::Ndjson,
        ReportFormat::Markdown => Form::Markdown,
        ReportFormat::Github => Form::Github { root },
        ReportFormat::Junit => Form::Junit { fail_on: &args.fail_on, root },
        ReportFormat::Sarif => Form::Sarif { root },
        ReportFormat::Html => Form::Html { timeline },
        ReportFormat::Text => {
            let detail = match (args.quiet, args.verbose) {
                (true, _) => Detail::Quiet,
                (_, true) => Detail::Verbose,
                _ => Detail::Normal,
            };
            Form::Text(TextOptions { style: Style::choose(args.color.into(), &output.place()), detail })
        }
    }
}

/// Looks at a live server; an open verdict extends the window. Beside what was seen, why it could not be kept.
fn look(args: &DiagnoseArgs, values: Values) -> Result<(Capture, Option<Error>)> {
    let saved = args.save.as_deref().map(CaptureFile::create).transpose()?;
    let target = &args.target;
    let Found { pid, by, server } = found::find(target.pid, target.port, target.name.as_deref(), args.only)?;
    signals::catch();
    let options = recorder::Options {
        rate_hz: args.rate,
        duration_ms: args.duration.as_millis() as u64,
        level: args.level.into(),
        selected_by: by,
        pid: args.only.unwrap_or(pid),
    };
    let redactor = args.redact.then(Redactor::default);
    let mut keeper = Keeper { file: saved, writer: None, values, redactor, failed: None };
    let mut sink = |header: &Header, records: &[Record]| keeper.keep(header, records);
    let progress = Progress::new(args.quiet);
    let mut recorder = Recorder::start(server, options, args.save.is_some().then_some(&mut sink))?;
    let step_ns = args.duration.as_nanos() as u64;
    let most_ns = (args.max_duration.as_nanos() as u64).max(step_ns);
    let mut end_ns = step_ns;
    let mut counted: Vec<i32> = Vec::new();
    loop {
        recorder.run(end_ns, &signals::STOP, &mut |at_ns| progress.show(at_ns, end_ns))?;
        if recorder.ended() {
            break;
        }
        let mut judged = judge(&mut recorder);
        let open = |judged: &[ProcessDiagnosis]| judged.iter().any(|p| p.verdict.code == Code::Unknown);
        if counted.is_empty() {
            // What waits in it may be what decides.
            let undecided = judged.iter().filter(|p| p.verdict.code == Code::Unknown || may_hide(p));
            counted = recorder.count_tasks(&undecided.map(|p| p.pid).collect::<Vec<_>>());
            if !counted.is_empty() {
                judged = judge(&mut recorder);
            }
        }
        if !open(&judged) || end_ns >= most_ns {
            // Who is in trouble most comes first.
            judged.sort_by_key(|p| (Reverse(p.verdict.severity), p.pid));
            // Last, so that nothing else is measured while threads are stopped.
            recorder.burst(&suspects(&judged));
            let computing = judged.iter().filter(|p| p.verdict.code == Code::LoopBlockedOnCpu);
            let computing: Vec<i32> = computing.map(|p| p.pid).collect();
            judged.retain(|p| explained_by_waits(p) && !counted.contains(&p.pid));
            recorder.count_tasks(&judged.iter().map(|p| p.pid).collect::<Vec<_>>());
            let blocked = judged.iter().filter(|p| p.verdict.code == Code::LoopBlockedOffCpu);
            recorder.look_below(&blocked.map(|p| p.pid).collect::<Vec<_>>());
            recorder.look_computing(&computing);
            break;
        }
        end_ns = (end_ns + step_ns).min(most_ns);
    }
    progress.clear();
    let capture = recorder.finish()?;
    Ok((capture, keeper.finish()))
}

/// Whether what waits in a worker tells more of its verdict: not where it is well, and not where it lacks a processor.
const fn explained_by_waits(process: &ProcessDiagnosis) -> bool {
    !matches!(process.verdict.severity, Some(Severity::Info))
        && !matches!(
            process.verdict.code,
            Code::CpuStarved
                | Code::CgroupThrottled
                | Code::SaturatedProductive
                | Code::NotRunning
                | Code::Booting
        )
}

/// Whether a loop that looks idle has connections of which the kernel does not tell whether a request is in flight.
fn may_hide(process: &ProcessDiagnosis) -> bool {
    let uncounted = |c: &Connections| c.clients > 0 && c.in_flight.is_none();
    process.verdict.code == Code::Idle && process.connections.as_ref().is_some_and(uncounted)
}

/// Whose calls would firm up the verdict.
fn suspects(judged: &[ProcessDiagnosis]) -> Vec<i32> {
    judged.iter().filter(|p| is_suspect(p.verdict.code)).map(|p| p.pid).collect()
}

/// Judges what was recorded so far.
fn judge(recorder: &mut Recorder<'_>) -> Vec<ProcessDiagnosis> {
    let so_far = recorder.so_far();
    let judged = diagnose::diagnose(&so_far).processes;
    recorder.go_on(so_far);
    judged
}

/// Writes the capture as it comes, without what the report must not show either.
struct Keeper {
    file: Option<CaptureFile>,
    writer: Option<CaptureWriter>,
    values: Values,
    redactor: Option<Redactor>,
    failed: Option<Error>,
}

impl Keeper {
    /// A disk that is full from the beginning ends the look before it began; one that fills up meanwhile keeps what
    /// it has, and the look goes on for the report.
    fn keep(&mut self, header: &Header, records: &[Record]) -> Result<()> {
        if let Some(file) = self.file.take() {
            let mut header = header.clone();
            if let Some(redactor) = &mut self.redactor {
                // Secrets first, so that they get no pseudonym: those count on.
                mask::header(&mut header);
                redactor.header(&mut header);
            }
            self.writer = Some(file.begin(&header, self.values)?);
        }
        if let Err(error) = self.write(records) {
            self.writer = None;
            self.failed = Some(error);
        }
        Ok(())
    }

    fn write(&mut self, records: &[Record]) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let Some(redactor) = &mut self.redactor else {
            return records.iter().try_for_each(|record| writer.write(record));
        };
        records.iter().try_for_each(|record| {
            let mut record = record.clone();
            mask::record(&mut record);
            redactor.record(&mut record);
            writer.write(&record)
        })
    }

    fn finish(self) -> Option<Error> {
        self.failed.or_else(|| self.writer.and_then(|writer| writer.finish().err()))
    }
}

/// A line on a terminal while it looks.
struct Progress {
    shown: bool,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal() }
    }

    fn show(&self, at_ns: u64, end_ns: u64) {
        if self.shown {
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Klooking {:.1} of {:.0} s",
                at_ns as f64 / 1e9,
                end_ns as f64 / 1e9
            );
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn seen_anything(capture: &Capture) -> bool {
    capture.records.iter().any(|r| matches!(r, Record::Tick(tick) if !tick.samples.is_empty()))
}

fn nothing_seen(capture: &Capture) -> Error {
    let pid = capture.header.target.pid;
    Error::new(
        ErrorKind::Gone,
        format!("nothing was seen of process {pid}"),
        "it ended before the first sample",
    )
    .remedy(format!("stallscope {pid}"))
}
