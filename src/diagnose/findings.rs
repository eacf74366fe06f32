//! What else is worth a word beside the verdict: never a verdict of its own.
//!
//! Each finding stands on evidence of its own and says in one sentence what was seen. Pure.

use super::activity::Activity;
use super::budget::part;
use super::bugs;
use super::features::Seen;
use super::known;
use super::ladder::code_name;
use super::model::{Code, Finding, Severity};
use super::rules::{Assessment, Case};
use super::thresholds::{
    BUSY_THREAD, CLOSE_WAIT_LEAK, COLLECTOR_SHARE, FAST_TIMER_PER_S, FD_LIMIT, FEWEST_SAMPLES, HOUSEKEEPING,
};
use crate::capture::model::{SocketState, ThreadCounters, WorkerClass};

/// The findings of a process whose verdict is known; `also` are verdicts that hold, too.
#[must_use]
pub fn of(case: &Case<'_, '_>, verdict: Code, also: &[Assessment]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = also
        .iter()
        .filter(|a| !matches!(a.code, Code::Idle | Code::HealthyBusy | Code::SaturatedProductive))
        .map(|a| Finding {
            code: code_name(a.code),
            severity: Severity::Info,
            text: format!("also holds, and the verdict explains it or comes first: {}", a.summary),
        })
        .collect();
    let others = [
        traced(case),
        fd_limit_near(case),
        close_wait(case),
        pool_exhausted(case),
        gc_heavy(case),
        busy_side_thread(case),
        thread_oversubscription(case),
        wakes(case, verdict),
        reload_on(case),
    ];
    findings.extend(others.into_iter().flatten());
    findings.extend(agents(case));
    findings.extend(known_bugs(case, verdict));
    findings
}

fn finding(code: &str, severity: Severity, text: String) -> Finding {
    Finding { code: code.into(), severity, text }
}

fn traced(case: &Case<'_, '_>) -> Option<Finding> {
    let tracer = case.features.process.facts.tracer_pid;
    (tracer != 0)
        .then(|| finding("traced", Severity::Warning, format!("another tool traces it: pid {tracer}")))
}

fn fd_limit_near(case: &Case<'_, '_>) -> Option<Finding> {
    let process = case.features.process;
    let open = process.descriptors.last().map_or(0, |d| d.value.len() as u64);
    let limit = process.facts.fd_limit.filter(|limit| part(open, *limit) >= FD_LIMIT)?;
    Some(finding("fd_limit_near", Severity::Warning, format!("{open} of {limit} descriptors are open")))
}

fn close_wait(case: &Case<'_, '_>) -> Option<Finding> {
    let owned = case.features.process.descriptors.last().into_iter().flat_map(|d| d.value);
    let sockets = owned.filter_map(|d| case.view.socket_of.get(&d.inode?));
    let half_closed = sockets.filter(|s| s.state == SocketState::CloseWait).count();
    (half_closed >= CLOSE_WAIT_LEAK).then(|| {
        let text = format!("{half_closed} connections were closed by the other end and not by the worker");
        finding("close_wait", Severity::Warning, text)
    })
}

/// Requests that wait for a free connection of a pool: parked ones at the end of the window, threads most of it.
fn pool_exhausted(case: &Case<'_, '_>) -> Option<Finding> {
    let f = &case.features;
    let parked = f.parked.as_ref().map_or(0, |p| p.in_pools);
    if parked > 0 {
        let text = format!("{parked} greenlets or tasks wait for a free connection of a pool");
        return Some(finding("pool_exhausted", Severity::Warning, text));
    }
    let in_pool = |s: &&Seen<'_, '_>| {
        s.meaning.activity != Activity::Runnable && s.stack.is_some_and(|s| s.has(known::POOLS))
    };
    let mut tids: Vec<i32> = f.stacks.iter().map(|s| s.tid).collect();
    tids.sort_unstable();
    tids.dedup();
    let mostly = |tid: &&i32| {
        let of_thread = || f.stacks.iter().filter(|s| s.tid == **tid);
        let all: u64 = of_thread().map(|s| s.count).sum();
        part(of_thread().filter(in_pool).map(|s| s.count).sum(), all) >= 0.5
    };
    let waiting = tids.iter().filter(mostly).count();
    (waiting > 0).then(|| {
        let text =
            format!("{waiting} of {} threads that serve wait for a free connection of a pool", tids.len());
        finding("pool_exhausted", Severity::Warning, text)
    })
}

fn gc_heavy(case: &Case<'_, '_>) -> Option<Finding> {
    let (collecting, n) = case.features.collecting;
    let share = part(collecting, n);
    (n >= FEWEST_SAMPLES && share >= COLLECTOR_SHARE).then(|| {
        let text =
            format!("the garbage collector ran in {:.0} % of the readings of its computing", share * 100.0);
        finding("gc_heavy", Severity::Warning, text)
    })
}

fn busy_side_thread(case: &Case<'_, '_>) -> Option<Finding> {
    let f = &case.features;
    let (tid, share) = f.busiest_other.filter(|(_, share)| *share >= BUSY_THREAD && f.slots.capacity == 0)?;
    let text = format!("thread {tid}, not the loop's, uses {:.0} % of a processor", share * 100.0);
    Some(finding("busy_side_thread", Severity::Info, text))
}

/// Threads that wait for the interpreter lock are asleep: what wants processors all at once is native code.
fn thread_oversubscription(case: &Case<'_, '_>) -> Option<Finding> {
    let process = case.features.process;
    let quota = process.cgroups.iter().filter_map(|c| Some(part(c.quota_us?, c.period_us)));
    let processors = quota.fold(f64::from(case.view.capture.header.host.cpus), f64::min);
    let (first, last) = (process.counters.first()?, process.counters.last()?);
    let span = last.at_ns.saturating_sub(first.at_ns);
    let wants = |thread: &&ThreadCounters| {
        let before = first.value.iter().find(|t| t.tid == thread.tid);
        let wanted = |t: &ThreadCounters| Some(t.run_ns? + t.delay_ns?);
        let between = before.and_then(wanted).zip(wanted(thread)).map_or(0, |(a, b)| b.saturating_sub(a));
        part(between, span) >= BUSY_THREAD
    };
    let wanting = last.value.iter().filter(wants).count();
    (wanting >= 3 && wanting as f64 > processors).then(|| {
        let text = format!(
            "{wanting} of its threads want a processor at once, and it may have {processors:.1}: bound the threads of \
             native libraries (OMP_NUM_THREADS=1)"
        );
        finding("thread_oversubscription", Severity::Warning, text)
    })
}

/// How often a loop without work wakes by design, per second.
const fn housekeeping_per_s(class: WorkerClass) -> Option<(f64, &'static str)> {
    Some(match class {
        WorkerClass::Gthread => (1.0, "gthread's look at its connections"),
        WorkerClass::Gevent => (1.0, "the gevent worker's heartbeat"),
        WorkerClass::Eventlet => (1.0, "the eventlet worker's heartbeat"),
        WorkerClass::Tornado => (1.0, "the tornado worker's watchdog"),
        WorkerClass::Uvicorn | WorkerClass::Asyncio => (10.0, "uvicorn's tick"),
        WorkerClass::Asgi => (1.0, "the worker's heartbeat"),
        WorkerClass::Sync => return None,
    })
}

/// Why an idle loop wakes at all: its own habits, or somebody's timer.
fn wakes(case: &Case<'_, '_>, verdict: Code) -> Option<Finding> {
    let f = &case.features;
    let rate = f.voluntary_per_s.filter(|_| verdict == Code::Idle && f.slots.capacity == 0)?;
    if rate >= FAST_TIMER_PER_S {
        let text = format!("its loop wakes {rate:.0} times a second and has nothing to do: somebody's timer");
        return Some(finding("fast_timer", Severity::Warning, text));
    }
    let (usual, whose) = housekeeping_per_s(f.process.facts.worker_class?)?;
    (rate >= 0.5 && rate <= usual * HOUSEKEEPING).then(|| {
        let times = if rate < 1.5 { "once".into() } else { format!("{rate:.0} times") };
        let text = format!("normal: it wakes {times} a second, {whose}");
        finding("normal_wakeups", Severity::Info, text)
    })
}

fn reload_on(case: &Case<'_, '_>) -> Option<Finding> {
    let header = &case.view.capture.header;
    header
        .target
        .cmdline
        .iter()
        .any(|arg| arg == "--reload")
        .then(|| finding("reload_on", Severity::Info, "it watches its sources for changes (--reload)".into()))
}

fn agents(case: &Case<'_, '_>) -> impl Iterator<Item = Finding> {
    let packages = &case.view.capture.header.server.packages;
    packages.iter().filter(|p| bugs::AGENTS.contains(&p.name.as_str())).map(|p| {
        let text = format!(
            "{} {} is loaded: its threads and wrappers are part of what is measured",
            p.name, p.version
        );
        finding("apm_agent", Severity::Info, text)
    })
}

fn known_bugs(case: &Case<'_, '_>, verdict: Code) -> impl Iterator<Item = Finding> {
    let server = &case.view.capture.header.server;
    bugs::of(server, case.features.process.facts.worker_class).map(move |(bug, package)| {
        let severity = if bug.leads_to.contains(&verdict) { Severity::Warning } else { Severity::Info };
        let text = format!(
            "{} {} has a known fault: {} ({}); {} has not",
            package.name,
            package.version,
            bug.what,
            bug.issue,
            bug.fixed_in()
        );
        finding("known_bug", severity, text)
    })
}
