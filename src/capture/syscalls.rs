//! The system calls a server's thread sleeps in, by number: what kind of wait each is, and which argument says on what.
//!
//! Numbers differ between architectures; names, kinds and arguments do not. Pure: the judge uses it on saved captures,
//! so the architecture is the one that the capture names, not the one this runs on.

/// What kind of wait a system call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Waits for an epoll set.
    Epoll,
    /// Waits for a list of descriptors.
    Poll,
    /// Waits for descriptors in bit sets.
    Select,
    /// Receives from a socket.
    Recv,
    /// Sends to a socket.
    Send,
    /// Accepts a connection.
    Accept,
    /// Connects.
    Connect,
    /// Reads from anything.
    Read,
    /// Writes to anything.
    Write,
    /// Waits for a lock, a condition or a thread.
    Futex,
    /// Sleeps for a time.
    Sleep,
    /// Waits for a child process.
    Child,
    /// Waits for a lock on a file.
    FileLock,
    /// Waits for storage to hold what was written.
    Sync,
    /// Opens, removes, renames or looks at a file by name.
    FileName,
    /// Waits for a signal.
    Signal,
    /// Waits for I/O handed to the kernel before.
    AsyncIo,
    /// Waits for a System V or POSIX semaphore or message queue.
    Ipc,
    /// Gives up the processor.
    Yield,
    /// Goes on with a wait that a stop or a signal interrupted; which one is not told.
    Restart,
}

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyscallInfo {
    /// Its name.
    pub name: &'static str,
    /// What kind of wait it is.
    pub wait: Wait,
    /// Which argument is the descriptor, counting from 0.
    pub fd_arg: Option<u8>,
    /// Which argument says how long, counting from 0.
    pub timeout_arg: Option<u8>,
    /// What that argument holds.
    pub timeout: Timeout,
}

/// What a timeout argument holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// There is none.
    None,
    /// Milliseconds as a signed 32-bit number; negative: for ever.
    Milliseconds,
    /// Address of a time; 0: for ever. The time itself is in the target's memory.
    Pointer,
}

/// The system call with this number on this architecture (as [`HostFacts::arch`](super::model::HostFacts::arch) names
/// it); `None` for one that is not listed here or an architecture that is not known.
#[must_use]
pub fn describe(arch: &str, number: i64) -> Option<SyscallInfo> {
    let column = match arch {
        "x86_64" => 0,
        "aarch64" => 1,
        _ => return None,
    };
    let row = TABLE.iter().find(|row| row.0[column] == number)?;
    let &(_, name, wait, fd_arg, (timeout, timeout_arg)) = row;
    Some(SyscallInfo { name, wait, fd_arg, timeout_arg, timeout })
}

/// Stands in the table where an architecture does not have a call. No call has this number.
const NONE: i64 = i64::MIN;
const FD0: Option<u8> = Some(0);
const FOR_EVER: (Timeout, Option<u8>) = (Timeout::None, None);

const fn ms(argument: u8) -> (Timeout, Option<u8>) {
    (Timeout::Milliseconds, Some(argument))
}

const fn at(argument: u8) -> (Timeout, Option<u8>) {
    (Timeout::Pointer, Some(argument))
}

type Row = ([i64; 2], &'static str, Wait, Option<u8>, (Timeout, Option<u8>));

/// Numbers on x86-64 and aarch64, name, kind, descriptor argument, timeout argument.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ([232, NONE], "epoll_wait",      Wait::Epoll,    FD0,  ms(3)),
    ([281,   22], "epoll_pwait",     Wait::Epoll,    FD0,  ms(3)),
    ([441,  441], "epoll_pwait2",    Wait::Epoll,    FD0,  at(3)),
    ([  7, NONE], "poll",            Wait::Poll,     None, ms(2)),
    ([271,   73], "ppoll",           Wait::Poll,     None, at(2)),
    ([ 23, NONE], "select",          Wait::Select,   None, at(4)),
    ([270,   72], "pselect6",        Wait::Select,   None, at(4)),
    ([ 45,  207], "recvfrom",        Wait::Recv,     FD0,  FOR_EVER),
    ([ 47,  212], "recvmsg",         Wait::Recv,     FD0,  FOR_EVER),
    ([299,  243], "recvmmsg",        Wait::Recv,     FD0,  at(4)),
    ([ 44,  206], "sendto",          Wait::Send,     FD0,  FOR_EVER),
    ([ 46,  211], "sendmsg",         Wait::Send,     FD0,  FOR_EVER),
    ([307,  269], "sendmmsg",        Wait::Send,     FD0,  FOR_EVER),
    ([ 40,   71], "sendfile",        Wait::Send,     FD0,  FOR_EVER),
    ([ 43,  202], "accept",          Wait::Accept,   FD0,  FOR_EVER),
    ([288,  242], "accept4",         Wait::Accept,   FD0,  FOR_EVER),
    ([ 42,  203], "connect",         Wait::Connect,  FD0,  FOR_EVER),
    ([  0,   63], "read",            Wait::Read,     FD0,  FOR_EVER),
    ([ 17,   67], "pread64",         Wait::Read,     FD0,  FOR_EVER),
    ([ 19,   65], "readv",           Wait::Read,     FD0,  FOR_EVER),
    ([295,   69], "preadv",          Wait::Read,     FD0,  FOR_EVER),
    ([327,  286], "preadv2",         Wait::Read,     FD0,  FOR_EVER),
    ([217,   61], "getdents64",      Wait::Read,     FD0,  FOR_EVER),
    ([  1,   64], "write",           Wait::Write,    FD0,  FOR_EVER),
    ([ 18,   68], "pwrite64",        Wait::Write,    FD0,  FOR_EVER),
    ([ 20,   66], "writev",          Wait::Write,    FD0,  FOR_EVER),
    ([296,   70], "pwritev",         Wait::Write,    FD0,  FOR_EVER),
    ([328,  287], "pwritev2",        Wait::Write,    FD0,  FOR_EVER),
    ([275,   76], "splice",          Wait::Write,    FD0,  FOR_EVER),
    ([326,  285], "copy_file_range", Wait::Write,    FD0,  FOR_EVER),
    ([202,   98], "futex",           Wait::Futex,    None, at(3)),
    ([455,  455], "futex_wait",      Wait::Futex,    None, at(4)),
    ([449,  449], "futex_waitv",     Wait::Futex,    None, at(3)),
    ([ 35,  101], "nanosleep",       Wait::Sleep,    None, at(0)),
    ([230,  115], "clock_nanosleep", Wait::Sleep,    None, at(2)),
    ([ 61,  260], "wait4",           Wait::Child,    None, FOR_EVER),
    ([247,   95], "waitid",          Wait::Child,    None, FOR_EVER),
    ([ 58, NONE], "vfork",           Wait::Child,    None, FOR_EVER),
    ([ 56,  220], "clone",           Wait::Child,    None, FOR_EVER),
    ([435,  435], "clone3",          Wait::Child,    None, FOR_EVER),
    ([ 73,   32], "flock",           Wait::FileLock, FD0,  FOR_EVER),
    ([ 72,   25], "fcntl",           Wait::FileLock, FD0,  FOR_EVER),
    ([ 74,   82], "fsync",           Wait::Sync,     FD0,  FOR_EVER),
    ([ 75,   83], "fdatasync",       Wait::Sync,     FD0,  FOR_EVER),
    ([ 26,  227], "msync",           Wait::Sync,     None, FOR_EVER),
    ([162,   81], "sync",            Wait::Sync,     None, FOR_EVER),
    ([306,  267], "syncfs",          Wait::Sync,     FD0,  FOR_EVER),
    ([277,   84], "sync_file_range", Wait::Sync,     FD0,  FOR_EVER),
    ([ 77,   46], "ftruncate",       Wait::Sync,     FD0,  FOR_EVER),
    ([285,   47], "fallocate",       Wait::Sync,     FD0,  FOR_EVER),
    ([  3,   57], "close",           Wait::Sync,     FD0,  FOR_EVER),
    ([  2, NONE], "open",            Wait::FileName, None, FOR_EVER),
    ([257,   56], "openat",          Wait::FileName, None, FOR_EVER),
    ([437,  437], "openat2",         Wait::FileName, None, FOR_EVER),
    ([  4, NONE], "stat",            Wait::FileName, None, FOR_EVER),
    ([262,   79], "newfstatat",      Wait::FileName, None, FOR_EVER),
    ([332,  291], "statx",           Wait::FileName, None, FOR_EVER),
    ([ 82, NONE], "rename",          Wait::FileName, None, FOR_EVER),
    ([264,   38], "renameat",        Wait::FileName, None, FOR_EVER),
    ([316,  276], "renameat2",       Wait::FileName, None, FOR_EVER),
    ([ 87, NONE], "unlink",          Wait::FileName, None, FOR_EVER),
    ([263,   35], "unlinkat",        Wait::FileName, None, FOR_EVER),
    ([ 34, NONE], "pause",           Wait::Signal,   None, FOR_EVER),
    ([130,  133], "rt_sigsuspend",   Wait::Signal,   None, FOR_EVER),
    ([128,  137], "rt_sigtimedwait", Wait::Signal,   None, at(2)),
    ([208,    4], "io_getevents",    Wait::AsyncIo,  None, at(4)),
    ([333,  292], "io_pgetevents",   Wait::AsyncIo,  None, at(4)),
    ([426,  426], "io_uring_enter",  Wait::AsyncIo,  FD0,  FOR_EVER),
    ([ 65,  193], "semop",           Wait::Ipc,      None, FOR_EVER),
    ([220,  192], "semtimedop",      Wait::Ipc,      None, at(3)),
    ([ 70,  188], "msgrcv",          Wait::Ipc,      None, FOR_EVER),
    ([ 69,  189], "msgsnd",          Wait::Ipc,      None, FOR_EVER),
    ([243,  183], "mq_timedreceive", Wait::Ipc,      FD0,  at(4)),
    ([242,  182], "mq_timedsend",    Wait::Ipc,      FD0,  at(4)),
    ([ 24,  124], "sched_yield",     Wait::Yield,    None, FOR_EVER),
    ([219,  128], "restart_syscall", Wait::Restart,  None, FOR_EVER),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use nix::libc;

    use super::*;

    #[test]
    fn no_number_and_no_name_twice() {
        for column in 0..2 {
            let numbers: Vec<_> = TABLE.iter().map(|row| row.0[column]).filter(|&n| n != NONE).collect();
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        }
        assert_eq!(TABLE.iter().map(|row| row.1).collect::<HashSet<_>>().len(), TABLE.len());
    }

    #[test]
    fn the_calls_that_servers_sleep_in() {
        let epoll = describe("x86_64", 232).unwrap();
        assert_eq!((epoll.name, epoll.wait, epoll.fd_arg), ("epoll_wait", Wait::Epoll, Some(0)));
        assert_eq!((epoll.timeout_arg, epoll.timeout), (Some(3), Timeout::Milliseconds));
        assert_eq!(describe("aarch64", 98).unwrap().wait, Wait::Futex);
        assert_eq!(describe("aarch64", 232).map(|call| call.name), None, "mincore there");
        assert_eq!(describe("x86_64", 219).unwrap().wait, Wait::Restart);
        assert_eq!(describe("riscv64", 98), None);
        assert_eq!(describe("x86_64", -1), None);
        assert_eq!(describe("x86_64", i64::MIN), None);
    }

    /// The headers of the architecture this is compiled for have the last word.
    #[test]
    fn numbers_agree_with_the_c_library() {
        let numbers: &[(&str, libc::c_long)] = &[
            ("epoll_pwait", libc::SYS_epoll_pwait),
            ("epoll_pwait2", libc::SYS_epoll_pwait2),
            ("ppoll", libc::SYS_ppoll),
            ("pselect6", libc::SYS_pselect6),
            ("recvfrom", libc::SYS_recvfrom),
            ("recvmsg", libc::SYS_recvmsg),
            ("recvmmsg", libc::SYS_recvmmsg),
            ("sendto", libc::SYS_sendto),
            ("sendmsg", libc::SYS_sendmsg),
            ("sendmmsg", libc::SYS_sendmmsg),
            ("sendfile", libc::SYS_sendfile),
            ("accept", libc::SYS_accept),
            ("accept4", libc::SYS_accept4),
            ("connect", libc::SYS_connect),
            ("read", libc::SYS_read),
            ("pread64", libc::SYS_pread64),
            ("readv", libc::SYS_readv),
            ("preadv", libc::SYS_preadv),
            ("preadv2", libc::SYS_preadv2),
            ("getdents64", libc::SYS_getdents64),
            ("write", libc::SYS_write),
            ("pwrite64", libc::SYS_pwrite64),
            ("writev", libc::SYS_writev),
            ("pwritev", libc::SYS_pwritev),
            ("pwritev2", libc::SYS_pwritev2),
            ("splice", libc::SYS_splice),
            ("copy_file_range", libc::SYS_copy_file_range),
            ("futex", libc::SYS_futex),
            ("futex_waitv", libc::SYS_futex_waitv),
            ("nanosleep", libc::SYS_nanosleep),
            ("clock_nanosleep", libc::SYS_clock_nanosleep),
            ("wait4", libc::SYS_wait4),
            ("waitid", libc::SYS_waitid),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("flock", libc::SYS_flock),
            ("fcntl", libc::SYS_fcntl),
            ("fsync", libc::SYS_fsync),
            ("fdatasync", libc::SYS_fdatasync),
            ("msync", libc::SYS_msync),
            ("sync", libc::SYS_sync),
            ("syncfs", libc::SYS_syncfs),
            ("sync_file_range", libc::SYS_sync_file_range),
            ("ftruncate", libc::SYS_ftruncate),
            ("fallocate", libc::SYS_fallocate),
            ("close", libc::SYS_close),
            ("openat", libc::SYS_openat),
            ("openat2", libc::SYS_openat2),
            ("newfstatat", libc::SYS_newfstatat),
            ("statx", libc::SYS_statx),
            ("renameat", libc::SYS_renameat),
            ("renameat2", libc::SYS_renameat2),
            ("unlinkat", libc::SYS_unlinkat),
            ("rt_sigsuspend", libc::SYS_rt_sigsuspend),
            ("rt_sigtimedwait", libc::SYS_rt_sigtimedwait),
            ("io_getevents", libc::SYS_io_getevents),
            ("io_uring_enter", libc::SYS_io_uring_enter),
            ("semop", libc::SYS_semop),
            ("semtimedop", libc::SYS_semtimedop),
            ("msgrcv", libc::SYS_msgrcv),
            ("msgsnd", libc::SYS_msgsnd),
            ("mq_timedreceive", libc::SYS_mq_timedreceive),
            ("mq_timedsend", libc::SYS_mq_timedsend),
            ("sched_yield", libc::SYS_sched_yield),
            ("restart_syscall", libc::SYS_restart_syscall),
        ];
        for &(name, number) in numbers {
            let described = describe(std::env::consts::ARCH, number);
            assert_eq!(described.map(|call| call.name), Some(name), "number {number}");
        }
    }
}
