//! Names, frames and stacks by number: each is written once into the stream and named by its number from then on.

use foldhash::HashMap;

use crate::capture::model::{Frame, Record};

/// Most distinct stacks that are kept; a target that never repeats itself must not fill our memory.
pub const MAX_STACKS: usize = 20_000;

/// Gives numbers.
#[derive(Debug, Default)]
pub struct Interner {
    names: HashMap<String, u32>,
    frames: HashMap<Frame, u32>,
    stacks: HashMap<Vec<u32>, u32>,
}

impl Interner {
    /// The number of a name.
    pub fn name(&mut self, text: &str, out: &mut Vec<Record>) -> u32 {
        if let Some(id) = self.names.get(text) {
            return *id;
        }
        let id = self.names.len() as u32;
        self.names.insert(text.to_owned(), id);
        out.push(Record::Name { id, text: text.to_owned() });
        id
    }

    /// The number of a frame.
    pub fn frame(&mut self, frame: Frame, out: &mut Vec<Record>) -> u32 {
        if let Some(id) = self.frames.get(&frame) {
            return *id;
        }
        let id = self.frames.len() as u32;
        out.push(Record::Frame { id, frame: frame.clone() });
        self.frames.insert(frame, id);
        id
    }

    /// Whether no more distinct stacks are taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stacks.len() >= MAX_STACKS
    }

    /// The number of a stack of frame numbers; `None` when there are too many distinct ones already.
    pub fn stack(&mut self, frames: &[u32], complete: bool, out: &mut Vec<Record>) -> Option<u32> {
        if let Some(id) = self.stacks.get(frames) {
            return Some(*id);
        }
        if self.is_full() {
            return None;
        }
        let id = self.stacks.len() as u32;
        self.stacks.insert(frames.to_vec(), id);
        out.push(Record::Stack { id, frames: frames.to_vec(), complete });
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_written_once() {
        let (mut interner, mut out) = (Interner::default(), Vec::new());
        let frame = Frame { function: "f".into(), file: "a.py".into(), line: 1 };
        let a = interner.frame(frame.clone(), &mut out);
        assert_eq!(interner.frame(frame, &mut out), a);
        let s = interner.stack(&[a], true, &mut out);
        assert_eq!(interner.stack(&[a], true, &mut out), s);
        assert_eq!(interner.name("x", &mut out), interner.name("x", &mut out));
        assert_eq!(out.len(), 3);
    }
}
