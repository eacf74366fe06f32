//! `cgroup_throttled`: it wants the processor, and its control group's quota forbids.
//!
//! **Necessary:** of what it wanted, a quarter was held back ([`THROTTLED_OF_DEMAND`]); at least half of its run-queue
//! time was the quota's; and it matters at all ([`THROTTLED_OF_WALL`]).
//! A loop that did not turn once in the span is left open: one computation may be behind it, which a longer look shows.
//! **Not** the share of throttled periods: that fires on harmless pods and misses real cases.
//! **Nearest neighbours:** `cpu_starved` (no throttling), and the faults it makes worse: those stand above it in the
//! ladder, as lifting the quota would not cure them. A throttled thread shows state `R` and no switches: only the
//! counters tell.
//! **Sources:** kernel CFS bandwidth control; kubernetes-mixin issue 108.
//! **Advice:** raise the limit, or fit workers and threads to it.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::thresholds::{THROTTLED_OF_DELAY, THROTTLED_OF_DEMAND, THROTTLED_OF_WALL, WHOLE_SPAN};

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let tally = &f.hungriest;
    let group = f.process.cgroups.iter().filter(|c| c.quota_us.is_some()).max_by_key(|c| c.throttled_ns)?;
    let throttled = tally.throttled();
    let of_demand = if tally.demand() > 0.0 { throttled / tally.demand() } else { 0.0 };
    let of_delay = if tally.delayed() > 0.0 { throttled / tally.delayed() } else { 0.0 };
    let quota = group.quota_us.unwrap_or(0) as f64 / group.period_us.max(1) as f64;
    let mut a = Assessment::new(Code::CgroupThrottled)
        .need(Condition::at_least(
            "cgroup.cpu_stat",
            format!("{} of the processor time it wanted was held back by its quota", percent(of_demand)),
            of_demand,
            THROTTLED_OF_DEMAND,
        ))
        .need(Condition::at_least(
            "proc.schedstat",
            format!("{} of its run-queue time is the quota's", percent(of_delay)),
            of_delay,
            THROTTLED_OF_DELAY,
        ))
        .need(Condition::at_least(
            "cgroup.cpu_stat",
            format!("held back {} of the time", percent(throttled)),
            throttled,
            THROTTLED_OF_WALL,
        ));
    if f.gaps.known && f.gaps.longest_ns as f64 >= f.span.len_ns() as f64 * WHOLE_SPAN {
        // What computed all the time under the quota may be one computation that would block the loop without it, too.
        a = a.need(Condition::unseen(
            "loop.signs",
            "the loop did not turn once: whether the quota is to blame or one computation takes a longer look".into(),
        ));
    }
    a.culprit = Some(Culprit {
        kind: "cgroup".into(),
        what: Some(format!("{} (quota {quota:.2} processors)", group.path)),
        ..Culprit::default()
    });
    a.summary = format!(
        "held back by its control group: {} may use {quota:.2} processors, and it waited {} of the time for more",
        group.path,
        percent(throttled)
    );
    Some(a.unless("no rise of nr_throttled: cpu_starved"))
}
