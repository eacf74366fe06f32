//! Pieces of memory that are read together, and whatever else is asked for meanwhile.
//!
//! Takes the ranges that were of use at the last reading, the plan, and reads them in one system call; what is asked for
//! beyond them is read by itself, in whole pages. Gives slices, and says whether anything had to be added: such memory was
//! not there in one piece. Knows nothing of what it holds. Buffers are kept, so that a reading allocates nothing once they
//! have grown.

use super::memory::{MemoryReader, PAGE, Range, ReadError};

/// Most bytes that are added to a plan.
const MAX_ADDED: usize = 4 << 20;
/// Ranges that are this close are read as one: to copy so much costs less than another range does.
const GAP: u64 = 2_048;

/// Memory at hand.
#[derive(Debug, Default)]
pub struct Pieces {
    list: Vec<Piece>,
    bytes: Vec<u8>,
    planned: usize,
    /// The piece that was asked last: the next question is mostly to it.
    last: usize,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    range: Range,
    /// Where its bytes are.
    at: usize,
    used: bool,
}

impl Pieces {
    /// Reads the planned ranges together. A range that is gone makes the plan worthless.
    pub fn load(&mut self, memory: &dyn MemoryReader, plan: &mut Vec<Range>) -> Result<(), ReadError> {
        self.list.clear();
        self.last = 0;
        let mut at = 0;
        for range in plan.iter() {
            self.list.push(Piece { range: *range, at, used: false });
            at += range.length;
        }
        self.bytes.resize(at, 0);
        match memory.read_ranges(plan, &mut self.bytes) {
            Ok(()) => {}
            Err(ReadError::Unmapped) => {
                plan.clear();
                self.list.clear();
                self.bytes.clear();
            }
            Err(other) => return Err(other),
        }
        self.planned = self.list.len();
        Ok(())
    }

    /// Whether more was asked for than was planned.
    #[must_use]
    pub fn grown(&self) -> bool {
        self.list.len() > self.planned
    }

    /// The bytes at an address: from the pieces at hand, or read now.
    #[inline]
    pub fn get(
        &mut self,
        memory: &dyn MemoryReader,
        address: u64,
        length: usize,
    ) -> Result<&[u8], ReadError> {
        let holds = |piece: &Piece| piece.range.holds(address, length);
        if !self.list.get(self.last).is_some_and(holds) {
            self.last = match self.list.iter().position(holds) {
                Some(known) => known,
                None => self.add(memory, address, length)?,
            };
        }
        let piece = self.list.get_mut(self.last).ok_or(ReadError::Unmapped)?;
        piece.used = true;
        let from = piece.at + (address - piece.range.start) as usize;
        self.bytes.get(from..from + length).ok_or(ReadError::Unmapped)
    }

    /// Reads the pages in which a range lies.
    fn add(&mut self, memory: &dyn MemoryReader, address: u64, length: usize) -> Result<usize, ReadError> {
        let end = address.checked_add(length as u64).and_then(|end| end.checked_next_multiple_of(PAGE));
        let start = address - address % PAGE;
        let length = (end.ok_or(ReadError::Unmapped)? - start) as usize;
        let at = self.bytes.len();
        if at + length > MAX_ADDED {
            return Err(ReadError::Unmapped);
        }
        self.bytes.resize(at + length, 0);
        if let Err(why) = memory.read(start, self.bytes.get_mut(at..).unwrap_or_default()) {
            self.bytes.truncate(at);
            return Err(why);
        }
        self.list.push(Piece { range: Range { start, length }, at, used: false });
        Ok(self.list.len() - 1)
    }

    /// Brings a plan up to date: what was `asked` for, and what was planned and of no use as long as it is little, for a
    /// chain that comes and goes. Ranges in `asked` that are close together become one.
    pub fn keep(&self, plan: &mut Vec<Range>, asked: impl Iterator<Item = Range>) {
        let planned = self.list.get(..self.planned).unwrap_or_default();
        let of_use = self.list.iter().filter(|piece| piece.used).count();
        let too_many = planned.len() > 2 * of_use + 4;
        if !(self.grown() || too_many) {
            return;
        }
        plan.clear();
        if !too_many {
            plan.extend(planned.iter().map(|piece| piece.range));
        }
        plan.extend(asked);
        plan.sort_unstable_by_key(|range| range.start);
        plan.dedup_by(|next, range| range.join(next, GAP));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Memory up to an address, each byte the lowest byte of its address; remembers the reads.
    #[derive(Default)]
    struct Ramp {
        end: u64,
        reads: RefCell<Vec<(u64, usize)>>,
    }

    impl MemoryReader for Ramp {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.reads.borrow_mut().push((address, buffer.len()));
            if address.saturating_add(buffer.len() as u64) > self.end {
                return Err(ReadError::Unmapped);
            }
            buffer.iter_mut().zip(address..).for_each(|(byte, at)| *byte = at as u8);
            Ok(())
        }
    }

    fn range(start: u64, length: usize) -> Range {
        Range { start, length }
    }

    #[test]
    fn what_was_asked_for_is_read_at_once_the_next_time() {
        let memory = Ramp { end: 0x10000, ..Ramp::default() };
        let (mut pieces, mut plan) = (Pieces::default(), Vec::new());
        pieces.load(&memory, &mut plan).unwrap();
        assert_eq!(pieces.get(&memory, 0x1ffc, 8).unwrap(), [252, 253, 254, 255, 0, 1, 2, 3]);
        assert_eq!(pieces.get(&memory, 0x1010, 2).unwrap(), [0x10, 0x11], "from the same page");
        assert_eq!(pieces.get(&memory, 0x9000, 1).unwrap(), [0]);
        assert!(pieces.grown());
        assert_eq!(*memory.reads.borrow(), [(0x1000, 0x2000), (0x9000, 0x1000)]);
        pieces.keep(&mut plan, [range(0x9000, 1), range(0x1ffc, 8), range(0x1f00, 2)].into_iter());
        assert_eq!(plan, [range(0x1f00, 0x104), range(0x9000, 1)], "neighbours are one");
        memory.reads.borrow_mut().clear();
        pieces.load(&memory, &mut plan).unwrap();
        assert_eq!(pieces.get(&memory, 0x1ffc, 8).unwrap().first(), Some(&252));
        assert!(!pieces.grown());
        assert_eq!(*memory.reads.borrow(), [(0x1f00, 0x104), (0x9000, 1)]);
    }

    #[test]
    fn what_is_of_no_use_is_forgotten_when_it_is_much() {
        let memory = Ramp { end: 0x10_0000, ..Ramp::default() };
        let (mut pieces, mut plan) = (Pieces::default(), Vec::new());
        plan.extend((0..6).map(|n| range(n * 0x2000, 8)));
        pieces.load(&memory, &mut plan).unwrap();
        pieces.get(&memory, 0, 8).unwrap();
        pieces.keep(&mut plan, [range(0, 8)].into_iter());
        assert_eq!(plan.len(), 6, "it may come back");
        plan.push(range(0xc000, 8));
        pieces.load(&memory, &mut plan).unwrap();
        pieces.get(&memory, 0, 8).unwrap();
        pieces.keep(&mut plan, [range(0, 8)].into_iter());
        assert_eq!(plan, [range(0, 8)]);
    }

    #[test]
    fn a_plan_that_leads_nowhere_is_dropped_and_bounds_hold() {
        let memory = Ramp { end: 0x2000, ..Ramp::default() };
        let (mut pieces, mut plan) = (Pieces::default(), vec![range(0x1000, 8), range(0x8000, 8)]);
        pieces.load(&memory, &mut plan).unwrap();
        assert!(plan.is_empty());
        assert_eq!(pieces.get(&memory, 0x8000, 8), Err(ReadError::Unmapped));
        assert_eq!(pieces.get(&memory, u64::MAX - 3, 8), Err(ReadError::Unmapped));
        assert_eq!(pieces.get(&memory, 0x1000, MAX_ADDED + 1), Err(ReadError::Unmapped));
    }
}
