//! How a process ended, for somebody who is not its parent.
//!
//! Takes a living process, holds a process descriptor of it, and gives its wait status once it is gone. The kernel tells
//! that since Linux 6.15; before, nobody but the parent learns it, and the answer is that there is none. Holding the
//! descriptor changes nothing for the process or its parent.

use std::os::fd::{AsRawFd, OwnedFd};

use super::kernel_file::ProcDir;
use super::pidfd;

/// What the kernel fills in, as far as its first published size.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Info {
    mask: u64,
    cgroup_id: u64,
    /// Process, thread group, parent, and eight user and group ids.
    ids: [u32; 11],
    exit_code: i32,
}

/// The bit of [`Info::mask`] that asks for, and tells of, the way a process ended.
const EXIT: u64 = 1 << 3;

mod ioctl {
    nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, super::Info);
}

/// Waits for nothing; asks when told to.
#[derive(Debug)]
pub struct ExitWatch(OwnedFd);

impl ExitWatch {
    /// Takes hold of a process; `None` where that is not possible.
    #[must_use]
    pub fn open(process: &ProcDir) -> Option<Self> {
        pidfd::open(process).ok().map(Self)
    }

    /// The wait status of the process once its parent has reaped it.
    #[must_use]
    pub fn status(&self) -> Option<i32> {
        let mut info = Info { mask: EXIT, ..Info::default() };
        // SAFETY: the kernel writes no more than the size of `Info`, which is part of the request's number.
        unsafe { ioctl::pidfd_get_info(self.0.as_raw_fd(), &raw mut info) }.ok()?;
        (info.mask & EXIT != 0).then_some(info.exit_code)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn a_process_that_ended_tells_how_where_the_kernel_does() {
        for (script, expected) in [("read x; exit 3", 3 << 8), ("read x; kill -9 $$", 9)] {
            let mut child =
                Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
            let dir = ProcDir::open(child.id() as i32, &FileBudget::new(4)).unwrap();
            let watch = ExitWatch::open(&dir);
            let status = || watch.as_ref().and_then(ExitWatch::status);
            let before = status();
            drop(child.stdin.take());
            child.wait().unwrap();
            assert_eq!(before, None, "it still lived");
            match status() {
                Some(status) => assert_eq!(status, expected),
                None => eprintln!("SKIPPED: this kernel (before 6.15) does not tell how a process ended"),
            }
        }
    }
}
