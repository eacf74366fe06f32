//! Holds a process by a descriptor, whose meaning no reuse of the process number can change.
//!
//! Takes a process directory, gives a process descriptor, and through one a duplicate of a descriptor of that process.
//! Both are close-on-exec. Holding either says nothing to the process.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::kernel_file::{ProcDir, Seen, Unseen};

/// Takes hold of a process.
pub(super) fn open(process: &ProcDir) -> Seen<OwnedFd> {
    let pidfd = open_number(process.pid())?;
    // The process of the directory still exists, so the number cannot have been given to another one.
    if process.exists() { Ok(pidfd) } else { Err(Unseen::Gone) }
}

/// Takes hold of whoever has this number: right for a child that nobody has waited for yet. Readable when it has ended.
pub(super) fn open_number(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two integers and touches no memory of ours.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Duplicates a descriptor of a process into this one.
pub(super) fn take(pidfd: &OwnedFd, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes three integers and touches no memory of ours; `pidfd` is open for the whole call.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(result)? as i32;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
