//! From a report to what the validation compares: the verdict of the one worker that a scenario is about.

use crate::capture::model::{Capture, Role};
use crate::diagnose::diagnose;
use crate::diagnose::model::{Severity, Verdict};
use crate::report::model::{Process, Report};
use crate::report::{self, exit};
use crate::validate::run::Said;

/// What a report says of a worker; without one, of the worker that is worst off, which is whom a person reads first.
#[must_use]
pub fn said(report: &Report, worker: Option<i32>) -> Option<Said> {
    let workers = || report.processes.iter().filter(|p| p.role != Role::Arbiter);
    let worst = |a: &&Process, b: &&Process| {
        let rank = |v: &Verdict| (v.severity, v.confidence);
        let ((a_severity, a_confidence), (b_severity, b_confidence)) = (rank(&a.verdict), rank(&b.verdict));
        a_severity.cmp(&b_severity).then(a_confidence.total_cmp(&b_confidence)).then(b.pid.cmp(&a.pid))
    };
    let named = worker.and_then(|pid| workers().find(|p| p.pid == pid));
    let process = named.or_else(|| workers().max_by(worst))?;
    let others = workers().filter(|p| p.pid != process.pid);
    let critical = others.filter(|p| p.verdict.severity == Some(Severity::Critical)).count();
    let verdict = &process.verdict;
    Some(Said {
        pid: process.pid,
        code: verdict.code,
        subcause: verdict.subcause.clone(),
        severity: verdict.severity,
        confidence: verdict.confidence,
        culprit: verdict.culprit.clone(),
        sub_windows_agree: verdict.sub_windows_agree.clone(),
        after_ms: report.collection.duration_ms,
        bystanders_critical: critical as u32,
    })
}

/// The report that a look would have given.
#[must_use]
pub fn report_of(capture: &Capture) -> Report {
    let diagnosis = diagnose(capture);
    report::build(capture, &diagnosis, exit::decide(&diagnosis, &exit::FailOn::Never, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::model::Code;

    #[test]
    fn the_worst_worker_is_read_first_and_the_others_stand_beside() {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/modern-gevent-spin_watcher.hot_spin.cap");
        let report = report_of(&crate::capture::reader::read(file.as_ref()).unwrap());
        let mut two = report.clone();
        let worker = two.processes.iter().find(|p| p.verdict.code == Code::HotSpin).unwrap().clone();
        let mut idle = worker.clone();
        idle.pid = worker.pid + 1;
        (idle.verdict.code, idle.verdict.severity) = (Code::Idle, Code::Idle.severity());
        two.processes.push(idle.clone());
        let worst = said(&two, None).unwrap();
        assert_eq!((worst.pid, worst.code, worst.bystanders_critical), (worker.pid, Code::HotSpin, 0));
        let named = said(&two, Some(idle.pid)).unwrap();
        assert_eq!((named.pid, named.code, named.bystanders_critical), (idle.pid, Code::Idle, 1));
        // A worker that is not in the report cannot be read.
        assert_eq!(said(&two, Some(1)).unwrap().pid, worker.pid);
        two.processes.retain(|p| p.role == Role::Arbiter);
        assert_eq!(said(&two, None), None);
    }
}
