//! `stallscope record PID`: where the time goes, in a form that others open.

mod saver;
mod told;

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::Path;

use nix::sys::signal::Signal;

use super::found::{self, Found};
use crate::capture::model::Level;
use crate::capture::profile::Profile;
use crate::capture::recorder::{self, Profiler, Recorder};
use crate::cli::{ByArg, ModeArg, RecordArgs, RecordFormat};
use crate::diagnose::times;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::signals;
use crate::report::output::Output;
use crate::report::profile::{By, Mode, ProfileForm, Selection, render};
use saver::Saver;
use told::Progress;

/// Endings of names by which the form is known.
const ENDINGS: [(&str, ProfileForm); 9] = [
    (".folded", ProfileForm::Collapsed),
    (".collapsed", ProfileForm::Collapsed),
    (".txt", ProfileForm::Collapsed),
    (".svg", ProfileForm::Flamegraph),
    (".speedscope.json", ProfileForm::Speedscope),
    (".speedscope", ProfileForm::Speedscope),
    (".pb.gz", ProfileForm::Pprof),
    (".pprof", ProfileForm::Pprof),
    (".trace.json", ProfileForm::Chrome),
];

/// Records and gives the exit code.
pub fn run(args: &RecordArgs) -> Result<u8> {
    let (form, selection) = (form(args)?, selection(args)?);
    let output = Output::open(args.output.as_deref())?;
    if matches!(output, Output::Stdout) && !form.is_text() && std::io::stdout().is_terminal() {
        return Err(Error::new(
            ErrorKind::Usage,
            "pprof's format is no text for a terminal",
            "standard output is a terminal",
        )
        .remedy("-o stall.pb.gz"));
    }
    let target = &args.target;
    let Found { pid, by, server } = found::find(target.pid, target.port, target.name.as_deref(), args.only)?;
    signals::catch();
    let options = recorder::Options {
        rate_hz: args.rate,
        duration_ms: args.duration.map_or(0, |duration| duration.as_millis() as u64),
        level: Level::Memory,
        selected_by: by,
        pid: args.only.unwrap_or(pid),
    };
    let mut profiler = Profiler::new(Recorder::start(server, options, None)?, form.needs_timeline());
    let mut saver = Saver::start(output, selection, form);
    let end_ns = args.duration.map(|duration| duration.as_nanos() as u64);
    let mut progress = Progress::new(args.quiet);
    while profiler.turn(end_ns, &signals::STOP) {
        progress.show(&profiler.profile, end_ns);
        saver.offer(&profiler.profile);
    }
    profiler.finish();
    progress.clear();
    let (profile, output) = (&profiler.profile, saver.finish());
    if profile.totals.with_stack == 0
        && let Some(refusal) = profiler.refusal()
    {
        return Err(refusal);
    }
    if profile.totals.samples > 0 && profile.stacks.is_empty() {
        return Err(no_python(profile, pid));
    }
    let bytes = render(profile, &times::meanings(profile), selection, form);
    if bytes.is_empty() {
        return Err(nothing(profile, selection, pid));
    }
    output.write_bytes(&bytes)?;
    if !args.quiet {
        told::summary(profile, selection, form, args.output.as_deref());
    }
    Ok(if signals::caught() == Some(Signal::SIGTERM) { 143 } else { 0 })
}

fn form(args: &RecordArgs) -> Result<ProfileForm> {
    if let Some(format) = args.format {
        return Ok(match format {
            RecordFormat::Collapsed => ProfileForm::Collapsed,
            RecordFormat::Flamegraph => ProfileForm::Flamegraph,
            RecordFormat::Speedscope => ProfileForm::Speedscope,
            RecordFormat::Pprof => ProfileForm::Pprof,
            RecordFormat::Chrome => ProfileForm::Chrome,
        });
    }
    match args.output.as_deref() {
        None => Ok(ProfileForm::Collapsed),
        Some(path) if path.as_os_str() == "-" => Ok(ProfileForm::Collapsed),
        Some(path) => by_ending(path).ok_or_else(|| unknown_ending(path)),
    }
}

fn by_ending(path: &Path) -> Option<ProfileForm> {
    let name = path.file_name().map(OsStr::to_string_lossy)?.to_ascii_lowercase();
    ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, form)| *form)
}

fn unknown_ending(path: &Path) -> Error {
    let ending = path.extension().map(OsStr::to_string_lossy).unwrap_or_default();
    let cause = match &*ending {
        "json" => "two forms are JSON: .speedscope.json and .trace.json say which".to_owned(),
        "" => "its name has no ending that says which".to_owned(),
        other => format!("no form has the ending .{other}"),
    };
    // One ending for each form, the picture first.
    let fitting: &[&str] = match &*ending {
        "json" => &[".speedscope.json", ".trace.json"],
        _ => &[".svg", ".speedscope.json", ".trace.json", ".pb.gz", ".folded"],
    };
    let error = Error::new(ErrorKind::Usage, format!("the form of {} is not known", path.display()), cause);
    let stem = path.with_extension("");
    let named =
        fitting.iter().fold(error, |error, known| error.remedy(format!("-o {}{known}", stem.display())));
    named.remedy("--format, with any name")
}

fn selection(args: &RecordArgs) -> Result<Selection> {
    if args.idle && args.mode != ModeArg::Wall {
        return Err(Error::new(
            ErrorKind::Usage,
            "--idle shows nothing in this mode",
            "threads that wait for work are neither on a processor nor blocked",
        )
        .remedy("--mode wall --idle"));
    }
    let mode = match args.mode {
        ModeArg::Wall => Mode::Wall,
        ModeArg::Cpu => Mode::Cpu,
        ModeArg::Blocked => Mode::Blocked,
    };
    let by = match args.by {
        ByArg::Server => By::Server,
        ByArg::Worker => By::Worker,
        ByArg::Thread => By::Thread,
    };
    Ok(Selection { mode, idle: args.idle, by })
}

/// Without a stack there is nothing to show, however often it was looked.
fn no_python(profile: &Profile, pid: i32) -> Error {
    let why = profile.blind.iter().find(|spot| spot.what.starts_with("Python stacks"));
    let cause =
        why.map_or_else(|| "it runs no Python, or none that is known".into(), |spot| spot.why.clone());
    Error::new(ErrorKind::NotObservable, format!("no stack could be read of process {pid}"), cause)
        .value(format!("looks={}", profile.totals.samples))
        .remedy(format!("stallscope {pid}"))
}

/// Nothing was recorded: never an empty success.
fn nothing(profile: &Profile, selection: Selection, pid: i32) -> Error {
    let looks = profile.totals.samples;
    if looks == 0 {
        return Error::new(
            ErrorKind::Gone,
            format!("nothing was seen of process {pid}"),
            "it ended before the first sample, or the recording did",
        )
        .remedy(format!("stallscope record {pid}"));
    }
    let nothing = |cause: &str| {
        Error::new(ErrorKind::NotObservable, format!("nothing to record of process {pid}"), cause)
            .value(format!("looks={looks}"))
    };
    match selection.mode {
        Mode::Cpu => nothing("no thread was on a processor whenever it was looked at")
            .remedy(format!("record longer, or while it has something to do: stallscope record {pid}")),
        Mode::Blocked => nothing("no thread slept in anything but waiting for work")
            .remedy(format!("stallscope record {pid} --mode wall")),
        Mode::Wall => {
            nothing("all that was seen waited for work").remedy(format!("stallscope record {pid} --idle"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_name_says_the_form() {
        for (name, form) in [
            ("a.svg", Some(ProfileForm::Flamegraph)),
            ("a.b.SPEEDSCOPE.JSON", Some(ProfileForm::Speedscope)),
            ("x.trace.json", Some(ProfileForm::Chrome)),
            ("x.pb.gz", Some(ProfileForm::Pprof)),
            ("x.folded", Some(ProfileForm::Collapsed)),
            ("x.json", None),
            ("x.gz", None),
            ("x", None),
        ] {
            assert_eq!(by_ending(&Path::new("/tmp").join(name)), form, "{name}");
        }
    }

    #[test]
    fn a_recording_of_nothing_is_an_error_that_says_what_to_do() {
        let mut profile = Profile::default();
        let error =
            |profile: &Profile, mode| nothing(profile, Selection { mode, idle: false, by: By::Server }, 4242);
        assert_eq!(error(&profile, Mode::Wall).kind, ErrorKind::Gone);
        profile.totals.samples = 9;
        for (mode, remedy) in [(Mode::Cpu, "longer"), (Mode::Blocked, "--mode wall"), (Mode::Wall, "--idle")]
        {
            let error = error(&profile, mode);
            assert_eq!(error.kind, ErrorKind::NotObservable);
            assert!(error.remedies.iter().any(|text| text.contains(remedy)), "{error:?}");
        }
    }
}
