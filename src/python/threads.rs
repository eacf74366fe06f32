//! Who a thread is: its Python name, whether it is a daemon, its interpreter, the exception it is at, the lock it waits for.
//!
//! Takes the states that [`super::reader`] found, gives what they and the module `threading` say of them. For one look,
//! not for every tick: the modules are searched by name. What changes while it is read, or is not of the type it must
//! have, is not told.

use std::collections::HashMap;

use super::attributes::Looking;
use super::heap::Pages;
use super::kinds::type_name;
use super::layout::{CollectingAt, HandledAt};
use super::locate::{Gil, Interpreter};
use super::memory::{MemoryReader, ReadError};
use super::object;
use super::objects::{self, Integers};
use super::reader::{GilHolder, StackReader};
use super::types::{self, Types, type_at};
use super::values::integer;

/// Most threads whose names are read.
const MAX_THREADS: usize = 4_096;
/// Most items on the chain of exceptions that are handled inside each other.
const MAX_HANDLED: usize = 256;

/// Most modules whose names are compared: where there are more, one of these may be among them.
const MAX_MODULES: usize = 4_000;
/// Modules that make greenlets and tasks; the second is greenlet's since its version 1.
const MAKERS: &[&str] = &["greenlet", "greenlet._greenlet", "_asyncio"];

/// What the module `threading` says of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: String,
    daemon: bool,
}

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct One {
    address: u64,
    id: i64,
    /// By `pthread_t`.
    threads: HashMap<u64, Named>,
}

/// The interpreters of a process and the threads that each knows by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interpreters {
    /// The first one comes last.
    all: Vec<One>,
    /// Whether a module is imported that makes greenlets or tasks. Where that cannot be told, one may be.
    pub may_park: bool,
}

/// What is told of a thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The number of its interpreter; 0 is the first one.
    pub interpreter: Option<i64>,
    /// Its name in Python.
    pub name: Option<String>,
    /// Whether it is a daemon.
    pub daemon: Option<bool>,
    /// The type of the exception that is on its way out of a frame.
    pub raising: Option<String>,
    /// The type of the exception that it handles.
    pub handling: Option<String>,
}

impl<M: MemoryReader> StackReader<M> {
    /// The interpreters and the names of their threads.
    #[must_use]
    pub fn interpreters(&self) -> Interpreters {
        let states = self.interpreter_states();
        let mut may_park = states.is_err();
        let states = states.unwrap_or_default();
        let last = states.len().saturating_sub(1);
        let mut one = |(place, address): (usize, u64)| One {
            address,
            id: match self.interpreter().layout.particulars.id {
                Some(at) => self.memory().word(address.wrapping_add(at)).map_or(-1, |id| id as i64),
                None => (last - place) as i64,
            },
            threads: self.names(address, &mut may_park).unwrap_or_default(),
        };
        let all = states.into_iter().enumerate().map(&mut one).collect();
        Interpreters { all, may_park }
    }

    /// What `threading` of an interpreter says of its threads. The modules are gone through once, for all that is to be
    /// known of them.
    fn names(&self, interpreter: u64, may_park: &mut bool) -> Result<HashMap<u64, Named>, ReadError> {
        let version = self.interpreter().version;
        let layout = self.interpreter().layout;
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        // Hundreds of names are compared; what was read for one serves the next ones.
        let blocks = Pages::many(self.memory());
        let looking = Looking { memory: &blocks, layout: &layout, objects: &objects };
        let modules = blocks
            .word(interpreter.wrapping_add(layout.particulars.modules))
            .and_then(|modules| looking.entries(modules, MAX_MODULES));
        *may_park |= modules.as_ref().map_or(true, |modules| modules.len() >= MAX_MODULES);
        let mut threading = None;
        for (key, value) in modules? {
            match object::text(&blocks, &layout, key).as_deref() {
                Ok("threading") => threading = Some(blocks.word(value)?),
                Ok(name) => *may_park |= MAKERS.contains(&name),
                Err(_) => {}
            }
        }
        let mut found = HashMap::new();
        let Some(module) = threading.filter(|module| *module != 0) else { return Ok(found) };
        let mut types = Types::default();
        if types.of(&looking, module)?.name != "module" {
            return Ok(found);
        }
        let namespace = looking.word_behind(module, 0)?;
        let Some(active) = looking.item(namespace, "_active")? else { return Ok(found) };
        // Before Python 3 the names were made private by the compiler.
        let (name_at, daemon_at) = match objects.integers {
            Integers::Words => ("_Thread__name", "_Thread__daemonic"),
            Integers::Counted | Integers::Tagged => ("_name", "_daemonic"),
        };
        for (key, value) in looking.entries(active, MAX_THREADS)? {
            let mut read = || -> Result<Option<(u64, Named)>, ReadError> {
                let Some(ident) = integer(&looking, types.of(&looking, key)?, key)? else {
                    return Ok(None);
                };
                let thread = blocks.word(value)?;
                let (Some(name), Some(daemon)) =
                    (looking.attribute(thread, name_at)?, looking.attribute(thread, daemon_at)?)
                else {
                    return Ok(None);
                };
                let text =
                    if layout.text == super::layout::Text::Bytes { types::BYTES } else { types::UNICODE };
                if types.of(&looking, name)?.flags & text == 0 || types.of(&looking, daemon)?.name != "bool" {
                    return Ok(None);
                }
                let daemon = integer(&looking, types.of(&looking, daemon)?, daemon)? == Some(1);
                let name = object::text(&blocks, &layout, name)?;
                Ok(u64::try_from(ident).ok().map(|ident| (ident, Named { name, daemon })))
            };
            found.extend(read().ok().flatten());
        }
        Ok(found)
    }

    /// What is told of a thread.
    #[must_use]
    pub fn about(&self, ns_tid: i32, interpreters: &Interpreters) -> About {
        let layout = self.interpreter().layout;
        let Some(state) = self.state_of(ns_tid) else { return About::default() };
        let Ok(read) = super::walk::State::read(self.memory(), &layout, state) else {
            return About::default();
        };
        let mine = interpreters.all.iter().find(|one| one.address == read.interpreter);
        // Whoever started the thread gave it its name; an interpreter that it only visits calls it its main thread.
        let first = interpreters.all.last();
        let named = [first, mine].into_iter().flatten().find_map(|one| one.threads.get(&read.thread_id));
        About {
            interpreter: mine.map(|one| one.id).filter(|id| *id >= 0),
            name: named.map(|named| named.name.clone()),
            daemon: named.map(|named| named.daemon),
            raising: self.twice(|| self.raised_type(state)),
            handling: self.twice(|| self.handled_type(state)),
        }
    }

    fn looking<R>(&self, look: impl FnOnce(&Looking<'_>) -> R) -> R {
        let Interpreter { version, layout, .. } = self.interpreter();
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        look(&Looking { memory: self.memory(), layout, objects: &objects })
    }

    /// The name of an exception's type, if what leads to it stays the same while the name is read.
    fn twice(&self, find: impl Fn() -> Result<u64, ReadError>) -> Option<String> {
        let address = find().ok().filter(|address| *address != 0)?;
        let facts = self.looking(|looking| type_at(looking, address)).ok()?;
        let same = find() == Ok(address);
        (same && facts.flags & types::EXCEPTION != 0).then_some(facts.name)
    }

    /// The type of the exception that is being raised; 0 when there is none.
    fn raised_type(&self, state: u64) -> Result<u64, ReadError> {
        let exceptions = self.interpreter().layout.particulars.exceptions;
        let raised = self.memory().word(state.wrapping_add(exceptions.raised))?;
        if raised == 0 || !exceptions.raised_value {
            return Ok(raised);
        }
        self.looking(|looking| looking.type_of(raised))
    }

    /// The type of the exception that is handled innermost; 0 when there is none.
    fn handled_type(&self, state: u64) -> Result<u64, ReadError> {
        let memory = self.memory();
        match self.interpreter().layout.particulars.exceptions.handled {
            None => Ok(0),
            Some(HandledAt::Type(at)) => memory.word(state.wrapping_add(at)),
            Some(HandledAt::Items { at, previous, value }) => {
                let mut item = memory.word(state.wrapping_add(at))?;
                // Generators have items of their own; the innermost one that is not empty counts.
                for _ in 0..MAX_HANDLED {
                    if item == 0 {
                        break;
                    }
                    let first = memory.word(item)?;
                    let of_type = match first {
                        0 => 0,
                        object => self.looking(|looking| looking.type_of(object))?,
                    };
                    let kind = if value { of_type } else { first };
                    if of_type != 0 && !self.is_none(of_type)? {
                        return Ok(kind);
                    }
                    item = memory.word(item.wrapping_add(previous))?;
                }
                Ok(0)
            }
        }
    }

    /// Whether a type is that of `None`.
    fn is_none(&self, of_type: u64) -> Result<bool, ReadError> {
        self.looking(|looking| Ok(type_name(looking.memory, looking.objects.kind, of_type)? == "NoneType"))
    }

    /// Whether the garbage collector of any interpreter runs at this instant; `None` where the version does not tell.
    #[must_use]
    pub fn collecting(&self) -> Option<bool> {
        self.any_collects(&self.collectors())
    }

    /// Where the interpreters say whether their garbage collectors run; nothing where the version does not tell.
    #[must_use]
    pub fn collectors(&self) -> Vec<u64> {
        let interpreter = self.interpreter();
        match interpreter.layout.particulars.collecting {
            None => Vec::new(),
            Some(CollectingAt::Runtime(at)) => vec![interpreter.runtime_start.wrapping_add(at)],
            Some(CollectingAt::Interpreter(at)) => {
                let states = self.interpreter_states().unwrap_or_default();
                states.iter().map(|state| state.wrapping_add(at)).collect()
            }
        }
    }

    /// Whether one of these [`Self::collectors`] runs; `None` when that cannot be read.
    #[must_use]
    pub fn any_collects(&self, collectors: &[u64]) -> Option<bool> {
        let mut flags = collectors.iter().map(|at| self.memory().half(*at).ok().map(|flag| flag != 0));
        let first = flags.next()??;
        flags.try_fold(first, |any, flag| Some(any | flag?))
    }

    /// The threads that hold an interpreter lock at this instant: one, unless sub-interpreters have locks of their own.
    #[must_use]
    pub fn lock_holders(&self) -> Vec<i32> {
        let locks = match self.interpreter().gil {
            Gil::OfInterpreter(_) => self.locks(),
            Gil::Holder(at) => {
                let state = self.memory().word(at).unwrap_or(0);
                return self.thread_of(state).into_iter().collect();
            }
            Gil::Unknown => return Vec::new(),
        };
        let states = locks.iter().filter_map(|lock| self.holder_of(*lock).ok().flatten());
        states.filter_map(|state| self.thread_of(state)).collect()
    }

    /// The addresses of the interpreter locks, each once.
    fn locks(&self) -> Vec<u64> {
        let Gil::OfInterpreter(at) = self.interpreter().gil else { return Vec::new() };
        let states = self.interpreter_states().unwrap_or_default();
        let locks = states.iter().filter_map(|state| self.memory().word(state.wrapping_add(at)).ok());
        let mut locks: Vec<u64> = locks.filter(|lock| *lock != 0).collect();
        locks.sort_unstable();
        locks.dedup();
        locks
    }

    /// Where a thread sleeps that waits for an interpreter lock: the runtime's own memory, and the locks that
    /// sub-interpreters have in theirs (3.12 and later).
    #[must_use]
    pub fn lock_ranges(&self) -> Vec<std::ops::Range<u64>> {
        let interpreter = self.interpreter();
        // Without a lock nobody waits for it.
        if self.gil_holder() == GilHolder::Absent {
            return Vec::new();
        }
        let own =
            self.locks().into_iter().map(|lock| lock..lock.saturating_add(interpreter.layout.lock.size));
        std::iter::once(interpreter.runtime_start..interpreter.runtime_end).chain(own).collect()
    }
}
