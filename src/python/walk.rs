//! One thread's chain of frames, as bytes that were there at one instant.
//!
//! Takes the memory, the layout and the pages that were of use at the last reading; gives the chain and says how much it
//! may be trusted. Nothing is resolved to names here, and nothing waits.
//!
//! What was of use last time is read together in one system call; whatever else the chain leads to is read by itself, and
//! such a chain, [`Reading::grown`], is only a candidate: it was not there in one piece.

use super::layout::{FRAME_BYTES, FrameKind, FrameUse, Instruction, Layout, STATE_BYTES};
use super::memory::{MemoryReader, Range, ReadError, half_at, word_at};
use super::pieces::Pieces;

/// Deepest stack that is read to its root.
const MAX_DEPTH: usize = 1_024;

/// Whose a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A function's.
    Function,
    /// It lies in a generator or coroutine.
    Generator,
    /// The interpreter puts it in for its own ends.
    Interpreter,
}

/// A frame as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Where it is.
    pub address: u64,
    /// Where its caller is.
    pub previous: u64,
    /// Where its code object is.
    pub code: u64,
    /// What tells the instruction: an index or an address.
    pub instruction: u64,
    /// Number of the copy that it is in, where threads have copies of their own; 0 otherwise.
    pub copy: u32,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it is as a frame that has called another one must be.
    waits: bool,
    /// Whether it was called out of C, so that its caller does not wait as one that called Python does (3.11).
    pub(super) from_c: bool,
}

impl Link {
    /// The frame at an address, from its header.
    #[must_use]
    pub fn parse(layout: &Layout, address: u64, header: &[u8]) -> Option<Self> {
        let code = word_at(header, layout.frame_code)? & layout.reference_mask;
        let copy = match layout.copies {
            Some(copies) => half_at(header, copies.index)?,
            None => 0,
        };
        let (instruction, begun) = match layout.instruction {
            Instruction::Index { at, .. } => (u64::from(half_at(header, at)?), true),
            Instruction::Pointer { at, code: first } => {
                let instruction = word_at(header, at)?;
                // The first instruction calls nobody.
                (instruction, copy != 0 || instruction > code.wrapping_add(first))
            }
        };
        let owner = layout.frame_owner.and_then(|at| header.get(at)).copied().unwrap_or(0);
        let (waits, from_c) = match layout.frame_use {
            FrameUse::Silent => (true, false),
            FrameUse::State { at, active } => (active.contains(header.get(at)?), false),
            FrameUse::StackPointer { at } => (begun && word_at(header, at)? != 0, false),
            FrameUse::StackTop { at, entry } => {
                let entry = entry.and_then(|at| header.get(at)).is_some_and(|byte| *byte != 0);
                // A frame that is only just made is not negative either.
                (begun && half_at(header, at)? as i32 >= 0, entry)
            }
        };
        Some(Self {
            address,
            previous: word_at(header, layout.frame_previous)?,
            code,
            instruction,
            copy,
            owner: match owner {
                own if own >= layout.internal_owner => Owner::Interpreter,
                1 => Owner::Generator,
                _ => Owner::Function,
            },
            waits,
            from_c,
        })
    }

    /// The same frame, though it may have gone on.
    fn still(&self, later: &Self) -> bool {
        (self.address, self.previous, self.code) == (later.address, later.previous, later.code)
    }
}

/// How a reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether the root was reached.
    pub complete: bool,
    /// Whether pages had to be read one after the other.
    pub grown: bool,
    /// The `pthread_t` in the thread's state.
    pub thread_id: u64,
}

/// What a thread's state says besides its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The interpreter it belongs to.
    pub interpreter: u64,
    /// The next thread's state.
    pub next: u64,
    /// Its `pthread_t`.
    pub thread_id: u64,
    /// The kernel's id, where the version keeps it.
    pub native_id: Option<i32>,
    /// Whether it is the state that its thread used last, where the version tells.
    pub last_used: Option<bool>,
    /// Where the innermost frame is, or what leads to it.
    frame: u64,
}

impl State {
    /// Reads a thread's state.
    pub fn read(memory: &dyn MemoryReader, layout: &Layout, address: u64) -> Result<Self, ReadError> {
        let mut bytes = [0; STATE_BYTES];
        memory.read(address, &mut bytes)?;
        Self::parse(layout, &bytes).ok_or(ReadError::Unmapped)
    }

    fn parse(layout: &Layout, bytes: &[u8]) -> Option<Self> {
        let field = |at: u64| word_at(bytes, usize::try_from(at).ok()?);
        let frame_at = match layout.frames {
            FrameKind::Object { thread_frame } | FrameKind::Direct { thread_frame } => thread_frame,
            FrameKind::Indirect { thread_cframe, .. } => thread_cframe,
        };
        Some(Self {
            interpreter: field(layout.thread_interpreter)?,
            next: field(layout.thread_next)?,
            thread_id: field(layout.thread_id)?,
            native_id: match layout.native_thread_id {
                Some(at) => Some(field(at)? as i32),
                None => None,
            },
            last_used: match layout.particulars.last_used {
                Some((at, bit)) => Some(bytes.get(at)? & bit != 0),
                None => None,
            },
            frame: field(frame_at)?,
        })
    }
}

/// Reads a chain from its innermost frame on. Gives whether its root was reached, and `None` when it runs in a circle, as no
/// stack does.
pub fn follow(
    layout: &Layout,
    innermost: u64,
    chain: &mut Vec<Link>,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), ReadError>,
) -> Result<Option<bool>, ReadError> {
    let mut header = [0; FRAME_BYTES];
    follow_with(innermost, chain, |address| {
        read(address, header.get_mut(..layout.frame_bytes).ok_or(ReadError::Unmapped)?)?;
        Link::parse(layout, address, &header).ok_or(ReadError::Unmapped)
    })
}

/// The same with frames that are parsed where they are read.
fn follow_with(
    innermost: u64,
    chain: &mut Vec<Link>,
    mut link_at: impl FnMut(u64) -> Result<Link, ReadError>,
) -> Result<Option<bool>, ReadError> {
    chain.clear();
    let mut address = innermost;
    // A circle is found as soon as it was gone round once behind the mark.
    let (mut mark, mut next_mark) = (0, 1);
    while address != 0 && chain.len() < MAX_DEPTH {
        if address == mark {
            return Ok(None);
        }
        if chain.len() == next_mark {
            (mark, next_mark) = (address, next_mark * 2);
        }
        let link = link_at(address)?;
        chain.push(link);
        address = link.previous;
    }
    Ok(Some(address == 0))
}

/// Walks chains of frames.
#[derive(Debug, Default)]
pub struct Walker {
    pieces: Pieces,
    chain: Vec<Link>,
}

impl Walker {
    /// The chain of the last reading, innermost first.
    #[must_use]
    pub fn chain(&self) -> &[Link] {
        &self.chain
    }

    /// Reads the chain of a thread. `plan` holds the ranges that are read together; it is brought up to date.
    /// `None` when the chain runs in a circle, as no stack does.
    pub fn read(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        state: u64,
        plan: &mut Vec<Range>,
    ) -> Result<Option<Reading>, ReadError> {
        let Self { pieces, chain } = self;
        pieces.load(memory, plan)?;
        let state_range = Range { start: state, length: STATE_BYTES };
        let state =
            State::parse(layout, pieces.get(memory, state, STATE_BYTES)?).ok_or(ReadError::Unmapped)?;
        let (innermost, between) = match layout.frames {
            FrameKind::Indirect { current, .. } if state.frame != 0 => {
                let at = state.frame.wrapping_add(current);
                let word = word_at(pieces.get(memory, at, 8)?, 0).ok_or(ReadError::Unmapped)?;
                (word, Some(Range { start: at, length: 8 }))
            }
            _ => (state.frame, None),
        };
        // What lies behind the header may not be mapped.
        let length = layout.frame_bytes;
        let parse = |address| {
            Link::parse(layout, address, pieces.get(memory, address, length)?).ok_or(ReadError::Unmapped)
        };
        let Some(complete) = follow_with(innermost, chain, parse)? else { return Ok(None) };
        let grown = pieces.grown();
        let headers = chain.iter().map(|link| Range { start: link.address, length });
        pieces.keep(plan, headers.chain([state_range]).chain(between));
        Ok(Some(Reading { complete, grown, thread_id: state.thread_id }))
    }

    /// Whether the frames of the last chain fit together: each that has called another one waits for it. What lies above
    /// a frame that executes are remains of earlier calls, which may look like the continuation of the stack.
    ///
    /// A generator that has just given its value has no caller until it is called again, and looks like a whole stack of its
    /// own: whoever runs is executing, and a generator is never the root.
    #[must_use]
    pub fn sound(&self, layout: &Layout) -> bool {
        let executes = match layout.frame_use {
            FrameUse::State { .. } => self.chain.first().is_none_or(|innermost| innermost.waits),
            FrameUse::Silent | FrameUse::StackTop { .. } | FrameUse::StackPointer { .. } => true,
        };
        let rooted =
            self.chain.last().is_none_or(|root| root.owner != Owner::Generator || root.previous != 0);
        executes
            && rooted
            && self.pairs().all(|(callee, caller)| match layout.frame_use {
                FrameUse::Silent | FrameUse::State { .. } => caller.waits,
                FrameUse::StackTop { .. } | FrameUse::StackPointer { .. } => {
                    let internal = |link: &Link| link.owner == Owner::Interpreter;
                    internal(callee) || callee.from_c || internal(caller) || caller.waits
                }
            })
    }

    /// Whether the last chain is that of an earlier reading, of which the innermost frame may have gone on.
    #[must_use]
    pub fn agrees(&self, earlier: &[Link]) -> bool {
        let same = |(depth, (now, then)): (usize, (&Link, &Link))| {
            now.still(then) && (depth == 0 || now.instruction == then.instruction)
        };
        self.chain.len() == earlier.len() && self.chain.iter().zip(earlier).enumerate().all(same)
    }

    fn pairs(&self) -> impl Iterator<Item = (&Link, &Link)> {
        self.chain.iter().zip(self.chain.iter().skip(1))
    }
}

/// A link for tests.
#[cfg(test)]
pub(super) const fn link(owner: Owner, from_c: bool) -> Link {
    Link { address: 0x1000, previous: 0, code: 0x2000, instruction: 0, owner, waits: false, from_c, copy: 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::python::layouts;

    fn link(owner: Owner, previous: u64, waits: bool) -> Link {
        Link { previous, waits, ..super::link(owner, false) }
    }

    #[test]
    fn a_generator_without_a_caller_is_no_stack() {
        let sound = |minor, chain: &[Link]| {
            let walker = Walker { chain: chain.to_vec(), ..Walker::default() };
            walker.sound(&layouts::known(3, minor).unwrap())
        };
        let root = link(Owner::Function, 0, true);
        assert!(!sound(12, &[link(Owner::Generator, 0, false)]), "it has just given its value");
        assert!(sound(12, &[link(Owner::Generator, 0x3000, false), root]));
        assert!(sound(12, &[link(Owner::Function, 0, false)]));
        assert!(!sound(9, &[link(Owner::Function, 0, false)]), "whoever runs is executing");
        assert!(sound(9, &[root]));
    }
}
