//! Scores of runs that are made up, each number by hand; and baselines on the committed captures.

use super::baselines::{self, Baseline, Statement};
use super::goals::{self, Goal};
use super::run::{Beside, Outcome, Run, Said};
use super::tally::{Rate, Tally, tally};
use crate::capture::model::{Capture, Level, Record, Role};
use crate::diagnose::model::{Code, Culprit};
use crate::portal::scenarios::{Scenario, Set, all};

fn scenario(expected: &[Code]) -> Scenario {
    let mut scenario = all().unwrap().remove(0);
    scenario.id = format!("{expected:?}");
    scenario.expected = expected.to_vec();
    scenario.subcause = Vec::new();
    scenario.culprit = None;
    scenario
}

fn said(code: Code, confidence: f64) -> Said {
    Said {
        pid: 7,
        code,
        subcause: None,
        severity: code.severity(),
        confidence,
        culprit: None,
        sub_windows_agree: "3/3".into(),
        after_ms: 3_000,
        bystanders_critical: 0,
    }
}

fn run(truth: Code, code: Code) -> Run {
    sure(truth, code, 0.95)
}

fn sure(truth: Code, code: Code, confidence: f64) -> Run {
    Run::looked_at(&scenario(&[truth]), 1, Outcome::Proven, None, said(code, confidence), Beside::default())
}

fn of(runs: &[Run]) -> Tally {
    tally(runs.iter())
}

use Code::{HealthyBusy, HotSpin, Idle, LoopBlockedOnCpu as OnCpu, Unknown};

#[test]
fn precision_recall_and_f1_are_those_of_the_book() {
    // Truth spin: 3 found, 1 called blocked. Truth blocked: 2 found, 1 unknown. Truth idle: 1 found.
    let runs = [
        run(HotSpin, HotSpin),
        run(HotSpin, HotSpin),
        run(HotSpin, HotSpin),
        run(HotSpin, OnCpu),
        run(OnCpu, OnCpu),
        run(OnCpu, OnCpu),
        run(OnCpu, Unknown),
        run(Idle, Idle),
    ];
    let t = of(&runs);
    let score = |code| t.codes.iter().find(|c| c.code == code).unwrap();
    assert_eq!(score(HotSpin).precision.share, Some(1.0));
    assert_eq!(score(HotSpin).recall.share, Some(0.75));
    assert!((score(HotSpin).f1 - 0.8571).abs() < 1e-9);
    assert_eq!((score(OnCpu).precision.k, score(OnCpu).precision.of), (2, 3));
    assert_eq!((score(OnCpu).recall.k, score(OnCpu).recall.of), (2, 3));
    assert!((score(OnCpu).f1 - 0.6667).abs() < 1e-9);
    assert!((t.macro_f1.unwrap() - 0.8413).abs() < 1e-9, "{:?}", t.macro_f1);
    assert_eq!((t.coverage.k, t.coverage.of), (7, 8));
    assert_eq!((t.accuracy.k, t.accuracy.of), (6, 7));
    let cell = |truth, said| t.confusion.iter().find(|c| c.truth == truth && c.said == said).map(|c| c.n);
    assert_eq!(cell(HotSpin, HotSpin), Some(3));
    assert_eq!(cell(HotSpin, OnCpu), Some(1));
    assert_eq!(cell(OnCpu, Unknown), Some(1));
    assert_eq!(cell(Idle, HotSpin), None);
    assert_eq!(t.confusion.iter().map(|c| c.n).sum::<u64>(), 8);
}

/// A code that was only ever said wrongly is nobody's truth: it hurts whom it was said of, and adds no class.
#[test]
fn a_code_that_never_was_true_is_no_class() {
    let t = of(&[run(Idle, HotSpin), run(Idle, Idle)]);
    assert_eq!(t.codes.len(), 1);
    assert!((t.macro_f1.unwrap() - 0.6667).abs() < 1e-9);
}

#[test]
fn any_of_the_right_verdicts_is_right_and_the_label_counts_otherwise() {
    let either = scenario(&[HealthyBusy, Idle]);
    let look = |code| Run::looked_at(&either, 1, Outcome::Proven, None, said(code, 0.9), Beside::default());
    assert_eq!((look(Idle).right, look(Idle).truth(Idle)), (Some(true), Idle));
    assert_eq!((look(HotSpin).right, look(HotSpin).truth(HotSpin)), (Some(false), HealthyBusy));
}

#[test]
fn what_is_no_ground_truth_is_counted_and_not_scored() {
    let with =
        |outcome| Run::looked_at(&scenario(&[HotSpin]), 1, outcome, None, said(Idle, 0.9), Beside::default());
    let nothing = |outcome| Run::not_looked_at(&scenario(&[HotSpin]), 1, outcome, Some("why".into()));
    let runs = [
        run(HotSpin, HotSpin),
        with(Outcome::NoEffect),
        with(Outcome::Unproven),
        nothing(Outcome::Skipped),
        nothing(Outcome::Failed),
    ];
    let t = of(&runs);
    let c = t.counts;
    assert_eq!((c.runs, c.scored, c.proven, c.unproven), (5, 2, 1, 1));
    assert_eq!((c.no_effect, c.skipped, c.failed), (1, 1, 1));
    assert_eq!((t.accuracy.k, t.accuracy.of), (1, 2));
    assert_eq!(c.disturbed, 0);
    let mut disturbed = runs.clone();
    for run in &mut disturbed {
        run.others_share = Some(0.25);
    }
    assert_eq!(of(&disturbed).counts.disturbed, 2, "only what is scored can be disturbed");
    assert_eq!(runs[1].right, None);
    assert_eq!(runs[2].right, Some(false));
}

#[test]
fn false_alarms_are_critical_verdicts_of_controls_and_of_bystanders() {
    let control = |code| {
        let mut healthy = scenario(&[Idle]);
        healthy.control = true;
        Run::looked_at(&healthy, 1, Outcome::Proven, None, said(code, 0.9), Beside::default())
    };
    let mut beside = said(HotSpin, 0.9);
    beside.bystanders_critical = 2;
    let beside = Run::looked_at(&scenario(&[HotSpin]), 1, Outcome::Proven, None, beside, Beside::default());
    let warning = control(Code::CpuStarved);
    let t = of(&[control(Idle), control(HotSpin), warning, beside, run(HotSpin, OnCpu)]);
    assert_eq!((t.control_alarms.k, t.control_alarms.of), (1, 3));
    assert_eq!((t.false_alarms.k, t.false_alarms.of), (2, 5));
}

#[test]
fn culprits_and_subcauses_are_compared_where_there_is_something_to_compare() {
    let mut named = scenario(&[HotSpin]);
    (named.culprit, named.subcause) = (Some("poll_by".into()), vec!["busy_wait".into()]);
    let look = |scenario: &Scenario, code, subcause: Option<&str>, culprit: Option<&str>| {
        let culprit = culprit.map(|f| Culprit { function: Some(f.into()), ..Culprit::default() });
        let said = Said { subcause: subcause.map(str::to_owned), culprit, ..said(code, 0.9) };
        Run::looked_at(scenario, 1, Outcome::Proven, None, said, Beside::default())
    };
    let good = look(&named, HotSpin, Some("busy_wait"), Some("poll_by_sleep0"));
    assert_eq!((good.culprit_right, good.subcause_right), (Some(true), Some(true)));
    let bad = look(&named, HotSpin, None, Some("innocent"));
    assert_eq!((bad.culprit_right, bad.subcause_right), (Some(false), Some(false)));
    // Nobody named: wrong, unless that is allowed. Somebody else: always wrong.
    assert_eq!(look(&named, HotSpin, None, None).culprit_right, Some(false));
    named.culprit_optional = true;
    assert_eq!(look(&named, HotSpin, None, None).culprit_right, Some(true));
    assert_eq!(look(&named, HotSpin, None, Some("innocent")).culprit_right, Some(false));
    // A wrong verdict may still blame the right one, but its subcause is one of another verdict.
    let other = look(&named, OnCpu, Some("busy_wait"), Some("poll_by_sleep0"));
    assert_eq!((other.culprit_right, other.subcause_right), (Some(true), None));
    assert_eq!(look(&named, Unknown, None, None).culprit_right, None);
}

#[test]
fn stability_is_the_share_of_the_most_frequent_verdict() {
    // A scenario with four repeats, three alike; one with two alike; one with one repeat, which says nothing.
    let mut runs: Vec<Run> = [HotSpin, HotSpin, OnCpu, HotSpin].map(|code| run(HotSpin, code)).to_vec();
    runs.extend([run(Idle, Unknown), run(Idle, Unknown), run(OnCpu, OnCpu)]);
    let t = of(&runs);
    assert_eq!((t.stability.k, t.stability.of), (5, 6));
}

#[test]
fn times_are_some_that_occurred() {
    let runs: Vec<Run> = (1..=20)
        .map(|n| {
            let mut run = run(if n > 10 { HotSpin } else { Idle }, if n > 10 { HotSpin } else { Idle });
            run.said.as_mut().unwrap().after_ms = n * 100;
            run
        })
        .collect();
    let t = of(&runs);
    assert_eq!((t.time.n, t.time.p50_ms, t.time.p95_ms), (20, Some(1_000), Some(1_900)));
    assert_eq!((t.time_critical.n, t.time_critical.p50_ms), (10, Some(1_500)));
    assert_eq!(of(&[]).time.p95_ms, None);
}

#[test]
fn calibration_compares_confidence_with_accuracy() {
    // Ten at 0.95, nine right; two at 0.75, one right.
    let mut runs: Vec<Run> =
        (0..10).map(|n| sure(HotSpin, if n == 0 { Idle } else { HotSpin }, 0.95)).collect();
    runs.extend([sure(OnCpu, OnCpu, 0.75), sure(OnCpu, Idle, 0.75), sure(OnCpu, Unknown, 0.0)]);
    let t = of(&runs);
    assert_eq!((t.confident.k, t.confident.of), (9, 10));
    let bands: Vec<_> = t.reliability.iter().map(|b| (b.from, b.right.k, b.right.of)).collect();
    assert_eq!(bands, [(0.7, 1, 2), (0.95, 9, 10)]);
    // (10 × 0.05 + 2 × 0.25) / 12
    assert!((t.ece.unwrap() - 0.0833).abs() < 1e-9, "{:?}", t.ece);
    assert_eq!(of(&[]).ece, None);
}

#[test]
fn a_rate_of_nothing_is_no_zero() {
    let none = Rate::new(0, 0);
    assert_eq!((none.share, none.ci95), (None, [0.0, 1.0]));
    let some = Rate::new(19, 20);
    assert_eq!(some.share, Some(0.95));
    assert!((some.ci95[0] - 0.7639).abs() < 1e-3 && (some.ci95[1] - 0.9911).abs() < 1e-3, "{some:?}");
}

fn goal(tally: &Tally, level: Level, id: &str) -> Option<Goal> {
    goals::goals(Set::Tune, tally, level).into_iter().find(|g| g.id == id)
}

#[test]
fn goals_hold_fail_or_have_nothing_to_hold() {
    let holds = |runs: &[Run], id| goal(&of(runs), Level::Memory, id).unwrap().holds;
    let good = [run(HotSpin, HotSpin), run(HotSpin, HotSpin)];
    for id in ["macro_f1", "coverage", "stability", "time_critical", "confident", "unproven"] {
        assert_eq!(holds(&good, id), Some(true), "{id}");
    }
    // No control and nobody to blame: nothing is claimed.
    for id in ["control_alarms", "culprit"] {
        assert_eq!(holds(&good, id), None, "{id}");
    }
    assert!(goals::goals(Set::Tune, &of(&[]), Level::Memory).iter().all(|g| g.holds.is_none()));
    assert_eq!(holds(&[run(HotSpin, Unknown)], "coverage"), Some(false));
    assert_eq!(holds(&[run(HotSpin, OnCpu)], "confident"), Some(false));
    let mut unproven = good.clone();
    unproven[0].outcome = Outcome::Unproven;
    assert_eq!(holds(&unproven, "unproven"), Some(false));
    let mut slow = good;
    slow[0].said.as_mut().unwrap().after_ms = 6_000;
    assert_eq!(holds(&slow, "time_critical"), Some(false));
}

#[test]
fn less_is_promised_of_kernel_files_alone() {
    let runs: Vec<Run> = (0..10).map(|n| run(HotSpin, if n < 8 { HotSpin } else { OnCpu })).collect();
    // F1 = 2 × 0.8 / 1.8
    let at = |level| goal(&of(&runs), level, "macro_f1").unwrap().holds;
    assert_eq!((at(Level::Memory), at(Level::Proc)), (Some(false), Some(true)));
    assert!(goal(&of(&runs), Level::Proc, "culprit").is_none());
}

/// Captures of known truth: each baseline is right where it must be, and wrong where it is known to be.
#[test]
fn baselines_say_what_they_are_known_to_say() {
    let says = |name: &str| {
        let capture = capture_of(name);
        let worker = capture.records.iter().find_map(|r| match r {
            Record::Process(p) if p.role == Role::Worker => Some(p.pid),
            _ => None,
        });
        baselines::statements(&capture, worker.unwrap())
    };
    let of = |said: &[Statement], method| {
        said.iter().find(|s| s.baseline == method).unwrap().codes.first().copied()
    };
    let all = [Baseline::BusyCpu, Baseline::ThreadState, Baseline::ActiveIdle, Baseline::SlowCallback];
    let idle = says("modern-gevent-none.idle");
    assert!(all.iter().all(|method| of(&idle, *method) == Some(Idle)), "{idle:?}");
    let computing = says("modern-gevent-cpu_python.loop_blocked_on_cpu");
    let expected = [HotSpin, OnCpu, OnCpu, Code::LoopBlockedOffCpu];
    assert_eq!(all.map(|method| of(&computing, method)), expected.map(Some));
    // The two that this tool is for: a spin that no watchdog hears, and a wait that looks idle.
    let spin = says("modern-gevent-spin_watcher.hot_spin");
    assert_eq!(of(&spin, Baseline::SlowCallback), Some(Idle));
    let hang = says("modern-gevent-upstream_cooperative.waiting_upstream");
    assert!(all.iter().all(|method| of(&hang, *method) == Some(Idle)), "{hang:?}");
    // No loop, no watchdog.
    assert_eq!(of(&says("modern-sync-cpu_python.loop_blocked_on_cpu"), Baseline::SlowCallback), None);
    assert!(baselines::statements(&capture_of("modern-gevent-none.idle"), -1).is_empty());
}

fn capture_of(name: &str) -> Capture {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/");
    crate::capture::reader::read(format!("{folder}{name}.cap").as_ref()).unwrap()
}

#[test]
fn baselines_are_scored_on_the_same_runs() {
    let with = |truth, codes: &[Code]| {
        let statement = Statement { baseline: Baseline::BusyCpu, codes: codes.to_vec() };
        let said = said(truth, 0.9);
        Run::looked_at(
            &scenario(&[truth]),
            1,
            Outcome::Proven,
            None,
            said,
            Beside { baselines: vec![statement], ..Beside::default() },
        )
    };
    let runs = [
        with(HotSpin, &[HotSpin, OnCpu]),
        with(HotSpin, &[HotSpin, OnCpu]),
        with(OnCpu, &[HotSpin, OnCpu]),
        with(Idle, &[]),
    ];
    let scores = baselines::scores(runs.iter());
    let score = |method| *scores.iter().find(|s| s.baseline == method).unwrap();
    let busy = score(Baseline::BusyCpu);
    assert_eq!((busy.accuracy.k, busy.accuracy.of, busy.compatible.k), (2, 4, 3));
    // Spin: precision 2/3, recall 1; the others: nothing.
    assert!((busy.macro_f1.unwrap() - 0.8 / 3.0).abs() < 1e-4, "{busy:?}");
    let majority = score(Baseline::MajorityClass);
    assert_eq!((majority.accuracy.k, majority.accuracy.of), (2, 4));
    assert!(baselines::scores([].iter()).is_empty());
}

#[test]
fn the_name_of_a_capture_tells_what_became_of_it() {
    for outcome in [Outcome::Proven, Outcome::Unproven, Outcome::NoEffect] {
        assert_eq!(Outcome::of_name(&format!("a-b-c.1.{}.cap", outcome.word())), outcome);
    }
    // What somebody else recorded proves nothing.
    assert_eq!(Outcome::of_name("modern-gevent-none.idle.cap"), Outcome::Unproven);
}
