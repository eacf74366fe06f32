//! Line tables: from the place in the bytecode to the line in the file. Four formats, each capped. Pure.

use super::layout::LineFormat;

/// The line at a byte offset; `None` when the table has none for it.
#[must_use]
pub fn line_at(format: LineFormat, table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    if offset < 0 {
        return Some(first_line);
    }
    match format {
        LineFormat::Ascending => lnotab(table, first_line, offset, i64::from),
        LineFormat::Lnotab => lnotab(table, first_line, offset, |delta| i64::from(delta.cast_signed())),
        LineFormat::Pairs => pairs(table, first_line, offset),
        LineFormat::Locations => locations(table, first_line, offset),
    }
}

fn lnotab(table: &[u8], first_line: u32, offset: i64, step_of_line: impl Fn(u8) -> i64) -> Option<u32> {
    let (mut address, mut line) = (0_i64, i64::from(first_line));
    for pair in table.chunks_exact(2) {
        let [step, delta] = pair else { break };
        address += i64::from(*step);
        if address > offset {
            break;
        }
        line += step_of_line(*delta);
    }
    u32::try_from(line).ok()
}

fn pairs(table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    let (mut start, mut line) = (0_i64, i64::from(first_line));
    for pair in table.chunks_exact(2) {
        let [step, delta] = pair else { break };
        let delta = delta.cast_signed();
        let end = start + i64::from(*step);
        if delta != i8::MIN {
            line += i64::from(delta);
        }
        if (start..end).contains(&offset) {
            return (delta != i8::MIN).then(|| u32::try_from(line).ok()).flatten();
        }
        start = end;
    }
    None
}

fn locations(table: &[u8], first_line: u32, offset: i64) -> Option<u32> {
    let (mut start, mut line) = (0_i64, i64::from(first_line));
    let mut bytes = table.iter().copied().peekable();
    while let Some(head) = bytes.next() {
        let end = start + i64::from((head & 7) + 1) * 2;
        let none = match (head >> 3) & 15 {
            15 => true,
            14 => {
                line = line.checked_add(signed(&mut bytes)?)?;
                for _ in 0..3 {
                    unsigned(&mut bytes)?;
                }
                false
            }
            13 => {
                line = line.checked_add(signed(&mut bytes)?)?;
                false
            }
            code @ 10..=12 => {
                line = line.checked_add(i64::from(code) - 10)?;
                bytes.next()?;
                bytes.next()?;
                false
            }
            _ => {
                bytes.next()?;
                false
            }
        };
        if (start..end).contains(&offset) {
            return if none { None } else { u32::try_from(line).ok() };
        }
        start = end;
    }
    None
}

fn unsigned(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0_u64;
    // Ten bytes of six bits hold every 60-bit number; a longer one is no number of ours.
    for shift in 0..10 {
        let byte = bytes.next()?;
        value |= u64::from(byte & 63) << (6 * shift);
        if byte & 64 == 0 {
            return Some(value);
        }
    }
    None
}

fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = unsigned(bytes)?;
    let magnitude = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 1 { -magnitude } else { magnitude })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lnotab_steps_back_as_well() {
        let table = [2, 1, 4, 255, 2, 3];
        let line = |offset| line_at(LineFormat::Lnotab, &table, 10, offset);
        assert_eq!(
            [line(0), line(2), line(5), line(6), line(8)],
            [Some(10), Some(11), Some(11), Some(10), Some(13)]
        );
    }

    #[test]
    fn python_2_only_steps_forward() {
        let table = [2, 1, 4, 255, 2, 3];
        let line = |offset| line_at(LineFormat::Ascending, &table, 10, offset);
        assert_eq!([line(0), line(2), line(6), line(8)], [Some(10), Some(11), Some(266), Some(269)]);
    }

    #[test]
    fn pairs_know_places_without_a_line() {
        let table = [4, 1, 2, 128, 2, 2];
        let line = |offset| line_at(LineFormat::Pairs, &table, 10, offset);
        assert_eq!([line(0), line(4), line(6), line(8)], [Some(11), None, Some(13), None]);
    }

    #[test]
    fn a_frame_that_has_not_begun_stands_at_its_first_line() {
        assert_eq!(line_at(LineFormat::Locations, &[], 7, -2), Some(7));
    }

    proptest! {
        #[test]
        fn no_table_can_hurt(table: Vec<u8>, first: u32, offset: i64) {
            for format in [LineFormat::Ascending, LineFormat::Lnotab, LineFormat::Pairs, LineFormat::Locations] {
                let _ = line_at(format, &table, first, offset);
            }
        }
    }
}
