//! Parts that a compiler has split off a function and put elsewhere, where no symbol names them.
//!
//! A jump to the beginning of a function may be a call; one into the middle of a piece of code stays inside of its function.
//! So a piece into which a function jumps is a part of it. Takes machine code (x86-64); pure.

use std::ops::Range;

/// Jumps into a piece that make it a part: bytes that only look like one lead there hardly ever, let alone several.
const ENOUGH: usize = 4;

/// Where the jumps in a piece of code lead.
#[must_use]
pub fn targets(code: &[u8], at: u64) -> Vec<u64> {
    let mut targets = Vec::new();
    for (offset, window) in code.windows(6).enumerate() {
        // `jmp rel32` has one byte before the distance, `jcc rel32` two.
        let (length, distance) = match window {
            [0x0f, 0x80..=0x8f, a, b, c, d] => (6, [*a, *b, *c, *d]),
            [0xe9, a, b, c, d, _] => (5, [*a, *b, *c, *d]),
            _ => continue,
        };
        let next = at.wrapping_add(offset as u64 + length);
        targets.push(next.wrapping_add_signed(i64::from(i32::from_le_bytes(distance))));
    }
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// Whether a piece of code is a part of the function whose jumps lead to `targets`.
#[must_use]
pub fn is_part(targets: &[u64], piece: &Range<u64>) -> bool {
    let inside = |target: &&u64| **target > piece.start && **target < piece.end;
    targets.iter().filter(inside).count() >= ENOUGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_into_the_middle_make_a_part() {
        let jump = |opcode: &[u8], distance: i32| [opcode, &distance.to_le_bytes()].concat();
        let mut code = Vec::new();
        for (opcode, target) in [
            (&[0x0f, 0x84][..], 0x2001),
            (&[0xe9], 0x2002),
            (&[0x0f, 0x8f], 0x2003),
            (&[0xe9], 0x2000),
            (&[0xe9], 0x20ff),
        ] {
            let next = 0x1000 + code.len() + opcode.len() + 4;
            code.extend(jump(opcode, target - i32::try_from(next).unwrap_or(0)));
        }
        code.push(0xc3);
        let targets = targets(&code, 0x1000);
        assert_eq!(targets, [0x2000, 0x2001, 0x2002, 0x2003, 0x20ff]);
        assert!(is_part(&targets, &(0x2000..0x2100)));
        assert!(!is_part(&targets, &(0x2000..0x20ff)), "its beginning may be called, its end is another's");
    }
}
