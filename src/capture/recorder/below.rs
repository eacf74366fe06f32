//! What a blocked loop does below Python: the native functions that lead to the call it sleeps in.
//!
//! Looked at once for each process, at the end of a look, where the verdict is that its loop is blocked by a wait. The thread
//! is not stopped: what was copied counts only if it slept meanwhile.

use std::sync::Arc;

use super::{Record, Recorder};
use crate::capture::model::{BelowSeen, Doing, NativeFunction};
use crate::capture::syscalls::{Wait, describe};
use crate::native::merge::evaluates;
use crate::native::names::KnownFiles;
use crate::native::stacks::{NATIVE_ARCH, NativeFrame, NativeStacks};
use crate::observe::memory::Memory;
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
        let dir = Arc::clone(&watched.dir);
        let mappings = maps::of(&dir).ok()?;
        let memory = Memory::open(&dir).ok()?;
        let mut stacks = NativeStacks::new(Arc::clone(&dir), memory, watched.facts.ns_pid, &mappings);
        let mut files = ThreadFiles::new(dir, watched.facts.loop_tid);
        let thread = files.status(self.buffer.as_mut_slice()).ok()?.ns_pid;
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
                    let frames = stacks.frames(before.site, &copy, known).frames;
                    return Some(BelowSeen { at_ns, pid, stack, functions: functions(frames) });
                }
            }
            self.clock.tick();
        }
        None
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
