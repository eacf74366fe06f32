//! `not_running`: stopped, frozen, traced to a halt, a zombie, gone.
//!
//! **Necessary:** the state letter (`T`, `t`, `Z`, `X`) at the end of the window, the freezer of its control group, or
//! its end while we looked.
//! A worker that has done its work (exit code 0, or `max_requests`) and is replaced is no fault.
//! **Nearest neighbour:** everything else: a stopped thread asks for nothing, so no other rule may speak first.
//! **Advice:** continue it, thaw it, detach the tracer, or look at who ended it.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::activity::Activity;
use crate::diagnose::budget::part;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::thresholds::STOPPED;

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let process = f.process;
    let state = process
        .counters
        .last()
        .and_then(|c| c.value.iter().find(|t| t.tid == process.facts.loop_tid))
        .map(|t| t.state);
    let frozen = process.cgroups.iter().rev().find(|c| c.frozen);
    let stopped = part(f.main.count(Activity::Stopped), f.main.total());
    let (subcause, words, met) = match (process.gone_at_ns, state, frozen) {
        (Some(_), ..) => {
            let retired = process.retired(&case.view.capture.header.server);
            let how = process.ended.map_or_else(String::new, |ended| format!(", {}", ended.words()));
            ("exited", format!("ended while it was looked at{how}"), !retired)
        }
        (_, Some('Z' | 'X'), _) => ("zombie", "has exited and its parent has not reaped it".to_owned(), true),
        (.., Some(group)) => ("frozen", format!("its control group {} is frozen", group.path), true),
        (_, Some('t'), _) => {
            ("traced", format!("held by its tracer, pid {}", process.facts.tracer_pid), stopped >= STOPPED)
        }
        _ => (
            "stopped",
            format!("stopped by a signal in {} of the samples", percent(stopped)),
            stopped >= STOPPED,
        ),
    };
    let mut a = Assessment::new(Code::NotRunning).need(Condition::holds("proc.stat", words.clone(), met));
    a.subcause = Some(subcause.to_owned());
    a.summary = words;
    if let Some(group) = frozen {
        a.culprit =
            Some(Culprit { kind: "cgroup".into(), what: Some(group.path.clone()), ..Culprit::default() });
    }
    Some(a)
}
