//! What a call's arguments led to, out of the bytes that were read there.
//!
//! The bytes are foreign: whatever they are, nothing here fails, and what makes no sense is left out.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::libc;

use crate::capture::model::EpollEntry;

/// A descriptor that a poll reported, and its events as `poll` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// The descriptor; `None` where the program keeps something else in the word.
    pub fd: Option<i32>,
    /// `POLL*` bits, which are those of epoll.
    pub events: u32,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The events that `epoll_wait` reported. Which descriptor each belongs to is what the set itself says; `open` tells whether
/// a number could be a descriptor where the set is not known.
#[must_use]
pub fn epoll_events(
    arch: &str,
    bytes: &[u8],
    set: Option<&[EpollEntry]>,
    open: impl Fn(i32) -> bool,
) -> Vec<Reported> {
    // Packed on x86-64 only.
    let (step, data_at) = if arch == "x86_64" { (12, 4) } else { (16, 8) };
    let mut reported = Vec::new();
    for chunk in bytes.chunks_exact(step) {
        let (Some(events), Some(data)) = (word(chunk, 0), word(chunk, data_at)) else { continue };
        let (events, data) = (u32::from_ne_bytes(events), u64::from_ne_bytes(data));
        let registered =
            set.and_then(|set| set.iter().find(|entry| entry.data == data)).map(|entry| entry.fd);
        let low = i32::try_from(data & 0xffff_ffff).ok().filter(|fd| open(*fd));
        reported.push(Reported { fd: registered.or(low), events });
    }
    reported
}

/// The descriptors that `poll` reported.
#[must_use]
pub fn poll_fds(bytes: &[u8]) -> Vec<Reported> {
    let one = |chunk: &[u8]| {
        let (fd, events) = (i32::from_ne_bytes(word(chunk, 0)?), u16::from_ne_bytes(word(chunk, 6)?));
        (events != 0).then_some(Reported { fd: Some(fd), events: events.into() })
    };
    bytes.chunks_exact(8).filter_map(one).collect()
}

/// The descriptors that `select` reported as readable.
#[must_use]
pub fn read_set(bytes: &[u8], below: u64) -> Vec<Reported> {
    let mut reported = Vec::new();
    for (byte, bits) in bytes.iter().enumerate() {
        for bit in (0..8).filter(|bit| bits & (1 << bit) != 0) {
            let fd = byte * 8 + bit;
            if (fd as u64) < below {
                reported.push(Reported { fd: i32::try_from(fd).ok(), events: libc::POLLIN as u32 });
            }
        }
    }
    reported
}

/// Events in words.
#[must_use]
pub fn events_words(events: u32) -> &'static str {
    let has = |bit: i16| events & bit as u32 != 0;
    if has(libc::POLLERR) {
        "in error"
    } else if has(libc::POLLHUP) {
        "hung up"
    } else if has(libc::POLLIN) {
        "readable"
    } else if has(libc::POLLOUT) {
        "writable"
    } else {
        "ready"
    }
}

/// A name as the program wrote it.
#[must_use]
pub fn path(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// The address of a socket in words.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<String> {
    let family = u16::from_ne_bytes(word(bytes, 0)?);
    match i32::from(family) {
        libc::AF_INET => {
            let (port, ip) = (u16::from_be_bytes(word(bytes, 2)?), Ipv4Addr::from(word::<4>(bytes, 4)?));
            Some(SocketAddr::new(IpAddr::V4(ip), port).to_string())
        }
        libc::AF_INET6 => {
            let (port, ip) = (u16::from_be_bytes(word(bytes, 2)?), Ipv6Addr::from(word::<16>(bytes, 8)?));
            Some(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port).to_string())
        }
        libc::AF_UNIX => {
            let name = bytes.get(2..)?;
            let (at, name) = match name.strip_prefix(b"\0") {
                Some(abstract_name) => ("@", abstract_name),
                None => ("", name),
            };
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Some(format!("{at}{}", String::from_utf8_lossy(name.get(..end)?)))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(arch: &str, events: u32, data: u64) -> Vec<u8> {
        let mut bytes = events.to_ne_bytes().to_vec();
        if arch != "x86_64" {
            bytes.extend([0; 4]);
        }
        bytes.extend(data.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_set_says_whose_event_it_is() {
        let set = [EpollEntry { fd: 7, events: 1, data: 0xdead_beef_0000, inode: None }];
        for arch in ["x86_64", "aarch64"] {
            let bytes = [event(arch, 1, 0xdead_beef_0000), event(arch, 0x10, 3 << 32 | 16)].concat();
            let seen = epoll_events(arch, &bytes, Some(&set), |fd| fd == 16);
            let wanted = [Reported { fd: Some(7), events: 1 }, Reported { fd: Some(16), events: 0x10 }];
            assert_eq!(seen, wanted, "{arch}");
            assert_eq!(epoll_events(arch, &bytes, None, |_| false).first().unwrap().fd, None);
        }
    }

    #[test]
    fn poll_and_select() {
        let mut bytes = Vec::new();
        for (fd, events) in [(5i32, 0u16), (6, 0x11)] {
            bytes.extend(fd.to_ne_bytes());
            bytes.extend(1u16.to_ne_bytes());
            bytes.extend(events.to_ne_bytes());
        }
        assert_eq!(poll_fds(&bytes), [Reported { fd: Some(6), events: 0x11 }]);
        assert_eq!(events_words(0x11), "hung up");
        assert_eq!(read_set(&[0b0010_0000, 0, 0, 0, 0, 0, 0, 0b1], 6), [Reported { fd: Some(5), events: 1 }]);
    }

    #[test]
    fn addresses() {
        let mut v4 = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        v4.extend([0x15, 0x38, 10, 0, 0, 5]);
        assert_eq!(address(&v4).unwrap(), "10.0.0.5:5432");
        let unix = [&(libc::AF_UNIX as u16).to_ne_bytes()[..], b"/run/x\0"].concat();
        assert_eq!(address(&unix).unwrap(), "/run/x");
        let hidden = [&(libc::AF_UNIX as u16).to_ne_bytes()[..], b"\0bus"].concat();
        assert_eq!(address(&hidden).unwrap(), "@bus");
    }

    proptest! {
        #[test]
        fn no_bytes_can_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..300), below: u64) {
            for arch in ["x86_64", "aarch64"] {
                let _ = epoll_events(arch, &bytes, None, |_| true);
            }
            let _ = (poll_fds(&bytes), read_set(&bytes, below), path(&bytes), address(&bytes));
        }
    }
}
