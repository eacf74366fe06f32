//! Threads held by ptrace, as types: a stop is a value, and letting go consumes it.
//!
//! Only the calls that a burst may make are here. There is none to attach with a signal, to step, to write, or to kill on
//! exit; none waits for a given thread. A stop is seen without being taken (`WNOWAIT`): if this process dies
//! before it has let go, the kernel delivers the signal that the stop was about as if nobody had been there.

use std::marker::PhantomData;
use std::mem::{MaybeUninit, zeroed};

use nix::errno::Errno;
use nix::libc;

use crate::observe::registers::{self, MOST_WORDS};

/// The only options: how stops of calls are told from signals, new threads, new programs.
const OPTIONS: libc::c_int =
    libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC;
/// Marks the stop of a call.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;
/// `PTRACE_GET_SYSCALL_INFO`, since Linux 5.3.
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;

/// Begins to trace a thread. It goes on running.
pub fn seize(tid: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE as _, tid, 0usize, OPTIONS as usize) };
    Errno::result(result).map(drop)
}

/// Asks a traced thread to stop soon.
pub fn interrupt(tid: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::ptrace(libc::PTRACE_INTERRUPT as _, tid, 0usize, 0usize) };
    Errno::result(result).map(drop)
}

/// A thread that is stopped. Letting go consumes it; ptrace stops belong to the thread that traces, so it is not `Send`.
#[must_use = "the thread is stopped until it is let go"]
#[derive(Debug)]
pub struct Held {
    tid: i32,
    here: PhantomData<*const ()>,
}

impl Held {
    /// Which thread.
    pub const fn tid(&self) -> i32 {
        self.tid
    }

    /// Lets it go until its next call begins or ends, with a signal to be delivered or 0.
    pub fn resume(self, signal: i32) -> Result<(), Errno> {
        self.go(libc::PTRACE_SYSCALL as _, signal)
    }

    /// Lets it go until something else than a call stops it, with a signal to be delivered or 0.
    pub fn release(self, signal: i32) -> Result<(), Errno> {
        self.go(libc::PTRACE_CONT as _, signal)
    }

    /// Leaves it stopped by job control: it goes on when somebody continues it.
    pub fn listen(self) -> Result<(), Errno> {
        self.go(libc::PTRACE_LISTEN as _, 0)
    }

    fn go(self, how: libc::c_uint, signal: i32) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        let result = unsafe { libc::ptrace(how as _, self.tid, 0usize, signal as usize) };
        Errno::result(result).map(drop)
    }

    /// The call that this stop has ended with `EINTR`, which the program will get to see; none if it goes on or there was
    /// none.
    pub fn interrupted(&self) -> Option<i64> {
        interrupted(&self.registers()?)
    }

    /// The general registers, in the order of [`crate::observe::registers`].
    pub fn registers(&self) -> Option<[u64; MOST_WORDS]> {
        const GENERAL: usize = 1; // NT_PRSTATUS
        let mut words = [0; MOST_WORDS];
        let mut place = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
        // SAFETY: the kernel writes at most as many bytes as the vector says, and any are words.
        let result = unsafe { libc::ptrace(libc::PTRACE_GETREGSET as _, self.tid, GENERAL, &raw mut place) };
        (result == 0).then_some(words)
    }

    /// What the stop of a call is about.
    pub fn call(&self) -> Result<Call, Errno> {
        let mut bytes = [0u8; 96];
        // SAFETY: the kernel writes at most as many bytes as it is told to.
        let result = unsafe {
            libc::ptrace(
                GET_SYSCALL_INFO as _,
                self.tid,
                bytes.len(),
                bytes.as_mut_ptr().cast::<libc::c_void>(),
            )
        };
        Errno::result(result)?;
        Ok(Call::decode(&bytes))
    }
}

/// The call that ends with `EINTR`, by the registers of who is on its way out of it; its number is negative where it is in
/// none.
pub fn interrupted(words: &[u64]) -> Option<i64> {
    let order = registers::here()?;
    let word = |at: usize| words.get(at).map(|word| *word as i64);
    let (number, result) = (word(order.call)?, word(order.result)?);
    (number >= 0 && result == -i64::from(libc::EINTR)).then_some(number)
}

/// What the stop of a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It begins: number and arguments.
    Enter(i64, [u64; 6]),
    /// It has come back with a result.
    Leave(i64),
    /// Neither.
    None,
}

impl Call {
    /// Decodes `struct ptrace_syscall_info`.
    fn decode(bytes: &[u8; 96]) -> Self {
        const ENTRY: u8 = 1;
        const EXIT: u8 = 2;
        let word = |place: usize| {
            let at = 24 + 8 * place;
            bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
        };
        match bytes[0] {
            ENTRY => Self::Enter(word(0) as i64, [word(1), word(2), word(3), word(4), word(5), word(6)]),
            EXIT => Self::Leave(word(0) as i64),
            _ => Self::None,
        }
    }
}

/// A stop, by what may be done about it.
#[derive(Debug)]
pub enum Stop {
    /// A call begins or ends.
    Call(Held),
    /// A signal is about to be delivered; it must be handed on.
    Signal(Held, i32),
    /// Job control has stopped it.
    JobControl(Held, i32),
    /// It was asked to stop, or is new.
    Asked(Held),
    /// It has begun another program.
    Exec(Held),
    /// It has had a child.
    Other(Held),
}

impl Stop {
    /// Which thread.
    pub const fn tid(&self) -> i32 {
        let (Self::Call(held)
        | Self::Signal(held, _)
        | Self::JobControl(held, _)
        | Self::Asked(held)
        | Self::Exec(held)
        | Self::Other(held)) = self;
        held.tid()
    }
}

/// What `waitid` tells.
#[derive(Debug)]
pub enum Told {
    /// A thread is stopped.
    Stop(Stop),
    /// A thread has ended, and is reaped.
    Ended(i32),
}

/// The next stop or end of any traced thread, or of the one given; never waits.
pub fn look(tid: Option<i32>) -> Option<Told> {
    const EITHER: libc::c_int = libc::WNOWAIT | libc::WSTOPPED | libc::WEXITED | libc::__WALL | libc::WNOHANG;
    let (tid, code, status) = wait(tid, EITHER)?;
    if code != libc::CLD_TRAPPED && code != libc::CLD_STOPPED {
        // Whoever has ended is taken off at once: its real parent hears of it only then.
        wait(Some(tid), libc::WEXITED | libc::__WALL | libc::WNOHANG)?;
        return Some(Told::Ended(tid));
    }
    Some(Told::Stop(classify(Held { tid, here: PhantomData }, status)))
}

/// What a wait status of a stop means: the signal in the low byte, the event above.
fn classify(held: Held, status: i32) -> Stop {
    let (signal, event) = (status & 0xff, status >> 8);
    match event {
        0 if signal == SYSCALL_STOP => Stop::Call(held),
        0 => Stop::Signal(held, signal),
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Asked(held),
        libc::PTRACE_EVENT_STOP => Stop::JobControl(held, signal),
        libc::PTRACE_EVENT_EXEC => Stop::Exec(held),
        _ => Stop::Other(held),
    }
}

/// `waitid` without waiting: thread, code and status of whoever has something to tell.
fn wait(tid: Option<i32>, options: libc::c_int) -> Option<(i32, i32, i32)> {
    let (which, id) = match tid {
        Some(tid) => (libc::P_PID, tid as libc::id_t),
        None => (libc::P_ALL, 0),
    };
    // SAFETY: an all-zero `siginfo_t` is valid, and means that nobody has anything to tell.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    // SAFETY: the kernel writes one `siginfo_t`.
    let result = unsafe { libc::waitid(which, id, &raw mut info, options) };
    // SAFETY: `waitid` fills in these fields; where it found nobody, they are zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (result == 0 && pid != 0).then_some((pid, info.si_code, status))
}

/// Blocks `SIGCHLD`, so that it can be waited for with a limit, and lets it be sent.
pub fn block_child_signal() {
    // SAFETY: plain calls on a set of our own; the default action has no handler.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_BLOCK, &child_signal(), std::ptr::null_mut());
    }
}

fn child_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        set.assume_init()
    }
}

/// Waits until some traced thread may have something to tell, at most so long.
pub fn wait_for_news(most_ns: u64) {
    let limit = libc::timespec {
        tv_sec: (most_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (most_ns % 1_000_000_000) as _,
    };
    // SAFETY: reads a set and a time of ours and writes nothing.
    unsafe { libc::sigtimedwait(&child_signal(), std::ptr::null_mut(), &raw const limit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: i32) -> &'static str {
        match classify(Held { tid: 1, here: PhantomData }, status) {
            Stop::Call(_) => "call",
            Stop::Signal(_, libc::SIGUSR1) => "SIGUSR1",
            Stop::Signal(_, libc::SIGTRAP) => "SIGTRAP",
            Stop::Signal(..) => "signal",
            Stop::JobControl(_, libc::SIGSTOP) => "job control",
            Stop::JobControl(..) => "?",
            Stop::Asked(_) => "asked",
            Stop::Exec(_) => "exec",
            Stop::Other(_) => "other",
        }
    }

    #[test]
    fn stops_are_told_apart() {
        let event = |event: i32| event << 8 | libc::SIGTRAP;
        assert_eq!(kind(libc::SIGTRAP | 0x80), "call");
        assert_eq!(kind(libc::SIGUSR1), "SIGUSR1");
        assert_eq!(kind(libc::SIGTRAP), "SIGTRAP", "a breakpoint of its own");
        assert_eq!(kind(64), "signal", "the last real-time signal");
        assert_eq!(kind(libc::PTRACE_EVENT_STOP << 8 | libc::SIGSTOP), "job control");
        assert_eq!(kind(event(libc::PTRACE_EVENT_STOP)), "asked");
        assert_eq!(kind(event(libc::PTRACE_EVENT_EXEC)), "exec");
        assert_eq!(kind(event(libc::PTRACE_EVENT_CLONE)), "other");
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn who_gets_eintr_is_told_by_registers() {
        let order = registers::here().unwrap();
        let of = |number: i64, result: i64| {
            let mut words = [7; MOST_WORDS];
            (words[order.call], words[order.result]) = (number as u64, result as u64);
            interrupted(&words)
        };
        assert_eq!(of(232, -4), Some(232));
        assert_eq!((of(232, -514), of(-1, -4)), (None, None));
    }

    #[test]
    fn the_kernels_structure_is_decoded() {
        let mut bytes = [0; 96];
        assert_eq!(Call::decode(&bytes), Call::None);
        bytes[0] = 1;
        bytes[24] = 232;
        bytes[32] = 9;
        bytes[72] = 6;
        assert_eq!(Call::decode(&bytes), Call::Enter(232, [9, 0, 0, 0, 0, 6]));
        bytes[0] = 2;
        bytes[24..32].copy_from_slice(&(-4i64).to_ne_bytes());
        assert_eq!(Call::decode(&bytes), Call::Leave(-4));
    }
}
