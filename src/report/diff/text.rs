//! A comparison for people: what became of it first, then what changed, number by number.

use super::{Change, Comparison, Load, Measure, Side, Trouble, Unit};
use crate::report::page::{Cell, Fit, Page};
use crate::report::received::severity;
use crate::report::style::{Style, Tone};
use crate::report::words::{count, loud, number, percent, plural};

/// Widest name of a row.
const NAME_COLUMNS: usize = 44;
/// Width of a number.
const NUMBER_COLUMNS: usize = 12;

/// The comparison as text.
#[must_use]
pub fn render(comparison: &Comparison, style: Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, comparison);
    table(&mut page, "Processes", &verdicts(comparison));
    followed(&mut page, comparison);
    table(&mut page, "Time of a worker, on average", &measures(&comparison.time_budget));
    table(&mut page, "Measured", &measures(&comparison.measures));
    if let Some(loads) = &comparison.load {
        table(
            &mut page,
            &format!("The same load on both: {}", loads.plan),
            &load(&loads.before, &loads.after),
        );
    }
    troubles(&mut page, "New", &comparison.new);
    troubles(&mut page, "Gone", &comparison.gone);
    troubles(&mut page, "In both", &comparison.stayed);
    if !comparison.caution.is_empty() {
        page.gap();
        page.line(0, Tone::Strong, "Compare with care");
        for caution in &comparison.caution {
            page.item(2, Tone::Warning, "-", 0, caution);
        }
    }
    page.gap();
    page.line(0, Tone::Faint, &format!("exit code {}: {}", comparison.exit.code, comparison.exit.reason));
    page.finish()
}

/// The word that is seen from afar.
pub(super) const fn verdict(change: Change) -> (&'static str, Tone) {
    match change {
        Change::Worse => ("WORSE", Tone::Critical),
        Change::Better => ("BETTER", Tone::Fine),
        Change::Same => ("SAME", Tone::Plain),
        Change::Undecided => ("UNDECIDED", Tone::Unknown),
    }
}

fn head(page: &mut Page, comparison: &Comparison) {
    let (word, tone) = verdict(comparison.change);
    let columns = word.len();
    page.row(
        0,
        &[Cell { tone, text: word, columns }],
        Tone::Strong,
        &comparison.because.join("; "),
        Fit::Wrap,
    );
    for (name, side) in [("before", &comparison.before), ("after", &comparison.after)] {
        page.item(2, Tone::Strong, name, 6, &facts(side));
        let severity = severity(side.severity.as_deref());
        page.row(
            10,
            &[Cell { tone: Tone::of(severity), text: loud(severity), columns: 8 }],
            Tone::Plain,
            &format!("{}: {}", side.code, side.summary),
            Fit::Wrap,
        );
    }
}

/// What a side is, in a line.
pub(super) fn facts(side: &Side) -> String {
    let version = side.version.as_deref().unwrap_or_default();
    let mut facts = vec![format!("{} {version}", side.kind).trim_end().to_owned()];
    facts.extend(side.worker_class.clone());
    facts.push(plural(side.workers, "worker"));
    let seconds = side.duration_ms as f64 / 1_000.0;
    format!(
        "{} on {}, {}, {seconds:.1} s ({})",
        facts.join(", "),
        side.hostname,
        side.started_at,
        side.source
    )
}

/// A row of a table: what, before, after, by how much.
pub(super) type Row = (Tone, [String; 4]);

pub(super) fn verdicts(comparison: &Comparison) -> Vec<Row> {
    let row = |c: &super::VerdictCount| {
        let severity = severity(c.severity.as_deref());
        let name = format!("{} {}  {}", c.role, c.code, loud(severity));
        let by = c.after as i64 - c.before as i64;
        let by = if by == 0 { String::new() } else { format!("{by:+}") };
        (Tone::of(severity), [name, count(c.before), count(c.after), by])
    };
    comparison.verdicts.iter().map(row).collect()
}

pub(super) fn measures(measures: &[Measure]) -> Vec<Row> {
    let row = |m: &Measure| {
        let shown = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| in_unit(value, m.unit));
        let by = match (m.before, m.after) {
            (Some(before), Some(after)) => difference(before, after, m.unit),
            _ => String::new(),
        };
        (Tone::Plain, [m.name.replace('_', " "), shown(m.before), shown(m.after), by])
    };
    measures.iter().map(row).collect()
}

pub(super) fn load(before: &Load, after: &Load) -> Vec<Row> {
    let measure = |name: &str, unit, of: fn(&Load) -> Option<f64>| Measure {
        name: name.into(),
        unit,
        before: of(before),
        after: of(after),
    };
    measures(&[
        measure("answers per second", Unit::PerSecond, |l| Some(l.per_second)),
        measure("median time to answer", Unit::Ms, |l| l.p50_ms),
        measure("99 of 100 answered within", Unit::Ms, |l| l.p99_ms),
    ])
}

fn in_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => percent(value),
        Unit::Ms if value < 10.0 => format!("{value:.1} ms"),
        Unit::Ms => format!("{} ms", count(value.round() as u64)),
        Unit::PerSecond if value < 10.0 => format!("{}/s", number((value * 10.0).round() / 10.0)),
        Unit::PerSecond => format!("{}/s", count(value.round() as u64)),
        Unit::Count => number(value),
    }
}

/// Shares differ by points, what is counted by a factor, which says more about times and rates.
fn difference(before: f64, after: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => {
            let points = (after - before) * 100.0;
            if points.abs() < 0.05 { String::new() } else { format!("{points:+.1} points") }
        }
        Unit::Count if (before - after).abs() < f64::EPSILON => String::new(),
        Unit::Count => {
            let by = number((after - before).abs());
            format!("{}{by}", if after > before { '+' } else { '-' })
        }
        _ if before > 0.0 && after / before >= 1.05 => format!("x {}", factor(after / before)),
        _ if after > 0.0 && before / after >= 1.05 => format!("1/{}", factor(before / after)),
        _ => String::new(),
    }
}

fn factor(factor: f64) -> String {
    if factor < 10.0 { format!("{factor:.1}") } else { count(factor.round() as u64) }
}

fn table(page: &mut Page, title: &str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    page.gap();
    let names = rows.iter().map(|(_, cells)| cells[0].chars().count()).max().unwrap_or(0);
    let columns = names.clamp(20, NAME_COLUMNS);
    let right = |text: &str| format!("{text:>NUMBER_COLUMNS$}");
    if title.chars().count() <= columns + 2 {
        let heads = [right("before"), right("after")];
        let cells = [
            Cell { tone: Tone::Strong, text: title, columns: columns + 2 },
            Cell { tone: Tone::Faint, text: &heads[0], columns: NUMBER_COLUMNS },
        ];
        page.row(0, &cells, Tone::Faint, &heads[1], Fit::Cut);
    } else {
        page.line(0, Tone::Strong, title);
        let cells = [
            Cell { tone: Tone::Plain, text: "", columns },
            Cell { tone: Tone::Faint, text: &right("before"), columns: NUMBER_COLUMNS },
        ];
        page.row(2, &cells, Tone::Faint, &right("after"), Fit::Cut);
    }
    for (tone, [name, before, after, by]) in rows {
        let (before, after) = (right(before), right(after));
        let cells = [
            Cell { tone: *tone, text: name, columns },
            Cell { tone: Tone::Plain, text: &before, columns: NUMBER_COLUMNS },
            Cell { tone: Tone::Plain, text: &after, columns: NUMBER_COLUMNS },
        ];
        page.row(2, &cells, Tone::Strong, by, Fit::Cut);
    }
}

fn followed(page: &mut Page, comparison: &Comparison) {
    if comparison.same_processes.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, "The same process, another verdict");
    for process in &comparison.same_processes {
        let who = format!("{} {}", process.role, process.pid);
        let text = format!("{} → {}", process.before, process.after);
        page.item(2, Tone::of(severity(process.severity.as_deref())), &who, 16, &text);
    }
}

/// A trouble in a line: what, by whom, in how many.
pub(super) fn trouble(trouble: &Trouble) -> String {
    let name = match &trouble.subcause {
        Some(subcause) => format!("{}, {subcause}", trouble.code),
        None => trouble.code.clone(),
    };
    let culprit = trouble.culprit.as_ref().map_or_else(String::new, |found| format!(": {found}"));
    let processes = |n: u64| plural(n, "process");
    let whose = match (trouble.before, trouble.after) {
        (0, n) | (n, 0) => processes(n),
        (before, after) if before == after => processes(after),
        (before, after) => format!("{} before, {} after", processes(before), processes(after)),
    };
    format!("{name} ({whose}){culprit}")
}

fn troubles(page: &mut Page, title: &str, troubles: &[Trouble]) {
    if troubles.is_empty() {
        return;
    }
    page.gap();
    page.line(0, Tone::Strong, title);
    for item in troubles {
        page.item(2, Tone::of(item.severity), loud(item.severity), 8, &trouble(item));
    }
}
