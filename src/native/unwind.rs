//! Follows a stack from its innermost frame to its root.
//!
//! Takes the registers that are known, the modules, and a copy of the stack that was made at one instant; gives addresses
//! and how it ended. Where a rule needs what nobody knows, the stack ends there and says so.

use std::ops::Range;

use foldhash::HashMap;

use super::cfi::{NoCaller, Rule};
use super::depth::{depth, ends_with_call};
use super::modules::{Module, Modules};
use super::registers::{BASE, PLACE, Registers, STACK};
use crate::python::memory::{MemoryReader, ReadError};

/// Most frames that are followed.
const MAX_FRAMES: usize = 8_192;
/// Longest function whose code is followed.
const MAX_CODE: u64 = 64 << 10;
/// Bytes of the longest call.
const LONGEST_CALL: usize = 7;
/// Most rules that are kept.
const MAX_RULES: usize = 65_536;

/// A copy of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackCopy {
    /// Where it begins.
    pub start: u64,
    /// What is there.
    pub bytes: Vec<u8>,
}

impl MemoryReader for StackCopy {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let offset = address.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        let range = offset.and_then(|offset| Some(offset..offset.checked_add(buffer.len())?));
        buffer.copy_from_slice(range.and_then(|range| self.bytes.get(range)).ok_or(ReadError::Unmapped)?);
        Ok(())
    }
}

/// A frame: where its function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where it goes on.
    pub address: u64,
    /// An address inside the call: that one, or the byte before it where it is a return address.
    pub inside: u64,
}

/// A stack as addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// The frames, innermost first.
    pub places: Vec<Place>,
    /// Why it ends before its root; `None` when it does not.
    pub cut: Option<NoCaller>,
}

/// Follows stacks of one process; keeps the rules it has met.
#[derive(Debug, Default)]
pub struct Unwinder {
    rules: HashMap<u64, Result<Rule, NoCaller>>,
}

/// Where rules come from that the memory does not have: for an address in a module, the file's rule if that has one.
pub type Files<'f> = &'f mut dyn FnMut(&Module, u64) -> Option<Result<Rule, NoCaller>>;

impl Unwinder {
    /// Follows a stack by the tables that are in memory.
    pub fn walk(
        &mut self,
        memory: &dyn MemoryReader,
        modules: &Modules,
        stack: &dyn MemoryReader,
        innermost: Registers,
    ) -> Walked {
        self.walk_with(memory, modules, stack, innermost, &mut |_, _| None)
    }

    /// The same, also by those of files.
    pub fn walk_with(
        &mut self,
        memory: &dyn MemoryReader,
        modules: &Modules,
        stack: &dyn MemoryReader,
        innermost: Registers,
        files: Files<'_>,
    ) -> Walked {
        let mut places = Vec::new();
        let (mut registers, mut exact) = (innermost, true);
        let cut = loop {
            let Some(address) = registers.get(PLACE) else { break None };
            // A call may be the last instruction of a function: what follows is another one.
            let inside = if exact { address } else { address.wrapping_sub(1) };
            if places.len() >= MAX_FRAMES {
                break Some(NoCaller::TooDeep);
            }
            places.push(Place { address, inside });
            if self.rules.len() >= MAX_RULES {
                self.rules.clear();
            }
            let rule = self.rules.entry(inside).or_insert_with(|| rule_at(memory, modules, inside, files));
            if let Ok(rule) = rule
                && let (Some(below), None) = (rule.needs_base(), registers.get(BASE))
            {
                let empty = rule_at(memory, modules, rule.piece.start, files).ok().filter(Rule::at_beginning);
                // A part of a function that lies elsewhere does not begin with an empty frame.
                let base = empty.and_then(|_| base(memory, stack, rule, &registers, below));
                registers.set(BASE, base);
            }
            let caller = rule.as_ref().map_err(|why| *why);
            match caller.and_then(|rule| Ok((rule.caller(stack, &registers)?, rule.signal))) {
                Ok((Some(caller), signal)) => (registers, exact) = (caller, signal),
                Ok((None, _)) => break None,
                Err(why) => break Some(why),
            }
        };
        Walked { places, cut }
    }

    /// The piece of code that an address lies in, as far as its rule was met.
    #[must_use]
    pub fn piece(&self, inside: u64) -> Option<Range<u64>> {
        Some(self.rules.get(&inside)?.as_ref().ok()?.piece.clone())
    }
}

/// How the caller of a function is found: by the memory, else by a file.
fn rule_at(
    memory: &dyn MemoryReader,
    modules: &Modules,
    inside: u64,
    files: Files<'_>,
) -> Result<Rule, NoCaller> {
    let module = modules.at(inside).ok_or(NoCaller::NoModule(inside))?;
    match module.rule(memory, inside) {
        Err(NoCaller::NoRule(_)) => files(module, inside).unwrap_or(Err(NoCaller::NoRule(inside))),
        found => found,
    }
}

/// The base pointer of a frame, by what the function's code has done to the stack pointer.
fn base(
    memory: &dyn MemoryReader,
    stack: &dyn MemoryReader,
    rule: &Rule,
    registers: &Registers,
    below: u64,
) -> Option<u64> {
    // Only that of x86-64 is understood.
    if cfg!(not(target_arch = "x86_64")) {
        return None;
    }
    let Range { start, end } = rule.piece;
    let length = end.checked_sub(start).filter(|length| *length <= MAX_CODE)?;
    let code = memory.bytes(start, length, MAX_CODE as usize).ok()?;
    let depth = depth(&code, start, registers.get(PLACE)?)?;
    let frame = registers.get(STACK)?.checked_add(depth)?;
    // The frame ends with where its caller goes on, and that lies behind a call.
    let back = stack.word(frame.checked_sub(8)?).ok()?;
    let before =
        memory.bytes(back.checked_sub(LONGEST_CALL as u64)?, LONGEST_CALL as u64, LONGEST_CALL).ok()?;
    ends_with_call(&before).then(|| frame.checked_sub(below))?
}
