//! Memory in pages that are read once: for a walk over many small objects, and for whoever looks at things that lie close
//! together.
//!
//! What it gives may be as old as the page it stands in; whoever reads something that moves must ask the reader below.
//! Where the walk goes on in memory's own order more is read ahead at each step, and where it jumps about no more than a
//! page. Bounded: a page that was not used of late makes room. Measured on the lists of real workers, whose order has little
//! to do with that of memory: larger pieces are copied thrice for each time they are of use.

use std::cell::RefCell;

use foldhash::HashMap;

use super::memory::{MemoryReader, PAGE, ReadError};

const PAGE_BYTES: usize = PAGE as usize;
/// Most pages that are read at once.
const MOST_AHEAD: usize = 32;
/// Most pages that a walk keeps: 3 MiB. Each size of object has a stream of its own through memory.
const WALK_PAGES: usize = 768;
/// Most pages that are kept of all that an interpreter knows of its modules and threads: 1 MiB.
const MANY_PAGES: usize = 256;
/// Most pages that are kept of the surroundings of one thing.
const NEAR_PAGES: usize = 8;
/// Stands in a place that holds no page: no address is in this one.
const NO_PAGE: u64 = u64::MAX;

/// Memory that is remembered.
pub struct Cache<'m> {
    memory: &'m dyn MemoryReader,
    /// The pages, one place after the other.
    bytes: Vec<u8>,
    /// The number of the page in each place, and whether it was used since the hand came by.
    held: Vec<(u64, bool)>,
    places: HashMap<u64, usize>,
    /// The page that was used last, and its place: the next object is most often in it.
    last: (u64, usize),
    hand: usize,
    most: usize,
    ahead: usize,
    copied: u64,
}

impl<'m> Cache<'m> {
    /// For a walk over all objects. Nothing is read yet.
    #[must_use]
    pub fn of_walk(memory: &'m dyn MemoryReader) -> Self {
        Self::new(memory, WALK_PAGES, MOST_AHEAD)
    }

    fn new(memory: &'m dyn MemoryReader, most: usize, ahead: usize) -> Self {
        Self {
            memory,
            bytes: Vec::with_capacity(most * PAGE_BYTES),
            held: Vec::new(),
            places: HashMap::default(),
            last: (NO_PAGE, 0),
            hand: 0,
            most,
            ahead,
            copied: 0,
        }
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

    /// Bytes at an address, as they were when their page was read.
    pub fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let offset = (address % PAGE) as usize;
        if offset + into.len() > 2 * PAGE_BYTES {
            self.copied += into.len() as u64;
            return self.memory.read(address, into);
        }
        let (first, second) = into.split_at_mut(into.len().min(PAGE_BYTES - offset));
        self.within(address / PAGE, offset, first)?;
        if second.is_empty() {
            return Ok(());
        }
        // The last page of all has none after it.
        let after = (address / PAGE + 1).checked_mul(PAGE).ok_or(ReadError::Unmapped)?;
        self.within(after / PAGE, 0, second)
    }

    /// Forgets what is known of the surroundings of an address.
    pub fn forget(&mut self, address: u64) {
        self.last = (NO_PAGE, 0);
        if let Some(place) = self.places.remove(&(address / PAGE))
            && let Some(held) = self.held.get_mut(place)
        {
            *held = (NO_PAGE, false);
        }
    }

    /// Forgets everything but what it has cost.
    pub fn clear(&mut self) {
        self.last = (NO_PAGE, 0);
        self.places.clear();
        self.held.fill((NO_PAGE, false));
    }

    fn within(&mut self, page: u64, offset: usize, into: &mut [u8]) -> Result<(), ReadError> {
        let known = if self.last.0 == page { Some(self.last.1) } else { self.places.get(&page).copied() };
        let Some(place) = known.or_else(|| self.fill(page)) else {
            // A mapping need not end where a page does: not that of a committed image of memory.
            self.copied += into.len() as u64;
            return self.memory.read(page * PAGE + offset as u64, into);
        };
        if let Some((_, used)) = self.held.get_mut(place) {
            *used = true;
        }
        self.last = (page, place);
        let start = place * PAGE_BYTES + offset;
        into.copy_from_slice(self.bytes.get(start..start + into.len()).ok_or(ReadError::Unmapped)?);
        Ok(())
    }

    /// Reads a page, and as many from it on as there are known ones before it.
    fn fill(&mut self, page: u64) -> Option<usize> {
        let known = |page: Option<u64>| page.is_some_and(|page| self.places.contains_key(&page));
        let before = (1..=self.ahead as u64).take_while(|back| known(page.checked_sub(*back))).count();
        let new = (1..before.max(1) as u64).take_while(|on| !known(page.checked_add(*on))).count();
        for count in [new + 1, 1] {
            let place = self.room(count);
            let bytes = place * PAGE_BYTES..(place + count) * PAGE_BYTES;
            let room = self.bytes.get_mut(bytes)?;
            if self.memory.read(page * PAGE, room).is_err() {
                continue;
            }
            self.copied += (count * PAGE_BYTES) as u64;
            for ((held, number), at) in self.held.iter_mut().skip(place).zip(page..).take(count).zip(place..)
            {
                *held = (number, false);
                self.places.insert(number, at);
            }
            return Some(place);
        }
        None
    }

    /// So many places side by side, empty: new ones as long as there may be more, then those of pages that were not used
    /// since the hand last came by. Where more than one is asked for memory is gone through in its order, and whatever
    /// stands where the hand is goes.
    fn room(&mut self, count: usize) -> usize {
        if self.held.len() + count <= self.most {
            let place = self.held.len();
            self.held.resize(place + count, (NO_PAGE, false));
            self.bytes.resize(self.held.len() * PAGE_BYTES, 0);
            return place;
        }
        self.held.resize(self.most, (NO_PAGE, false));
        self.bytes.resize(self.most * PAGE_BYTES, 0);
        if self.hand + count > self.most {
            self.hand = 0;
        }
        if count == 1 {
            // All were used at most once around.
            while let Some((_, used @ true)) = self.held.get_mut(self.hand) {
                *used = false;
                self.hand = (self.hand + 1) % self.most;
            }
        }
        let place = self.hand;
        for (page, _) in self.held.iter_mut().skip(place).take(count) {
            self.places.remove(page);
            *page = NO_PAGE;
        }
        self.hand = (place + count) % self.most;
        self.last = (NO_PAGE, 0);
        place
    }
}

/// The same as a reader.
pub struct Pages<'m>(RefCell<Cache<'m>>);

impl<'m> Pages<'m> {
    /// For the frames of one greenlet, which lie side by side.
    #[must_use]
    pub fn near(memory: &'m dyn MemoryReader) -> Self {
        Self(RefCell::new(Cache::new(memory, NEAR_PAGES, 0)))
    }

    /// For what an interpreter knows of its modules and threads.
    #[must_use]
    pub fn many(memory: &'m dyn MemoryReader) -> Self {
        Self(RefCell::new(Cache::new(memory, MANY_PAGES, 0)))
    }
}

impl MemoryReader for Pages<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.0.borrow_mut().read(address, buffer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// So many bytes from address 0: each word the number of its page, so that a page in another's place is noticed.
    struct Numbered {
        length: u64,
        asked: Cell<usize>,
    }

    impl Numbered {
        fn new(length: u64) -> Self {
            Self { length, asked: Cell::new(0) }
        }
    }

    impl MemoryReader for Numbered {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.asked.set(self.asked.get() + 1);
            if address.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
                return Err(ReadError::Unmapped);
            }
            for (byte, at) in buffer.iter_mut().zip(address..) {
                *byte = (at / PAGE).to_le_bytes()[(at % 8) as usize];
            }
            Ok(())
        }
    }

    fn page_at(cache: &mut Cache<'_>, address: u64) -> u64 {
        let mut word = [0; 8];
        cache.read(address, &mut word).unwrap();
        u64::from_le_bytes(word)
    }

    #[test]
    fn a_page_is_read_once_and_a_mapping_may_end_in_one() {
        let memory = Numbered::new(2 * PAGE + 104);
        let mut cache = Cache::of_walk(&memory);
        for address in [0, 8, PAGE - 8, 96] {
            assert_eq!(page_at(&mut cache, address), 0);
        }
        assert_eq!(memory.asked.get(), 1);
        let mut eight = [0; 8];
        cache.read(PAGE - 4, &mut eight).unwrap();
        assert_eq!(eight, [0, 0, 0, 0, 1, 0, 0, 0], "across two pages");
        assert_eq!(page_at(&mut cache, 2 * PAGE + 96), 2);
        assert_eq!(cache.read(2 * PAGE + 97, &mut eight), Err(ReadError::Unmapped));
        assert_eq!(cache.read(u64::MAX - 3, &mut eight), Err(ReadError::Unmapped));
        assert_eq!(cache.read(u64::MAX - 7, &mut eight), Err(ReadError::Unmapped));
        let mut long = vec![1; 2 * PAGE_BYTES + 104];
        cache.read(0, &mut long).unwrap();
        assert_eq!((long[0], long[PAGE_BYTES], long[2 * PAGE_BYTES]), (0, 1, 2), "longer than two pages");
    }

    #[test]
    fn what_comes_in_order_is_read_ahead_and_what_was_forgotten_anew() {
        let memory = Numbered::new(4_096 * PAGE);
        let mut cache = Cache::of_walk(&memory);
        for address in (0..128 * PAGE).step_by(1_000) {
            assert_eq!(page_at(&mut cache, address / 8 * 8), address / 8 * 8 / PAGE);
        }
        // 1, 1, 2, 4, 8 and 16 pages, then 32 each.
        assert_eq!((memory.asked.get(), cache.copied() / PAGE), (6 + 3, 128));
        let before = memory.asked.get();
        cache.forget(5_000);
        page_at(&mut cache, 8_192);
        assert_eq!(memory.asked.get(), before, "another page is still known");
        page_at(&mut cache, 5_000);
        assert_eq!(memory.asked.get(), before + 1);
        cache.clear();
        page_at(&mut cache, 5_000);
        assert_eq!(memory.asked.get(), before + 2);
    }

    #[test]
    fn there_is_room_for_so_many_and_what_is_used_stays() {
        let pages = 3 * WALK_PAGES as u64;
        let memory = Numbered::new(pages * PAGE);
        let mut cache = Cache::of_walk(&memory);
        // Every other page, so that none is read ahead; one of them again and again.
        for page in (1..pages).step_by(2) {
            assert_eq!(page_at(&mut cache, page * PAGE + 16), page);
            assert_eq!(page_at(&mut cache, PAGE), 1);
        }
        assert_eq!(cache.held.len(), WALK_PAGES);
        // The first time around everything has been used.
        let once = pages / 2;
        assert!(memory.asked.get() as u64 <= once + 1, "the one that is used was read again and again");
        // Runs and single pages in any order: each is what it says.
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let from = (state >> 33) % (pages - 8);
            for page in from..from + (state >> 20) % 8 {
                assert_eq!(page_at(&mut cache, page * PAGE), page);
            }
        }
        assert!(cache.held.len() == WALK_PAGES && cache.places.len() <= WALK_PAGES);
    }
}
