//! Stacks of threads that are on a processor, each copied during one short stop.
//!
//! Their registers are nowhere but in the processor, so nothing short of a stop shows them. Takes the threads and up to two
//! addresses of each whose words are to be read at the same instant; gives the copies as plain data.

use std::path::Path;

use super::shared::{Record, Shared, WORDS, kind};
use super::{Bounds, NoBurst, hold};
use crate::capture::burst::Burst;
use crate::observe::clock::monotonic_ns;
use crate::observe::kernel_file::ProcDir;
use crate::observe::registers;

/// Most stacks that are copied in one burst.
const MOST: usize = 16;

/// A thread whose stack is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Thread.
    pub tid: i32,
    /// Addresses of words that are read at the same instant; 0 for none.
    pub words: [u64; WORDS],
}

/// What was copied of a thread while it was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedStack {
    /// Thread.
    pub tid: i32,
    /// Its general registers, in the order of [`registers`].
    pub registers: Vec<u64>,
    /// What stood at the addresses.
    pub words: [u64; WORDS],
    /// Where its stack begins, a little below its stack pointer.
    pub start: u64,
    /// What lies there, as far as it is mapped and there was room.
    pub bytes: Vec<u8>,
}

/// Copies the stacks of threads that are on a processor; of one that has fallen asleep there is none. Blocks until
/// nothing is held any more.
pub fn copy_stacks(
    process: &ProcDir,
    wanted: &[Wanted],
    bounds: &Bounds,
) -> Result<(Burst, Vec<CopiedStack>), NoBurst> {
    copy_stacks_with(Path::new("/proc/self/exe"), process, wanted, bounds)
}

/// The same with the program named that answers to [`super::child::VERB`].
pub fn copy_stacks_with(
    program: &Path,
    process: &ProcDir,
    wanted: &[Wanted],
    bounds: &Bounds,
) -> Result<(Burst, Vec<CopiedStack>), NoBurst> {
    let wanted = wanted.get(..MOST).unwrap_or(wanted);
    let (burst, shared) = hold(program, process, bounds, wanted)?;
    let stacks = shared.records().iter().filter_map(|record| copied(&shared, record)).collect();
    Ok((burst, stacks))
}

/// Leaves the wishes where the child finds them.
pub(super) fn tell(shared: &Shared, wanted: &[Wanted]) {
    for one in wanted {
        let [first, second] = one.words;
        let mut record = Record::new(kind::WISH, one.tid, monotonic_ns());
        record.args = [first, second, 0, 0, 0, 0];
        shared.append(&record);
    }
}

fn copied(shared: &Shared, record: &Record) -> Option<CopiedStack> {
    let number = u64::try_from(record.value).ok().filter(|_| record.kind == kind::STACK)?;
    let words = registers::here()?.words;
    shared.stack(number, |copied| CopiedStack {
        tid: record.tid,
        registers: copied.registers.get(..words).unwrap_or_default().to_vec(),
        words: copied.words,
        start: copied.start,
        bytes: copied.bytes.get(..copied.length as usize).unwrap_or_default().to_vec(),
    })
}
