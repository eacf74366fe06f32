//! Decoders of the small text files of a process or thread.
//!
//! Each takes the bytes of one file and gives plain numbers, or `None` for anything that is not such a file; none
//! allocates, none does I/O. Names in these files are chosen by the target and may hold any byte.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use crate::capture::model::Doing;

/// Set in `stat`'s flags for threads of the kernel itself.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A decimal number and nothing else.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    digits(text, 10)
}

/// A hexadecimal number, with or without `0x`.
#[must_use]
pub fn hexadecimal(text: &[u8]) -> Option<u64> {
    digits(text.strip_prefix(b"0x").unwrap_or(text), 16)
}

fn digits(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

/// A decimal number that may be negative.
#[must_use]
pub fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(rest) => 0_i64.checked_sub_unsigned(decimal(rest)?),
        None => decimal(text)?.try_into().ok(),
    }
}

fn pid(text: &[u8]) -> Option<i32> {
    decimal(text)?.try_into().ok()
}

/// The fields of a line.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The lines of a text, without a last empty one.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// `schedstat` of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedStat {
    /// Time on a processor.
    pub run_ns: u64,
    /// Time in a run queue.
    pub delay_ns: u64,
    /// Times put on a processor.
    pub slices: u64,
}

/// Decodes `schedstat`.
#[must_use]
pub fn schedstat(text: &[u8]) -> Option<SchedStat> {
    let mut words = words(text);
    let mut next = || decimal(words.next()?);
    Some(SchedStat { run_ns: next()?, delay_ns: next()?, slices: next()? })
}

/// What is used of `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat<'a> {
    /// Process or thread id.
    pub id: i32,
    /// Its name: any bytes.
    pub comm: &'a [u8],
    /// State letter.
    pub state: char,
    /// Parent.
    pub ppid: i32,
    /// Whether it belongs to the kernel.
    pub kernel_thread: bool,
    /// User time.
    pub utime_ticks: u64,
    /// System time.
    pub stime_ticks: u64,
    /// Threads of the process.
    pub threads: u64,
    /// Start time since boot.
    pub start_time_ticks: u64,
    /// Time spent waiting for block devices.
    pub blkio_ticks: u64,
}

/// Decodes `stat`. The name ends at the last parenthesis, as it may hold some itself.
#[must_use]
pub fn stat(text: &[u8]) -> Option<Stat<'_>> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let id = pid(text.get(..open)?.trim_ascii())?;
    let comm = text.get(open + 1..close)?;
    let mut rest = words(text.get(close + 1..)?);
    let state = char::from(*rest.next()?.first()?);
    let ppid = signed(rest.next()?)?.try_into().ok()?;
    // The iterator stands at field 5 (pgrp); `nth` counts from there.
    let kernel_thread = decimal(rest.nth(4)?)? & PF_KTHREAD != 0; // 9
    let utime_ticks = decimal(rest.nth(4)?)?; // 14
    let stime_ticks = decimal(rest.next()?)?; // 15
    let threads = decimal(rest.nth(4)?)?; // 20
    let start_time_ticks = decimal(rest.nth(1)?)?; // 22
    let blkio_ticks = rest.nth(19).map_or(Some(0), decimal)?; // 42
    Some(Stat {
        id,
        comm,
        state,
        ppid,
        kernel_thread,
        utime_ticks,
        stime_ticks,
        threads,
        start_time_ticks,
        blkio_ticks,
    })
}

/// What is used of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// State letter.
    pub state: char,
    /// Process id.
    pub tgid: i32,
    /// Parent.
    pub ppid: i32,
    /// Process that traces it (0: nobody).
    pub tracer_pid: i32,
    /// Real user.
    pub real_uid: u32,
    /// Effective user.
    pub effective_uid: u32,
    /// Its id in its own innermost namespace.
    pub ns_pid: i32,
    /// Threads of the process.
    pub threads: u64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
}

/// Decodes `status`. `NSpid` is missing before Linux 4.1, where the plain id stands in; everything else must be there.
#[must_use]
pub fn status(text: &[u8]) -> Option<Status> {
    // The kernel escapes newlines of the name in this file, so the target cannot forge a line.
    let (mut state, mut tgid, mut plain_pid, mut ppid, mut tracer_pid) = (None, None, None, None, None);
    let (mut uids, mut ns_pid, mut threads) = (None, None, None);
    let (mut voluntary, mut involuntary) = (None, None);
    for line in lines(text) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (Some(key), Some(value)) = (line.get(..colon), line.get(colon + 1..)) else { continue };
        let mut values = words(value);
        match key {
            b"State" => state = values.next().and_then(<[u8]>::first).copied().map(char::from),
            b"Tgid" => tgid = values.next().and_then(pid),
            b"Pid" => plain_pid = values.next().and_then(pid),
            b"PPid" => ppid = values.next().and_then(pid),
            b"TracerPid" => tracer_pid = values.next().and_then(pid),
            b"Uid" => uids = values.next().and_then(decimal).zip(values.next().and_then(decimal)),
            b"NSpid" => ns_pid = values.last().and_then(pid),
            b"Threads" => threads = values.next().and_then(decimal),
            b"voluntary_ctxt_switches" => voluntary = values.next().and_then(decimal),
            b"nonvoluntary_ctxt_switches" => involuntary = values.next().and_then(decimal),
            _ => {}
        }
    }
    let (real, effective) = uids?;
    Some(Status {
        state: state?,
        tgid: tgid?,
        ppid: ppid?,
        tracer_pid: tracer_pid?,
        real_uid: real.try_into().ok()?,
        effective_uid: effective.try_into().ok()?,
        ns_pid: ns_pid.or(plain_pid)?,
        threads: threads.unwrap_or(0),
        voluntary_switches: voluntary?,
        involuntary_switches: involuntary?,
    })
}

/// Decodes `syscall`: `running`, `NR a0 … a5 SP PC`, or `-1 SP PC` for a thread that is blocked or stopped outside
/// any system call.
#[must_use]
pub fn syscall(text: &[u8]) -> Option<Doing> {
    let mut words = words(text);
    let first = words.next()?;
    if first == b"running" {
        return Some(Doing::Running);
    }
    let number = signed(first)?;
    if number < 0 {
        hexadecimal(words.next()?)?;
        hexadecimal(words.next()?)?;
        return Some(Doing::Elsewhere);
    }
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = hexadecimal(words.next()?)?;
    }
    Some(Doing::Syscall(number, arguments))
}

/// Where in the program a thread made the call that it sleeps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Its stack pointer.
    pub stack_pointer: u64,
    /// Its program counter.
    pub program_counter: u64,
}

/// The site in `syscall`, behind the arguments. `None` for a thread that sleeps in no call.
#[must_use]
pub fn site(text: &[u8]) -> Option<Site> {
    let mut words = words(text).skip(7);
    let mut next = || hexadecimal(words.next()?);
    Some(Site { stack_pointer: next()?, program_counter: next()? })
}

/// Decodes `wchan`: the kernel function the thread sleeps in. `None` when it does not sleep, or when the kernel
/// hides it, which it does without an error.
#[must_use]
pub fn wchan(text: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(text.trim_ascii()).ok()?;
    (!name.is_empty() && name != "0").then_some(name)
}

/// Decodes `stack`: `[<0>] hrtimer_nanosleep+0xc5/0x170` in each line, the innermost function first.
#[must_use]
pub fn kernel_stack(text: &[u8]) -> Vec<String> {
    let function = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let (_, rest) = line.split_once("] ")?;
        let name = rest.split('+').next()?.trim();
        (!name.is_empty()).then(|| name.to_owned())
    };
    lines(text).filter_map(function).collect()
}

/// Kernel functions that only ever sleep so that a signal wakes them (state `S`): the waits of `epoll_wait`, `poll`,
/// `select`, `futex` and `nanosleep` from Linux 4.x to 6.18. Whoever sleeps there is neither stopped nor waiting for
/// storage, so its state letter need not be read.
const INTERRUPTIBLE: [&str; 10] = [
    "ep_poll",
    "do_epoll_wait",
    "do_sys_poll",
    "poll_schedule_timeout",
    "do_select",
    "futex_wait_queue",
    "futex_wait_queue_me",
    "futex_do_wait",
    "do_nanosleep",
    "hrtimer_nanosleep",
];

/// Whether sleeping in a kernel function means state `S`.
#[must_use]
pub fn is_interruptible(wchan: &str) -> bool {
    // A function may be split by the compiler: `ep_poll.constprop.0`.
    INTERRUPTIBLE.contains(&wchan.split('.').next().unwrap_or_default())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
