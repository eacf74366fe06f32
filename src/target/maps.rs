//! `/proc/PID/maps`, read and parsed. The parser is pure.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::os::unix::fs::FileExt as _;

use crate::observe::kernel_file::{ProcDir, Seen};
use crate::python::memory::PAGE;

/// Longest list of mappings that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Pages whose state is read at once.
const PAGES_AT_ONCE: usize = 8_192;

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

/// The parts of mappings that are in memory, so that a search of them brings nothing in; all where that cannot be told.
#[must_use]
pub fn resident(process: &ProcDir, mappings: &[Mapping]) -> Vec<Mapping> {
    let Ok(file) = process.open_file("pagemap") else { return mappings.to_vec() };
    let mut parts = Vec::new();
    let mut buffer = vec![0; PAGES_AT_ONCE * 8];
    for mapping in mappings.iter().filter(|m| m.writable) {
        let mut page = mapping.start / PAGE;
        let end = mapping.end / PAGE;
        while page < end {
            let count = ((end - page) as usize).min(PAGES_AT_ONCE);
            let room = buffer.get_mut(..count * 8).unwrap_or_default();
            if file.read_exact_at(room, page * 8).is_err() {
                parts.push(Mapping { start: page * PAGE, ..mapping.clone() });
                break;
            }
            present(mapping, page, room, &mut parts);
            page += count as u64;
        }
    }
    parts
}

/// Appends the runs of pages that are in memory; each page has a word, whose highest bit tells that.
fn present(mapping: &Mapping, first: u64, words: &[u8], parts: &mut Vec<Mapping>) {
    for (page, word) in (first..).zip(words.chunks_exact(8)) {
        if word.last().is_none_or(|byte| byte & 0x80 == 0) {
            continue;
        }
        let (start, end) = (page * PAGE, (page + 1) * PAGE);
        match parts.last_mut().filter(|part| part.end == start && start > mapping.start) {
            Some(part) => part.end = end,
            None => parts.push(Mapping { start, end, ..mapping.clone() }),
        }
    }
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

    #[test]
    fn only_pages_that_are_in_memory_are_parts() {
        let mapping = parse("10000-20000 rw-p 00000000 00:00 0 ").remove(0);
        let mut words = [0; 16 * 8];
        for page in [1, 2, 3, 15] {
            words[page * 8 + 7] = 0x81;
        }
        words[5 * 8 + 7] = 0x40; // Swapped out.
        let mut parts = Vec::new();
        present(&mapping, 0x10, &words[..16], &mut parts);
        present(&mapping, 0x12, &words[16..], &mut parts);
        let ranges: Vec<_> = parts.iter().map(|p| (p.start, p.end)).collect();
        assert_eq!(ranges, [(0x1_1000, 0x1_4000), (0x1_f000, 0x2_0000)]);
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text: String) {
            let _ = parse(&text);
        }
    }
}
