//! What type an object has, as far as it matters here: a greenlet, a hub, a task, or anything else.
//!
//! Types are told by the names in their chain of bases and looked at once. Names are the target's words: they decide what
//! is looked at further, and every field that is read then is checked again.

use std::collections::HashMap;

use super::memory::{MemoryReader, ReadError};
use super::objects::TypeAt;

/// Longest chain of bases that is followed.
const MAX_BASES: usize = 32;
/// Longest name of a type.
const MAX_NAME: usize = 96;
/// Most types that are remembered.
const MAX_TYPES: usize = 200_000;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A greenlet.
    Greenlet(GreenletType),
    /// An asyncio task made in C.
    Task,
    /// Anything else.
    Other,
}

/// What kind of greenlet a type makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GreenletType {
    /// Size of the instances of `greenlet.greenlet` itself: where the fields of derived types begin.
    pub base_size: u64,
    /// Whose it is.
    pub family: Family,
}

/// Who made a type of greenlets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// gevent's hub.
    Hub,
    /// gevent's own greenlet.
    Gevent,
    /// A plain or any other one.
    Plain,
}

/// The types that were met.
#[derive(Debug, Default)]
pub struct Kinds {
    met: HashMap<u64, Kind>,
}

impl Kinds {
    /// What objects of a type are.
    pub fn of(&mut self, memory: &dyn MemoryReader, at: TypeAt, type_address: u64) -> Kind {
        if let Some(kind) = self.met.get(&type_address) {
            return *kind;
        }
        let kind = classify(memory, at, type_address).unwrap_or(Kind::Other);
        if self.met.len() < MAX_TYPES {
            self.met.insert(type_address, kind);
        }
        kind
    }
}

fn classify(memory: &dyn MemoryReader, at: TypeAt, first: u64) -> Result<Kind, ReadError> {
    let mut family = Family::Plain;
    let mut address = first;
    for _ in 0..MAX_BASES {
        if address == 0 {
            break;
        }
        let name = type_name(memory, at, address)?;
        match name.as_str() {
            "greenlet.greenlet" => {
                let base_size = memory.word(address.wrapping_add(at.basic_size))?;
                return Ok(match base_size {
                    32..=512 => Kind::Greenlet(GreenletType { base_size, family }),
                    _ => Kind::Other,
                });
            }
            "_asyncio.Task" => return Ok(Kind::Task),
            "Hub" => family = Family::Hub,
            name if name.starts_with("gevent.") && name.ends_with("reenlet.Greenlet") => {
                family = Family::Gevent;
            }
            _ => {}
        }
        address = memory.word(address.wrapping_add(at.base))?;
    }
    Ok(Kind::Other)
}

/// The name of a type.
pub fn type_name(memory: &dyn MemoryReader, at: TypeAt, type_address: u64) -> Result<String, ReadError> {
    let name = memory.word(type_address.wrapping_add(at.name))?;
    let mut bytes = [0; MAX_NAME];
    // A short name may lie at the end of a mapping.
    let length =
        if memory.read(name, &mut bytes).is_ok() { MAX_NAME } else { short(memory, name, &mut bytes)? };
    let bytes = bytes.get(..length).unwrap_or_default();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
}

fn short(memory: &dyn MemoryReader, name: u64, bytes: &mut [u8; MAX_NAME]) -> Result<usize, ReadError> {
    let room = (super::memory::PAGE - name % super::memory::PAGE) as usize;
    let room = room.min(MAX_NAME);
    memory.read(name, bytes.get_mut(..room).unwrap_or_default())?;
    Ok(room)
}
