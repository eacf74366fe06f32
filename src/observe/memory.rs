//! The memory of a process, read without stopping it.
//!
//! `/proc/PID/mem`, kept open, is bound to the process (after exec or death it reads nothing) and cannot hang on a page
//! that is never served. Where it may not be opened but the kernel's remote read is allowed, `remoteprocess` reads; its
//! `lock()` is never called. Nothing here can write: the file is opened for reading.

use std::fs::File;
use std::os::unix::fs::FileExt;

use remoteprocess::ProcessMemory as _;

use super::kernel_file::{ProcDir, Seen, Unseen};
use crate::python::memory::{MemoryReader, ReadError};

/// The memory of a process.
pub enum Memory {
    /// Through the kept-open file.
    File(File),
    /// Through the kernel's remote read.
    Remote(remoteprocess::Process),
}

impl Memory {
    /// Opens the memory of a process.
    pub fn open(process: &ProcDir) -> Seen<Self> {
        match process.open_file("mem") {
            Ok(file) => Ok(Self::File(file)),
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
                Ok(Self::Remote(remote))
            }
            Err(other) => Err(other),
        }
    }
}

impl MemoryReader for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match self {
            Self::File(file) => match file.read_at(buffer, address) {
                Ok(0) if !buffer.is_empty() => Err(ReadError::Gone),
                Ok(n) if n == buffer.len() => Ok(()),
                Ok(_) => Err(ReadError::Unmapped),
                Err(error) => Err(match error.raw_os_error() {
                    Some(nix::libc::EACCES | nix::libc::EPERM) => ReadError::Denied,
                    Some(nix::libc::ESRCH) => ReadError::Gone,
                    _ => ReadError::Unmapped,
                }),
            },
            Self::Remote(process) => {
                let address = usize::try_from(address).map_err(|_| ReadError::Unmapped)?;
                process.read(address, buffer).map_err(|_| ReadError::Unmapped)
            }
        }
    }
}
