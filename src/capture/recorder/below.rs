//! What a blocked loop does below Python: the native functions that lead to the call it sleeps in, or that compute.
//!
//! Looked at once for each process, at the end of a look, where the verdict is that its loop is blocked. By a wait: the thread
//! is not stopped, and what was copied counts only if it slept meanwhile. By a computation: only where a burst was allowed and
//! made, with one more short stop, whose cost is told with the burst's.

use std::sync::Arc;

use super::watched::Watched;
use super::{Record, Recorder};
use crate::capture::model::{BelowSeen, Doing, NativeFunction};
use crate::capture::syscalls::{Wait, describe};
use crate::native::merge::evaluates;
use crate::native::names::KnownFiles;
use crate::native::registers::Registers;
use crate::native::stacks::{NATIVE_ARCH, NativeFrame, NativeStacks};
use crate::native::unwind::StackCopy;
use crate::observe::burst::{self, Bounds, Choice, Wanted};
use crate::observe::memory::Memory;
use crate::observe::parse::Site;
use crate::observe::thread_files::ThreadFiles;
use crate::python::reader::Pace;
use crate::target::maps;

/// Most processes of which this is asked.
const MOST_PROCESSES: usize = 4;
/// Turns of the sampling clock that a process has to fall asleep.
const TURNS: usize = 25;
/// Most functions that are kept.
const MOST_FUNCTIONS: usize = 64;

impl Recorder<'_> {
    /// Looks what these processes' loops sleep in, below Python.
    pub fn look_below(&mut self, pids: &[i32]) {
        if self.arch != NATIVE_ARCH || self.options.level == super::Level::Proc {
            return;
        }
        let mut known = KnownFiles::without_lines();
        for pid in pids.iter().take(MOST_PROCESSES) {
            let seen = self.below(*pid, &mut known);
            self.records.extend(seen.map(Record::Below));
        }
    }

    fn below(&mut self, pid: i32, known: &mut KnownFiles) -> Option<BelowSeen> {
        let watched = self.watched.get_mut(&pid)?;
        let Loop { mut stacks, mut files, thread } = Loop::of(watched, self.buffer.as_mut_slice())?;
        let python = watched.python.as_mut()?;
        for _ in 0..TURNS {
            let before = files.asleep(self.buffer.as_mut_slice()).ok()?;
            let elsewhere = before.filter(|asleep| match asleep.doing {
                Doing::Syscall(number, _) => {
                    describe(&self.arch, number).is_none_or(|i| i.wait != Wait::Epoll)
                }
                _ => false,
            });
            if let Some(before) = elsewhere {
                let stack = python.stack(thread, Pace::Asleep, &mut self.interner, &mut self.records);
                let copy = stacks.copy(before.site);
                let same = files.asleep(self.buffer.as_mut_slice()).ok()? == Some(before);
                if let (Some(stack), Some(copy), true) = (stack, copy, same) {
                    let at_ns = self.clock.elapsed_ns();
                    let Site { stack_pointer, program_counter } = before.site;
                    let registers = Registers::asleep(stack_pointer, program_counter);
                    let frames = stacks.frames(registers, &copy, known).frames;
                    return Some(BelowSeen { at_ns, pid, stack, functions: functions(frames) });
                }
            }
            self.clock.tick();
        }
        None
    }
}

impl Recorder<'_> {
    /// Looks what the loop of a process computes below Python, if a burst was made at it.
    pub fn look_computing(&mut self, pids: &[i32]) {
        let Some(pid) = self.records.iter().rev().find_map(|record| match record {
            Record::Burst { burst, .. } if pids.contains(&burst.pid) => Some(burst.pid),
            _ => None,
        }) else {
            return;
        };
        if self.arch == NATIVE_ARCH {
            let seen = self.computing(pid, &mut KnownFiles::without_lines());
            self.records.extend(seen.map(Record::Below));
        }
    }

    fn computing(&mut self, pid: i32, known: &mut KnownFiles) -> Option<BelowSeen> {
        let watched = self.watched.get_mut(&pid)?;
        let (dir, tid) = (Arc::clone(&watched.dir), watched.facts.loop_tid);
        let Loop { mut stacks, thread, .. } = Loop::of(watched, self.buffer.as_mut_slice())?;
        let python = watched.python.as_mut()?;
        let before = python.stack(thread, Pace::Running, &mut self.interner, &mut self.records)?;
        let innermost = python.reader().innermost()?;
        let wanted = Wanted { tid, words: innermost.words };
        let bounds = Bounds { choice: Choice::Running, ..Bounds::default() };
        let (burst, copies) = burst::copy_stacks(&dir, &[wanted], &bounds).ok()?;
        let at_ns = self.clock.elapsed_ns();
        let stack = python.stack(thread, Pace::Running, &mut self.interner, &mut self.records);
        let told = self.records.iter_mut().rev().find_map(|record| match record {
            Record::Burst { burst, .. } if burst.pid == pid => Some(burst),
            _ => None,
        });
        if let Some(told) = told {
            told.stops += burst.stops;
            told.stopped_ns_total += burst.stopped_ns_total;
            told.stopped_ns_max = told.stopped_ns_max.max(burst.stopped_ns_max);
            told.detached &= burst.detached;
        }
        let held = copies.into_iter().next().filter(|held| innermost.is(held.words))?;
        let stack = stack.filter(|stack| *stack == before)?;
        let copy = StackCopy { start: held.start, bytes: held.bytes };
        let frames = stacks.frames(Registers::held(&held.registers), &copy, known).frames;
        Some(BelowSeen { at_ns, pid, stack, functions: functions(frames) })
    }
}

/// The thread of a loop, and what its stack is read with.
struct Loop {
    stacks: NativeStacks<Memory>,
    files: ThreadFiles,
    /// Its id in its own namespace.
    thread: i32,
}

impl Loop {
    fn of(watched: &Watched, buffer: &mut [u8]) -> Option<Self> {
        let dir = &watched.dir;
        let mappings = maps::of(dir).ok()?;
        let memory = Memory::open(dir).ok()?;
        let stacks = NativeStacks::new(Arc::clone(dir), memory, watched.facts.ns_pid, &mappings);
        let mut files = ThreadFiles::new(Arc::clone(dir), watched.facts.loop_tid);
        let thread = files.status(buffer).ok()?.ns_pid;
        Some(Self { stacks, files, thread })
    }
}

/// The functions with names below the innermost Python function.
fn functions(frames: Vec<NativeFrame>) -> Vec<NativeFunction> {
    let python = |frame: &NativeFrame| frame.function.as_deref().is_some_and(|name| evaluates(name, false));
    let inner = frames.into_iter().take_while(|frame| !python(frame)).take(MOST_FUNCTIONS);
    let named = inner.filter_map(|frame| {
        let library = frame.library?.rsplit('/').next()?.to_owned();
        Some(NativeFunction { name: frame.function?, library })
    });
    named.collect()
}
