//! Where the fields of a tracepoint's records stand, as its `format` file says.
//!
//! Pure. The file is the kernel's, but nothing in it is believed that would lead outside of a record.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use crate::observe::parse::{decimal, lines};

/// No field of a record lies behind this.
const MOST_BYTES: usize = 4096;

/// The place of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    offset: usize,
    size: usize,
}

impl Place {
    /// The bytes of the field in a record.
    pub fn of(self, record: &[u8]) -> Option<&[u8]> {
        record.get(self.offset..self.offset + self.size)
    }

    /// The field as a number of 64 bits.
    pub fn word(self, record: &[u8]) -> Option<u64> {
        self.of(record)?.try_into().ok().map(u64::from_ne_bytes)
    }
}

/// Where the fields stand that a call is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The number of the tracepoint: 16 bits.
    pub kind: Place,
    /// The number of the call: 64 bits.
    pub number: Place,
    /// Its arguments (six of 64 bits), or its result (64 bits).
    pub values: Place,
}

/// The layout of `raw_syscalls:sys_enter`.
pub fn enter(format: &[u8]) -> Option<Layout> {
    layout(format, "args", 48)
}

/// The layout of `raw_syscalls:sys_exit`.
pub fn leave(format: &[u8]) -> Option<Layout> {
    layout(format, "ret", 8)
}

fn layout(format: &[u8], values: &str, bytes: usize) -> Option<Layout> {
    let field = |name: &str, size: usize| place(format, name).filter(|place| place.size == size);
    Some(Layout { kind: field("common_type", 2)?, number: field("id", 8)?, values: field(values, bytes)? })
}

/// `field:unsigned long args[6]; offset:16; size:48; signed:0;`, with tabs between.
fn place(format: &[u8], name: &str) -> Option<Place> {
    lines(format).find_map(|line| {
        let mut parts = std::str::from_utf8(line).ok()?.trim().split(';').map(str::trim);
        let declared = parts.next()?.strip_prefix("field:")?;
        let called = declared.split_whitespace().next_back()?.split('[').next()?;
        let mut number = |key: &str| {
            let value = parts.next()?.strip_prefix(key)?.strip_prefix(':')?;
            usize::try_from(decimal(value.as_bytes())?).ok()
        };
        let found = Place { offset: number("offset")?, size: number("size")? };
        let inside = found.offset.checked_add(found.size).is_some_and(|end| end <= MOST_BYTES);
        (called == name && inside).then_some(found)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Linux 6.18 gives it.
    pub const ENTER: &[u8] = b"name: sys_enter\nID: 350\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
        \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n\
        \tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;\n\n\
        print fmt: \"NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)\", REC->id, REC->args[0]\n";
    /// The same.
    pub const LEAVE: &[u8] = b"name: sys_exit\nID: 349\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n\
        \tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;\n\n\
        print fmt: \"NR %ld = %ld\", REC->id, REC->ret\n";

    fn at(offset: usize, size: usize) -> Place {
        Place { offset, size }
    }

    #[test]
    fn the_kernels_own_description() {
        assert_eq!(enter(ENTER).unwrap(), Layout { kind: at(0, 2), number: at(8, 8), values: at(16, 48) });
        assert_eq!(leave(LEAVE).unwrap(), Layout { kind: at(0, 2), number: at(8, 8), values: at(16, 8) });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let with = |from: &str, to: &str| {
            let text = String::from_utf8(ENTER.to_vec()).unwrap().replace(from, to);
            enter(text.as_bytes())
        };
        assert!(with("nothing", "").is_some());
        for (from, to) in [
            // Of a machine of 32 bits.
            ("size:48", "size:24"),
            ("long id", "long nr"),
            ("offset:16", "offset:4090"),
            ("offset:16", "offset:18446744073709551615"),
            ("offset:16", "offset:-16"),
            ("offset:16;\tsize:48", "size:48;\toffset:16"),
            ("args[6]", "arguments[6]"),
        ] {
            assert_eq!(with(from, to), None, "{from} → {to}");
        }
        assert_eq!((enter(LEAVE), leave(ENTER), enter(b"")), (None, None, None));
    }

    #[test]
    fn a_record_that_is_too_short_has_no_field() {
        let layout = leave(LEAVE).unwrap();
        let record: Vec<u8> = (0..24).collect();
        assert_eq!(layout.values.word(&record), Some(u64::from_ne_bytes([16, 17, 18, 19, 20, 21, 22, 23])));
        assert_eq!(layout.values.word(&record[..23]), None);
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text in proptest::collection::vec(any::<u8>(), 0..400), cut in 0..500usize) {
            let _ = (enter(&text), leave(&text));
            let half = ENTER.get(..cut).unwrap_or(ENTER);
            if let Some(layout) = enter(&[half, &text].concat()) {
                let _ = (layout.values.of(&text), layout.number.word(&text));
            }
        }
    }
}
