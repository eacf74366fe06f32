//! Signals that end a look: remembered, so that what was gathered is still reported.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Number of the signal that asked the tool to stop; 0 while none has.
pub static STOP: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: i32) {
    STOP.store(signal, Ordering::Relaxed);
}

/// Whether somebody has something to take down, however often he is asked to hurry.
static HELD: AtomicBool = AtomicBool::new(false);

/// Ctrl-C and a polite kill end the look, not the report. A second one ends the tool.
pub fn catch() {
    if !HELD.load(Ordering::Relaxed) {
        install(SaFlags::SA_RESETHAND);
    }
}

/// From now on no number of such signals ends the tool before it has cleaned up.
pub fn hold() {
    HELD.store(true, Ordering::Relaxed);
    install(SaFlags::empty());
}

fn install(flags: SaFlags) {
    let action = SigAction::new(SigHandler::Handler(remember), flags, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores into an atomic, which is async-signal-safe.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// The signal that asked the tool to stop.
#[must_use]
pub fn caught() -> Option<Signal> {
    Signal::try_from(STOP.load(Ordering::Relaxed)).ok()
}
