//! Threads, their frames, and who holds the interpreter lock.
//!
//! Takes the interpreter that was found and its memory; gives stacks as numbers of code objects with lines, which
//! [`super::sampler`] has found to be true. Nothing is kept of a thread that has ended.

use std::cell::Cell;

use foldhash::{HashMap, HashSet};

use super::calls::calls;
use super::census::MachineStack;
use super::code::Code;
use super::greenlets::LoopClock;
use super::layout::LOCK_BYTES;
use super::locate::{Gil, Interpreter};
use super::memory::{MemoryReader, ReadError, half_at, word_at};
pub use super::sampler::{Counts, Pace, RawFrame, Sample};
use super::sampler::{Named, Sampler, Thread};
use super::walk::{Link, State};
use crate::target::maps::Mapping;

/// Longest list of threads.
const MAX_THREADS: usize = 4_096;
/// Most interpreters of one process.
const MAX_INTERPRETERS: usize = 64;
/// `tid` in glibc's `struct pthread` (x86-64), where the library does not tell.
const PTHREAD_TID: u64 = 720;

/// A frame and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub address: u64,
    /// What was read there.
    pub frame: RawFrame,
}

/// Who holds the interpreter lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GilHolder {
    /// Nobody.
    Nobody,
    /// A thread, by its kernel id in the target's namespace.
    Thread(i32),
    /// Nobody can: a free-threaded build that runs without the lock.
    Absent,
    /// It could not be told.
    Unknown,
}

/// Reads the stacks of one interpreter.
pub struct StackReader<M> {
    interpreter: Interpreter,
    memory: M,
    threads: HashMap<i32, Thread>,
    sampler: Sampler,
    /// States that a thread has in other interpreters than the one it is read in: thread, state, `pthread_t`.
    pub(super) others: Vec<(i32, u64, u64)>,
    shown: i32,
    gil: Cell<u64>,
    pub(super) loop_clock: Option<LoopClock>,
}

impl<M: MemoryReader> StackReader<M> {
    /// A reader for an interpreter.
    #[must_use]
    pub fn new(interpreter: Interpreter, memory: M) -> Self {
        Self {
            interpreter,
            memory,
            threads: HashMap::default(),
            sampler: Sampler::default(),
            others: Vec::new(),
            shown: 0,
            gil: Cell::new(0),
            loop_clock: None,
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
        self.sampler.counts
    }

    /// A code object by the number in a frame.
    #[must_use]
    pub fn code(&self, id: u32) -> Option<&Code> {
        self.sampler.codes.get(id)
    }

    /// Says that this is a single look at everything: each code object is checked once and not with each frame.
    pub fn one_look(&mut self) {
        self.sampler.codes.one_look();
    }

    /// The kernel ids, in the target's namespace, of the threads that the interpreter knows.
    pub fn thread_ids(&self) -> impl Iterator<Item = i32> + '_ {
        self.threads.keys().copied()
    }

    /// The addresses of the interpreters' states: sub-interpreters, the newest first, and then the first one.
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

    /// The addresses of the states of the threads that the interpreter knows.
    pub fn thread_states(&self) -> impl Iterator<Item = u64> + '_ {
        self.threads.values().map(|thread| thread.state)
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

    /// The address of a thread's state.
    pub(super) fn state_of(&self, ns_tid: i32) -> Option<u64> {
        self.threads.get(&ns_tid).map(|thread| thread.state)
    }

    /// The state of the thread that was read last, and its innermost link if it has any.
    pub(super) fn shown_state(&self) -> Option<(u64, Option<&Link>)> {
        let thread = self.threads.get(&self.shown)?;
        Some((thread.state, thread.named.first().map(|named| &named.link)))
    }

    /// The thread that a state is one of.
    pub(super) fn thread_of(&self, state: u64) -> Option<i32> {
        let other = || self.others.iter().find(|(_, other, _)| *other == state).map(|(tid, ..)| *tid);
        self.threads.iter().find(|(_, t)| t.state == state).map(|(tid, _)| *tid).or_else(other)
    }

    /// The states that threads have besides the one they are read in, as other interpreters know them: how often each
    /// thread is among them.
    pub fn other_states(&self) -> impl Iterator<Item = i32> + '_ {
        self.others.iter().map(|(tid, ..)| *tid)
    }

    /// Exchanges the state that a thread is read in for one of [`StackReader::other_states`], by its place there; done
    /// twice, all is as before. Whether there is such a place.
    pub fn exchange_state(&mut self, place: usize) -> bool {
        let Some((ns_tid, state, pthread)) = self.others.get_mut(place) else { return false };
        let Some(thread) = self.threads.get_mut(ns_tid) else { return false };
        let other = Thread::new(*state, *pthread);
        let before = std::mem::replace(thread, other);
        (*state, *pthread) = (before.state, before.pthread);
        true
    }

    /// Forgets the stack of a thread that was read last: one look at many of them needs none twice.
    pub fn forget_stack(&mut self, ns_tid: i32) {
        if let Some(thread) = self.threads.get_mut(&ns_tid) {
            *thread = Thread::new(thread.state, thread.pthread);
        }
    }

    /// The frames of the last reading and where each is, innermost first.
    #[must_use]
    pub fn frame_places(&self) -> Vec<Place> {
        let named = self.threads.get(&self.shown).map_or(&[][..], |thread| &thread.named);
        let place = |n: &Named| Some(Place { address: n.link.address, frame: n.frame? });
        named.iter().filter_map(place).collect()
    }

    /// How many of the frames of the last reading belong to each call of the evaluation function, innermost first.
    #[must_use]
    pub fn evaluation_calls(&self) -> Vec<usize> {
        let named = self.threads.get(&self.shown).map_or(&[][..], |thread| &thread.named);
        calls(&self.interpreter.layout, named.iter().map(|n| (&n.link, n.frame.is_some())))
    }

    /// The object that the first variable of a frame refers to; 0 where it refers to none.
    pub(super) fn first_variable(&self, frame: u64) -> Result<u64, ReadError> {
        let layout = &self.interpreter.layout;
        Ok(self.memory.word(frame.wrapping_add(layout.frame_locals))? & layout.reference_mask)
    }

    /// The outermost frame of a thread at its last reading, and the number of its code.
    pub(super) fn outermost(&self, ns_tid: i32) -> Option<(Link, u32)> {
        let thread = self.threads.get(&ns_tid).filter(|thread| thread.complete)?;
        thread.named.iter().rev().find_map(|named| Some((named.link, named.code?)))
    }

    /// The type of code objects, once one was met.
    pub(super) const fn code_type(&self) -> Option<u64> {
        self.sampler.codes.code_type()
    }

    /// Whether the code object of a number is still where it was.
    pub(super) fn code_stayed(&self, number: u32) -> bool {
        self.sampler.codes.still(&self.memory, &self.interpreter.layout, number)
    }

    /// The number of the code object at an address.
    pub(super) fn resolve_code(&mut self, address: u64) -> Result<u32, ReadError> {
        self.sampler.codes.resolve(&self.memory, &self.interpreter.layout, address)
    }

    /// A frame with its code and line.
    pub(super) fn resolve_link(&mut self, link: &Link) -> Result<RawFrame, ReadError> {
        let layout = self.interpreter.layout;
        let number = self.resolve_code(link.code)?;
        let code = self.sampler.codes.get(number).ok_or(ReadError::Unmapped)?;
        let instruction = code.own_instruction(&self.memory, &layout, link.copy, link.instruction)?;
        Ok(RawFrame { code: number, line: code.line(&layout, instruction) })
    }

    /// Reads the list of threads anew. The list is only taken over when it was read to its end.
    pub fn refresh_threads(&mut self) -> Result<(), ReadError> {
        let layout = self.interpreter.layout;
        let mut found: HashMap<i32, (u64, u64)> = HashMap::default();
        let mut met: HashSet<u64> = HashSet::default();
        let mut others = Vec::new();
        for interpreter in self.interpreter_states()? {
            let mut address = self.memory.word(interpreter.wrapping_add(layout.threads_head))?;
            while address != 0 {
                let state = State::read(&self.memory, &layout, address)?;
                // A list that comes back to where it was, or leads elsewhere, changed while it was read.
                if state.interpreter != interpreter || met.len() >= MAX_THREADS || !met.insert(address) {
                    return Err(ReadError::Unmapped);
                }
                if let Some(tid) = self.kernel_id(state.native_id, state.thread_id) {
                    // A thread that was in a sub-interpreter has a state in each. Where nothing tells which it uses,
                    // the first interpreter's counts, which comes last.
                    let this = (address, state.thread_id);
                    let other = match found.get(&tid) {
                        Some(_) if state.last_used == Some(false) => Some(this),
                        _ => found.insert(tid, this),
                    };
                    others.extend(other.map(|(state, pthread)| (tid, state, pthread)));
                }
                address = state.next;
            }
        }
        self.others = others;
        self.threads.retain(|tid, thread| found.get(tid) == Some(&(thread.state, thread.pthread)));
        for (tid, (state, pthread)) in found {
            self.threads.entry(tid).or_insert_with(|| Thread::new(state, pthread));
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
            Gil::OfInterpreter(at) => match self.holder_of_first(at) {
                Ok(None) => return GilHolder::Absent,
                Ok(Some(state)) => Ok(state),
                Err(why) => Err(why),
            },
            Gil::Unknown => return GilHolder::Unknown,
        };
        match state {
            Ok(0) => GilHolder::Nobody,
            Ok(state) => self.thread_of(state).map_or(GilHolder::Unknown, GilHolder::Thread),
            Err(_) => GilHolder::Unknown,
        }
    }

    /// The lock of the first interpreter, which is the last of the list. It stays where it is as long as that lives.
    fn holder_of_first(&self, at: u64) -> Result<Option<u64>, ReadError> {
        let lock = match self.gil.get() {
            0 => {
                let first = self.interpreter_states()?.pop().ok_or(ReadError::Unmapped)?;
                let lock = self.memory.word(first.wrapping_add(at))?;
                self.gil.set(lock);
                lock
            }
            known => known,
        };
        self.holder_of(lock)
    }

    /// The state that holds a lock, 0 when none does; `None` while the lock is not in use. `last_holder` is only meant while
    /// `locked` is set.
    pub(super) fn holder_of(&self, lock: u64) -> Result<Option<u64>, ReadError> {
        let fields = self.interpreter.layout.lock;
        let mut body = [0; LOCK_BYTES];
        self.memory.read(lock, &mut body)?;
        if fields.enabled.is_some_and(|enabled| half_at(&body, enabled) == Some(0)) {
            return Ok(None);
        }
        let locked = half_at(&body, fields.locked).unwrap_or(0) as i32;
        Ok(Some(if locked == 1 { word_at(&body, fields.holder).unwrap_or(0) } else { 0 }))
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
        let Some(thread) = self.threads.get_mut(&ns_tid) else { return Sample::NoThread };
        self.sampler.sample(&self.memory, &self.interpreter.layout, thread, pace)
    }

    /// Whether the innermost function of a thread stood at the same instruction at its last two readings. A thread that
    /// computed between them was in native code that this instruction had called; `None` before there are two.
    #[must_use]
    pub fn stood_still(&self, ns_tid: i32) -> Option<bool> {
        self.threads.get(&ns_tid)?.still
    }
}
