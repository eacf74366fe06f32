//! The lists of the garbage collector: every object that may hold others, greenlets and tasks among them.
//!
//! The target goes on while its lists are read, so each step is checked: the object that comes next must point back. Where
//! it does not, both are looked at anew, as what is remembered of them may be older than what leads there; a list that
//! still does not fit is torn. What was found up to there is kept and the walk says that it is not complete.

use std::time::Duration;

use super::heap::Cache;
use super::locate::Interpreter;
use super::memory::{MemoryReader, ReadError, word_at};
use super::objects::{GcAt, Objects};

/// Lists of the collector: three generations.
const GENERATIONS: u64 = 3;
/// Flags stand in the lowest bits of links.
const LINK: u64 = !3;
/// How often a list is walked when it changes meanwhile, with a pause before each that is twice the last.
const WALKS: u32 = 4;
/// How often one step is looked at anew.
const LOOKS: usize = 8;
/// Most steps of one list that are looked at anew: one that changes all the time is given up.
const MOST_REPAIRS: usize = 10_000;

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Objects seen.
    pub objects: usize,
    /// Whether every list was followed to its end.
    pub complete: bool,
}

/// What a walk may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Most objects.
    pub objects: usize,
    /// Most bytes that are copied: lists that jump about in memory cost many for each object.
    pub bytes: u64,
}

/// Visits every object of the lists with its address and the address of its type. `interpreter` is the address of an
/// interpreter's state. Gives up when it gets too dear.
pub fn each(
    memory: &dyn MemoryReader,
    python: &Interpreter,
    objects: &Objects,
    interpreter: u64,
    price: Price,
    visit: &mut dyn FnMut(u64, u64),
) -> Result<Walked, ReadError> {
    let mut walked = Walked { objects: 0, complete: true };
    let heads = heads(memory, python, objects, interpreter)?;
    let mut walk = Walk { pages: Cache::of_walk(memory), objects, heads: &heads, price };
    // From the youngest on: an object that grows older meanwhile is met again, not missed.
    for head in &heads {
        let before = walked.objects;
        let mut whole = false;
        for pause in (0..WALKS).map(|walk| Duration::from_millis((1 << walk) >> 1)) {
            // One that was interrupted while it relinked goes on when the kernel lets it.
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            walked.objects = before;
            whole = walk.list(*head, &mut walked.objects, visit)?;
            if whole || walk.dear(walked.objects) {
                break;
            }
            walk.pages.clear();
        }
        walked.complete &= whole;
    }
    Ok(walked)
}

struct Walk<'a> {
    pages: Cache<'a>,
    objects: &'a Objects,
    heads: &'a [u64],
    price: Price,
}

/// What stands at an object in a list.
#[derive(Clone, Copy)]
struct Entry {
    next: u64,
    previous: u64,
    of_type: u64,
}

impl Walk<'_> {
    /// Whether it costs more than it may.
    const fn dear(&self, objects: usize) -> bool {
        objects > self.price.objects || self.pages.copied() > self.price.bytes
    }

    /// Follows a list; `false` when it was torn or got too dear.
    fn list(
        &mut self,
        head: u64,
        count: &mut usize,
        visit: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, ReadError> {
        let mut before = head;
        let mut here = self.pages.memory().word(head)? & LINK;
        let mut repairs = 0;
        while here != head {
            *count += 1;
            if self.dear(*count) {
                return Ok(false);
            }
            let mut entry = self.entry(here)?;
            if entry.is_none_or(|entry| entry.previous != before) {
                repairs += 1;
                let Some(found) = self.again(before).filter(|_| repairs <= MOST_REPAIRS) else {
                    return Ok(false);
                };
                here = found;
                if here == head {
                    break;
                }
                entry = self.entry(here)?;
            }
            // What was followed has become part of another list.
            let (Some(entry), false) = (entry, self.heads.contains(&here)) else { return Ok(false) };
            visit(here.wrapping_add(self.objects.gc_head), entry.of_type);
            before = here;
            here = entry.next;
        }
        Ok(true)
    }

    /// An object's header; `None` when nothing is mapped there.
    fn entry(&mut self, here: u64) -> Result<Option<Entry>, ReadError> {
        // The collector's header, then reference count and type.
        let mut bytes = [0; 48];
        let length = self.objects.gc_head as usize + 16;
        match self.pages.read(here, bytes.get_mut(..length).ok_or(ReadError::Unmapped)?) {
            Err(ReadError::Unmapped) => return Ok(None),
            other => other?,
        }
        let word = |at: usize| word_at(&bytes, at).ok_or(ReadError::Unmapped);
        Ok(Some(Entry { next: word(0)? & LINK, previous: word(8)? & LINK, of_type: word(length - 8)? }))
    }

    /// What comes after an object now, where the two agree on that.
    fn again(&mut self, before: u64) -> Option<u64> {
        let memory = self.pages.memory();
        for _ in 0..LOOKS {
            let next = memory.word(before).ok()? & LINK;
            let back = memory.word(next.wrapping_add(8)).ok()? & LINK;
            if next != 0 && back == before {
                self.pages.forget(before);
                self.pages.forget(next);
                return Some(next);
            }
        }
        None
    }
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
