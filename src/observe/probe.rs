//! Tries each source once on a process, to say what may be read of it, without doing anything to it.
//!
//! Takes a process directory, gives one [`Trial`] per source. Everything is opened for reading and closed at once; of
//! its memory one byte is read, of its environment nothing. A duplicate of a descriptor is never taken and a thread never
//! stopped for a trial: whether those may be done follows from the others.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};

use super::cgroup::CpuGroup;
use super::descriptors;
use super::kernel_file::{ProcDir, READ_BUFFER_BYTES, Seen, Unseen};
use super::parse;
use super::sock_diag::{NoDiagnosis, SockDiag};
use super::sockets::{SocketFiles, Table, Wanted};
use super::thread_files::ThreadFiles;

/// How often a thread that wakes while it is looked at is looked at again.
const WCHAN_TRIES: usize = 5;

/// A source of the look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// State, parent, start time.
    Stat,
    /// Run and run-queue time.
    Schedstat,
    /// The kernel function a thread sleeps in.
    Wchan,
    /// What a thread sleeps in.
    Syscall,
    /// What is mapped where.
    Maps,
    /// Memory, through the file.
    Memory,
    /// Memory, through the kernel's remote read.
    RemoteRead,
    /// Open descriptors.
    Descriptors,
    /// Environment.
    Environ,
    /// The program.
    Exe,
    /// The network namespace.
    NetNamespace,
    /// The kernel's socket diagnosis.
    SockDiag,
    /// The text tables of sockets.
    SocketFiles,
    /// Control group.
    Cgroup,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What was tried.
    pub source: Source,
    /// What was seen, in a word or two, or why nothing was.
    pub seen: Result<String, String>,
    /// Whether the kernel refused, which a right could change; else there is nothing to see.
    pub denied: bool,
}

/// Tries every source.
#[must_use]
pub fn try_all(process: &Arc<ProcDir>) -> Vec<Trial> {
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut thread = ThreadFiles::new(Arc::clone(process), process.pid());
    let state = thread.stat(&mut buffer).map(|stat| stat.state);
    let first = first_address(process);
    vec![
        trial(Source::Stat, state.map(|state| format!("state {state}"))),
        trial(
            Source::Schedstat,
            thread.schedstat(&mut buffer).map(|s| format!("{} times on a processor", s.slices)),
        ),
        wchan(&mut thread, &mut buffer),
        trial(Source::Syscall, thread.syscall(&mut buffer).map(|_| String::new())),
        trial(Source::Maps, first.map(|_| String::new())),
        trial(Source::Memory, memory(process, first)),
        trial(Source::RemoteRead, remote(process, first)),
        trial(
            Source::Descriptors,
            descriptors::list(process).map(|listing| format!("{} open", listing.fds.len())),
        ),
        // Opening it asks for the right; its contents may be secret and are of no use here.
        trial(Source::Environ, process.open_file("environ").map(|_| String::new())),
        trial(Source::Exe, process.link("exe")),
        net_namespace(process),
        sock_diag(process),
        trial(
            Source::SocketFiles,
            SocketFiles::new().read(process, &[Table::Tcp], &Wanted::default()).map(|_| String::new()),
        ),
        trial(Source::Cgroup, CpuGroup::open(process).map(|group| group.path().to_owned())),
    ]
}

/// Whether the kernel refuses what a look at level memory lives on. One byte of memory tells.
#[must_use]
pub fn memory_refused(process: &ProcDir) -> bool {
    let first = first_address(process);
    // Where mappings are hidden, opening the memory still tells.
    let file = process.open_file("mem").map(|_| String::new());
    file == Err(Unseen::Denied) && remote(process, first).is_err()
}

fn trial(source: Source, seen: Seen<String>) -> Trial {
    Trial { source, denied: seen == Err(Unseen::Denied), seen: seen.map_err(|unseen| unseen.to_string()) }
}

/// Where its first mapping begins.
fn first_address(process: &ProcDir) -> Seen<u64> {
    let maps = process.read("maps", 4096)?;
    let start = maps.split(|byte| *byte == b'-').next().unwrap_or_default();
    parse::hexadecimal(start).ok_or(Unseen::Absent)
}

fn memory(process: &ProcDir, first: Seen<u64>) -> Seen<String> {
    let file = process.open_file("mem")?;
    let mut byte = [0];
    match file.read_at(&mut byte, first?)? {
        0 => Err(Unseen::Gone),
        _ => Ok(String::new()),
    }
}

fn remote(process: &ProcDir, first: Seen<u64>) -> Seen<String> {
    let base = usize::try_from(first?).map_err(|_| Unseen::Garbled)?;
    let pid = nix::unistd::Pid::from_raw(process.pid());
    let mut byte = [0];
    process_vm_readv(pid, &mut [std::io::IoSliceMut::new(&mut byte)], &[RemoteIoVec { base, len: 1 }])?;
    Ok(String::new())
}

/// The kernel hides it without an error: a thread that sleeps and sleeps nowhere, and did not wake meanwhile, is hidden.
fn wchan(thread: &mut ThreadFiles, buffer: &mut [u8]) -> Trial {
    let found = |seen| Trial { source: Source::Wchan, seen, denied: false };
    for _ in 0..WCHAN_TRIES {
        let before = thread.counters(buffer);
        match thread.wchan(buffer) {
            Ok(Some(name)) => return found(Ok(name.to_owned())),
            Ok(None) => {}
            Err(unseen) => return trial(Source::Wchan, Err(unseen)),
        }
        let after = thread.counters(buffer);
        if before == after && before.is_ok_and(|counters| matches!(counters.state, 'S' | 'D')) {
            // Whoever may read what it sleeps in is not kept from this: then the kernel does not know it.
            let refused = thread.syscall(buffer) == Err(Unseen::Denied);
            let why = if refused { "hidden without an error".into() } else { Unseen::Absent.to_string() };
            return Trial { source: Source::Wchan, seen: Err(why), denied: refused };
        }
    }
    found(Ok("awake".into()))
}

fn net_namespace(process: &ProcDir) -> Trial {
    let ours = nix::sys::stat::stat("/proc/self/ns/net").map(|seen| seen.st_ino).map_err(Unseen::from);
    let seen =
        process.stat("ns/net").and_then(|theirs| Ok(if ours? == theirs.st_ino { "ours" } else { "another" }));
    trial(Source::NetNamespace, seen.map(str::to_owned))
}

fn sock_diag(process: &ProcDir) -> Trial {
    let answer = SockDiag::open(process).and_then(|mut channel| channel.tcp(&Wanted::default()));
    let denied = matches!(answer, Err(NoDiagnosis::UnknownNamespace(Unseen::Denied)));
    let why = |why: NoDiagnosis| if denied { Unseen::Denied.to_string() } else { why.to_string() };
    Trial { source: Source::SockDiag, seen: answer.map(|_| String::new()).map_err(why), denied }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn of_ourselves_everything_may_be_read() {
        let me = Arc::new(ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap());
        let denied: Vec<Trial> = try_all(&me).into_iter().filter(|trial| trial.denied).collect();
        assert_eq!(denied, []);
        assert!(!memory_refused(&me));
    }
}
