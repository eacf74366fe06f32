//! Memory in blocks that are read once: for looks at many small objects that lie close together.
//!
//! A decorator around another [`MemoryReader`]. What it gives may be as old as the block it stands in; whoever reads
//! something that moves must ask the reader below. Bounded: when it holds too much it starts anew.

use std::cell::RefCell;
use std::collections::HashMap;

use super::memory::{MemoryReader, ReadError};

/// Bytes of a block. Measured: smaller ones cost more calls, larger ones more copying.
const BLOCK: u64 = 16 * 1024;
/// Most blocks that are kept: 4 MiB. Lists of objects run through memory mostly in its order.
const MOST_BLOCKS: usize = 256;

/// A reader that remembers.
pub struct Blocks<'m> {
    memory: &'m dyn MemoryReader,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    index: HashMap<u64, usize>,
    bytes: Vec<Box<[u8]>>,
    /// The block that was used last: the next object is most often in it.
    last: Option<(u64, usize)>,
}

impl<'m> Blocks<'m> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(memory: &'m dyn MemoryReader) -> Self {
        Self { memory, kept: RefCell::default() }
    }
}

impl Kept {
    /// Copies the part of a block that is asked for.
    fn copy(&mut self, memory: &dyn MemoryReader, address: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let number = address / BLOCK;
        let place = match self.last.filter(|(last, _)| *last == number) {
            Some((_, place)) => place,
            None => self.place(memory, number)?,
        };
        self.last = Some((number, place));
        let from = (address % BLOCK) as usize;
        let bytes = self.bytes.get(place).and_then(|block| block.get(from..from + into.len()));
        into.copy_from_slice(bytes.ok_or(ReadError::Unmapped)?);
        Ok(())
    }

    fn place(&mut self, memory: &dyn MemoryReader, number: u64) -> Result<usize, ReadError> {
        if let Some(place) = self.index.get(&number) {
            return Ok(*place);
        }
        if self.bytes.len() >= MOST_BLOCKS {
            self.index.clear();
            self.bytes.clear();
        }
        let mut block = vec![0; BLOCK as usize].into_boxed_slice();
        memory.read(number * BLOCK, &mut block)?;
        let place = self.bytes.len();
        self.bytes.push(block);
        self.index.insert(number, place);
        Ok(place)
    }
}

impl MemoryReader for Blocks<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mut kept = self.kept.borrow_mut();
        let (mut address, mut rest) = (address, buffer);
        while !rest.is_empty() {
            let here = rest.len().min((BLOCK - address % BLOCK) as usize);
            let (now, later) = rest.split_at_mut_checked(here).ok_or(ReadError::Unmapped)?;
            match kept.copy(self.memory, address, now) {
                // A mapping may end inside a block.
                Err(ReadError::Unmapped) => self.memory.read(address, now)?,
                other => other?,
            }
            rest = later;
            address = address.checked_add(here as u64).ok_or(ReadError::Unmapped)?;
        }
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
        let ramp = Ramp { length: 2 * BLOCK + 100, asked: Cell::new(0) };
        let blocks = Blocks::new(&ramp);
        let mut eight = [0; 8];
        for address in [0, 8, BLOCK - 8, 100] {
            blocks.read(address, &mut eight).unwrap();
            assert_eq!(eight[0], address as u8);
        }
        assert_eq!(ramp.asked.get(), 1);
        blocks.read(BLOCK - 4, &mut eight).unwrap();
        assert_eq!(eight, [252, 253, 254, 255, 0, 1, 2, 3], "across two blocks");
        blocks.read(2 * BLOCK + 92, &mut eight).unwrap();
        assert_eq!(blocks.read(2 * BLOCK + 93, &mut eight), Err(ReadError::Unmapped));
        assert_eq!(blocks.read(u64::MAX - 3, &mut eight), Err(ReadError::Unmapped));
    }
}
