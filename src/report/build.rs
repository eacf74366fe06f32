//! From a capture and its judgement to the document.
//!
//! Takes plain data, gives plain data: no clock, no file, no environment, so the same capture and the same
//! rules give the same document. It decides nothing; where a fact is missing it says so among the blind spots.

use std::collections::HashMap;

use super::model::{
    Burst, Collection, Exit, OwnCost, Process, Python, Report, SCHEMA_VERSION, Server, Stacks, Tool,
};
use crate::capture::mask::{self, Values};
use crate::capture::model::{
    BlindSpot, Capture, Header, Level, NOT_PERMITTED, ProcessFacts, Record, Role, SelfCost, TargetFacts,
    WorkerClass,
};
use crate::diagnose::model as judged;

/// The document of one look. Secrets in command lines are masked.
#[must_use]
pub fn build(capture: &Capture, diagnosis: &judged::Diagnosis, exit: Exit) -> Report {
    build_with(capture, diagnosis, exit, Values::Masked)
}

/// The document of one look, with secrets in command lines masked or shown.
#[must_use]
pub fn build_with(capture: &Capture, diagnosis: &judged::Diagnosis, exit: Exit, values: Values) -> Report {
    let header = &capture.header;
    let facts = facts_by_pid(capture);
    let end = capture.records.iter().rev().find_map(|record| match record {
        Record::End(cost) => Some(cost),
        _ => None,
    });
    let processes: Vec<Process> =
        diagnosis.processes.iter().map(|judged| process(judged, facts.get(&judged.pid).copied())).collect();
    Report {
        schema_version: SCHEMA_VERSION.into(),
        tool: Tool::looked(&header.tool_version),
        host: (&header.host).into(),
        target: target(&header.target, values),
        server: server(header, worker_class(header, &processes), &diagnosis.server),
        collection: collection(capture, diagnosis.sub_windows, end),
        blind_spots: blind_spots(capture, diagnosis, end, &processes),
        processes,
        exit,
    }
}

/// What is known of each process. A pid that was used twice keeps its first owner, which is the one judged.
fn facts_by_pid(capture: &Capture) -> HashMap<i32, &ProcessFacts> {
    let mut facts = HashMap::new();
    for record in &capture.records {
        if let Record::Process(process) = record {
            let known = facts.entry(process.pid).or_insert(process.as_ref());
            // A later record of the same process knows more.
            if known.start_time_ticks == process.start_time_ticks {
                *known = process.as_ref();
            }
        }
    }
    facts
}

fn target(facts: &TargetFacts, values: Values) -> TargetFacts {
    let mut target = facts.clone();
    if values == Values::Masked {
        mask::arguments(&mut target.cmdline);
    }
    target
}

/// The class of the workers; where all were booting at first, that of those that were recognised later.
fn worker_class(header: &Header, processes: &[Process]) -> Option<WorkerClass> {
    header.server.worker_class.or_else(|| processes.iter().find_map(|process| process.worker_class))
}

fn server(header: &Header, worker_class: Option<WorkerClass>, judged: &judged::ServerDiagnosis) -> Server {
    let server = &header.server;
    Server {
        kind: server.kind,
        version: server.version.clone(),
        worker_class,
        listen: server.listen.clone(),
        workers_configured: server.workers_configured,
        timeout_s: server.timeout_s,
        accept_queue: judged.accept_queue.clone(),
        verdict: judged.verdict.clone(),
    }
}

fn collection(capture: &Capture, sub_windows: u32, end: Option<&SelfCost>) -> Collection {
    let header = &capture.header;
    Collection {
        started_at: header.started_at.clone(),
        duration_ms: end.map_or_else(|| last_tick_ns(capture), |end| end.at_ns) / 1_000_000,
        sub_windows,
        level: header.level,
        rate_hz: header.rate_hz,
        sources: end.map(|end| end.sources.clone()).unwrap_or_default(),
        stacks: end.map(|end| Stacks {
            obtained: end.stacks_obtained,
            torn: end.stacks_torn,
            discarded: end.stacks_discarded,
        }),
        burst: burst(capture),
        own_cost: end.map(|end| OwnCost { cpu_ms: end.cpu_ns / 1_000_000, rss_kib: end.rss_kib }),
    }
}

/// The bursts of the look, of which there is one at most.
fn burst(capture: &Capture) -> Burst {
    capture.records.iter().fold(Burst::UNUSED, |so_far, record| match record {
        Record::Burst { burst, .. } => Burst {
            used: true,
            threads: so_far.threads + burst.threads.len() as u64,
            stops: so_far.stops + burst.stops,
            stopped_ns_total: so_far.stopped_ns_total + burst.stopped_ns_total,
            stopped_ns_max: so_far.stopped_ns_max.max(burst.stopped_ns_max),
            detached: so_far.detached && burst.detached,
        },
        _ => so_far,
    })
}

/// Where the window ends when its last record is missing.
fn last_tick_ns(capture: &Capture) -> u64 {
    capture
        .records
        .iter()
        .rev()
        .find_map(|record| match record {
            Record::Tick(tick) => Some(tick.at_ns),
            _ => None,
        })
        .unwrap_or(0)
}

fn process(judged: &judged::ProcessDiagnosis, facts: Option<&ProcessFacts>) -> Process {
    let judged = judged.clone();
    Process {
        pid: judged.pid,
        ns_pid: facts.map_or(judged.pid, |facts| facts.ns_pid),
        start_time_ticks: facts.map_or(0, |facts| facts.start_time_ticks),
        role: facts.map_or(Role::Process, |facts| facts.role),
        worker_class: facts.and_then(|facts| facts.worker_class),
        python: facts.and_then(|facts| facts.python.as_ref()).map(|python| Python {
            version: python.version.clone(),
            implementation: python.implementation.clone(),
        }),
        verdict: judged.verdict,
        runner_up: judged.runner_up,
        time_budget: judged.time_budget,
        event_loop: judged.event_loop,
        heartbeat: judged.heartbeat,
        connections: judged.connections,
        evidence: judged.evidence,
        counter_evidence: judged.counter_evidence,
        what_would_change: judged.what_would_change,
        findings: judged.findings,
        advice: judged.advice,
        stacks: judged.stacks,
        threads: judged.threads,
        tasks: judged.tasks,
    }
}

/// What the look reported as unseen, what the judge missed, and the reason of every `null` that means "unknown".
fn blind_spots(
    capture: &Capture,
    diagnosis: &judged::Diagnosis,
    end: Option<&SelfCost>,
    processes: &[Process],
) -> Vec<BlindSpot> {
    let seen = capture.records.iter().filter_map(|record| match record {
        Record::Blind(spot) => Some(spot.clone()),
        _ => None,
    });
    let mut spots: Vec<BlindSpot> = Vec::new();
    let refused = seen.clone().any(|spot| spot.why.starts_with(NOT_PERMITTED));
    let unknown = [
        cut_short(end),
        unknown_server_facts(&capture.header, worker_class(&capture.header, processes)),
        unknown_target_facts(&capture.header.target).filter(|_| !refused),
        unread_pythons(processes, capture.header.level)
            .filter(|_| !refused || capture.header.level == Level::Proc),
        unread_tasks(processes),
        uncounted_requests(capture, processes),
    ];
    for spot in seen.chain(diagnosis.blind_spots.iter().cloned()).chain(unknown.into_iter().flatten()) {
        if !spots.contains(&spot) {
            spots.push(spot);
        }
    }
    if refused {
        return with_what_follows(spots, capture, diagnosis, processes);
    }
    // Whoever tried to read the queue knows better why it could not; this is for when nobody said.
    if diagnosis.server.accept_queue.max.is_none() && !spots.iter().any(|s| s.what.contains("accept queue")) {
        spots.push(spot(
            "accept queue",
            "no listening socket of the server was found or could be read",
            "look at the server's own network namespace, as root",
        ));
    }
    spots
}

/// What is unknown because the kernel refuses is told where that is told, and not as spots of their own.
fn with_what_follows(
    mut spots: Vec<BlindSpot>,
    capture: &Capture,
    diagnosis: &judged::Diagnosis,
    processes: &[Process],
) -> Vec<BlindSpot> {
    let target = &capture.header.target;
    let mut follows = Vec::new();
    if target.exe.is_none() || target.cgroup.is_none() {
        follows.push("facts of the target".to_owned());
    }
    if capture.header.level != Level::Proc
        && let Some(whose) = whose(processes, |process| process.python.is_none())
    {
        follows.push(format!("Python of {whose}"));
    }
    if diagnosis.server.accept_queue.max.is_none() && !spots.iter().any(|s| s.what.contains("accept queue")) {
        follows.push("accept queue".to_owned());
    }
    let first = spots.iter_mut().find(|spot| spot.why.starts_with(NOT_PERMITTED));
    if let Some(first) = first.filter(|_| !follows.is_empty()) {
        first.what = format!("{}; with them: {}", first.what, follows.join(", "));
    }
    spots
}

fn spot(what: impl Into<String>, why: &str, remedy: &str) -> BlindSpot {
    BlindSpot { what: what.into(), why: why.into(), remedy: remedy.into() }
}

fn cut_short(end: Option<&SelfCost>) -> Option<BlindSpot> {
    match end {
        Some(end) if end.interrupted => Some(spot(
            "the rest of the window",
            "the look was cut short by a signal or by the end of the target",
            "look again and let the window run to its end",
        )),
        Some(_) => None,
        None => Some(spot(
            "sources, fate of the stacks and own cost (collection.sources, stacks, self)",
            "the capture has no last record: it was cut short while it was written",
            "look again and let the window run to its end",
        )),
    }
}

/// The names of those fields that are unknown, joined.
fn missing(fields: &[(&str, bool)]) -> Option<String> {
    let names: Vec<&str> = fields.iter().filter(|(_, known)| !known).map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn unknown_server_facts(header: &Header, class: Option<WorkerClass>) -> Option<BlindSpot> {
    let server = &header.server;
    let names = missing(&[
        ("version", server.version.is_some()),
        ("worker_class", class.is_some()),
        ("workers_configured", server.workers_configured.is_some()),
        ("timeout_s", server.timeout_s.is_some()),
    ])?;
    Some(spot(
        format!("facts of the server: {names}"),
        "neither the command line nor the memory nor the installation tells",
        "not needed for a verdict; name them on the server's command line to see them here",
    ))
}

fn unknown_target_facts(target: &TargetFacts) -> Option<BlindSpot> {
    let names = missing(&[("exe", target.exe.is_some()), ("cgroup", target.cgroup.is_some())])?;
    Some(spot(
        format!("facts of the target: {names}"),
        "the kernel does not let this user read them, or they do not exist",
        "run as the target's user or as root",
    ))
}

fn unread_pythons(processes: &[Process], level: Level) -> Option<BlindSpot> {
    let whose = whose(processes, |process| process.python.is_none())?;
    if level == Level::Proc {
        return Some(spot(
            format!("Python and stacks of {whose}"),
            "at level proc no memory is read",
            "look again with --level memory, which does not stop the target either",
        ));
    }
    Some(spot(
        format!("Python of {whose}"),
        "no interpreter that can be read was found in the process",
        "nothing if it is no Python program; else run as root with --level memory",
    ))
}

/// Only loops have greenlets and tasks that wait.
fn may_have_tasks(process: &Process) -> bool {
    process.role != Role::Arbiter && process.python.is_some() && process.event_loop.kind != "none"
}

fn unread_tasks(processes: &[Process]) -> Option<BlindSpot> {
    let whose = whose(processes, |process| process.tasks.is_none() && may_have_tasks(process))?;
    Some(spot(
        format!("suspended greenlets and asyncio tasks of {whose}"),
        "they are counted at the end of a look for workers in trouble, as far as half a percent of its time allows",
        "stallscope dump PID shows all of them",
    ))
}

/// Whoever tried to read the sockets may have said already why it could not.
fn uncounted_requests(capture: &Capture, processes: &[Process]) -> Option<BlindSpot> {
    const WHAT: &str = "requests in flight";
    let said = |r: &Record| matches!(r, Record::Blind(spot) if spot.what.starts_with(WHAT));
    if capture.records.iter().any(said) {
        return None;
    }
    let uncounted = |p: &Process| p.connections.as_ref().is_none_or(|c| c.in_flight.is_none());
    Some(spot(
        format!("{WHAT} of {}", whose(processes, uncounted)?),
        "its sockets were not read, or the kernel keeps no counters for them, as for unix sockets",
        "look as root in the target's network namespace; behind a unix socket the proxy's own figures tell",
    ))
}

/// The processes that lack something, if any does.
fn whose(processes: &[Process], lacks: impl Fn(&Process) -> bool) -> Option<String> {
    let pids: Vec<String> =
        processes.iter().filter(|process| lacks(process)).map(|process| process.pid.to_string()).collect();
    match pids.len() {
        0 => None,
        lacking if lacking > 1 && lacking == processes.len() => Some("every process".into()),
        _ => Some(format!("pid {}", pids.join(", "))),
    }
}
