//! The one door to the target's memory, and small typed reads through it.

/// Why memory could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing is mapped there, or only in part.
    #[error("not mapped")]
    Unmapped,
    /// The kernel refuses.
    #[error("not permitted")]
    Denied,
    /// The process has ended or become another program.
    #[error("gone")]
    Gone,
}

/// Bytes of a page.
pub const PAGE: u64 = 4_096;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub length: usize,
}

impl Range {
    /// Whether so many bytes at an address lie inside.
    #[must_use]
    #[inline]
    pub const fn holds(&self, address: u64, length: usize) -> bool {
        match address.checked_sub(self.start) {
            Some(offset) => offset <= self.length as u64 && length as u64 <= self.length as u64 - offset,
            None => false,
        }
    }

    /// Takes in a range that begins no earlier, if it is no further away than `gap`.
    pub fn join(&mut self, later: &Self, gap: u64) -> bool {
        let offset = later.start.saturating_sub(self.start);
        let near = offset <= (self.length as u64).saturating_add(gap);
        if near {
            self.length = self.length.max((offset as usize).saturating_add(later.length));
        }
        near
    }
}

/// Reads memory of a process. All of a range or an error, never a part.
pub trait MemoryReader {
    /// Reads `buffer.len()` bytes at an address.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Reads ranges one behind the other into a buffer, as nearly at one instant as can be. Only pages that
    /// [`MemoryReader::read`] has read before may be asked for: that one cannot hang on a page which is never served.
    fn read_ranges(&self, ranges: &[Range], buffer: &mut [u8]) -> Result<(), ReadError> {
        one_by_one(self, ranges, buffer)
    }

    /// A 64-bit word.
    fn word(&self, address: u64) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A 32-bit word.
    fn half(&self, address: u64) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// So many bytes, at most `cap`.
    fn bytes(&self, address: u64, len: u64, cap: usize) -> Result<Vec<u8>, ReadError> {
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(cap).min(cap)];
        self.read(address, &mut buffer)?;
        Ok(buffer)
    }
}

/// Reads ranges each by itself.
pub fn one_by_one(
    memory: &(impl MemoryReader + ?Sized),
    ranges: &[Range],
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let mut rest = buffer;
    for range in ranges {
        let (room, behind) = rest.split_at_mut_checked(range.length).ok_or(ReadError::Unmapped)?;
        memory.read(range.start, room)?;
        rest = behind;
    }
    Ok(())
}

/// A 64-bit word inside bytes that were read.
#[must_use]
pub fn word_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?))
}

/// A 32-bit word inside bytes that were read.
#[must_use]
pub fn half_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}
