//! Exported symbols of a program or library, read from the memory it is mapped in.
//!
//! No file is opened: this works for deleted files, for other mount namespaces, and cannot be fooled by a path. The way:
//! program headers, dynamic section, GNU hash table, symbol.

use super::memory::{MemoryReader, ReadError, half_at, word_at};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const ET_EXEC: u16 = 2;
const MAX_HEADERS: usize = 64;
const MAX_DYNAMIC: usize = 256;
const MAX_CHAIN: u64 = 4_096;
const SYMBOL_BYTES: u64 = 24;

/// An image in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    bias: u64,
    symbols: u64,
    strings: u64,
    gnu_hash: u64,
}

/// A symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Where it is.
    pub address: u64,
    /// How long it is.
    pub size: u64,
}

impl Image {
    /// The image whose first page is mapped at `base`. `None` when there is no dynamic one.
    pub fn open(memory: &dyn MemoryReader, base: u64) -> Result<Option<Self>, ReadError> {
        let mut head = [0; 64];
        memory.read(base, &mut head)?;
        // 64-bit, little endian.
        if head.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
            return Ok(None);
        }
        let kind = half_at(&head, 16).unwrap_or(0) as u16;
        let offset = word_at(&head, 32).unwrap_or(0);
        let count = (half_at(&head, 56).unwrap_or(0) as u16 as usize).min(MAX_HEADERS);
        let mut headers = vec![0; count * 56];
        memory.read(base.wrapping_add(offset), &mut headers)?;
        let (mut lowest, mut dynamic) = (u64::MAX, None);
        for header in headers.chunks_exact(56) {
            let at = word_at(header, 16).unwrap_or(0);
            match half_at(header, 0) {
                Some(PT_LOAD) => lowest = lowest.min(at & !0xfff),
                Some(PT_DYNAMIC) => dynamic = Some((at, word_at(header, 40).unwrap_or(0))),
                _ => {}
            }
        }
        let bias = if kind == ET_EXEC { 0 } else { base.wrapping_sub(lowest) };
        let Some((at, size)) = dynamic else { return Ok(None) };
        let table = memory.bytes(bias.wrapping_add(at), size, MAX_DYNAMIC * 16)?;
        let find = |tag| {
            let entry = table.chunks_exact(16).find(|e| word_at(e, 0) == Some(tag))?;
            let value = word_at(entry, 8)?;
            // The loader has put addresses in place for libraries; where it has not, they are relative.
            Some(if kind != ET_EXEC && value < bias { bias.wrapping_add(value) } else { value })
        };
        let (Some(symbols), Some(strings), Some(gnu_hash)) =
            (find(DT_SYMTAB), find(DT_STRTAB), find(DT_GNU_HASH))
        else {
            return Ok(None);
        };
        Ok(Some(Self { bias, symbols, strings, gnu_hash }))
    }

    /// An exported symbol by its name.
    pub fn symbol(&self, memory: &dyn MemoryReader, name: &str) -> Result<Option<Symbol>, ReadError> {
        let mut head = [0; 16];
        memory.read(self.gnu_hash, &mut head)?;
        let field = |at| u64::from(half_at(&head, at).unwrap_or(0));
        let (buckets, first, bloom) = (field(0), field(4), field(8));
        if buckets == 0 {
            return Ok(None);
        }
        let hash = gnu_hash(name);
        let bucket_at = self.gnu_hash + 16 + bloom * 8;
        let chain_at = bucket_at + buckets * 4;
        let begin = u64::from(memory.half(bucket_at + u64::from(hash) % buckets * 4)?);
        if begin < first {
            return Ok(None);
        }
        for index in begin..begin + MAX_CHAIN {
            let entry = memory.half(chain_at + (index - first) * 4)?;
            if entry | 1 == hash | 1 {
                let mut symbol = [0; SYMBOL_BYTES as usize];
                memory.read(self.symbols + index * SYMBOL_BYTES, &mut symbol)?;
                let at = self.strings + u64::from(half_at(&symbol, 0).unwrap_or(0));
                let text = memory.bytes(at, name.len() as u64 + 1, 256)?;
                if text.split_last() == Some((&0, name.as_bytes())) {
                    let address = self.bias.wrapping_add(word_at(&symbol, 8).unwrap_or(0));
                    return Ok(Some(Symbol { address, size: word_at(&symbol, 16).unwrap_or(0) }));
                }
            }
            if entry & 1 == 1 {
                break;
            }
        }
        Ok(None)
    }
}

fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5_381_u32, |h, b| h.wrapping_mul(33).wrapping_add(u32::from(b)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same bytes at every address, over and over.
    struct Noise(Vec<u8>);

    impl MemoryReader for Noise {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            for (i, byte) in buffer.iter_mut().enumerate() {
                *byte = self.0[(address as usize).wrapping_add(i) % self.0.len()];
            }
            Ok(())
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(gnu_hash("printf"), 0x156b_2bb8);
        assert_eq!(gnu_hash(""), 5_381);
    }

    proptest! {
        #[test]
        fn no_image_can_hurt(mut bytes in proptest::collection::vec(any::<u8>(), 64..512)) {
            bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
            let memory = Noise(bytes);
            if let Ok(Some(image)) = Image::open(&memory, 0) {
                let _ = image.symbol(&memory, "_PyRuntime");
            }
        }
    }
}
