//! The columns of the list: what each says of a worker, how wide it is, how it sorts, and which go first when the
//! window is narrow.

use std::cmp::Ordering;

use super::app::Row;
use crate::capture::model::Role;
use crate::diagnose::model::Severity;
use crate::report::words::{count, word};

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Process id.
    Pid,
    /// The verdict's code.
    Verdict,
    /// Processors used.
    Cpu,
    /// Threads that wait for a processor.
    RunQueue,
    /// Turns of the loop per second.
    Turns,
    /// Longest gap between signs of life.
    Gap,
    /// Age of the last heartbeat.
    Beat,
    /// Requests in flight.
    InFlight,
    /// Processors used, lately.
    History,
    /// What it is in.
    Now,
}

/// All columns, in the order in which they are shown.
pub const ALL: [Column; 10] = [
    Column::Pid,
    Column::Verdict,
    Column::Cpu,
    Column::RunQueue,
    Column::Turns,
    Column::Gap,
    Column::Beat,
    Column::InFlight,
    Column::History,
    Column::Now,
];

/// Those that the list can be sorted by, in the order in which they are shown.
pub const SORTABLE: [Column; 8] = [
    Column::Pid,
    Column::Verdict,
    Column::Cpu,
    Column::RunQueue,
    Column::Turns,
    Column::Gap,
    Column::Beat,
    Column::InFlight,
];

/// The most needed first: a narrow window shows as many as it has room for.
const BY_NEED: [Column; 10] = [
    Column::Pid,
    Column::Verdict,
    Column::Cpu,
    Column::Now,
    Column::InFlight,
    Column::Gap,
    Column::History,
    Column::RunQueue,
    Column::Beat,
    Column::Turns,
];

/// Columns that [`Column::Now`] gets before the less needed ones come.
const NOW_MORE: usize = 10;

impl Column {
    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::Verdict => "VERDICT",
            Self::Cpu => "CPU",
            Self::RunQueue => "RUNQ",
            Self::Turns => "TURNS/S",
            Self::Gap => "GAP",
            Self::Beat => "BEAT",
            Self::InFlight => "FLY",
            Self::History => "LATELY",
            Self::Now => "NOW IN",
        }
    }

    /// Its width; that of the last one is what is left, and at least this.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Pid => 7,
            Self::Verdict => 23,
            Self::Cpu | Self::RunQueue => 5,
            Self::InFlight => 4,
            Self::Gap | Self::Beat => 6,
            Self::Turns | Self::History => 8,
            Self::Now => 16,
        }
    }

    /// Whether its text stands at the right: numbers do.
    #[must_use]
    pub const fn is_number(self) -> bool {
        !matches!(self, Self::Verdict | Self::History | Self::Now)
    }

    /// What it says of a worker; nothing for [`Column::History`], which is drawn.
    #[must_use]
    pub fn text(self, row: &Row) -> String {
        let judged = row.judged.as_ref();
        let unknown = || "-".to_owned();
        match self {
            Self::Pid => row.id.0.to_string(),
            Self::Verdict if row.gone_at_ns.is_some() => "   ended".into(),
            Self::Verdict => match judged {
                Some(p) => format!("{} {}", sign(p.verdict.severity), word(&p.verdict.code)),
                None => "   looking".into(),
            },
            Self::Cpu => row.live.cpu.map_or_else(unknown, hundredths),
            Self::RunQueue => row.live.run_queue.map_or_else(unknown, hundredths),
            Self::Turns => judged
                .and_then(|p| p.event_loop.turns_per_s)
                .map_or_else(unknown, |turns| count(turns.round() as u64)),
            // An arbiter serves nobody: its silence is no gap.
            Self::Gap if row.role == Role::Arbiter => unknown(),
            Self::Gap => judged.and_then(|p| p.event_loop.longest_gap_ms).map_or_else(unknown, time),
            Self::Beat => {
                judged.and_then(|p| p.heartbeat.as_ref()).map_or_else(unknown, |beat| time(beat.age_ms))
            }
            Self::InFlight => in_flight(row).map_or_else(unknown, |n| n.to_string()),
            Self::History => String::new(),
            Self::Now => now(row),
        }
    }

    /// Its natural order: pids and the arbiter upwards, everything else the worst first.
    #[must_use]
    pub fn compare(self, a: &Row, b: &Row) -> Ordering {
        let most_first =
            |value: fn(&Row) -> Option<f64>| value(b).unwrap_or(-1.0).total_cmp(&value(a).unwrap_or(-1.0));
        let judged = |of: fn(&crate::report::model::Process) -> Option<f64>| {
            let value = |row: &Row| row.judged.as_ref().and_then(of).unwrap_or(-1.0);
            value(b).total_cmp(&value(a))
        };
        match self {
            Self::Verdict => urgency(b).cmp(&urgency(a)),
            Self::Cpu => most_first(|row| row.live.cpu),
            Self::RunQueue => most_first(|row| row.live.run_queue),
            Self::InFlight => most_first(|row| in_flight(row).map(|n| n as f64)),
            Self::Turns => judged(|p| p.event_loop.turns_per_s),
            Self::Gap => judged(|p| p.event_loop.longest_gap_ms.map(|ms| ms as f64)),
            Self::Beat => judged(|p| p.heartbeat.as_ref().map(|beat| beat.age_ms as f64)),
            Self::Pid | Self::History | Self::Now => {
                (a.role != Role::Arbiter, a.id).cmp(&(b.role != Role::Arbiter, b.id))
            }
        }
    }
}

/// The columns that a width has room for, with the width of each, in the order in which they are shown.
#[must_use]
pub fn fit(width: usize) -> Vec<(Column, usize)> {
    let mut chosen: Vec<Column> = Vec::new();
    let mut left = width;
    let mut more = 0;
    for column in BY_NEED {
        if let Some(rest) = left.checked_sub(column.width() + 1) {
            left = rest;
            chosen.push(column);
        }
        // With a history beside it, what it is in gets room to be told in full before the rest comes.
        if column == Column::History {
            more = left.min(NOW_MORE);
            left -= more;
        }
    }
    let wide = |column: Column| column.width() + if column == Column::Now { left + more } else { 0 };
    ALL.into_iter().filter(|column| chosen.contains(column)).map(|column| (column, wide(column))).collect()
}

/// A sign that is seen without colour.
const fn sign(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "!!",
        Some(Severity::Warning) => "! ",
        Some(Severity::Info) => "  ",
        None => "? ",
    }
}

/// How soon somebody should look: ended processes last.
fn urgency(row: &Row) -> (bool, u8) {
    let severity = row.judged.as_ref().map(|p| p.verdict.severity);
    let rank = match severity {
        Some(Some(Severity::Critical)) => 4,
        Some(Some(Severity::Warning)) => 3,
        Some(None) => 2,
        Some(Some(Severity::Info)) => 1,
        None => 0,
    };
    (row.gone_at_ns.is_none(), rank)
}

fn in_flight(row: &Row) -> Option<u64> {
    row.judged.as_ref()?.connections.as_ref()?.in_flight
}

/// A share in whole per cent without a blank, to fit a column.
#[must_use]
pub fn hundredths(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Milliseconds in at most five letters.
#[must_use]
pub fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..100_000 => format!("{:.1}s", ms as f64 / 1e3),
        _ => format!("{}s", ms / 1_000),
    }
}

/// What it is in: the innermost function and what the kernel has it do.
fn now(row: &Row) -> String {
    let Some(now) = row.live.now.as_ref().filter(|_| row.gone_at_ns.is_none()) else {
        return String::new();
    };
    let Some(frame) = &now.frame else { return now.doing.clone() };
    let file = frame.file.rsplit('/').next().unwrap_or(&frame.file);
    let doing = if now.doing == "running" { String::new() } else { format!(" [{}]", now.doing) };
    format!("{} ({file}:{}){doing}", frame.function, frame.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_windows_keep_what_is_needed_most() {
        for width in 58..200 {
            let columns = fit(width);
            let used: usize = columns.iter().map(|(_, w)| w + 1).sum();
            assert_eq!(used, width, "what is left goes to the last column");
            for needed in [Column::Pid, Column::Verdict, Column::Cpu, Column::Now] {
                assert!(columns.iter().any(|(c, _)| *c == needed), "{needed:?} in {width}");
            }
        }
        assert_eq!(fit(108).len(), ALL.len());
        assert!(fit(78).iter().any(|(c, _)| *c == Column::History));
    }

    #[test]
    fn times_and_shares_fit_their_columns() {
        let times = [0, 999, 1_000, 59_940, 100_000, 86_400_000].map(time);
        assert_eq!(times, ["0ms", "999ms", "1.0s", "59.9s", "100s", "86400s"]);
        assert_eq!([0.0, 0.016, 1.0, 12.5].map(hundredths), ["0%", "2%", "100%", "1250%"]);
        assert!(times.iter().all(|t| t.len() <= Column::Gap.width()));
    }
}
