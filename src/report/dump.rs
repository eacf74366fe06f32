//! Every stack now, as a document and as text: what is parked at the same place is one entry with a count.
//!
//! Takes what [`crate::capture::dump`] saw, gives the document of `dump --format json` and a page for people. Pure.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Python, SCHEMA_VERSION, Tool};
use super::page::Page;
use super::style::{Style, Tone};
use super::word;
use super::words::name;
use crate::capture::dump::{Gil, GreenletDump, GreenletState, ProcessDump, TaskDump, TaskState};
use crate::capture::model::{BlindSpot, Frame, Role, TargetFacts};
use crate::diagnose;
use crate::diagnose::model::ReportFrame;

/// Most frames of one stack on a page; the document has all.
const FRAMES: usize = 40;

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
    /// The threads.
    pub threads: Vec<DumpThread>,
    /// The greenlets, equal ones together, the most frequent first.
    pub greenlets: Vec<DumpGreenlet>,
    /// The tasks of asyncio, equal ones together, the most frequent first.
    pub asyncio_tasks: Vec<DumpTask>,
    /// Greenlets and tasks that are missing above.
    pub rejected: Rejected,
}

/// A thread and its stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpThread {
    /// Thread id in the tool's namespace.
    pub tid: i32,
    /// Its name.
    pub name: String,
    /// State letter.
    pub state: String,
    /// What it does with the interpreter lock; `null` when that cannot be told.
    pub gil: Option<Gil>,
    /// The system call it sleeps in.
    pub sleeping_in: Option<String>,
    /// Frames, innermost first.
    pub frames: Vec<ReportFrame>,
}

/// Greenlets that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DumpGreenlet {
    /// What they are doing.
    pub state: GreenletState,
    /// `hub`, `main`, or the name of their type.
    pub kind: String,
    /// The function they run.
    pub callable: Option<String>,
    /// Where they were spawned, innermost first, as far as gevent keeps that.
    pub spawned_at: Vec<ReportFrame>,
    /// The thread they belong to; `null` when they belong to several or it cannot be told.
    pub thread: Option<i32>,
    /// For a hub: milliseconds since its loop's last turn, by the loop's own clock.
    pub last_turn_ms: Option<u64>,
    /// How many.
    pub count: u64,
    /// Frames, innermost first.
    pub frames: Vec<ReportFrame>,
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
    pub frames: Vec<ReportFrame>,
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
        tool: Tool {
            name: "stallscope".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            rules_version: diagnose::RULES_VERSION.into(),
        },
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
        threads: seen
            .threads
            .iter()
            .map(|t| DumpThread {
                tid: t.tid,
                name: t.name.clone(),
                state: t.state.to_string(),
                gil: t.gil,
                sleeping_in: t.sleeping_in.clone(),
                frames: frames(&t.frames),
            })
            .collect(),
        greenlets: greenlets(&seen.greenlets),
        asyncio_tasks: tasks(&seen.tasks),
        rejected: Rejected { torn: seen.torn, unreadable: seen.unreadable },
    }
}

fn frames(seen: &[Frame]) -> Vec<ReportFrame> {
    let one = |f: &Frame| ReportFrame {
        function: f.function.clone(),
        file: f.file.clone(),
        line: f.line,
        kind: "python".into(),
    };
    seen.iter().map(one).collect()
}

/// Equal greenlets together. Each hub stands by itself: its clock is its own.
fn greenlets(seen: &[GreenletDump]) -> Vec<DumpGreenlet> {
    let mut groups: Vec<DumpGreenlet> = Vec::new();
    let mut index = HashMap::new();
    for g in seen {
        let hub = (g.kind == "hub").then_some((g.tid, g.last_turn_ms));
        let key = (g.state, &g.kind, &g.callable, &g.spawned_at, &g.frames, hub);
        let place = *index.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => {
                group.count += 1;
                group.thread = group.thread.filter(|tid| Some(*tid) == g.tid);
            }
            None => groups.push(DumpGreenlet {
                state: g.state,
                kind: g.kind.clone(),
                callable: g.callable.clone(),
                spawned_at: frames(&g.spawned_at),
                thread: g.tid,
                last_turn_ms: g.last_turn_ms,
                count: 1,
                frames: frames(&g.frames),
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
        let place = *index.entry((t.state, &t.waits_for, &t.awaited_by, &t.frames)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.count += 1,
            None => groups.push(DumpTask {
                name: t.name.clone(),
                state: t.state,
                waits_for: t.waits_for.clone(),
                awaited_by: t.awaited_by.clone(),
                count: 1,
                frames: frames(&t.frames),
            }),
        }
    }
    groups.sort_by_key(|t| (t.state, std::cmp::Reverse(t.count)));
    groups
}

/// The document for people.
#[must_use]
pub fn text(document: &DumpDocument, style: Style) -> String {
    let mut page = Page::new(style);
    for (number, process) in document.processes.iter().enumerate() {
        if number > 0 {
            page.gap();
        }
        let python = process.python.as_ref().map_or_else(
            || "no Python that can be read".to_owned(),
            |python| format!("{} {}", python.implementation, python.version),
        );
        let greenlets: u64 = process.greenlets.iter().map(|g| g.count).sum();
        let tasks: u64 = process.asyncio_tasks.iter().map(|t| t.count).sum();
        let counts = [
            Some(format!("{} threads", process.threads.len())),
            (greenlets > 0).then(|| format!("{greenlets} greenlets")),
            (tasks > 0).then(|| format!("{tasks} asyncio tasks")),
        ];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let title = format!("{} {}, {python}: {}", word(&process.role), process.pid, counts.join(", "));
        page.line(0, Tone::Strong, &title);
        for thread in &process.threads {
            thread_text(&mut page, thread);
        }
        for greenlet in &process.greenlets {
            greenlet_text(&mut page, greenlet);
        }
        for task in &process.asyncio_tasks {
            task_text(&mut page, task);
        }
        let Rejected { torn, unreadable } = process.rejected;
        if torn + unreadable > 0 {
            let text = format!(
                "not shown: {torn} that changed while they were read, {unreadable} that could not be read"
            );
            page.line(2, Tone::Faint, &text);
        }
    }
    if !document.blind_spots.is_empty() {
        page.gap();
        page.line(0, Tone::Strong, "Not seen");
        for spot in &document.blind_spots {
            page.line(2, Tone::Plain, &format!("{}: {}; {}", spot.what, spot.why, spot.remedy));
        }
    }
    page.finish()
}

fn thread_text(page: &mut Page, thread: &DumpThread) {
    let mut facts =
        vec![format!("thread {} {}", thread.tid, name(&thread.name)), format!("state {}", thread.state)];
    match thread.gil {
        Some(Gil::Holds) => facts.push("holds the GIL".into()),
        Some(Gil::Waits) => facts.push("waits for the GIL".into()),
        Some(Gil::None) | None => {}
    }
    facts.extend(thread.sleeping_in.as_ref().map(|call| format!("sleeps in {call}")));
    page.line(2, Tone::Strong, &facts.join(", "));
    frames_text(page, &thread.frames);
}

fn greenlet_text(page: &mut Page, greenlet: &DumpGreenlet) {
    let mut facts =
        vec![format!("{} {} {}", times(greenlet.count), word(&greenlet.state), name(&greenlet.kind))];
    facts.extend(greenlet.callable.as_ref().map(|callable| format!("runs {}", name(callable))));
    facts.extend(greenlet.thread.map(|tid| format!("thread {tid}")));
    facts.extend(greenlet.last_turn_ms.map(|ms| format!("its loop turned {ms} ms ago")));
    page.line(2, Tone::Strong, &facts.join(", "));
    // Those of a running one stand with its thread.
    if greenlet.state != GreenletState::Running {
        frames_text(page, &greenlet.frames);
    }
    if let Some(frame) = greenlet.spawned_at.first() {
        page.line(4, Tone::Faint, &format!("spawned by {}", place(frame)));
    }
}

fn task_text(page: &mut Page, task: &DumpTask) {
    let mut facts = vec![format!("{} {} task {}", times(task.count), word(&task.state), name(&task.name))];
    facts.extend(task.waits_for.as_ref().map(|what| format!("waits for {}", name(what))));
    if !task.awaited_by.is_empty() {
        let by: Vec<String> = task.awaited_by.iter().take(4).map(|n| name(n)).collect();
        facts.push(format!("awaited by {}", by.join(", ")));
    }
    page.line(2, Tone::Strong, &facts.join(", "));
    frames_text(page, &task.frames);
}

fn times(count: u64) -> String {
    format!("{count} x")
}

/// A frame on a line of its own. What stands before a package's own folders says nothing here; the document has it.
fn place(frame: &ReportFrame) -> String {
    let file = ["/site-packages/", "/dist-packages/"]
        .iter()
        .find_map(|folder| frame.file.rsplit_once(folder))
        .map_or(frame.file.as_str(), |(_, inside)| inside);
    format!("{}  {}:{}", name(&frame.function), name(file), frame.line)
}

fn frames_text(page: &mut Page, frames: &[ReportFrame]) {
    for frame in frames.iter().take(FRAMES) {
        page.line(4, Tone::Plain, &place(frame));
    }
    if frames.len() > FRAMES {
        page.line(4, Tone::Faint, &format!("and {} frames further out", frames.len() - FRAMES));
    }
}
