//! Files of the kernel that are opened once and read many times.
//!
//! [`ProcDir`] is a process as a kept-open `/proc/PID`: whatever is opened through it belongs to that very process,
//! even if its number is given to another one later. [`KeptFile`] is one file, opened on first use and from then on
//! read with a single `pread`, which costs a third of open-read-close. [`FileBudget`] keeps the number of kept files
//! below the limit of the tool; a file that gets no permit is opened for every reading instead.
//! Must never block and never open anything but files of procfs, sysfs and cgroupfs.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{FileStat, Mode, fstatat};

/// Big enough for every file of a thread (`status` with many supplementary groups is the longest).
pub const READ_BUFFER_BYTES: usize = 16 * 1024;

/// What most of the kernel's own files give at once: read with less, they are made anew for every piece.
const ONE_READ: usize = 4096;

/// Descriptors left at least to the rest of the tool; a quarter of the limit if that is more.
const RESERVED_DESCRIPTORS: u64 = 256;

/// Why there is no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// The kernel refuses.
    #[error("not permitted")]
    Denied,
    /// The process or thread does not exist any more.
    #[error("gone")]
    Gone,
    /// This kernel has no such file, or the object has no such property.
    #[error("not available here")]
    Absent,
    /// What was read makes no sense.
    #[error("not understood")]
    Garbled,
    /// Any other error.
    #[error("failed: {0}")]
    Failed(Errno),
}

impl From<Errno> for Unseen {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EACCES | Errno::EPERM => Self::Denied,
            Errno::ESRCH => Self::Gone,
            Errno::ENOENT => Self::Absent,
            other => Self::Failed(other),
        }
    }
}

impl From<std::io::Error> for Unseen {
    fn from(error: std::io::Error) -> Self {
        Self::from(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

/// A value read, or why there is none.
pub type Seen<T> = Result<T, Unseen>;

/// How many files may still be kept open. Clones share the count.
#[derive(Debug, Clone)]
pub struct FileBudget(Arc<AtomicU64>);

impl FileBudget {
    /// A budget of so many files.
    #[must_use]
    pub fn new(files: u64) -> Self {
        Self(Arc::new(AtomicU64::new(files)))
    }

    /// Raises the tool's own soft limit of descriptors to the hard one, and takes what is left after a reserve.
    #[must_use]
    pub fn from_limit() -> Self {
        let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) if soft < hard => {
                setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard)
            }
            Ok((soft, _)) => soft,
            Err(_) => 0,
        };
        Self::new(limit.saturating_sub(RESERVED_DESCRIPTORS.max(limit / 4)))
    }

    /// Files that may still be kept.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<Permit> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .ok()
            .map(|_| Permit(self.clone()))
    }
}

/// The right to keep one file open; given back on drop.
#[derive(Debug)]
struct Permit(FileBudget);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A process as a kept-open `/proc/PID`.
#[derive(Debug)]
pub struct ProcDir {
    pid: i32,
    dir: OwnedFd,
    budget: FileBudget,
}

impl ProcDir {
    /// Opens `/proc/PID`. [`Unseen::Gone`] also when `/proc` hides the process.
    pub fn open(pid: i32, budget: &FileBudget) -> Seen<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match nix::fcntl::open(format!("/proc/{pid}").as_str(), flags, Mode::empty()) {
            Ok(dir) => Ok(Self { pid, dir, budget: budget.clone() }),
            Err(Errno::ENOENT) => Err(Unseen::Gone),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The process id, in the namespace of the tool.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the process still has its entry (a zombie has).
    #[must_use]
    pub fn exists(&self) -> bool {
        fstatat(&self.dir, "stat", AtFlags::empty()).is_ok()
    }

    /// Opens a file below the directory for reading.
    pub fn open_file(&self, path: &str) -> Seen<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match openat(&self.dir, path, flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(errno) => Err(self.explain(errno, path)),
        }
    }

    /// Properties of the file that `path` leads to, also through the links in `fd/` and `ns/`.
    pub fn stat(&self, path: &str) -> Seen<FileStat> {
        fstatat(&self.dir, path, AtFlags::empty()).map_err(|errno| self.explain(errno, path))
    }

    /// What a link says.
    pub fn link(&self, path: &str) -> Seen<String> {
        readlinkat(&self.dir, path)
            .map(|text| text.to_string_lossy().into_owned())
            .map_err(|errno| self.explain(errno, path))
    }

    /// Reads a file once, at most `limit` bytes of it.
    pub fn read(&self, path: &str, limit: u64) -> Seen<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::with_capacity(ONE_READ.min(limit as usize));
        self.open_file(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// "No such file" means that a thread or the process is gone, unless its directory is still there.
    fn explain(&self, errno: Errno, path: &str) -> Unseen {
        let parent = Path::new(path).parent().and_then(Path::to_str).filter(|parent| !parent.is_empty());
        let owner = match parent {
            Some(parent) if parent.starts_with("task/") => parent,
            _ => "stat",
        };
        match Unseen::from(errno) {
            Unseen::Absent if fstatat(&self.dir, owner, AtFlags::empty()).is_err() => Unseen::Gone,
            other => other,
        }
    }
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A file that is opened on first use and kept while the budget allows.
#[derive(Debug)]
pub struct KeptFile {
    path: Box<str>,
    kept: Option<(File, Permit)>,
}

impl KeptFile {
    /// A file below a [`ProcDir`]; nothing is opened yet.
    #[must_use]
    pub fn new(path: impl Into<Box<str>>) -> Self {
        Self { path: path.into(), kept: None }
    }

    /// Reads the file from its start into `buffer`. The answer is shorter than the file if the buffer is.
    pub fn read<'b>(&mut self, dir: &ProcDir, buffer: &'b mut [u8]) -> Seen<&'b [u8]> {
        let length = self.read_at(dir, buffer, 0)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    /// Reads from an offset, for files that are longer than a buffer.
    pub fn read_at(&mut self, dir: &ProcDir, buffer: &mut [u8], offset: u64) -> Seen<usize> {
        if let Some((file, _)) = &self.kept {
            return Ok(file.read_at(buffer, offset)?);
        }
        let file = dir.open_file(&self.path)?;
        let length = file.read_at(buffer, offset)?;
        self.kept = dir.budget.take().map(|permit| (file, permit));
        Ok(length)
    }
}

/// Reads a whole file of sysfs, cgroupfs or procfs that does not belong to a process.
pub fn read_path(path: &Path, limit: u64) -> Seen<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::with_capacity(ONE_READ.min(limit as usize));
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_counts_kept_files_and_gets_them_back() {
        let budget = FileBudget::new(1);
        let me = ProcDir::open(std::process::id() as i32, &budget).unwrap();
        let (mut first, mut second) = (KeptFile::new("stat"), KeptFile::new("schedstat"));
        let mut buffer = [0; 512];
        assert!(!first.read(&me, &mut buffer).unwrap().is_empty());
        assert_eq!(budget.left(), 0);
        assert!(!second.read(&me, &mut buffer).unwrap().is_empty(), "read without being kept");
        assert!(second.kept.is_none());
        drop(first);
        assert_eq!(budget.left(), 1);
    }

    #[test]
    fn our_own_limit_is_raised() {
        let budget = FileBudget::from_limit();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
        assert!(budget.left() < hard);
    }

    #[test]
    fn missing_is_told_from_gone() {
        let budget = FileBudget::new(8);
        assert_eq!(ProcDir::open(i32::MAX, &budget).unwrap_err(), Unseen::Gone);
        let me = ProcDir::open(std::process::id() as i32, &budget).unwrap();
        assert_eq!(me.open_file("no-such-file").unwrap_err(), Unseen::Absent);
        assert_eq!(me.open_file("task/2147483647/stat").unwrap_err(), Unseen::Gone);
        assert!(me.exists());
    }
}
