//! The server as a whole: what the workers' verdicts, the arbiter's and the accept queue add up to.
//!
//! Pure. A minority of bad workers, all of them, one common backend, a queue nobody empties, workers that keep dying.

use std::collections::BTreeMap;

use super::budget::{part, round};
use super::culprit::with_service;
use super::ladder::code_name;
use super::model::{AcceptQueue, Code, ProcessDiagnosis, ServerCode, ServerVerdict, Severity};
use super::view::View;
use crate::capture::model::Role;

/// Workers younger than this when first seen count towards a crash loop, with births in the window.
const YOUNG_MS: u64 = 10_000;

/// What waited at the listeners.
#[must_use]
pub fn accept_queue(view: &View<'_>) -> AcceptQueue {
    let mut readings = 0_u64;
    let mut waiting = 0_u64;
    let mut queue = AcceptQueue::default();
    for reading in &view.sockets {
        let listeners: Vec<_> = reading.value.iter().filter(|s| view.listeners.contains(&s.inode)).collect();
        if listeners.is_empty() {
            continue;
        }
        readings += 1;
        let most = listeners.iter().map(|s| s.receive_queue).max().unwrap_or(0);
        waiting += u64::from(most > 0);
        queue.max = queue.max.max(Some(most));
        queue.backlog = queue.backlog.max(listeners.iter().map(|s| s.send_queue).max().filter(|b| *b > 0));
    }
    queue.share_nonzero = (readings > 0).then(|| round(part(waiting, readings)));
    queue
}

struct Count {
    workers: usize,
    by_code: BTreeMap<Code, usize>,
}

impl Count {
    fn of(&self, codes: &[Code]) -> usize {
        codes.iter().filter_map(|c| self.by_code.get(c)).sum()
    }
    fn share(&self, codes: &[Code]) -> f64 {
        part(self.of(codes) as u64, self.workers as u64)
    }
}

const BLOCKED: &[Code] = &[
    Code::LoopBlockedOnCpu,
    Code::LoopBlockedOffCpu,
    Code::GilContention,
    Code::LockContention,
    Code::Deadlock,
    Code::StalledInProcess,
    Code::WaitingDisk,
];
const BAD: &[Code] = &[
    Code::NotRunning,
    Code::HotSpin,
    Code::LoopBlockedOnCpu,
    Code::LoopBlockedOffCpu,
    Code::Deadlock,
    Code::StalledInProcess,
    Code::GilContention,
    Code::LockContention,
    Code::WaitingDisk,
    Code::WaitingUpstream,
    Code::WaitingClient,
    Code::Booting,
];
const FINE: &[Code] = &[Code::Idle, Code::HealthyBusy];

/// Judges the server.
#[must_use]
pub fn judge(view: &View<'_>, processes: &[(Role, ProcessDiagnosis)], queue: &AcceptQueue) -> ServerVerdict {
    let server = &view.capture.header.server;
    let retired = |pid: i32| view.processes.get(&pid).is_some_and(|p| p.retired(server));
    // Workers that have done their work count for nothing, unless all of them have.
    let mut workers: Vec<&ProcessDiagnosis> =
        processes.iter().filter(|(r, _)| *r != Role::Arbiter).map(|(_, p)| p).collect();
    if workers.iter().any(|w| !retired(w.pid)) {
        workers.retain(|w| !retired(w.pid));
    }
    let mut count = Count { workers: workers.len(), by_code: BTreeMap::new() };
    for worker in &workers {
        *count.by_code.entry(worker.verdict.code).or_default() += 1;
    }
    let arbiter = processes.iter().find(|(r, _)| *r == Role::Arbiter).map(|(_, p)| p);
    let (code, words) = decide(view, &workers, &count, arbiter, queue);
    let confidences = workers.iter().map(|w| w.verdict.confidence);
    let confidence = match code {
        ServerCode::Unknown => 0.0,
        ServerCode::ArbiterFault => arbiter.map_or(0.0, |a| a.verdict.confidence),
        ServerCode::CrashLoop => 0.85,
        _ if workers.is_empty() => arbiter.map_or(0.0, |a| a.verdict.confidence),
        _ => confidences.clone().sum::<f64>() / workers.len() as f64,
    };
    // A server is as bad as its worst worker where the workers are what is wrong.
    let severity = match code {
        ServerCode::OneBadWorker | ServerCode::AllBlocked => {
            workers.iter().filter_map(|w| w.verdict.severity).max()
        }
        other => other.severity(),
    };
    ServerVerdict { code, severity, confidence: round(confidence), summary: words }
}

fn decide(
    view: &View<'_>,
    workers: &[&ProcessDiagnosis],
    count: &Count,
    arbiter: Option<&ProcessDiagnosis>,
    queue: &AcceptQueue,
) -> (ServerCode, String) {
    if let Some(a) = arbiter.filter(|a| matches!(a.verdict.code, Code::ArbiterFault | Code::NotRunning)) {
        return (ServerCode::ArbiterFault, format!("the arbiter is at fault: {}", a.verdict.summary));
    }
    if let Some(words) = crash_loop(view) {
        return (ServerCode::CrashLoop, words);
    }
    let n = count.workers;
    if n == 0 {
        return (ServerCode::Unknown, "no worker was seen".into());
    }
    let bad = count.of(BAD);
    if count.share(&[Code::CgroupThrottled]) >= 0.5 {
        return (
            ServerCode::Throttled,
            format!(
                "{} of {n} workers are held back by their control group",
                count.of(&[Code::CgroupThrottled])
            ),
        );
    }
    if let Some((peer, k)) = common_peer(workers).filter(|(_, k)| k * 2 >= n && *k * 2 >= bad) {
        return (ServerCode::UpstreamBound, format!("{k} of {n} workers wait for {}", with_service(&peer)));
    }
    if count.share(&[Code::WaitingClient]) >= 0.5 {
        return (
            ServerCode::ClientBound,
            format!("{} of {n} workers are held by clients", count.of(&[Code::WaitingClient])),
        );
    }
    if count.share(&[Code::WaitingUpstream]) >= 0.5 {
        let waiting = queue.share_nonzero.unwrap_or(0.0);
        return if waiting >= 0.5 {
            (
                ServerCode::UnderProvisioned,
                format!(
                    "all slots wait for backends, and connections waited to be accepted in {:.0} % of the looks",
                    waiting * 100.0
                ),
            )
        } else {
            (
                ServerCode::UpstreamBound,
                format!("{} of {n} workers wait for backends", count.of(&[Code::WaitingUpstream])),
            )
        };
    }
    if count.share(&[Code::CpuStarved]) >= 0.5 {
        let own = workers.iter().filter(|w| w.verdict.subcause.as_deref() == Some("siblings")).count();
        return if own * 2 >= count.of(&[Code::CpuStarved]) {
            (ServerCode::CapacitySaturated, "its own workers want more processors than there are".into())
        } else {
            (ServerCode::HostStarved, "the machine has no processor time to give".into())
        };
    }
    if n >= 2 && count.share(BLOCKED) >= 0.8 {
        return (
            ServerCode::AllBlocked,
            format!("{} of {n} workers are blocked: {}", count.of(BLOCKED), most(count)),
        );
    }
    if bad > 0 && n >= 2 && bad * 2 <= n {
        return (ServerCode::OneBadWorker, format!("{bad} of {n} workers: {}", most_of(count, BAD)));
    }
    if bad > 0 && n == 1 {
        let code = if BLOCKED.contains(&workers[0].verdict.code) {
            ServerCode::AllBlocked
        } else {
            ServerCode::OneBadWorker
        };
        return (code, format!("its only worker: {}", code_name(workers[0].verdict.code)));
    }
    if bad > 0 {
        let code =
            if count.share(BLOCKED) >= 0.5 { ServerCode::AllBlocked } else { ServerCode::OneBadWorker };
        return (code, format!("{bad} of {n} workers: {}", most_of(count, BAD)));
    }
    if count.share(&[Code::SaturatedProductive]) >= 0.5 {
        return (
            ServerCode::CapacitySaturated,
            format!("{} of {n} workers work with all they have", count.of(&[Code::SaturatedProductive])),
        );
    }
    if count.of(&[Code::Unknown]) * 2 > n {
        return (
            ServerCode::Unknown,
            format!("{} of {n} workers could not be judged", count.of(&[Code::Unknown])),
        );
    }
    if let Some(words) = imbalance(workers) {
        return (ServerCode::Imbalance, words);
    }
    if count.of(&[Code::Idle]) == n {
        return (ServerCode::Idle, format!("all {n} workers are idle"));
    }
    if count.of(FINE) + count.of(&[Code::SaturatedProductive]) == n {
        return (ServerCode::Healthy, format!("{n} workers serve with head-room"));
    }
    (ServerCode::Unknown, format!("mixed: {}", most(count)))
}

/// Workers that were born in the window in place of others, or all of them very young.
fn crash_loop(view: &View<'_>) -> Option<String> {
    let workers = || view.processes.values().filter(|p| p.facts.role == Role::Worker);
    let born = workers().filter(|p| p.facts.at_ns > 0).count();
    let server = &view.capture.header.server;
    let died = workers().filter(|p| p.gone_at_ns.is_some() && !p.retired(server)).count();
    let young = workers().filter(|p| p.facts.age_ms < YOUNG_MS).count();
    (born >= 2 && died >= 2 || born >= 1 && died >= 1 && young >= 2)
        .then(|| format!("workers keep dying: {died} ended and {born} were born in the window"))
}

fn common_peer(workers: &[&ProcessDiagnosis]) -> Option<(String, usize)> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for worker in workers {
        let waits = matches!(worker.verdict.code, Code::WaitingUpstream | Code::LoopBlockedOffCpu);
        let upstream = worker.verdict.subcause.as_deref() == Some("upstream");
        let peer = worker.verdict.culprit.as_ref().and_then(|c| c.peer.as_deref());
        if let Some(peer) = peer.filter(|_| waits && upstream) {
            *votes.entry(peer).or_default() += 1;
        }
    }
    votes.into_iter().max_by_key(|(_, k)| *k).map(|(peer, k)| (peer.to_owned(), k))
}

fn imbalance(workers: &[&ProcessDiagnosis]) -> Option<String> {
    if workers.len() < 3 {
        return None;
    }
    let mut shares: Vec<(f64, i32)> = workers.iter().map(|w| (w.time_budget.on_cpu.share, w.pid)).collect();
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let median = shares[shares.len() / 2].0;
    let (top, pid) = *shares.last()?;
    (top >= 0.5 && top >= 3.0 * median.max(0.05)).then(|| {
        format!(
            "worker {pid} uses {:.0} % of a processor, half of the others less than {:.0} %",
            top * 100.0,
            median * 100.0
        )
    })
}

fn most(count: &Count) -> String {
    let mut codes: Vec<_> = count.by_code.iter().collect();
    codes.sort_by_key(|(code, n)| (std::cmp::Reverse(**n), **code));
    codes.iter().map(|(code, n)| format!("{n} {}", code_name(**code))).collect::<Vec<_>>().join(", ")
}

fn most_of(count: &Count, codes: &[Code]) -> String {
    let by_code = count.by_code.iter().filter(|(c, _)| codes.contains(c)).map(|(c, n)| (*c, *n)).collect();
    most(&Count { workers: count.workers, by_code })
}

impl ServerCode {
    /// How bad it is; `None` for `unknown`.
    #[must_use]
    pub const fn severity(self) -> Option<Severity> {
        Some(match self {
            Self::OneBadWorker | Self::AllBlocked | Self::CrashLoop | Self::ArbiterFault => {
                Severity::Critical
            }
            Self::Imbalance
            | Self::CapacitySaturated
            | Self::UnderProvisioned
            | Self::UpstreamBound
            | Self::ClientBound
            | Self::HostStarved
            | Self::Throttled => Severity::Warning,
            Self::Healthy | Self::Idle => Severity::Info,
            Self::Unknown => return None,
        })
    }
}
