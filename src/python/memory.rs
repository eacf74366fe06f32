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

/// Reads memory of a process. All of a range or an error, never a part.
pub trait MemoryReader {
    /// Reads `buffer.len()` bytes at an address.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Reads whole pages, as nearly at one instant as can be. Only pages that [`MemoryReader::read`] has read before may
    /// be asked for: that one cannot hang on a page which is never served.
    fn read_pages(&self, pages: &[u64], buffer: &mut [u8]) -> Result<(), ReadError> {
        for (page, room) in pages.iter().zip(buffer.chunks_exact_mut(PAGE as usize)) {
            self.read(*page, room)?;
        }
        Ok(())
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
