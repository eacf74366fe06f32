//! Threads, their frames, and who holds the interpreter lock.
//!
//! The target runs while it is read, so a chain of frames may change under the walk. A stack is accepted only if
//!
//! - it is the one that was accepted last from this thread; or
//! - readings after each other give the same chain, and in the last one all callers wait for their callees, as far as the
//!   version lets that be seen: two readings of a sleeping thread, three of one that may run.
//!
//! Anything else is torn, counted, and read again a few times. Two call chains in turn can give the same mixture twice:
//! the halves of a frame's header may be copied some ten nanoseconds apart, which makes about one reading in a thousand
//! of the fastest possible targets look sound when it is not; and our readings can fall into step with the target. So
//! there are three, an uneven while apart.

use foldhash::{HashMap, HashSet};
use std::cell::Cell;

use super::census::MachineStack;
use super::code::{Code, Codes};
use super::greenlets::LoopClock;
use super::layout::Layout;
use super::locate::{Gil, Interpreter};
use super::memory::{MemoryReader, ReadError, half_at, word_at};
use super::walk::{Link, Owner, State, Walker};
use crate::target::maps::Mapping;

/// Longest list of threads.
const MAX_THREADS: usize = 4_096;
/// Most interpreters of one process.
const MAX_INTERPRETERS: usize = 64;
/// How often a stack is read before it is given up.
const TRIES: usize = 12;
/// `tid` in glibc's `struct pthread` (x86-64), where the library does not tell.
const PTHREAD_TID: u64 = 720;

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

/// A link of the chain that was accepted last, with its frame unless that is not to be shown.
#[derive(Debug, Clone, Copy)]
struct Named {
    link: Link,
    code: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct Thread {
    state: u64,
    pthread: u64,
    plan: Vec<u64>,
    chain: Vec<Link>,
    named: Vec<Named>,
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
    walker: Walker,
    candidate: Vec<Link>,
    named: Vec<Named>,
    shown: i32,
    gil: Cell<u64>,
    pub(super) loop_clock: Option<LoopClock>,
    random: u64,
}

impl<M: MemoryReader> StackReader<M> {
    /// A reader for an interpreter.
    #[must_use]
    pub fn new(interpreter: Interpreter, memory: M) -> Self {
        Self {
            interpreter,
            memory,
            threads: HashMap::default(),
            codes: Codes::default(),
            counts: Counts::default(),
            walker: Walker::default(),
            candidate: Vec::new(),
            named: Vec::new(),
            shown: 0,
            gil: Cell::new(0),
            loop_clock: None,
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

    /// The addresses of the interpreters' states: the first one, and sub-interpreters.
    pub fn interpreter_states(&self) -> Result<Vec<u64>, ReadError> {
        let mut found = Vec::new();
        let mut interpreter = self.memory.word(self.interpreter.interpreters_at)?;
        while interpreter != 0 && found.len() < MAX_INTERPRETERS && !found.contains(&interpreter) {
            found.push(interpreter);
            let next = interpreter.wrapping_add(self.interpreter.layout.interpreter_next);
            interpreter = self.memory.word(next)?;
        }
        Ok(found)
    }

    /// The machine stacks of the threads: the mappings that hold the C library's thread structures, which stand at their
    /// tops; that of the main thread has a name.
    #[must_use]
    pub fn machine_stacks(&self, ns_pid: i32, mappings: &[Mapping]) -> Vec<MachineStack> {
        let of = |mapping: &Mapping, ns_tid| MachineStack { start: mapping.start, end: mapping.end, ns_tid };
        let main = mappings.iter().find(|m| m.path == "[stack]").map(|m| of(m, ns_pid));
        let others = self.threads.iter().filter(|(tid, _)| **tid != ns_pid).filter_map(|(tid, thread)| {
            mappings.iter().find(|m| (m.start..m.end).contains(&thread.pthread)).map(|m| of(m, *tid))
        });
        main.into_iter().chain(others).collect()
    }

    /// The outermost frame of a thread at its last reading, and the number of its code.
    pub(super) fn outermost(&self, ns_tid: i32) -> Option<(u64, u32)> {
        let thread = self.threads.get(&ns_tid).filter(|thread| thread.complete)?;
        thread.named.iter().rev().find_map(|named| Some((named.link.address, named.code?)))
    }

    /// The number of the code object at an address.
    pub(super) fn resolve_code(&mut self, address: u64) -> Result<u32, ReadError> {
        self.codes.resolve(&self.memory, &self.interpreter.layout, address)
    }

    /// A frame with its code and line.
    pub(super) fn resolve_link(&mut self, link: &Link) -> Result<RawFrame, ReadError> {
        let layout = self.interpreter.layout;
        let number = self.resolve_code(link.code)?;
        let code = self.codes.get(number).filter(|code| code.holds(&layout, link.instruction));
        let code = code.ok_or(ReadError::Unmapped)?;
        Ok(RawFrame { code: number, line: code.line(&layout, link.instruction) })
    }

    /// Reads the list of threads anew. The list is only taken over when it was read to its end.
    pub fn refresh_threads(&mut self) -> Result<(), ReadError> {
        let layout = self.interpreter.layout;
        let mut found: HashMap<i32, (u64, u64)> = HashMap::default();
        let mut met: HashSet<u64> = HashSet::default();
        for interpreter in self.interpreter_states()? {
            let mut address = self.memory.word(interpreter.wrapping_add(layout.threads_head))?;
            while address != 0 {
                let state = State::read(&self.memory, &layout, address)?;
                // A list that comes back to where it was, or leads elsewhere, changed while it was read.
                if state.interpreter != interpreter || met.len() >= MAX_THREADS || !met.insert(address) {
                    return Err(ReadError::Unmapped);
                }
                if let Some(tid) = self.kernel_id(state.native_id, state.thread_id) {
                    found.insert(tid, (address, state.thread_id));
                }
                address = state.next;
            }
        }
        self.threads.retain(|tid, thread| found.get(tid) == Some(&(thread.state, thread.pthread)));
        for (tid, (state, pthread)) in found {
            self.threads.entry(tid).or_insert_with(|| Thread { state, pthread, ..Thread::default() });
        }
        Ok(())
    }

    /// The kernel's id of a thread: by the interpreter's own word, or by that of the C library.
    fn kernel_id(&self, native_id: Option<i32>, pthread: u64) -> Option<i32> {
        let by_library = || {
            let at = self.interpreter.pthread_tid_offset.unwrap_or(PTHREAD_TID);
            self.memory.half(pthread.wrapping_add(at)).ok().map(|id| id as i32)
        };
        native_id.or_else(by_library).filter(|id| *id > 0)
    }

    /// Who holds the interpreter lock at this instant.
    pub fn gil_holder(&self) -> GilHolder {
        let state = match self.interpreter.gil {
            Gil::Holder(at) => self.memory.word(at),
            Gil::OfInterpreter(at) => self.holder_of_first(at),
            Gil::Unknown => return GilHolder::Unknown,
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
                let first = self.memory.word(self.interpreter.interpreters_at)?;
                let lock = self.memory.word(first.wrapping_add(at))?;
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
        self.shown = ns_tid;
        // Taken out of the map meanwhile, as it is compared with while all else is at work; moved, not copied.
        let Some(thread) = self.threads.get_mut(&ns_tid) else { return Sample::NoThread };
        let mut thread = std::mem::take(thread);
        let sample = self.read(&mut thread, pace).unwrap_or(Sample::Unreadable);
        match sample {
            Sample::Torn | Sample::Unreadable => self.counts.discarded += 1,
            Sample::NoThread => {}
            Sample::Unchanged | Sample::Changed | Sample::NoFrame => self.counts.obtained += 1,
        }
        self.threads.insert(ns_tid, thread);
        sample
    }

    /// Reads until a chain can be accepted, or gives up.
    fn read(&mut self, thread: &mut Thread, pace: Pace) -> Result<Sample, ReadError> {
        let layout = self.interpreter.layout;
        // How many readings must agree with the first one.
        let needed = match pace {
            Pace::Asleep => 1,
            Pace::Running => 2,
        };
        let mut agreed: Option<usize> = None;
        for _ in 0..TRIES {
            let reading = match self.walker.read(&self.memory, &layout, thread.state, &mut thread.plan) {
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
            if !reading.grown && self.walker.chain() == thread.chain && thread.complete == reading.complete {
                return Ok(if thread.frames.is_empty() { Sample::NoFrame } else { Sample::Unchanged });
            }
            let sound = self.walker.sound(&layout);
            let again = agreed.filter(|_| self.walker.agrees(&self.candidate)).map(|times| times + 1);
            // A sleeper's chain does not move: that it looks odd is no sign of motion then.
            let enough = match pace {
                Pace::Asleep if !sound => needed + 2,
                _ => needed,
            };
            let believed = again.is_some_and(|times| times >= enough) && (sound || pace == Pace::Asleep);
            if believed && !reading.grown {
                match self.accept(&layout, thread, reading.complete) {
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

    /// A pause of a length that no target can be in step with.
    fn wait_unevenly(&mut self) {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for _ in 0..self.random >> 56 {
            std::hint::spin_loop();
        }
    }

    /// Turns the chain into frames: code objects by number, instructions into lines.
    fn accept(&mut self, layout: &Layout, thread: &mut Thread, complete: bool) -> Result<Sample, ReadError> {
        self.name(layout, &thread.named)?;
        std::mem::swap(&mut thread.named, &mut self.named);
        thread.chain.clear();
        thread.chain.extend_from_slice(self.walker.chain());
        thread.complete = complete;
        thread.frames.clear();
        for named in &thread.named {
            let Some((number, code)) = named.code.and_then(|n| Some((n, self.codes.get(n)?))) else {
                continue;
            };
            // A frame that has not begun to run its function is not shown by the interpreter either.
            if named.link.owner == Owner::Generator || code.has_begun(layout, named.link.instruction) {
                let line = code.line(layout, named.link.instruction);
                thread.frames.push(RawFrame { code: number, line });
            }
        }
        Ok(if thread.frames.is_empty() { Sample::NoFrame } else { Sample::Changed })
    }

    /// Gives the links of the chain their code objects. Stacks change at their inner end: counted from the root, a frame
    /// at the place and with the code of the one before needs no second look at its code.
    fn name(&mut self, layout: &Layout, before: &[Named]) -> Result<(), ReadError> {
        self.named.clear();
        let chain = self.walker.chain();
        let deeper = chain.len().saturating_sub(before.len());
        let shallower = before.len().saturating_sub(chain.len());
        let before = std::iter::repeat_n(None, deeper).chain(before.iter().skip(shallower).map(Some));
        for (link, old) in chain.iter().zip(before) {
            let same = old.filter(|old| (old.link.address, old.link.code) == (link.address, link.code));
            let code = match same.and_then(|old| old.code) {
                _ if link.owner == Owner::Interpreter => None,
                Some(number) => Some(number),
                None => Some(self.codes.resolve(&self.memory, layout, link.code)?),
            };
            // The header of a frame that is being made may belong to two functions.
            let whole = |number| self.codes.get(number).is_some_and(|c| c.holds(layout, link.instruction));
            if code.is_some_and(|number| !whole(number)) {
                return Err(ReadError::Unmapped);
            }
            self.named.push(Named { link: *link, code });
        }
        Ok(())
    }
}
