//! What is known of a thread's registers: each has a value, or none.
//!
//! A sleeping thread tells its stack pointer and where it goes on; all else becomes known only where some callee has
//! saved it on the stack. Of a thread that was held all are known. Which number means what is
//! [`crate::observe::registers`]'s to say; only the machine that this runs on is followed.

use crate::observe::registers::{AARCH64, Order, X86_64};

/// The machine whose stacks are followed.
pub const MACHINE: Order = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };

/// More than any machine numbers.
const COUNT: usize = 33;
/// The base pointer.
pub const BASE: u16 = MACHINE.base_pointer;
/// The stack pointer.
pub const STACK: u16 = MACHINE.stack_pointer;
/// Where the thread goes on.
pub const PLACE: u16 = MACHINE.program_counter;

/// The registers of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers([Option<u64>; COUNT]);

impl Default for Registers {
    fn default() -> Self {
        Self([None; COUNT])
    }
}

impl Registers {
    /// Those of a sleeping thread.
    #[must_use]
    pub fn asleep(stack_pointer: u64, program_counter: u64) -> Self {
        let mut registers = Self::default();
        registers.set(STACK, Some(stack_pointer));
        registers.set(PLACE, Some(program_counter));
        registers
    }

    /// Those of a thread that was held, by the words that the kernel tells.
    #[must_use]
    pub fn held(words: &[u64]) -> Self {
        let mut registers = Self::default();
        for number in 0..MACHINE.numbered.len() as u16 {
            registers.set(number, MACHINE.get(words, number));
        }
        registers
    }

    /// A register; `None` when its value is not known.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<u64> {
        self.0.get(usize::from(number)).copied().flatten()
    }

    /// Sets a register; a number that is none is left out.
    pub fn set(&mut self, number: u16, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(usize::from(number)) {
            *place = value;
        }
    }

    /// What a caller knows of its own registers when no rule says anything: those that every function gives back.
    #[must_use]
    pub fn kept(&self) -> Self {
        let mut kept = Self::default();
        for number in MACHINE.kept {
            kept.set(*number, self.get(*number));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_thread_has_all_and_its_caller_those_that_are_kept() {
        let words: Vec<u64> = (1..=MACHINE.words as u64).collect();
        let held = Registers::held(&words);
        assert!((0..MACHINE.numbered.len() as u16).all(|number| held.get(number).is_some()));
        let caller = held.kept();
        assert_eq!(caller.get(BASE), held.get(BASE));
        assert_eq!((caller.get(STACK), caller.get(PLACE)), (None, None));
        assert_eq!(Registers::held(&[]), Registers::default());
    }
}
