//! The fixed facts of a capture: header and processes, put together from what the sources gave.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::packages;
use super::watched::Watched;
use crate::capture::model::{
    CAPTURE_VERSION, Header, HostFacts, LoopKind, ProcessFacts, PythonFacts, Role, ServerFacts, ServerKind,
    WorkerClass,
};
use crate::target::maps::Mapping;
use crate::target::{Member, Server, recognise};

/// The header as far as it is known before anything was sampled.
#[must_use]
pub fn header(server: &Server, options: &Options, host: HostFacts) -> Header {
    let mut header = Header {
        capture_version: CAPTURE_VERSION.into(),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        started_at: String::new(),
        started_realtime_ns: 0,
        started_monotonic_ns: 0,
        rate_hz: options.rate_hz,
        duration_ms: options.duration_ms,
        level: options.level,
        host,
        target: server.pointed_at(options.pid, options.selected_by.clone()),
        server: ServerFacts {
            kind: server.kind,
            version: None,
            worker_class: None,
            listen: Vec::new(),
            workers_configured: None,
            threads_configured: None,
            max_requests: None,
            packages: Vec::new(),
            timeout_s: None,
        },
    };
    settings(&mut header.server, server);
    header
}

/// What is known of the server's settings.
pub fn settings(facts: &mut ServerFacts, server: &Server) {
    let known = &server.settings;
    facts.workers_configured = known.workers;
    facts.threads_configured = known.threads;
    facts.max_requests = known.max_requests.filter(|n| *n > 0);
    facts.timeout_s = known.timeout_s;
}

/// A process as first seen.
#[must_use]
pub fn process(
    server: &Server,
    member: &Member,
    python: Option<PythonFacts>,
    frame_files: &[String],
    header: &Header,
    mapped: &[String],
    at_ns: u64,
) -> ProcessFacts {
    let snapshot = &member.snapshot;
    let uptime_s = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map_or(0.0, |t| t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9);
    let started_s = snapshot.start_time_ticks as f64 / header.host.ticks_per_s.max(1) as f64;
    let (class, by) = class(server, member.role, frame_files, mapped);
    ProcessFacts {
        at_ns,
        pid: snapshot.pid,
        ns_pid: snapshot.ns_pid,
        ppid: snapshot.ppid,
        start_time_ticks: snapshot.start_time_ticks,
        age_ms: ((uptime_s - started_s).max(0.0) * 1e3) as u64,
        name: snapshot.name.clone(),
        cmdline: snapshot.cmdline.clone(),
        role: member.role,
        worker_class: class,
        recognised_by: by,
        python,
        tracer_pid: snapshot.tracer_pid,
        loop_tid: snapshot.pid,
        loop_kind: recognise::loop_kind(class, mapped, false),
        listen: Vec::new(),
        cgroup: None,
        net_ns: snapshot.net_ns,
        fd_limit: snapshot.fd_limit,
    }
}

/// Recognises a worker that was still booting when first seen. `true` when it is known now.
pub fn recognise_late(facts: &mut ProcessFacts, server: &Server, frame_files: &[String]) -> bool {
    let (found, by) = class(server, facts.role, frame_files, &[]);
    if found.is_some() {
        facts.worker_class = found;
        facts.recognised_by = by;
        facts.loop_kind = recognise::loop_kind(found, &[], facts.loop_kind != LoopKind::None);
    }
    found.is_some()
}

fn class(
    server: &Server,
    role: Role,
    frame_files: &[String],
    mapped: &[String],
) -> (Option<WorkerClass>, String) {
    let nobody = |why: &str| (None, why.to_owned());
    match (server.kind, role) {
        (_, Role::Arbiter) => nobody("head of the server"),
        (ServerKind::Gunicorn, _) => {
            let found = recognise::gunicorn_class(server.settings.worker_class, frame_files, mapped);
            found.map_or_else(
                || nobody("neither command line, stack nor mapped files tell"),
                |f| (Some(f.class), f.by),
            )
        }
        (ServerKind::Uvicorn, _) => (Some(WorkerClass::Asyncio), "command line (uvicorn)".into()),
        _ => {
            let asyncio = frame_files
                .iter()
                .any(|f| f.ends_with("asyncio/base_events.py") || f.ends_with("asyncio/runners.py"));
            let gevent = frame_files.iter().any(|f| f.ends_with("gevent/hub.py"));
            match () {
                () if gevent => (Some(WorkerClass::Gevent), "stack (gevent/hub.py)".into()),
                () if asyncio => (Some(WorkerClass::Asyncio), "stack (asyncio)".into()),
                () => nobody("process"),
            }
        }
    }
}

/// The mapped files of a process, each once.
#[must_use]
pub fn mapped_files(mappings: &[Mapping]) -> Vec<String> {
    let files: BTreeSet<&str> =
        mappings.iter().map(|m| m.path.as_str()).filter(|p| p.starts_with('/')).collect();
    files.into_iter().map(str::to_owned).collect()
}

/// What the descriptors tell about the loop.
pub fn finish_loop(facts: &mut ProcessFacts, has_epoll: bool) {
    if facts.loop_kind == LoopKind::None && has_epoll {
        facts.loop_kind = LoopKind::Selectors;
    }
}

/// Where the server listens: what its head and its workers share, else what anybody of it holds.
#[must_use]
pub fn shared_listeners(watched: &BTreeMap<i32, Watched>) -> Vec<String> {
    let held = |arbiter: bool| -> BTreeSet<String> {
        let members = watched.values().filter(|w| (w.facts.role == Role::Arbiter) == arbiter);
        members.flat_map(|w| w.facts.listen.iter().cloned()).collect()
    };
    let (of_head, of_workers) = (held(true), held(false));
    let shared: Vec<String> = of_head.intersection(&of_workers).cloned().collect();
    if shared.is_empty() { of_head.union(&of_workers).cloned().collect() } else { shared }
}

/// What is known of the server once its processes are known.
pub fn finish_header(header: &mut Header, watched: &BTreeMap<i32, Watched>, listen: Vec<String>) {
    let workers: Vec<&Watched> = watched.values().filter(|w| w.facts.role != Role::Arbiter).collect();
    let mut votes: BTreeMap<String, (usize, WorkerClass)> = BTreeMap::new();
    for class in workers.iter().filter_map(|w| w.facts.worker_class) {
        votes.entry(format!("{class:?}")).or_insert((0, class)).0 += 1;
    }
    header.server.worker_class = votes.values().max_by_key(|(n, _)| *n).map(|(_, class)| *class);
    header.server.listen = listen;
    if header.server.kind == ServerKind::Process
        && workers.iter().any(|w| w.facts.loop_kind != LoopKind::None)
    {
        header.server.kind = ServerKind::Loop;
    }
    if header.server.workers_configured.is_none() && header.server.kind == ServerKind::Gunicorn {
        // gunicorn's own default; a configuration file would show in more workers than that.
        header.server.workers_configured = (workers.len() == 1).then_some(1);
    }
    // Workers are made from one another: the first one shows what all of them have loaded. What their arbiter has loaded they
    // have, too, also where their own stacks could not be read yet.
    let arbiter = watched.values().find(|w| w.facts.role == Role::Arbiter);
    header.server.packages = packages::loaded(workers.first().copied().into_iter().chain(arbiter));
    let loaded = header.server.packages.iter().find(|p| p.name == "gunicorn");
    header.server.version = loaded.map(|p| p.version.clone()).or_else(|| watched.values().find_map(version));
    let target = watched.get(&header.target.pid).map(|w| &w.facts);
    header.target.cgroup = target.and_then(|f| f.cgroup.clone());
    header.target.container_id = header.target.cgroup.as_deref().and_then(recognise::container_id);
}

/// gunicorn's version: the name of its distribution's folder beside its package, seen from inside the target's root.
fn version(watched: &Watched) -> Option<String> {
    let files = watched.python.as_ref()?.files_seen();
    let package = files.iter().find_map(|f| f.find("/gunicorn/").and_then(|at| f.get(..at)))?;
    let names = super::python::list_below_root(&watched.dir, package)?;
    names.iter().find_map(|name| recognise::distribution_version(name, "gunicorn"))
}

/// A time in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(realtime_ns: u64) -> String {
    let (secs, ms) = (realtime_ns / 1_000_000_000, realtime_ns / 1_000_000 % 1_000);
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days to a date in the proleptic Gregorian calendar, by 400-year eras that begin on 1 March.
    let z = days as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_their_edges() {
        let at = |secs: u64| rfc3339(secs * 1_000_000_000);
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.000Z");
    }
}
