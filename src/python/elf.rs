//! Exported symbols of a program or library, read from the memory it is mapped in.
//!
//! No file is opened: this works for deleted files, for other mount namespaces, and cannot be fooled by a path. The way:
//! program headers, dynamic section, GNU hash table, symbol.

use super::memory::{MemoryReader, ReadError, half_at, word_at};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const ET_EXEC: u16 = 2;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const MAX_HEADERS: usize = 64;
const MAX_DYNAMIC: usize = 256;
const MAX_CHAIN: u64 = 4_096;
const SYMBOL_BYTES: u64 = 24;
/// Most symbols that are listed, and most bytes of their names.
const MAX_SYMBOLS: u64 = 1 << 18;
const MAX_NAMES: u64 = 32 << 20;
const MAX_NAME: usize = 512;

/// What the program headers of an image in memory tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// What is added to an address in the file.
    pub bias: u64,
    /// Whether it lies where the file says, and not where there was room.
    pub fixed: bool,
    /// The dynamic section: where it is mapped, and its length.
    pub dynamic: Option<(u64, u64)>,
    /// The index of the tables by which callers are found: where it is mapped, and its length.
    pub frame_index: Option<(u64, u64)>,
}

impl Segments {
    /// Those of the image whose first page is mapped at `base`. `None` when there is no image.
    pub fn read(memory: &dyn MemoryReader, base: u64) -> Result<Option<Self>, ReadError> {
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
        let (mut lowest, mut dynamic, mut frame_index) = (u64::MAX, None, None);
        for header in headers.chunks_exact(56) {
            let at = word_at(header, 16).unwrap_or(0);
            let range = (at, word_at(header, 40).unwrap_or(0));
            match half_at(header, 0) {
                Some(PT_LOAD) => lowest = lowest.min(at & !0xfff),
                Some(PT_DYNAMIC) => dynamic = Some(range),
                Some(PT_GNU_EH_FRAME) => frame_index = Some(range),
                _ => {}
            }
        }
        let fixed = kind == ET_EXEC;
        let bias = if fixed { 0 } else { base.wrapping_sub(lowest) };
        let mapped = |(at, size): (u64, u64)| (bias.wrapping_add(at), size);
        let (dynamic, frame_index) = (dynamic.map(mapped), frame_index.map(mapped));
        Ok(Some(Self { bias, fixed, dynamic, frame_index }))
    }
}

/// The exported symbols of an image in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    bias: u64,
    symbols: u64,
    strings: u64,
    strings_size: u64,
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
        let Some(Segments { bias, fixed, dynamic: Some((at, size)), .. }) = Segments::read(memory, base)?
        else {
            return Ok(None);
        };
        let table = memory.bytes(at, size, MAX_DYNAMIC * 16)?;
        let find = |tag| {
            let entry = table.chunks_exact(16).find(|e| word_at(e, 0) == Some(tag))?;
            let value = word_at(entry, 8)?;
            // The loader has put addresses in place for libraries; where it has not, they are relative.
            Some(if !fixed && value < bias { bias.wrapping_add(value) } else { value })
        };
        let (Some(symbols), Some(strings), Some(gnu_hash)) =
            (find(DT_SYMTAB), find(DT_STRTAB), find(DT_GNU_HASH))
        else {
            return Ok(None);
        };
        let size =
            |tag| table.chunks_exact(16).find(|e| word_at(e, 0) == Some(tag)).and_then(|e| word_at(e, 8));
        Ok(Some(Self { bias, symbols, strings, strings_size: size(DT_STRSZ).unwrap_or(0), gnu_hash }))
    }

    /// All exported functions, each with its name; addresses are those of the memory.
    pub fn functions(&self, memory: &dyn MemoryReader) -> Result<Vec<(String, Symbol)>, ReadError> {
        let count = self.count(memory)?.min(MAX_SYMBOLS);
        let table =
            memory.bytes(self.symbols, count * SYMBOL_BYTES, (MAX_SYMBOLS * SYMBOL_BYTES) as usize)?;
        let strings = memory.bytes(self.strings, self.strings_size.min(MAX_NAMES), MAX_NAMES as usize)?;
        let functions = table.chunks_exact(SYMBOL_BYTES as usize).filter(|symbol| is_function(symbol));
        let all = functions.filter_map(|symbol| {
            let rest = strings.get(half_at(symbol, 0)? as usize..)?;
            let name = rest.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
            let name = String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name)).into_owned();
            let address = self.bias.wrapping_add(word_at(symbol, 8)?);
            Some((name, Symbol { address, size: word_at(symbol, 16)? }))
        });
        Ok(all.collect())
    }

    /// How many symbols there are: the hash table's last chain ends with the last of them.
    fn count(&self, memory: &dyn MemoryReader) -> Result<u64, ReadError> {
        let mut head = [0; 16];
        memory.read(self.gnu_hash, &mut head)?;
        let field = |at| u64::from(half_at(&head, at).unwrap_or(0));
        let (buckets, first, bloom) = (field(0).min(MAX_SYMBOLS), field(4), field(8));
        let bucket_at = self.gnu_hash.wrapping_add(16 + bloom * 8);
        let all = memory.bytes(bucket_at, buckets * 4, MAX_SYMBOLS as usize * 4)?;
        let Some(mut last) = all.chunks_exact(4).filter_map(|b| half_at(b, 0)).max().map(u64::from) else {
            return Ok(first);
        };
        let chain_at = bucket_at.wrapping_add(all.len() as u64);
        while last >= first
            && last < MAX_SYMBOLS
            && memory.half(chain_at.wrapping_add((last - first) * 4))? & 1 == 0
        {
            last += 1;
        }
        Ok(last + 1)
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

/// Whether a symbol is a function that is defined here.
fn is_function(symbol: &[u8]) -> bool {
    let defined = symbol.get(6..8) != Some(&[0, 0]);
    defined && symbol.get(4).is_some_and(|info| [STT_FUNC, STT_GNU_IFUNC].contains(&(info & 0xf)))
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
                let _ = image.functions(&memory);
            }
        }
    }
}
