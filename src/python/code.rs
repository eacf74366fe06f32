//! Code objects, resolved once: function, file and lines.
//!
//! Cached by address. An address can be given to another code object later, so the cache remembers what it was made of
//! and checks whenever a frame is new at its place.

use foldhash::HashMap;

use super::layout::{CODE_BYTES, Instruction, Layout};
use super::lines::line_at;
use super::memory::{MemoryReader, ReadError, half_at, word_at};
use super::object;

/// Longest line table that is read.
const MAX_LINES: usize = 256 * 1024;
/// Code objects that are kept; a program has a few ten thousand at most.
const MAX_CODES: usize = 50_000;

/// Flags of generators, coroutines and asynchronous generators.
const GENERATORS: u32 = 0x20 | 0x80 | 0x200;

/// A resolved code object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Function name, qualified where the version keeps that.
    pub function: String,
    /// File name as compiled.
    pub file: String,
    /// Whether it is known to be a generator's or coroutine's.
    pub(super) generator: bool,
    first_traceable: Option<i64>,
    length: Option<i64>,
    first_line: u32,
    lines: Vec<u8>,
    identity: [u64; 3],
    address: u64,
}

/// Resolves code objects and keeps them.
#[derive(Debug, Default)]
pub struct Codes {
    by_address: HashMap<u64, u32>,
    all: Vec<Code>,
    code_type: Option<u64>,
    /// Whether what was checked once is believed to stay.
    one_look: bool,
}

impl Codes {
    /// A code object by its number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Code> {
        self.all.get(id as usize)
    }

    /// From now on what was checked once is believed to stay: for a look that is over before code objects come and go.
    pub fn one_look(&mut self) {
        self.by_address.clear();
        self.one_look = true;
    }

    /// The type of code objects, once one was met.
    #[must_use]
    pub const fn code_type(&self) -> Option<u64> {
        self.code_type
    }

    /// Whether the code object of a number is still where it was.
    #[must_use]
    pub fn still(&self, memory: &dyn MemoryReader, layout: &Layout, id: u32) -> bool {
        let Some(code) = self.get(id) else { return false };
        let mut body = [0; CODE_BYTES];
        let fields = [layout.code_filename, layout.code_name, layout.code_lines];
        memory.read(code.address, &mut body).is_ok()
            && fields.iter().zip(code.identity).all(|(at, was)| word_at(&body, *at) == Some(was))
    }

    /// The number of the code object at an address. What is there now is compared with what was there.
    pub fn resolve(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        address: u64,
    ) -> Result<u32, ReadError> {
        let known = self.by_address.get(&address).copied();
        if let Some(id) = known.filter(|_| self.one_look) {
            return Ok(id);
        }
        let mut body = [0; CODE_BYTES];
        memory.read(address, &mut body)?;
        let field = |at| word_at(&body, at).ok_or(ReadError::Unmapped);
        let identity = [field(layout.code_filename)?, field(layout.code_name)?, field(layout.code_lines)?];
        if let Some(id) = known
            && self.all.get(id as usize).is_some_and(|c| c.identity == identity)
        {
            return Ok(id);
        }
        self.check_type(memory, layout, address, field(layout.object_type() as usize)?)?;
        if self.all.len() >= MAX_CODES {
            return Err(ReadError::Unmapped);
        }
        let flags = layout.code_flags.and_then(|at| half_at(&body, at)).unwrap_or(0);
        let code = Code {
            generator: flags & GENERATORS != 0,
            function: object::text(memory, layout, identity[1])?,
            file: object::text(memory, layout, identity[0])?,
            // An object with its instructions inside has their number where all objects of variable size have it.
            length: match layout.instruction {
                Instruction::Index { .. } => None,
                Instruction::Pointer { .. } => {
                    Some((field(layout.behind_head() as usize)? as i64).saturating_mul(2))
                }
            },
            first_traceable: match layout.code_first_traceable() {
                Some(at) => Some(i64::from(memory.half(address.wrapping_add(at))? as i32) * 2),
                None => None,
            },
            first_line: half_at(&body, layout.code_first_line).unwrap_or(0),
            lines: object::bytes(memory, layout, identity[2], MAX_LINES)?,
            identity,
            address,
        };
        let id = self.all.len() as u32;
        self.all.push(code);
        self.by_address.insert(address, id);
        Ok(id)
    }

    /// Everything that is taken for a code object must have the one type `code`.
    fn check_type(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        address: u64,
        of_type: u64,
    ) -> Result<(), ReadError> {
        match self.code_type {
            Some(known) if known == of_type => Ok(()),
            None if object::type_name(memory, layout, address)? == "code" => {
                self.code_type = Some(of_type);
                Ok(())
            }
            _ => Err(ReadError::Unmapped),
        }
    }
}

impl Code {
    /// The word of a frame's instruction field as if the frame executed the code object's own instructions and not a
    /// thread's copy of them. The header of a frame that is being made may belong to two functions: a word that is in
    /// neither is an error.
    pub fn own_instruction(
        &self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        copy: u32,
        instruction: u64,
    ) -> Result<u64, ReadError> {
        if self.holds(layout, instruction) {
            return Ok(instruction);
        }
        let (Some(copies), Instruction::Pointer { code, .. }) = (layout.copies, layout.instruction) else {
            return Err(ReadError::Unmapped);
        };
        let array = memory.word(self.address.wrapping_add(copies.array))?;
        if copy == 0 || u64::from(copy) >= memory.word(array)? {
            return Err(ReadError::Unmapped);
        }
        let first = memory.word(array.wrapping_add(8 + u64::from(copy) * 8))?;
        let own = instruction.wrapping_sub(first).wrapping_add(self.address.wrapping_add(code));
        if self.holds(layout, own) { Ok(own) } else { Err(ReadError::Unmapped) }
    }

    /// The line at which a frame of this code stands, by the word that its instruction field holds. 0 when unknown.
    #[must_use]
    pub fn line(&self, layout: &Layout, instruction: u64) -> u32 {
        let offset = self.offset(layout, instruction);
        line_at(layout.line_format, &self.lines, self.first_line, offset).unwrap_or(0)
    }

    /// Whether a frame of this code can stand at this instruction: between the one before its first and its last.
    #[must_use]
    pub fn holds(&self, layout: &Layout, instruction: u64) -> bool {
        self.length.is_none_or(|length| (-2..length).contains(&self.offset(layout, instruction)))
    }

    /// Whether this is the code's first instruction.
    #[must_use]
    pub fn is_first(&self, layout: &Layout, instruction: u64) -> bool {
        self.offset(layout, instruction) <= 0
    }

    /// Whether a frame has begun to run the function.
    #[must_use]
    pub fn has_begun(&self, layout: &Layout, instruction: u64) -> bool {
        self.first_traceable.is_none_or(|first| self.offset(layout, instruction) >= first)
    }

    /// Bytes from the first instruction.
    fn offset(&self, layout: &Layout, instruction: u64) -> i64 {
        match layout.instruction {
            Instruction::Index { unit, .. } => i64::from(instruction as u32 as i32) * unit,
            Instruction::Pointer { code, .. } => {
                instruction.wrapping_sub(self.address.wrapping_add(code)) as i64
            }
        }
    }
}
