//! System calls by name: every name there is, what a call is about, and which of its arguments lead where.
//!
//! Names and numbers come from the `syscalls` crate; what a thread can sleep in is described by [`super::syscalls`], which
//! is asked first. Pure: the architecture is the one that a capture names.

use super::syscalls::{Wait, describe};

/// The name of the system call with this number on this architecture.
#[must_use]
pub fn name(arch: &str, number: i64) -> Option<&'static str> {
    // Where headers call the same thing by two names, both architectures have the one that is known here.
    describe(arch, number).map(|call| call.name).or_else(|| listed_name(arch, number))
}

/// The name in the list of all calls.
fn listed_name(arch: &str, number: i64) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    match arch {
        "x86_64" => syscalls::x86_64::Sysno::new(number).map(|call| call.name()),
        "aarch64" => syscalls::aarch64::Sysno::new(number).map(|call| call.name()),
        _ => None,
    }
}

/// What a system call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Waits for descriptors: the heart of a loop.
    Poll,
    /// Sockets.
    Network,
    /// Files, also by name.
    File,
    /// Reads and writes of anything that has a descriptor.
    ReadWrite,
    /// Locks and conditions.
    Lock,
    /// Clocks, timers, sleeps.
    Time,
    /// Processes and threads.
    Process,
    /// Memory.
    Memory,
    /// Signals.
    Signal,
    /// Anything else.
    Other,
}

/// What the system call of this name is about.
#[must_use]
pub fn class(arch: &str, number: i64) -> Class {
    let Some(name) = name(arch, number) else { return Class::Other };
    if let Some(call) = describe(arch, number).filter(|call| call.wait != Wait::Restart) {
        return match call.wait {
            Wait::Epoll | Wait::Poll | Wait::Select | Wait::AsyncIo => Class::Poll,
            Wait::Recv | Wait::Send | Wait::Accept | Wait::Connect => Class::Network,
            Wait::Read | Wait::Write => Class::ReadWrite,
            Wait::Futex | Wait::FileLock | Wait::Ipc => Class::Lock,
            Wait::Sleep => Class::Time,
            Wait::Child | Wait::Yield => Class::Process,
            Wait::Sync | Wait::FileName => Class::File,
            Wait::Signal => Class::Signal,
            Wait::Restart => Class::Other,
        };
    }
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if starts(&["epoll_", "eventfd"]) {
        Class::Poll
    } else if starts(&["socket", "bind", "listen", "shutdown", "getsock", "setsock", "getpeer"]) {
        Class::Network
    } else if starts(&["clock_", "timer", "time", "gettimeofday"]) {
        Class::Time
    } else if starts(&[
        "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "mlock", "munlock", "mincore",
    ]) {
        Class::Memory
    } else if starts(&["rt_sig", "sig", "kill", "tkill", "tgkill", "pidfd_send"]) {
        Class::Signal
    } else if starts(&[
        "fork",
        "exec",
        "exit",
        "getp",
        "gett",
        "sched_",
        "set_robust",
        "prctl",
        "prlimit",
        "rseq",
    ]) {
        Class::Process
    } else if FILE_CALLS.contains(&name)
        || fd_argument(arch, number).is_some()
        || path_argument(name).is_some()
    {
        Class::File
    } else {
        Class::Other
    }
}

const FILE_CALLS: [&str; 6] = ["pipe", "pipe2", "getcwd", "chdir", "umask", "memfd_create"];

/// Which argument is a descriptor, counting from 0.
#[must_use]
pub fn fd_argument(arch: &str, number: i64) -> Option<usize> {
    if let Some(argument) = describe(arch, number).and_then(|call| call.fd_arg) {
        return Some(argument.into());
    }
    match name(arch, number)? {
        "epoll_ctl" | "fstat" | "lseek" | "ioctl" | "getsockopt" | "setsockopt" | "getsockname"
        | "getpeername" | "bind" | "listen" | "shutdown" | "dup" | "dup2" | "dup3" | "fchmod" | "fchown"
        | "fadvise64" | "getdents" | "timerfd_settime" | "timerfd_gettime" | "inotify_add_watch"
        | "inotify_rm_watch" | "fstatfs" | "fchdir" | "readahead" | "vmsplice" | "tee" | "fsetxattr"
        | "fgetxattr" | "futimesat" | "pidfd_send_signal" | "pidfd_getfd"
        // Of these the name may be empty, and then the descriptor is meant.
        | "newfstatat" | "statx" | "faccessat" | "faccessat2" | "fchmodat" | "fchownat" | "readlinkat"
        | "utimensat" => Some(0),
        "mmap" => Some(4),
        _ => None,
    }
}

/// Whether the call gives a new descriptor.
#[must_use]
pub fn gives_descriptor(name: &str) -> bool {
    matches!(
        name,
        "open"
            | "openat"
            | "openat2"
            | "creat"
            | "socket"
            | "accept"
            | "accept4"
            | "epoll_create"
            | "epoll_create1"
            | "eventfd"
            | "eventfd2"
            | "timerfd_create"
            | "signalfd"
            | "signalfd4"
            | "inotify_init"
            | "inotify_init1"
            | "dup"
            | "dup2"
            | "dup3"
            | "memfd_create"
            | "pidfd_open"
            | "pidfd_getfd"
            | "perf_event_open"
    )
}

/// Whether the call takes in what made its descriptor ready, or gives the descriptor up.
#[must_use]
pub fn takes_in(name: &str) -> bool {
    matches!(
        name,
        "read"
            | "readv"
            | "pread64"
            | "preadv"
            | "preadv2"
            | "recvfrom"
            | "recvmsg"
            | "recvmmsg"
            | "accept"
            | "accept4"
            | "close"
            | "splice"
            | "sendfile"
            | "write"
            | "writev"
            | "sendto"
            | "sendmsg"
            | "sendmmsg"
            | "shutdown"
            | "connect"
    )
}

/// What an argument leads to in the memory of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadsTo {
    /// A name that ends with a zero, before the call.
    Path(usize),
    /// The address of a socket and its length, before the call.
    Address(usize, usize),
    /// As many `struct epoll_event` as the result says, after the call.
    EpollEvents(usize),
    /// So many `struct pollfd`, after the call.
    PollFds(usize, usize),
    /// The bits of the readable descriptors below so many, after the call.
    ReadSet(usize, usize),
}

/// What the arguments of the call lead to, where that is worth reading.
#[must_use]
pub fn leads_to(arch: &str, number: i64) -> Option<LeadsTo> {
    Some(match name(arch, number)? {
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => LeadsTo::EpollEvents(1),
        "poll" | "ppoll" => LeadsTo::PollFds(0, 1),
        "select" | "pselect6" => LeadsTo::ReadSet(1, 0),
        "connect" | "bind" => LeadsTo::Address(1, 2),
        "sendto" => LeadsTo::Address(4, 5),
        name => LeadsTo::Path(path_argument(name)?),
    })
}

fn path_argument(name: &str) -> Option<usize> {
    match name {
        "open" | "creat" | "stat" | "lstat" | "access" | "unlink" | "rename" | "mkdir" | "rmdir"
        | "readlink" | "execve" | "chdir" | "chmod" | "chown" | "statfs" | "truncate" | "link"
        | "symlink" => Some(0),
        "openat" | "openat2" | "newfstatat" | "statx" | "unlinkat" | "mkdirat" | "faccessat"
        | "faccessat2" | "readlinkat" | "renameat" | "renameat2" | "fchmodat" | "execveat" | "utimensat" => {
            Some(1)
        }
        _ => None,
    }
}

/// What a stop of a thread that sleeps in this call does to the call, as measured on each (signal(7) lists most of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbed {
    /// It goes on as if nothing had been.
    No,
    /// It returns `EINTR`.
    Always,
    /// It returns `EINTR` when its descriptor is a socket with a time limit.
    WithTimeLimit,
}

/// What a stop does to a thread that sleeps in this call.
#[must_use]
pub fn disturbed(arch: &str, number: i64) -> Disturbed {
    match name(arch, number) {
        Some(
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "semop" | "semtimedop" | "rt_sigtimedwait"
            | "io_getevents" | "io_pgetevents" | "io_uring_enter",
        ) => Disturbed::Always,
        Some(
            "recvfrom" | "recvmsg" | "recvmmsg" | "sendto" | "sendmsg" | "sendmmsg" | "accept" | "accept4"
            | "connect" | "read" | "readv" | "write" | "writev",
        ) => Disturbed::WithTimeLimit,
        _ => Disturbed::No,
    }
}

/// The name of an error number, as headers spell it.
#[must_use]
pub fn error_name(error: i32) -> String {
    // What the kernel keeps to itself, and only who traces can see: the call will be made again.
    match error {
        512..=514 | 516 => return "to be restarted".into(),
        _ => {}
    }
    match nix::errno::Errno::from_raw(error) {
        nix::errno::Errno::UnknownErrno => error.to_string(),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_both_architectures() {
        assert_eq!(name("x86_64", 39), Some("getpid"));
        assert_eq!(name("aarch64", 172), Some("getpid"));
        assert_eq!([name("x86_64", -1), name("x86_64", 100_000), name("riscv64", 1)], [None; 3]);
    }

    /// Both tables must agree on every call that one thread can sleep in.
    #[test]
    fn both_tables_agree() {
        let mut known = 0;
        for arch in ["x86_64", "aarch64"] {
            for number in 0..500 {
                let Some(call) = describe(arch, number) else { continue };
                let given = listed_name(arch, number).unwrap_or_default();
                let same =
                    matches!((call.name, given), ("sendfile", "sendfile64") | ("newfstatat", "fstatat"));
                assert!(same || given == call.name, "{arch} {number}: {given} and {}", call.name);
                known += 1;
            }
        }
        assert!(known > 120, "{known}");
    }

    #[test]
    fn what_arguments_mean() {
        assert_eq!((fd_argument("x86_64", 5), fd_argument("x86_64", 9)), (Some(0), Some(4)));
        assert_eq!((fd_argument("x86_64", 39), fd_argument("x86_64", 232)), (None, Some(0)));
        assert_eq!(leads_to("x86_64", 257), Some(LeadsTo::Path(1)));
        assert_eq!(leads_to("aarch64", 22), Some(LeadsTo::EpollEvents(1)));
        assert_eq!(leads_to("x86_64", 39), None);
        assert_eq!((class("x86_64", 39), class("x86_64", 5)), (Class::Process, Class::File));
        assert_eq!((class("x86_64", 41), class("x86_64", 202)), (Class::Network, Class::Lock));
    }

    #[test]
    fn calls_that_a_stop_disturbs() {
        assert_eq!(disturbed("x86_64", 232), Disturbed::Always);
        assert_eq!(disturbed("x86_64", 7), Disturbed::No, "poll goes on");
        assert_eq!(disturbed("x86_64", 45), Disturbed::WithTimeLimit);
        assert_eq!(disturbed("aarch64", 22), Disturbed::Always);
    }

    #[test]
    fn errors_have_names() {
        assert_eq!([11, 4, 110].map(error_name), ["EAGAIN", "EINTR", "ETIMEDOUT"]);
        assert_eq!(error_name(514), "to be restarted");
        assert_eq!(error_name(4000), "4000");
    }
}
