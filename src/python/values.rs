//! Values as short texts, made from memory alone: no code of the target runs, and nothing is followed far.
//!
//! Takes the address of an object, gives what `repr` would give for `None`, booleans, numbers, strings, bytes and for
//! tuples, lists and dictionaries of them, shortened; everything else is `<type at 0x…>`. Only the interpreter's own
//! types are looked into: what is derived from one may mean something else. Depth, items and length are bounded, and what
//! a container holds is only shown if it still holds it after it was read. What is secret decides a [`Discretion`].

use std::fmt::Write as _;

use super::attributes::Looking;
use super::layout::Text;
use super::memory::ReadError;
use super::object;
use super::objects::Integers;
use super::types::{self, TypeFacts, Types};

/// Longest text of a value, in characters.
pub const MAX_VALUE: usize = 240;
/// Longest string inside one, in characters.
const MAX_STRING: usize = 80;
/// Most bytes of a string that are looked through for secrets.
const MAX_BYTES: usize = 512;
/// Most items of a container.
const MAX_ITEMS: usize = 6;
/// Containers inside each other.
const MAX_DEPTH: usize = 3;
/// Most digits of an integer that is shown: 120 bits.
const MAX_DIGITS: u64 = 4;
/// Bits of a digit.
const DIGIT_BITS: u32 = 30;

/// Who decides what is shown.
pub trait Discretion {
    /// Whether what bears this name is not shown at all.
    fn hides(&self, name: &str) -> bool;
    /// A text without the secrets in it.
    fn masked(&self, text: &str) -> String;
    /// What stands in the place of a secret.
    fn mask(&self) -> &'static str;
}

/// Makes texts of values.
pub struct Values<'m> {
    /// The memory and where things are in it.
    pub looking: Looking<'m>,
    /// The types met so far.
    pub types: &'m mut Types,
    /// What may be shown.
    pub discretion: &'m dyn Discretion,
}

/// What an object is, as far as it is looked into.
enum What {
    None,
    Bool,
    Integer,
    Float,
    String,
    Bytes,
    Tuple,
    List,
    Dictionary,
    Other,
}

impl Values<'_> {
    /// The text of an object.
    pub fn text(&mut self, object: u64) -> Result<String, ReadError> {
        self.inner(object, 0).map(|text| shortened(&text, MAX_VALUE))
    }

    /// The text of what a slot refers to, if it still does when that was read; `None` when it is empty.
    pub fn held(&mut self, slot: u64) -> Result<Option<String>, ReadError> {
        let object = self.reference(slot)?;
        if object == 0 {
            return Ok(None);
        }
        let text = self.text(object)?;
        if self.reference(slot)? == object { Ok(Some(text)) } else { Err(ReadError::Unmapped) }
    }

    /// The type of an object.
    pub fn type_of(&mut self, object: u64) -> Result<&TypeFacts, ReadError> {
        self.types.of(&self.looking, object)
    }

    fn reference(&self, slot: u64) -> Result<u64, ReadError> {
        self.looking.memory.word(slot)
    }

    fn what(&mut self, object: u64) -> Result<What, ReadError> {
        let old = self.looking.objects.integers == Integers::Words;
        let facts = self.type_of(object)?;
        Ok(match facts.name.as_str() {
            _ if facts.flags & types::HEAP != 0 => What::Other,
            "NoneType" => What::None,
            "bool" => What::Bool,
            "int" if old || facts.is("int", types::LONG) => What::Integer,
            "long" if facts.is("long", types::LONG) => What::Integer,
            "float" => What::Float,
            "str" if old && facts.is("str", types::BYTES) => What::String,
            "str" if facts.is("str", types::UNICODE) => What::String,
            "bytes" if facts.is("bytes", types::BYTES) => What::Bytes,
            "tuple" if facts.is("tuple", types::TUPLE) => What::Tuple,
            "list" if facts.is("list", types::LIST) => What::List,
            "dict" if facts.is("dict", types::DICT) => What::Dictionary,
            _ => What::Other,
        })
    }

    fn inner(&mut self, object: u64, depth: usize) -> Result<String, ReadError> {
        Ok(match self.what(object)? {
            What::None => "None".into(),
            What::Bool => {
                let facts = self.types.of(&self.looking, object)?;
                match integer(&self.looking, facts, object)? {
                    Some(0) => "False".into(),
                    Some(1) => "True".into(),
                    _ => return Err(ReadError::Unmapped),
                }
            }
            What::Integer => {
                let facts = self.types.of(&self.looking, object)?;
                match integer(&self.looking, facts, object)? {
                    Some(number) => number.to_string(),
                    None => self.other(object)?,
                }
            }
            What::Float => float(f64::from_bits(self.looking.word_behind(object, 0)?)),
            What::String => match self.string(object)? {
                Some(text) => self.quoted(&text, ""),
                None => self.other(object)?,
            },
            What::Bytes => {
                let text = self.bytes(object)?;
                self.quoted(&text, "b")
            }
            What::Tuple => self.sequence(object, depth, true)?,
            What::List => self.sequence(object, depth, false)?,
            What::Dictionary => self.dictionary(object, depth)?,
            What::Other => self.other(object)?,
        })
    }

    fn other(&mut self, object: u64) -> Result<String, ReadError> {
        let facts = self.type_of(object)?;
        Ok(format!("<{} at {object:#x}>", facts.name))
    }

    /// A string's characters, as many as are looked at; `None` for a form that is not read.
    fn string(&mut self, object: u64) -> Result<Option<String>, ReadError> {
        let memory = self.looking.memory;
        if let Text::Unicode { packing, .. } = self.looking.layout.text
            && memory.half(self.looking.behind_head(object).wrapping_add(16))? >> packing & 8 == 0
        {
            return Ok(None);
        }
        object::text(memory, self.looking.layout, object).map(Some)
    }

    /// Bytes as characters of the same numbers.
    fn bytes(&self, object: u64) -> Result<String, ReadError> {
        let memory = self.looking.memory;
        let length = self.looking.word_behind(object, 0)?;
        let bytes = object::bytes(memory, self.looking.layout, object, MAX_BYTES)?;
        let mut text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        if length > MAX_BYTES as u64 {
            text.push('…');
        }
        Ok(text)
    }

    /// A text in quotes, without secrets and without characters that act on a terminal.
    fn quoted(&self, text: &str, prefix: &str) -> String {
        // First the secrets, then the length: half a secret is not recognised as one.
        let text = self.discretion.masked(text);
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut out = format!("{prefix}{quote}");
        for (place, c) in text.chars().enumerate() {
            if place >= MAX_STRING {
                out.push('…');
                break;
            }
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                c if c == quote => {
                    out.push('\\');
                    out.push(c);
                }
                c if c.is_ascii_control() || (prefix == "b" && !c.is_ascii() && c != '…') => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c if c.is_ascii() => out.push(c),
                // What cannot be printed, or hides between other characters, becomes visible.
                c => out.extend(c.escape_debug()),
            }
        }
        out.push(quote);
        out
    }

    fn sequence(&mut self, object: u64, depth: usize, tuple: bool) -> Result<String, ReadError> {
        let memory = self.looking.memory;
        let (open, close) = if tuple { ("(", ")") } else { ("[", "]") };
        let length = self.looking.word_behind(object, 0)?;
        if length > i64::MAX as u64 {
            return Err(ReadError::Unmapped);
        }
        if length == 0 {
            return Ok(format!("{open}{close}"));
        }
        if depth + 1 >= MAX_DEPTH {
            return Ok(format!("{open}… {length}{close}"));
        }
        let items = if tuple {
            object.wrapping_add(self.looking.objects.tuple_items)
        } else {
            self.looking.word_behind(object, 8)?
        };
        let shown = length.min(MAX_ITEMS as u64);
        let mut parts = Vec::new();
        let mut announced = false;
        for slot in (0..shown).map(|n| items.wrapping_add(n * 8)) {
            let item = memory.word(slot)?;
            let name = self.name(item)?;
            // In a pair, and in a list of arguments, a name is followed by what it names.
            let text =
                if announced { self.discretion.mask().to_owned() } else { self.inner(item, depth + 1)? };
            announced = name.is_some_and(|name| self.discretion.hides(&name));
            if memory.word(slot)? != item {
                return Err(ReadError::Unmapped);
            }
            parts.push(text);
        }
        // A list that has grown keeps its items elsewhere.
        if !tuple
            && (self.looking.word_behind(object, 8)?, self.looking.word_behind(object, 0)?) != (items, length)
        {
            return Err(ReadError::Unmapped);
        }
        let rest = if length > shown { format!(", … {} more", length - shown) } else { String::new() };
        let comma = if tuple && length == 1 { "," } else { "" };
        Ok(format!("{open}{}{comma}{rest}{close}", parts.join(", ")))
    }

    fn dictionary(&mut self, object: u64, depth: usize) -> Result<String, ReadError> {
        let length = self.looking.length(object)?;
        if length == 0 {
            return Ok("{}".into());
        }
        if depth + 1 >= MAX_DEPTH {
            return Ok(format!("{{… {length}}}"));
        }
        let memory = self.looking.memory;
        let keys = self.looking.word_behind(object, 16)?;
        let mut parts = Vec::new();
        for (key, slot) in self.looking.entries(object, MAX_ITEMS)? {
            let name = self.name(key)?;
            let secret = name.is_some_and(|name| self.discretion.hides(&name));
            let value = memory.word(slot)?;
            let text = if secret { self.discretion.mask().to_owned() } else { self.inner(value, depth + 1)? };
            if memory.word(slot)? != value {
                return Err(ReadError::Unmapped);
            }
            parts.push(format!("{}: {text}", self.inner(key, depth + 1)?));
        }
        if self.looking.word_behind(object, 16)? != keys {
            return Err(ReadError::Unmapped);
        }
        let shown = parts.len() as u64;
        let rest = if length > shown { format!(", … {} more", length - shown) } else { String::new() };
        Ok(format!("{{{}{rest}}}", parts.join(", ")))
    }

    /// The text of an object that can be the name of another one.
    fn name(&mut self, object: u64) -> Result<Option<String>, ReadError> {
        Ok(match self.what(object)? {
            What::String => self.string(object)?,
            What::Bytes => Some(self.bytes(object)?),
            _ => None,
        })
    }
}

/// A text of at most so many characters.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A number as Python writes it.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) =
                exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// The value of an integer or a boolean; `None` when it is none or longer than is shown.
pub fn integer(looking: &Looking<'_>, facts: &TypeFacts, object: u64) -> Result<Option<i128>, ReadError> {
    let memory = looking.memory;
    let head = looking.word_behind(object, 0)?;
    let (negative, count) = match (looking.objects.integers, facts.name.as_str()) {
        (Integers::Words, "int" | "bool") => return Ok(Some(i128::from(head as i64))),
        (Integers::Words | Integers::Counted, "long" | "int" | "bool") => {
            ((head as i64) < 0, (head as i64).unsigned_abs())
        }
        (Integers::Tagged, "int" | "bool") => match head & 3 {
            0 => (false, head >> 3),
            1 => (false, 0),
            2 => (true, head >> 3),
            _ => return Err(ReadError::Unmapped),
        },
        _ => return Ok(None),
    };
    if count > MAX_DIGITS {
        return Ok(None);
    }
    let mut number = 0_i128;
    for n in (0..count).rev() {
        let digit = memory.half(looking.behind_head(object).wrapping_add(8 + n * 4))?;
        if digit >> DIGIT_BITS != 0 {
            return Err(ReadError::Unmapped);
        }
        number = number << DIGIT_BITS | i128::from(digit);
    }
    Ok(Some(if negative { -number } else { number }))
}

#[cfg(test)]
#[path = "values_tests.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
