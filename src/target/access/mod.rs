//! Why a process cannot be looked at: facts in, the one closed gate with its value and its remedies out.
//!
//! [`facts`] gathers what decides, plain data; [`decide()`] goes through the gates in the kernel's own order and names
//! the first that is closed; [`remedy`] knows what opens it in the [`place`] where the tool runs, least privilege first.
//! All but the gathering is pure. To weaken the machine is never advised.

pub mod decide;
pub mod facts;
pub mod perf;
pub mod place;
pub mod remedy;

#[cfg(test)]
mod tests;

pub use decide::{Gate, Want, decide};
pub use facts::{Facts, Here, Presence};
pub use place::Place;

use crate::error::Error;
use crate::observe::kernel_file::{ProcDir, READ_BUFFER_BYTES};
use crate::observe::parse;
use crate::observe::perf::NoPerf;

/// The error for a process that was just refused: the one gate.
#[must_use]
pub fn refusal(process: &ProcDir, here: &Here) -> Error {
    let facts = Facts::gather(process, Some(true), here);
    let gate = decide(&facts, Want::Read).unwrap_or(Gate::SecurityModule);
    remedy::error(&gate, &facts)
}

/// The error for a process that may not be stopped for a burst: the one gate.
#[must_use]
pub fn refusal_to_stop(process: &ProcDir, here: &Here) -> Error {
    let facts = Facts::gather(process, Some(true), here);
    let gate = decide(&facts, Want::Attach).unwrap_or(Gate::SecurityModule);
    remedy::error(&gate, &facts)
}

/// The error for a process of which the kernel gives no perf events: the one cause.
#[must_use]
pub fn refusal_of_events(process: &ProcDir, failed: &NoPerf, here: &Here) -> Error {
    let facts = Facts::gather(process, None, here);
    perf::error(&perf::decide_perf(failed, &facts), &facts)
}

/// The error for a pid that `/proc` does not show, or of which it refuses even the public files.
#[must_use]
pub fn absence(pid: i32) -> Error {
    let facts = Facts::gather_absent(pid, &Here::gather());
    let gate = decide(&facts, Want::Read).unwrap_or(Gate::NoSuchProcess);
    remedy::error(&gate, &facts)
}

/// The error for a process that cannot be judged at all, if it is one.
#[must_use]
pub fn unfit(process: &ProcDir) -> Option<Error> {
    // Nearly all are fit, which one file tells; the facts about the machine are many.
    let stat = process.read("stat", READ_BUFFER_BYTES as u64).ok();
    let stat = stat.as_deref().and_then(parse::stat);
    if stat.is_some_and(|stat| !stat.kernel_thread && !matches!(stat.state, 'Z' | 'X' | 'x')) {
        return None;
    }
    let facts = Facts::gather(process, None, &Here::gather());
    match decide(&facts, Want::Read) {
        Some(gate @ (Gate::KernelThread | Gate::Exited)) => Some(remedy::error(&gate, &facts)),
        _ => None,
    }
}
