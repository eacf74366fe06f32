//! The sampling clock: absolute times, so that lateness does not add up, with jitter, so that it cannot beat in step
//! with a target that wakes at a round rate.
//!
//! It records how late it was woken: a tool that is starved itself must not diagnose its own starvation.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    now_ns(ClockId::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME` in nanoseconds.
#[must_use]
pub fn realtime_ns() -> u64 {
    now_ns(ClockId::CLOCK_REALTIME)
}

/// The processor time of this process in nanoseconds.
#[must_use]
pub fn own_cpu_ns() -> u64 {
    now_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// The processor time of this thread in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    now_ns(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn now_ns(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// A clock of ticks.
#[derive(Debug)]
pub struct Clock {
    start_ns: u64,
    period_ns: u64,
    next: u64,
    random: u64,
}

/// One tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Since the start.
    pub at_ns: u64,
    /// After its planned time.
    pub late_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start(rate_hz: u32) -> Self {
        let start_ns = monotonic_ns();
        Self { start_ns, period_ns: 1_000_000_000 / u64::from(rate_hz.max(1)), next: 0, random: start_ns | 1 }
    }

    /// When it started, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.start_ns)
    }

    /// Sleeps until the next tick. `None` when a signal ended the sleep. Ticks that were missed are not made up for.
    pub fn tick(&mut self) -> Option<Woken> {
        let elapsed = self.elapsed_ns();
        self.next = (self.next + 1).max(elapsed / self.period_ns);
        let planned = self.next * self.period_ns + self.jitter();
        let until = TimeSpec::from_duration(Duration::from_nanos(self.start_ns + planned));
        if planned > elapsed
            && let Err(Errno::EINTR) =
                clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until)
        {
            return None;
        }
        let at_ns = self.elapsed_ns();
        Some(Woken { at_ns, late_ns: at_ns.saturating_sub(planned) })
    }

    /// Up to half a period, from a small xorshift generator: it needs to be uneven, not unpredictable.
    const fn jitter(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % (self.period_ns / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_in_order_and_are_never_early() {
        let mut clock = Clock::start(1_000);
        let mut last = 0;
        for _ in 0..50 {
            let woken = clock.tick().unwrap();
            assert!(woken.at_ns > last);
            last = woken.at_ns;
        }
        assert!(clock.next >= 50);
        assert!(last >= 49 * clock.period_ns, "a tick came before its time");
    }

    #[test]
    fn jitter_stays_within_half_a_period() {
        let mut clock = Clock::start(100);
        let values: Vec<u64> = (0..1_000).map(|_| clock.jitter()).collect();
        assert!(values.iter().all(|v| *v <= 5_000_000));
        assert!(values.iter().any(|v| *v < 1_000_000) && values.iter().any(|v| *v > 4_000_000));
    }
}
