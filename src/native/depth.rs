//! How far a function has moved the stack pointer, by its machine code (x86-64).
//!
//! Code that keeps a frame pointer has rules that need this register, which is not known of a sleeping thread when the C
//! library, where it sleeps, has none. But the stack pointer is, and a function moves it by what is written in its code. The
//! code is followed from its beginning; where it moves the pointer by what only the processor knows, nothing is said.

use foldhash::HashMap;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

/// How often the code is followed: blocks behind a jump back are known only after that was met.
const PASSES: usize = 3;

/// Where the stack pointer stands, as bytes below the frame's own address, and where the frame pointer was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Depth {
    stack: i64,
    frame: Option<i64>,
}

/// Bytes between the stack pointer before the instruction at `at` and the frame's address, which is that of the stack pointer
/// before the function was called. `None` when the code does not tell.
#[must_use]
pub fn depth(code: &[u8], start: u64, at: u64) -> Option<u64> {
    let mut jumps: HashMap<u64, Depth> = HashMap::default();
    let mut info = InstructionInfoFactory::new();
    for _ in 0..PASSES {
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        let mut now = Some(Depth { stack: 8, frame: None });
        while decoder.can_decode() {
            let ip = decoder.ip();
            match (now, jumps.get(&ip)) {
                // Two ways that do not agree say nothing.
                (Some(here), Some(known)) if here.stack != known.stack => return None,
                (None, Some(known)) => now = Some(*known),
                _ => {}
            }
            if ip == at {
                if let Some(depth) = now {
                    return u64::try_from(depth.stack).ok();
                }
                break;
            }
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return None;
            }
            let after = now.and_then(|depth| moved(&instruction, depth, &mut info));
            match instruction.flow_control() {
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    if let Some(depth) = after {
                        jumps.entry(instruction.near_branch_target()).or_insert(depth);
                    }
                }
                _ => {}
            }
            now = match instruction.flow_control() {
                FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
                | FlowControl::Interrupt => None,
                _ => after,
            };
        }
    }
    None
}

/// Whether bytes end with a call: so does what lies before a return address.
#[must_use]
pub fn ends_with_call(bytes: &[u8]) -> bool {
    (2..=7).filter_map(|length| bytes.len().checked_sub(length)).any(|begin| {
        let Some(code) = bytes.get(begin..) else { return false };
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        call && instruction.len() == code.len()
    })
}

/// Where the stack pointer stands after an instruction; `None` when that cannot be told.
fn moved(instruction: &Instruction, depth: Depth, info: &mut InstructionInfoFactory) -> Option<Depth> {
    let Depth { stack, frame } = depth;
    let registers = (instruction.op0_kind() == OpKind::Register).then(|| instruction.op0_register());
    let immediate = || instruction.try_immediate(1).ok().map(|value| value as i64);
    let from_register =
        |register| instruction.op1_kind() == OpKind::Register && instruction.op1_register() == register;
    match (instruction.mnemonic(), registers) {
        // A called function gives the stack pointer back as it was.
        (Mnemonic::Call, _) => return Some(depth),
        (Mnemonic::Leave, _) => return Some(Depth { stack: frame? - 8, frame: None }),
        (Mnemonic::Sub, Some(Register::RSP)) => {
            return Some(Depth { stack: stack.checked_add(immediate()?)?, frame });
        }
        (Mnemonic::Add, Some(Register::RSP)) => {
            return Some(Depth { stack: stack.checked_sub(immediate()?)?, frame });
        }
        (Mnemonic::Mov, Some(Register::RSP)) => {
            return from_register(Register::RBP).then_some(Depth { stack: frame?, frame });
        }
        (Mnemonic::Mov, Some(Register::RBP)) if from_register(Register::RSP) => {
            return Some(Depth { stack, frame: Some(stack) });
        }
        (Mnemonic::Lea, Some(Register::RSP)) if instruction.memory_index() == Register::None => {
            let base = match instruction.memory_base() {
                Register::RSP => stack,
                Register::RBP => frame?,
                _ => return None,
            };
            return Some(Depth {
                stack: base.checked_sub(instruction.memory_displacement64() as i64)?,
                frame,
            });
        }
        (Mnemonic::Pop, Some(Register::RBP)) => return Some(Depth { stack: stack - 8, frame: None }),
        (Mnemonic::Push | Mnemonic::Pop, register) if register != Some(Register::RSP) => {
            return Some(Depth { stack: stack - i64::from(instruction.stack_pointer_increment()), frame });
        }
        _ => {}
    }
    let mut frame = frame;
    for used in info.info(instruction).used_registers() {
        let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        match used.register().full_register() {
            Register::RSP if writes => return None,
            // It is used for something else.
            Register::RBP if writes => frame = None,
            _ => {}
        }
    }
    Some(Depth { stack, frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `push rbp; mov rbp,rsp; push r15; push rbx; sub rsp,0x18`.
    const PROLOGUE: [u8; 11] = [0x55, 0x48, 0x89, 0xe5, 0x41, 0x57, 0x53, 0x48, 0x83, 0xec, 0x18];

    fn with(rest: &[u8]) -> Vec<u8> {
        [&PROLOGUE, rest].concat()
    }

    #[test]
    fn a_prologue_is_followed() {
        // `call rax; nop`
        let code = with(&[0xff, 0xd0, 0x90]);
        assert_eq!(depth(&code, 0x1000, 0x100d), Some(8 + 8 + 16 + 0x18));
        assert_eq!(depth(&code, 0x1000, 0x1000), Some(8));
        assert_eq!(depth(&code, 0x1000, 0x1002), None, "inside of an instruction");
    }

    #[test]
    fn what_follows_the_end_of_the_function_is_known_by_a_jump() {
        // `jne +9; lea rsp,[rbp-0x10]; pop rbx; pop r15; pop rbp; ret; call rax`: the call comes behind the return.
        let code =
            with(&[0x75, 0x09, 0x48, 0x8d, 0x65, 0xf0, 0x5b, 0x41, 0x5f, 0x5d, 0xc3, 0xff, 0xd0, 0x90]);
        assert_eq!(depth(&code, 0x1000, 0x1018), Some(8 + 8 + 16 + 0x18));
        assert_eq!(depth(&code, 0x1000, 0x1015), Some(8), "before it returns");
    }

    #[test]
    fn what_only_the_processor_knows_is_not_guessed() {
        // `sub rsp,rax; call rax`
        assert_eq!(depth(&with(&[0x48, 0x29, 0xc4, 0xff, 0xd0, 0x90]), 0x1000, 0x1010), None);
        // `and rsp,-32; call rax`
        assert_eq!(depth(&with(&[0x48, 0x83, 0xe4, 0xe0, 0xff, 0xd0, 0x90]), 0x1000, 0x1011), None);
    }

    #[test]
    fn calls_of_all_kinds() {
        assert!(ends_with_call(&[0x90, 0x90, 0xe8, 1, 2, 3, 4]));
        assert!(ends_with_call(&[0x41, 0xff, 0xd4]));
        assert!(ends_with_call(&[0xff, 0x90, 1, 2, 3, 4]));
        assert!(!ends_with_call(&[0x90; 7]));
        assert!(!ends_with_call(&[0xe9, 1, 2, 3, 4]));
        assert!(!ends_with_call(&[]));
    }

    proptest::proptest! {
        #[test]
        fn no_code_can_hurt(code: Vec<u8>, at in 0_u64..300) {
            let _ = depth(&code, 0, at);
        }
    }
}
