//! Everything of one process at one instant: threads, greenlets and tasks with their stacks, as plain data.
//!
//! Connects observe and python like the recorder does, for one look instead of a window. It never stops a thread.

use serde::{Deserialize, Serialize};

use super::dump_threads::threads;
use super::mask::Values;
use super::model::{BlindSpot, Frame, PythonFacts, Role};
use super::recorder::python::{NoPython, Python};
use crate::observe::clock::monotonic_ns;
use crate::python::census::{ALL_OBJECTS, Census, Rejected};
use crate::python::kinds::Family;
use crate::python::locals::{Locals, Variable};
use crate::python::reader::{Place, RawFrame};
pub use crate::python::threads::About;
use crate::python::{greenlets, tasks};
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
    /// Greenlets and tasks that changed at every try.
    pub torn: u64,
    /// Greenlets and tasks that could not be read.
    pub unreadable: u64,
    /// What could not be seen.
    pub blind: Vec<BlindSpot>,
    /// Whether the kernel refuses its memory.
    pub denied: bool,
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
    /// Its frames, innermost first.
    pub frames: Vec<Frame>,
    /// Their local variables, if these were asked for.
    pub locals: Option<Vec<Vec<Variable>>>,
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

/// A greenlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreenletDump {
    /// What it is doing.
    pub state: GreenletState,
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
    wanted: Option<Values>,
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

/// Looks at a process. `None` when it has ended. `locals` says whether local variables are wanted, and how.
#[must_use]
pub fn look(member: &Member, arch: &str, locals: Option<Values>) -> Option<ProcessDump> {
    let mut dump = ProcessDump {
        pid: member.snapshot.pid,
        role: member.role,
        python: None,
        collecting: None,
        threads: Vec::new(),
        greenlets: Vec::new(),
        tasks: Vec::new(),
        torn: 0,
        unreadable: 0,
        blind: Vec::new(),
        denied: false,
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
    dump.threads = threads(member, arch, python.as_mut(), &mut variables)?;
    if let Some(python) = &mut python {
        dump.python = Some(python.facts());
        dump.blind.extend(python.unseen(dump.pid));
        let stacks = python.machine_stacks(member.snapshot.ns_pid, mappings.as_deref().unwrap_or_default());
        let census = python.census(&stacks, ALL_OBJECTS);
        census_of(&mut dump, python, &census, &mut variables);
    }
    dump.blind.extend(variables.blind_spots(dump.pid));
    Some(dump)
}

fn census_of(dump: &mut ProcessDump, python: &mut Python, census: &Census, variables: &mut Variables) {
    let now_s = monotonic_ns() as f64 / 1e9;
    let named =
        |python: &Python, raw: &[RawFrame]| raw.iter().map(|f| python.named(*f)).collect::<Vec<Frame>>();
    let places = |addresses: &[u64], frames: &[RawFrame]| -> Vec<Place> {
        let pairs = addresses.iter().zip(frames);
        pairs.map(|(address, frame)| Place { address: *address, frame: *frame }).collect()
    };
    let Rejected { torn, unreadable } = census.rejected;
    (dump.torn, dump.unreadable) = (torn, unreadable);
    if !census.complete {
        dump.blind.push(BlindSpot {
            what: format!("some greenlets and tasks of process {}", dump.pid),
            why: "the lists that lead to them changed each time they were followed, or could not be read"
                .into(),
            remedy: format!("look again: stallscope dump {}", dump.pid),
        });
    }
    for greenlet in &census.greenlets {
        dump.greenlets.push(GreenletDump {
            state: match greenlet.state {
                greenlets::State::Running => GreenletState::Running,
                greenlets::State::Suspended => GreenletState::Suspended,
                greenlets::State::Unstarted => GreenletState::Unstarted,
                greenlets::State::Finished => GreenletState::Finished,
            },
            kind: match greenlet.family {
                Family::Hub => "hub".into(),
                _ if greenlet.main => "main".into(),
                Family::Gevent | Family::Plain => greenlet.type_name.clone(),
            },
            callable: greenlet.callable.clone(),
            spawned_at: named(python, &greenlet.spawned_at),
            tid: greenlet
                .ns_tid
                .and_then(|ns_tid| dump.threads.iter().find(|t| t.ns_tid == ns_tid))
                .map(|thread| thread.tid),
            last_turn_ms: greenlet.last_turn_s.map(|turn| ((now_s - turn).max(0.0) * 1e3) as u64),
            frames: named(python, &greenlet.frames),
            locals: variables.of(python, &places(&greenlet.addresses, &greenlet.frames)),
        });
    }
    for task in &census.tasks {
        dump.tasks.push(TaskDump {
            name: task.name.clone(),
            state: match task.state {
                tasks::State::Running => TaskState::Running,
                tasks::State::Waiting => TaskState::Waiting,
                tasks::State::Ready => TaskState::Ready,
                tasks::State::Finished => TaskState::Finished,
            },
            waits_for: task.waits_for.clone(),
            awaited_by: task.awaited_by.clone(),
            frames: named(python, &task.frames),
            locals: variables.of(python, &places(&task.addresses, &task.frames)),
        });
    }
}
