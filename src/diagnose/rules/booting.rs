//! `booting`: the worker loads its application and has not begun to serve.
//!
//! **Necessary:** application-loading frames in half of the samples, and the loop was never seen.
//! **Nearest neighbours:** `loop_blocked_on_cpu` (a worker that has served before has a loop below its frames),
//! a crash loop (a verdict of the server: workers that keep booting).
//! **Advice:** preload; make imports cheap; do not connect at import.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::budget::part;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{Place, common_path, culprit};
use crate::diagnose::thresholds::{BOOTING, SAME_PLACE};

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let boot = f.at.get(&Place::Boot).copied().unwrap_or(0);
    let seen = f.stacked();
    if seen == 0 {
        return None;
    }
    let share = part(boot, seen);
    let looped = f.at.get(&Place::Loop).copied().unwrap_or(0);
    let mut a = Assessment::new(Code::Booting)
        .need(
            Condition::at_least(
                "memory.stack",
                format!("loading the application in {} of its stacks", percent(share)),
                share,
                BOOTING,
            )
            .sampled(boot, seen),
        )
        .need(Condition::holds(
            "memory.stack",
            format!("its loop was seen in {looped} of {seen} stacks"),
            looped == 0,
        ))
        .note(Condition::holds(
            "proc.stat",
            format!("it was {:.1} s old at the start", f.process.facts.age_ms as f64 / 1e3),
            f.process.facts.age_ms < 60_000,
        ));
    let path = common_path(&f.stacks_of(|_| true), SAME_PLACE);
    a.culprit = culprit(&path).map(Culprit::function);
    let what = a.culprit.as_ref().and_then(Culprit::place);
    a.summary = format!(
        "still loading the application{}; it has not begun to serve",
        what.map_or_else(String::new, |w| format!(", at {w}"))
    );
    Some(a)
}
