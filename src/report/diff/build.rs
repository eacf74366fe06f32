//! From two reports to what changed between them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Change, Comparison, Followed, Measure, Side, Trouble, Unit, VerdictCount};
use crate::diagnose::model::{Culprit, Severity};
use crate::diagnose::timeline::PARTS;
use crate::report::model::{Exit, SCHEMA_VERSION, Tool};
use crate::report::received::{Received, ReceivedProcess, severity};
use crate::report::words::{Paths, culprit};

/// A share that nobody would see.
const LEAST_SHARE: f64 = 0.0005;

/// A report and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Where it was read from, for people.
    pub source: &'a str,
    /// The report.
    pub report: &'a Received,
}

/// Compares two reports.
#[must_use]
pub fn compare(before: Named<'_>, after: Named<'_>) -> Comparison {
    let (first, second) = (side(before), side(after));
    let (change, because) = judge(&first, &second);
    let troubles = troubles(before.report, after.report);
    let pick = |wanted: fn(&Trouble) -> bool| troubles.iter().filter(|t| wanted(t)).cloned().collect();
    let exit = match change {
        Change::Worse => Exit { code: 1, reason: "it became worse".into() },
        Change::Better => Exit { code: 0, reason: "it became better".into() },
        Change::Same => Exit { code: 0, reason: "it became neither better nor worse".into() },
        Change::Undecided => Exit { code: 0, reason: "it did not become worse as far as is known".into() },
    };
    Comparison {
        schema_version: SCHEMA_VERSION.into(),
        tool: Tool::own(),
        change,
        because,
        verdicts: verdicts(before.report, after.report),
        same_processes: same_processes(before.report, after.report),
        time_budget: time_budget(before.report, after.report),
        measures: measures(before.report, after.report),
        new: pick(|t| t.before == 0),
        gone: pick(|t| t.after == 0),
        stayed: pick(|t| t.before > 0 && t.after > 0),
        load: None,
        caution: caution(before.report, after.report),
        before: first,
        after: second,
        exit,
    }
}

fn side(named: Named<'_>) -> Side {
    let Received { host, server, collection, .. } = named.report;
    let serving = || serving(named.report);
    Side {
        source: named.source.to_owned(),
        hostname: host.hostname.clone(),
        started_at: collection.started_at.clone(),
        duration_ms: collection.duration_ms,
        kind: server.kind.clone(),
        version: server.version.clone(),
        worker_class: server.worker_class.clone(),
        workers: serving().count() as u64,
        critical_workers: serving().filter(|p| p.verdict.severity() == Some(Severity::Critical)).count()
            as u64,
        code: server.verdict.code.clone(),
        severity: server.verdict.severity.clone(),
        confidence: server.verdict.confidence,
        summary: server.verdict.summary.clone(),
    }
}

fn serving(report: &Received) -> impl Iterator<Item = &ReceivedProcess> {
    report.processes.iter().filter(|process| process.serves())
}

/// Worse in one respect is worse, whatever else became better.
fn judge(before: &Side, after: &Side) -> (Change, Vec<String>) {
    let word = |side: &Side| side.severity.clone().unwrap_or_else(|| "not known".into());
    let (was, is) = (severity(before.severity.as_deref()), severity(after.severity.as_deref()));
    let mut because = vec![if before.code == after.code && was == is {
        format!("the server is {} ({}) in both", before.code, word(before))
    } else {
        format!("the server was {} ({}) and is {} ({})", before.code, word(before), after.code, word(after))
    }];
    let critical = |side: &Side| format!("{} of {}", side.critical_workers, side.workers);
    because.push(if before.critical_workers == after.critical_workers && before.workers == after.workers {
        format!("critical workers: {} in both", critical(before))
    } else {
        format!("critical workers: {} before, {} after", critical(before), critical(after))
    });
    let more = after.critical_workers.cmp(&before.critical_workers);
    let change = match (was, is) {
        (Some(was), Some(is)) => match is.cmp(&was).max(more) {
            std::cmp::Ordering::Greater => Change::Worse,
            std::cmp::Ordering::Less => Change::Better,
            std::cmp::Ordering::Equal if is < was || more.is_lt() => Change::Better,
            std::cmp::Ordering::Equal => Change::Same,
        },
        _ if more.is_gt() => Change::Worse,
        _ => Change::Undecided,
    };
    (change, because)
}

fn verdicts(before: &Received, after: &Received) -> Vec<VerdictCount> {
    let mut counts: Vec<VerdictCount> = Vec::new();
    for (report, first) in [(before, true), (after, false)] {
        for process in &report.processes {
            let verdict = &process.verdict;
            let known = counts.iter().position(|c| c.role == process.role && c.code == verdict.code);
            let at = known.unwrap_or_else(|| {
                counts.push(VerdictCount {
                    role: process.role.clone(),
                    code: verdict.code.clone(),
                    severity: verdict.severity.clone(),
                    before: 0,
                    after: 0,
                });
                counts.len() - 1
            });
            if let Some(count) = counts.get_mut(at) {
                *(if first { &mut count.before } else { &mut count.after }) += 1;
            }
        }
    }
    counts.sort_by_key(|c| {
        let rank = Reverse(severity(c.severity.as_deref()));
        (c.role == "arbiter", rank, c.role.clone(), c.code.clone())
    });
    counts
}

/// A pid alone is used again; with its start time it is one process, as long as the machine has not been started again.
fn same_processes(before: &Received, after: &Received) -> Vec<Followed> {
    if before.host.boot_id.is_empty() || before.host.boot_id != after.host.boot_id {
        return Vec::new();
    }
    let known: BTreeMap<(i32, u64), &ReceivedProcess> =
        before.processes.iter().map(|p| ((p.pid, p.start_time_ticks), p)).collect();
    after
        .processes
        .iter()
        .filter_map(|is| Some((known.get(&(is.pid, is.start_time_ticks))?, is)))
        .filter(|(was, is)| was.verdict.code != is.verdict.code)
        .map(|(was, is)| Followed {
            pid: is.pid,
            role: is.role.clone(),
            before: was.verdict.code.clone(),
            after: is.verdict.code.clone(),
            severity: is.verdict.severity.clone(),
        })
        .collect()
}

/// A mean, where there is anything to take it of.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

fn time_budget(before: &Received, after: &Received) -> Vec<Measure> {
    let others = [before, after]
        .into_iter()
        .flat_map(serving)
        .flat_map(|process| process.time_budget.keys())
        .map(String::as_str)
        .filter(|name| !PARTS.contains(name));
    let mut names = PARTS.to_vec();
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let share = |report: &Received, name: &str| {
        let of = |p: &ReceivedProcess| p.time_budget.get(name).map_or(0.0, |part| part.share);
        mean(serving(report).filter(|p| !p.time_budget.is_empty()).map(of)).map(rounded)
    };
    let measure = |name: &str| Measure {
        name: name.to_owned(),
        unit: Unit::Share,
        before: share(before, name),
        after: share(after, name),
    };
    let seen = |m: &Measure| [m.before, m.after].into_iter().flatten().any(|share| share >= LEAST_SHARE);
    names.into_iter().map(measure).filter(seen).collect()
}

fn rounded(value: f64) -> f64 {
    crate::diagnose::budget::round(value)
}

fn measures(before: &Received, after: &Received) -> Vec<Measure> {
    type Number = fn(&Received) -> Option<f64>;
    let all: [(&str, Unit, Number); 6] = [
        ("loop_turns_per_s", Unit::PerSecond, |r| {
            mean(serving(r).filter_map(|p| p.event_loop.turns_per_s)).map(rounded)
        }),
        ("loop_longest_gap_ms", Unit::Ms, |r| largest(serving(r).map(|p| p.event_loop.longest_gap_ms))),
        ("requests_in_flight", Unit::Count, |r| {
            let known = serving(r).filter_map(|p| p.connections.as_ref()?.in_flight);
            known.map(|n| n as f64).reduce(|a, b| a + b)
        }),
        ("oldest_request_ms", Unit::Ms, |r| {
            largest(serving(r).map(|p| p.connections.as_ref().and_then(|c| c.oldest_ms)))
        }),
        ("accept_queue_max", Unit::Count, |r| r.server.accept_queue.max.map(|n| n as f64)),
        ("accept_queue_share_nonzero", Unit::Share, |r| r.server.accept_queue.share_nonzero),
    ];
    all.into_iter()
        .map(|(name, unit, of)| Measure { name: name.into(), unit, before: of(before), after: of(after) })
        .filter(|measure| measure.before.is_some() || measure.after.is_some())
        .collect()
}

fn largest(values: impl Iterator<Item = Option<u64>>) -> Option<f64> {
    values.flatten().max().map(|value| value as f64)
}

/// What makes two troubles the same: descriptor numbers, own ports and lines of code change from run to run.
type Key<'r> = (&'r str, Option<&'r str>, Option<[Option<&'r str>; 3]>);

fn key<'r>(code: &'r str, subcause: Option<&'r str>, found: Option<&'r Culprit>) -> Key<'r> {
    let parts = found.map(|c| [c.function.as_deref(), c.file.as_deref(), c.peer.as_deref()]);
    (code, subcause, parts.filter(|parts| parts.iter().any(Option::is_some)))
}

fn troubles(before: &Received, after: &Received) -> Vec<Trouble> {
    let mut found: BTreeMap<Key<'_>, Trouble> = BTreeMap::new();
    for process in &before.processes {
        for (key, trouble) in complaints(process) {
            found.entry(key).or_insert(trouble).before += 1;
        }
    }
    for process in &after.processes {
        for (key, trouble) in complaints(process) {
            found.entry(key).or_insert(trouble).after += 1;
        }
    }
    let mut troubles: Vec<Trouble> = found.into_values().collect();
    troubles.sort_by_key(|t| (Reverse(t.severity), Reverse(t.before.max(t.after)), t.code.clone()));
    troubles
}

/// What is wrong with a process: its verdict, and what was found beside it.
fn complaints(process: &ReceivedProcess) -> Vec<(Key<'_>, Trouble)> {
    let verdict = &process.verdict;
    let trouble = |code: &str, severity| Trouble {
        code: code.to_owned(),
        subcause: None,
        severity,
        culprit: None,
        before: 0,
        after: 0,
    };
    let of_verdict = Trouble {
        subcause: verdict.subcause.clone(),
        culprit: verdict.culprit.as_ref().map(|found| culprit(found, Paths::Short)),
        ..trouble(&verdict.code, verdict.severity())
    };
    let mut all =
        vec![(key(&verdict.code, verdict.subcause.as_deref(), verdict.culprit.as_ref()), of_verdict)];
    all.extend(process.findings.iter().map(|finding| {
        let severity = severity(finding.severity.as_deref());
        (key(&finding.code, None, None), trouble(&finding.code, severity))
    }));
    all.retain(|(_, trouble)| trouble.severity > Some(Severity::Info));
    all
}

fn caution(before: &Received, after: &Received) -> Vec<String> {
    let mut said = Vec::new();
    let (was, is) = (&before.tool.rules_version, &after.tool.rules_version);
    if was != is {
        said.push(format!("judged by other rules ({was} and {is}): compare the captures (--save) instead"));
    }
    if before.collection.level != after.collection.level {
        let (was, is) = (&before.collection.level, &after.collection.level);
        said.push(format!("one look was allowed more than the other (level {was} and {is})"));
    }
    let (was, is) = (before.collection.duration_ms, after.collection.duration_ms);
    if was.max(is) > 2 * was.min(is) {
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1_000.0);
        said.push(format!("one look was much longer than the other ({} and {})", seconds(was), seconds(is)));
    }
    if before.host.cpus != after.host.cpus {
        said.push(format!("other machines ({} and {} processors)", before.host.cpus, after.host.cpus));
    }
    let (was, is) = (before.blind_spots.len(), after.blind_spots.len());
    if was != is {
        said.push(format!("not the same was seen ({was} and {is} blind spots)"));
    }
    said
}
