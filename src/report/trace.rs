//! The calls of a server in a burst for each of its processes, as a document.
//!
//! Takes what [`crate::capture::traced`] saw, gives the document of `trace --format json`; [`super::trace_text`] makes a page of
//! it and [`super::trace_lines`] lines. Pure.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{SCHEMA_VERSION, Tool};
use crate::capture::burst::{Burst, End, Engine, FollowedThread, LeftOut, What, Woken};
use crate::capture::calls::name;
use crate::capture::model::{BlindSpot, Doing, Role, TargetFacts};
use crate::capture::traced::Traced;
use crate::trace::calls::{Call, calls};
use crate::trace::descriptors::behind;
use crate::trace::fold::{Pattern, Step, patterns, taken_in};
use crate::trace::summary::{NameSummary, Polls, Spent, by_name, polls, spent};
use crate::trace::switches::OffCpu;

/// What the threads of a server called in a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TraceDocument {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who looked.
    pub tool: Tool,
    /// What the user pointed at.
    pub target: TargetFacts,
    /// Each process, in the order in which they were traced: one at a time.
    pub processes: Vec<TraceProcess>,
    /// What was not seen, why, and what would help.
    pub blind_spots: Vec<BlindSpot>,
}

/// What a process called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TraceProcess {
    /// Process id in the tool's namespace.
    pub pid: i32,
    /// What the process is for.
    pub role: Role,
    /// What the burst did to it.
    pub burst: BurstCost,
    /// Its calls by name, those that took longest first.
    pub calls: Vec<NameSummary>,
    /// The descriptors that they were about.
    pub descriptors: Vec<DescriptorUse>,
    /// Its threads: those that called most first.
    pub threads: Vec<TraceThread>,
}

/// What a burst did to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BurstCost {
    /// What saw the calls: `ptrace` stops threads at each, `perf` stops nobody.
    pub engine: Engine,
    /// How long it took, up to when the helper began to exit, or nothing was recorded any more.
    pub duration_ns: u64,
    /// How long it took until the helper was seen to be gone, or the events were closed: nothing was held any more, at the
    /// latest.
    pub gone_ns: u64,
    /// How long it was allowed to take.
    pub limit_ns: u64,
    /// Why it ended.
    pub ended_by: End,
    /// Threads that were followed from its beginning.
    pub threads: u64,
    /// Threads that were there and not followed.
    pub left_out: LeftOut,
    /// Stops.
    pub stops: u64,
    /// Stops that it was allowed to make.
    pub max_stops: u64,
    /// Events that were kept: beginnings and ends of calls, and what else was seen of the threads.
    pub events: u64,
    /// Events that it was allowed to keep; 0 where stops are the bound.
    pub max_events: u64,
    /// All stops together, from noticing each to letting go.
    pub stopped_ns_total: u64,
    /// The longest of them.
    pub stopped_ns_max: u64,
    /// How long the helper waited for a processor meanwhile: threads may have stood still for so much longer, unnoticed.
    pub helper_waited_ns: u64,
    /// Threads that were asleep in a call which the stop ended with `EINTR`.
    pub interrupted: u64,
    /// Threads that did not stop in time, and are asleep in a call which gets `EINTR` when they do, always or if their socket
    /// has a time limit; and those that may have been about to begin such a call when the end of the burst let them go.
    pub perhaps_interrupted: u64,
    /// Events that had no room.
    pub lost: u64,
    /// Whether nothing is traced any more.
    pub detached: bool,
}

impl From<&Burst> for BurstCost {
    fn from(burst: &Burst) -> Self {
        let woken = |how| burst.threads.iter().filter(|thread| thread.woken == how).count() as u64;
        Self {
            engine: burst.engine,
            duration_ns: length_ns(burst),
            gone_ns: burst.over_ns.saturating_sub(burst.began_ns),
            limit_ns: burst.limit_ns,
            ended_by: burst.end,
            threads: burst.threads.len() as u64,
            left_out: burst.left_out,
            stops: burst.stops,
            max_stops: burst.max_stops,
            events: burst.events.len() as u64,
            max_events: burst.max_events,
            stopped_ns_total: burst.stopped_ns_total,
            stopped_ns_max: burst.stopped_ns_max,
            helper_waited_ns: burst.helper_waited_ns,
            interrupted: woken(Woken::Interrupted),
            perhaps_interrupted: woken(Woken::PerhapsInterrupted) + burst.newborn_at_large(),
            lost: burst.lost,
            detached: burst.detached,
        }
    }
}

/// A descriptor, and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DescriptorUse {
    /// Its number.
    pub fd: i32,
    /// What it is.
    pub what: String,
    /// Who is at the other end.
    pub peer: Option<String>,
    /// Calls on it.
    pub calls: u64,
    /// Calls that read from it, wrote to it, accepted from it or closed it.
    pub taken_in: u64,
    /// How often a poll reported it as ready.
    pub ready: u64,
}

/// What a thread called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TraceThread {
    /// Thread id in the tool's namespace.
    pub tid: i32,
    /// The kernel's name for it.
    pub name: String,
    /// The call it was asleep in when the burst began.
    pub asleep_in: Option<String>,
    /// What the stop did to that call; `null` for a thread that was born meanwhile.
    pub woken: Option<Woken>,
    /// Where its time went.
    pub spent: Spent,
    /// How often it came back to its poll.
    pub polls: Option<Polls>,
    /// Signals that it got.
    pub signals: u64,
    /// Whether it was stopped by job control.
    pub stopped_by_job_control: bool,
    /// What it did again and again, the most calls first.
    pub patterns: Vec<Pattern>,
    /// Its calls.
    pub calls: Vec<Call>,
}

/// The document of a trace.
#[must_use]
pub fn document(target: TargetFacts, traced: &[Traced], blind: Vec<BlindSpot>) -> TraceDocument {
    let mut blind_spots = blind;
    for spot in traced.iter().flat_map(|t| &t.blind) {
        if !blind_spots.contains(spot) {
            blind_spots.push(spot.clone());
        }
    }
    TraceDocument {
        schema_version: SCHEMA_VERSION.into(),
        tool: Tool::own(),
        target,
        processes: traced.iter().map(process).collect(),
        blind_spots,
    }
}

/// How long threads were followed.
fn length_ns(burst: &Burst) -> u64 {
    burst.ended_ns.unwrap_or(burst.over_ns).saturating_sub(burst.began_ns)
}

fn process(traced: &Traced) -> TraceProcess {
    let calls = calls(traced);
    let taken = taken_in(calls.iter().map(|c| (c.name.as_str(), c.fd, c.error.is_some())));
    let mut tids: BTreeSet<i32> = traced.burst.threads.iter().map(|t| t.tid).collect();
    tids.extend(traced.burst.events.iter().map(|e| e.tid));
    let off_cpu = OffCpu::of(&traced.burst);
    let never = OffCpu::default();
    let off_cpu = |tid: i32| Some(off_cpu.as_ref()?.get(&tid).unwrap_or(&never));
    let mut threads: Vec<TraceThread> =
        tids.into_iter().map(|tid| thread(traced, tid, &calls, &taken, off_cpu(tid))).collect();
    threads.sort_by_key(|t| (std::cmp::Reverse(t.calls.len()), t.tid));
    TraceProcess {
        pid: traced.burst.pid,
        role: traced.role,
        burst: BurstCost::from(&traced.burst),
        calls: by_name(&calls),
        descriptors: descriptors(traced, &calls),
        threads,
    }
}

fn thread(
    traced: &Traced,
    tid: i32,
    all: &[Call],
    taken: &BTreeSet<i32>,
    off_cpu: Option<&OffCpu>,
) -> TraceThread {
    let calls: Vec<&Call> = all.iter().filter(|call| call.tid == tid).collect();
    let steps: Vec<Step> = calls.iter().map(|call| Step::of(call)).collect();
    let followed = traced.burst.threads.iter().find(|t| t.tid == tid);
    let asleep_in = |t: &FollowedThread| match t.doing {
        Doing::Syscall(number, _) => name(&traced.arch, number).map(str::to_owned),
        _ => None,
    };
    let seen = |what: fn(&What) -> bool| {
        traced.burst.events.iter().filter(|e| e.tid == tid && what(&e.what)).count() as u64
    };
    let began_ns = traced.burst.began_ns;
    let off_cpu_ns = off_cpu.map(|times| move |from, to| times.within(began_ns + from, began_ns + to));
    TraceThread {
        tid,
        name: traced.names.get(&tid).cloned().unwrap_or_default(),
        asleep_in: followed.and_then(asleep_in),
        woken: followed.map(|t| t.woken),
        spent: spent(&calls, length_ns(&traced.burst), off_cpu_ns.as_ref().map(|seen| seen as _)),
        polls: polls(&calls),
        signals: seen(|what| matches!(what, What::Signal(_))),
        stopped_by_job_control: seen(|what| matches!(what, What::JobControl(_))) > 0,
        patterns: patterns(&steps, taken),
        calls: calls.into_iter().cloned().collect(),
    }
}

fn descriptors(traced: &Traced, calls: &[Call]) -> Vec<DescriptorUse> {
    let mut used: BTreeMap<i32, DescriptorUse> = BTreeMap::new();
    let mut of = |fd: i32, count: fn(&mut DescriptorUse)| {
        let entry = used.entry(fd).or_insert_with(|| {
            let there = behind(traced, fd);
            DescriptorUse { fd, what: there.what, peer: there.peer, calls: 0, taken_in: 0, ready: 0 }
        });
        count(entry);
    };
    for call in calls {
        if let Some(fd) = call.fd {
            of(fd, |d| d.calls += 1);
            if crate::capture::calls::takes_in(&call.name) && call.error.is_none() {
                of(fd, |d| d.taken_in += 1);
            }
        }
        for fd in call.ready.iter().filter_map(|ready| ready.fd) {
            of(fd, |d| d.ready += 1);
        }
    }
    used.into_values().collect()
}
