//! `arbiter_normal` and `arbiter_fault`: the supervisor's own verdicts.
//!
//! A healthy gunicorn arbiter wakes once a second, looks at each worker's heartbeat file, and sleeps again: in `select`
//! on its signal pipe up to version 23, in a timed futex since 24. On a trace this looks like a hang; it is not.
//! **Necessary (normal):** asleep in that wait, hardly any processor time. **Necessary (fault):** hot, or asleep
//! anywhere else (a hook, a log pipe), so that nobody looks at the heartbeats.

use super::{Assessment, Case, Condition, percent};
use crate::capture::model::ServerKind;
use crate::diagnose::activity::Activity;
use crate::diagnose::budget::part;
use crate::diagnose::model::{Code, Culprit};
use crate::diagnose::stack::{Place, common_path, culprit};
use crate::diagnose::thresholds::{COMPUTING_DEMAND, SAME_PLACE};

/// Time in the wait of a healthy supervisor.
fn waiting(case: &Case<'_, '_>) -> (f64, u64) {
    let main = &case.features.main;
    if case.view.capture.header.server.kind != ServerKind::Gunicorn {
        // Heads of other servers wait in their own ways (for a child, a signal, a pipe): asleep is what counts.
        let asleep = main.asleep() - main.count(Activity::Disk) - main.count(Activity::Stopped);
        return ((1.0 - main.demand()).max(0.0) * part(asleep, main.asleep()), asleep);
    }
    // Without stacks the timed futex of newer versions looks like any lock.
    let futex = if case.features.stacked() == 0 { main.count(Activity::Lock) } else { 0 };
    let n = main.count(Activity::OwnPoller) + futex;
    let share = main.share(Activity::OwnPoller) + if futex > 0 { main.share(Activity::Lock) } else { 0.0 };
    (share, n)
}

/// Does what a supervisor does.
#[must_use]
pub fn normal(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let (share, n) = waiting(case);
    let on_cpu = f.main.on_cpu();
    let mut a = Assessment::new(Code::ArbiterNormal)
        .need(
            Condition::at_least(
                "proc.syscall",
                format!("{} of the time asleep in its own wait", percent(share)),
                share,
                0.9,
            )
            .sampled(n, f.main.total()),
        )
        .need(Condition::below(
            "proc.schedstat",
            format!("on a processor {} of the time", percent(on_cpu)),
            on_cpu,
            0.2,
        ));
    if f.stacked() == 0 {
        a = a.cap(0.8);
    }
    a.summary = if case.view.capture.header.server.kind == ServerKind::Gunicorn {
        "normal: it wakes once a second to look at its workers' heartbeats, and sleeps again".into()
    } else {
        "normal: it sleeps until a worker needs it".into()
    };
    Some(a)
}

/// Does not look after its workers.
#[must_use]
pub fn fault(case: &Case<'_, '_>) -> Option<Assessment> {
    let f = &case.features;
    let (share, _) = waiting(case);
    let demand = f.main.demand();
    let hot = demand >= COMPUTING_DEMAND;
    let place = f.share_at(Place::Arbiter);
    let mut a = Assessment::new(Code::ArbiterFault).need(if hot {
        Condition::at_least(
            "proc.schedstat",
            format!("wants a processor {} of the time", percent(demand)),
            demand,
            COMPUTING_DEMAND,
        )
    } else {
        Condition::holds(
            "memory.stack",
            format!("asleep outside its own wait: {} of its stacks are in its loop", percent(place)),
            f.stacked() > 0 && place < 0.2 && share < 0.2,
        )
    });
    let path = common_path(&f.stacks_of(|_| true), SAME_PLACE);
    a.culprit = culprit(&path).map(Culprit::function);
    a.subcause = Some(if hot { "hot" } else { "blocked" }.into());
    let at = a.culprit.as_ref().and_then(Culprit::place).map_or_else(String::new, |p| format!(" in {p}"));
    a.summary = format!(
        "the supervisor itself is {}{at}: nobody looks at the workers' heartbeats",
        if hot { "hot" } else { "blocked" }
    );
    Some(a)
}
