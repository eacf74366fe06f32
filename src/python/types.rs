//! What a type object says of itself, believed only where it is provably one.
//!
//! Takes memory and the address of what an object has as its type, gives name and flags. A type is told by the flags of
//! its own type and by a name that a type can have; anything else is refused, so that memory which was given away
//! meanwhile does not get a name.

use std::collections::HashMap;

use super::attributes::Looking;
use super::kinds::type_name;
use super::memory::ReadError;

/// Flag of a type that was made while the program ran.
pub const HEAP: u64 = 1 << 9;
/// Flag of integers (2.7's short ones have another).
pub const LONG: u64 = 1 << 24;
/// Flag of lists.
pub const LIST: u64 = 1 << 25;
/// Flag of tuples.
pub const TUPLE: u64 = 1 << 26;
/// Flag of byte strings.
pub const BYTES: u64 = 1 << 27;
/// Flag of strings.
pub const UNICODE: u64 = 1 << 28;
/// Flag of dictionaries.
pub const DICT: u64 = 1 << 29;
/// Flag of exceptions.
pub const EXCEPTION: u64 = 1 << 30;
/// Flag of types.
const TYPE: u64 = 1 << 31;

/// Most types that are remembered.
const MAX_TYPES: usize = 20_000;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFacts {
    /// Its name.
    pub name: String,
    /// Its flags.
    pub flags: u64,
}

impl TypeFacts {
    /// Whether it is one of the interpreter's own with this name and this flag, and not merely derived from it.
    #[must_use]
    pub fn is(&self, name: &str, flag: u64) -> bool {
        self.name == name && self.flags & flag == flag && self.flags & HEAP == 0
    }
}

/// The type at an address.
pub fn type_at(looking: &Looking<'_>, address: u64) -> Result<TypeFacts, ReadError> {
    let (memory, at) = (looking.memory, looking.objects.kind);
    let of_type = looking.type_of(address)?;
    if memory.word(of_type.wrapping_add(at.flags))? & TYPE == 0 {
        return Err(ReadError::Unmapped);
    }
    let name = type_name(memory, at, address)?;
    let can_be = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    if name.is_empty() || !name.chars().all(can_be) {
        return Err(ReadError::Unmapped);
    }
    Ok(TypeFacts { name, flags: memory.word(address.wrapping_add(at.flags))? })
}

/// The types that were met during one look.
#[derive(Debug, Default)]
pub struct Types {
    met: HashMap<u64, TypeFacts>,
}

impl Types {
    /// The type of an object.
    pub fn of(&mut self, looking: &Looking<'_>, object: u64) -> Result<&TypeFacts, ReadError> {
        let address = looking.type_of(object)?;
        if self.met.len() >= MAX_TYPES {
            self.met.clear();
        }
        match self.met.entry(address) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => Ok(new.insert(type_at(looking, address)?)),
        }
    }
}
