//! Asks `poll` about a descriptor of another process, to see whether what its event loop watches is ready.
//!
//! Takes a descriptor as listed and the events its epoll set watches, gives `POLL*` bits and the bytes waiting. To ask,
//! the descriptor is duplicated into the tool (`pidfd_getfd`) for some microseconds. `poll` consumes nothing, but
//! holding a duplicate is not nothing: should the target close its own meanwhile, ours would be the last, and what
//! closing does would happen here. So only kinds whose last close neither blocks nor does anything beyond what
//! the target's own would have done are ever taken:
//!
//! * sockets, pipes, event counters, timers, inotify, descriptors of processes: taken. (A socket with `SO_LINGER` would make the tool wait in
//!   that very race, never the target.)
//! * epoll sets: refused; whoever polls one runs the target's ready list under the target's lock.
//! * signal descriptors: refused; `poll` on one answers for the signals of whoever asks.
//! * files, FIFOs with a path, devices, terminals, FUSE, anything else: refused; every close flushes, which on a
//!   network file system blocks, and devices may act on it.
//!
//! Must never read, write or change a flag: flags of the open file are shared with the target.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use super::kernel_file::{ProcDir, Seen, Unseen};
use super::pidfd;
use crate::capture::model::Descriptor;

mod fionread {
    nix::ioctl_read_bad!(fionread, nix::libc::FIONREAD, nix::libc::c_int);
}

/// What `poll` says of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The `POLL*` bits that are set.
    pub revents: i16,
    /// Bytes waiting to be read, where the kind of descriptor tells.
    pub queued_bytes: Option<u64>,
}

/// Why `poll` was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// This kind of descriptor is never taken.
    #[error("this kind of descriptor is left alone")]
    Refused,
    /// The number means another file by now.
    #[error("the descriptor was closed or replaced")]
    Replaced,
    /// The kernel does not give it.
    #[error("{0}")]
    Unseen(#[from] Unseen),
}

impl From<Errno> for NotAsked {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EBADF => Self::Replaced,
            Errno::ENOSYS => Self::Unseen(Unseen::Absent), // before Linux 5.6
            other => Self::Unseen(other.into()),
        }
    }
}

/// The right to ask about the descriptors of one process.
#[derive(Debug)]
pub struct Readiness {
    process: Arc<ProcDir>,
    pidfd: OwnedFd,
}

impl Readiness {
    /// Takes hold of a process. Whether its descriptors may be taken shows when one is asked about.
    pub fn open(process: Arc<ProcDir>) -> Seen<Self> {
        let pidfd = pidfd::open(&process)?;
        Ok(Self { process, pidfd })
    }

    /// Asks about a descriptor. `watched` are the `EPOLL*` bits of its entry, whose numbers `poll` shares.
    pub fn ask(&self, descriptor: &Descriptor, watched: u32) -> Result<Ready, NotAsked> {
        if !may_be_taken(&descriptor.link) {
            return Err(NotAsked::Refused);
        }
        // Since it was listed, the number may have been given to a file of another kind.
        match self.process.link(&format!("fd/{}", descriptor.fd)) {
            Ok(link) if link == descriptor.link => {}
            Ok(_) | Err(Unseen::Absent) => return Err(NotAsked::Replaced),
            Err(unseen) => return Err(unseen.into()),
        }
        let taken = pidfd::take(&self.pidfd, descriptor.fd)?;
        // Even in the microseconds since: then touch nothing more.
        if descriptor.inode.is_some_and(|inode| fstat(&taken).map_or(true, |seen| seen.st_ino != inode)) {
            return Err(NotAsked::Replaced);
        }
        let events = PollFlags::from_bits_truncate(watched as i16);
        let mut asked = [PollFd::new(taken.as_fd(), events)];
        poll(&mut asked, PollTimeout::ZERO)?;
        let revents = asked[0].revents().unwrap_or(PollFlags::empty()).bits();
        Ok(Ready { revents, queued_bytes: queued_bytes(&taken) })
    }
}

fn may_be_taken(link: &str) -> bool {
    const ANONYMOUS: [&str; 5] = [
        "anon_inode:[eventfd]",
        "anon_inode:[timerfd]",
        "anon_inode:inotify",
        "anon_inode:[inotify]",
        "anon_inode:[pidfd]",
    ];
    // A file system of their own since Linux 6.9.
    let pidfd = link.starts_with("pidfd:[");
    link.starts_with("socket:[") || link.starts_with("pipe:[") || pidfd || ANONYMOUS.contains(&link)
}

fn queued_bytes(fd: &OwnedFd) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, for which `bytes` has room; the descriptor is open for the whole call.
    unsafe { fionread::fionread(fd.as_raw_fd(), &raw mut bytes) }.ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::eventfd::EventFd;

    use super::*;
    use crate::observe::descriptors::list;
    use crate::observe::kernel_file::FileBudget;

    fn descriptor(process: &ProcDir, fd: &impl AsRawFd) -> Descriptor {
        list(process).unwrap().fds.into_iter().find(|seen| seen.fd == fd.as_raw_fd()).unwrap()
    }

    #[test]
    fn asking_shows_and_consumes_nothing() {
        let me = Arc::new(ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap());
        let readiness = Readiness::open(Arc::clone(&me)).unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let seen = descriptor(&me, &far);
        let watched = libc::EPOLLIN as u32;
        let ask = || readiness.ask(&seen, watched).unwrap();
        assert_eq!(ask(), Ready { revents: 0, queued_bytes: Some(0) });
        near.write_all(b"unread").unwrap();
        assert_eq!(ask(), Ready { revents: libc::POLLIN, queued_bytes: Some(6) });
        let mut six = [0; 6];
        far.read_exact(&mut six).unwrap();
        assert_eq!(&six, b"unread");
        drop(near);
        assert_eq!(ask().revents, libc::POLLIN | libc::POLLHUP);
        drop(far);
        assert!(matches!(readiness.ask(&seen, watched), Err(NotAsked::Replaced)));
    }

    #[test]
    fn event_counters_are_asked_and_files_and_epoll_sets_are_not() {
        let me = Arc::new(ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap());
        let readiness = Readiness::open(Arc::clone(&me)).unwrap();
        let counter = EventFd::from_value(1).unwrap();
        let ready = readiness.ask(&descriptor(&me, &counter.as_fd()), libc::EPOLLIN as u32).unwrap();
        assert_eq!(ready, Ready { revents: libc::POLLIN, queued_bytes: None });
        let file = tempfile::tempfile().unwrap();
        assert_eq!(readiness.ask(&descriptor(&me, &file), 1), Err(NotAsked::Refused));
        let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap();
        assert_eq!(readiness.ask(&descriptor(&me, &epoll.0), 1), Err(NotAsked::Refused));
    }
}
