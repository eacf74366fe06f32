//! One thread's chain of frames, as bytes that were there at one instant.
//!
//! Takes the memory, the layout and the pages that were of use at the last reading; gives the chain and says how much it
//! may be trusted. Nothing is resolved to names here, and nothing waits.
//!
//! Memory is read in whole pages: a page is copied almost at once, and any byte of it costs as much as all. Those that
//! were of use last time are read together in one system call; whatever else the chain leads to is read by itself, and
//! such a chain, [`Reading::grown`], is only a candidate: it was not there in one piece. Buffers are kept, so that a
//! reading allocates nothing once they have grown.

use super::layout::{FRAME_BYTES, FrameKind, FrameUse, Instruction, Layout, STATE_BYTES};
use super::memory::{MemoryReader, PAGE, ReadError, half_at, word_at};

/// Deepest stack that is read to its root.
const MAX_DEPTH: usize = 1_024;
/// Most pages of one thread: as many frames as may be, two on each.
const MAX_PAGES: usize = MAX_DEPTH / 2;

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
    /// Whose it is.
    pub owner: Owner,
    /// Whether it is as a frame that has called another one must be.
    waits: bool,
    /// Whether it was called out of C, so that its caller does not wait as one that called Python does.
    from_c: bool,
}

impl Link {
    /// The frame at an address, from its header.
    #[must_use]
    pub fn parse(layout: &Layout, address: u64, header: &[u8; FRAME_BYTES]) -> Option<Self> {
        let code = word_at(header, layout.frame_code)? & layout.reference_mask;
        let (instruction, begun) = match layout.instruction {
            Instruction::Index { at, .. } => (u64::from(half_at(header, at)?), true),
            Instruction::Pointer { at, code: first } => {
                let instruction = word_at(header, at)?;
                // The first instruction calls nobody.
                (instruction, instruction > code.wrapping_add(first))
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

    fn parse(layout: &Layout, bytes: &[u8; STATE_BYTES]) -> Option<Self> {
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
    chain.clear();
    let mut address = innermost;
    // A circle is found as soon as it was gone round once behind the mark.
    let (mut mark, mut next_mark) = (0, 1);
    let mut header = [0; FRAME_BYTES];
    while address != 0 && chain.len() < MAX_DEPTH {
        if address == mark {
            return Ok(None);
        }
        if chain.len() == next_mark {
            (mark, next_mark) = (address, next_mark * 2);
        }
        // What lies behind the header may not be mapped.
        read(address, header.get_mut(..layout.frame_bytes).ok_or(ReadError::Unmapped)?)?;
        let link = Link::parse(layout, address, &header).ok_or(ReadError::Unmapped)?;
        chain.push(link);
        address = link.previous;
    }
    Ok(Some(address == 0))
}

/// Walks chains of frames.
#[derive(Debug, Default)]
pub struct Walker {
    pages: Vec<u64>,
    bytes: Vec<u8>,
    used: Vec<bool>,
    chain: Vec<Link>,
}

impl Walker {
    /// The chain of the last reading, innermost first.
    #[must_use]
    pub fn chain(&self) -> &[Link] {
        &self.chain
    }

    /// Reads the chain of a thread. `plan` holds the pages that are read together; it is brought up to date.
    /// `None` when the chain runs in a circle, as no stack does.
    pub fn read(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        state: u64,
        plan: &mut Vec<u64>,
    ) -> Result<Option<Reading>, ReadError> {
        self.load(memory, plan)?;
        let planned = self.pages.len();
        let mut state_bytes = [0; STATE_BYTES];
        self.get(memory, state, &mut state_bytes)?;
        let state = State::parse(layout, &state_bytes).ok_or(ReadError::Unmapped)?;
        let address = match layout.frames {
            FrameKind::Indirect { current, .. } if state.frame != 0 => {
                let mut word = [0; 8];
                self.get(memory, state.frame.wrapping_add(current), &mut word)?;
                u64::from_le_bytes(word)
            }
            _ => state.frame,
        };
        let mut chain = std::mem::take(&mut self.chain);
        let ended = follow(layout, address, &mut chain, |address, room| self.get(memory, address, room));
        self.chain = chain;
        let Some(complete) = ended? else { return Ok(None) };
        let grown = self.pages.len() > planned;
        self.keep(plan, grown);
        Ok(Some(Reading { complete, grown, thread_id: state.thread_id }))
    }

    /// Whether the frames of the last chain fit together: each that has called another one waits for it. What lies above
    /// a frame that executes are remains of earlier calls, which may look like the continuation of the stack.
    #[must_use]
    pub fn sound(&self, layout: &Layout) -> bool {
        self.pairs().all(|(callee, caller)| match layout.frame_use {
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

    /// Reads the planned pages together. A page that is gone makes the plan worthless.
    fn load(&mut self, memory: &dyn MemoryReader, plan: &mut Vec<u64>) -> Result<(), ReadError> {
        self.pages.clear();
        self.used.clear();
        self.bytes.resize(plan.len() * PAGE as usize, 0);
        match memory.read_pages(plan, &mut self.bytes) {
            Ok(()) => {
                self.pages.extend_from_slice(plan);
                self.used.resize(plan.len(), false);
                Ok(())
            }
            Err(ReadError::Unmapped) => {
                plan.clear();
                self.bytes.clear();
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// The next plan: all that was of use, and what was not as long as it is little.
    fn keep(&mut self, plan: &mut Vec<u64>, grown: bool) {
        let of_use = self.used.iter().filter(|used| **used).count();
        let too_many = self.pages.len() > 2 * of_use + 4;
        if !(grown || too_many) {
            return;
        }
        plan.clear();
        let kept = self.pages.iter().zip(&self.used).filter(|(_, used)| **used || !too_many);
        plan.extend(kept.map(|(page, _)| *page));
        // Neighbours are read as one range. Nothing hangs on the order.
        plan.sort_unstable();
    }

    /// Bytes at an address: from the pages at hand, or from pages read now.
    fn get(&mut self, memory: &dyn MemoryReader, address: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let (mut address, mut rest) = (address, into);
        while !rest.is_empty() {
            let offset = (address % PAGE) as usize;
            let here = rest.len().min(PAGE as usize - offset);
            let at = self.page(memory, address - offset as u64)? * PAGE as usize + offset;
            let (now, later) = rest.split_at_mut_checked(here).ok_or(ReadError::Unmapped)?;
            now.copy_from_slice(self.bytes.get(at..at + here).ok_or(ReadError::Unmapped)?);
            rest = later;
            address = address.checked_add(here as u64).ok_or(ReadError::Unmapped)?;
        }
        Ok(())
    }

    /// Which of the pages at hand a page is; read now if it is none of them.
    fn page(&mut self, memory: &dyn MemoryReader, page: u64) -> Result<usize, ReadError> {
        let index = if let Some(index) = self.pages.iter().position(|known| *known == page) {
            index
        } else {
            if self.pages.len() >= MAX_PAGES {
                return Err(ReadError::Unmapped);
            }
            let at = self.bytes.len();
            self.bytes.resize(at + PAGE as usize, 0);
            if let Err(why) = memory.read(page, self.bytes.get_mut(at..).unwrap_or_default()) {
                self.bytes.truncate(at);
                return Err(why);
            }
            self.pages.push(page);
            self.used.push(false);
            self.pages.len() - 1
        };
        if let Some(used) = self.used.get_mut(index) {
            *used = true;
        }
        Ok(index)
    }
}
