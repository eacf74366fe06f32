//! A saved capture in the place of a live server: its records in their own time, which can be held and begun again.

use std::time::{Duration, Instant};

use super::feed::Control;
use super::judge::Judge;
use crate::capture::mask::Values;
use crate::capture::model::{Capture, Record};
use crate::capture::rolling::at;
use crate::tui::Latest;
use crate::tui::app::Snapshot;

/// Time between two snapshots.
const STEP: Duration = Duration::from_millis(100);
/// While nothing moves, nothing is to do until something else is wanted.
const LONG: Duration = Duration::from_hours(1);

/// A capture being played.
pub struct Tape<'c> {
    capture: &'c Capture,
    window_ns: u64,
    values: Values,
    judge: Judge,
    next: usize,
    at_ns: u64,
    len_ns: u64,
}

impl<'c> Tape<'c> {
    /// At its beginning.
    pub fn new(capture: &'c Capture, window_ns: u64, values: Values) -> Self {
        Self {
            capture,
            window_ns,
            values,
            judge: Judge::replayed(capture.header.clone(), window_ns, values),
            next: 0,
            at_ns: 0,
            len_ns: capture.records.iter().map(at).max().unwrap_or(0),
        }
    }

    /// Plays on for a time, and gives what is to be shown then.
    pub fn play(&mut self, by: Duration) -> Snapshot {
        self.at_ns = self.at_ns.saturating_add(by.as_nanos() as u64).min(self.len_ns);
        let records: &'c [Record] = &self.capture.records;
        let from = self.next;
        while records.get(self.next).is_some_and(|record| at(record) <= self.at_ns) {
            self.next += 1;
        }
        let snapshot = self.judge.take(records[from..self.next].iter().cloned());
        Snapshot { played: Some((self.at_ns, self.len_ns)), ..snapshot }
    }

    /// Whether it is at its end.
    pub const fn ended(&self) -> bool {
        self.at_ns >= self.len_ns
    }

    /// Back to the beginning.
    pub fn rewind(&mut self) {
        *self = Self::new(self.capture, self.window_ns, self.values);
    }
}

/// Plays a capture until it is told to end; at the capture's end its last state stays.
pub fn play(capture: &Capture, window_ns: u64, values: Values, latest: &Latest, control: &Control) {
    let mut tape = Tape::new(capture, window_ns, values);
    let mut began = Instant::now();
    loop {
        let mut wanted = control.wanted();
        let still = wanted.held || tape.ended();
        if !control.stopped() && !wanted.reset {
            wanted = control.wait(wanted, if still { LONG } else { STEP });
        }
        if control.stopped() {
            return;
        }
        if std::mem::take(&mut wanted.reset) {
            tape.rewind();
            began = Instant::now();
        }
        let held = wanted.held;
        drop(wanted);
        let passed = if still { Duration::ZERO } else { began.elapsed() };
        began = Instant::now();
        if !held {
            latest.publish(tape.play(passed));
        }
    }
}

/// The steps of a capture in its own time, without waiting for it.
pub fn steps(tape: &mut Tape<'_>) -> impl Iterator<Item = Snapshot> {
    std::iter::from_fn(move || (!tape.ended()).then(|| tape.play(STEP)))
}
