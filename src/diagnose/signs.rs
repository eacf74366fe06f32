//! Signs of life of a loop, and the times between them.
//!
//! A loop is known to have turned when it was seen in its poller or in its own code, when it beat, when it accepted
//! or answered, or when its own clock moved. The longest time without any such sign is the longest it can have been
//! blocked; it may begin before the window, where the last beat tells so. Pure.

use super::activity::{Activity, Reader};
use super::stack::{Place, Stack};
use super::view::{ProcessView, Span, View};
use crate::capture::model::{ServerKind, WorkerClass};

/// Readings of a beat that lie as close to each other are of the same one.
const SAME_BEAT_NS: i64 = 50_000_000;
/// Distance of two beats of a loop that beats once a second and was not kept from it.
const BEAT_ON_TIME_NS: i64 = 1_100_000_000;
/// Intervals of the sampling clock between two samples from which the tool has looked away.
const LOOKED_AWAY_INTERVALS: i64 = 10;

/// Times in which a loop was not seen to turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Longest one that touches the span, in full length.
    pub longest_ns: u64,
    /// 99th percentile of those that touch it.
    pub p99_ns: u64,
    /// Signs inside the span.
    pub signs: u64,
    /// Age of the last sign at the end of the span.
    pub age_ns: u64,
    /// Whether there was any source of signs at all besides the clock of the samples.
    pub known: bool,
}

/// How often a healthy worker of a class beats, at the least.
///
/// From the workers' own code: gevent, eventlet, tornado and gunicorn's ASGI worker beat once a second, gthread with
/// every pass of at most one second; sync and uvicorn's worker beat every `timeout / 2`.
#[must_use]
pub fn cadence_ms(class: Option<WorkerClass>, timeout_s: Option<u64>) -> Option<u64> {
    match class? {
        WorkerClass::Gevent
        | WorkerClass::Eventlet
        | WorkerClass::Tornado
        | WorkerClass::Asgi
        | WorkerClass::Gthread => Some(1_000),
        WorkerClass::Sync | WorkerClass::Uvicorn => Some(timeout_s.unwrap_or(30).max(1) * 500),
        WorkerClass::Asyncio => None,
    }
}

/// The gaps between signs of life that touch a span.
#[must_use]
pub fn gaps(view: &View<'_>, process: &ProcessView<'_>, reader: &Reader<'_, '_>, span: Span) -> Gaps {
    let mut signs: Vec<i64> = Vec::new();
    let before = |at_ns: u64, age_ns: u64| at_ns as i64 - age_ns as i64;
    signs.extend(process.loop_clock.iter().map(|c| before(c.at_ns, c.value)));
    let mut stacks = 0_u64;
    for sample in process.samples.get(&process.facts.loop_tid).into_iter().flatten() {
        let place = reader.stack(sample.value).map(|s| s.place);
        stacks += u64::from(place.is_some());
        let activity = reader.meaning(sample.value, sample.at_ns).activity;
        // Giving way to the loop is as good a sign as the loop itself.
        let yields = || reader.stack(sample.value).is_some_and(Stack::yields);
        let in_loop = activity == Activity::Runnable && (place == Some(Place::Loop) || yields());
        if activity == Activity::OwnPoller || in_loop {
            signs.push(sample.at_ns as i64);
        }
    }
    signs.extend(answers(view, process));
    let server = &view.capture.header.server;
    signs.extend(on_time(process));
    let cadence_ns = cadence_ms(process.facts.worker_class, server.timeout_s).unwrap_or(0) as i64 * 1_000_000;
    for beat in &process.beats {
        let at = before(beat.at_ns, beat.value.age_ns);
        signs.push(at);
        // No other beat was due before the cadence had passed: silence means something only from then on. Before the
        // window, where nothing else was seen, that holds up to its start.
        let due = at + cadence_ns;
        let until = if at < view.window.start_ns as i64 { view.window.start_ns } else { view.window.end_ns };
        signs.push(due.min(until as i64));
    }
    // A sync worker beats at every request, too: one that computes and does not beat is in one of them.
    let often = cadence_ns == 1_000_000_000 || process.facts.worker_class == Some(WorkerClass::Sync);
    let quick_beat = server.kind == ServerKind::Gunicorn && often && !process.beats.is_empty();
    let known = quick_beat || stacks > 0 || !process.loop_clock.is_empty();
    signs.sort_unstable();
    signs.dedup();
    measure(&signs, &unwatched(process, view.capture.header.rate_hz), view.window, span, known)
}

/// Between two beats that came on time the loop has turned: what it lacks is their distance less what it sleeps between
/// them, which is next to nothing.
fn on_time(process: &ProcessView<'_>) -> Vec<i64> {
    let mut beats: Vec<i64> = process.beats.iter().map(|b| b.at_ns as i64 - b.value.age_ns as i64).collect();
    // The same beat is read again and again, to the accuracy of two clocks.
    beats.dedup_by(|later, earlier| *later - *earlier < SAME_BEAT_NS);
    let pairs = beats.windows(2).filter(|w| w[1] - w[0] <= BEAT_ON_TIME_NS);
    pairs.map(|w| w[0].midpoint(w[1])).collect()
}

/// Times in which nobody looked: the tool itself may get no processor on a machine that has none to give. What a loop did
/// then is not known, and no silence.
fn unwatched(process: &ProcessView<'_>, rate_hz: u32) -> Vec<(i64, i64)> {
    let away_ns = LOOKED_AWAY_INTERVALS * 1_000_000_000 / i64::from(rate_hz.max(1));
    let samples = process.samples.get(&process.facts.loop_tid).map_or(&[][..], Vec::as_slice);
    let between = samples.windows(2).map(|w| (w[0].at_ns as i64, w[1].at_ns as i64));
    between.filter(|(from, to)| to - from >= away_ns).collect()
}

/// When the process last sent to any client, and when it accepted.
fn answers(view: &View<'_>, process: &ProcessView<'_>) -> Vec<i64> {
    let mut signs = Vec::new();
    let mut known: Option<foldhash::HashSet<u64>> = None;
    for listing in &process.descriptors {
        let clients: foldhash::HashSet<u64> = listing
            .value
            .iter()
            .filter_map(|d| d.inode)
            .filter(|inode| view.socket_of.get(inode).is_some_and(|s| view.is_client(s)))
            .collect();
        if known.as_ref().is_some_and(|known| clients.difference(known).next().is_some()) {
            signs.push(listing.at_ns as i64);
        }
        known = Some(clients);
    }
    let mine: foldhash::HashSet<u64> =
        process.descriptors.iter().flat_map(|d| d.value).filter_map(|d| d.inode).collect();
    for reading in &view.sockets {
        let sent = |s: &&crate::capture::model::Socket| {
            let tcp = s.tcp.as_ref().filter(|t| t.bytes_acked > 0)?;
            Some(reading.at_ns as i64 - i64::from(tcp.last_data_sent_ms) * 1_000_000)
        };
        let latest = reading
            .value
            .iter()
            .filter(|s| mine.contains(&s.inode) && view.is_client(s))
            .filter_map(|s| sent(&s))
            .max();
        signs.extend(latest);
    }
    signs
}

fn measure(signs: &[i64], unwatched: &[(i64, i64)], window: Span, span: Span, known: bool) -> Gaps {
    let (start, end) = (span.start_ns as i64, span.end_ns as i64);
    let window_start = window.start_ns as i64;
    // Without an earlier sign the window's start bounds the first gap: it was at least that long.
    let mut edges: Vec<i64> = Vec::with_capacity(signs.len() + 2);
    if signs.first().is_none_or(|first| *first > window_start) {
        edges.push(window_start);
    }
    edges.extend(signs.iter().copied().filter(|s| *s <= window.end_ns as i64));
    edges.push(window.end_ns as i64);
    let mut touching: Vec<u64> = edges
        .windows(2)
        .filter(|w| w[1] > start && w[0] < end)
        .map(|w| {
            let away = |(from, to): &(i64, i64)| (w[1].min(*to) - w[0].max(*from)).max(0);
            (w[1] - w[0] - unwatched.iter().map(away).sum::<i64>()).max(0) as u64
        })
        .collect();
    touching.sort_unstable();
    let last = signs.iter().rev().find(|s| **s <= end);
    Gaps {
        longest_ns: touching.last().copied().unwrap_or(0),
        p99_ns: touching.get(touching.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0),
        signs: signs.iter().filter(|s| **s >= start && **s <= end).count() as u64,
        age_ns: last.map_or(end - window_start, |s| end - s).max(0) as u64,
        known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const WINDOW: Span = Span { start_ns: 0, end_ns: 3_000_000_000 };

    #[test]
    fn a_beat_before_the_window_begins_the_gap() {
        let gaps = measure(&[-5 * S], &[], WINDOW, WINDOW.split(3)[0], true);
        assert_eq!(gaps.longest_ns, 8_000_000_000);
    }

    #[test]
    fn a_gap_across_sub_windows_counts_in_full_in_each() {
        let signs = [S / 2, 5 * S / 2];
        for span in WINDOW.split(3) {
            assert_eq!(measure(&signs, &[], WINDOW, span, true).longest_ns, 2_000_000_000);
        }
    }

    #[test]
    fn without_signs_the_window_is_the_bound() {
        assert_eq!(measure(&[], &[], WINDOW, WINDOW, true).longest_ns, 3_000_000_000);
    }

    #[test]
    fn time_in_which_nobody_looked_is_no_silence() {
        let signs = [S / 2, 5 * S / 2];
        let away = [(S, 3 * S / 2), (2 * S, 11 * S / 5)];
        assert_eq!(measure(&signs, &away, WINDOW, WINDOW, true).longest_ns, 1_300_000_000);
        // Only what lies inside a silence is taken from it.
        assert_eq!(measure(&signs, &[(0, S)], WINDOW, WINDOW, true).longest_ns, 1_500_000_000);
    }

    #[test]
    fn sync_and_uvicorn_beat_slowly_by_design() {
        assert_eq!(cadence_ms(Some(WorkerClass::Sync), Some(30)), Some(15_000));
        assert_eq!(cadence_ms(Some(WorkerClass::Uvicorn), Some(120)), Some(60_000));
        assert_eq!(cadence_ms(Some(WorkerClass::Gevent), Some(120)), Some(1_000));
    }
}
