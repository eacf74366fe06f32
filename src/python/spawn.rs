//! Where a gevent greenlet was spawned: the record that gevent keeps of it, in either of its forms.
//!
//! Takes memory and a greenlet, gives the code objects and lines of the record, innermost first. From gevent 1.5 on it is a
//! chain of records, before that a list of pairs. Releases have moved it, so it is found once by what it is, for each type,
//! and checked by what it is at each reading.

use foldhash::HashMap;

use super::attributes::Looking;
use super::kinds::GreenletType;
use super::memory::{ReadError, half_at, word_at};

/// Longest record: gevent keeps ten frames, and early releases those of the spawner behind them.
const MAX_FRAMES: usize = 16;
/// Bytes behind the fields of `greenlet.greenlet` that are searched for the record.
const GREENLET_BYTES: usize = 96;
/// So many greenlets without a record, and gevent keeps none: it was told not to.
const MOST_MISSES: u32 = 64;
/// Bytes of a piece: head, code, line, next piece.
const PIECE: usize = 40;

/// Where the records of greenlets are.
#[derive(Debug, Default)]
pub struct Spawning {
    /// For each type of greenlets.
    places: HashMap<u64, u64>,
    /// How many of a type were searched in vain.
    misses: HashMap<u64, u32>,
    /// What a type of objects is to a record.
    forms: HashMap<u64, Form>,
}

/// What an object is to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A piece of a chain.
    Piece,
    /// A list, which may be one of pairs.
    List,
    Tuple,
    Int,
    Other,
}

impl Spawning {
    /// Code objects and lines of the place where a greenlet was spawned, innermost first; nothing where none are kept.
    pub fn record(
        &mut self,
        looking: Looking<'_>,
        kind_address: u64,
        kind: GreenletType,
        greenlet: u64,
        into: &mut Vec<(u64, u32)>,
    ) -> Result<(), ReadError> {
        into.clear();
        let fields_at = greenlet.wrapping_add(kind.base_size);
        if let Some(at) = self.places.get(&kind_address) {
            let first = looking.memory.word(fields_at.wrapping_add(*at))?;
            return self.read(looking, first, into);
        }
        let misses = self.misses.entry(kind_address).or_default();
        if *misses >= MOST_MISSES {
            return Ok(());
        }
        *misses += 1;
        let mut fields = [0; GREENLET_BYTES];
        looking.memory.read(fields_at, &mut fields)?;
        for at in (8..GREENLET_BYTES).step_by(8) {
            let word = word_at(&fields, at).unwrap_or(0);
            // What is none does not read as one.
            if self.read(looking, word, into).is_ok() && !into.is_empty() {
                self.places.insert(kind_address, at as u64);
                return Ok(());
            }
            into.clear();
        }
        Ok(())
    }

    fn read(
        &mut self,
        looking: Looking<'_>,
        first: u64,
        into: &mut Vec<(u64, u32)>,
    ) -> Result<(), ReadError> {
        if first == 0 || !first.is_multiple_of(8) {
            return Ok(());
        }
        let mut bytes = [0; PIECE];
        looking.memory.read(first, &mut bytes)?;
        match self.form(looking, word_at(&bytes, 8).unwrap_or(0)) {
            Form::Piece => self.chain(looking, &bytes, into),
            Form::List => self.list(looking, &bytes, into),
            Form::Tuple | Form::Int | Form::Other => Ok(()),
        }
    }

    /// {code, line, what called it}, again and again.
    fn chain(
        &mut self,
        looking: Looking<'_>,
        first: &[u8; PIECE],
        into: &mut Vec<(u64, u32)>,
    ) -> Result<(), ReadError> {
        let mut bytes = *first;
        loop {
            let field = |at: usize| word_at(&bytes, at).ok_or(ReadError::Unmapped);
            if self.form(looking, field(8)?) != Form::Piece {
                return Ok(());
            }
            into.push((field(16)?, half_at(&bytes, 24).unwrap_or(0)));
            let next = field(32)?;
            if next == 0 || into.len() >= MAX_FRAMES {
                return Ok(());
            }
            looking.memory.read(next, &mut bytes)?;
        }
    }

    /// A list of pairs of code and line.
    fn list(
        &mut self,
        looking: Looking<'_>,
        list: &[u8; PIECE],
        into: &mut Vec<(u64, u32)>,
    ) -> Result<(), ReadError> {
        let memory = looking.memory;
        let length = word_at(list, 16).unwrap_or(0).min(MAX_FRAMES as u64);
        let items = word_at(list, 24).ok_or(ReadError::Unmapped)?;
        for n in 0..length {
            let pair = memory.word(items.wrapping_add(n * 8))?;
            let mut bytes = [0; PIECE];
            memory.read(pair, &mut bytes)?;
            let field = |at: usize| word_at(&bytes, at).ok_or(ReadError::Unmapped);
            if self.form(looking, field(8)?) != Form::Tuple || field(16)? != 2 {
                return Ok(());
            }
            let (code, line) = (field(24)?, field(32)?);
            if self.form(looking, memory.word(line.wrapping_add(8))?) != Form::Int {
                return Ok(());
            }
            // A small number: Python 2 has it where Python 3 has its length.
            let at = if looking.layout.text == super::layout::Text::Bytes { 16 } else { 24 };
            into.push((code, memory.half(line.wrapping_add(at))?));
        }
        Ok(())
    }

    fn form(&mut self, looking: Looking<'_>, type_address: u64) -> Form {
        if let Some(form) = self.forms.get(&type_address) {
            return *form;
        }
        let name = super::kinds::type_name(looking.memory, looking.objects.kind, type_address);
        let form = match name.as_deref().unwrap_or_default() {
            "list" => Form::List,
            "tuple" => Form::Tuple,
            "int" => Form::Int,
            name if name.ends_with("_Frame") => Form::Piece,
            _ => Form::Other,
        };
        self.forms.insert(type_address, form);
        form
    }
}
