//! The heartbeat files that a process holds: the surest sign of gunicorn, whatever its processes call themselves.
//!
//! An arbiter makes one file per worker before it forks, so a worker shares a file with its own arbiter. One that was
//! started anew from the same command line (an upgrade) or serves other purposes shares none.

use std::collections::BTreeSet;

use crate::observe::descriptors;
use crate::observe::heartbeat::{self, HeartbeatFile};
use crate::observe::kernel_file::ProcDir;

/// Identities (device and inode) of heartbeat files.
pub type Hearts = BTreeSet<(u64, u64)>;

/// Those of a process; `None` when its descriptors may not be read.
#[must_use]
pub fn of(process: &ProcDir) -> Option<Hearts> {
    let listing = descriptors::list(process).ok()?;
    let files = heartbeat::find(&listing.fds).filter_map(|d| HeartbeatFile::open(process, d.fd).ok());
    Some(files.map(|file| file.identity()).collect())
}

/// Whether two processes hold a file together; `None` when that cannot be known.
#[must_use]
pub fn shared(one: Option<&Hearts>, other: Option<&Hearts>) -> Option<bool> {
    one.zip(other).map(|(a, b)| !a.is_disjoint(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn a_heart_is_shared_known_or_not_known() {
        let (a, b): (Hearts, Hearts) = ([(1, 2), (1, 3)].into(), [(1, 3)].into());
        assert_eq!(shared(Some(&a), Some(&b)), Some(true));
        assert_eq!(shared(Some(&a), Some(&[(2, 3)].into())), Some(false));
        assert_eq!(shared(Some(&a), None), None);
    }

    #[test]
    fn our_own_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("wgunicorn-test")).unwrap();
        drop(folder);
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        assert!(of(&me).unwrap().iter().any(|(_, ino)| *ino == inode));
    }
}
