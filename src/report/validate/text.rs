//! What `portal validate` found, for people.

use std::fmt::Write as _;

use super::{SetScore, Validation};
use crate::diagnose::model::Code;
use crate::report::page::{Cell, Fit, Page};
use crate::report::style::{Style, Tone};
use crate::report::words::word;
use crate::validate::goals::Goal;
use crate::validate::run::{Outcome, Run};
use crate::validate::tally::{Rate, Tally};

/// Column of names.
const NAME_COLUMNS: usize = 24;
/// Column of a share.
const RATE_COLUMNS: usize = 22;

/// The document as a page.
#[must_use]
pub fn render(validation: &Validation, style: Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, validation);
    for set in &validation.sets {
        score(&mut page, set);
    }
    wrong(&mut page, &validation.runs);
    left_out(&mut page, &validation.runs);
    goals(&mut page, &validation.goals);
    page.gap();
    page.line(0, Tone::Faint, &format!("exit code {}: {}", validation.exit.code, validation.exit.reason));
    page.finish()
}

fn head(page: &mut Page, validation: &Validation) {
    let chosen = &validation.selection;
    let how = if chosen.replayed { "captures" } else { "live looks" };
    page.line(
        0,
        Tone::Strong,
        &format!(
            "{} {} of {} scenarios, level {}, rules version {}",
            validation.runs.len(),
            how,
            chosen.scenarios,
            word(&chosen.level),
            validation.tool.rules_version
        ),
    );
    if chosen.captures_left_out > 0 {
        let text =
            format!("{} captures belong to none of these, or cannot be read", chosen.captures_left_out);
        page.line(2, Tone::Warning, &text);
    }
}

fn score(page: &mut Page, set: &SetScore) {
    let t = &set.score;
    page.gap();
    page.line(0, Tone::Strong, &format!("Set {}: {}", set.set, outcomes(t)));
    row(
        page,
        "macro-F1",
        &t.macro_f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.3}")),
        "mean over the verdicts that were to be found",
    );
    for (name, value, meaning) in [
        ("coverage", t.coverage, "runs with a verdict other than unknown"),
        ("accuracy", t.accuracy, "right ones among these"),
        ("culprit", t.culprit, "the right function, descriptor or peer is named"),
        ("subcause", t.subcause, "right ones among right verdicts"),
        ("high confidence", t.confident, "right ones among those of 0.9 and more"),
        ("same in all repeats", t.stability, "repeats that gave the most frequent verdict"),
        ("control alarms", t.control_alarms, "controls that were called critical"),
        ("false alarms", t.false_alarms, "controls, and workers beside a bad one"),
    ] {
        row(page, name, &rate(value), meaning);
    }
    let ms = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
    let times = format!("{} / {}", ms(t.time.p50_ms), ms(t.time.p95_ms));
    row(page, "time to a verdict", &times, "half of them, and 95 %, came within this");
    let times = format!("{} / {}", ms(t.time_critical.p50_ms), ms(t.time_critical.p95_ms));
    row(page, "the same, if critical", &times, "");
    codes(page, t);
    reliability(page, t);
    baselines(page, set);
}

fn outcomes(t: &Tally) -> String {
    let c = t.counts;
    let mut text = format!("{} scored ({} proven, {} unproven)", c.scored, c.proven, c.unproven);
    for (n, what) in [
        (c.no_effect, "without effect"),
        (c.skipped, "skipped"),
        (c.failed, "failed"),
        (c.disturbed, "disturbed by other work"),
    ] {
        if n > 0 {
            let _ = write!(text, ", {n} {what}");
        }
    }
    text
}

fn codes(page: &mut Page, t: &Tally) {
    if t.codes.is_empty() {
        return;
    }
    page.gap();
    cells(page, Tone::Faint, "verdict", "precision", "recall", "F1; said instead");
    for code in &t.codes {
        let tone = if code.f1 < 1.0 { Tone::Warning } else { Tone::Plain };
        let text = format!("{:.3}{}", code.f1, instead(t, code.code));
        cells(page, tone, &word(&code.code), &rate(code.precision), &rate(code.recall), &text);
    }
}

/// What was said in the place of a verdict.
fn instead(t: &Tally, truth: Code) -> String {
    let said = t.confusion.iter().filter(|cell| cell.truth == truth && cell.said != truth);
    said.fold(String::new(), |text, cell| text + &format!("  {} x {}", cell.n, word(&cell.said)))
}

fn reliability(page: &mut Page, t: &Tally) {
    if t.reliability.is_empty() {
        return;
    }
    page.gap();
    cells(page, Tone::Faint, "confidence", "mean", "right", "");
    for band in &t.reliability {
        let name = format!("{:.2} to {:.2}", band.from, band.to);
        cells(page, Tone::Plain, &name, &format!("{:.3}", band.confidence), &rate(band.right), "");
    }
    if let Some(ece) = t.ece {
        row(page, "calibration error", &format!("{ece:.3}"), "mean distance of confidence and accuracy");
    }
}

fn baselines(page: &mut Page, set: &SetScore) {
    if set.baselines.is_empty() {
        return;
    }
    page.gap();
    cells(page, Tone::Faint, "on the same captures", "macro-F1", "right", "can mean it");
    let f1 = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.3}"));
    let t = &set.score;
    let right = Rate::new(t.accuracy.k, t.counts.scored);
    cells(page, Tone::Strong, "stallscope", &f1(t.macro_f1), &rate(right), &rate(right));
    for baseline in &set.baselines {
        let (own, able) = (rate(baseline.accuracy), rate(baseline.compatible));
        cells(page, Tone::Plain, &word(&baseline.baseline), &f1(baseline.macro_f1), &own, &able);
    }
}

/// The runs that were wrong in any way.
fn wrong(page: &mut Page, runs: &[Run]) {
    let bad = |run: &&Run| {
        [run.right, run.culprit_right, run.subcause_right].contains(&Some(false))
            || run.counted().is_some_and(|said| said.bystanders_critical > 0)
    };
    let mut bad = runs.iter().filter(bad).peekable();
    if bad.peek().is_none() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Not right");
    for run in bad {
        let Some(said) = &run.said else { continue };
        let mut text = format!("said {}", word(&said.code));
        if let Some(subcause) = &said.subcause {
            let _ = write!(text, "/{subcause}");
        }
        let _ = write!(text, " ({:.2})", said.confidence);
        if run.right == Some(false) {
            let expected: Vec<String> = run.expected.iter().map(word).collect();
            let _ = write!(text, ", expected {}", expected.join(" or "));
        }
        if run.subcause_right == Some(false) {
            text.push_str(", another subcause");
        }
        if run.culprit_right == Some(false) {
            let who = said.culprit.as_ref().map_or_else(|| "nobody".to_owned(), json);
            let _ = write!(text, ", blames {who}");
        }
        if said.bystanders_critical > 0 {
            let _ = write!(text, ", {} workers beside it are called critical", said.bystanders_critical);
        }
        page.item(2, Tone::Warning, &name(run), name(run).len(), &text);
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The runs that do not count, and why.
fn left_out(page: &mut Page, runs: &[Run]) {
    let mut out = runs.iter().filter(|run| !run.outcome.counts()).peekable();
    if out.peek().is_none() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Not counted");
    for run in out {
        let what = if run.outcome == Outcome::NoEffect { "no effect" } else { run.outcome.word() };
        let text = format!("{what}: {}", run.why.as_deref().unwrap_or("no reason is known"));
        page.item(2, Tone::Plain, &name(run), name(run).len(), &text);
    }
}

fn name(run: &Run) -> String {
    format!("{} #{}", run.scenario, run.repeat)
}

fn goals(page: &mut Page, goals: &[Goal]) {
    if goals.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "Goals");
    for goal in goals {
        let (tone, mark) = match goal.holds {
            Some(true) => (Tone::Fine, "holds"),
            Some(false) => (Tone::Critical, "FAILS"),
            None => (Tone::Faint, "not measured"),
        };
        let value = goal.value.map_or_else(|| "-".to_owned(), |value| format!("{value}"));
        let text = format!("{value} ({} {}): {}", goal.op, goal.threshold, goal.what);
        page.row(
            2,
            &[
                Cell { tone, text: mark, columns: 13 },
                Cell { tone: Tone::Plain, text: &goal.set.to_string(), columns: 9 },
            ],
            Tone::Plain,
            &text,
            Fit::Wrap,
        );
    }
}

fn row(page: &mut Page, name: &str, value: &str, meaning: &str) {
    page.row(
        2,
        &[
            Cell { tone: Tone::Plain, text: name, columns: NAME_COLUMNS },
            Cell { tone: Tone::Strong, text: value, columns: RATE_COLUMNS },
        ],
        Tone::Faint,
        meaning,
        Fit::Wrap,
    );
}

fn cells(page: &mut Page, tone: Tone, name: &str, first: &str, second: &str, rest: &str) {
    let cell = |text, columns| Cell { tone, text, columns };
    let row = [cell(name, NAME_COLUMNS), cell(first, RATE_COLUMNS), cell(second, RATE_COLUMNS)];
    page.row(2, &row, tone, rest, Fit::Wrap);
}

/// `97 % (58 of 60)`.
fn rate(rate: Rate) -> String {
    rate.share
        .map_or_else(|| "-".to_owned(), |share| format!("{:.1} % ({} of {})", share * 100.0, rate.k, rate.of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::model::Level;
    use crate::diagnose::model::Culprit;
    use crate::portal::scenarios::{Set, all};
    use crate::report::model::{Exit, Host, Tool};
    use crate::report::validate::Selection;
    use crate::validate::goals::goals;
    use crate::validate::run::{Beside, Said};
    use crate::validate::{baselines, tally};

    fn validation(runs: Vec<Run>) -> Validation {
        let score = tally::tally(runs.iter());
        Validation {
            schema_version: "1.0".into(),
            tool: Tool { name: "stallscope".into(), version: "0".into(), rules_version: "2".into() },
            host: Host {
                hostname: "vm".into(),
                kernel: "6".into(),
                arch: "x86_64".into(),
                cpus: 2,
                boot_id: String::new(),
            },
            selection: Selection {
                scenarios: 2,
                repeats: 1,
                level: Level::Memory,
                quick: false,
                only: None,
                set: None,
                replayed: false,
                captures_left_out: 3,
            },
            goals: goals(Set::Tune, &score, Level::Memory),
            sets: vec![SetScore { set: Set::Tune, score, baselines: baselines::scores(runs.iter()) }],
            runs,
            exit: Exit { code: 1, reason: "because".into() },
        }
    }

    #[test]
    fn what_is_wrong_and_what_does_not_count_is_told_with_its_reason() {
        let spin = all().unwrap().into_iter().find(|s| s.id == "modern-gevent-spin_watcher").unwrap();
        let culprit =
            Culprit { kind: "function".into(), function: Some("\x1b[2Jevil".into()), ..Culprit::default() };
        let said = Said {
            pid: 7,
            code: Code::LoopBlockedOnCpu,
            subcause: None,
            severity: Code::LoopBlockedOnCpu.severity(),
            confidence: 0.91,
            culprit: Some(culprit),
            sub_windows_agree: "3/3".into(),
            after_ms: 3_004,
            bystanders_critical: 1,
        };
        let why = |text: &str| Some(text.to_owned());
        let runs = vec![
            Run::looked_at(&spin, 1, Outcome::Proven, None, said.clone(), Beside::default()),
            Run::looked_at(
                &spin,
                2,
                Outcome::NoEffect,
                why("it goes round 3 times a second"),
                said,
                Beside::default(),
            ),
            Run::not_looked_at(&spin, 3, Outcome::Skipped, why("no python3.13 was found")),
        ];
        let text = render(&validation(runs), Style { color: false, ascii: true });
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for told in [
            "3 live looks of 2 scenarios",
            "3 captures belong to none of these",
            "1 scored (1 proven, 0 unproven), 1 without effect, 1 skipped",
            "hot_spin - 0.0 % (0 of 1) 0.000 1 x loop_blocked_on_cpu",
            "said loop_blocked_on_cpu (0.91), expected hot_spin",
            "1 workers beside it are called critical",
            "#2 no effect: it goes round 3 times a second",
            "#3 skipped: no python3.13 was found",
            "FAILS tune 0 (>= 0.97): mean F1",
            "not measured tune - (<= 0): controls",
            "exit code 1: because",
        ] {
            assert!(words.contains(told), "{told:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b') && text.contains("evil"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
