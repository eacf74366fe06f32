//! A suspended greenlet's two stacks: where its machine's stack is kept, and which of its Python frames belong to which call
//! of the evaluation function.
//!
//! Looks again at a greenlet of a census. Two equal looks with a copy between them prove that it was not switched to.

use super::calls::calls;
use super::census_model::Greenlet;
use super::greenlets::{SavedStack, Words};
use super::heap::Pages;
use super::layout::FrameKind;
use super::memory::{MemoryReader, ReadError};
use super::objects::{self, KeptCaller, Objects};
use super::reader::StackReader;
use super::walk::{Link, Owner};

/// Longest machine stack.
const MAX_STACK: u64 = 1 << 30;

/// The stacks of a suspended greenlet at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// Its machine's stack.
    pub stack: SavedStack,
    /// How many of its frames belong to each call of the evaluation function, innermost first; `None` where that is not
    /// known.
    pub calls: Option<Vec<usize>>,
    words: Words,
    chain: Vec<Link>,
}

impl<M: MemoryReader> StackReader<M> {
    /// Looks at a greenlet again. `None` when it is not as the census saw it.
    pub fn switched(&mut self, greenlet: &Greenlet) -> Option<Switched> {
        let version = self.interpreter().version;
        let layout = self.interpreter().layout;
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        let (of_type, kind) = greenlet.of;
        let read = || Words::read(self.memory(), version, kind, greenlet.address).ok();
        let (seen_type, words) = read()?;
        let stack = words.saved().filter(|_| seen_type == of_type && words.consistent())?;
        let near = Pages::near(self.memory());
        let memory: &dyn MemoryReader =
            if matches!(layout.frames, FrameKind::Object { .. }) { self.memory() } else { &near };
        let mut chain = Vec::new();
        let ended = words.frames(memory, &layout, &objects, &mut chain).ok()?;
        let calls = match ended {
            Some(true) if shims_are_left_out(&objects, &chain) => {
                kept_calls(self.memory(), &objects, &chain, &stack).ok().flatten()
            }
            Some(true) => {
                Some(calls(&layout, chain.iter().map(|link| (link, link.owner != Owner::Interpreter))))
            }
            _ => None,
        };
        if read()?.1 != words {
            return None;
        }
        let shown = chain.iter().filter(|link| link.owner != Owner::Interpreter);
        let links: Vec<Link> = shown.copied().collect();
        let same = links.len() == greenlet.frames.len()
            && links
                .iter()
                .zip(greenlet.frames.iter())
                .all(|(link, frame)| self.resolve_link(link).is_ok_and(|resolved| resolved == *frame));
        same.then_some(Switched { stack, calls, words, chain })
    }
}

/// Whether greenlet has taken the frames that mark the calls out of the chain: where it does, none is left.
fn shims_are_left_out(objects: &Objects, chain: &[Link]) -> bool {
    objects.kept_caller.is_some() && chain.iter().all(|link| link.owner != Owner::Interpreter)
}

/// Where each call begins, by the callers that greenlet has put aside: the frame that marks a call lies on the machine's stack.
/// `None` when a caller is neither that nor the next frame.
fn kept_calls(
    memory: &dyn MemoryReader,
    objects: &Objects,
    chain: &[Link],
    stack: &SavedStack,
) -> Result<Option<Vec<usize>>, ReadError> {
    let (Some(KeptCaller { object, caller }), Some(frame)) = (objects.kept_caller, objects.frame_of_object)
    else {
        return Ok(None);
    };
    let end = stack.stop.unwrap_or_else(|| stack.start.saturating_add(MAX_STACK));
    let (mut calls, mut frames) = (Vec::new(), 0);
    for (place, link) in chain.iter().enumerate() {
        let of_frame = memory.word(link.address.wrapping_add(object))?;
        if of_frame == 0 || memory.word(of_frame.wrapping_add(frame))? != link.address {
            return Ok(None);
        }
        frames += 1;
        let kept = memory.word(of_frame.wrapping_add(caller))?;
        if (stack.start..end).contains(&kept) {
            calls.push(frames);
            frames = 0;
        } else if chain.get(place + 1).is_none_or(|next| next.address != kept) {
            return Ok(None);
        }
    }
    Ok((frames == 0).then_some(calls))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::python::walk::link;

    /// Frames at 0x1000, 0x1100, …, their objects at 0x2000, 0x2100, …, and where each was called from.
    struct Frames(Vec<u64>);

    impl MemoryReader for Frames {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            let number = (address & 0xf00) >> 8;
            let word = match (address & 0xf000, address & 0xff) {
                (0x1000, 48) => 0x2000 + number * 0x100,
                (0x2000, 24) => 0x1000 + number * 0x100,
                (0x2000, 64) => *self.0.get(number as usize).ok_or(ReadError::Unmapped)?,
                _ => return Err(ReadError::Unmapped),
            };
            buffer.copy_from_slice(&word.to_ne_bytes());
            Ok(())
        }
    }

    fn calls_of(callers: &[u64]) -> Option<Vec<usize>> {
        let objects = objects::of(3, 13, 0);
        let address = |number| 0x1000 + number as u64 * 0x100;
        let chain: Vec<Link> = (0..callers.len())
            .map(|number| {
                let mut link = link(Owner::Function, false);
                link.address = address(number);
                link
            })
            .collect();
        let stack = SavedStack { start: 0x7000, stop: Some(0x8000), copy: 0, saved: 0 };
        assert!(shims_are_left_out(&objects, &chain));
        kept_calls(&Frames(callers.to_vec()), &objects, &chain, &stack).unwrap()
    }

    #[test]
    fn calls_begin_at_frames_on_the_machines_stack() {
        assert_eq!(calls_of(&[0x1100, 0x7010, 0x1300, 0x7ff8]), Some(vec![2, 2]));
        assert_eq!(calls_of(&[0x7010]), Some(vec![1]));
        assert_eq!(calls_of(&[0x7010, 0x1200]), None, "the outermost has no caller of its own");
        assert_eq!(calls_of(&[0x9000, 0x7010]), None, "a caller that is nowhere");
        assert_eq!(calls_of(&[0x1200, 0x7010, 0x7020]), None, "one that is left out");
        assert_eq!(calls_of(&[]), Some(Vec::new()));
    }

    #[test]
    fn chains_that_hold_the_marks_are_read_as_they_are() {
        let shim = link(Owner::Interpreter, false);
        assert!(!shims_are_left_out(&objects::of(3, 12, 0), &[link(Owner::Function, false), shim]));
        assert!(!shims_are_left_out(&objects::of(3, 11, 0), &[link(Owner::Function, false)]));
    }
}
