//! The general registers of a stopped thread, as the kernel orders them: which word is which on each architecture.
//!
//! Tables only. The numbers that debuggers give to registers are those of the architectures' own documents: the System V
//! ABI for x86-64, "DWARF for the Arm 64-bit Architecture".

/// Words of the general registers: more than any machine here has.
pub const MOST_WORDS: usize = 34;

/// Where registers stand among the words that the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// How many words there are.
    pub words: usize,
    /// The number of the system call that it is on its way out of.
    pub call: usize,
    /// What that call returns.
    pub result: usize,
    /// The word of each register, by the number that debuggers give to it.
    pub numbered: &'static [usize],
    /// The stack pointer, by that number.
    pub stack_pointer: u16,
    /// Where the thread goes on, by that number.
    pub program_counter: u16,
    /// The base pointer, by that number.
    pub base_pointer: u16,
    /// The column that tells where a caller goes on.
    pub return_address: u16,
    /// Those that a called function gives back as they were, by their numbers.
    pub kept: &'static [u16],
}

/// `struct user_regs_struct`: r15, r14, r13, r12, rbp, rbx, r11 to r8, rax, rcx, rdx, rsi, rdi, the number of the call, rip, cs, eflags,
/// rsp, and the segments.
pub const X86_64: Order = Order {
    words: 27,
    call: 15,
    result: 10,
    // rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, and the return address.
    numbered: &[10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16],
    stack_pointer: 7,
    program_counter: 16,
    base_pointer: 6,
    return_address: 16,
    kept: &[3, 6, 12, 13, 14, 15],
};

/// `struct user_pt_regs`: x0 to x30, sp, pc, pstate. The number of a call stands in x8, its result in x0.
pub const AARCH64: Order = Order {
    words: 34,
    call: 8,
    result: 0,
    numbered: &[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31, 32,
    ],
    stack_pointer: 31,
    program_counter: 32,
    base_pointer: 29,
    // A caller goes on where the link register says.
    return_address: 30,
    kept: &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
};

/// That of an architecture; `None` for one that is not known here.
#[must_use]
pub fn of(arch: &str) -> Option<&'static Order> {
    match arch {
        "x86_64" => Some(&X86_64),
        "aarch64" => Some(&AARCH64),
        _ => None,
    }
}

/// That of the machine that this is compiled for.
#[must_use]
pub fn here() -> Option<&'static Order> {
    of(std::env::consts::ARCH)
}

impl Order {
    /// A register by its number, out of the kernel's words.
    #[must_use]
    pub fn get(&self, words: &[u64], number: u16) -> Option<u64> {
        words.get(*self.numbered.get(usize::from(number))?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_has_a_word_of_its_own() {
        for order in [X86_64, AARCH64] {
            let mut words = order.numbered.to_vec();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), order.numbered.len());
            assert!(words.iter().all(|word| *word < order.words) && order.words <= MOST_WORDS);
            assert!(order.call < order.words && order.result < order.words);
            let numbers =
                [order.stack_pointer, order.program_counter, order.base_pointer, order.return_address];
            for number in numbers.iter().chain(order.kept) {
                assert!(usize::from(*number) < order.numbered.len());
            }
        }
        assert_eq!(of("riscv64"), None);
    }

    #[test]
    fn registers_are_found_by_their_numbers() {
        let words: Vec<u64> = (100..127).collect();
        assert_eq!(X86_64.get(&words, 7), Some(119), "rsp");
        assert_eq!(X86_64.get(&words, 6), Some(104), "rbp");
        assert_eq!(X86_64.get(&words, 16), Some(116), "rip");
        assert_eq!(X86_64.get(&words, 17), None);
        let words: Vec<u64> = (0..34).collect();
        assert_eq!((AARCH64.get(&words, 31), AARCH64.get(&words, 32)), (Some(31), Some(32)));
        assert_eq!(AARCH64.get(&words, 33), None, "the flags have no number");
    }

    /// The headers of the architecture this is compiled for have the last word.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_order_is_that_of_the_c_library() {
        use std::mem::{offset_of, size_of};

        use nix::libc::user_regs_struct as Words;

        let word = |offset: usize| offset / 8;
        assert_eq!(size_of::<Words>(), 8 * X86_64.words);
        assert_eq!(word(offset_of!(Words, orig_rax)), X86_64.call);
        assert_eq!(word(offset_of!(Words, rax)), X86_64.result);
        let numbered = [
            offset_of!(Words, rax),
            offset_of!(Words, rdx),
            offset_of!(Words, rcx),
            offset_of!(Words, rbx),
            offset_of!(Words, rsi),
            offset_of!(Words, rdi),
            offset_of!(Words, rbp),
            offset_of!(Words, rsp),
            offset_of!(Words, r8),
            offset_of!(Words, r9),
            offset_of!(Words, r10),
            offset_of!(Words, r11),
            offset_of!(Words, r12),
            offset_of!(Words, r13),
            offset_of!(Words, r14),
            offset_of!(Words, r15),
            offset_of!(Words, rip),
        ];
        assert_eq!(numbered.map(word), X86_64.numbered);
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn the_order_is_that_of_the_c_library() {
        use std::mem::{offset_of, size_of};

        use nix::libc::user_regs_struct as Words;

        assert_eq!(size_of::<Words>(), 8 * AARCH64.words);
        assert_eq!(offset_of!(Words, regs), 0);
        assert_eq!(offset_of!(Words, sp) / 8, AARCH64.numbered[31]);
        assert_eq!(offset_of!(Words, pc) / 8, AARCH64.numbered[32]);
    }
}
