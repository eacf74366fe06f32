//! `stallscope PID`: find the server, look at it for three seconds, judge, report.

use std::io::{IsTerminal, Write};

use nix::sys::signal::Signal as OsSignal;

use crate::capture::mask::{self, Values};
use crate::capture::model::{Capture, Header, Record};
use crate::capture::recorder::{self, Recorder};
use crate::capture::writer::{CaptureFile, CaptureWriter};
use crate::cli::{DiagnoseArgs, Format, TargetArgs};
use crate::diagnose;
use crate::diagnose::model::Code;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::kernel_file::FileBudget;
use crate::observe::signals;
use crate::report::exit::Signal;
use crate::report::output::Output;
use crate::report::style::{Place, Style};
use crate::report::text::{Detail, TextOptions};
use crate::report::{self, Form, exit};
use crate::target::{Selector, Server};

/// Looks or replays, judges and reports. Gives the exit code.
pub fn run(args: &DiagnoseArgs) -> Result<u8> {
    let output = Output::open(args.output.as_deref())?;
    let values = if args.show_values { Values::Shown } else { Values::Masked };
    let mut capture = match &args.target.replay {
        Some(path) => crate::capture::reader::read(path)?,
        None => look(args, values)?,
    };
    // What is judged is what would be saved, so that a replay cannot differ.
    mask::capture(&mut capture, values);
    let signal =
        signals::caught().map(|s| if s == OsSignal::SIGTERM { Signal::Terminate } else { Signal::Interrupt });
    // Interrupted before the first sample, it says so by its exit code and an empty report.
    if signal.is_none() && !seen_anything(&capture) {
        return Err(nothing_seen(&capture));
    }
    let diagnosis = diagnose::diagnose(&capture);
    let report =
        report::build_with(&capture, &diagnosis, exit::decide(&diagnosis, &args.fail_on, signal), values);
    output.write(&report::render(&report, form(args)))?;
    Ok(report.exit.code)
}

fn form(args: &DiagnoseArgs) -> Form {
    match args.format {
        Format::Json => Form::Json,
        Format::Text => {
            let to_file = args.output.as_ref().is_some_and(|path| path.as_os_str() != "-");
            let place = if to_file { Place::file() } else { Place::stdout() };
            let detail = match (args.quiet, args.verbose) {
                (true, _) => Detail::Quiet,
                (_, true) => Detail::Verbose,
                _ => Detail::Normal,
            };
            Form::Text(TextOptions { style: Style::choose(args.color.into(), &place), detail })
        }
    }
}

/// Looks at a live server; an open verdict extends the window.
fn look(args: &DiagnoseArgs, values: Values) -> Result<Capture> {
    let saved = args.save.as_deref().map(CaptureFile::create).transpose()?;
    let selector = selector(&args.target)?;
    let pid = selector.resolve()?;
    let server = Server::find(pid, args.only, &FileBudget::from_limit())?;
    signals::catch();
    let options = recorder::Options {
        rate_hz: args.rate,
        duration_ms: args.duration.as_millis() as u64,
        level: args.level.into(),
        selected_by: selector.words(),
        pid: args.only.unwrap_or(pid),
    };
    let mut keeper = Keeper { file: saved, writer: None, values };
    let mut sink = |header: &Header, records: &[Record]| keeper.keep(header, records);
    let progress = Progress::new(args.quiet);
    let mut recorder = Recorder::start(server, options, args.save.is_some().then_some(&mut sink))?;
    let step_ns = args.duration.as_nanos() as u64;
    let most_ns = (args.max_duration.as_nanos() as u64).max(step_ns);
    let mut end_ns = step_ns;
    loop {
        recorder.run(end_ns, &signals::STOP, &mut |at_ns| progress.show(at_ns, end_ns))?;
        if recorder.ended() || end_ns >= most_ns {
            break;
        }
        let so_far = recorder.so_far();
        let open = diagnose::diagnose(&so_far).processes.iter().any(|p| p.verdict.code == Code::Unknown);
        recorder.go_on(so_far);
        if !open {
            break;
        }
        end_ns = (end_ns + step_ns).min(most_ns);
    }
    progress.clear();
    let capture = recorder.finish()?;
    keeper.finish()?;
    Ok(capture)
}

/// Whom the user pointed at.
pub(super) fn selector(target: &TargetArgs) -> Result<Selector> {
    let by_pid = target.pid.map(Selector::Pid);
    let by_port = || target.port.map(Selector::Port);
    let by_name = || target.name.clone().map(Selector::Name);
    by_pid
        .or_else(by_port)
        .or_else(by_name)
        .ok_or_else(|| Error::new(ErrorKind::Usage, "no target", "name a PID, --port or --name"))
}

/// Writes the capture as it comes.
struct Keeper {
    file: Option<CaptureFile>,
    writer: Option<CaptureWriter>,
    values: Values,
}

impl Keeper {
    fn keep(&mut self, header: &Header, records: &[Record]) -> Result<()> {
        if let Some(file) = self.file.take() {
            self.writer = Some(file.begin(header, self.values)?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        records.iter().try_for_each(|record| writer.write(record))
    }

    fn finish(self) -> Result<()> {
        self.writer.map_or(Ok(()), CaptureWriter::finish)
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
