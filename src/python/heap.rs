//! Memory in pieces that are read once: for a walk over many small objects that lie close together.
//!
//! What it gives may be as old as the piece it stands in; whoever reads something that moves must ask the reader below.
//! Where the walk goes on in memory's own order more is read ahead at each step, and where it jumps about as little as
//! pays. Bounded: the piece that was used longest ago makes room.

use std::cell::RefCell;

use super::memory::{MemoryReader, PAGE, ReadError};

/// Bytes that are read at least. Measured: smaller ones cost more calls, larger ones more copying.
const BLOCK: usize = 16 * 1024;
/// Groups that are kept and read ahead together.
const BLOCKS: usize = 8;
/// Most groups of blocks that are kept: 3 MiB. Each size of object has a stream of its own through memory.
const MOST_GROUPS: usize = 24;
const GROUP: u64 = (BLOCK * BLOCKS) as u64;

/// Memory that is remembered.
pub struct Groups<'m> {
    memory: &'m dyn MemoryReader,
    all: Vec<Group>,
    /// The group that was used last: the next object is most often in it.
    last: usize,
    /// Where a group was, by some bits of its number.
    hints: [u8; 256],
    clock: u64,
    copied: u64,
}

struct Group {
    number: u64,
    filled: [bool; BLOCKS],
    used: u64,
    bytes: Box<[u8]>,
}

impl<'m> Groups<'m> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(memory: &'m dyn MemoryReader) -> Self {
        Self::resume(memory, 0)
    }

    /// Nothing is read yet, but so many bytes were copied before.
    #[must_use]
    pub const fn resume(memory: &'m dyn MemoryReader, copied: u64) -> Self {
        Self { memory, all: Vec::new(), last: 0, hints: [0; 256], clock: 0, copied }
    }

    /// The memory itself.
    #[must_use]
    pub const fn memory(&self) -> &'m dyn MemoryReader {
        self.memory
    }

    /// Bytes that were copied out of the target so far.
    #[must_use]
    pub const fn copied(&self) -> u64 {
        self.copied
    }

    /// Bytes at an address, as they were when their piece was read.
    pub fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let offset = (address % GROUP) as usize;
        let end = offset + into.len();
        if end <= GROUP as usize {
            let group = self.group(address / GROUP);
            let blocks = offset / BLOCK..=(end.max(1) - 1) / BLOCK;
            for block in blocks {
                if !self.filled(group, block) && !self.fill(group, block) {
                    // A mapping may end inside a block.
                    self.copied += into.len() as u64;
                    return self.memory.read(address, into);
                }
            }
            let bytes = self.all.get(group).and_then(|group| group.bytes.get(offset..end));
            into.copy_from_slice(bytes.ok_or(ReadError::Unmapped)?);
            return Ok(());
        }
        self.copied += into.len() as u64;
        self.memory.read(address, into)
    }

    /// Forgets what is known of the surroundings of an address.
    pub fn forget(&mut self, address: u64) {
        if let Some(group) = self.all.iter_mut().find(|group| group.number == address / GROUP) {
            group.filled = [false; BLOCKS];
        }
    }

    fn filled(&self, group: usize, block: usize) -> bool {
        self.all.get(group).and_then(|group| group.filled.get(block)).is_some_and(|filled| *filled)
    }

    /// The place of a group, which may be empty yet.
    fn group(&mut self, number: u64) -> usize {
        if self.all.get(self.last).is_some_and(|group| group.number == number) {
            return self.last;
        }
        self.clock += 1;
        let hint = self.hints.get((number % 256) as usize).map_or(0, |place| usize::from(*place));
        let at_hint = self.all.get(hint).is_some_and(|group| group.number == number).then_some(hint);
        let known = at_hint.or_else(|| self.all.iter().position(|group| group.number == number));
        let place = known.unwrap_or_else(|| {
            if self.all.len() < MOST_GROUPS {
                let bytes = vec![0; GROUP as usize].into_boxed_slice();
                self.all.push(Group { number, filled: [false; BLOCKS], used: 0, bytes });
                return self.all.len() - 1;
            }
            let oldest = self.all.iter().enumerate().min_by_key(|(_, group)| group.used);
            let place = oldest.map_or(0, |(place, _)| place);
            if let Some(group) = self.all.get_mut(place) {
                (group.number, group.filled) = (number, [false; BLOCKS]);
            }
            place
        });
        if let Some(group) = self.all.get_mut(place) {
            group.used = self.clock;
        }
        if let Some(hint) = self.hints.get_mut((number % 256) as usize) {
            *hint = place as u8;
        }
        self.last = place;
        place
    }

    /// Reads a block, and as many after it as there are known ones before it.
    fn fill(&mut self, group: usize, block: usize) -> bool {
        let Some(number) = self.all.get(group).map(|group| group.number) else { return false };
        let goes_on = |before: &Group| before.number + 1 == number && before.filled.ends_with(&[true]);
        let before = (0..block).rev().take_while(|block| self.filled(group, *block)).count();
        let ahead = if before == block && self.all.iter().any(goes_on) { BLOCKS } else { before + 1 };
        let Some(into) = self.all.get_mut(group) else { return false };
        for count in [ahead.min(BLOCKS - block), 1] {
            let range = block..block + count;
            let room = into.bytes.get_mut(range.start * BLOCK..range.end * BLOCK).unwrap_or_default();
            if self.memory.read(number * GROUP + (block * BLOCK) as u64, room).is_ok() {
                self.copied += (count * BLOCK) as u64;
                into.filled.iter_mut().skip(block).take(count).for_each(|filled| *filled = true);
                return true;
            }
        }
        false
    }
}

/// Pages that are read once: for whoever looks at many small things that lie close together and do not move meanwhile.
pub struct Pages<'m> {
    memory: &'m dyn MemoryReader,
    kept: RefCell<Kept>,
    most: usize,
}

#[derive(Default)]
struct Kept {
    pages: Vec<(u64, Box<[u8; PAGE as usize]>)>,
    /// The place of the page that was used last: the next thing is most often in it.
    last: usize,
}

/// Most pages that are kept of the surroundings of one thing.
const MOST_NEAR: usize = 8;
/// Most pages that are kept of all that an interpreter knows: 1 MiB.
const MOST_PAGES: usize = 256;

impl<'m> Pages<'m> {
    /// For the frames of one greenlet, which lie side by side.
    #[must_use]
    pub fn near(memory: &'m dyn MemoryReader) -> Self {
        Self { memory, kept: RefCell::default(), most: MOST_NEAR }
    }

    /// For what an interpreter knows of its modules and threads.
    #[must_use]
    pub fn many(memory: &'m dyn MemoryReader) -> Self {
        Self { most: MOST_PAGES, ..Self::near(memory) }
    }
}

impl MemoryReader for Pages<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let (page, offset) = (address - address % PAGE, (address % PAGE) as usize);
        let Some(end) = offset.checked_add(buffer.len()).filter(|end| *end <= PAGE as usize) else {
            return self.memory.read(address, buffer);
        };
        let kept = &mut *self.kept.borrow_mut();
        if kept.pages.get(kept.last).is_none_or(|(known, _)| *known != page) {
            let known = kept.pages.iter().position(|(known, _)| *known == page);
            kept.last = match known {
                Some(place) => place,
                None if kept.pages.len() >= self.most => return self.memory.read(address, buffer),
                None => {
                    let mut bytes = Box::new([0; PAGE as usize]);
                    self.memory.read(page, &mut *bytes)?;
                    kept.pages.push((page, bytes));
                    kept.pages.len() - 1
                }
            };
        }
        let bytes = kept.pages.get(kept.last).and_then(|(_, bytes)| bytes.get(offset..end));
        buffer.copy_from_slice(bytes.ok_or(ReadError::Unmapped)?);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// So many bytes from address 0, each the lowest byte of its address.
    struct Ramp {
        length: u64,
        asked: Cell<usize>,
    }

    impl MemoryReader for Ramp {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.asked.set(self.asked.get() + 1);
            if address.saturating_add(buffer.len() as u64) > self.length {
                return Err(ReadError::Unmapped);
            }
            for (byte, at) in buffer.iter_mut().zip(address..) {
                *byte = at as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn a_block_is_read_once_and_a_mapping_may_end_in_one() {
        let block = BLOCK as u64;
        let ramp = Ramp { length: 2 * block + 100, asked: Cell::new(0) };
        let mut blocks = Groups::new(&ramp);
        let mut eight = [0; 8];
        for address in [0, 8, block - 8, 100] {
            blocks.read(address, &mut eight).unwrap();
            assert_eq!(eight[0], address as u8);
        }
        assert_eq!(ramp.asked.get(), 1);
        blocks.read(block - 4, &mut eight).unwrap();
        assert_eq!(eight, [252, 253, 254, 255, 0, 1, 2, 3], "across two blocks");
        blocks.read(2 * block + 92, &mut eight).unwrap();
        assert_eq!(blocks.read(2 * block + 93, &mut eight), Err(ReadError::Unmapped));
        assert_eq!(blocks.read(u64::MAX - 3, &mut eight), Err(ReadError::Unmapped));
    }

    #[test]
    fn a_page_is_read_once_as_long_as_there_is_room() {
        let ramp = Ramp { length: 20 * PAGE, asked: Cell::new(0) };
        let pages = Pages::near(&ramp);
        let mut eight = [0; 8];
        for round in 1..=2 {
            for page in 0..10 {
                pages.read(page * PAGE + 5, &mut eight).unwrap();
                assert_eq!(eight[0], 5);
            }
            assert_eq!(ramp.asked.get(), MOST_NEAR + round * (10 - MOST_NEAR), "the last two each time");
        }
        pages.read(PAGE - 4, &mut eight).unwrap();
        assert_eq!(eight, [252, 253, 254, 255, 0, 1, 2, 3], "across two pages");
        assert_eq!(Pages::many(&ramp).read(20 * PAGE, &mut eight), Err(ReadError::Unmapped));
    }

    #[test]
    fn what_comes_in_order_is_read_ahead_and_what_was_forgotten_anew() {
        let ramp = Ramp { length: 64 * GROUP, asked: Cell::new(0) };
        let mut blocks = Groups::new(&ramp);
        let mut eight = [0; 8];
        for address in (0..4 * GROUP).step_by(1_000) {
            blocks.read(address, &mut eight).unwrap();
        }
        // 1, 1, 2 and 4 blocks, then whole groups.
        assert_eq!(ramp.asked.get(), 4 + 3);
        assert_eq!(blocks.copied() / (BLOCK as u64), 32);
        blocks.forget(5_000);
        let before = ramp.asked.get();
        blocks.read(5_000, &mut eight).unwrap();
        assert_eq!(ramp.asked.get(), before + 1);
        for far in 0..64 {
            blocks.read(far * GROUP, &mut eight).unwrap();
        }
        assert!(blocks.all.len() <= MOST_GROUPS);
    }
}
