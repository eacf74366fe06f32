//! `loop_blocked_on_cpu`: one computation keeps the loop (or the only slot) from turning.
//!
//! **Necessary:** the thread wants a processor ([`COMPUTING_DEMAND`]); it was not seen to turn, answer or accept for a
//! second ([`BLOCKED_GAP_NS`]); its stacks stand in the same callback.
//! **Counterfactual:** under a quota or on a crowded machine the gap is scaled to what it would have been with a
//! processor of its own; if that is under a second, the quota or the crowd is the cause.
//! **Nearest neighbours:** `saturated_productive` (many short requests: answers keep going out), `hot_spin` (the loop
//! turns), `booting`.
//! **Sources:** asyncio's and gevent's warning at 0.1 s, tokio-console's lint at 1 s.
//! **Sub-causes:** `gc` (the collector's own flag), `native_gil_held` and `native_gil_released` (who holds the
//! interpreter lock, and whether the thread leaves its instruction), `python`; none where that is not clear.
//! **Advice:** move the named function to a process pool or a queue; chunk it and yield.

use super::{Assessment, Case, Condition, percent, seconds};
use crate::capture::model::WorkerClass;
use crate::diagnose::activity::Activity;
use crate::diagnose::below::{below, computes};
use crate::diagnose::budget::part;
use crate::diagnose::burst;
use crate::diagnose::features::Features;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{Place, common_path, culprit};
use crate::diagnose::thresholds::{
    BLOCKED_GAP_NS, COLLECTING, COMPUTING_DEMAND, FEWEST_SAMPLES, INSIDE_ONE_CALL, NOT_POLLING, SAME_PLACE,
};

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    // A pool's main thread only accepts; its slots are judged by other rules.
    if f.main.total() == 0 || !f.serves() || f.process.facts.worker_class == Some(WorkerClass::Gthread) {
        return None;
    }
    let demand = f.main.demand();
    let alone = if demand > 0.0 { f.main.on_cpu() / demand } else { 1.0 };
    let gap_ns = (f.gaps.longest_ns as f64 * alone) as u64;
    let mut a = Assessment::new(Code::LoopBlockedOnCpu).need(Condition::at_least(
        "proc.schedstat",
        format!("wants a processor {} of the time", percent(demand)),
        demand,
        COMPUTING_DEMAND,
    ));
    a = a.need(silence(f, gap_ns, alone));
    let stacks = f.stacks_of(|m| m.activity == Activity::Runnable);
    let path = common_path(
        &stacks.iter().copied().filter(|(s, _)| s.place == Place::Callback).collect::<Vec<_>>(),
        SAME_PLACE,
    );
    match f.runnable_share(Place::Callback) {
        Some((k, n)) => {
            let share = part(k, n);
            a = a
                .need(
                    Condition::at_least(
                        "memory.stack",
                        format!(
                            "{} of its running stacks are inside one callback or request",
                            percent(share)
                        ),
                        share,
                        SAME_PLACE,
                    )
                    .sampled(k, n),
                )
                .need(Condition::holds(
                    "memory.stack",
                    format!("they share a path of {} frames", path.len()),
                    !path.is_empty(),
                ));
        }
        // Without stacks a spin is told by what it does meanwhile: it turns, or it asks its poller.
        None if f.gaps.known || not_polling(f).is_some() => {
            let words = "no stack could be read; a loop that spins would have turned";
            a = a.need(Condition::holds("loop.signs", words.into(), true)).cap(0.75);
        }
        None => a = a.need(Condition::unseen("memory.stack", "no stack could be read".into())),
    }
    let told = subcause(f);
    a.subcause = told.map(str::to_owned);
    a.culprit = culprit(&path).map(Culprit::function);
    let by = by(&a, told);
    let what = if f.slots.capacity > 0 { "the request slot" } else { "the loop" };
    let ids = f.stacks.iter().filter(|s| s.meaning.activity == Activity::Runnable).filter_map(|s| s.id);
    let native = below(f.process, ids).and_then(computes);
    let native = native.map_or_else(String::new, |words| format!(" ({words})"));
    a.summary =
        format!("{what} is blocked by {by}{native}: it has not turned for {}", seconds(f.gaps.longest_ns));
    a = why(a, f, told);
    if let Some(seen) = burst::no_turn(case) {
        a = a.note(seen);
    }
    if f.traffic.unread + f.traffic.in_flight > 0 {
        a = a.note(Condition::holds(
            "sockets",
            format!("{} client connections wait meanwhile", f.traffic.unread.max(f.traffic.in_flight)),
            true,
        ));
    }
    if let Some(switches) = f.voluntary_per_s {
        a = a.note(Condition::below(
            "proc.status",
            format!("gives up the processor {switches:.0} times a second"),
            switches,
            20.0,
        ));
    }
    Some(a.unless("an answer sent or a loop turn within the window: saturated_productive"))
}

/// What computes, in words.
fn by(assessment: &Assessment, told: Option<&str>) -> String {
    let who = assessment
        .culprit
        .as_ref()
        .and_then(Culprit::place)
        .unwrap_or_else(|| "a function that could not be named".into());
    match told {
        Some("gc") => format!("the garbage collector, which runs during {who}"),
        Some("native_gil_held") => {
            format!("native code that keeps the interpreter lock, called by {who}")
        }
        Some("native_gil_released") => {
            format!("native code that has let the interpreter lock go, called by {who}")
        }
        _ => format!("computation in {who}"),
    }
}

/// How long the loop was silent, at a processor of its own.
fn silence(f: &Features<'_, '_>, gap_ns: u64, alone: f64) -> Condition {
    if !f.gaps.known {
        return not_polling(f).unwrap_or_else(|| {
            Condition::unseen("loop.signs", "whether the loop turns could not be seen".into())
        });
    }
    let scaled = if alone < 0.9 {
        format!(" (of {}, scaled to a processor of its own)", seconds(f.gaps.longest_ns))
    } else {
        String::new()
    };
    Condition::at_least(
        "loop.signs",
        format!("did not turn, accept or answer for {}{scaled}", seconds(gap_ns)),
        gap_ns as f64 / 1e9,
        BLOCKED_GAP_NS as f64 / 1e9,
    )
}

/// Where nothing tells of turns: a loop that serves nobody and spends no time in the kernel does not ask its poller.
fn not_polling(f: &Features<'_, '_>) -> Option<Condition> {
    let share = f.system_share.filter(|share| *share < NOT_POLLING)?;
    let alone = f.traffic.readings > 1 && f.traffic.events == 0;
    let observed = format!(
        "it serves nobody, and {} of its processor time is in the kernel: it asks no poller",
        percent(share)
    );
    alone.then(|| Condition::below("proc.stat", observed, share, NOT_POLLING))
}

/// What the sub-cause rests on.
fn why(a: Assessment, f: &Features<'_, '_>, told: Option<&str>) -> Assessment {
    let share = |(k, n): (u64, u64)| part(k, n);
    let (source, observed, counts, threshold) = match told {
        Some("gc") => ("memory.gc", "the collector ran in", f.collecting, COLLECTING),
        Some("native_gil_held") => {
            ("memory.stack", "its innermost function stood at one instruction in", f.still, INSIDE_ONE_CALL)
        }
        _ => return a,
    };
    let observed = format!("{observed} {} of the readings", percent(share(counts)));
    a.note(Condition::at_least(source, observed, share(counts), threshold).sampled(counts.0, counts.1))
}

/// Only what is proven. The collector says itself that it runs; a thread that computes without the interpreter lock is in
/// native code that released it; one that holds it and does not leave an instruction is in native code which that
/// instruction has called.
fn subcause(f: &Features<'_, '_>) -> Option<&'static str> {
    let tid = f.process.facts.loop_tid;
    let of =
        |holds| f.process.samples_in(tid, f.span).filter(|s| s.value.holds_gil == Some(holds)).count() as u64;
    let (held, free) = (of(true), of(false));
    let told = |(k, n): (u64, u64)| (n >= FEWEST_SAMPLES).then(|| part(k, n));
    if told(f.collecting).is_some_and(|share| share >= COLLECTING) {
        return Some("gc");
    }
    match told((held, held + free))? {
        share if share <= 1.0 - SAME_PLACE => Some("native_gil_released"),
        share if share >= SAME_PLACE => match told(f.still)? {
            still if still >= INSIDE_ONE_CALL => Some("native_gil_held"),
            still if still < 0.5 => Some("python"),
            _ => None,
        },
        _ => None,
    }
}
