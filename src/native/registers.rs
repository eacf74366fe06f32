//! What is known of a thread's registers (x86-64): each has a value, or none.
//!
//! A sleeping thread tells its stack pointer and where it goes on; all else becomes known only where some callee has
//! saved it on the stack.

/// Numbers that debuggers give to the registers of x86-64, and the return address behind them.
pub const COUNT: usize = 17;
/// The base pointer.
pub const RBP: u16 = 6;
/// The stack pointer.
pub const RSP: u16 = 7;
/// Where the thread goes on.
pub const RIP: u16 = 16;

/// Registers that a called function gives back as they were: rbx, rbp, r12 to r15.
const KEPT: [u16; 6] = [3, RBP, 12, 13, 14, 15];

/// The registers of one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers([Option<u64>; COUNT]);

impl Registers {
    /// Those of a sleeping thread.
    #[must_use]
    pub fn asleep(stack_pointer: u64, program_counter: u64) -> Self {
        let mut registers = Self::default();
        registers.set(RSP, Some(stack_pointer));
        registers.set(RIP, Some(program_counter));
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
        for number in KEPT {
            kept.set(number, self.get(number));
        }
        kept
    }
}
