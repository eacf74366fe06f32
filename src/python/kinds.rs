//! What type an object has, as far as it matters here: a greenlet, a hub, a task, or anything else.
//!
//! Types are told by the names in their chain of bases and looked at once. Names are the target's words: they decide what
//! is looked at further, and every field that is read then is checked again.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::attributes::Looking;
use super::memory::{MemoryReader, ReadError, word_at};
use super::object;
use super::objects::TypeAt;

/// Longest chain of bases that is followed.
const MAX_BASES: usize = 32;
/// Longest name of a type.
const MAX_NAME: usize = 96;
/// Largest instance in which a slot is looked for.
const MAX_INSTANCE: u64 = 4_096;
/// Most types that are remembered.
const MAX_TYPES: usize = 200_000;
/// Bytes of a type that are looked at: its base is the last field, with the longest head before it.
const TYPE_BYTES: usize = 280;

/// Types of timers: gevent's own, made in C or by `cffi`; asyncio's; uvloop's; eventlet's.
const TIMERS: [&str; 6] =
    ["gevent.libev.corecext.timer", "timer", "TimerHandle", "uvloop.loop.TimerHandle", "Timer", "LocalTimer"];

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A greenlet.
    Greenlet(GreenletType),
    /// An asyncio task made in C.
    Task,
    /// A timer of a loop: somebody is to be woken at a time.
    Timer,
    /// Anything else.
    Other,
}

/// What kind of greenlet a type makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GreenletType {
    /// Size of the instances of `greenlet.greenlet` itself: where the fields of derived types begin.
    pub base_size: u64,
    /// Who made it.
    pub library: Option<Library>,
    /// Whether it is gevent's hub.
    pub hub: bool,
    /// Whether it is gevent's own greenlet, which knows where it was spawned.
    pub spawned: bool,
}

/// Who makes greenlets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Library {
    /// gevent.
    Gevent,
    /// eventlet.
    Eventlet,
}

/// The types that were met.
#[derive(Debug)]
pub struct Kinds {
    met: HashMap<u64, Kind>,
    /// Types of no interest, by some bits of their addresses: nearly all objects are of few of them.
    others: [u64; 256],
    names: HashMap<u64, Arc<str>>,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { met: HashMap::new(), others: [0; 256], names: HashMap::new() }
    }
}

impl Kinds {
    /// What objects of a type are.
    pub fn of(&mut self, looking: Looking<'_>, type_address: u64) -> Kind {
        let place = (type_address >> 4) as usize % 256;
        if self.others.get(place).is_some_and(|other| *other == type_address) {
            return Kind::Other;
        }
        let kind = self.met(looking, type_address, 0);
        if kind == Kind::Other
            && let Some(other) = self.others.get_mut(place)
        {
            *other = type_address;
        }
        kind
    }

    fn met(&mut self, looking: Looking<'_>, type_address: u64, depth: usize) -> Kind {
        if let Some(kind) = self.met.get(&type_address) {
            return *kind;
        }
        let kind = self.classify(looking, type_address, depth).unwrap_or(Kind::Other);
        if self.met.len() < MAX_TYPES {
            self.met.insert(type_address, kind);
        }
        kind
    }

    /// The name of a type, read once.
    pub fn name(&mut self, looking: Looking<'_>, type_address: u64) -> Result<Arc<str>, ReadError> {
        if let Some(name) = self.names.get(&type_address) {
            return Ok(Arc::clone(name));
        }
        let name: Arc<str> = type_name(looking.memory, looking.objects.kind, type_address)?.into();
        if self.names.len() < MAX_TYPES {
            self.names.insert(type_address, Arc::clone(&name));
        }
        Ok(name)
    }

    /// The types that greenlets and tasks were found to have.
    pub fn wanted(&self) -> impl Iterator<Item = (u64, Kind)> + '_ {
        let wanted = |kind: &Kind| matches!(kind, Kind::Greenlet(_) | Kind::Task);
        self.met.iter().filter(move |(_, kind)| wanted(kind)).map(|(address, kind)| (*address, *kind))
    }

    fn classify(&mut self, looking: Looking<'_>, address: u64, depth: usize) -> Result<Kind, ReadError> {
        if address == 0 || depth >= MAX_BASES {
            return Ok(Kind::Other);
        }
        let at = looking.objects.kind;
        let mut bytes = [0; TYPE_BYTES];
        looking.memory.read(address, &mut bytes)?;
        let field = |at: u64| word_at(&bytes, at as usize).ok_or(ReadError::Unmapped);
        let name = name_at(looking.memory, field(at.name)?)?;
        match name.as_str() {
            "greenlet.greenlet" => {
                let base_size = field(at.basic_size)?;
                let kind = GreenletType { base_size, library: None, hub: false, spawned: false };
                return Ok(if (32..=512).contains(&base_size) { Kind::Greenlet(kind) } else { Kind::Other });
            }
            "_asyncio.Task" => return Ok(Kind::Task),
            name if TIMERS.contains(&name) => return Ok(Kind::Timer),
            _ => {}
        }
        let mut kind = self.met(looking, field(at.base)?, depth + 1);
        if let Kind::Greenlet(kind) = &mut kind {
            // A class of Python's is known by its name in its module.
            let full = if name.contains('.') {
                name
            } else {
                format!("{}.{name}", module(looking, address).unwrap_or_default())
            };
            if full.starts_with("gevent.") {
                kind.library = Some(Library::Gevent);
                kind.hub |= full == "gevent.hub.Hub";
                kind.spawned |= full.ends_with("reenlet.Greenlet");
            } else if full.starts_with("eventlet.") {
                kind.library = Some(Library::Eventlet);
            }
        }
        Ok(kind)
    }
}

/// The module that a class was made in.
fn module(looking: Looking<'_>, type_address: u64) -> Option<String> {
    // Behind the base is the dictionary, which a class's own names are in.
    let dictionary = looking.memory.word(type_address.wrapping_add(looking.objects.kind.base + 8)).ok()?;
    let module = looking.item(dictionary, "__module__").ok()??;
    object::text(looking.memory, looking.layout, module).ok()
}

/// What one of an instance's slots holds, which the class that declares it describes; `None` where there is none of that
/// name, or nothing in it.
pub fn slot(looking: Looking<'_>, instance: u64, name: &str) -> Result<Option<u64>, ReadError> {
    let (memory, at) = (looking.memory, looking.objects.kind);
    let mut kind = looking.type_of(instance)?;
    for _ in 0..MAX_BASES {
        if kind == 0 {
            break;
        }
        let dictionary = memory.word(kind.wrapping_add(at.base + 8))?;
        let described = if dictionary == 0 { None } else { looking.item(dictionary, name)? };
        let Some(descriptor) = described else {
            kind = memory.word(kind.wrapping_add(at.base))?;
            continue;
        };
        if type_name(memory, at, looking.type_of(descriptor)?)? != "member_descriptor" {
            break;
        }
        // Behind its class and two names a descriptor points at its member: a name, a kind, and where the value is.
        let member = looking.word_behind(descriptor, 24)?;
        let place = memory.word(member.wrapping_add(16))?;
        if !(8..=MAX_INSTANCE).contains(&place) {
            break;
        }
        let value = memory.word(instance.wrapping_add(place))?;
        return Ok((value != 0).then_some(value));
    }
    Ok(None)
}

/// The name of a type.
pub fn type_name(memory: &dyn MemoryReader, at: TypeAt, type_address: u64) -> Result<String, ReadError> {
    name_at(memory, memory.word(type_address.wrapping_add(at.name))?)
}

fn name_at(memory: &dyn MemoryReader, name: u64) -> Result<String, ReadError> {
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
