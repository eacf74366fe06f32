//! `cpu_starved`: runnable, and other work has the processors.
//!
//! **Necessary:** it waited in run queues, without any quota's doing, for [`STARVED_OF_WALL`] of the time and for at
//! least half as long as it ran.
//! **Nearest neighbours:** `cgroup_throttled` (the quota's doing), `gil_contention` (asleep on a futex, not runnable).
//! **Subcauses:** `siblings` (this server's own workers fill the machine), `neighbours` (others do), `steal` (the
//! hypervisor gave the time to another machine).
//! **Advice:** fewer workers than processors, or fewer neighbours.

use super::{Assessment, Case, Condition, percent};
use crate::diagnose::budget::part;
use crate::diagnose::model::Code;
use crate::diagnose::thresholds::{STARVED_OF_ON_CPU, STARVED_OF_WALL};

/// Judges a case.
#[must_use]
pub fn assess(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let tally = &f.hungriest;
    let waited = tally.delayed() - tally.throttled();
    let ratio = if tally.on_cpu() > 0.0 {
        waited / tally.on_cpu()
    } else if waited > 0.0 {
        10.0
    } else {
        0.0
    };
    let mut a = Assessment::new(Code::CpuStarved)
        .need(Condition::at_least(
            "proc.schedstat",
            format!("runnable but not running {} of the time", percent(waited)),
            waited,
            STARVED_OF_WALL,
        ))
        .need(Condition::at_least(
            "proc.schedstat",
            format!("waited {ratio:.1} times as long as it ran ({} of the time)", percent(tally.on_cpu())),
            ratio,
            STARVED_OF_ON_CPU,
        ));
    let host = case.host_use();
    if let Some(host) = &host {
        a = a.note(Condition::below(
            "proc.host",
            format!("the machine's processors were idle {} of the time", percent(host.idle)),
            host.idle,
            0.2,
        ));
    }
    let cpus = f64::from(case.view.capture.header.host.cpus.max(1));
    let siblings = case.server_on_cpu / cpus;
    let (subcause, words) = match host {
        Some(h) if h.steal >= 0.2 => {
            ("steal", "the hypervisor gives the processors to other machines".to_owned())
        }
        _ if siblings >= 0.6 => {
            ("siblings", format!("this server's own processes use {} of the machine", percent(siblings)))
        }
        _ => (
            "neighbours",
            format!("other processes have the processors (this server uses {} of them)", percent(siblings)),
        ),
    };
    a.subcause = Some(subcause.to_owned());
    a.summary = format!("waits for a processor {} of the time: {words}", percent(waited));
    Some(a.unless("a rise of nr_throttled in its control group: cgroup_throttled"))
}

/// How the machine's processors were used in a span.
#[derive(Debug, Clone, Copy)]
pub struct HostUse {
    /// Idle share.
    pub idle: f64,
    /// Share stolen by the hypervisor.
    pub steal: f64,
}

impl Case<'_, '_> {
    /// How the machine's processors were used in the window.
    #[must_use]
    pub fn host_use(&self) -> Option<HostUse> {
        let (first, last) = (self.view.host.first()?, self.view.host.last()?);
        let total = last.total_ticks.saturating_sub(first.total_ticks);
        (total > 0).then(|| HostUse {
            idle: part(last.idle_ticks.saturating_sub(first.idle_ticks), total),
            steal: part(last.steal_ticks.saturating_sub(first.steal_ticks), total),
        })
    }
}
