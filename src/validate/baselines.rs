//! What simpler methods say of the same captures: the yardstick beside the tool.
//!
//! Each knows a few words only. What it says is mapped to the verdicts that it can mean; the first is the one that it is
//! taken to say, chosen in its favour (the most frequent in the matrix). Two numbers come of it: how well it does as a
//! verdict, and how often the truth is among what it can mean at all. Pure: from the capture alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::Run;
use super::tally::{Rate, code_scores, macro_f1};
use crate::capture::model::{Capture, Doing, WorkerClass};
use crate::diagnose::diagnose;
use crate::diagnose::model::Code;
use crate::diagnose::view::{ProcessView, View};

/// A simpler method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Processor time: more than 90 % means that it spins.
    BusyCpu,
    /// The state letter that its main thread shows most often.
    ThreadState,
    /// Whether a thread is active or idle, by its state, as profilers decide what to show.
    ActiveIdle,
    /// A watchdog of the loop: silent for a tenth of a second means blocked. Without a loop there is none.
    SlowCallback,
    /// Always the most frequent verdict of the matrix.
    MajorityClass,
}

/// What a method says of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Statement {
    /// Which method.
    pub baseline: Baseline,
    /// The verdicts that it can mean, first the one it is taken to say; none when it has nothing to say.
    pub codes: Vec<Code>,
}

/// How a method did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct BaselineScore {
    /// Which method.
    pub baseline: Baseline,
    /// Mean F1 of the verdicts that were to be found; `null` without any.
    pub macro_f1: Option<f64>,
    /// Right ones among all scored runs.
    pub accuracy: Rate,
    /// Runs whose truth is among what it can mean.
    pub compatible: Rate,
}

/// Share of a processor from which a process is busy.
const BUSY: f64 = 0.9;
/// Silence after which a watchdog barks (gevent's and asyncio's default).
const SILENT_MS: u64 = 100;

/// Whoever runs, and cannot be told apart by that.
const RUNNING: [Code; 6] = [
    Code::LoopBlockedOnCpu,
    Code::HotSpin,
    Code::SaturatedProductive,
    Code::GilContention,
    Code::CgroupThrottled,
    Code::CpuStarved,
];
/// Whoever sleeps, and is taken for idle.
const SLEEPING: [Code; 2] = [Code::Idle, Code::HealthyBusy];

/// What each method but the majority says of a process in a capture.
#[must_use]
pub fn statements(capture: &Capture, pid: i32) -> Vec<Statement> {
    let view = View::new(capture);
    let Some(process) = view.processes.get(&pid) else { return Vec::new() };
    let say = |baseline, codes: &[Code]| Statement { baseline, codes: codes.to_vec() };
    let busy = match on_cpu(process) {
        Some(share) if share > BUSY => {
            &[Code::HotSpin, Code::LoopBlockedOnCpu, Code::SaturatedProductive][..]
        }
        Some(_) => &SLEEPING,
        None => &[],
    };
    let state = match majority_state(process) {
        Some('R') => &RUNNING[..],
        Some('D') => &[Code::WaitingDisk],
        Some('T' | 't' | 'Z' | 'X') => &[Code::NotRunning],
        Some(_) => &SLEEPING,
        None => &[],
    };
    let active = match active_threads(process) {
        Some(threads) if threads >= 0.5 => &RUNNING[..],
        Some(_) => &SLEEPING,
        None => &[],
    };
    // A watchdog lives in a loop; what serves in slots has none.
    let slots = matches!(process.facts.worker_class, Some(WorkerClass::Sync | WorkerClass::Gthread));
    let silent = match longest_silence_ms(capture, pid).filter(|_| !slots) {
        Some(ms) if ms >= SILENT_MS => &[Code::LoopBlockedOffCpu, Code::LoopBlockedOnCpu][..],
        Some(_) => &SLEEPING,
        None => &[],
    };
    vec![
        say(Baseline::BusyCpu, busy),
        say(Baseline::ThreadState, state),
        say(Baseline::ActiveIdle, active),
        say(Baseline::SlowCallback, silent),
    ]
}

/// Processor time of all threads over wall time, by the kernel's counters.
fn on_cpu(process: &ProcessView<'_>) -> Option<f64> {
    let (first, last) = (process.counters.first()?, process.counters.last()?);
    let wall_ns = last.at_ns.checked_sub(first.at_ns).filter(|ns| *ns > 0)?;
    Some(on_cpu_ns(process)? as f64 / wall_ns as f64)
}

/// Processor time of all threads while they were counted.
pub(super) fn on_cpu_ns(process: &ProcessView<'_>) -> Option<u64> {
    let (first, last) = (process.counters.first()?, process.counters.last()?);
    let before = |tid| first.value.iter().find(|t| t.tid == tid).and_then(|t| t.run_ns).unwrap_or(0);
    last.value.iter().map(|t| t.run_ns.map(|ns| ns.saturating_sub(before(t.tid)))).sum()
}

/// The state that its main thread shows most often.
fn majority_state(process: &ProcessView<'_>) -> Option<char> {
    let mut seen: Vec<(char, u64)> = Vec::new();
    let mut asleep = 'S';
    for at in process.samples.get(&process.facts.loop_tid)? {
        // The letter is read when a sleep begins; as long as that lasts, it stays.
        asleep = at.value.state.unwrap_or(asleep);
        let state = match at.value.doing {
            Doing::Running => 'R',
            Doing::Unreadable => continue,
            Doing::Syscall(..) | Doing::Elsewhere if asleep == 'R' => 'S',
            Doing::Syscall(..) | Doing::Elsewhere => asleep,
        };
        match seen.iter_mut().find(|(letter, _)| *letter == state) {
            Some((_, n)) => *n += 1,
            None => seen.push((state, 1)),
        }
    }
    seen.into_iter().max_by_key(|(_, n)| *n).map(|(letter, _)| letter)
}

/// How many of its threads run at an instant, on average.
fn active_threads(process: &ProcessView<'_>) -> Option<f64> {
    let threads = process.samples.values().filter(|samples| !samples.is_empty());
    let shares = threads.map(|samples| {
        let running = samples.iter().filter(|at| at.value.doing == Doing::Running).count();
        running as f64 / samples.len() as f64
    });
    let shares: Vec<f64> = shares.collect();
    (!shares.is_empty()).then(|| shares.iter().sum())
}

/// The longest time in which its loop was not seen to turn; `None` where it has no loop.
fn longest_silence_ms(capture: &Capture, pid: i32) -> Option<u64> {
    let judged = diagnose(capture);
    let process = judged.processes.iter().find(|p| p.pid == pid)?;
    process.event_loop.longest_gap_ms.filter(|_| process.event_loop.kind != "none")
}

/// How the methods did on runs that count.
#[must_use]
pub fn scores<'r>(runs: impl Iterator<Item = &'r Run>) -> Vec<BaselineScore> {
    let runs: Vec<&Run> = runs.filter(|r| r.counted().is_some() && !r.baselines.is_empty()).collect();
    if runs.is_empty() {
        return Vec::new();
    }
    let mut labels: Vec<(Code, u64)> = Vec::new();
    for run in &runs {
        let label = run.truth(Code::Unknown);
        match labels.iter_mut().find(|(code, _)| *code == label) {
            Some((_, n)) => *n += 1,
            None => labels.push((label, 1)),
        }
    }
    let majority =
        labels.iter().max_by_key(|(code, n)| (*n, std::cmp::Reverse(*code))).map(|(code, _)| *code);
    let always = Statement { baseline: Baseline::MajorityClass, codes: majority.into_iter().collect() };
    let methods = [
        Baseline::BusyCpu,
        Baseline::ThreadState,
        Baseline::ActiveIdle,
        Baseline::SlowCallback,
        Baseline::MajorityClass,
    ];
    methods.into_iter().map(|method| score(method, &runs, &always)).collect()
}

fn score(baseline: Baseline, runs: &[&Run], always: &Statement) -> BaselineScore {
    let said = |run: &Run| -> Vec<Code> {
        if baseline == always.baseline {
            return always.codes.clone();
        }
        run.baselines.iter().find(|s| s.baseline == baseline).map_or_else(Vec::new, |s| s.codes.clone())
    };
    let first = |run: &Run| said(run).first().copied().unwrap_or(Code::Unknown);
    let pairs: Vec<(Code, Code)> = runs.iter().map(|run| (run.truth(first(run)), first(run))).collect();
    let of = runs.len() as u64;
    let right = pairs.iter().filter(|(truth, said)| truth == said).count() as u64;
    let compatible =
        runs.iter().filter(|run| said(run).iter().any(|code| run.expected.contains(code))).count() as u64;
    BaselineScore {
        baseline,
        macro_f1: macro_f1(&code_scores(&pairs)),
        accuracy: Rate::new(right, of),
        compatible: Rate::new(compatible, of),
    }
}
