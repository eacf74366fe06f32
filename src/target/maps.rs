//! `/proc/PID/maps`, read and parsed. The parser is pure.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use crate::observe::kernel_file::{ProcDir, Seen};

/// Longest list of mappings that is read.
const MAX_BYTES: u64 = 16 << 20;

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Whether it may be written.
    pub writable: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Path as the kernel shows it, with a deleted file's mark removed; empty for anonymous memory.
    pub path: String,
}

/// The mappings of a process.
pub fn of(process: &ProcDir) -> Seen<Vec<Mapping>> {
    process.read("maps", MAX_BYTES).map(|text| parse(&String::from_utf8_lossy(&text)))
}

/// Parses the file; lines that make no sense are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Mapping> {
    let mut fields = text.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let path = fields.nth(2).unwrap_or_default().trim_start();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        writable: permissions.contains('w'),
        offset,
        path: path.strip_suffix(" (deleted)").unwrap_or(path).to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_all_kinds() {
        let maps = parse(
            "00400000-00420000 r--p 00000000 fe:00 1234    /usr/bin/python3.11\n\
             7f00-7f10 rw-p 00000000 00:00 0 \n\
             7f20-7f30 r-xp 00010000 fe:00 9   /tmp/lib with space.so (deleted)\n\
             nonsense\n",
        );
        assert_eq!(maps.len(), 3);
        assert_eq!((maps[0].start, maps[0].path.as_str()), (0x40_0000, "/usr/bin/python3.11"));
        assert_eq!((maps[1].writable, maps[1].path.as_str()), (true, ""));
        assert_eq!((maps[2].offset, maps[2].path.as_str()), (0x1_0000, "/tmp/lib with space.so"));
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text: String) {
            let _ = parse(&text);
        }
    }
}
