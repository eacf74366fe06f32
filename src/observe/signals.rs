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
        install(&ENDING, SaFlags::SA_RESETHAND);
    }
}

/// The same for whoever holds a terminal: when that hangs up, it must be given back as well.
pub fn catch_at_terminal() {
    install(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP], SaFlags::SA_RESETHAND);
}

/// From now on no number of such signals ends the tool before it has cleaned up.
pub fn hold() {
    HELD.store(true, Ordering::Relaxed);
    install(&ENDING, SaFlags::empty());
}

const ENDING: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

fn install(signals: &[Signal], flags: SaFlags) {
    let action = SigAction::new(SigHandler::Handler(remember), flags, SigSet::empty());
    for signal in signals.iter().copied() {
        // SAFETY: the handler only stores into an atomic, which is async-signal-safe.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// The signal that asked the tool to stop.
#[must_use]
pub fn caught() -> Option<Signal> {
    Signal::try_from(STOP.load(Ordering::Relaxed)).ok()
}
