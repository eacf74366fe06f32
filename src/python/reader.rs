//! Threads, their frames, and who holds the interpreter lock.
//!
//! The target runs while it is read, so a chain of frames may change under the walk. A stack is accepted only if the
//! innermost frame is the same before and after, and every frame that was passed still holds the same bytes when all of
//! them are read again; otherwise it is torn, counted, and read again a few times. Once again is not enough for a thread
//! that runs: two call chains in turn can give the same mixture twice when our readings fall into step with them. So
//! its frames are read several times more, at uneven distances.

use std::cell::Cell;
use std::collections::HashMap;

use super::code::{Code, Codes};
use super::layout::{FRAME_BYTES, FrameKind, GilAt, Instruction, Layout};
use super::locate::Interpreter;
use super::memory::{MemoryReader, ReadError, half_at, word_at};

/// Deepest stack that is read to its root.
const MAX_DEPTH: usize = 1_024;
/// Longest list of threads.
const MAX_THREADS: usize = 4_096;
/// How often a stack that changes under the walk is read again.
const TRIES: usize = 8;
/// Bytes read at once: frames of one thread lie close together, callers below callees.
const BLOCK: usize = 4_096;
/// `tid` in glibc's `struct pthread`, where Python does not keep the kernel's id itself (up to 3.10).
const PTHREAD_TID: u64 = 720;

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame {
    /// Number of its code object.
    pub code: u32,
    /// Line, 0 when unknown.
    pub line: u32,
    address: u64,
    code_address: u64,
    instruction: u64,
}

/// What the thread is believed to do while it is read: it decides how often the reading is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It sleeps in the kernel.
    Asleep,
    /// It may be running.
    Running,
}

impl Pace {
    /// How often the frames are read again.
    const fn checks(self) -> u32 {
        match self {
            Self::Asleep => 1,
            Self::Running => 4,
        }
    }
}

/// How a reading of a stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The same stack as at the last reading of this thread.
    Unchanged,
    /// A stack, in [`StackReader::frames`].
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

/// Who holds the interpreter lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GilHolder {
    /// Nobody.
    Nobody,
    /// A thread, by its kernel id in the target's namespace.
    Thread(i32),
    /// It could not be told.
    Unknown,
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

#[derive(Debug, Clone, Default)]
struct Thread {
    state: u64,
    frames: Vec<RawFrame>,
    complete: bool,
}

/// Reads the stacks of one interpreter.
pub struct StackReader<M> {
    interpreter: Interpreter,
    memory: M,
    threads: HashMap<i32, Thread>,
    codes: Codes,
    counts: Counts,
    blocks: Blocks,
    walk: Vec<Visited>,
    shown: i32,
    gil: Cell<u64>,
    random: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Visited {
    address: u64,
    previous: u64,
    code: u64,
    instruction: u64,
    skipped: bool,
}

/// The blocks of memory of the current walk.
#[derive(Default)]
struct Blocks {
    starts: Vec<u64>,
    bytes: Vec<[u8; BLOCK]>,
    used: usize,
}

impl Blocks {
    /// The header of the frame at an address. A block ends with it, as callers lie below.
    fn frame(&mut self, memory: &dyn MemoryReader, address: u64) -> Result<[u8; FRAME_BYTES], ReadError> {
        let cached = self.starts.iter().take(self.used).zip(&self.bytes).find_map(|(start, bytes)| {
            let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get(offset..offset + FRAME_BYTES)
        });
        if let Some(bytes) = cached {
            return bytes.try_into().map_err(|_| ReadError::Unmapped);
        }
        let start = address.saturating_sub((BLOCK - FRAME_BYTES) as u64);
        if self.used == self.bytes.len() {
            self.bytes.push([0; BLOCK]);
            self.starts.push(0);
        }
        if let (Some(block), Some(at)) = (self.bytes.get_mut(self.used), self.starts.get_mut(self.used))
            && memory.read(start, block).is_ok()
        {
            *at = start;
            self.used += 1;
            let tail = block.get(BLOCK - FRAME_BYTES..).unwrap_or_default();
            return tail.try_into().map_err(|_| ReadError::Unmapped);
        }
        let mut alone = [0; FRAME_BYTES];
        memory.read(address, &mut alone)?;
        Ok(alone)
    }
}

impl<M: MemoryReader> StackReader<M> {
    /// A reader for an interpreter.
    #[must_use]
    pub fn new(interpreter: Interpreter, memory: M) -> Self {
        Self {
            interpreter,
            memory,
            threads: HashMap::new(),
            codes: Codes::default(),
            counts: Counts::default(),
            blocks: Blocks::default(),
            walk: Vec::new(),
            shown: 0,
            gil: Cell::new(0),
            random: 1,
        }
    }

    /// The interpreter.
    #[must_use]
    pub const fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }

    /// The memory.
    #[must_use]
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// What became of the stacks so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// A code object by the number in a frame.
    #[must_use]
    pub fn code(&self, id: u32) -> Option<&Code> {
        self.codes.get(id)
    }

    /// The kernel ids, in the target's namespace, of the threads that the interpreter knows.
    pub fn thread_ids(&self) -> impl Iterator<Item = i32> + '_ {
        self.threads.keys().copied()
    }

    /// Reads the list of threads anew. The list is only taken over when it was read to its end.
    pub fn refresh_threads(&mut self) -> Result<(), ReadError> {
        let layout = self.interpreter.layout;
        let mut found: HashMap<i32, u64> = HashMap::new();
        let mut interpreter = self.memory.word(self.interpreter.runtime_start + layout.interpreters_head)?;
        for _ in 0..64 {
            if interpreter == 0 {
                break;
            }
            let mut state = self.memory.word(interpreter + layout.threads_head)?;
            for _ in 0..MAX_THREADS {
                if state == 0 {
                    break;
                }
                if self.memory.word(state + layout.thread_interpreter)? != interpreter {
                    return Err(ReadError::Unmapped);
                }
                if let Some(tid) = self.native_id(state) {
                    found.insert(tid, state);
                }
                state = self.memory.word(state + layout.thread_next)?;
            }
            interpreter = self.memory.word(interpreter + layout.interpreter_next)?;
        }
        self.threads.retain(|tid, thread| found.get(tid) == Some(&thread.state));
        for (tid, state) in found {
            self.threads.entry(tid).or_insert_with(|| Thread { state, ..Thread::default() });
        }
        Ok(())
    }

    fn native_id(&self, state: u64) -> Option<i32> {
        let layout = &self.interpreter.layout;
        let id = match layout.native_thread_id {
            Some(at) => self.memory.word(state + at).ok()? as i32,
            None => {
                self.memory.half(self.memory.word(state + layout.thread_id).ok()? + PTHREAD_TID).ok()? as i32
            }
        };
        (id > 0).then_some(id)
    }

    /// Who holds the interpreter lock at this instant.
    pub fn gil_holder(&self) -> GilHolder {
        let state = match self.interpreter.layout.gil {
            GilAt::Runtime(at) => self.memory.word(self.interpreter.runtime_start + at),
            GilAt::Interpreter(at) => self.holder_of_first(at),
        };
        match state {
            Ok(0) => GilHolder::Nobody,
            Ok(state) => {
                let known = self.threads.iter().find(|(_, t)| t.state == state).map(|(tid, _)| *tid);
                known.map_or(GilHolder::Unknown, GilHolder::Thread)
            }
            Err(_) => GilHolder::Unknown,
        }
    }

    /// `last_holder` is only meant while `locked` is set. The lock stays where it is as long as the interpreter lives.
    fn holder_of_first(&self, at: u64) -> Result<u64, ReadError> {
        let lock = match self.gil.get() {
            0 => {
                let head = self.interpreter.runtime_start + self.interpreter.layout.interpreters_head;
                let lock = self.memory.word(self.memory.word(head)? + at)?;
                self.gil.set(lock);
                lock
            }
            known => known,
        };
        let mut body = [0; 24];
        self.memory.read(lock, &mut body)?;
        let locked = half_at(&body, 16).unwrap_or(0) as i32;
        Ok(if locked == 1 { word_at(&body, 8).unwrap_or(0) } else { 0 })
    }

    /// The frames of the last reading, innermost first.
    #[must_use]
    pub fn frames(&self) -> &[RawFrame] {
        self.threads.get(&self.shown).map_or(&[], |t| &t.frames)
    }

    /// Whether the last reading reached the root of the stack.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.threads.get(&self.shown).is_some_and(|t| t.complete)
    }

    /// Reads the stack of a thread.
    pub fn sample(&mut self, ns_tid: i32, pace: Pace) -> Sample {
        let Some(thread) = self.threads.get(&ns_tid) else { return Sample::NoThread };
        let state = thread.state;
        self.shown = ns_tid;
        for _ in 0..TRIES {
            match self.walk(state, pace.checks()) {
                Ok(Some(complete)) => return self.accept(ns_tid, complete),
                Ok(None) | Err(ReadError::Unmapped) => self.counts.torn += 1,
                Err(_) => {
                    self.counts.discarded += 1;
                    return Sample::Unreadable;
                }
            }
        }
        self.counts.discarded += 1;
        Sample::Torn
    }

    /// The innermost frame of a thread: the word that tells and the frame.
    fn innermost(&self, state: u64) -> Result<u64, ReadError> {
        match self.interpreter.layout.frames {
            FrameKind::Object { thread_frame } | FrameKind::Direct { thread_frame } => {
                self.memory.word(state + thread_frame)
            }
            FrameKind::Indirect { thread_cframe, current } => {
                let cframe = self.memory.word(state + thread_cframe)?;
                if cframe == 0 { Ok(0) } else { self.memory.word(cframe + current) }
            }
        }
    }

    /// Walks the chain. `Some(complete)` when it is consistent, `None` when it changed meanwhile.
    fn walk(&mut self, state: u64, checks: u32) -> Result<Option<bool>, ReadError> {
        let layout = self.interpreter.layout;
        self.walk.clear();
        self.blocks.used = 0;
        let top = self.innermost(state)?;
        let mut address = top;
        let mut complete = true;
        while address != 0 {
            if self.walk.len() >= MAX_DEPTH {
                complete = false;
                break;
            }
            let bytes = self.blocks.frame(&self.memory, address)?;
            let visited = look(&layout, address, &bytes).ok_or(ReadError::Unmapped)?;
            // A chain that comes back to where it was is no chain.
            if visited.previous == address {
                return Ok(None);
            }
            self.walk.push(visited);
            address = visited.previous;
        }
        for check in 0..checks {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for _ in 0..if check == 0 { 0 } else { self.random >> 56 } {
                std::hint::spin_loop();
            }
            if !self.still_there(state, top)? {
                return Ok(None);
            }
        }
        Ok(Some(complete))
    }

    /// Reads everything once more and compares.
    fn still_there(&mut self, state: u64, top: u64) -> Result<bool, ReadError> {
        let layout = self.interpreter.layout;
        self.blocks.used = 0;
        for (depth, visited) in self.walk.iter().enumerate() {
            let bytes = self.blocks.frame(&self.memory, visited.address)?;
            let Some(now) = look(&layout, visited.address, &bytes) else { return Ok(false) };
            // The innermost frame goes on executing: its instruction may move, nothing else.
            let instruction = if depth == 0 { now.instruction } else { visited.instruction };
            if now != (Visited { instruction, ..*visited }) {
                return Ok(false);
            }
        }
        Ok(self.innermost(state)? == top)
    }

    /// Turns the walk into frames: code objects by number, instructions into lines.
    fn accept(&mut self, ns_tid: i32, complete: bool) -> Sample {
        let layout = self.interpreter.layout;
        let Some(thread) = self.threads.get_mut(&ns_tid) else { return Sample::NoThread };
        let visible = self.walk.iter().filter(|v| !v.skipped);
        let same = |f: &RawFrame, v: &Visited| {
            (f.address, f.code_address, f.instruction) == (v.address, v.code, v.instruction)
        };
        let count = visible.clone().count();
        if count > 0
            && thread.frames.len() == count
            && thread.frames.iter().zip(visible.clone()).all(|(f, v)| same(f, v))
        {
            self.counts.obtained += 1;
            return Sample::Unchanged;
        }
        let before: HashMap<u64, (u64, u32)> =
            thread.frames.iter().map(|f| (f.address, (f.code_address, f.code))).collect();
        thread.frames.clear();
        thread.complete = complete;
        for visited in visible {
            // A frame that stood here with the same code at the last reading needs no second look at its code.
            let old = before.get(&visited.address).filter(|(code, _)| *code == visited.code);
            let id = match old {
                Some((_, id)) => Ok(*id),
                None => self.codes.resolve(&self.memory, &layout, visited.code, true),
            };
            let Ok(code) = id else {
                thread.frames.clear();
                self.counts.discarded += 1;
                return Sample::Unreadable;
            };
            let line = self.codes.get(code).map_or(0, |c| c.line(&layout, visited.instruction));
            thread.frames.push(RawFrame {
                code,
                line,
                address: visited.address,
                code_address: visited.code,
                instruction: visited.instruction,
            });
        }
        self.counts.obtained += 1;
        if thread.frames.is_empty() { Sample::NoFrame } else { Sample::Changed }
    }
}

/// What a frame's header says.
fn look(layout: &Layout, address: u64, bytes: &[u8; FRAME_BYTES]) -> Option<Visited> {
    let owner = layout.frame_owner.and_then(|(at, first)| Some((*bytes.get(at)?, first)));
    let instruction = match layout.instruction {
        Instruction::Index { at, .. } => u64::from(half_at(bytes, at)?),
        Instruction::Pointer { at, .. } => word_at(bytes, at)?,
    };
    Some(Visited {
        address,
        previous: word_at(bytes, layout.frame_previous)?,
        code: word_at(bytes, layout.frame_code)?,
        instruction,
        skipped: owner.is_some_and(|(owner, first)| owner >= first),
    })
}
