//! Files of a target: what it has mapped, and what lies below its own root.
//!
//! A container decides what is there: links that lead out, pipes that never answer, devices, files that were exchanged. So
//! nothing is opened before it is known to be a regular file, links cannot leave the root, and a mapped file counts only if
//! it begins with the bytes that are mapped.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::kernel_file::{ProcDir, Seen, Unseen};

/// Longest file that is opened.
const MAX_BYTES: i64 = 1 << 30;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct RegularFile {
    /// The file.
    pub file: File,
    /// Its length when it was opened.
    pub bytes: u64,
    /// Whose it is.
    pub owner: u32,
    /// What tells it from others: device, inode, length, time of the last change.
    pub identity: (u64, u64, i64, i64, i64),
}

impl RegularFile {
    /// Opens what a handle that can only name it leads to, if it is a regular file.
    fn open(handle: &OwnedFd) -> Seen<Self> {
        let FileStat { st_dev, st_ino, st_size, st_mode, st_mtime, st_mtime_nsec, st_uid, .. } =
            fstat(handle)?;
        if SFlag::from_bits_truncate(st_mode) & SFlag::S_IFMT != SFlag::S_IFREG || st_size > MAX_BYTES {
            return Err(Unseen::Garbled);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file = File::from(open(path.as_str(), flags, Mode::empty())?);
        Ok(Self {
            file,
            bytes: u64::try_from(st_size).unwrap_or(0),
            owner: st_uid,
            identity: (st_dev, st_ino, st_size, st_mtime, st_mtime_nsec),
        })
    }

    /// Whether it begins with so many bytes.
    fn begins_with(&self, bytes: &[u8]) -> bool {
        let mut own = vec![0; bytes.len()];
        self.file.read_exact_at(&mut own, 0).is_ok() && own == bytes
    }
}

/// Opens something below the target's own root; links cannot lead out of it.
pub fn below_root(dir: &ProcDir, path: &str, flags: OFlag) -> Seen<OwnedFd> {
    let root = dir.open_file("root")?;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path, how)?)
}

/// A regular file below the target's own root.
pub fn regular_below_root(dir: &ProcDir, path: &str) -> Seen<RegularFile> {
    RegularFile::open(&below_root(dir, path, OFlag::O_PATH)?)
}

/// The file that is mapped at a range of addresses, by the kernel's own link to it, which also leads to deleted files, or by
/// its path. `begin` is how the mapped bytes begin.
pub fn mapped(dir: &ProcDir, start: u64, end: u64, path: &str, begin: &[u8]) -> Seen<RegularFile> {
    let by_link = || -> Seen<RegularFile> {
        let link = format!("map_files/{start:x}-{end:x}");
        RegularFile::open(&openat(dir, link.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
    };
    let mut why = Unseen::Absent;
    for found in [by_link(), regular_below_root(dir, path)] {
        match found {
            Ok(file) if file.begins_with(begin) => return Ok(file),
            Ok(_) => why = Unseen::Garbled,
            Err(other) => why = other,
        }
    }
    Err(if matches!(why, Unseen::Failed(Errno::ELOOP)) { Unseen::Absent } else { why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kernel_file::FileBudget;

    fn me() -> ProcDir {
        ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap()
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        std::fs::write(at("file"), "text").unwrap();
        let open = |name: &str| regular_below_root(&me(), at(name).to_str().unwrap());
        // A pipe without a writer would keep whoever opens it.
        assert_eq!(open("pipe").unwrap_err(), Unseen::Garbled);
        assert_eq!(open("device").unwrap_err(), Unseen::Garbled);
        assert_eq!(open("absent").unwrap_err(), Unseen::Absent);
        assert_eq!(open("file").unwrap().bytes, 4);
    }

    #[test]
    fn a_file_in_the_place_of_the_mapped_one_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib.so");
        std::fs::write(&path, "another").unwrap();
        // Nothing is mapped there: only the path is left.
        let open = |begin: &[u8]| mapped(&me(), 0, 4_096, path.to_str().unwrap(), begin).map(|f| f.bytes);
        assert_eq!(open(b"ano"), Ok(7));
        assert_eq!(open(b"mapped"), Err(Unseen::Garbled));
        assert_eq!(open(b"another and more"), Err(Unseen::Garbled));
    }
}
