//! What each thread did, one thing after the other: looks that found the same are one slice.
//!
//! Bounded: when it is full, the older half is dropped and the time before which nothing is kept is remembered.

use foldhash::HashMap;

/// Most slices of all threads together; some twelve megabytes.
pub const MAX_SLICES: usize = 500_000;

/// A while in which a thread was found doing the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Thread id.
    pub tid: i32,
    /// Place of what it did among the entries.
    pub entry: u32,
    /// Its beginning, since the start.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
}

/// The slices of all threads.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    keep: bool,
    slices: Vec<Slice>,
    /// Place of the newest slice of each thread.
    open: HashMap<i32, usize>,
    begins_ns: u64,
}

impl Timeline {
    /// An empty one, which keeps what it is given or nothing.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    /// A thread did that for so long up to now.
    pub fn add(&mut self, tid: i32, now_ns: u64, for_ns: u64, entry: u32) {
        if !self.keep {
            return;
        }
        let from_ns = now_ns.saturating_sub(for_ns);
        let open = self.open.get(&tid).copied();
        if let Some(slice) = open.and_then(|at| self.slices.get_mut(at))
            && (slice.entry, slice.to_ns) == (entry, from_ns)
        {
            slice.to_ns = now_ns;
            return;
        }
        if self.slices.len() >= MAX_SLICES {
            self.halve();
        }
        self.open.insert(tid, self.slices.len());
        self.slices.push(Slice { tid, entry, from_ns, to_ns: now_ns });
    }

    /// Drops the older half.
    fn halve(&mut self) {
        let dropped = self.slices.len() / 2;
        self.slices.drain(..dropped);
        self.open.retain(|_, at| *at >= dropped);
        self.open.values_mut().for_each(|at| *at -= dropped);
        self.begins_ns = self.slices.first().map_or(0, |slice| slice.from_ns);
    }

    /// Forgets threads that have ended; their slices stay.
    pub fn forget(&mut self, alive: impl Fn(i32) -> bool) {
        self.open.retain(|tid, _| alive(*tid));
    }

    /// The entries have other places now.
    pub fn renumber(&mut self, places: &[u32]) {
        for slice in &mut self.slices {
            slice.entry = places.get(slice.entry as usize).copied().unwrap_or(slice.entry);
        }
    }

    /// The slices, by thread and time.
    #[must_use]
    pub fn sorted(&self) -> Vec<Slice> {
        let mut slices = self.slices.clone();
        slices.sort_by_key(|slice| (slice.tid, slice.from_ns, slice.to_ns));
        slices
    }

    /// The time before which not all is kept.
    #[must_use]
    pub const fn begins_ns(&self) -> u64 {
        self.begins_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_is_one_slice() {
        let mut timeline = Timeline::new(true);
        for (now, entry) in [(10, 1), (20, 1), (30, 2), (50, 2)] {
            timeline.add(7, now, 10, entry);
            timeline.add(8, now, 10, 9);
        }
        let slices = timeline.sorted();
        let slice = |tid, entry, from_ns, to_ns| Slice { tid, entry, from_ns, to_ns };
        // From 30 to 40 nobody looked: that is a gap.
        let seven = [slice(7, 1, 0, 20), slice(7, 2, 20, 30), slice(7, 2, 40, 50)];
        assert_eq!(slices, [&seven[..], &[slice(8, 9, 0, 30), slice(8, 9, 40, 50)]].concat());
    }

    #[test]
    fn a_full_one_keeps_the_newest() {
        let mut timeline = Timeline::new(true);
        for turn in 1..=MAX_SLICES as u64 + 1 {
            timeline.add(1, turn * 10, 10, turn as u32);
        }
        assert_eq!(timeline.slices.len(), MAX_SLICES / 2 + 1);
        assert_eq!(timeline.begins_ns(), MAX_SLICES as u64 / 2 * 10);
        let newest = timeline.slices.last().unwrap();
        assert_eq!(newest.entry, MAX_SLICES as u32 + 1);
        timeline.add(1, newest.to_ns + 10, 10, newest.entry);
        assert_eq!(timeline.slices.len(), MAX_SLICES / 2 + 1, "the newest slice is still open");
    }

    #[test]
    fn one_that_keeps_nothing_is_empty() {
        let mut timeline = Timeline::new(false);
        timeline.add(1, 10, 10, 0);
        assert!(timeline.sorted().is_empty());
    }
}
