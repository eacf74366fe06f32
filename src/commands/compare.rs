//! `stallscope portal compare`: the story itself. A server under its fault, then the same code with other workers and the
//! same requests, and what changed between the two looks, with what the visitors got.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::folder::Folder;
use super::portal::{find, tell, trigger};
use super::{diff, validate};
use crate::capture::model::Level;
use crate::cli::PortalCompareArgs;
use crate::error::Result;
use crate::observe::signals;
use crate::portal::Stack;
use crate::portal::faults::Fault;
use crate::portal::load::{self, Outcome, Plan, REQUEST_PATIENCE};
use crate::portal::server::{Options, Portal};
use crate::report::diff::{Load, Loads, Named, compare};
use crate::report::output::Output;
use crate::report::received::{self, Received};

/// Seconds that the fault lasts at most: longer than the longest look.
const FAULT_SECONDS: u32 = 60;

/// Pause of a visitor between two pages.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs both servers, one after the other, and says what changed. Gives the exit code.
pub fn run(args: &PortalCompareArgs) -> Result<u8> {
    signals::hold();
    let output = Output::open(args.output.as_deref())?;
    let stack = args.stack.into();
    // The first server must know the fault; that the second does not may be the cure.
    let fault = find(&args.fault, &args.before, stack)?;
    let folder = Folder::of("compare")?;
    let both = side(args, stack, &args.before, fault, &folder.path().join("before")).and_then(|before| {
        Ok((before, side(args, stack, &args.after, fault, &folder.path().join("after"))?))
    });
    if let Some(signal) = signals::caught() {
        step(&format!("interrupted by {signal}; everything that was started has been ended"));
        return Ok(128 + signal as u8);
    }
    let ((before, asked), (after, asked_again)) = both?;
    let mut comparison = compare(
        Named { source: &format!("{} under {}", args.before, fault.name), report: &before },
        Named { source: &format!("{}, the same requests", args.after), report: &after },
    );
    comparison.load =
        Some(Loads { plan: words(args.connections), before: load(&asked), after: load(&asked_again) });
    let text = diff::render(&comparison, args.format, args.color.into(), &output);
    output.write(&text)?;
    Ok(comparison.exit.code)
}

/// One server from its first to its last moment: what was said of it, and what its visitors got.
fn side(
    args: &PortalCompareArgs,
    stack: Stack,
    class: &str,
    fault: &Fault,
    folder: &Path,
) -> Result<(Received, Outcome)> {
    step(&format!("bringing up the portal: {class}"));
    let options = Options { timeout_s: Some(120), ..Options::of(stack, class, folder) };
    let portal = Portal::up(&options, &mut |line| tell(line))?;
    step(&format!("the fault: {}", fault.what));
    let _held = trigger(&portal, fault, FAULT_SECONDS);
    step(&format!("the load: {}", words(args.connections)));
    let visitors = load::Load::start(&Plan {
        address: portal.direct,
        path: "/".into(),
        connections: args.connections as usize,
        keep_alive: false,
        pause: PAUSE,
        patience: REQUEST_PATIENCE,
        at_most: Duration::from_secs(u64::from(FAULT_SECONDS)),
    });
    step(&format!("stallscope {}", portal.arbiter_pid));
    let report = validate::look(portal.arbiter_pid, Level::Memory, &folder.join("look.cap"));
    let outcome = visitors.stop();
    step("taking it down");
    portal.down();
    Ok((received::own(&report?)?, outcome))
}

/// One worker, so that the fault and the load meet; the threads are those of the story.
fn words(connections: u32) -> String {
    let pause = PAUSE.as_millis();
    format!("{connections} visitors ask for the landing page, {pause} ms after each answer")
}

fn load(outcome: &Outcome) -> Load {
    let known = |ms: f64| (outcome.answers > 0).then(|| (ms * 10.0).round() / 10.0);
    Load {
        answers: outcome.answers as u64,
        per_second: (outcome.per_second * 10.0).round() / 10.0,
        p50_ms: known(outcome.p50_ms),
        p99_ms: known(outcome.p99_ms),
    }
}

fn step(line: &str) {
    let _ = writeln!(std::io::stderr(), "compare: {line}");
}
