//! Everything of one process at one instant: threads, greenlets and tasks with their stacks, as plain data.
//!
//! Connects observe and python like the recorder does, for one look instead of a window. It never stops a thread.

use serde::{Deserialize, Serialize};

use super::model::{BlindSpot, Doing, Frame, PythonFacts, Role};
use super::recorder::python::{NoPython, Python};
use super::syscalls::{Wait, describe};
use crate::observe::clock::monotonic_ns;
use crate::observe::kernel_file::READ_BUFFER_BYTES;
use crate::observe::thread_files::{ThreadFiles, list_threads};
use crate::python::census::{ALL_OBJECTS, Census, Rejected};
use crate::python::kinds::Family;
use crate::python::reader::{GilHolder, Pace, RawFrame};
use crate::python::{greenlets, tasks};
use crate::target::Member;
use crate::target::maps;

/// How often the holder of the interpreter lock is looked at: one look says little.
const GIL_LOOKS: usize = 9;

/// Everything of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessDump {
    /// Process id in the namespace of the tool.
    pub pid: i32,
    /// What it is for.
    pub role: Role,
    /// Its interpreter, if it has one that can be read.
    pub python: Option<PythonFacts>,
    /// Its threads.
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
    pub name: String,
    /// State letter.
    pub state: char,
    /// What it does with the interpreter lock; `None` when that cannot be told.
    pub gil: Option<Gil>,
    /// The system call it sleeps in.
    pub sleeping_in: Option<String>,
    /// Its frames, innermost first.
    pub frames: Vec<Frame>,
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

/// Looks at a process. `None` when it has ended.
#[must_use]
pub fn look(member: &Member, arch: &str) -> Option<ProcessDump> {
    let mut dump = ProcessDump {
        pid: member.snapshot.pid,
        role: member.role,
        python: None,
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
    dump.threads = threads(member, arch, python.as_mut())?;
    if let Some(python) = &mut python {
        dump.python = Some(python.facts());
        let stacks = python.machine_stacks(member.snapshot.ns_pid, mappings.as_deref().unwrap_or_default());
        let census = python.census(&stacks, ALL_OBJECTS);
        census_of(&mut dump, python, &census);
    }
    Some(dump)
}

/// The threads, each with its stack; `None` when the process has ended.
fn threads(member: &Member, arch: &str, mut python: Option<&mut Python>) -> Option<Vec<ThreadDump>> {
    let mut buffer = [0; READ_BUFFER_BYTES];
    let same = member.snapshot.ns_pid == member.snapshot.pid;
    let runtime = python.as_ref().map(|p| p.facts()).map(|f| f.runtime_start..f.runtime_end);
    let mut held: Vec<(i32, usize)> = Vec::new();
    let mut threads = Vec::new();
    for tid in list_threads(&member.dir).ok()? {
        let mut files = ThreadFiles::new(std::sync::Arc::clone(&member.dir), tid);
        let ns_tid = if same { tid } else { files.status(&mut buffer).map_or(tid, |s| s.ns_pid) };
        let doing = files.syscall(&mut buffer).unwrap_or(Doing::Unreadable);
        let Ok(stat) = files.stat(&mut buffer) else { continue };
        let (name, state) = (String::from_utf8_lossy(stat.comm).into_owned(), stat.state);
        let pace = if matches!(doing, Doing::Syscall(..)) { Pace::Asleep } else { Pace::Running };
        let frames = python.as_mut().map_or_else(Vec::new, |python| python.frames(ns_tid, pace));
        let call = if let Doing::Syscall(number, args) = doing {
            describe(arch, number).map(|info| (info, args))
        } else {
            None
        };
        let waits = call.as_ref().is_some_and(|(info, args)| {
            info.wait == Wait::Futex && runtime.as_ref().is_some_and(|r| r.contains(&args[0]))
        });
        let gil = match &python {
            _ if waits => Some(Gil::Waits),
            Some(python) => {
                let looks = if pace == Pace::Running { GIL_LOOKS } else { 0 };
                let holds = (0..looks).filter(|_| python.gil_holder() == GilHolder::Thread(ns_tid)).count();
                held.push((tid, holds));
                Some(Gil::None)
            }
            None => None,
        };
        threads.push(ThreadDump {
            tid,
            ns_tid,
            name,
            state,
            gil,
            sleeping_in: call.map(|(info, _)| info.name.to_owned()),
            frames,
        });
    }
    // The one that was seen with it most often has it.
    let holder = held.into_iter().filter(|(_, looks)| *looks * 2 > GIL_LOOKS).max_by_key(|(_, looks)| *looks);
    for thread in &mut threads {
        if Some(thread.tid) == holder.map(|(tid, _)| tid) {
            thread.gil = Some(Gil::Holds);
        }
    }
    Some(threads)
}

fn census_of(dump: &mut ProcessDump, python: &Python, census: &Census) {
    let now_s = monotonic_ns() as f64 / 1e9;
    let frames = |raw: &[RawFrame]| raw.iter().map(|f| python.named(*f)).collect::<Vec<Frame>>();
    let Rejected { torn, unreadable } = census.rejected;
    (dump.torn, dump.unreadable) = (torn, unreadable);
    if !census.complete {
        dump.blind.push(BlindSpot {
            what: format!("some greenlets and tasks of process {}", dump.pid),
            why: "the lists of its garbage collector changed each time they were followed, or could not be read"
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
            spawned_at: frames(&greenlet.spawned_at),
            tid: greenlet
                .ns_tid
                .and_then(|ns_tid| dump.threads.iter().find(|t| t.ns_tid == ns_tid))
                .map(|thread| thread.tid),
            last_turn_ms: greenlet.last_turn_s.map(|turn| ((now_s - turn).max(0.0) * 1e3) as u64),
            frames: frames(&greenlet.frames),
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
            frames: frames(&task.frames),
        });
    }
}
