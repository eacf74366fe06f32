//! The interpreter of a watched process: its stacks as numbers, and what its memory tells besides.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use nix::fcntl::OFlag;

use super::interner::Interner;
use crate::capture::model::{BlindSpot, Frame, PythonFacts, Record, TasksSeen, WaitingGroup, WaitingKind};
use crate::observe::kernel_file::{ProcDir, Seen, Unseen};
use crate::observe::memory::Memory;
use crate::observe::target_file;
use crate::python::census::{Asked, Census, MachineStack};
use crate::python::locate::locate;
use crate::python::reader::{GilHolder, Pace, RawFrame};
use crate::python::{Interpreter, MemoryReader, NoInterpreter, Sample, StackReader};
use crate::python::{greenlets, tasks};
use crate::target::gunicorn::Settings;
use crate::target::maps::Mapping;

/// Descriptors of one `poll` or `select` that are looked at.
const MAX_POLLED: usize = 8;
/// Most distinct waits that are kept of a process.
const MOST_GROUPS: usize = 8;

/// What waits, and where.
type Place = (WaitingKind, Arc<[RawFrame]>);

/// The interpreter of a process.
pub struct Python {
    reader: StackReader<Memory>,
    stacks: HashMap<Vec<(u32, u32)>, u32>,
    last: HashMap<i32, Option<u32>>,
    key: Vec<(u32, u32)>,
    collectors: Vec<u64>,
    pub(super) parks: bool,
}

/// Why there is none.
pub enum NoPython {
    /// The process runs no Python.
    NotPython,
    /// The process may not be read.
    Denied,
    /// It runs one that cannot be read.
    Unreadable(NoInterpreter),
}

impl NoPython {
    /// As the report says it, where it is worth a word. What is denied is told gate by gate, not here.
    #[must_use]
    pub fn blind_spot(&self, pid: i32) -> Option<BlindSpot> {
        match self {
            Self::NotPython | Self::Denied => None,
            Self::Unreadable(why) => Some(BlindSpot {
                what: format!("Python stacks of process {pid}"),
                why: why.to_string(),
                remedy: "a newer stallscope may know this interpreter; the verdict rests on kernel files"
                    .into(),
            }),
        }
    }
}

impl Python {
    /// Finds the interpreter of a process.
    pub fn attach(dir: &ProcDir, maps: &Seen<Vec<Mapping>>) -> Result<Self, NoPython> {
        let mappings = match maps {
            Ok(mappings) => mappings,
            Err(Unseen::Denied) => return Err(NoPython::Denied),
            Err(_) => return Err(NoPython::NotPython),
        };
        let memory = Memory::open(dir)
            .map_err(|why| if why == Unseen::Denied { NoPython::Denied } else { NoPython::NotPython })?;
        let interpreter: Interpreter = locate(mappings, &memory).map_err(|why| match why {
            NoInterpreter::NotPython => NoPython::NotPython,
            other => NoPython::Unreadable(other),
        })?;
        let mut reader = StackReader::new(interpreter, memory);
        // A worker that is being born may have no threads yet: later rounds will find them.
        let _ = reader.refresh_threads();
        let collectors = reader.collectors();
        Ok(Self {
            reader,
            stacks: HashMap::default(),
            last: HashMap::default(),
            key: Vec::new(),
            collectors,
            parks: false,
        })
    }

    /// What of it cannot be seen, as the report says it.
    #[must_use]
    pub fn unseen(&self, pid: i32) -> Option<BlindSpot> {
        let python = self.reader.interpreter();
        let what = match (python.unseen.greenlets, python.unseen.tasks) {
            (false, false) => return None,
            (true, false) => "greenlets",
            (false, true) => "asyncio tasks",
            (true, true) => "greenlets and asyncio tasks",
        };
        let name = python.name();
        if python.newer_than_known() {
            return Some(BlindSpot {
                what: format!("{what} of process {pid}"),
                why: format!(
                    "Python {name} is newer than this tool: its own table tells of threads and frames, not of {what}"
                ),
                remedy: "a newer stallscope may know this interpreter; its threads and their stacks are read"
                    .into(),
            });
        }
        Some(BlindSpot {
            what: format!("{what} of process {pid}"),
            why: format!("Python {name} is a free-threaded build: no list leads to its {what}"),
            remedy:
                "its threads and their stacks are read; who waits in a loop shows on a build with the lock"
                    .into(),
        })
    }

    /// Reads the list of threads anew; an inconsistent list leaves the old one. Nothing is kept of those that have ended.
    pub fn refresh(&mut self) {
        let _ = self.reader.refresh_threads();
        // An interpreter that was being born has its collector by now.
        if self.collectors.is_empty() {
            self.collectors = self.reader.collectors();
        }
        if self.last.len() > 2 * self.reader.thread_ids().count() {
            let alive: HashSet<i32> = self.reader.thread_ids().collect();
            self.last.retain(|ns_tid, _| alive.contains(ns_tid));
        }
    }

    /// Whether a garbage collector runs at this instant; `None` when it is not known.
    #[must_use]
    pub fn collecting(&self) -> Option<bool> {
        self.reader.any_collects(&self.collectors)
    }

    /// Whether a thread stood at the same instruction at the last two readings of its stack.
    #[must_use]
    pub fn stood_still(&self, ns_tid: i32) -> Option<bool> {
        self.reader.stood_still(ns_tid)
    }

    /// The holder of the interpreter lock.
    #[must_use]
    pub fn gil_holder(&self) -> GilHolder {
        self.reader.gil_holder()
    }

    /// The number of a thread's stack; `None` when it has none or it could not be read whole.
    pub fn stack(
        &mut self,
        ns_tid: i32,
        pace: Pace,
        interner: &mut Interner,
        out: &mut Vec<Record>,
    ) -> Option<u32> {
        match self.reader.sample(ns_tid, pace) {
            // A stack may have been read before anybody asked for its number.
            Sample::Unchanged if self.last.contains_key(&ns_tid) => {
                return self.last.get(&ns_tid).copied().flatten();
            }
            Sample::Unchanged | Sample::Changed => {}
            Sample::NoFrame | Sample::NoThread | Sample::Torn | Sample::Unreadable => return None,
        }
        self.key.clear();
        self.key.extend(self.reader.frames().iter().map(|f| (f.code, f.line)));
        let id = if let Some(id) = self.stacks.get(&self.key) {
            Some(*id)
        } else if interner.is_full() {
            // Neither its frames nor itself: a target that never repeats itself must not fill our memory.
            None
        } else {
            let frames: Vec<u32> =
                self.reader.frames().iter().map(|f| interner.frame(self.named(*f), out)).collect();
            let id = interner.stack(&frames, self.reader.complete(), out);
            self.stacks.extend(id.map(|id| (self.key.clone(), id)));
            id
        };
        self.last.insert(ns_tid, id);
        id
    }

    /// A frame with its names.
    #[must_use]
    pub fn named(&self, frame: RawFrame) -> Frame {
        let code = self.reader.code(frame.code);
        Frame {
            function: code.map(|c| c.function.clone()).unwrap_or_default(),
            file: code.map(|c| c.file.clone()).unwrap_or_default(),
            line: frame.line,
        }
    }

    /// The reader.
    pub(crate) const fn reader(&mut self) -> &mut StackReader<Memory> {
        &mut self.reader
    }

    /// The settings that gunicorn's arbiter holds, if the process is one.
    pub fn gunicorn_settings(&mut self, ns_pid: i32) -> Option<Settings> {
        self.reader.gunicorn_settings(ns_pid)
    }

    /// The machine stacks of the threads that the interpreter knows.
    #[must_use]
    pub fn machine_stacks(&self, ns_pid: i32, mappings: &[Mapping]) -> Vec<MachineStack> {
        self.reader.machine_stacks(ns_pid, mappings)
    }

    /// Says that this is a single look at everything.
    pub fn one_look(&mut self) {
        self.reader.one_look();
    }

    /// All greenlets and tasks.
    pub fn census(&mut self, asked: &Asked<'_>) -> Census {
        self.reader.census(asked)
    }

    /// The monotonic time, in nanoseconds, at which the gevent loop of a thread last turned, by the loop's own clock.
    pub fn last_turn_ns(&mut self, ns_tid: i32) -> Option<u64> {
        self.reader.last_turn_s(ns_tid).map(|seconds| (seconds * 1e9) as u64)
    }

    /// What waits in it: greenlets and tasks, counted; their most frequent stacks by number.
    pub fn tasks(
        &mut self,
        at_ns: u64,
        pid: i32,
        most: usize,
        interner: &mut Interner,
        out: &mut Vec<Record>,
    ) -> Option<TasksSeen> {
        let asked = Asked { stacks: &[], most, most_bytes: u64::MAX, search: None, lists: true };
        let census = self.reader.census(&asked);
        let unseen = self.reader.interpreter().unseen;
        // A count that leaves some out would say that nobody waits.
        if !census.complete || unseen.greenlets || unseen.tasks {
            return None;
        }
        let mut groups: HashMap<Place, (String, u64)> = HashMap::default();
        let waiting = census.greenlets.iter().filter(|g| g.state == greenlets::State::Suspended);
        for greenlet in waiting.clone() {
            let name = || greenlet.callable.as_deref().unwrap_or_default().to_owned();
            let key = (WaitingKind::Greenlet, Arc::clone(&greenlet.frames));
            groups.entry(key).or_insert_with(|| (name(), 0)).1 += 1;
        }
        for task in census.tasks.iter().filter(|t| t.state == tasks::State::Waiting) {
            let key = (WaitingKind::Asyncio, Arc::clone(&task.frames));
            groups.entry(key).or_insert_with(|| (task.name.clone(), 0)).1 += 1;
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|a, b| (b.1.1, &a.1.0, a.0.0).cmp(&(a.1.1, &b.1.0, b.0.0)));
        let waiting_groups =
            groups.into_iter().take(MOST_GROUPS).filter_map(|((kind, frames), (name, count))| {
                Some(WaitingGroup { kind, name, count, stack: self.number(&frames, interner, out)? })
            });
        let groups = waiting_groups.collect();
        Some(TasksSeen {
            at_ns,
            pid,
            greenlets: census.greenlets.len() as u64,
            suspended: waiting.count() as u64,
            asyncio: census.tasks.len() as u64,
            timers: Some(census.timers as u64),
            groups,
        })
    }

    /// The number of a stack; `None` when there are too many distinct ones already.
    pub(super) fn number(
        &self,
        frames: &[RawFrame],
        interner: &mut Interner,
        out: &mut Vec<Record>,
    ) -> Option<u32> {
        if interner.is_full() {
            return None;
        }
        let frames: Vec<u32> = frames.iter().map(|f| interner.frame(self.named(*f), out)).collect();
        interner.stack(&frames, true, out)
    }

    /// The files on the stack of the main thread, looked at a few times: a running thread may be anywhere.
    pub fn main_thread_files(&mut self, ns_pid: i32) -> Vec<String> {
        let mut files = Vec::new();
        for _ in 0..3 {
            if matches!(self.reader.sample(ns_pid, Pace::Running), Sample::Changed | Sample::Unchanged) {
                let seen = self
                    .reader
                    .frames()
                    .iter()
                    .filter_map(|f| self.reader.code(f.code))
                    .map(|c| c.file.clone());
                files.extend(seen);
            }
        }
        files.sort();
        files.dedup();
        files
    }

    /// The files of all frames seen so far.
    #[must_use]
    pub fn files_seen(&self) -> Vec<String> {
        (0..).map_while(|id| self.reader.code(id)).map(|c| c.file.clone()).collect()
    }

    /// The facts for the report.
    #[must_use]
    pub fn facts(&self) -> PythonFacts {
        let interpreter = self.reader.interpreter();
        PythonFacts {
            version: interpreter.name(),
            implementation: "cpython".into(),
            runtime_start: interpreter.runtime_start,
            // Without a lock no futex is the lock's.
            runtime_end: match self.reader.gil_holder() {
                GilHolder::Absent => interpreter.runtime_start,
                _ => interpreter.runtime_end,
            },
        }
    }

    /// Stacks obtained, torn, discarded.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64, u64) {
        let counts = self.reader.counts();
        (counts.obtained, counts.torn, counts.discarded)
    }

    /// The first descriptors of a `poll`: an array of {descriptor, events}.
    #[must_use]
    pub fn polled(&self, array: u64, count: u64) -> Vec<i32> {
        let count = usize::try_from(count).unwrap_or(MAX_POLLED).min(MAX_POLLED);
        let bytes = self.reader.memory().bytes(array, count as u64 * 8, MAX_POLLED * 8).unwrap_or_default();
        let fds = bytes
            .chunks_exact(8)
            .filter_map(|entry| Some(i32::from_le_bytes(entry.get(..4)?.try_into().ok()?)));
        fds.filter(|fd| *fd >= 0).collect()
    }

    /// The first descriptors that a `select` waits to read: bits of a set.
    #[must_use]
    pub fn selected(&self, highest: u64, set: u64) -> Vec<i32> {
        if set == 0 {
            return Vec::new();
        }
        let bytes =
            self.reader.memory().bytes(set, highest.min(1_024).div_ceil(64) * 8, 128).unwrap_or_default();
        let bits = bytes
            .iter()
            .enumerate()
            .flat_map(|(i, byte)| (0..8).filter(move |b| byte >> b & 1 == 1).map(move |b| i * 8 + b));
        bits.take(MAX_POLLED).filter_map(|fd| i32::try_from(fd).ok()).collect()
    }
}

/// The names in a folder of the target's own file system. Links cannot lead out of its root.
#[must_use]
pub fn list_below_root(dir: &ProcDir, path: &str) -> Option<Vec<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
    let folder = target_file::below_root(dir, path, flags).ok()?;
    let mut folder = nix::dir::Dir::from_fd(folder).ok()?;
    let names = folder.iter().flatten().take(20_000).map(|e| e.file_name().to_string_lossy().into_owned());
    Some(names.collect())
}
