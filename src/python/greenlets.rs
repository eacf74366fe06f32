//! Greenlets: what state each is in, whose thread it belongs to, and where its frames are.
//!
//! Takes memory and the address of a greenlet, gives its words. Two shapes exist: up to greenlet 1.x a C structure, from 2
//! on a small object that points to the real one. Where fields are follows from two things that are read off the object
//! itself, so no version of greenlet has to be known: whether it points back to itself, and how much room the
//! interpreter's exception state takes. Nothing here is resolved to names.

use super::kinds::GreenletType;
use super::layout::Layout;
use super::locate::Version;
use super::memory::{MemoryReader, ReadError, word_at};
use super::object;
use super::objects::Objects;
use super::walk::{Link, follow};

/// Instances of `greenlet.greenlet` are larger than this where the object itself holds the fields.
const LARGEST_OUTER: u64 = 99;
/// Object to the real structure (greenlet 2 and later).
const INNER: usize = 32;
/// Bytes of that which are looked at: it is never shorter.
const INNER_BYTES: usize = 128;
/// Fields of the C structure: stack bounds, then the frame.
const C_STACK: usize = 16;
const C_TOP_FRAME: usize = 72;
/// gevent's loop in its hub, behind the fields of `greenlet.greenlet`.
const HUB_LOOP: u64 = 8;
/// Bytes of gevent's loop object that are searched for the pointer to libev's: releases have moved it.
const LOOP_BYTES: usize = 256;

/// A greenlet's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    stack_start: u64,
    stack_stop: u64,
    stack_copy: u64,
    stack_saved: u64,
    top_frame: u64,
    /// The frame below the top one, where greenlet keeps that apart (3.0.0 to 3.0.2 on Python 3.12).
    below_top: u64,
}

/// The machine's stack of a suspended greenlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedStack {
    /// Its stack pointer when it was suspended.
    pub start: u64,
    /// The first address that is not its own; `None` where its own reaches as far as the thread's.
    pub stop: Option<u64>,
    /// Where its inner part is kept meanwhile.
    pub copy: u64,
    /// How many bytes are there; the others are in their place.
    pub saved: u64,
}

/// What a greenlet is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Never switched to.
    Unstarted,
    /// Its thread executes it now.
    Running,
    /// It waits to be switched to.
    Suspended,
    /// It has ended.
    Finished,
}

impl Words {
    /// Reads them, and the type that the greenlet has at that moment.
    pub fn read(
        memory: &dyn MemoryReader,
        version: Version,
        kind: GreenletType,
        greenlet: u64,
    ) -> Result<(u64, Self), ReadError> {
        // All that is of interest in either shape; an object is never smaller.
        let mut bytes = [0; C_TOP_FRAME + 8];
        let structure = kind.base_size > LARGEST_OUTER;
        let length = if structure { C_TOP_FRAME + 8 } else { INNER + 8 };
        memory.read(greenlet, bytes.get_mut(..length).ok_or(ReadError::Unmapped)?)?;
        let word = |at: usize| word_at(&bytes, at).ok_or(ReadError::Unmapped);
        let of_type = word(8)?;
        if structure {
            return Ok((of_type, Self::stack(&bytes, C_STACK / 8, word(C_TOP_FRAME)?, 0)?));
        }
        let inner = word(INNER)?;
        if inner == 0 || !inner.is_multiple_of(8) {
            return Err(ReadError::Unmapped);
        }
        let mut bytes = [0; INNER_BYTES];
        memory.read(inner, &mut bytes)?;
        let word = |n: usize| word_at(&bytes, n * 8).ok_or(ReadError::Unmapped);
        let minor = if version.major == 2 { 0 } else { version.minor };
        // Counted in words: the table of functions, [itself,] the exception state, two switch arguments, five of the stack.
        let own = usize::from(word(1)? == greenlet);
        let exceptions = if (7..=10).contains(&minor) { 5 } else { 3 };
        let stack = 1 + own + exceptions + 2;
        let python = stack + 5;
        let top_frame = word(python + usize::from(minor >= 7))?;
        let mut below_top = 0;
        if minor == 12 && own == 0 {
            let below = inner.wrapping_add((python as u64 + 9) * 8);
            let mut pair = [0; 16];
            memory.read(below, &mut pair)?;
            if word_at(&pair, 8) == Some(greenlet) {
                below_top = word_at(&pair, 0).unwrap_or(0);
            }
        }
        Ok((of_type, Self::stack(&bytes, stack, top_frame, below_top)?))
    }

    fn stack(bytes: &[u8], first: usize, top_frame: u64, below_top: u64) -> Result<Self, ReadError> {
        let word = |n: usize| word_at(bytes, (first + n) * 8).ok_or(ReadError::Unmapped);
        Ok(Self {
            stack_start: word(0)?,
            stack_stop: word(1)?,
            stack_copy: word(2)?,
            stack_saved: word(3)?,
            top_frame,
            below_top,
        })
    }

    /// Whether they can be those of a greenlet: the parts of its stack stand in order, and what was copied away is not
    /// longer than the stack.
    #[must_use]
    pub const fn consistent(&self) -> bool {
        match (self.stack_start, self.stack_stop) {
            (0, _) => self.stack_saved == 0,
            // The first greenlet of a thread has no bottom of its own.
            (1, u64::MAX) => true,
            (start, stop) => {
                start < stop
                    && self.stack_saved <= stop - start
                    && (self.stack_saved == 0 || self.stack_copy != 0)
                    && self.top_frame.is_multiple_of(8)
            }
        }
    }

    /// What it is doing.
    #[must_use]
    pub const fn state(&self) -> State {
        match (self.stack_start, self.stack_stop, self.top_frame) {
            (0, 0, _) => State::Unstarted,
            (0, ..) => State::Finished,
            (_, _, 0) => State::Running,
            _ => State::Suspended,
        }
    }

    /// An address on the machine stack of the thread it belongs to, once it was started.
    #[must_use]
    pub const fn on_stack(&self) -> Option<u64> {
        // The first greenlet of a thread has no bottom of its own.
        match (self.stack_start, self.stack_stop) {
            (0 | 1, u64::MAX) | (_, 0) => None,
            (start, u64::MAX) => Some(start),
            (_, stop) => Some(stop),
        }
    }

    /// The machine's stack, while it is suspended.
    #[must_use]
    pub const fn saved(&self) -> Option<SavedStack> {
        let &Self { stack_start: start, stack_stop, stack_copy: copy, stack_saved: saved, .. } = self;
        match self.state() {
            // The first greenlet of a thread begins without a stack pointer.
            State::Suspended if start > 1 => {
                let stop = if self.is_main() { None } else { Some(stack_stop) };
                Some(SavedStack { start, stop, copy, saved })
            }
            _ => None,
        }
    }

    /// Whether it is the one that its thread began with.
    #[must_use]
    pub const fn is_main(&self) -> bool {
        self.stack_stop == u64::MAX
    }

    /// Its frames, innermost first; `None` when they run in a circle.
    pub fn frames(
        &self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        objects: &Objects,
        chain: &mut Vec<Link>,
    ) -> Result<Option<bool>, ReadError> {
        let innermost = match objects.frame_of_object {
            Some(at) => memory.word(self.top_frame.wrapping_add(at))?,
            None => self.top_frame,
        };
        let mut read =
            |address: u64, room: &mut [u8]| memory.read(self.translate(address, room.len() as u64), room);
        let ended = follow(layout, innermost, chain, &mut read)?;
        if self.below_top != 0 && ended == Some(true) && chain.len() == 1 {
            let mut rest = Vec::new();
            let ended = follow(layout, self.below_top, &mut rest, &mut read)?;
            chain.append(&mut rest);
            return Ok(ended);
        }
        Ok(ended)
    }

    /// Parts of the machine stack are copied away while others use their place.
    const fn translate(&self, address: u64, length: u64) -> u64 {
        match address.checked_sub(self.stack_start) {
            Some(at) if self.stack_copy != 0 && at.saturating_add(length) <= self.stack_saved => {
                self.stack_copy.wrapping_add(at)
            }
            _ => address,
        }
    }
}

/// libev's own clock of a gevent hub's loop: where it is, once found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopClock(u64);

impl LoopClock {
    /// The clock of a hub's loop; `None` when that is none of libev's.
    pub fn find(
        memory: &dyn MemoryReader,
        layout: &Layout,
        kind: GreenletType,
        hub: u64,
    ) -> Result<Option<Self>, ReadError> {
        let outer = memory.word(hub.wrapping_add(kind.base_size + HUB_LOOP))?;
        if outer == 0 || !object::type_name(memory, layout, outer)?.starts_with("gevent.libev.") {
            return Ok(None);
        }
        let mut fields = [0; LOOP_BYTES];
        memory.read(outer, &mut fields)?;
        let pointers = (16..LOOP_BYTES).step_by(8).filter_map(|at| word_at(&fields, at));
        let mut clocks = pointers.filter(|at| *at != 0 && at.is_multiple_of(8)).map(Self);
        Ok(clocks.find(|clock| clock.last_turn_s(memory).is_some()))
    }

    /// The monotonic time, in seconds, at which the loop last turned; `None` when what is there is no such clock.
    ///
    /// libev's loop begins with three: the time of day of the last turn, the monotonic time at which the two were last
    /// compared, at most seconds ago, and the monotonic time of the last turn.
    #[must_use]
    pub fn last_turn_s(self, memory: &dyn MemoryReader) -> Option<f64> {
        let mut bytes = [0; 24];
        memory.read(self.0, &mut bytes).ok()?;
        let clock = |n: usize| word_at(&bytes, n * 8).map(f64::from_bits);
        let (real, compared, turned) = (clock(0)?, clock(1)?, clock(2)?);
        let sound = (1e9..1e11).contains(&real) && turned > 0.0 && (0.0..60.0).contains(&(turned - compared));
        (sound && turned < real).then_some(turned)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn words(start: u64, stop: u64, top_frame: u64) -> Words {
        Words {
            stack_start: start,
            stack_stop: stop,
            stack_copy: 0x9000,
            stack_saved: 0x100,
            top_frame,
            below_top: 0,
        }
    }

    #[test]
    fn states_and_stacks() {
        assert_eq!(words(0, 0, 0).state(), State::Unstarted);
        assert_eq!(words(0, 0x70, 0).state(), State::Finished);
        assert_eq!(words(0x60, 0x70, 0).state(), State::Running);
        assert_eq!(words(0x60, 0x70, 0x80).state(), State::Suspended);
        assert_eq!(words(0x60, 0x70, 0x80).on_stack(), Some(0x70));
        assert_eq!(words(1, u64::MAX, 0).on_stack(), None);
        assert_eq!(words(0x60, u64::MAX, 0x80).on_stack(), Some(0x60));
        assert!(words(1, u64::MAX, 0).is_main());
        let stack = words(0x60, 0x70, 0x80).saved().unwrap();
        assert_eq!((stack.start, stack.stop, stack.copy, stack.saved), (0x60, Some(0x70), 0x9000, 0x100));
        assert_eq!(words(0x60, u64::MAX, 0x80).saved().map(|stack| stack.stop), Some(None));
        assert_eq!((words(0x60, 0x70, 0).saved(), words(1, u64::MAX, 0x80).saved()), (None, None));
    }

    #[test]
    fn words_of_something_else_are_not_consistent() {
        assert!(words(0x4000, 0x5000, 0x80).consistent());
        assert!(!words(0x5000, 0x4000, 0x80).consistent(), "upside down");
        assert!(!words(0x4000, 0x4080, 0x80).consistent(), "more was copied than there is");
        assert!(!words(0x4000, 0x5000, 0x81).consistent(), "no address");
        assert!(!words(0, 0, 0).consistent(), "nothing is kept of one that never ran");
        let unstarted = Words { stack_saved: 0, stack_copy: 0, ..words(0, 0, 0) };
        assert!(unstarted.consistent());
    }

    #[test]
    fn what_was_copied_away_is_found_in_the_copy() {
        let words = words(0x4000, 0x5000, 1);
        assert_eq!(words.translate(0x4010, 8), 0x9010);
        assert_eq!(words.translate(0x40f8, 8), 0x90f8);
        assert_eq!(words.translate(0x40fc, 8), 0x40fc, "only a part of it was copied");
        assert_eq!(words.translate(0x4100, 8), 0x4100, "the upper part stayed");
        assert_eq!(words.translate(0x3ff8, 8), 0x3ff8);
    }
}
