//! How a caller's registers are found, by the program's own tables.
//!
//! Takes the memory that the tables are mapped in (`.eh_frame_hdr`, `.eh_frame`): no file is opened, so this works for
//! deleted files and other mount namespaces, and no path can fool it. Of a table only the entry of the one function is read.

use std::ops::Range;
use std::sync::Arc;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, EndianArcSlice, EvaluationResult, Expression,
    FrameDescriptionEntry, LittleEndian, ParsedEhFrameHdr, Reader as _, Register, RegisterRule,
    UnwindContext, UnwindExpression, UnwindSection, Value,
};

use super::registers::{BASE, MACHINE, PLACE, Registers, STACK};
use crate::python::memory::{MemoryReader, ReadError, half_at};

/// Longest index of a table that is read: 1,000,000 functions.
const MAX_INDEX: usize = 8 << 20;
/// Longest entry of a table.
const MAX_ENTRY: usize = 64 << 10;
/// Most steps of one expression.
const MAX_STEPS: u32 = 1_000;

/// Whose own instructions a table may have.
pub const VENDOR: gimli::Vendor =
    if cfg!(target_arch = "aarch64") { gimli::Vendor::AArch64 } else { gimli::Vendor::Default };
/// Bits of an address that are one: what stands above may be a signature of it (pointer authentication of aarch64).
const ADDRESS: u64 = if cfg!(target_arch = "aarch64") { (1 << 48) - 1 } else { u64::MAX };

/// Bytes of a table.
pub type Bytes = EndianArcSlice<LittleEndian>;

/// Why a caller is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCaller {
    /// The address lies in no mapped program or library.
    #[error("the code at 0x{0:x} belongs to no program or library, as code that was made at run time does")]
    NoModule(u64),
    /// The program has no table, or none of this function.
    #[error("its program or library does not tell how callers are found at 0x{0:x}")]
    NoRule(u64),
    /// The table makes no sense.
    #[error("the table for 0x{0:x} is not understood")]
    BadRule(u64),
    /// The rule needs a register that nobody has saved.
    #[error("the function at 0x{0:x} needs a register that only the processor has")]
    UnknownRegister(u64),
    /// The stack could not be read where the rule leads.
    #[error("the stack goes on outside of what was copied of it, at 0x{0:x}")]
    OffStack(u64),
    /// The stack does not go on.
    #[error("the stack leads back to itself at 0x{0:x}")]
    NoProgress(u64),
    /// The table could not be read.
    #[error("the table for 0x{0:x} cannot be read: {1}")]
    Unreadable(u64, ReadError),
    /// The place where a greenlet was suspended is not known.
    #[error("the place where the greenlet was suspended is not found in greenlet's library")]
    NoSwitch,
    /// There are too many frames.
    #[error("it has more frames than are followed")]
    TooDeep,
}

/// The index of a program's table.
#[derive(Debug, Clone)]
pub struct Table {
    index: ParsedEhFrameHdr<Bytes>,
    bases: BaseAddresses,
}

impl Table {
    /// Reads the index that is mapped at an address.
    pub fn read(memory: &dyn MemoryReader, at: u64, length: u64) -> Option<Self> {
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_INDEX)?;
        let bytes = memory.bytes(at, length as u64, MAX_INDEX).ok()?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(at);
        let index = EhFrameHdr::from(Bytes::new(bytes.into(), LittleEndian)).parse(&bases, 8).ok()?;
        index.table()?;
        Some(Self { index, bases })
    }

    /// The rule for an address inside a function.
    pub fn rule(&self, memory: &dyn MemoryReader, address: u64) -> Result<Rule, NoCaller> {
        let bad = NoCaller::BadRule(address);
        let table = self.index.table().ok_or(bad)?;
        let entry = table.lookup(address, &self.bases).and_then(gimli::Pointer::direct);
        let entry = entry.map_err(|_| NoCaller::NoRule(address))?;
        Rule::read(memory, entry, address)
    }
}

/// How the registers of a caller are found from those of its callee.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The piece of code that the table's entry is about.
    pub piece: Range<u64>,
    frame: CfaRule<usize>,
    registers: Vec<(u16, RegisterRule<usize>)>,
    section: Bytes,
    encoding: Encoding,
    /// Whether the caller did not call, but was interrupted by a signal.
    pub signal: bool,
}

impl Rule {
    /// Reads the entry of a function, and what it shares with others. Both are put one behind the other, as if there was
    /// nothing else in the table.
    fn read(memory: &dyn MemoryReader, entry: u64, address: u64) -> Result<Self, NoCaller> {
        let bad = NoCaller::BadRule(address);
        let piece = |at: u64| -> Result<Vec<u8>, NoCaller> {
            let unreadable = |why| NoCaller::Unreadable(address, why);
            let length = memory.half(at).map_err(unreadable)?;
            if length < 4 || length as usize > MAX_ENTRY {
                return Err(bad);
            }
            memory.bytes(at, u64::from(length) + 4, MAX_ENTRY + 4).map_err(unreadable)
        };
        let mut own = piece(entry)?;
        let back = half_at(&own, 4).filter(|back| *back != 0).ok_or(bad)?;
        let mut bytes = piece(entry.wrapping_add(4).wrapping_sub(u64::from(back)))?;
        let begin = bytes.len();
        let pointer = u32::try_from(begin + 4).map_err(|_| bad)?.to_le_bytes();
        own.get_mut(4..8).ok_or(bad)?.copy_from_slice(&pointer);
        bytes.append(&mut own);
        let bytes = Bytes::new(Arc::from(bytes), LittleEndian);
        let mut section = EhFrame::from(bytes.clone());
        section.set_address_size(8);
        section.set_vendor(VENDOR);
        // Addresses are told relative to where they stand.
        let bases = BaseAddresses::default().set_eh_frame(entry.wrapping_sub(begin as u64));
        let function =
            section.fde_from_offset(&bases, begin.into(), EhFrame::cie_from_offset).map_err(|_| bad)?;
        Self::of(&section, bytes, &bases, &function, address, 0)
    }

    /// The rule out of a function's entry in a section of these bytes, whose addresses are less than those in memory by a
    /// bias.
    pub fn of<S: UnwindSection<Bytes>>(
        section: &S,
        bytes: Bytes,
        bases: &BaseAddresses,
        function: &FrameDescriptionEntry<Bytes>,
        address: u64,
        bias: u64,
    ) -> Result<Self, NoCaller> {
        let bad = NoCaller::BadRule(address);
        let inside = address.wrapping_sub(bias);
        if !function.contains(inside) {
            return Err(NoCaller::NoRule(address));
        }
        if function.cie().return_address_register() != Register(MACHINE.return_address) {
            return Err(bad);
        }
        let mut context = UnwindContext::new();
        let row = function.unwind_info_for_address(section, bases, &mut context, inside).map_err(|_| bad)?;
        let (frame, registers) =
            (row.cfa().clone(), row.registers().map(|(r, rule)| (r.0, rule.clone())).collect());
        let (encoding, signal) = (function.cie().encoding(), function.is_signal_trampoline());
        let in_memory = |at: u64| at.wrapping_add(bias);
        let piece = in_memory(function.initial_address())..in_memory(function.end_address());
        Ok(Self { piece, frame, registers, section: bytes, encoding, signal })
    }

    /// Where the base pointer stands below a frame's address, when the rule needs it.
    #[must_use]
    pub fn needs_base(&self) -> Option<u64> {
        match &self.frame {
            CfaRule::RegisterAndOffset { register: Register(BASE), offset } => u64::try_from(*offset).ok(),
            _ => None,
        }
    }

    /// Whether it is the rule at the beginning of a function: nothing but the return address lies on its frame yet.
    #[must_use]
    pub fn at_beginning(&self) -> bool {
        matches!(&self.frame, CfaRule::RegisterAndOffset { register: Register(STACK), offset: 8 })
    }

    /// The registers of the caller of a frame whose own are given; `None` when there is none, as at the root. `stack` has what
    /// is on the stack.
    pub fn caller(&self, stack: &dyn MemoryReader, own: &Registers) -> Result<Option<Registers>, NoCaller> {
        let here = own.get(PLACE).unwrap_or(0);
        let frame = match &self.frame {
            CfaRule::RegisterAndOffset { register, offset } => {
                own.get(register.0).ok_or(NoCaller::UnknownRegister(here))?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => self.evaluate(expression, stack, own, None)?,
        };
        let load = |at: u64| stack.word(at).map_err(|_| NoCaller::OffStack(at));
        let mut caller = own.kept();
        caller.set(STACK, Some(frame));
        // That a caller cannot be found is how the root is marked. A rule is missing only where a function has not saved the
        // return address yet, on machines that keep it in a register.
        let in_register = MACHINE.return_address != PLACE;
        let mut back = in_register.then(|| (false, own.get(MACHINE.return_address)));
        for (number, rule) in &self.registers {
            let value = match rule {
                RegisterRule::Undefined => None,
                RegisterRule::SameValue => own.get(*number),
                RegisterRule::Offset(offset) => Some(load(frame.wrapping_add_signed(*offset))?),
                RegisterRule::ValOffset(offset) => Some(frame.wrapping_add_signed(*offset)),
                RegisterRule::Register(other) => own.get(other.0),
                RegisterRule::Expression(expression) => {
                    Some(load(self.evaluate(expression, stack, own, Some(frame))?)?)
                }
                RegisterRule::ValExpression(expression) => {
                    Some(self.evaluate(expression, stack, own, Some(frame))?)
                }
                RegisterRule::Constant(value) => Some(*value),
                RegisterRule::Architectural => return Err(NoCaller::BadRule(here)),
            };
            if *number == MACHINE.return_address {
                back = Some((matches!(rule, RegisterRule::Undefined), value));
            }
            caller.set(*number, value);
        }
        let (root, back) = back.ok_or(NoCaller::BadRule(here))?;
        let back = back.map(|back| back & ADDRESS);
        // Nobody returns to nowhere either.
        if root || back == Some(0) {
            return Ok(None);
        }
        let Some(back) = back else { return Err(NoCaller::UnknownRegister(here)) };
        // Of a caller that has called, the register holds where this one goes on, and its own is on the stack.
        caller.set(MACHINE.return_address, None);
        caller.set(PLACE, Some(back));
        // A caller's frame lies further up. A signal's handler may have a stack of its own, which is not followed.
        let (before, after) = (own.get(STACK).unwrap_or(u64::MAX), caller.get(STACK).unwrap_or(0));
        // One that has not saved anything yet may have no frame.
        let leaf = in_register && own.get(MACHINE.return_address).is_some();
        if after < before || (after == before && !leaf) {
            return Err(NoCaller::NoProgress(here));
        }
        Ok(Some(caller))
    }

    fn evaluate(
        &self,
        expression: &UnwindExpression<usize>,
        stack: &dyn MemoryReader,
        callee: &Registers,
        initial: Option<u64>,
    ) -> Result<u64, NoCaller> {
        let here = callee.get(PLACE).unwrap_or(0);
        let bad = |_| NoCaller::BadRule(here);
        let mut bytes = self.section.clone();
        bytes.skip(expression.offset).and_then(|()| bytes.truncate(expression.length)).map_err(bad)?;
        let mut evaluation = Expression(bytes).evaluation(self.encoding);
        evaluation.set_max_iterations(MAX_STEPS);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().map_err(bad)?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = callee.get(register.0).ok_or(NoCaller::UnknownRegister(here))?;
                    evaluation.resume_with_register(Value::Generic(value)).map_err(bad)?
                }
                EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                    let value = stack.word(address).map_err(|_| NoCaller::OffStack(address))?;
                    evaluation.resume_with_memory(Value::Generic(value)).map_err(bad)?
                }
                _ => return Err(NoCaller::BadRule(here)),
            };
        }
        match evaluation.as_result() {
            [piece] => match &piece.location {
                gimli::Location::Address { address } => Ok(*address),
                gimli::Location::Value { value: Value::Generic(value) } => Ok(*value),
                _ => Err(NoCaller::BadRule(here)),
            },
            _ => Err(NoCaller::BadRule(here)),
        }
    }
}
