//! Strings and bytes of the target, capped and made valid.

use super::layout::{Layout, Text};
use super::memory::{MemoryReader, ReadError, half_at, word_at};

/// Longest string that is read, in characters.
const MAX_CHARS: u64 = 512;

/// A string object. Anything that is none gives a text that says so, not an error.
pub fn text(memory: &dyn MemoryReader, layout: &Layout, address: u64) -> Result<String, ReadError> {
    let (ascii_at, other_at, packing) = match layout.text {
        Text::Bytes => return byte_string(memory, layout, address),
        Text::Unicode { ascii, other, packing } => (ascii, other, packing),
    };
    // Length, hash, state.
    let mut head = [0; 24];
    memory.read(address.wrapping_add(layout.behind_head()), &mut head)?;
    let (Some(length), Some(state)) = (word_at(&head, 0), half_at(&head, 16)) else {
        return Err(ReadError::Unmapped);
    };
    let chars = length.min(MAX_CHARS);
    let packed = state.checked_shr(packing).unwrap_or(0);
    let kind = packed & 7;
    let (compact, ascii) = (packed & 8 != 0, packed & 16 != 0);
    if !compact || !matches!(kind, 1 | 2 | 4) {
        return Ok("<unreadable name>".to_owned());
    }
    let at = address.wrapping_add(if ascii { ascii_at } else { other_at });
    let bytes = memory.bytes(at, chars * u64::from(kind), MAX_CHARS as usize * 4)?;
    let mut text: String = match kind {
        1 => bytes.iter().map(|b| char::from(*b)).collect(),
        2 => {
            let units = bytes.chunks_exact(2).filter_map(|c| Some(u16::from_le_bytes(c.try_into().ok()?)));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        _ => {
            let units = bytes.chunks_exact(4).filter_map(|c| Some(u32::from_le_bytes(c.try_into().ok()?)));
            units.map(|u| char::from_u32(u).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
    };
    if length > MAX_CHARS {
        text.push('…');
    }
    Ok(text)
}

/// A string object, or a number that asyncio makes a name of only when it is asked for it (3.12 and later).
pub fn text_or_number(memory: &dyn MemoryReader, layout: &Layout, address: u64) -> Result<String, ReadError> {
    if type_name(memory, layout, address)? == "int" {
        // One digit of 30 bits is enough for every task that ever ran.
        return Ok(format!("Task-{}", memory.half(address.wrapping_add(layout.behind_head() + 8))?));
    }
    text(memory, layout, address)
}

/// A byte string of Python 2 as text.
fn byte_string(memory: &dyn MemoryReader, layout: &Layout, address: u64) -> Result<String, ReadError> {
    let length = memory.word(address.wrapping_add(16))?;
    let bytes = memory.bytes(address.wrapping_add(layout.bytes), length, MAX_CHARS as usize)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if length > MAX_CHARS {
        text.push('…');
    }
    Ok(text)
}

/// The contents of a bytes object, at most `cap`.
pub fn bytes(
    memory: &dyn MemoryReader,
    layout: &Layout,
    address: u64,
    cap: usize,
) -> Result<Vec<u8>, ReadError> {
    let length = memory.word(address.wrapping_add(layout.behind_head()))?;
    memory.bytes(address.wrapping_add(layout.bytes), length, cap)
}

/// The name of the type of an object.
pub fn type_name(memory: &dyn MemoryReader, layout: &Layout, object: u64) -> Result<String, ReadError> {
    let kind = memory.word(object.wrapping_add(layout.object_type()))?;
    // A type is of variable size; its name follows that.
    let name = memory.word(kind.wrapping_add(layout.behind_head() + 8))?;
    let bytes = memory.bytes(name, 32, 32)?;
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
}
