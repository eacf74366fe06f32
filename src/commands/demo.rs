//! `stallscope demo`: portal, fault, load and diagnosis in one go, and nothing left behind.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::Parser;

use super::folder::Folder;
use super::portal::{find, tell, trigger};
use super::{diagnose, portal};
use crate::cli::{Cli, DemoArgs};
use crate::error::Result;
use crate::observe::signals;
use crate::portal::Stack;
use crate::portal::faults::Fault;
use crate::portal::load::{Load, Plan, REQUEST_PATIENCE};
use crate::portal::server::{Options, Portal};

/// Seconds that the fault lasts at most.
const FAULT_SECONDS: u32 = 30;

/// Shows a fault and its diagnosis. The exit code is that of the diagnosis turned around: a fault that was found is 0.
pub fn run(args: &DemoArgs) -> Result<u8> {
    signals::hold();
    let name = args.fault.as_deref().unwrap_or("spin_watcher");
    let stack = args.stack.map_or(Stack::Modern, Into::into);
    let class = args.worker_class.clone().unwrap_or_else(|| default_class(name).to_owned());
    let mut fault = find(name, &class, stack)?;
    let folder = Folder::of("demo")?;
    step(&format!("bringing up the portal: {class} workers, fault {name}"));
    let up = |stack| Portal::up(&options(stack, &class, folder.path()), &mut |line| tell(line));
    let portal = match up(stack) {
        Err(error) if stack != Stack::Builtin && args.stack.is_none() && signals::caught().is_none() => {
            step(&format!(
                "that cannot be had here ({}: {}); falling back to the small built-in server",
                error.message, error.cause
            ));
            fault = portal::find(name, &class, Stack::Builtin).unwrap_or(find(
                "spin_watcher",
                &class,
                Stack::Builtin,
            )?);
            up(Stack::Builtin)
        }
        other => other,
    };
    let code = portal.and_then(|portal| show(&portal, fault));
    match signals::caught() {
        Some(signal) => {
            step(&format!("interrupted by {signal}; everything that was started has been ended"));
            Ok(128 + signal as u8)
        }
        None => code,
    }
}

fn show(portal: &Portal, fault: &Fault) -> Result<u8> {
    step(&format!("its head is process {}, it answers at http://{}/", portal.arbiter_pid, portal.front));
    step("a visitor asks for a page ten times a second");
    let load = Load::start(&Plan {
        address: portal.front,
        path: "/oracle".into(),
        connections: 1,
        keep_alive: false,
        pause: Duration::from_millis(100),
        patience: REQUEST_PATIENCE,
        at_most: Duration::from_mins(1),
    });
    step(&format!("the fault: {}", fault.what));
    let _held = trigger(portal, fault, FAULT_SECONDS);
    step(&format!("stallscope {}", portal.arbiter_pid));
    let pid = portal.arbiter_pid.to_string();
    let cli = Cli::try_parse_from(["stallscope", &pid]).map_err(|e| super::usage(&e))?;
    let found = diagnose::run(&cli.diagnose);
    let outcome = load.stop();
    step(&format!(
        "meanwhile the visitor got {} answers, the slowest of a hundred in {:.0} ms",
        outcome.answers, outcome.p99_ms
    ));
    step("taking the portal down");
    // Exit code 1 says that a fault was found, which is what a demonstration is for.
    found.map(|code| if code == 1 { 0 } else { code })
}

/// A worker class that knows the fault, the story's first.
fn default_class(fault: &str) -> &'static str {
    let known = crate::portal::faults::by_name(fault).map_or(&[][..], |f| f.expected);
    if known.iter().any(|(class, _)| *class == "gevent") {
        "gevent"
    } else {
        known.first().map_or("gevent", |(class, _)| class)
    }
}

fn options(stack: Stack, class: &str, folder: &Path) -> Options {
    Options {
        workers: if class == "gthread" || class == "sync" { 1 } else { 4 },
        timeout_s: Some(60),
        nginx: stack != Stack::Builtin,
        ..Options::of(stack, class, folder)
    }
}

fn step(line: &str) {
    let _ = writeln!(std::io::stderr(), "demo: {line}");
}
