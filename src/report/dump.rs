//! Every stack now, as a document: what is parked at the same place is one entry with a count.
//!
//! Takes what [`crate::capture::dump`] saw, gives the document of `dump --format json`; [`super::dump_text`] makes a page of it. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Python, SCHEMA_VERSION, Tool};
use crate::capture::dump::{
    FoundBy, Gil, GreenletDump, GreenletLibrary, GreenletState, NativeDump, NativeState, ProcessDump,
    Stopped, TaskDump, TaskState, ThreadDump, Variable,
};
use crate::capture::model::{BlindSpot, Frame, Role, TargetFacts};
use crate::native::merge::Place;
use crate::native::stacks::NativeFrame;

/// Every stack of a server at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpDocument {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who looked.
    pub tool: Tool,
    /// What the user pointed at.
    pub target: TargetFacts,
    /// Each process: the arbiter first, then the workers by pid.
    pub processes: Vec<DumpProcess>,
    /// What was not seen, why, and what would help.
    pub blind_spots: Vec<BlindSpot>,
}

/// Every stack of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpProcess {
    /// Process id in the tool's namespace.
    pub pid: i32,
    /// What the process is for.
    pub role: Role,
    /// Its interpreter, if it has one that can be read.
    pub python: Option<Python>,
    /// Whether its garbage collector was running; `null` when that cannot be told (before 3.7).
    pub gc_collecting: Option<bool>,
    /// The threads. One that is inside a sub-interpreter is here once for each interpreter in which it has frames, the
    /// innermost first.
    pub threads: Vec<DumpThread>,
    /// The greenlets, equal ones together, the most frequent first.
    pub greenlets: Vec<DumpGreenlet>,
    /// The tasks of asyncio, equal ones together, the most frequent first.
    pub asyncio_tasks: Vec<DumpTask>,
    /// How greenlets and tasks were found; `null` without an interpreter that can be read.
    pub found_by: Option<FoundBy>,
    /// Greenlets and tasks that are missing above.
    pub rejected: Rejected,
    /// What was done to threads that run, with `--level burst`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Stopped>,
}

/// A thread and its stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpThread {
    /// Thread id in the tool's namespace.
    pub tid: i32,
    /// Its name in Python, else that of the kernel.
    pub name: String,
    /// The kernel's name for it.
    pub comm: String,
    /// Whether it is a daemon thread of Python; `null` when `threading` does not know it.
    pub daemon: Option<bool>,
    /// The number of the interpreter it is in, 0 for the first one; `null` when it runs no Python. Before 3.12 a
    /// sub-interpreter counts a thread as the one that made its state, be it another that uses it.
    pub interpreter: Option<i64>,
    /// The exception it is at, if any.
    pub exception: Option<DumpException>,
    /// State letter.
    pub state: String,
    /// What it does with the interpreter lock; `null` when that cannot be told.
    pub gil: Option<Gil>,
    /// The system call it sleeps in.
    pub sleeping_in: Option<String>,
    /// Frames, innermost first. With `--native`, those of the kernel and of libraries among those of Python.
    pub frames: Arc<[DumpFrame]>,
    /// What became of the native stack, with `--native`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<DumpNative>,
}

/// What became of a native stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpNative {
    /// Whether it stands among the frames.
    pub state: NativeState,
    /// Why not, or not all of it.
    pub why: Option<String>,
    /// Its frames, innermost first, where they could not be joined with those of Python.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<DumpFrame>,
}

/// The exception that a thread is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpException {
    /// Type of the one that is on its way out of a frame.
    pub raising: Option<String>,
    /// Type of the one that is handled: the thread is in an `except` or `finally` block. 2.7 does not tell.
    pub handling: Option<String>,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpFrame {
    /// Function.
    pub function: String,
    /// File: of a native frame the source where it is known, else the program or library; empty for the kernel.
    pub file: String,
    /// Line; 0 when it is not known.
    pub line: u32,
    /// `python`, `native` or `kernel`.
    pub kind: String,
    /// Program or library of a native frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Its local variables that have a value, with `--locals`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locals: Option<Vec<DumpVariable>>,
}

/// A local variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpVariable {
    /// Its name.
    pub name: String,
    /// Its value as a short text; `***` where the name announces a secret.
    pub value: String,
}

/// Greenlets that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpGreenlet {
    /// What they are doing.
    pub state: GreenletState,
    /// `hub`, `main`, or the name of their type.
    pub kind: String,
    /// The library that made their type or whose loop they run; `null` for others.
    pub library: Option<GreenletLibrary>,
    /// The function they run.
    pub callable: Option<String>,
    /// Where they were spawned, innermost first, as far as gevent keeps that.
    pub spawned_at: Vec<DumpFrame>,
    /// The thread they belong to; `null` when they belong to several or it cannot be told.
    pub thread: Option<i32>,
    /// For a hub: milliseconds since its loop's last turn, by the loop's own clock.
    pub last_turn_ms: Option<u64>,
    /// How many.
    pub count: u64,
    /// Frames, innermost first. With `--native`, those of libraries among those of Python.
    pub frames: Vec<DumpFrame>,
    /// What became of the native stack of a suspended one, with `--native`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<DumpNative>,
}

/// Tasks that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpTask {
    /// Name of the first of them.
    pub name: String,
    /// What they are doing.
    pub state: TaskState,
    /// The type of what they wait for.
    pub waits_for: Option<String>,
    /// Names of the tasks that wait for them.
    pub awaited_by: Vec<String>,
    /// How many.
    pub count: u64,
    /// Frames, innermost first.
    pub frames: Vec<DumpFrame>,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rejected {
    /// Changed each time they were read.
    pub torn: u64,
    /// Could not be read or made no sense.
    pub unreadable: u64,
}

/// The document of one look.
#[must_use]
pub fn document(target: TargetFacts, processes: &[ProcessDump]) -> DumpDocument {
    let mut blind_spots: Vec<BlindSpot> = Vec::new();
    for spot in processes.iter().flat_map(|p| &p.blind) {
        if !blind_spots.contains(spot) {
            blind_spots.push(spot.clone());
        }
    }
    DumpDocument {
        schema_version: SCHEMA_VERSION.into(),
        tool: Tool::own(),
        target,
        processes: processes.iter().map(process).collect(),
        blind_spots,
    }
}

fn process(seen: &ProcessDump) -> DumpProcess {
    DumpProcess {
        pid: seen.pid,
        role: seen.role,
        python: seen
            .python
            .as_ref()
            .map(|p| Python { version: p.version.clone(), implementation: p.implementation.clone() }),
        gc_collecting: seen.collecting,
        threads: {
            let mut known = HashMap::new();
            seen.threads.iter().map(|seen| thread(seen, &mut known)).collect()
        },
        greenlets: greenlets(&seen.greenlets),
        asyncio_tasks: tasks(&seen.tasks),
        found_by: seen.found_by,
        rejected: Rejected { torn: seen.torn, unreadable: seen.unreadable },
        burst: seen.stopped,
    }
}

fn thread(seen: &ThreadDump, known: &mut HashMap<*const Frame, Arc<[DumpFrame]>>) -> DumpThread {
    let about = &seen.about;
    let exception = DumpException { raising: about.raising.clone(), handling: about.handling.clone() };
    DumpThread {
        tid: seen.tid,
        name: about.name.clone().unwrap_or_else(|| seen.comm.clone()),
        comm: seen.comm.clone(),
        daemon: about.daemon,
        interpreter: about.interpreter,
        exception: (exception.raising.is_some() || exception.handling.is_some()).then_some(exception),
        state: seen.state.to_string(),
        gil: seen.gil,
        sleeping_in: seen.sleeping_in.clone(),
        // What threads share in the look they share here.
        frames: if seen.locals.is_none() && seen.native.is_none() {
            let make = || frames(&seen.frames, None).into();
            Arc::clone(known.entry(seen.frames.as_ptr()).or_insert_with(make))
        } else {
            all_frames(frames(&seen.frames, seen.locals.as_deref()), seen.native.as_ref()).into()
        },
        native: seen.native.as_ref().map(native),
    }
}

/// The frames of a thread or greenlet: those of the kernel, then Python's, among them native ones where they were joined.
fn all_frames(python: Vec<DumpFrame>, native: Option<&NativeDump>) -> Vec<DumpFrame> {
    let Some(native) = native else { return python };
    let mut all: Vec<DumpFrame> = native.kernel.iter().map(|function| kernel_frame(function)).collect();
    if native.places.is_empty() && !matches!(native.state, NativeState::Merged | NativeState::Incomplete) {
        all.extend(python);
        return all;
    }
    let mut python: Vec<Option<DumpFrame>> = python.into_iter().map(Some).collect();
    all.extend(native.places.iter().filter_map(|place| match place {
        Place::Python(number) => python.get_mut(*number)?.take(),
        Place::Native(number) => native.frames.get(*number).map(native_frame),
    }));
    all
}

fn native(seen: &NativeDump) -> DumpNative {
    let apart = seen.state == NativeState::Apart;
    let frames = if apart { seen.frames.iter().map(native_frame).collect() } else { Vec::new() };
    DumpNative { state: seen.state, why: seen.why.clone(), frames }
}

fn kernel_frame(function: &str) -> DumpFrame {
    DumpFrame {
        function: function.to_owned(),
        file: String::new(),
        line: 0,
        kind: "kernel".into(),
        library: None,
        locals: None,
    }
}

/// A native frame. One without a name is told by its place, so that it can be named later.
fn native_frame(seen: &NativeFrame) -> DumpFrame {
    let library = seen.library.as_deref();
    let place = || match library.and_then(|path| path.rsplit('/').next()) {
        Some(name) => format!("{name}+0x{:x}", seen.offset),
        None => format!("0x{:x}", seen.offset),
    };
    let (file, line) = match &seen.source {
        Some((file, line)) => (file.clone(), *line),
        None => (library.unwrap_or_default().to_owned(), 0),
    };
    DumpFrame {
        function: seen.function.clone().unwrap_or_else(place),
        file,
        line,
        kind: "native".into(),
        library: library.map(str::to_owned),
        locals: None,
    }
}

/// Frames, each with its variables where these were asked for.
fn frames(seen: &[Frame], locals: Option<&[Vec<Variable>]>) -> Vec<DumpFrame> {
    let one = |(place, f): (usize, &Frame)| DumpFrame {
        function: f.function.clone(),
        file: f.file.clone(),
        line: f.line,
        kind: "python".into(),
        library: None,
        locals: locals
            .and_then(|all| all.get(place))
            .map(|variables| variables.iter().map(variable).collect()),
    };
    seen.iter().enumerate().map(one).collect()
}

fn variable(seen: &Variable) -> DumpVariable {
    DumpVariable { name: seen.name.clone(), value: seen.value.clone() }
}

/// Equal greenlets together. Each hub stands by itself: its clock is its own.
fn greenlets(seen: &[GreenletDump]) -> Vec<DumpGreenlet> {
    let mut groups: Vec<DumpGreenlet> = Vec::new();
    let mut index = HashMap::new();
    for g in seen {
        let hub = (g.kind == "hub").then_some((g.tid, g.last_turn_ms));
        let key =
            (g.state, &g.kind, g.library, &g.callable, &g.spawned_at, &g.frames, &g.locals, (hub, &g.native));
        let place = *index.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => {
                group.count += g.count;
                group.thread = group.thread.filter(|tid| Some(*tid) == g.tid);
            }
            None => groups.push(DumpGreenlet {
                state: g.state,
                kind: g.kind.clone(),
                library: g.library,
                callable: g.callable.clone(),
                spawned_at: frames(&g.spawned_at, None),
                thread: g.tid,
                last_turn_ms: g.last_turn_ms,
                count: g.count,
                frames: all_frames(frames(&g.frames, g.locals.as_deref()), g.native.as_ref()),
                native: g.native.as_ref().map(native),
            }),
        }
    }
    groups.sort_by_key(|g| (g.state, std::cmp::Reverse(g.count)));
    groups
}

fn tasks(seen: &[TaskDump]) -> Vec<DumpTask> {
    let mut groups: Vec<DumpTask> = Vec::new();
    let mut index = HashMap::new();
    for t in seen {
        let place = *index
            .entry((t.state, &t.waits_for, &t.awaited_by, &t.frames, &t.locals))
            .or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.count += 1,
            None => groups.push(DumpTask {
                name: t.name.clone(),
                state: t.state,
                waits_for: t.waits_for.clone(),
                awaited_by: t.awaited_by.clone(),
                count: 1,
                frames: frames(&t.frames, t.locals.as_deref()),
            }),
        }
    }
    groups.sort_by_key(|t| (t.state, std::cmp::Reverse(t.count)));
    groups
}
