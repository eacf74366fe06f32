//! What ties a burst's child to its limits, before it holds anything: the death of the tool and a timer of the kernel.

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use super::shared::Orders;
use super::tracee;

/// Ties the child to the tool, and its failures to nobody. False when the tool is dead already.
pub fn settle(orders: &Orders) -> bool {
    // SAFETY: numbers, and a text that ends with a zero.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"stallscope-hold".as_ptr(), 0, 0, 0);
    }
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // Who holds threads must not wait for a processor, least of all behind whoever started the tool politely. Where that is
    // not permitted it goes without.
    // SAFETY: takes numbers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    tracee::block_child_signal();
    // It may have died before the kernel knew that we want to follow it.
    nix::unistd::getppid().as_raw() == orders.parent
}

/// The kernel kills this process then, whatever it is doing.
pub fn arm(after_ns: u64) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid `sigevent`; the kernel reads it and writes the timer's number.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = std::mem::zeroed();
        Errno::result(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer))?;
        let mut when: libc::itimerspec = std::mem::zeroed();
        when.it_value.tv_sec = (after_ns / 1_000_000_000) as libc::time_t;
        when.it_value.tv_nsec = (after_ns % 1_000_000_000) as _;
        Errno::result(libc::timer_settime(timer, 0, &raw const when, std::ptr::null_mut())).map(drop)
    }
}
