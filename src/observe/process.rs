//! A process as first seen: the cold path, read once per process.
//!
//! Takes a process directory, gives a [`ProcessSnapshot`]. What may not be read is `None`; only `stat` and `status`,
//! which everybody may read, must be there.

use super::kernel_file::{ProcDir, READ_BUFFER_BYTES, Seen, Unseen};
use super::parse;

/// Longest command line that is read; the rest is cut off.
const MAX_CMDLINE_BYTES: u64 = 64 * 1024;

/// A process as first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSnapshot {
    /// Process id in the namespace of the tool.
    pub pid: i32,
    /// Process id in its own innermost namespace.
    pub ns_pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Start time in clock ticks since boot: with the pid, the identity of the process.
    pub start_time_ticks: u64,
    /// Its `comm`.
    pub name: String,
    /// State letter.
    pub state: char,
    /// Whether it belongs to the kernel.
    pub kernel_thread: bool,
    /// Threads.
    pub threads: u64,
    /// Real user.
    pub real_uid: u32,
    /// Effective user.
    pub effective_uid: u32,
    /// Process that traces it (0: nobody).
    pub tracer_pid: i32,
    /// Its command line; empty for a zombie and for threads of the kernel.
    pub cmdline: Vec<String>,
    /// Its executable, as its link says.
    pub exe: Option<String>,
    /// Inode of its network namespace.
    pub net_ns: Option<u64>,
    /// Soft limit of open descriptors.
    pub fd_limit: Option<u64>,
    /// `false` when the kernel has made its files root's: it dropped privileges without an exec and may not be read
    /// even by its own user. `None` when that cannot be told, as for processes of root.
    pub dumpable: Option<bool>,
}

/// Reads everything once.
pub fn snapshot(process: &ProcDir) -> Seen<ProcessSnapshot> {
    let text = process.read("stat", READ_BUFFER_BYTES as u64)?;
    let stat = parse::stat(&text).ok_or(Unseen::Garbled)?;
    let text = process.read("status", READ_BUFFER_BYTES as u64)?;
    let status = parse::status(&text).ok_or(Unseen::Garbled)?;
    let maps_owner = process.stat("maps").ok().map(|maps| maps.st_uid);
    Ok(ProcessSnapshot {
        pid: process.pid(),
        ns_pid: status.ns_pid,
        ppid: status.ppid,
        start_time_ticks: stat.start_time_ticks,
        name: String::from_utf8_lossy(stat.comm).into_owned(),
        state: status.state,
        kernel_thread: stat.kernel_thread,
        threads: status.threads,
        real_uid: status.real_uid,
        effective_uid: status.effective_uid,
        tracer_pid: status.tracer_pid,
        cmdline: process.read("cmdline", MAX_CMDLINE_BYTES).map(|text| arguments(&text)).unwrap_or_default(),
        exe: process.link("exe").ok(),
        net_ns: process.stat("ns/net").ok().map(|namespace| namespace.st_ino),
        fd_limit: fd_limit(process),
        dumpable: maps_owner.filter(|_| status.effective_uid != 0).map(|owner| owner == status.effective_uid),
    })
}

/// The arguments of a command line, which ends with a zero byte unless the process has written over it.
fn arguments(text: &[u8]) -> Vec<String> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn fd_limit(process: &ProcDir) -> Option<u64> {
    use procfs::FromRead;
    let file = process.open_file("limits").ok()?;
    match procfs::process::Limits::from_read(file).ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(limit) => Some(limit),
        procfs::process::LimitValue::Unlimited => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn ourselves() {
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap();
        let seen = snapshot(&me).unwrap();
        assert_eq!(seen.pid, me.pid());
        assert_eq!(seen.ppid, nix::unistd::getppid().as_raw());
        assert_eq!(seen.cmdline, std::env::args().collect::<Vec<_>>());
        assert_eq!(seen.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert_eq!(seen.effective_uid, nix::unistd::geteuid().as_raw());
        assert!(!seen.kernel_thread && seen.threads >= 1 && seen.net_ns.is_some());
        let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(seen.fd_limit, Some(soft));
    }

    #[test]
    fn command_lines() {
        assert_eq!(arguments(b"gunicorn\0-w\0\0"), ["gunicorn", "-w", ""]);
        assert_eq!(arguments(b"gunicorn: worker [app]"), ["gunicorn: worker [app]"]);
        assert!(arguments(b"").is_empty());
    }
}
