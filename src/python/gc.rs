//! The lists of the garbage collector: every object that may hold others, greenlets and tasks among them.
//!
//! The target goes on while its lists are read, so each step is checked: the object that comes next must point back. A
//! list that does not is torn; what was found up to there is kept and the walk says that it is not complete.

use super::locate::Interpreter;
use super::memory::{MemoryReader, ReadError, word_at};
use super::objects::{GcAt, Objects};

/// Lists of the collector: three generations.
const GENERATIONS: u64 = 3;
/// Flags stand in the lowest bits of links.
const LINK: u64 = !3;

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Objects seen.
    pub objects: usize,
    /// Whether every list was followed to its end.
    pub complete: bool,
}

/// Visits every object of the lists with its address and the address of its type. `interpreter` is the address of an
/// interpreter's state; no more than `most` objects are visited.
pub fn each(
    memory: &dyn MemoryReader,
    python: &Interpreter,
    objects: &Objects,
    interpreter: u64,
    most: usize,
    visit: &mut dyn FnMut(u64, u64),
) -> Result<Walked, ReadError> {
    let mut walked = Walked { objects: 0, complete: true };
    for head in heads(memory, python, objects, interpreter)? {
        walked.complete &= list(memory, objects, head, most, &mut walked.objects, visit)?;
    }
    Ok(walked)
}

/// Follows a list; `false` when it was torn.
fn list(
    memory: &dyn MemoryReader,
    objects: &Objects,
    head: u64,
    most: usize,
    count: &mut usize,
    visit: &mut dyn FnMut(u64, u64),
) -> Result<bool, ReadError> {
    let mut before = head;
    let mut here = memory.word(head)? & LINK;
    while here != head {
        *count += 1;
        if *count > most {
            return Ok(false);
        }
        // The collector's header, then reference count and type.
        let mut bytes = [0; 48];
        let length = objects.gc_head as usize + 16;
        let read = bytes.get_mut(..length).ok_or(ReadError::Unmapped)?;
        match memory.read(here, read) {
            Err(ReadError::Unmapped) => return Ok(false),
            other => other?,
        }
        let word = |at: usize| word_at(&bytes, at).ok_or(ReadError::Unmapped);
        if word(8)? & LINK != before {
            return Ok(false);
        }
        visit(here.wrapping_add(objects.gc_head), word(length - 8)?);
        before = here;
        here = word(0)? & LINK;
    }
    Ok(true)
}

/// The heads of the lists.
fn heads(
    memory: &dyn MemoryReader,
    python: &Interpreter,
    objects: &Objects,
    interpreter: u64,
) -> Result<Vec<u64>, ReadError> {
    let all = |first: u64, permanent: Option<u64>| {
        let young = (0..GENERATIONS).map(|n| first.wrapping_add(n * objects.gc_stride));
        young.chain(permanent).collect::<Vec<u64>>()
    };
    match objects.gc {
        GcAt::Exported => {
            let first = python.gc_generations.ok_or(ReadError::Unmapped)?;
            // Early releases of 2.7 align the lists as 3.6 does.
            let strides = [objects.gc_stride, 48];
            let sound = |stride: &&u64| (0..GENERATIONS).all(|n| is_head(memory, first + n * **stride));
            let stride = strides.iter().find(sound).ok_or(ReadError::Unmapped)?;
            Ok((0..GENERATIONS).map(|n| first + n * stride).collect())
        }
        GcAt::Runtime { generations, permanent } => {
            let base = python.runtime_start;
            Ok(all(base.wrapping_add(generations), Some(base.wrapping_add(permanent))))
        }
        GcAt::Interpreter { generations, permanent } => {
            let first = interpreter.wrapping_add(generations);
            let permanent = interpreter.wrapping_add(permanent);
            // Micro releases have moved the lists by some bytes: whatever is a list is one.
            let near = |first: u64| {
                let steps = [0_i64, -4, 4, -8, 8, -12, 12, -16, 16].into_iter();
                let mut shifted = steps.map(move |step| first.wrapping_add_signed(step));
                shifted.find(|first| {
                    (0..GENERATIONS).all(|n| is_head(memory, first.wrapping_add(n * objects.gc_stride)))
                })
            };
            let first = near(first).ok_or(ReadError::Unmapped)?;
            Ok(all(first, is_head(memory, permanent).then_some(permanent)))
        }
    }
}

/// Whether a list begins here: what comes next points back.
fn is_head(memory: &dyn MemoryReader, head: u64) -> bool {
    let next = memory.word(head).map(|next| next & LINK);
    next.is_ok_and(|next| {
        next != 0 && memory.word(next.wrapping_add(8)).is_ok_and(|back| back & LINK == head & LINK)
    })
}
