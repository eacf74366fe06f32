//! Decides which reading of a stack to believe, and turns it into frames.
//!
//! The target runs while it is read, so a chain of frames may change under the walk. A stack is accepted only if
//!
//! - it is the one that was accepted last from this thread, but for how far its innermost function has come: all that was
//!   proven of it is still there, its callers wait at the same instructions; or
//! - readings after each other give the same chain, and in the last one all callers wait for their callees, as far as the
//!   version lets that be seen: two readings of a sleeping thread, three of one that may run.
//!
//! Anything else is torn, counted, and read again a few times. Two call chains in turn can give the same mixture twice:
//! the halves of a frame's header may be copied some ten nanoseconds apart, which makes about one reading in a thousand
//! of the fastest possible targets look sound when it is not; and our readings can fall into step with the target. So
//! there are three, an uneven while apart.

use super::code::{Code, Codes};
use super::layout::Layout;
use super::memory::{MemoryReader, Range, ReadError};
use super::walk::{Link, Owner, Walker};

/// How often a stack is read before it is given up.
const TRIES: usize = 12;

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawFrame {
    /// Number of its code object.
    pub code: u32,
    /// Line, 0 when unknown.
    pub line: u32,
}

/// What the thread is believed to do while it is read: it decides how often the reading is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It sleeps in the kernel.
    Asleep,
    /// It may be running.
    Running,
}

/// How a reading of a stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The same stack as at the last reading of this thread.
    Unchanged,
    /// A stack, in [`super::StackReader::frames`].
    Changed,
    /// The thread runs no Python.
    NoFrame,
    /// The interpreter knows no such thread.
    NoThread,
    /// It changed at every try.
    Torn,
    /// The memory could not be read.
    Unreadable,
}

/// What became of the stacks that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Read and consistent.
    pub obtained: u64,
    /// Found changing, and read again.
    pub torn: u64,
    /// Given up.
    pub discarded: u64,
}

/// A link of the chain that was accepted last, with its code and frame unless they are not to be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) link: Link,
    pub(super) code: Option<u32>,
    pub(super) frame: Option<RawFrame>,
}

/// A thread and the stack that was accepted last.
#[derive(Debug, Clone, Default)]
pub(super) struct Thread {
    pub(super) state: u64,
    pub(super) pthread: u64,
    pub(super) named: Vec<Named>,
    pub(super) frames: Vec<RawFrame>,
    pub(super) complete: bool,
    /// Whether the innermost function stood at the same instruction at the last two readings.
    pub(super) still: Option<bool>,
    chain: Vec<Link>,
    plan: Vec<Range>,
}

impl Thread {
    /// A thread of which nothing was read yet.
    pub(super) fn new(state: u64, pthread: u64) -> Self {
        Self { state, pthread, ..Self::default() }
    }

    fn shown(&self, otherwise: Sample) -> Sample {
        if self.frames.is_empty() { Sample::NoFrame } else { otherwise }
    }
}

/// Reads and judges; holds what is kept between readings of any thread.
#[derive(Debug)]
pub(super) struct Sampler {
    walker: Walker,
    candidate: Vec<Link>,
    named: Vec<Named>,
    random: u64,
    pub(super) codes: Codes,
    pub(super) counts: Counts,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            walker: Walker::default(),
            candidate: Vec::new(),
            named: Vec::new(),
            random: 1,
            codes: Codes::default(),
            counts: Counts::default(),
        }
    }
}

impl Sampler {
    /// Reads the stack of a thread.
    pub(super) fn sample(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        thread: &mut Thread,
        pace: Pace,
    ) -> Sample {
        let sample = self.read(memory, layout, thread, pace).unwrap_or(Sample::Unreadable);
        match sample {
            Sample::Torn | Sample::Unreadable => self.counts.discarded += 1,
            Sample::NoThread => {}
            Sample::Unchanged | Sample::Changed | Sample::NoFrame => self.counts.obtained += 1,
        }
        sample
    }

    /// Reads until a chain can be accepted, or gives up.
    fn read(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        thread: &mut Thread,
        pace: Pace,
    ) -> Result<Sample, ReadError> {
        // How many readings must agree with the first one.
        let needed = match pace {
            Pace::Asleep => 1,
            Pace::Running => 2,
        };
        let mut agreed: Option<usize> = None;
        for _ in 0..TRIES {
            let reading = match self.walker.read(memory, layout, thread.state, &mut thread.plan) {
                Ok(Some(reading)) => reading,
                Ok(None) | Err(ReadError::Unmapped) => {
                    self.counts.torn += 1;
                    agreed = None;
                    continue;
                }
                Err(other) => return Err(other),
            };
            // A thread's state is given to another thread when it has ended.
            if reading.thread_id != thread.pthread {
                return Ok(Sample::NoThread);
            }
            if !reading.grown
                && thread.complete == reading.complete
                && let Some(sample) = self.same_as_before(memory, layout, thread)
            {
                return Ok(sample);
            }
            let sound = self.walker.sound(layout);
            let again = agreed.filter(|_| self.walker.agrees(&self.candidate)).map(|times| times + 1);
            // A sleeper's chain does not move: that it looks odd is no sign of motion then.
            let enough = match pace {
                Pace::Asleep if !sound => needed + 2,
                _ => needed,
            };
            let believed = again.is_some_and(|times| times >= enough) && (sound || pace == Pace::Asleep);
            if believed && !reading.grown {
                match self.accept(memory, layout, thread, reading.complete, pace) {
                    // What was taken for code objects are none.
                    Err(ReadError::Unmapped) => {}
                    accepted => return accepted,
                }
            }
            if again.is_none() {
                self.counts.torn += u64::from(agreed.is_some());
                self.candidate.clear();
                self.candidate.extend_from_slice(self.walker.chain());
            }
            agreed = Some(again.unwrap_or(0));
            if pace == Pace::Running {
                self.wait_unevenly();
            }
        }
        Ok(Sample::Torn)
    }

    /// Whether the chain is the one that was accepted last, of which the innermost function may have gone on.
    fn same_as_before(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        thread: &mut Thread,
    ) -> Option<Sample> {
        let chain = self.walker.chain();
        if chain == thread.chain {
            thread.still = Some(true);
            return Some(thread.shown(Sample::Unchanged));
        }
        if !self.walker.agrees(&thread.chain) || !self.walker.sound(layout) {
            return None;
        }
        let (link, named) = (chain.first()?, thread.named.first_mut()?);
        let code = self.codes.get(named.code?)?;
        let instruction = code.own_instruction(memory, layout, link.copy, link.instruction).ok()?;
        let frame = frame(layout, link, instruction, named.code?, code);
        // One that is to be shown now and was not before, or the other way round, is a change of the stack.
        let shown = thread.frames.first_mut().filter(|_| named.frame.is_some() && frame.is_some())?;
        let sample = if named.frame == frame { Sample::Unchanged } else { Sample::Changed };
        *named = Named { link: *link, code: named.code, frame };
        *shown = frame?;
        *thread.chain.first_mut()? = *link;
        thread.still = Some(false);
        Some(sample)
    }

    /// A pause of a length that no target can be in step with.
    fn wait_unevenly(&mut self) {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for _ in 0..self.random >> 56 {
            std::hint::spin_loop();
        }
    }

    /// Turns the chain into frames: code objects by number, instructions into lines.
    fn accept(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        thread: &mut Thread,
        complete: bool,
        pace: Pace,
    ) -> Result<Sample, ReadError> {
        self.name(memory, layout, &thread.named)?;
        // A generator that has just given its value has no caller, and looks like a whole stack of its own.
        let root = self.named.last().filter(|_| pace == Pace::Running && complete);
        let code = root.and_then(|root| self.codes.get(root.code?));
        if code.is_some_and(|code| code.generator) {
            return Err(ReadError::Unmapped);
        }
        std::mem::swap(&mut thread.named, &mut self.named);
        thread.still = thread.chain.first().map(|before| Some(before) == self.walker.chain().first());
        thread.chain.clear();
        thread.chain.extend_from_slice(self.walker.chain());
        thread.complete = complete;
        thread.frames.clear();
        thread.frames.extend(thread.named.iter().filter_map(|named| named.frame));
        Ok(thread.shown(Sample::Changed))
    }

    /// Gives the links of the chain their code objects. Stacks change at their inner end: counted from the root, a frame
    /// at the place and with the code of the one before needs no second look at its code.
    fn name(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        before: &[Named],
    ) -> Result<(), ReadError> {
        self.named.clear();
        let chain = self.walker.chain();
        let deeper = chain.len().saturating_sub(before.len());
        let shallower = before.len().saturating_sub(chain.len());
        let before = std::iter::repeat_n(None, deeper).chain(before.iter().skip(shallower).map(Some));
        for (depth, (link, old)) in chain.iter().zip(before).enumerate() {
            let same = old.filter(|old| (old.link.address, old.link.code) == (link.address, link.code));
            let number = match same.and_then(|old| old.code) {
                _ if link.owner == Owner::Interpreter => {
                    self.named.push(Named { link: *link, code: None, frame: None });
                    continue;
                }
                Some(number) => number,
                None => self.codes.resolve(memory, layout, link.code)?,
            };
            let code = self.codes.get(number).ok_or(ReadError::Unmapped)?;
            let instruction = code.own_instruction(memory, layout, link.copy, link.instruction)?;
            // Where a copy begins could not be seen before: its first instruction calls nobody.
            if link.copy != 0 && depth > 0 && code.is_first(layout, instruction) {
                return Err(ReadError::Unmapped);
            }
            let frame = match same.filter(|old| old.link == *link) {
                Some(old) => old.frame,
                None => frame(layout, link, instruction, number, code),
            };
            self.named.push(Named { link: *link, code: Some(number), frame });
        }
        Ok(())
    }
}

/// What is shown of a frame: nothing of one that has not begun to run its function, as the interpreter does not either.
fn frame(layout: &Layout, link: &Link, instruction: u64, number: u32, code: &Code) -> Option<RawFrame> {
    let begun = link.owner == Owner::Generator || code.has_begun(layout, instruction);
    begun.then(|| RawFrame { code: number, line: code.line(layout, instruction) })
}
