//! Where the time of each process went, slice by slice: the same division as the time budget's, on a finer grid.
//!
//! Takes a capture, gives shares for a picture. It is no evidence: a slice of a few samples says little by itself, and no
//! rule looks at it.

use serde::Serialize;

use super::features::Features;
use super::lifetime;
use super::model::TimeBudget;
use super::view::{Span, View};
use crate::capture::model::Capture;

/// Most slices of a process: as many as a picture can show.
const MOST_SLICES: u64 = 60;

/// Fewest samples of a slice.
const SLICE_SAMPLES: u64 = 4;

/// The parts of a time budget, in the order in which slices have them.
pub const PARTS: [&str; 11] = [
    "on_cpu",
    "throttled",
    "run_queue",
    "own_poller",
    "client_socket",
    "upstream_socket",
    "gil",
    "lock",
    "disk",
    "other",
    "stopped",
];

/// Where the time of each process went, slice by slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// What the numbers of a slice are, in this order.
    pub parts: [&'static str; 11],
    /// Length of the window.
    pub window_ms: u64,
    /// Each process, by pid.
    pub lanes: Vec<Lane>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// Which.
    pub pid: i32,
    /// Where in the window it begins.
    pub start_ms: u64,
    /// Where in the window it ends.
    pub end_ms: u64,
    /// Slices of equal length, each with its parts in thousandths; all zero where nothing was sampled.
    pub slices: Vec<[u16; 11]>,
}

/// Divides the time of each process.
#[must_use]
pub fn timeline(capture: &Capture) -> Timeline {
    let view = View::new(capture);
    let stacks = super::stacks(&view);
    let ms = |ns: u64| ns / 1_000_000;
    let lanes = view.processes.iter().map(|(pid, process)| {
        let span = lifetime(&view, process);
        let slices = span.split(slices(span, capture.header.rate_hz)).into_iter().map(|slice| {
            let features = Features::new(&view, process, &stacks, slice);
            let tally = features.judged();
            // Where nothing was sampled nothing is known, and no sleep is drawn in its place.
            if tally.total() == 0 { [0; 11] } else { thousandths(&tally.budget()) }
        });
        Lane { pid: *pid, start_ms: ms(span.start_ns), end_ms: ms(span.end_ns), slices: slices.collect() }
    });
    Timeline { parts: PARTS, window_ms: ms(view.window.len_ns()), lanes: lanes.collect() }
}

/// How many slices a span has, so that each has some samples.
fn slices(span: Span, rate_hz: u32) -> u32 {
    let samples = span.len_ns().saturating_mul(u64::from(rate_hz)) / 1_000_000_000;
    (samples / SLICE_SAMPLES).clamp(1, MOST_SLICES) as u32
}

fn thousandths(budget: &TimeBudget) -> [u16; 11] {
    [
        budget.on_cpu,
        budget.throttled,
        budget.run_queue,
        budget.own_poller,
        budget.client_socket,
        budget.upstream_socket,
        budget.gil,
        budget.lock,
        budget.disk,
        budget.other,
        budget.stopped,
    ]
    .map(|part| (part.share.clamp(0.0, 1.0) * 1_000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_samples_and_a_picture_has_room() {
        let span = |ms: u64| Span { start_ns: 0, end_ns: ms * 1_000_000 };
        assert_eq!(
            [(3_000, 100), (3_000, 10), (200, 100), (0, 100), (60_000, 1_000)]
                .map(|(ms, rate)| slices(span(ms), rate)),
            [60, 7, 5, 1, 60]
        );
    }

    #[test]
    fn the_slices_of_a_capture_say_what_its_budget_says() {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/modern-gevent-spin_watcher.hot_spin.cap");
        let capture = crate::capture::reader::read(file.as_ref()).unwrap();
        let (timeline, judged) = (timeline(&capture), crate::diagnose::diagnose(&capture));
        assert_eq!(timeline.lanes.len(), judged.processes.len());
        for lane in &timeline.lanes {
            assert!(lane.slices.len() > 50 && lane.end_ms <= timeline.window_ms, "{lane:?}");
            let process = judged.processes.iter().find(|p| p.pid == lane.pid).unwrap();
            for (part, share) in [(0, process.time_budget.on_cpu), (3, process.time_budget.own_poller)] {
                let sum: u32 = lane.slices.iter().map(|slice| u32::from(slice[part])).sum();
                let mean = f64::from(sum) / lane.slices.len() as f64 / 1_000.0;
                assert!((mean - share.share).abs() < 0.05, "{}: {mean} is not {}", lane.pid, share.share);
            }
        }
    }
}
