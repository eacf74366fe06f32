//! Where the kernel's tracing files are mounted, and what they say of the two tracepoints that every system call passes.
//!
//! Nothing is ever mounted here: where the files are not, that is the answer.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use super::NoPerf;
use super::format::{self, Layout};
use crate::observe::cgroup_paths::unescape;
use crate::observe::kernel_file::{Unseen, read_path};
use crate::observe::parse::{decimal, lines, words};

/// Longest list of mounts that is read.
const MOST_MOUNTS_BYTES: u64 = 4 << 20;
/// Longest of the small files.
const TEXT_BYTES: u64 = 16 << 10;

/// A tracepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracepoint {
    /// Its number.
    pub id: u64,
    /// Where its fields stand.
    pub layout: Layout,
}

/// The two that a call passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracepoints {
    /// `raw_syscalls:sys_enter`.
    pub enter: Tracepoint,
    /// `raw_syscalls:sys_exit`.
    pub leave: Tracepoint,
}

/// Finds them, by the mounts that this thread sees.
pub fn tracepoints() -> Result<Tracepoints, NoPerf> {
    let mounts = read_path(Path::new("/proc/thread-self/mounts"), MOST_MOUNTS_BYTES).unwrap_or_default();
    let mut refused = None;
    for place in places(&mounts) {
        match read(&place) {
            Ok(found) => return Ok(found),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    Err(refused.unwrap_or_else(|| {
        let known = read_path(Path::new("/proc/filesystems"), TEXT_BYTES).unwrap_or_default();
        if knows(&known) { NoPerf::NotMounted } else { NoPerf::NoTracefs }
    }))
}

/// Where tracefs is mounted; behind that where debugfs shows it, as kernels before 4.1 do only there.
fn places(mounts: &[u8]) -> Vec<PathBuf> {
    let mounted = |kind: &[u8]| -> Vec<String> {
        let of_kind = |line: &&[u8]| words(line).nth(2) == Some(kind);
        let point = |line: &[u8]| words(line).nth(1).map(|at| unescape(&String::from_utf8_lossy(at)));
        lines(mounts).filter(of_kind).filter_map(point).collect()
    };
    let of_its_own = mounted(b"tracefs").into_iter().map(PathBuf::from);
    let in_debugfs = mounted(b"debugfs").into_iter().map(|point| Path::new(&point).join("tracing"));
    let mut found: Vec<PathBuf> = Vec::new();
    for place in of_its_own.chain(in_debugfs) {
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

/// Whether the kernel could mount it: a line of `/proc/filesystems`.
fn knows(filesystems: &[u8]) -> bool {
    lines(filesystems).any(|line| words(line).last() == Some(b"tracefs"))
}

fn read(tracing: &Path) -> Result<Tracepoints, NoPerf> {
    let events = tracing.join("events/raw_syscalls");
    let one = |name: &str, layout: fn(&[u8]) -> Option<Layout>| {
        let file = |file: &str| {
            let path = events.join(name).join(file);
            let text = read_path(&path, TEXT_BYTES);
            text.map_err(|why| NoPerf::Unreadable { path: path.clone(), why })
        };
        let garbled = || NoPerf::Unreadable { path: events.join(name), why: Unseen::Garbled };
        Ok(Tracepoint {
            // As wide as the field that names it in each record.
            id: decimal(file("id")?.trim_ascii()).filter(|id| *id <= u16::MAX.into()).ok_or_else(garbled)?,
            layout: layout(&file("format")?).ok_or_else(garbled)?,
        })
    };
    Ok(Tracepoints { enter: one("sys_enter", format::enter)?, leave: one("sys_exit", format::leave)? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::format::tests::{ENTER, LEAVE};
    use super::*;

    #[test]
    fn mounts_are_found_in_their_order() {
        let mounts = b"proc /proc proc rw 0 0\n\
            debugfs /sys/kernel/debug debugfs rw 0 0\n\
            tracefs /mnt/my\\040tracing tracefs rw 0 0\n\
            tracefs /sys/kernel/debug/tracing tracefs rw 0 0\n\
            /tracefs /tracefs ext4 rw 0 0\n\
            short\n";
        let found = places(mounts);
        let wanted = ["/mnt/my tracing", "/sys/kernel/debug/tracing"];
        assert_eq!(found, wanted.map(PathBuf::from));
        assert!(places(b"").is_empty() && places(b"proc /proc proc rw 0 0\n\n  \n").is_empty());
    }

    #[test]
    fn whether_the_kernel_has_it() {
        assert!(knows(b"nodev\tsysfs\nnodev\ttracefs\n\text4\n"));
        assert!(!knows(b"nodev\tsysfs\nnodev\tnotracefs\n") && !knows(b""));
    }

    /// A folder that looks like tracefs.
    fn folder(id: &[u8], enter: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, id, format) in [("sys_enter", id, enter), ("sys_exit", b"349\n", LEAVE)] {
            let event = folder.path().join("events/raw_syscalls").join(name);
            std::fs::create_dir_all(&event).unwrap();
            std::fs::write(event.join("id"), id).unwrap();
            std::fs::write(event.join("format"), format).unwrap();
        }
        folder
    }

    #[test]
    fn numbers_and_layouts_are_read_or_it_is_said_which_was_not() {
        let found = read(folder(b"350\n", ENTER).path()).unwrap();
        assert_eq!((found.enter.id, found.leave.id), (350, 349));
        assert_eq!(found.leave.layout, format::leave(LEAVE).unwrap());
        for (id, format) in [(&b"x\n"[..], ENTER), (b"65536\n", ENTER), (b"", ENTER), (b"350\n", LEAVE)] {
            let folder = folder(id, format);
            let path = folder.path().join("events/raw_syscalls/sys_enter");
            assert_eq!(read(folder.path()), Err(NoPerf::Unreadable { path, why: Unseen::Garbled }));
        }
        let empty = tempfile::tempdir().unwrap();
        let path = empty.path().join("events/raw_syscalls/sys_enter/id");
        assert_eq!(read(empty.path()), Err(NoPerf::Unreadable { path, why: Unseen::Absent }));
    }
}
