//! The open descriptors of a process, and what the kernel tells of an epoll set, an event counter or a timer.
//!
//! Takes a process directory, gives [`Descriptor`]s and [`FdInfo`]. Must never open a file that a descriptor leads
//! to: opening a FIFO or a device of the target would do something to it. Listing an epoll set holds that set's
//! lock in the kernel for about a microsecond per entry, so it is for the bounds of a window, not for every tick.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::kernel_file::{ProcDir, Seen, Unseen};
use super::parse::{decimal, hexadecimal, lines, words};
use super::thread_files::numbered_entries;
use crate::capture::model::{Descriptor, EpollEntry};

/// Most descriptors that are listed.
pub const MAX_DESCRIPTORS: usize = 65_536;

/// Most bytes that are read of one `fdinfo`: room for [`MAX_DESCRIPTORS`] lines of an epoll set.
const MAX_FDINFO_BYTES: u64 = 96 * MAX_DESCRIPTORS as u64;

/// The open descriptors of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the kernel's order, which is ascending.
    pub fds: Vec<Descriptor>,
    /// Whether there were more than [`MAX_DESCRIPTORS`].
    pub truncated: bool,
}

/// Lists the open descriptors. Those that close meanwhile are left out.
pub fn list(process: &ProcDir) -> Seen<Listing> {
    let (numbers, truncated) = numbered_entries(process, "fd", MAX_DESCRIPTORS)?;
    let mut fds = Vec::with_capacity(numbers.len());
    for fd in numbers {
        match process.link(&format!("fd/{fd}")) {
            Ok(link) => fds.push(Descriptor { fd, inode: inode_of_link(&link), link }),
            Err(Unseen::Absent) => {}
            Err(unseen) => return Err(unseen),
        }
    }
    Ok(Listing { fds, truncated })
}

/// The inode in `socket:[123]` or `pipe:[123]`.
fn inode_of_link(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[").or_else(|| link.strip_prefix("pipe:["))?.strip_suffix(']')?;
    decimal(number.as_bytes())
}

/// What `fdinfo` says beyond position and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FdInfo {
    /// An epoll set.
    Epoll {
        /// What it watches.
        entries: Vec<EpollEntry>,
        /// Whether the list was cut off.
        truncated: bool,
    },
    /// An event counter.
    Event {
        /// Its value: readable when not 0.
        count: u64,
    },
    /// A timer.
    Timer {
        /// Expirations not read yet: readable when not 0.
        ticks: u64,
    },
    /// Anything else, also an epoll set that watches nothing.
    Other,
}

/// Reads `fdinfo` of a descriptor.
pub fn info(process: &ProcDir, fd: i32) -> Seen<FdInfo> {
    let text = process.read(&format!("fdinfo/{fd}"), MAX_FDINFO_BYTES)?;
    let mut info = parse_info(&text);
    if let FdInfo::Epoll { entries, truncated } = &mut info
        && text.len() as u64 >= MAX_FDINFO_BYTES
    {
        entries.pop(); // the last line may be cut in two
        *truncated = true;
    }
    Ok(info)
}

/// Decodes `fdinfo`. Lines that make no sense are left out.
#[must_use]
pub fn parse_info(text: &[u8]) -> FdInfo {
    let mut entries = Vec::new();
    for line in lines(text) {
        if let Some(value) = value_of(line, b"eventfd-count:").and_then(hexadecimal) {
            return FdInfo::Event { count: value };
        }
        if let Some(value) = value_of(line, b"ticks:").and_then(decimal) {
            return FdInfo::Timer { ticks: value };
        }
        if let Some(entry) = epoll_entry(line) {
            if entries.len() >= MAX_DESCRIPTORS {
                return FdInfo::Epoll { entries, truncated: true };
            }
            entries.push(entry);
        }
    }
    if entries.is_empty() { FdInfo::Other } else { FdInfo::Epoll { entries, truncated: false } }
}

fn value_of<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    words(line.strip_prefix(key)?).next()
}

/// Decodes `tfd: 5 events: 19 data: 5  pos:0 ino:1f sdev:8`. The last three are missing before Linux 4.7.
fn epoll_entry(line: &[u8]) -> Option<EpollEntry> {
    if !line.starts_with(b"tfd:") {
        return None;
    }
    let (mut fd, mut events, mut data, mut inode) = (None, None, None, None);
    let mut words = words(line);
    while let Some(word) = words.next() {
        match word {
            b"tfd:" => fd = decimal(words.next()?).and_then(|fd| fd.try_into().ok()),
            b"events:" => events = hexadecimal(words.next()?).and_then(|events| events.try_into().ok()),
            b"data:" => data = hexadecimal(words.next()?),
            _ => inode = word.strip_prefix(b"ino:").map_or(inode, hexadecimal),
        }
    }
    Some(EpollEntry { fd: fd?, events: events?, data: data?, inode })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn links_with_an_inode() {
        assert_eq!(inode_of_link("socket:[123]"), Some(123));
        assert_eq!(inode_of_link("pipe:[5]"), Some(5));
        assert_eq!(inode_of_link("/tmp/socket:[123]"), None);
        assert_eq!(inode_of_link("socket:[x]"), None);
    }

    #[test]
    fn counters_of_events_and_timers() {
        let text = b"pos:\t0\nflags:\t02004002\nmnt_id:\t15\nino:\t1\neventfd-count:               1f\neventfd-id: 1\n";
        assert_eq!(parse_info(text), FdInfo::Event { count: 31 });
        let text = b"pos:\t0\nclockid: 1\nticks: 12\nsettime flags: 00\n";
        assert_eq!(parse_info(text), FdInfo::Timer { ticks: 12 });
        assert_eq!(parse_info(b"pos:\t0\nflags:\t0100000\n"), FdInfo::Other);
    }

    #[test]
    fn an_old_kernels_epoll_line() {
        let line = b"tfd:        5 events:       19 data:                5";
        assert_eq!(epoll_entry(line), Some(EpollEntry { fd: 5, events: 0x19, data: 5, inode: None }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_info(&bytes);
        }

        #[test]
        fn damaged_epoll_lines_never_panic(text in "(tfd:|events:|data:|ino:|pos:|[ 0-9a-f]{0,20}|\n){0,30}") {
            let _ = parse_info(text.as_bytes());
        }

        #[test]
        fn epoll_round_trip(sets in proptest::collection::vec((0..i32::MAX, any::<u32>(), any::<u64>(), any::<u64>()), 1..20)) {
            let mut text = String::from("pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t2061\n");
            for (fd, events, data, inode) in &sets {
                writeln!(text, "tfd: {fd:8} events: {events:8x} data: {data:16x}  pos:0 ino:{inode:x} sdev:8").unwrap();
            }
            let expected = sets
                .iter()
                .map(|&(fd, events, data, inode)| EpollEntry { fd, events, data, inode: Some(inode) })
                .collect();
            prop_assert_eq!(parse_info(text.as_bytes()), FdInfo::Epoll { entries: expected, truncated: false });
        }
    }
}
