//! asyncio's own lists of its tasks (3.14 and later): one for each thread, and one for those whose threads have ended.
//!
//! A free-threaded build has no lists of the garbage collector: there these are the only way to tasks that follows links.
//! Where they are is told by a table in the extension module, meant for readers like this one. It is found in memory by
//! what it must say, checked once, and only the checked result leaves this file. Lists change while they are read: each
//! task must point back to the one before, and a list in which one does not is torn.

use foldhash::HashSet;

use super::attributes::Looking;
use super::kinds::{Kind, Kinds};
use super::layout::Layout;
use super::memory::{MemoryReader, ReadError, word_at};
use super::objects::TaskAt;
use super::reader::StackReader;
use crate::target::maps::Mapping;

/// Words of the table: of a task {size, name, awaited by, two flags, coroutine, node}, of an interpreter {size, list}, of
/// a thread {size, running loop, running task, list}.
const WORDS: usize = 13;
/// Most of a module's writable part that is searched.
const MAX_SEARCH: u64 = 8 << 20;
/// No task is larger.
const LARGEST_TASK: u64 = 8 << 10;
/// No thread's state is larger: a free-threaded build keeps its heaps there.
const LARGEST_THREAD: u64 = 1 << 20;
/// How often the lists are followed when they change meanwhile.
const WALKS: usize = 3;

/// Where the lists are, and a task's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLists {
    /// Interpreter to the list of tasks whose threads have ended.
    of_interpreter: u64,
    /// Thread to the list of its tasks.
    of_thread: u64,
    /// Task to its links.
    node: u64,
    /// A task's other fields.
    pub task: TaskAt,
}

impl TaskLists {
    /// Finds the table in the writable parts of asyncio's module, or of the program where that is built in.
    /// `interpreter_size` is the size of an interpreter's state by its own table.
    #[must_use]
    pub fn find(
        memory: &dyn MemoryReader,
        mappings: &[Mapping],
        program: &str,
        interpreter_size: u64,
    ) -> Option<Self> {
        let module = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with("_asyncio."));
        let writable = |m: &&Mapping| m.writable && (module(&m.path) || m.path == program);
        mappings.iter().filter(writable).find_map(|mapping| {
            let length = (mapping.end - mapping.start).min(MAX_SEARCH);
            let bytes = memory.bytes(mapping.start, length, MAX_SEARCH as usize).ok()?;
            (0..bytes.len()).step_by(8).find_map(|at| Self::checked(&bytes, at, interpreter_size))
        })
    }

    /// The table at a place, if all its words make sense.
    fn checked(bytes: &[u8], at: usize, interpreter_size: u64) -> Option<Self> {
        let mut words = [0; WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = word_at(bytes, at + n * 8)?;
        }
        let [
            task,
            name,
            awaited_by,
            _,
            _,
            coroutine,
            node,
            interpreter,
            of_interpreter,
            thread,
            running_loop,
            running_task,
            of_thread,
        ] = words;
        let pointer = |at: u64, room: u64, size: u64| {
            at.is_multiple_of(8) && at >= 16 && at.checked_add(room).is_some_and(|end| end <= size)
        };
        let sound = interpreter == interpreter_size
            && task <= LARGEST_TASK
            && thread <= LARGEST_THREAD
            && [name, awaited_by, coroutine].into_iter().all(|at| pointer(at, 8, task))
            && pointer(node, 16, task)
            && pointer(of_interpreter, 16, interpreter)
            && [running_loop, running_task].into_iter().all(|at| pointer(at, 8, thread))
            && pointer(of_thread, 16, thread);
        sound.then(|| Self {
            of_interpreter,
            of_thread,
            node,
            // What a task waits for stands before its coroutine.
            task: TaskAt { waiter: coroutine - 8, coroutine, name: Some(name) },
        })
    }

    /// Visits the tasks of an interpreter, given with the states of its threads: each with its address and that of its
    /// type. Gives whether every list was followed to its end.
    pub fn each(
        &self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        interpreters: &[u64],
        threads: impl Iterator<Item = u64>,
        most: usize,
        visit: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, ReadError> {
        let of_interpreters = interpreters.iter().map(|at| at.wrapping_add(self.of_interpreter));
        let of_threads = threads.map(|at| at.wrapping_add(self.of_thread));
        let (mut complete, mut count) = (true, 0);
        for head in of_interpreters.chain(of_threads) {
            let (mut before, mut here) = (head, memory.word(head)?);
            // A list that was never used may not be linked to itself yet.
            while here != head && !(here == 0 && before == head) {
                let mut links = [0; 16];
                let read = memory.read(here, &mut links);
                count += 1;
                if read.is_err() || word_at(&links, 8) != Some(before) || count > most {
                    complete = false;
                    break;
                }
                let task = here.wrapping_sub(self.node);
                visit(task, memory.word(task.wrapping_add(layout.object_type()))?);
                (before, here) = (here, word_at(&links, 0).unwrap_or(0));
            }
        }
        Ok(complete)
    }
}

impl<M: MemoryReader> StackReader<M> {
    /// The tasks of asyncio's own lists, and whether these were followed to their ends in one of a few walks. What they do
    /// not lead to is told by [`Interpreter::unseen`](super::locate::Interpreter::unseen).
    pub(super) fn listed_tasks(
        &self,
        kinds: &mut Kinds,
        looking: Looking<'_>,
        most: usize,
    ) -> Result<(HashSet<u64>, bool), ReadError> {
        let mut tasks = HashSet::default();
        let Some(lists) = self.interpreter().task_lists else { return Ok((tasks, true)) };
        let interpreters = self.interpreter_states()?;
        for _ in 0..WALKS {
            let mut visit = |task: u64, kind_address: u64| {
                if kinds.of(looking, kind_address) == Kind::Task {
                    tasks.insert(task);
                }
            };
            let threads = self.thread_states();
            if lists.each(self.memory(), looking.layout, &interpreters, threads, most, &mut visit) == Ok(true)
            {
                return Ok((tasks, true));
            }
        }
        Ok((tasks, false))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// That of 3.14.10.
    const REAL: [u64; WORDS] = [168, 136, 96, 108, 109, 128, 152, 225_864, 10_880, 936, 864, 872, 880];

    fn checked(words: &[u64; WORDS]) -> Option<TaskLists> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        TaskLists::checked(&bytes, 0, 225_864)
    }

    #[test]
    fn a_table_is_known_by_what_it_must_say() {
        let lists = checked(&REAL).unwrap();
        assert_eq!(lists.task, TaskAt { waiter: 120, coroutine: 128, name: Some(136) });
        // The flags are not read.
        for at in (0..WORDS).filter(|at| ![3, 4].contains(at)) {
            for wrong in [u64::MAX, 1 << 63, 7] {
                let mut words = REAL;
                words[at] = wrong;
                assert_eq!(checked(&words), None, "word {at} = {wrong:#x}");
            }
        }
        assert_eq!(TaskLists::checked(&[0; 64], 0, 0), None, "cut off");
    }
}
