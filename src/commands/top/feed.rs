//! The thread that looks, and what the view asks of it.
//!
//! It publishes its newest snapshot and waits for nobody. It is ended by a flag that it reads at every tick.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::judge::Judge;
use super::player;
use crate::capture::mask::Values;
use crate::capture::recorder::{self, Recorder};
use crate::cli::TopArgs;
use crate::commands::found::{self, Found};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::signals;
use crate::report::json;
use crate::report::model::Report;
use crate::report::output::Output;
use crate::tui::app::Snapshot;
use crate::tui::{Latest, Source};

/// Time in which the view must have ended after its terminal has.
const HUNG_UP_PATIENCE: Duration = Duration::from_secs(3);

/// What the view wants of the looking thread.
#[derive(Debug, Default)]
pub struct Wanted {
    /// A capture is to stand still.
    pub held: bool,
    /// Everything is to begin again.
    pub reset: bool,
}

/// How the two threads talk: a flag to end, and what is wanted.
#[derive(Debug, Default)]
pub struct Control {
    /// Not zero: end.
    pub stop: AtomicI32,
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

impl Control {
    /// What is wanted now.
    pub fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Waits until something else is wanted, or for a time.
    pub fn wait<'c>(&'c self, wanted: MutexGuard<'c, Wanted>, at_most: Duration) -> MutexGuard<'c, Wanted> {
        let result = self.changed.wait_timeout(wanted, at_most);
        result.map_or_else(|e| e.into_inner().0, |(guard, _)| guard)
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted());
        self.changed.notify_all();
    }
}

/// The looking thread, as the view sees it.
pub struct Feed {
    latest: Arc<Latest>,
    control: Arc<Control>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Feed {
    /// Begins to look, or to play; an error is told before the terminal is taken.
    pub fn start(args: &TopArgs) -> Result<Self> {
        let (latest, control) = (Arc::new(Latest::default()), Arc::new(Control::default()));
        let thread = {
            let (latest, control) = (Arc::clone(&latest), Arc::clone(&control));
            match &args.target.replay {
                Some(path) => {
                    let capture = crate::capture::reader::read(path)?;
                    let (window_ns, values) = (window_ns(args), values(args));
                    spawn(move || {
                        player::play(&capture, window_ns, values, &latest, &control);
                        Ok(())
                    })?
                }
                None => looking(args, latest, control)?,
            }
        };
        Ok(Self { latest, control, thread: Some(thread) })
    }

    /// Ends the thread and gives its error, if it had one.
    pub fn end(mut self) -> Result<()> {
        self.stop();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    fn stop(&self) {
        self.control.stop.store(1, Ordering::Relaxed);
        self.control.changed.notify_all();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(run: impl FnOnce() -> Result<()> + Send + 'static) -> Result<JoinHandle<Result<()>>> {
    std::thread::Builder::new()
        .name("look".into())
        .spawn(run)
        .map_err(|e| Error::new(ErrorKind::Io, "no thread can be started", e.to_string()))
}

/// Whose secrets are masked.
pub const fn values(args: &TopArgs) -> Values {
    if args.show_values { Values::Shown } else { Values::Masked }
}

/// The time that a verdict is about.
pub const fn window_ns(args: &TopArgs) -> u64 {
    args.window.as_nanos() as u64
}

/// Looks at a live server in a thread of its own; returns when it has begun.
fn looking(args: &TopArgs, latest: Arc<Latest>, control: Arc<Control>) -> Result<JoinHandle<Result<()>>> {
    let target = &args.target;
    let Found { pid, by, server } = found::find(target.pid, target.port, target.name.as_deref(), args.only)?;
    let options = recorder::Options {
        rate_hz: args.rate,
        duration_ms: args.window.as_millis() as u64,
        level: args.level.into(),
        selected_by: by,
        pid: args.only.unwrap_or(pid),
    };
    let (window_ns, values) = (window_ns(args), values(args));
    let piece_ns = 1_000_000_000 / u64::from(args.fps.max(1));
    let (ready, begun) = mpsc::sync_channel(1);
    let thread = spawn(move || {
        let mut recorder = match Recorder::start(server, options, None) {
            Ok(recorder) => recorder,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let _ = ready.send(Ok(()));
        let mut judge = Judge::live(recorder.header().clone(), window_ns, values);
        let (mut until_ns, mut hung_up) = (0, None);
        while !recorder.ended() {
            until_ns += piece_ns;
            recorder.sample(until_ns, &control.stop)?;
            if std::mem::take(&mut control.wanted().reset) {
                judge.reset();
            }
            let snapshot = judge.take(recorder.take());
            // Pieces that were missed, while the machine or this program was suspended, are not made up for.
            until_ns = until_ns.max(snapshot.live.at_ns);
            latest.publish(snapshot);
            // Where the drawing thread hangs on a terminal that is gone, nobody would ever end us.
            if signals::caught() == Some(Signal::SIGHUP) {
                let since = *hung_up.get_or_insert_with(Instant::now);
                if since.elapsed() > HUNG_UP_PATIENCE {
                    std::process::exit(129);
                }
            }
        }
        Ok(())
    })?;
    let gone = || Error::new(ErrorKind::Io, "the looking thread has ended", "it did not say why");
    begun.recv().unwrap_or_else(|_| Err(gone()))?;
    Ok(thread)
}

impl Source for Feed {
    fn latest(&self) -> Arc<Snapshot> {
        self.latest.get()
    }

    fn over(&self) -> bool {
        signals::caught().is_some() || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn reset(&mut self) {
        self.control.want(|wanted| wanted.reset = true);
    }

    fn hold(&mut self, held: bool) {
        self.control.want(|wanted| wanted.held = held);
    }

    fn write(&mut self, shown: &Snapshot) -> String {
        let Some(report) = &shown.report else { return "nothing to write yet".into() };
        let path = proposed(report);
        match Output::open(Some(&path)).and_then(|output| output.write(&json::render(report.as_ref()))) {
            Ok(()) => format!("written: {}", path.display()),
            Err(error) => format!("{}: {}", error.message, error.cause),
        }
    }
}

/// A name that tells whom the report is about and when it begins.
fn proposed(report: &Report) -> PathBuf {
    let time = report.collection.started_at.split('.').next().unwrap_or_default();
    let time: String = time.chars().filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    format!("stallscope-{}-{time}Z.json", report.target.pid).into()
}
