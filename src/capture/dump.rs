//! Everything of one process at one instant: threads, greenlets and tasks with their stacks, as plain data.
//!
//! Connects observe and python like the recorder does, for one look instead of a window. It never stops a thread, unless
//! native frames of those that run are wanted and that is allowed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dump_native::Natives;
pub use super::dump_native::{NativeDump, NativeState, Stopped};
use super::dump_parked::census_of;
use super::dump_threads::threads;
use super::mask::Values;
use super::model::{BlindSpot, Frame, PythonFacts, Role};
use super::recorder::python::{NoPython, Python};
use crate::native::names::KnownFiles;
use crate::python::census::{ALL_OBJECTS, Asked, Census};
use crate::python::locals::Locals;
pub use crate::python::locals::Variable;
use crate::python::reader::Place;
use crate::python::search;
pub use crate::python::threads::About;
pub use crate::python::values::MAX_VALUE;
use crate::target::Member;
use crate::target::maps;

/// Most frames of a process whose local variables are read.
const MOST_FRAMES: usize = 20_000;

/// Everything of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessDump {
    /// Process id in the namespace of the tool.
    pub pid: i32,
    /// What it is for.
    pub role: Role,
    /// Its interpreter, if it has one that can be read.
    pub python: Option<PythonFacts>,
    /// Whether its garbage collector runs at this instant; `None` when that cannot be told.
    pub collecting: Option<bool>,
    /// Its threads. One that is inside a sub-interpreter is there for each interpreter in which it has frames.
    pub threads: Vec<ThreadDump>,
    /// Its greenlets.
    pub greenlets: Vec<GreenletDump>,
    /// Its tasks.
    pub tasks: Vec<TaskDump>,
    /// How those two were found; `None` without an interpreter.
    pub found_by: Option<FoundBy>,
    /// Greenlets and tasks that changed at every try.
    pub torn: u64,
    /// Greenlets and tasks that could not be read.
    pub unreadable: u64,
    /// What could not be seen.
    pub blind: Vec<BlindSpot>,
    /// Whether the kernel refuses its memory.
    pub denied: bool,
    /// What was done to threads that run, where that was allowed.
    pub stopped: Option<Stopped>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadDump {
    /// Thread id in the namespace of the tool.
    pub tid: i32,
    /// Thread id in its own innermost namespace.
    pub ns_tid: i32,
    /// Its `comm`.
    pub comm: String,
    /// What Python says of it.
    pub about: About,
    /// State letter.
    pub state: char,
    /// What it does with the interpreter lock; `None` when that cannot be told.
    pub gil: Option<Gil>,
    /// The system call it sleeps in.
    pub sleeping_in: Option<String>,
    /// Its frames, innermost first. Threads that stand at the same place share them.
    pub frames: Arc<[Frame]>,
    /// Their local variables, if these were asked for.
    pub locals: Option<Vec<Vec<Variable>>>,
    /// The machine's stack, if it was asked for.
    pub native: Option<NativeDump>,
}

/// What a thread does with the interpreter lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gil {
    /// It has it.
    Holds,
    /// It wants it.
    Waits,
    /// Neither.
    None,
}

/// Greenlets of one thread that do the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreenletDump {
    /// How many.
    pub count: u64,
    /// What it is doing.
    pub state: GreenletState,
    /// Whose type it is, or whose loop it runs.
    pub library: Option<GreenletLibrary>,
    /// `hub`, `main`, or the name of its type.
    pub kind: String,
    /// What it runs.
    pub callable: Option<String>,
    /// Where it was spawned, innermost first.
    pub spawned_at: Vec<Frame>,
    /// The thread it belongs to, in the namespace of the tool.
    pub tid: Option<i32>,
    /// For a hub: time since its loop's last turn.
    pub last_turn_ms: Option<u64>,
    /// Its frames, innermost first.
    pub frames: Vec<Frame>,
    /// Their local variables, if these were asked for. Those of a running one stand with its thread.
    pub locals: Option<Vec<Vec<Variable>>>,
    /// The machine's stack of a suspended one, if it was asked for.
    pub native: Option<NativeDump>,
}

/// How greenlets and tasks were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// By the lists of the garbage collector, which hold them all.
    CollectorLists,
    /// By a search of memory for objects of their types, as the lists could not be followed.
    MemorySearch,
}

/// A library that makes greenlets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum GreenletLibrary {
    /// gevent.
    Gevent,
    /// eventlet.
    Eventlet,
}

/// What a greenlet is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum GreenletState {
    /// Its thread executes it now.
    Running,
    /// It waits to be switched to.
    Suspended,
    /// Never switched to.
    Unstarted,
    /// It has ended.
    Finished,
}

/// A task of asyncio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDump {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: TaskState,
    /// The type of what it waits for.
    pub waits_for: Option<String>,
    /// Names of the tasks that wait for it.
    pub awaited_by: Vec<String>,
    /// Frames of its coroutines, innermost first.
    pub frames: Vec<Frame>,
    /// Their local variables, if these were asked for.
    pub locals: Option<Vec<Vec<Variable>>>,
}

/// What a task is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its coroutine executes now.
    Running,
    /// It waits for something.
    Waiting,
    /// It goes on as soon as the loop comes to it.
    Ready,
    /// It has ended.
    Finished,
}

/// Reads local variables, as long as they are wanted and not too many.
pub(super) struct Variables {
    pub(super) wanted: Option<Values>,
    locals: Locals,
    frames: usize,
    left_out: usize,
}

impl Variables {
    /// The variables of frames; `None` when they are not wanted.
    pub(super) fn of(&mut self, python: &mut Python, places: &[Place]) -> Option<Vec<Vec<Variable>>> {
        let values = self.wanted?;
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            if self.frames >= MOST_FRAMES {
                self.left_out += 1;
                all.push(Vec::new());
                continue;
            }
            self.frames += 1;
            all.push(python.reader().variables(&mut self.locals, *place, &values));
        }
        Some(all)
    }

    fn blind_spots(&self, pid: i32) -> Vec<BlindSpot> {
        let left_out = (self.left_out > 0).then(|| BlindSpot {
            what: format!("local variables of {} frames of process {pid}", self.left_out),
            why: format!("those of {MOST_FRAMES} frames are read at most"),
            remedy: "nothing; the frames themselves are all here".into(),
        });
        let changed = (self.locals.rejected > 0).then(|| BlindSpot {
            what: format!("{} local variables or all of a frame in process {pid}", self.locals.rejected),
            why: "they changed each time they were read, or made no sense".into(),
            remedy: format!("look again: stallscope dump {pid} --locals"),
        });
        left_out.into_iter().chain(changed).collect()
    }
}

/// What of a process is wanted besides its stacks.
pub struct Wanted<'a> {
    /// Local variables, and how.
    pub locals: Option<Values>,
    /// Native frames.
    pub native: Option<WantedNative<'a>>,
}

/// How native frames are wanted.
pub struct WantedNative<'a> {
    /// The names that were found in other processes.
    pub known: &'a mut KnownFiles,
    /// Whether threads that run may be held for a moment.
    pub may_stop: bool,
}

/// Looks at a process. `None` when it has ended.
#[must_use]
pub fn look(member: &Member, arch: &str, wanted: Wanted<'_>) -> Option<ProcessDump> {
    let Wanted { locals, native } = wanted;
    let mut dump = ProcessDump {
        pid: member.snapshot.pid,
        role: member.role,
        python: None,
        collecting: None,
        threads: Vec::new(),
        greenlets: Vec::new(),
        tasks: Vec::new(),
        found_by: None,
        torn: 0,
        unreadable: 0,
        blind: Vec::new(),
        denied: false,
        stopped: None,
    };
    let mappings = maps::of(&member.dir);
    let mut python = match Python::attach(&member.dir, &mappings) {
        Ok(python) => Some(python),
        Err(why) => {
            dump.denied = matches!(why, NoPython::Denied);
            dump.blind.extend(why.blind_spot(dump.pid));
            None
        }
    };
    let mut variables = Variables { wanted: locals, locals: Locals::default(), frames: 0, left_out: 0 };
    dump.collecting = python.as_mut().and_then(|python| python.reader().collecting());
    if let Some(python) = &mut python {
        python.one_look();
    }
    let interpreters = python.as_mut().map(|python| python.reader().interpreters()).unwrap_or_default();
    let wanted = native.is_some();
    let mut natives = native.and_then(|native| Natives::new(member, arch, &mappings, native));
    if wanted && natives.is_none() {
        dump.blind.push(Natives::none(dump.pid, arch));
    }
    dump.threads = threads(member, arch, python.as_mut(), &interpreters, &mut variables, natives.as_mut())?;
    if let Some(python) = &mut python {
        dump.python = Some(python.facts());
        dump.blind.extend(python.unseen(dump.pid));
        let mappings = mappings.as_deref().unwrap_or_default();
        let stacks = python.machine_stacks(member.snapshot.ns_pid, mappings);
        let asked = Asked {
            stacks: &stacks,
            most: ALL_OBJECTS,
            most_bytes: search::walk_bytes(mappings),
            search: Some(&|| maps::resident(&member.dir, mappings)),
            lists: true,
        };
        // Where nothing makes any, millions of objects need not be asked whether they are one.
        let census = if interpreters.may_park { python.census(&asked) } else { Census::none() };
        census_of(&mut dump, python, &census, &mut variables, natives.as_mut());
    }
    if let Some(natives) = natives {
        dump.stopped = natives.stopped;
        dump.blind.extend(natives.blind_spots(dump.pid));
    }
    dump.blind.extend(variables.blind_spots(dump.pid));
    Some(dump)
}
