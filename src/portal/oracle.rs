//! The oracle in the application: what a worker itself says of its loop, its requests and the fault, read from outside.
//!
//! A worker maps one file, `oracle-PID`, and writes words into it; this file decodes them and decides whether a fault
//! did what its scenario claims. The decision is pure. A label without its effect is no ground truth: such a run does
//! not count. Without the file nothing is known, and that is said, never taken for a yes.

use std::path::Path;

use super::scenarios::Effect;
use crate::observe::clock;

/// The variable that makes a worker write it.
pub const SWITCH: (&str, &str) = ("PORTAL_ORACLE", "1");

const MAGIC: [u8; 8] = *b"PORTAL01";
/// As much of the file as is used.
const USED: usize = 80;

/// A loop that has ticked since then turns.
const FRESH_NS: u64 = 1_000_000_000;
/// A tick as late as this is a loop that stood still.
const LATE_NS: u64 = 500_000_000;
/// Rounds per second from which something spins.
const SPIN_PER_S: f64 = 1_000.0;
/// Share of its former pace below which work is starved.
const STARVED_PACE: f64 = 0.5;

/// What one worker said at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `CLOCK_MONOTONIC` when it was read.
    pub at_ns: u64,
    /// The worker.
    pub pid: u64,
    /// Last tick of a timer inside its loop; 0 where it has none.
    pub loop_stamp_ns: u64,
    /// Requests begun.
    pub requests_started: u64,
    /// Requests answered.
    pub requests_done: u64,
    /// When the fault was last entered; 0 for never.
    pub fault_started_ns: u64,
    /// When it was last left; 0 for never.
    pub fault_ended_ns: u64,
    /// How often the fault did its thing.
    pub fault_steps: u64,
    /// Requests that are inside the fault.
    pub fault_waiting: u64,
    /// Largest lateness of the loop's timer since the fault was last entered.
    pub loop_late_max_ns: u64,
}

impl Stamp {
    /// Decodes the file's words. `None` for a file that is not one, or whose worker has not begun to write it.
    #[must_use]
    pub fn decode(bytes: &[u8], at_ns: u64) -> Option<Self> {
        let words = bytes.get(..USED)?;
        if words.get(..8)? != MAGIC {
            return None;
        }
        let word = |offset: usize| {
            let bytes = words.get(offset..offset + 8).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        Some(Self {
            at_ns,
            pid: word(8),
            loop_stamp_ns: word(16),
            requests_started: word(24),
            requests_done: word(32),
            fault_started_ns: word(40),
            fault_ended_ns: word(48),
            fault_steps: word(56),
            fault_waiting: word(64),
            loop_late_max_ns: word(72),
        })
    }

    /// Reads what a worker says now; `None` where it says nothing.
    #[must_use]
    pub fn read(folder: &Path, pid: i32) -> Option<Self> {
        let bytes = std::fs::read(folder.join(format!("oracle-{pid}"))).ok()?;
        // The clock after the words: an age is never negative, and never too small.
        Self::decode(&bytes, clock::monotonic_ns()).filter(|s| s.pid == u64::try_from(pid).unwrap_or(0))
    }

    const fn has_loop(&self) -> bool {
        self.loop_stamp_ns != 0
    }

    /// Whether its loop turns, as far as it has one.
    const fn turns(&self) -> bool {
        !self.has_loop() || self.at_ns.saturating_sub(self.loop_stamp_ns) < FRESH_NS
    }

    /// Whether the fault has been entered since another reading.
    #[must_use]
    pub const fn entered_since(&self, before: &Self) -> bool {
        self.fault_started_ns > before.fault_started_ns || self.fault_waiting > before.fault_waiting
    }

    /// What was done: rounds of the fault where it has any, else answers.
    const fn work(&self) -> u64 {
        if self.fault_steps > 0 { self.fault_steps } else { self.requests_done }
    }
}

/// What one worker said before the trouble (twice, to know its pace), when the look began, and when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Story {
    /// At rest, or under load alone.
    pub first: Stamp,
    /// Right before the fault or the limit.
    pub before: Stamp,
    /// When the look began.
    pub during: Stamp,
    /// When it ended.
    pub after: Stamp,
}

/// Whether the effect was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It was.
    Yes,
    /// It was not; why.
    No(String),
}

/// What is grown per second between two readings.
fn pace(from: &Stamp, to: &Stamp, of: impl Fn(&Stamp) -> u64) -> f64 {
    let seconds = to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9;
    if seconds <= 0.0 { 0.0 } else { of(to).saturating_sub(of(from)) as f64 / seconds }
}

/// Whether a fault did what its scenario claims. `slots` is 0 where a loop serves; `asked` says whether there is load.
#[must_use]
pub fn effect_shown(effect: Effect, story: &Story, slots: u64, asked: bool) -> Shown {
    let Story { first, before, during, after } = story;
    let (grown, steps) = (after.fault_steps > during.fault_steps, pace(during, after, |s| s.fault_steps));
    let checks: Vec<(bool, String)> = match effect {
        Effect::Blocked if after.has_loop() => {
            let silent = after.at_ns.saturating_sub(after.loop_stamp_ns);
            vec![(
                silent >= FRESH_NS || after.loop_late_max_ns >= LATE_NS,
                format!(
                    "the loop turned {} ms ago, and was never later than {} ms",
                    silent / 1_000_000,
                    after.loop_late_max_ns / 1_000_000
                ),
            )]
        }
        Effect::Blocked => vec![(
            after.fault_waiting >= slots.max(1),
            format!("the fault holds {} of {} slots", after.fault_waiting, slots.max(1)),
        )],
        Effect::Spin => vec![
            (steps >= SPIN_PER_S, format!("it goes round {steps:.0} times a second")),
            (after.turns(), "the loop does not turn".to_owned()),
        ],
        Effect::Waiting => vec![
            (during.fault_waiting >= 1 && after.fault_waiting >= 1, "no request waits".to_owned()),
            (during.turns() && after.turns(), "the loop does not turn".to_owned()),
        ],
        Effect::Contended => vec![
            (grown, "nothing goes on".to_owned()),
            (after.fault_waiting >= 2, format!("{} requests take part", after.fault_waiting)),
        ],
        Effect::Starved => {
            let (was, is) = (pace(first, before, Stamp::work), pace(during, after, Stamp::work));
            vec![
                (was > 0.0, "nothing was done before".to_owned()),
                (is < was * STARVED_PACE, format!("it goes on at {is:.0} a second, before at {was:.0}")),
            ]
        }
        Effect::Unanswered => vec![(false, "the application cannot know who gets no answer".to_owned())],
        Effect::None => vec![
            (after.fault_waiting == 0, format!("{} requests are in a fault", after.fault_waiting)),
            (!asked || after.requests_done > during.requests_done, "nobody was answered".to_owned()),
        ],
    };
    checks.into_iter().find(|(holds, _)| !holds).map_or(Shown::Yes, |(_, why)| Shown::No(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// A worker with a loop that has just ticked.
    fn at(seconds: u64) -> Stamp {
        Stamp { at_ns: seconds * S, pid: 7, loop_stamp_ns: seconds * S - 10_000_000, ..Stamp::default() }
    }

    fn story(change: impl Fn(&mut Story)) -> Story {
        let mut story = Story { first: at(98), before: at(100), during: at(101), after: at(104) };
        change(&mut story);
        story
    }

    fn shown(effect: Effect, change: impl Fn(&mut Story)) -> bool {
        effect_shown(effect, &story(change), 0, false) == Shown::Yes
    }

    fn without_loop(s: &mut Story) {
        for stamp in [&mut s.first, &mut s.before, &mut s.during, &mut s.after] {
            stamp.loop_stamp_ns = 0;
        }
    }

    #[test]
    fn words_stand_where_the_worker_writes_them() {
        let mut bytes = vec![0; 4096];
        bytes[..8].copy_from_slice(b"PORTAL01");
        for (word, offset) in (8..80).step_by(8).enumerate() {
            bytes[offset..offset + 8].copy_from_slice(&(word as u64 + 1).to_le_bytes());
        }
        let stamp = Stamp::decode(&bytes, 99).unwrap();
        let expected = Stamp {
            at_ns: 99,
            pid: 1,
            loop_stamp_ns: 2,
            requests_started: 3,
            requests_done: 4,
            fault_started_ns: 5,
            fault_ended_ns: 6,
            fault_steps: 7,
            fault_waiting: 8,
            loop_late_max_ns: 9,
        };
        assert_eq!(stamp, expected);
        assert_eq!(Stamp::decode(&bytes[..79], 99), None);
        assert_eq!(Stamp::decode(&[], 99), None);
        bytes[7] = b'2';
        assert_eq!(Stamp::decode(&bytes, 99), None);
    }

    #[test]
    fn a_file_of_another_worker_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 4096];
        bytes[..8].copy_from_slice(b"PORTAL01");
        bytes[8] = 7;
        std::fs::write(folder.path().join("oracle-7"), &bytes).unwrap();
        std::fs::write(folder.path().join("oracle-8"), &bytes).unwrap();
        assert!(Stamp::read(folder.path(), 7).is_some_and(|s| s.at_ns > 0));
        assert_eq!(Stamp::read(folder.path(), 8), None);
        assert_eq!(Stamp::read(folder.path(), 9), None);
    }

    #[test]
    fn a_blocked_loop_is_silent_or_was_late() {
        assert!(!shown(Effect::Blocked, |_| {}));
        assert!(shown(Effect::Blocked, |s| s.after.loop_stamp_ns = 103 * S));
        assert!(!shown(Effect::Blocked, |s| s.after.loop_stamp_ns = 103 * S + 1));
        assert!(shown(Effect::Blocked, |s| s.after.loop_late_max_ns = S / 2));
        assert!(!shown(Effect::Blocked, |s| s.after.loop_late_max_ns = S / 2 - 1));
    }

    #[test]
    fn slots_are_blocked_when_none_is_free() {
        let with = |waiting, slots| {
            let story = story(|s| {
                without_loop(s);
                s.after.fault_waiting = waiting;
            });
            effect_shown(Effect::Blocked, &story, slots, false) == Shown::Yes
        };
        assert!(with(4, 4) && with(8, 4) && !with(3, 4));
        assert!(with(1, 0) && !with(0, 0));
    }

    #[test]
    fn a_spin_goes_round_while_the_loop_turns() {
        assert!(shown(Effect::Spin, |s| s.after.fault_steps = 3_000));
        assert!(!shown(Effect::Spin, |s| s.after.fault_steps = 2_999));
        assert!(!shown(Effect::Spin, |s| {
            s.after.fault_steps = 1_000_000;
            s.after.loop_stamp_ns = 102 * S;
        }));
        // What it did before the look is not what it does.
        assert!(!shown(Effect::Spin, |s| {
            (s.during.fault_steps, s.after.fault_steps) = (1_000_000, 1_000_000);
        }));
    }

    #[test]
    fn waiting_is_all_through_the_look() {
        let both = |s: &mut Story| (s.during.fault_waiting, s.after.fault_waiting) = (1, 1);
        assert!(shown(Effect::Waiting, both));
        assert!(!shown(Effect::Waiting, |s| s.after.fault_waiting = 1));
        assert!(!shown(Effect::Waiting, |s| s.during.fault_waiting = 1));
        assert!(!shown(Effect::Waiting, |s| {
            both(s);
            s.after.loop_stamp_ns = 102 * S;
        }));
        assert!(shown(Effect::Waiting, |s| {
            both(s);
            without_loop(s);
        }));
    }

    #[test]
    fn contention_takes_two_and_goes_on() {
        let with = |waiting, steps| {
            shown(Effect::Contended, |s| (s.after.fault_waiting, s.after.fault_steps) = (waiting, steps))
        };
        assert!(with(2, 1) && !with(1, 1) && !with(2, 0));
    }

    #[test]
    fn starved_work_goes_on_at_less_than_half_its_pace() {
        // Before: 100 a second. Three seconds of look.
        let with = |done: u64| {
            shown(Effect::Starved, |s| {
                (s.first.requests_done, s.before.requests_done) = (0, 200);
                (s.during.requests_done, s.after.requests_done) = (250, 250 + done);
            })
        };
        assert!(with(0) && with(149) && !with(150));
        // Without a pace before there is nothing to compare with.
        assert!(!shown(Effect::Starved, |_| {}));
        // Rounds of the fault count before answers do.
        assert!(!shown(Effect::Starved, |s| {
            for (stamp, steps) in
                [(&mut s.first, 1), (&mut s.before, 201), (&mut s.during, 201), (&mut s.after, 601)]
            {
                stamp.fault_steps = steps;
            }
        }));
    }

    #[test]
    fn a_control_is_in_no_fault_and_answers_when_asked() {
        let with = |asked, done, waiting| {
            let story = story(|s| (s.after.requests_done, s.after.fault_waiting) = (done, waiting));
            effect_shown(Effect::None, &story, 0, asked) == Shown::Yes
        };
        assert!(with(false, 0, 0) && with(true, 1, 0));
        assert!(!with(true, 0, 0) && !with(false, 0, 1));
    }

    #[test]
    fn clocks_that_run_backwards_and_words_that_overflow_do_no_harm() {
        for effect in [Effect::Blocked, Effect::Spin, Effect::Waiting, Effect::Contended, Effect::Starved] {
            let mad = Stamp { at_ns: 0, loop_stamp_ns: u64::MAX, fault_steps: u64::MAX, ..Stamp::default() };
            let story = Story { first: at(2), before: mad, during: at(1), after: mad };
            let _ = effect_shown(effect, &story, u64::MAX, true);
        }
    }
}
