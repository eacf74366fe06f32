//! The time that looks stand for. A look stands for the time since the one before it, unless the tool was held up
//! meanwhile: of that time nobody knows anything, and it is counted as unseen instead of given to whoever is met next.

/// So many periods after the last look the tool was held up. Jitter alone makes one and a half.
const HELD_UP_PERIODS: u64 = 5;

/// A clock that stands still while nobody looks.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_field_names, reason = "units stand in names")]
pub struct SeenClock {
    period_ns: u64,
    last_ns: u64,
    seen_ns: u64,
    unseen_ns: u64,
}

impl SeenClock {
    /// A clock for looks that are so far apart.
    #[must_use]
    pub const fn new(period_ns: u64) -> Self {
        Self { period_ns, last_ns: 0, seen_ns: 0, unseen_ns: 0 }
    }

    /// A look at a time since the start.
    pub const fn tick(&mut self, at_ns: u64) {
        let passed = at_ns.saturating_sub(self.last_ns);
        self.last_ns = at_ns;
        if passed > HELD_UP_PERIODS * self.period_ns {
            self.seen_ns += self.period_ns;
            self.unseen_ns += passed - self.period_ns;
        } else {
            self.seen_ns += passed;
        }
    }

    /// The planned time between two looks.
    #[must_use]
    pub const fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// Time that was seen.
    #[must_use]
    pub const fn seen_ns(&self) -> u64 {
        self.seen_ns
    }

    /// Time that was not.
    #[must_use]
    pub const fn unseen_ns(&self) -> u64 {
        self.unseen_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_saw_is_given_to_nobody() {
        let mut clock = SeenClock::new(10);
        for at_ns in [10, 24, 30, 1_030, 1_041] {
            clock.tick(at_ns);
        }
        assert_eq!((clock.seen_ns(), clock.unseen_ns()), (30 + 10 + 11, 990));
    }
}
