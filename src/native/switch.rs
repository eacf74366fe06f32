//! Where a suspended greenlet goes on.
//!
//! All greenlets leave the processor at one place of greenlet's library (`slp_switch`): the instructions that move the stack
//! and the base pointer to those of the greenlet that is switched to. What stood in the stack pointer there is kept in the
//! greenlet; the base pointer is loaded from the stack a few instructions later. Takes machine code (x86-64); pure.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind, Register};

/// Most instructions from the switch to the end of its function.
const MOST_INSTRUCTIONS: usize = 48;

/// The place of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The instruction that moves the stack pointer.
    pub place: u64,
    /// Where the base pointer of the caller lies, counted from the stack pointer; `None` where it does not lie there.
    pub base: Option<u64>,
}

/// Finds the place in a piece of code. `None` where there is none, or more than one.
#[must_use]
pub fn find(code: &[u8], at: u64) -> Option<Switch> {
    let mut places = code.windows(6).enumerate().filter(|(_, window)| moves_both(window));
    let (offset, _) = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let place = at.wrapping_add(offset as u64);
    Some(Switch { place, base: base(code.get(offset + 6..)?) })
}

/// Whether bytes are `add rsp, R; add rbp, R` with the same register.
fn moves_both(bytes: &[u8]) -> bool {
    match bytes {
        [first @ (0x48 | 0x4c), 0x01, stack, second, 0x01, base] => {
            first == second && stack & 0xc7 == 0xc4 && *base == stack | 1
        }
        _ => false,
    }
}

/// Where the code behind the switch loads the base pointer from.
fn base(code: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    for _ in 0..MOST_INSTRUCTIONS {
        let instruction = decoder.decode();
        let into = (instruction.op0_kind() == OpKind::Register).then(|| instruction.op0_register());
        match (instruction.mnemonic(), into) {
            (Mnemonic::Mov, Some(Register::RBP)) => {
                let plain = instruction.op1_kind() == OpKind::Memory
                    && instruction.memory_base() == Register::RSP
                    && instruction.memory_index() == Register::None;
                return plain.then(|| instruction.memory_displacement64());
            }
            // The stack pointer moves on, or the base pointer comes from elsewhere.
            (_, Some(Register::RSP | Register::RBP)) | (Mnemonic::Push | Mnemonic::Pop, _) => return None,
            _ => {}
        }
        let goes_on = matches!(instruction.flow_control(), FlowControl::Next | FlowControl::Call);
        if instruction.is_invalid() || !goes_on {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// greenlet 3.5.6 for 3.13, from the moves on: a call, `xor rax, rax; mov rbx, [rsp+0x18]; mov rbp, [rsp+0x10]; …`.
    const CODE: [u8; 30] = [
        0x90, 0x48, 0x01, 0xc4, 0x48, 0x01, 0xc5, 0xe8, 0xd4, 0xf8, 0xff, 0xff, 0x48, 0x31, 0xc0, 0x48, 0x8b,
        0x5c, 0x24, 0x18, 0x48, 0x8b, 0x6c, 0x24, 0x10, 0x48, 0x83, 0xc4, 0x20, 0xc3,
    ];

    #[test]
    fn the_switch_is_found_and_where_the_base_pointer_lies() {
        assert_eq!(find(&CODE, 0x1000), Some(Switch { place: 0x1001, base: Some(0x10) }));
        assert_eq!(find(&[CODE, CODE].concat(), 0x1000), None, "which of the two cannot be told");
        let mut other = CODE;
        other[6] = 0xcd;
        assert_eq!(find(&other, 0x1000), None, "another register");
    }

    #[test]
    fn a_base_pointer_that_comes_from_elsewhere_is_not_guessed() {
        // `mov rbp, [rbp-0x30]; leave; ret`
        let code = [0x48, 0x01, 0xc4, 0x48, 0x01, 0xc5, 0x48, 0x8b, 0x6d, 0xd0, 0xc9, 0xc3];
        assert_eq!(find(&code, 0).map(|switch| switch.base), Some(None));
        // `pop rbp; ret`
        let code = [0x4c, 0x01, 0xc4, 0x4c, 0x01, 0xc5, 0x5d, 0xc3];
        assert_eq!(find(&code, 0).map(|switch| switch.base), Some(None));
    }

    proptest::proptest! {
        #[test]
        fn no_code_can_hurt(before: Vec<u8>, behind: Vec<u8>) {
            let _ = find(&[before, vec![0x48, 0x01, 0xc4, 0x48, 0x01, 0xc5], behind].concat(), u64::MAX);
        }
    }
}
