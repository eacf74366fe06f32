//! The memory of a process, read without stopping it.
//!
//! `/proc/PID/mem`, kept open, is bound to the process (after exec or death it reads nothing) and cannot hang on a page
//! that is never served. Where it may not be opened but the kernel's remote read is allowed, `remoteprocess` reads; its
//! `lock()` is never called. Nothing here can write: the file is opened for reading.
//!
//! For many ranges at once the kernel's vectored remote read is the cheapest and the nearest to one instant. It goes by
//! process id, and may hang on a page that is never served, so it is only used for pages that the file has given before.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use remoteprocess::ProcessMemory as _;

use super::kernel_file::{ProcDir, Seen, Unseen};
use crate::python::memory::{MemoryReader, Range, ReadError, one_by_one};

/// The memory of a process.
pub struct Memory {
    pid: Pid,
    door: Door,
    /// Cleared when the kernel refuses the vectored read, as a seccomp filter may.
    vectored: Cell<bool>,
    /// Room for the ranges of one read.
    remote: RefCell<Vec<RemoteIoVec>>,
}

enum Door {
    /// The kept-open file.
    File(File),
    /// The kernel's remote read.
    Remote(remoteprocess::Process),
}

impl Memory {
    /// Opens the memory of a process.
    pub fn open(process: &ProcDir) -> Seen<Self> {
        let door = Self::door(process)?;
        Ok(Self {
            pid: Pid::from_raw(process.pid()),
            door,
            vectored: Cell::new(true),
            remote: RefCell::default(),
        })
    }

    fn door(process: &ProcDir) -> Seen<Door> {
        match process.open_file("mem") {
            Ok(file) => Ok(Door::File(file)),
            Err(Unseen::Denied) => {
                let remote = remoteprocess::Process::new(process.pid()).map_err(|_| Unseen::Denied)?;
                // One byte of its program tells whether the kernel would let us.
                let maps = process.read("maps", 4_096)?;
                let text = String::from_utf8_lossy(&maps);
                let first = text
                    .split('-')
                    .next()
                    .and_then(|a| usize::from_str_radix(a, 16).ok())
                    .ok_or(Unseen::Denied)?;
                remote.read(first, &mut [0; 1]).map_err(|_| Unseen::Denied)?;
                Ok(Door::Remote(remote))
            }
            Err(other) => Err(other),
        }
    }

    /// The ranges in one system call; `None` when it could not be made.
    fn vectored(&self, ranges: &[Range], buffer: &mut [u8]) -> Option<usize> {
        let mut remote = self.remote.borrow_mut();
        remote.clear();
        for range in ranges {
            remote.push(RemoteIoVec { base: usize::try_from(range.start).ok()?, len: range.length });
        }
        match process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &remote) {
            Ok(read) => Some(read),
            Err(Errno::EPERM | Errno::ENOSYS | Errno::EACCES) => {
                self.vectored.set(false);
                None
            }
            Err(_) => None,
        }
    }
}

impl MemoryReader for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match &self.door {
            Door::File(file) => match file.read_at(buffer, address) {
                Ok(0) if !buffer.is_empty() => Err(ReadError::Gone),
                Ok(n) if n == buffer.len() => Ok(()),
                Ok(_) => Err(ReadError::Unmapped),
                Err(error) => Err(match error.raw_os_error() {
                    Some(nix::libc::EACCES | nix::libc::EPERM) => ReadError::Denied,
                    Some(nix::libc::ESRCH) => ReadError::Gone,
                    _ => ReadError::Unmapped,
                }),
            },
            Door::Remote(process) => {
                let address = usize::try_from(address).map_err(|_| ReadError::Unmapped)?;
                process.read(address, buffer).map_err(|_| ReadError::Unmapped)
            }
        }
    }

    fn read_ranges(&self, ranges: &[Range], buffer: &mut [u8]) -> Result<(), ReadError> {
        // What the vectored read did not give, the file explains.
        let whole =
            ranges.len() > 1 && self.vectored.get() && self.vectored(ranges, buffer) == Some(buffer.len());
        if whole { Ok(()) } else { one_by_one(self, ranges, buffer) }
    }
}
