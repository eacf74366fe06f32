//! The local variables of a frame that was accepted.
//!
//! Takes the place of a frame, gives the names of its variables and short texts of their values. The frame must still be
//! the one that was accepted, before its slots are read and after; a value is only shown if its slot, read again, still
//! refers to the same object, and if a second reading of all gives the same text. Variables without a value are left out, as the interpreter leaves them out of `f_locals`.

use std::collections::HashMap;
use std::sync::Arc;

use super::attributes::Looking;
use super::layout::FRAME_BYTES;
use super::memory::{MemoryReader, ReadError, word_at};
use super::object;
use super::objects::{self, Objects, VariablesAt};
use super::reader::{Place, StackReader};
use super::types::{self, Types, type_at};
use super::values::{Discretion, Values};
use super::walk::Link;

/// Most variables of a frame.
const MAX_VARIABLES: usize = 64;
/// Longest name, in characters.
const MAX_NAME: usize = 100;
/// How often a frame that changes is read.
const TRIES: usize = 3;
/// The kind of a slot that may hold a cell: shared with inner functions, or an outer function's.
const IN_CELL: u8 = 0x40 | 0x80;

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// A short text of its value.
    pub value: String,
}

/// The variables of one look: what is remembered between its frames, and what became of the readings.
#[derive(Default)]
pub struct Locals {
    /// By the number of the code object: names in the order of the slots, and whether each may lie in a cell.
    names: HashMap<u32, Arc<[(String, bool)]>>,
    types: Types,
    /// Frames that had gone on, and values that changed or made no sense.
    pub rejected: u64,
}

/// One reading of a frame.
#[derive(Default)]
struct Found {
    /// By the number of their slots.
    known: Vec<(usize, Variable)>,
    rejected: u64,
}

impl<M: MemoryReader> StackReader<M> {
    /// The variables of a frame; none, and counted, when it is not there any more.
    pub fn variables(
        &mut self,
        locals: &mut Locals,
        place: Place,
        discretion: &dyn Discretion,
    ) -> Vec<Variable> {
        for _ in 0..TRIES {
            let Ok(mut found) = self.read_variables(locals, place, discretion) else { continue };
            let Ok(again) = self.read_variables(locals, place, discretion) else { continue };
            // An object may have been given back and its place taken by another one, twice: then the slot is as before,
            // and what was read is a mixture. The same mixture comes not twice.
            let before = found.known.len();
            found.known.retain(|variable| again.known.contains(variable));
            locals.rejected += found.rejected + (before - found.known.len()) as u64;
            return found.known.into_iter().map(|(_, variable)| variable).collect();
        }
        locals.rejected += 1;
        Vec::new()
    }

    fn read_variables(
        &mut self,
        locals: &mut Locals,
        place: Place,
        discretion: &dyn Discretion,
    ) -> Result<Found, ReadError> {
        let code = self.still(place)?;
        let version = self.interpreter().version;
        let layout = self.interpreter().layout;
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        let names = if let Some(known) = locals.names.get(&place.frame.code) {
            Arc::clone(known)
        } else {
            let names: Arc<[(String, bool)]> = self.variable_names(&objects, code)?.into();
            locals.names.insert(place.frame.code, Arc::clone(&names));
            names
        };
        let at = place.address.wrapping_add(layout.frame_locals);
        let mut slots = vec![0; names.len() * 8];
        self.memory().read(at, &mut slots)?;
        let mut found = Found::default();
        {
            let looking = Looking { memory: self.memory(), layout: &layout, objects: &objects };
            let mut values = Values { looking, types: &mut locals.types, discretion };
            for (number, (name, in_cell)) in names.iter().enumerate() {
                let held = word_at(&slots, number * 8).ok_or(ReadError::Unmapped)?;
                let object = held & layout.reference_mask;
                // The low bits of a reference are all set where it is no reference but a number.
                if object == 0 || held & !layout.reference_mask == 3 {
                    continue;
                }
                let text = if discretion.hides(name) {
                    Ok(Some(discretion.mask().to_owned()))
                } else {
                    value(&mut values, object, *in_cell)
                };
                match text {
                    Ok(Some(value)) => found.known.push((number, Variable { name: name.clone(), value })),
                    Ok(None) => {}
                    Err(ReadError::Unmapped) => found.rejected += 1,
                    Err(other) => return Err(other),
                }
            }
        }
        let mut again = vec![0; slots.len()];
        self.memory().read(at, &mut again)?;
        self.still(place)?;
        let before = found.known.len();
        found.known.retain(|(number, _)| word_at(&slots, number * 8) == word_at(&again, number * 8));
        found.rejected += (before - found.known.len()) as u64;
        Ok(found)
    }

    /// The code object of a frame, if the frame is the one that was accepted, at the same line.
    fn still(&mut self, place: Place) -> Result<u64, ReadError> {
        let layout = self.interpreter().layout;
        let mut header = [0; FRAME_BYTES];
        let room = header.get_mut(..layout.frame_bytes).ok_or(ReadError::Unmapped)?;
        self.memory().read(place.address, room)?;
        let link = Link::parse(&layout, place.address, &header).ok_or(ReadError::Unmapped)?;
        (self.resolve_link(&link)? == place.frame).then_some(link.code).ok_or(ReadError::Unmapped)
    }

    /// The names of a code object's variables in the order of their slots, and whether each may lie in a cell.
    fn variable_names(&self, objects: &Objects, code: u64) -> Result<Vec<(String, bool)>, ReadError> {
        let memory = self.memory();
        let mut names = Vec::new();
        match objects.variables {
            VariablesAt::Tuples { locals, cells, free } => {
                for (at, in_cell) in [(locals, false), (cells, true), (free, true)] {
                    let tuple = memory.word(code.wrapping_add(at))?;
                    names.extend(self.strings(objects, tuple)?.into_iter().map(|name| (name, in_cell)));
                }
            }
            VariablesAt::Slots { names: at, kinds } => {
                let strings = self.strings(objects, memory.word(code.wrapping_add(at))?)?;
                let kinds = memory.word(code.wrapping_add(kinds))?;
                let kinds = object::bytes(memory, &self.interpreter().layout, kinds, strings.len())?;
                if kinds.len() != strings.len() {
                    return Err(ReadError::Unmapped);
                }
                names.extend(strings.into_iter().zip(kinds).map(|(name, kind)| (name, kind & IN_CELL != 0)));
            }
        }
        names.truncate(MAX_VARIABLES);
        Ok(names)
    }

    /// The strings in a tuple.
    fn strings(&self, objects: &Objects, tuple: u64) -> Result<Vec<String>, ReadError> {
        let memory = self.memory();
        let layout = self.interpreter().layout;
        let looking = Looking { memory, layout: &layout, objects };
        let flags = |object: u64| Ok(type_at(&looking, looking.type_of(object)?)?.flags);
        if flags(tuple)? & types::TUPLE == 0 {
            return Err(ReadError::Unmapped);
        }
        let length = looking.word_behind(tuple, 0)?.min(MAX_VARIABLES as u64);
        let mut strings = Vec::new();
        for n in 0..length {
            let item = memory.word(tuple.wrapping_add(objects.tuple_items + n * 8))?;
            if flags(item)? & (types::UNICODE | types::BYTES) == 0 {
                return Err(ReadError::Unmapped);
            }
            let name = object::text(memory, &layout, item)?;
            strings.push(name.chars().take(MAX_NAME).collect());
        }
        Ok(strings)
    }
}

/// The text of a slot's object, or of what is in it when it is a cell: followed once. `None` for an empty cell.
fn value(values: &mut Values<'_>, object: u64, may_be_cell: bool) -> Result<Option<String>, ReadError> {
    if may_be_cell && values.type_of(object)?.name == "cell" {
        return values.held(values.looking.behind_head(object));
    }
    values.text(object).map(Some)
}
