//! `stallscope PID`: find the server, look at it for three seconds, judge, report.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::capture::model::{Capture, Level};
use crate::capture::recorder::{self, Recorder};
use crate::diagnose::model::{Code, Diagnosis};
use crate::diagnose::{self};
use crate::error::Result;
use crate::observe::kernel_file::FileBudget;
use crate::target::{Selector, Server};

/// How to look.
#[derive(Debug, Clone)]
pub struct Look {
    /// Whom.
    pub selector: Selector,
    /// Only the named process.
    pub only: bool,
    /// The window.
    pub duration: Duration,
    /// How far the window may be extended while a verdict is open.
    pub max_duration: Duration,
    /// Samples per second.
    pub rate_hz: u32,
    /// The most that may be done to the target.
    pub level: Level,
}

/// Set to the number of the signal that asked the tool to stop.
pub static STOP: AtomicI32 = AtomicI32::new(0);

/// Looks at a live server.
pub fn look(look: &Look, progress: &mut dyn FnMut(u64, u64), sink: Option<recorder::Sink<'_>>) -> Result<(Capture, Diagnosis)> {
    let pid = look.selector.resolve()?;
    let budget = FileBudget::from_limit();
    let server = Server::find(pid, look.only, &budget)?;
    let options = recorder::Options {
        rate_hz: look.rate_hz,
        duration_ms: look.duration.as_millis() as u64,
        level: look.level,
        selected_by: look.selector.words(),
        pid,
    };
    let mut recorder = Recorder::start(server, options, sink)?;
    let mut end_ns = look.duration.as_nanos() as u64;
    let most_ns = look.max_duration.as_nanos() as u64;
    loop {
        recorder.run(end_ns, &STOP, &mut |at_ns| progress(at_ns, end_ns))?;
        let may_extend = !recorder.ended() && end_ns < most_ns && STOP.load(Ordering::Relaxed) == 0;
        if !may_extend {
            break;
        }
        let so_far = recorder.so_far();
        let open = diagnose::diagnose(&so_far).processes.iter().any(|p| p.verdict.code == Code::Unknown);
        recorder.go_on(so_far);
        if !open {
            break;
        }
        end_ns = (end_ns + look.duration.as_nanos() as u64).min(most_ns);
    }
    let capture = recorder.finish()?;
    let diagnosis = diagnose::diagnose(&capture);
    Ok((capture, diagnosis))
}
