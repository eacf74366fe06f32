//! gunicorn's heartbeat: an unlinked temporary file per worker, which the worker touches and the arbiter looks at.
//!
//! Takes the descriptors of a worker or of its arbiter, gives the fields of [`Record::Heartbeat`]. Until 21.2 a worker
//! beats by toggling the file's mode (`fchmod`), since 22 by setting its times to `CLOCK_MONOTONIC` (`utime`); the
//! time of change moves with both, so all three are recorded and none is interpreted. The file is only looked at
//! through `/proc/PID/fd`, never opened.

use super::kernel_file::{ProcDir, Seen, Unseen};
use crate::capture::model::{Descriptor, Record};

/// Descriptors that look like heartbeat files.
///
/// A worker holds its own, and where gunicorn does not close them after the fork, also those of its older siblings.
/// The caller tells them apart by [`HeartbeatFile::identity`]: a worker's own is the one that none of its older siblings holds. An arbiter holds
/// one per worker.
pub fn find(fds: &[Descriptor]) -> impl Iterator<Item = &Descriptor> {
    fds.iter().filter(|descriptor| {
        let name = descriptor.link.strip_suffix(" (deleted)").and_then(|path| path.rsplit('/').next());
        descriptor.link.starts_with('/') && name.is_some_and(|name| name.starts_with("wgunicorn-"))
    })
}

/// A heartbeat file as one process holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatFile {
    path: Box<str>,
    identity: (u64, u64),
}

impl HeartbeatFile {
    /// Remembers which file stands behind a descriptor.
    pub fn open(process: &ProcDir, fd: i32) -> Seen<Self> {
        let path = format!("fd/{fd}").into_boxed_str();
        let seen = process.stat(&path)?;
        Ok(Self { path, identity: (seen.st_dev, seen.st_ino) })
    }

    /// Device and inode: the same for everybody who holds this file.
    #[must_use]
    pub const fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Looks at the file. `holder` is the process it was found in, `worker` the one whose heart it is.
    /// [`Unseen::Gone`] when the descriptor leads to another file by now.
    pub fn read(&self, holder: &ProcDir, worker: i32, at_ns: u64, now_realtime_ns: u64) -> Seen<Record> {
        let seen = holder.stat(&self.path)?;
        if (seen.st_dev, seen.st_ino) != self.identity {
            return Err(Unseen::Gone);
        }
        Ok(Record::Heartbeat {
            at_ns,
            pid: worker,
            now_realtime_ns,
            ctime_ns: nanoseconds(seen.st_ctime, seen.st_ctime_nsec),
            mtime_ns: nanoseconds(seen.st_mtime, seen.st_mtime_nsec),
            mode: seen.st_mode & 0o7777,
        })
    }
}

/// A file's time; 0 for one before 1970.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|sum| sum.checked_add(nanoseconds))
        .and_then(|sum| u64::try_from(sum).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::observe::descriptors::list;
    use crate::observe::kernel_file::FileBudget;

    fn unlinked(name: &str) -> File {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join(name)).unwrap();
        drop(dir);
        file
    }

    #[test]
    fn both_generations_of_beats_show() {
        let file = unlinked("wgunicorn-mf8lws5y");
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap();
        let fds = list(&me).unwrap().fds;
        let found: Vec<_> = find(&fds).filter(|seen| seen.fd == file.as_raw_fd()).collect();
        assert_eq!(found.len(), 1);
        let heart = HeartbeatFile::open(&me, found[0].fd).unwrap();
        let look = || match heart.read(&me, 42, 1, 2).unwrap() {
            Record::Heartbeat { at_ns: 1, pid: 42, now_realtime_ns: 2, ctime_ns, mtime_ns, mode } => {
                (ctime_ns, mtime_ns, mode)
            }
            other => panic!("{other:?}"),
        };
        let first = look();
        file.set_permissions(Permissions::from_mode(0o001)).unwrap();
        let toggled = look();
        assert_eq!(toggled.2, 0o001);
        assert!(toggled.0 >= first.0);
        file.set_modified(UNIX_EPOCH + Duration::from_nanos(1_088_219_893_767)).unwrap();
        let touched = look();
        assert_eq!((touched.1, touched.2), (1_088_219_893_767, 0o001));
    }

    #[test]
    fn another_file_at_the_same_number_is_not_a_heartbeat() {
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap();
        let (first, second) = (unlinked("wgunicorn-a"), unlinked("wgunicorn-b"));
        let mut heart = HeartbeatFile::open(&me, first.as_raw_fd()).unwrap();
        heart.path = format!("fd/{}", second.as_raw_fd()).into();
        assert_eq!(heart.read(&me, 1, 0, 0), Err(Unseen::Gone));
    }

    #[test]
    fn only_unlinked_files_of_that_name_count() {
        let fd = |link: &str| Descriptor { fd: 3, link: link.into(), inode: None };
        let fds = ["/tmp/wgunicorn-x (deleted)", "/dev/shm/wgunicorn-y (deleted)"].map(fd);
        assert_eq!(find(&fds).count(), 2);
        let others = ["/tmp/wgunicorn-x", "/tmp/x (deleted)", "socket:[wgunicorn- (deleted)"].map(fd);
        assert_eq!(find(&others).count(), 0);
    }
}
