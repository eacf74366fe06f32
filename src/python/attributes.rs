//! Dictionaries and the attributes of instances.
//!
//! Bounded lookups of one name; nothing is copied out. The forms are those of `CPython`'s `dictobject.c` by version:
//! an open table (2.7), compact ones (3.6 and later), and the instance's values without a dictionary (3.11 and later).

use super::layout::Layout;
use super::memory::{MemoryReader, ReadError};
use super::object;
use super::objects::{Attributes, Dictionaries, Objects};

/// Most entries that are compared.
const MAX_ENTRIES: u64 = 4_096;
/// A type's flag: its instances manage their dictionary (3.11 and later).
const MANAGED_DICT: u64 = 1 << 4;
/// A type's flag: its instances hold their values behind themselves (3.13 and later).
const INLINE_VALUES: u64 = 1 << 2;

/// What is needed to read objects.
#[derive(Clone, Copy)]
pub struct Looking<'m> {
    /// The memory.
    pub memory: &'m dyn MemoryReader,
    /// Frames and strings.
    pub layout: &'m Layout,
    /// Objects.
    pub objects: &'m Objects,
}

/// Where the entries of a keys object are, and what is where in each.
struct Entries {
    count: u64,
    first: u64,
    bytes: u64,
    key: u64,
    value: u64,
}

impl Looking<'_> {
    /// The type of an object.
    pub fn type_of(&self, object: u64) -> Result<u64, ReadError> {
        self.memory.word(object.wrapping_add(self.layout.object_type()))
    }

    /// Where an object goes on behind the head that all have: with its size, if it is one of variable size.
    #[must_use]
    pub const fn behind_head(&self, object: u64) -> u64 {
        object.wrapping_add(self.layout.behind_head())
    }

    /// A word so far behind the head of an object.
    pub fn word_behind(&self, object: u64, at: u64) -> Result<u64, ReadError> {
        self.memory.word(self.behind_head(object).wrapping_add(at))
    }

    /// The value of an instance's attribute; `None` when it has none of that name.
    pub fn attribute(&self, instance: u64, name: &str) -> Result<Option<u64>, ReadError> {
        let memory = self.memory;
        let kind = self.type_of(instance)?;
        let flags = memory.word(kind.wrapping_add(self.objects.kind.flags))?;
        if self.objects.attributes == Attributes::Dictionary || flags & MANAGED_DICT == 0 {
            let at = memory.word(kind.wrapping_add(self.objects.kind.dict_offset))? as i64;
            if at <= 0 {
                return Ok(None);
            }
            let dictionary = memory.word(instance.wrapping_add_signed(at))?;
            return if dictionary == 0 { Ok(None) } else { self.item(dictionary, name) };
        }
        // A longer head is so at the cost of what stands before it: the collector's.
        let head = self.layout.longer_head;
        let before = |distance: u64| memory.word(instance.wrapping_sub(distance - head));
        match self.objects.attributes {
            Attributes::Dictionary => Ok(None),
            Attributes::ValuesOrDictionary => match (before(32)?, before(24)?) {
                (0, 0) => Ok(None),
                (0, dictionary) => self.item(dictionary, name),
                (values, _) => self.shared(kind, values, name),
            },
            Attributes::Tagged => match before(24)? {
                0 => Ok(None),
                word if word & 1 == 1 => self.shared(kind, word.wrapping_add(1), name),
                dictionary => self.item(dictionary, name),
            },
            Attributes::Inline => match before(24)? {
                0 if flags & INLINE_VALUES != 0 => {
                    let size = memory.word(kind.wrapping_add(self.objects.kind.basic_size))?;
                    // Four bytes: capacity, size, embedded, valid; the values follow at the next word.
                    let values = instance.wrapping_add(size);
                    let valid = memory.half(values)? >> 24 != 0;
                    if valid { self.shared(kind, values.wrapping_add(8), name) } else { Ok(None) }
                }
                0 => Ok(None),
                dictionary => self.item(dictionary, name),
            },
        }
    }

    /// A value among those that stand in the order of the type's shared keys.
    fn shared(&self, kind: u64, values: u64, name: &str) -> Result<Option<u64>, ReadError> {
        let keys = self.memory.word(kind.wrapping_add(self.objects.cached_keys))?;
        match self.position(keys, name)? {
            Some((position, _)) => {
                let value = self.memory.word(values.wrapping_add(position * 8))?;
                Ok((value != 0).then_some(value))
            }
            None => Ok(None),
        }
    }

    /// The value of a key in a dictionary.
    pub fn item(&self, dictionary: u64, name: &str) -> Result<Option<u64>, ReadError> {
        let memory = self.memory;
        if self.objects.dictionaries == Dictionaries::Table {
            let mask = memory.word(dictionary.wrapping_add(32))?.min(MAX_ENTRIES);
            let table = memory.word(dictionary.wrapping_add(40))?;
            for entry in (0..=mask).map(|n| table.wrapping_add(n * 24)) {
                if self.is(memory.word(entry.wrapping_add(8))?, name) {
                    let value = memory.word(entry.wrapping_add(16))?;
                    return Ok((value != 0).then_some(value));
                }
            }
            return Ok(None);
        }
        let (keys, split) = (self.word_behind(dictionary, 16)?, self.word_behind(dictionary, 24)?);
        let Some((position, entry)) = self.position(keys, name)? else { return Ok(None) };
        let value = if split == 0 {
            entry
        } else {
            let head = if self.objects.attributes == Attributes::Inline { 8 } else { 0 };
            split.wrapping_add(head + position * 8)
        };
        let value = memory.word(value)?;
        Ok((value != 0).then_some(value))
    }

    /// The entries of a dictionary, at most so many: its keys, and where the value of each is kept.
    pub fn entries(&self, dictionary: u64, most: usize) -> Result<Vec<(u64, u64)>, ReadError> {
        let memory = self.memory;
        let mut found = Vec::new();
        let mut add = |key: u64, value: u64| -> Result<bool, ReadError> {
            if key != 0 && memory.word(value)? != 0 {
                found.push((key, value));
            }
            Ok(found.len() < most)
        };
        if self.objects.dictionaries == Dictionaries::Table {
            let mask = memory.word(dictionary.wrapping_add(32))?.min(MAX_ENTRIES);
            let table = memory.word(dictionary.wrapping_add(40))?;
            for entry in (0..=mask).map(|n| table.wrapping_add(n * 24)) {
                if !add(memory.word(entry.wrapping_add(8))?, entry.wrapping_add(16))? {
                    break;
                }
            }
            return Ok(found);
        }
        let (keys, split) = (self.word_behind(dictionary, 16)?, self.word_behind(dictionary, 24)?);
        if keys == 0 {
            return Ok(found);
        }
        let entries = self.keys(keys)?;
        let head = if self.objects.attributes == Attributes::Inline { 8 } else { 0 };
        for n in 0..entries.count.min(MAX_ENTRIES) {
            let entry = entries.first.wrapping_add(n * entries.bytes);
            let own = entry.wrapping_add(entries.value);
            let value = if split == 0 { own } else { split.wrapping_add(head + n * 8) };
            if !add(memory.word(entry.wrapping_add(entries.key))?, value)? {
                break;
            }
        }
        Ok(found)
    }

    /// How many items a dictionary has.
    pub fn length(&self, dictionary: u64) -> Result<u64, ReadError> {
        let at = if self.objects.dictionaries == Dictionaries::Table { 8 } else { 0 };
        self.word_behind(dictionary, at)
    }

    /// Where the entries of a keys object are.
    fn keys(&self, keys: u64) -> Result<Entries, ReadError> {
        let memory = self.memory;
        let (count, first, with_hash) = if self.objects.dictionaries == Dictionaries::Logarithmic {
            let sizes = memory.word(keys.wrapping_add(8))?;
            let (index_bytes, kind) = ((sizes >> 8) & 0xff, (sizes >> 16) & 0xff);
            let indices = 1_u64.checked_shl(index_bytes as u32).filter(|n| *n < 1 << 32);
            let indices = indices.ok_or(ReadError::Unmapped)?;
            (memory.word(keys.wrapping_add(24))?, keys.wrapping_add(32 + indices), kind == 0)
        } else {
            let size = memory.word(keys.wrapping_add(8))?;
            let width = match size {
                ..=0xff => 1,
                0x100..=0xffff => 2,
                0x1_0000..=0xffff_ffff => 4,
                _ => return Err(ReadError::Unmapped),
            };
            // 3.6 and later: at least eight bytes of indices.
            (memory.word(keys.wrapping_add(32))?, keys.wrapping_add(40 + (size * width).max(8)), true)
        };
        let (bytes, key, value) = if with_hash { (24, 8, 16) } else { (16, 0, 8) };
        Ok(Entries { count, first, bytes, key, value })
    }

    /// The position of a key among the entries of a keys object, and where its own value is.
    fn position(&self, keys: u64, name: &str) -> Result<Option<(u64, u64)>, ReadError> {
        if keys == 0 {
            return Ok(None);
        }
        let entries = self.keys(keys)?;
        for n in 0..entries.count.min(MAX_ENTRIES) {
            let entry = entries.first.wrapping_add(n * entries.bytes);
            if self.is(self.memory.word(entry.wrapping_add(entries.key))?, name) {
                return Ok(Some((n, entry.wrapping_add(entries.value))));
            }
        }
        Ok(None)
    }

    /// Whether a key is a string of this text.
    fn is(&self, key: u64, name: &str) -> bool {
        key != 0 && object::text(self.memory, self.layout, key).is_ok_and(|text| text == name)
    }
}
