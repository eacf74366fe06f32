//! One process's judgement put together for the report: verdict, evidence, advice, budget, threads, stacks.
//!
//! Pure; it decides nothing that [`super::ladder`] has not decided.

use super::activity::Activity;
use super::advice::{Situation, advise};
use super::budget::{part, round};
use super::features::Features;
use super::findings;
use super::ladder::Outcome;
use super::model::{
    AsyncioTasks, Backend, Connections, EventLoop, Evidence, Greenlets, Heartbeat, ProcessDiagnosis,
    ReportFrame, StackShare, Tasks, ThreadShare, Verdict, WaitingTask,
};
use super::rules::{Case, Condition};
use super::signs::cadence_ms;
use crate::capture::model::{Frame, LoopKind, ThreadCounters, WaitingGroup, WaitingKind};

/// Stacks shown for a process.
const STACKS: usize = 5;

/// Puts one process together.
#[must_use]
pub fn process(case: &Case<'_, '_>, outcome: &Outcome) -> ProcessDiagnosis {
    let f = &case.features;
    let winner = &outcome.winner;
    let mut number = 0;
    let mut evidence = |conditions: &[Condition]| -> Vec<Evidence> {
        let numbered = conditions.iter().map(|c| {
            number += 1;
            Evidence {
                id: format!("E{number}"),
                source: c.source.to_owned(),
                observed: c.observed.clone(),
                value: c.value,
                op: c.op.map(str::to_owned),
                threshold: c.threshold,
                supports: winner.code,
            }
        });
        numbered.collect()
    };
    let mut seen = evidence(&winner.needs);
    seen.extend(evidence(&winner.supports));
    let counter_evidence = evidence(&winner.against);
    let advice = advise(&Situation {
        winner,
        class: f.process.facts.worker_class,
        evidence: &seen,
        server: &case.view.capture.header.server,
    });
    ProcessDiagnosis {
        pid: f.process.facts.pid,
        verdict: Verdict {
            code: winner.code,
            subcause: winner.subcause.clone(),
            severity: winner.code.severity(),
            confidence: outcome.confidence,
            summary: winner.summary.clone(),
            culprit: winner.culprit.clone(),
            sub_windows_agree: format!("{}/{}", outcome.agree.0, outcome.agree.1),
        },
        runner_up: outcome.runner_up.clone(),
        time_budget: f.judged().budget(),
        event_loop: event_loop(f),
        heartbeat: heartbeat(case),
        connections: connections(f),
        evidence: seen,
        counter_evidence,
        what_would_change: winner.would_change.clone(),
        findings: findings::of(case, winner.code, &outcome.also),
        advice,
        stacks: stacks(f),
        threads: threads(case),
        tasks: tasks(case),
    }
}

fn event_loop(f: &Features<'_, '_>) -> EventLoop {
    let kind = match f.process.facts.loop_kind {
        LoopKind::Libev => "libev",
        LoopKind::Libuv => "libuv",
        LoopKind::Asyncio => "asyncio",
        LoopKind::Selectors => "selectors",
        LoopKind::None => "none",
    };
    let ms = |ns: u64| f.gaps.known.then_some(ns / 1_000_000);
    // A loop that sleeps between its turns gives up the processor once a turn: its switches count the turns.
    let sleeps_in_poller = f.main.share(Activity::OwnPoller) >= 0.5;
    let only_poller = part(f.main.count(Activity::OwnPoller), f.main.asleep()) >= 0.95;
    EventLoop {
        kind: kind.to_owned(),
        turns_per_s: f
            .voluntary_per_s
            .filter(|_| sleeps_in_poller && only_poller)
            .map(|v| (v * 10.0).round() / 10.0),
        longest_gap_ms: ms(f.gaps.longest_ns),
        gap_p99_ms: ms(f.gaps.p99_ns),
    }
}

fn heartbeat(case: &Case<'_, '_>) -> Option<Heartbeat> {
    let process = case.features.process;
    let last = process.beats.last()?;
    let cadence_ms = cadence_ms(process.facts.worker_class, case.view.capture.header.server.timeout_s)?;
    Some(Heartbeat { age_ms: last.value.age_ns / 1_000_000, cadence_ms, source: "ctime".into() })
}

/// Nothing is known where no reading was made; without counters, requests in flight are not known.
fn connections(f: &Features<'_, '_>) -> Option<Connections> {
    let traffic = &f.traffic;
    (traffic.readings > 0).then(|| Connections {
        clients: traffic.clients,
        in_flight: traffic.counted.then_some(traffic.in_flight),
        oldest_ms: (traffic.counted && traffic.in_flight > 0).then_some(traffic.oldest_ms),
        unread: traffic.unread,
        backends: traffic
            .asked
            .iter()
            .map(|(peer, waiting)| Backend { peer: peer.clone(), waiting: *waiting })
            .collect(),
    })
}

fn stacks(f: &Features<'_, '_>) -> Vec<StackShare> {
    let total: u64 = f.stacks.iter().map(|s| s.count).sum();
    let shown = f.stacks.iter().filter_map(|s| Some((s, s.stack?))).take(STACKS);
    shown
        .map(|(seen, stack)| StackShare {
            thread: seen.tid,
            state: seen.meaning.activity.words().to_owned(),
            share: round(part(seen.count, total)),
            frames: stack.frames.iter().copied().map(report_frame).collect(),
        })
        .collect()
}

fn report_frame(frame: &Frame) -> ReportFrame {
    ReportFrame {
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
        kind: "python".into(),
    }
}

fn threads(case: &Case<'_, '_>) -> Vec<ThreadShare> {
    let f = &case.features;
    let process = f.process;
    let (Some(first), Some(last)) = (process.counters.first(), process.counters.last()) else {
        return Vec::new();
    };
    let window = last.at_ns.saturating_sub(first.at_ns);
    let share =
        |old: Option<u64>, new: Option<u64>| Some(round(part(new?.saturating_sub(old?), window).min(1.0)));
    let reader = super::activity::Reader::new(case.view, process, case.stacks);
    let one = |thread: &ThreadCounters| {
        let old = first.value.iter().find(|t| t.tid == thread.tid);
        let mut meanings: std::collections::BTreeMap<Activity, u64> = std::collections::BTreeMap::new();
        let mut gil: (u64, u64, u64) = (0, 0, 0);
        for sample in process.samples_in(thread.tid, f.span) {
            let activity = reader.meaning(sample.value, sample.at_ns).activity;
            *meanings.entry(activity).or_default() += 1;
            gil.0 += u64::from(sample.value.holds_gil == Some(true));
            gil.1 += u64::from(activity == Activity::Gil);
            gil.2 += u64::from(sample.value.holds_gil.is_some());
        }
        meanings.remove(&Activity::Runnable);
        let most = meanings.into_iter().max_by_key(|(activity, n)| (*n, *activity));
        let gil = (gil.2 > 0).then(|| match gil {
            (holds, waits, all) if holds * 2 >= all && holds >= waits => "holds",
            (_, waits, all) if waits * 5 >= all => "waits",
            _ => "none",
        });
        ThreadShare {
            tid: thread.tid,
            name: thread.name.clone(),
            state: thread.state.to_string(),
            on_cpu_share: share(old.and_then(|o| o.run_ns), thread.run_ns),
            run_queue_share: share(old.and_then(|o| o.delay_ns), thread.delay_ns),
            gil: gil.map(str::to_owned),
            sleeping_in: most.map(|(activity, _)| activity.words().to_owned()),
        }
    };
    last.value.iter().map(one).collect()
}

fn tasks(case: &Case<'_, '_>) -> Option<Tasks> {
    let seen = case.features.process.tasks?;
    let group = |group: &WaitingGroup| WaitingTask {
        kind: match group.kind {
            WaitingKind::Greenlet => "greenlet".into(),
            WaitingKind::Asyncio => "asyncio".into(),
        },
        name: group.name.clone(),
        count: group.count,
        frames: case.view.stack(group.stack).into_iter().map(report_frame).collect(),
    };
    Some(Tasks {
        greenlets: Greenlets { total: seen.greenlets, suspended: seen.suspended },
        asyncio: AsyncioTasks { total: seen.asyncio },
        longest_waiting: seen.groups.iter().map(group).collect(),
    })
}
