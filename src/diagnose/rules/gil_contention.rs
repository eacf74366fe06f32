//! `gil_contention`: threads sleep for the interpreter lock while another thread computes.
//!
//! **Necessary:** [`GIL_SHARE`] of the loop's (or of the busy slots') time asleep on a futex inside the interpreter's
//! own state, and somebody computes in this process.
//! **Nearest neighbours:** `cpu_starved` (runnable, not asleep), `lock_contention` (a futex outside the interpreter),
//! `loop_blocked_on_cpu` (the computing thread *is* the loop).
//! **Sources:** `CPython`'s `take_gil` (5 ms switch interval); Coroot notices from 5 %.
//! **Advice:** processes instead of threads; move the computing thread out.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::budget::part;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{common_path, culprit};
use crate::diagnose::thresholds::{GIL_BUSY, GIL_SHARE};

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let slots = f.slots.capacity > 0;
    match &f.process.facts.python {
        Some(python) if python.runtime_end <= python.runtime_start => return None,
        // Whose lock it is was not read; a pool's threads tell by how they wait.
        None if !slots => return None,
        _ => {}
    }
    let tally = f.judged();
    let share = if slots {
        // Free slots do not wait for anything: only the busy part counts.
        let busy = (1.0 - tally.share(Activity::FreeSlot)).max(1e-9);
        if f.slots.busy_share < 0.1 { 0.0 } else { (tally.share(Activity::Gil) / busy).min(1.0) }
    } else {
        tally.share(Activity::Gil)
    };
    let (n, of) = (tally.count(Activity::Gil), tally.total());
    let who = if slots { "its busy slots" } else { "its loop" };
    let mut a = Assessment::new(Code::GilContention)
        .need(
            Condition::at_least(
                "proc.syscall",
                format!("{who} waited {} of the time for the interpreter lock", percent(share)),
                share,
                GIL_SHARE,
            )
            .sampled(n, of),
        )
        .need(Condition::at_least(
            "proc.schedstat",
            format!("its threads used {:.2} processors together", f.process_on_cpu),
            f.process_on_cpu,
            GIL_BUSY,
        ));
    if f.process.facts.python.is_none() {
        a = a.cap(0.65);
    }
    let held: u64 = f.gil_holders.values().sum();
    let top = f.gil_holders.iter().max_by_key(|(tid, n)| (**n, std::cmp::Reverse(**tid)));
    let other = top.filter(|(tid, n)| {
        part(**n, held) >= 0.6 && held >= 10 && (slots || **tid != f.process.facts.loop_tid)
    });
    if let Some((tid, n)) = other {
        a = a.note(Condition::holds(
            "memory.gil",
            format!("thread {tid} held it in {n} of {held} looks"),
            true,
        ));
        a.culprit = Some(holder(case, *tid));
        let place =
            a.culprit.as_ref().and_then(Culprit::place).map_or_else(String::new, |p| format!(", in {p}"));
        a.subcause = Some("one_holder".into());
        a.summary = format!(
            "{who} waited {} of the time for the interpreter lock; thread {tid} holds it most{place}",
            percent(share)
        );
    } else {
        a.subcause = Some("many_threads".into());
        a.summary = format!(
            "{who} waited {} of the time for the interpreter lock: several threads compute, one at a time",
            percent(share)
        );
        a.culprit = busiest_function(case);
    }
    Some(a.unless("the same share runnable instead of asleep: cpu_starved"))
}

/// The thread that holds the lock and what it computes.
fn holder(case: &Case<'_, '_>, tid: i32) -> Culprit {
    let f = &case.features;
    let stacks = case.stacks_of_thread(tid);
    let path = common_path(&stacks, 0.6);
    let name =
        f.process.counters.last().and_then(|c| c.value.iter().find(|t| t.tid == tid)).map(|t| t.name.clone());
    let thread = Culprit {
        kind: "thread".into(),
        what: Some(format!("thread {tid} ({})", name.unwrap_or_default())),
        ..Culprit::default()
    };
    culprit(&path).map_or_else(|| thread.clone(), |frame| thread.clone().at(frame))
}

/// What most of the computing slots compute; or the threads beside a loop, which itself only waits for them.
fn busiest_function(case: &Case<'_, '_>) -> Option<Culprit> {
    let f = &case.features;
    let seen = if f.slots.capacity > 0 { &f.stacks } else { &f.beside };
    let computes = |activity| matches!(activity, Activity::Runnable | Activity::Gil);
    let stacks: Vec<_> = seen
        .iter()
        .filter(|s| computes(s.meaning.activity))
        .filter_map(|s| Some((s.stack?, s.count)))
        .collect();
    culprit(&common_path(&stacks, 0.6)).map(Culprit::function)
}
