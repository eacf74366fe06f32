//! `stallscope portal`: the reference portal up, down, and its faults.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::cli::{Format, PortalAction, PortalFaultsArgs, PortalUpArgs, StackArg};
use crate::error::{Error, ErrorKind, Result};
use crate::portal::faults::{self, Client, Fault, Set};
use crate::portal::load::Held;
use crate::portal::server::{self, Options, Portal};
use crate::portal::{Stack, http};
use crate::report::output::write_quietly;

impl From<StackArg> for Stack {
    fn from(stack: StackArg) -> Self {
        match stack {
            StackArg::Period => Self::Period,
            StackArg::Modern => Self::Modern,
            StackArg::Builtin => Self::Builtin,
        }
    }
}

/// Does what was asked.
pub fn run(action: PortalAction) -> Result<u8> {
    match action {
        PortalAction::Up(args) => up(&args),
        PortalAction::Down(args) => down(args.dir.as_deref()),
        PortalAction::Faults(args) => list(&args),
        PortalAction::Compare(args) => super::compare::run(&args),
        PortalAction::Validate(args) => super::validate::run(&args),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    arbiter_pid: i32,
    url: String,
    direct: String,
    dir: &'a std::path::Path,
}

fn up(args: &PortalUpArgs) -> Result<u8> {
    let fault =
        args.fault.as_deref().map(|name| find(name, &args.worker_class, args.stack.into())).transpose()?;
    if let Some(fault) = fault.filter(|f| f.client != Client::Asks) {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{} needs a client that stays", fault.name),
            "this command ends as soon as the portal is up".to_owned(),
        )
        .remedy(format!("stallscope demo {}", fault.name)));
    }
    // Whoever interrupts it gets nothing half.
    crate::observe::signals::hold();
    let dir = args.dir.clone().unwrap_or_else(server::default_dir);
    let usual = Options::of(args.stack.into(), &args.worker_class, &dir);
    let mut portal = Portal::up(
        &Options {
            workers: args.workers,
            threads: args.threads.or(usual.threads),
            timeout_s: args.timeout,
            port: args.port.unwrap_or(0),
            nginx: !args.no_nginx && args.stack != StackArg::Builtin,
            ..usual
        },
        &mut |line| tell(line),
    )?;
    if let Some(fault) = fault {
        // A client that stays was refused above: nothing is held.
        drop(trigger(&portal, fault, 120));
    }
    let answer = Answer {
        arbiter_pid: portal.arbiter_pid,
        url: format!("http://{}/", portal.front),
        direct: format!("http://{}/", portal.direct),
        dir: &portal.dir,
    };
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&answer).map_or_else(|e| e.to_string(), |t| t + "\n"),
        Format::Text => format!(
            "the portal is up: {}\n  gunicorn itself: {}, its arbiter is process {}\n  look at it:      stallscope {}\n  take it down:    stallscope portal down --dir {}\n",
            answer.url,
            answer.direct,
            answer.arbiter_pid,
            answer.arbiter_pid,
            answer.dir.display()
        ),
    };
    portal.detach();
    write_quietly(&mut std::io::stdout(), &text)?;
    Ok(0)
}

fn down(dir: Option<&std::path::Path>) -> Result<u8> {
    let dir = dir.map_or_else(server::default_dir, std::path::Path::to_path_buf);
    if server::down(&dir) {
        write_quietly(&mut std::io::stdout(), "the portal is down\n")?;
        return Ok(0);
    }
    Err(Error::new(
        ErrorKind::Portal,
        format!("no portal is up in {}", dir.display()),
        "its state file is missing, or its processes have ended",
    ))
}

fn list(args: &PortalFaultsArgs) -> Result<u8> {
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&faults::all().collect::<Vec<_>>())
            .map_or_else(|e| e.to_string(), |t| t + "\n"),
        Format::Text => {
            let mut text = String::from(
                "stallscope portal up --worker-class CLASS --fault NAME, or GET /fault/NAME?seconds=N\n\n",
            );
            for fault in faults::all() {
                let _ = writeln!(text, "{}\n    {}{}", fault.name, fault.what, note(fault));
                for (class, code) in fault.expected {
                    let _ = writeln!(text, "    {class:<9} {code}");
                }
            }
            text
        }
    };
    write_quietly(&mut std::io::stdout(), &text)?;
    Ok(0)
}

/// What kind of fault it is, where that is not plain.
fn note(fault: &Fault) -> String {
    match fault.set {
        Set::First => String::new(),
        Set::Second if fault.family == fault.name => " (held out from the making of the rules)".into(),
        Set::Second => format!(" (held out from the making of the rules; like {})", fault.family),
        Set::Third if fault.family == fault.name => " (third set)".into(),
        Set::Third => format!(" (third set; like {})", fault.family),
        Set::Control => " (no fault)".into(),
    }
}

/// A fault that a worker class knows.
pub fn find(name: &str, worker_class: &str, stack: Stack) -> Result<&'static Fault> {
    let class = if stack == Stack::Builtin { "builtin" } else { worker_class };
    let unknown = |message: String, cause: &str| {
        Error::new(ErrorKind::Usage, message, cause.to_owned()).remedy("stallscope portal faults")
    };
    let fault = faults::by_name(name)
        .ok_or_else(|| unknown(format!("no fault is called {name}"), "it is not in the list of faults"))?;
    if fault.expected_of(class).is_none() {
        return Err(unknown(
            format!("{name} makes no sense with {class} workers"),
            "the fault needs another worker class",
        ));
    }
    Ok(fault)
}

/// Asks for a fault, as often as it needs. Those that block are not waited for. Gives the connections that must be kept
/// for the fault to last: none, unless its client is what is wrong.
#[must_use]
pub fn trigger(portal: &Portal, fault: &Fault, seconds: u32) -> Held {
    let path = fault.path(seconds);
    if fault.client != Client::Asks {
        return Held::new(portal.direct, fault.client, &path, fault.requests).unwrap_or_default();
    }
    let patience = Duration::from_secs(u64::from(seconds) + 5);
    for _ in 0..fault.requests {
        let Ok(mut client) = http::Client::connect(portal.direct, patience) else { continue };
        if client.ask(&path, false).is_err() {
            continue;
        }
        if fault.background {
            let _ = client.answer();
        } else {
            // The question is on its way; whoever is blocked by it answers late or never.
            std::thread::spawn(move || client.answer());
        }
    }
    Held::default()
}

/// A line for the person who waits.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "  {line}");
}
