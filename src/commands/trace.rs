//! `stallscope trace PID`: a burst of decoded system calls at each process, one after the other.

use std::io::Write;

use super::found::{self, Found};
use crate::capture::mask;
use crate::capture::model::{BlindSpot, Role};
use crate::capture::traced::{self, Traced};
use crate::cli::{EngineArg, TraceArgs, TraceFormat};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::burst::{self, Choice, NoBurst};
use crate::observe::perf::{self, NoPerf};
use crate::observe::{host, signals};
use crate::report;
use crate::report::output::Output;
use crate::report::style::Style;
use crate::target::access::{self, Here};
use crate::target::{Member, Server};

/// Traces and writes what was seen.
pub fn run(args: &TraceArgs) -> Result<u8> {
    let output = Output::open(args.output.as_deref())?;
    let target = &args.target;
    let Found { pid, by, server } = found::find(target.pid, target.port, target.name.as_deref(), args.only)?;
    let arch = host::facts()?.arch;
    signals::catch();
    let (traced, blind) = trace(args, &server, &arch)?;
    let mut target = server.pointed_at(args.only.unwrap_or(pid), by);
    if !args.show_values {
        mask::arguments(&mut target.cmdline);
    }
    let document = report::trace::document(target, &traced, blind);
    let text = match args.format {
        TraceFormat::Json => report::json::render(&document),
        TraceFormat::Ndjson => report::trace_lines::render(&document),
        TraceFormat::Text => {
            report::trace_text::text(&document, Style::choose(args.color.into(), &output.place()))
        }
    };
    output.write(&text)?;
    Ok(signals::caught().map_or(0, |signal| 128 + signal as u8))
}

/// One process at a time: nobody else of the server is held meanwhile.
fn trace(args: &TraceArgs, server: &Server, arch: &str) -> Result<(Vec<Traced>, Vec<BlindSpot>)> {
    let mut members: Vec<&Member> = server.members.values().collect();
    members.sort_by_key(|m| (m.role == Role::Arbiter, m.snapshot.pid));
    let (mut traced, mut blind, mut first_refusal) = (Vec::new(), Vec::new(), None);
    let mut engine = args.engine;
    for member in members {
        if signals::caught().is_some() {
            break;
        }
        let mut seen = match engine {
            EngineArg::Ptrace => by_stops(args, server, member, arch),
            EngineArg::Perf | EngineArg::Auto => by_events(args, server, member, arch),
        };
        if let (EngineArg::Auto, Err(error)) = (engine, &seen)
            && error.kind != ErrorKind::Gone
        {
            let why = &error.cause;
            let _ = writeln!(std::io::stderr(), "note: no perf events ({why}): threads are stopped instead");
            engine = EngineArg::Ptrace;
            seen = by_stops(args, server, member, arch);
        }
        match seen {
            Ok(seen) => traced.push(seen),
            Err(error) => {
                blind.push(BlindSpot {
                    what: format!("the calls of process {}", member.snapshot.pid),
                    why: error.cause.clone(),
                    remedy: error.remedies.first().cloned().unwrap_or_else(|| "look again".into()),
                });
                first_refusal.get_or_insert(error);
            }
        }
    }
    match first_refusal {
        Some(error) if traced.is_empty() => Err(error),
        _ => Ok((traced, blind)),
    }
}

fn by_stops(args: &TraceArgs, server: &Server, member: &Member, arch: &str) -> Result<Traced> {
    let choice = if args.undisturbed { Choice::Undisturbed } else { Choice::All };
    let bounds = burst::Bounds { limit: args.duration, max_stops: args.max_stops, choice };
    if choice == Choice::All {
        warn(member, arch);
    }
    traced::take(server, member, arch, |dir| burst::take(dir, &bounds)).map_err(|why| refusal(member, &why))
}

fn by_events(args: &TraceArgs, server: &Server, member: &Member, arch: &str) -> Result<Traced> {
    let bounds = perf::Bounds { limit: args.duration, max_events: args.max_events, ring_bytes: None };
    let refusal = |why: NoPerf| access::refusal_of_events(&member.dir, &why, &Here::gather());
    traced::take(server, member, arch, |dir| perf::take(dir, &bounds)).map_err(refusal)
}

/// Says beforehand whose sleep will end.
fn warn(member: &Member, arch: &str) {
    for (call, threads) in traced::would_wake(member, arch) {
        let who = if threads == 1 { "a thread".to_owned() } else { format!("{threads} threads") };
        let is = if threads == 1 { "is" } else { "are" };
        let _ = writeln!(
            std::io::stderr(),
            "warning: {who} of process {} {is} asleep in {call}; a stop ends that with EINTR (--undisturbed leaves such out)",
            member.snapshot.pid
        );
    }
}

fn refusal(member: &Member, why: &NoBurst) -> Error {
    let pid = member.snapshot.pid;
    match why {
        NoBurst::Refused(_) => access::refusal_to_stop(&member.dir, &Here::gather()),
        NoBurst::Gone => Error::new(
            ErrorKind::Gone,
            format!("nothing was seen of process {pid}"),
            "it ended before it could be traced",
        ),
        NoBurst::NoChild(error) => {
            Error::new(ErrorKind::Io, format!("process {pid} cannot be traced"), "the helper process failed")
                .value(error.clone())
        }
    }
}
