//! Symbols, debugging information and tables of callers in damaged files: `fuzz/run native`.
//!
//! The input is a file, or says which bytes of a real one are wrong, and what is on the stack; nothing may panic, hang or
//! eat memory.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stallscope::native::modules::Modules;
use stallscope::native::registers::{BASE, Registers};
use stallscope::native::symbols::Symbols;
use stallscope::native::unwind::{StackCopy, Unwinder};
use stallscope::native::{depth, parts, switch};
use stallscope::target::maps;

const BASE_ADDRESS: u64 = 0x10_0000;

/// A small program that is everywhere.
static PROGRAM: LazyLock<Vec<u8>> = LazyLock::new(|| std::fs::read("/bin/true").unwrap());

fuzz_target!(|input: &[u8]| {
    let bytes = if input.starts_with(b"\x7fELF") {
        input.to_vec()
    } else {
        let mut bytes = PROGRAM.clone();
        for damage in input.chunks_exact(5) {
            let place = u32::from_le_bytes([damage[0], damage[1], damage[2], damage[3]]) as usize;
            let length = bytes.len();
            bytes[place % length] = damage[4];
        }
        bytes
    };
    let symbols = Symbols::of_bytes(&bytes, true).unwrap_or_default();
    for at in (0..bytes.len() as u64).step_by(509) {
        let _ = symbols.at(at);
    }
    let code = bytes.get(..4_096).unwrap_or(&bytes);
    let _ =
        (depth::depth(code, 0, 1_000), parts::targets(code, BASE_ADDRESS), switch::find(code, BASE_ADDRESS));
    let end = BASE_ADDRESS + (bytes.len() as u64).next_multiple_of(4_096);
    let modules =
        Modules::of(&maps::parse(&format!("{BASE_ADDRESS:x}-{end:x} r-xp 00000000 00:00 0 /lib/x.so\n")));
    let length = bytes.len() as u64;
    let memory = StackCopy { start: BASE_ADDRESS, bytes };
    let words = (0..256_u64).flat_map(|i| (BASE_ADDRESS + i * 61).to_le_bytes());
    let stack = StackCopy { start: 0x7000_0000, bytes: input.iter().copied().chain(words).collect() };
    let mut unwinder = Unwinder::default();
    for offset in (0..length).step_by(251) {
        let mut registers = Registers::asleep(stack.start, BASE_ADDRESS + offset);
        let mut of_file = |_: &_, address| symbols.rule(address, BASE_ADDRESS);
        let _ = unwinder.walk_with(&memory, &modules, &stack, registers, &mut of_file);
        registers.set(BASE, Some(stack.start + 64));
        let _ = unwinder.walk_with(&memory, &modules, &stack, registers, &mut of_file);
    }
});
