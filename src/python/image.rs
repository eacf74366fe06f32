//! Memory of an interpreter kept as a file: what a reader asked for once, so that it can be asked again without a process.
//!
//! [`Keeping`] stands in front of a live process and keeps every page that is read through it; [`Image`] answers from such
//! pages. That is how readers are tested on interpreters that are not installed, and on damaged ones.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::memory::{MemoryReader, PAGE, ReadError};

type Pages = BTreeMap<u64, Box<[u8]>>;

/// Pages of a process that is not there any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pages: Pages,
}

impl Image {
    /// Reads an image from its bytes: page after page, each behind its address. `None` when they are cut off.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record = 8 + PAGE as usize;
        if !bytes.len().is_multiple_of(record) {
            return None;
        }
        let mut pages = Pages::new();
        for record in bytes.chunks_exact(record) {
            let (address, page) = record.split_first_chunk::<8>()?;
            pages.insert(u64::from_le_bytes(*address), page.into());
        }
        Some(Self { pages })
    }

    /// The bytes of an image.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (address, page) in &self.pages {
            bytes.extend(address.to_le_bytes());
            bytes.extend_from_slice(page);
        }
        bytes
    }

    /// Changes a byte, as damage would: the `place`th of all pages.
    pub fn damage(&mut self, place: usize, byte: u8) {
        let page = self.pages.values_mut().nth(place / PAGE as usize);
        if let Some(there) = page.and_then(|page| page.get_mut(place % PAGE as usize)) {
            *there = byte;
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len() * PAGE as usize
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

impl MemoryReader for Image {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        by_page(address, buffer, |page, from, part| {
            let bytes = self.pages.get(&page).and_then(|bytes| bytes.get(from..from + part.len()));
            part.copy_from_slice(bytes.ok_or(ReadError::Unmapped)?);
            Ok(())
        })
    }
}

/// A reader that keeps what is read through it.
#[derive(Debug)]
pub struct Keeping<M> {
    memory: M,
    pages: RefCell<Pages>,
}

impl<M: MemoryReader> Keeping<M> {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(memory: M) -> Self {
        Self { memory, pages: RefCell::default() }
    }

    /// What was kept.
    #[must_use]
    pub fn image(&self) -> Image {
        Image { pages: self.pages.borrow().clone() }
    }
}

impl<M: MemoryReader> MemoryReader for Keeping<M> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        by_page(address, buffer, |page, from, part| {
            let mut pages = self.pages.borrow_mut();
            let bytes = match pages.entry(page) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
                    self.memory.read(page, &mut bytes)?;
                    new.insert(bytes)
                }
            };
            part.copy_from_slice(bytes.get(from..from + part.len()).ok_or(ReadError::Unmapped)?);
            Ok(())
        })
    }
}

/// Cuts a range at the bounds of pages: (page, offset in it, part of the buffer).
fn by_page(
    address: u64,
    buffer: &mut [u8],
    mut each: impl FnMut(u64, usize, &mut [u8]) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let (mut address, mut rest) = (address, buffer);
    while !rest.is_empty() {
        let offset = address % PAGE;
        let here = rest.len().min((PAGE - offset) as usize);
        let (now, later) = rest.split_at_mut_checked(here).ok_or(ReadError::Unmapped)?;
        each(address - offset, offset as usize, now)?;
        rest = later;
        address = address.checked_add(here as u64).ok_or(ReadError::Unmapped)?;
    }
    Ok(())
}
