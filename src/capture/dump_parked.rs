//! The greenlets and tasks of a dump, named, and equal greenlets put together.

use std::collections::HashMap;

use super::dump::{
    FoundBy, GreenletDump, GreenletLibrary, GreenletState, NativeDump, ProcessDump, TaskDump, TaskState,
    Variables,
};
use super::dump_native::Natives;
use super::model::{BlindSpot, Frame};
use super::recorder::python::Python;
use crate::observe::clock::monotonic_ns;
use crate::python::census::{Census, FoundBy as Way, Greenlet, Rejected};
use crate::python::kinds::Library;
use crate::python::reader::{Place, RawFrame};
use crate::python::{greenlets, tasks};

/// Fills in what a census has found, equal greenlets as one with a count.
pub(super) fn census_of(
    dump: &mut ProcessDump,
    python: &mut Python,
    census: &Census,
    variables: &mut Variables,
    mut natives: Option<&mut Natives<'_>>,
) {
    let python2 = python.reader().interpreter().version.major == 2;
    // Each has a machine's stack of its own, but most are the same.
    let mut native_of = |g: &Greenlet, python: &mut Python| {
        let suspended = g.state == greenlets::State::Suspended;
        natives.as_mut().filter(|_| suspended)?.of_greenlet(python, g, python2)
    };
    let native: Vec<Option<NativeDump>> = census.greenlets.iter().map(|g| native_of(g, python)).collect();
    let now_s = monotonic_ns() as f64 / 1e9;
    let named =
        |python: &Python, raw: &[RawFrame]| raw.iter().map(|f| python.named(*f)).collect::<Vec<Frame>>();
    let places = |addresses: &[u64], frames: &[RawFrame]| -> Vec<Place> {
        let pairs = addresses.iter().zip(frames);
        pairs.map(|(address, frame)| Place { address: *address, frame: *frame }).collect()
    };
    let Rejected { torn, unreadable } = census.rejected;
    (dump.torn, dump.unreadable) = (torn, unreadable);
    dump.found_by = Some(match census.found_by {
        Way::Lists => FoundBy::CollectorLists,
        Way::Search => FoundBy::MemorySearch,
    });
    let what = format!("some greenlets and tasks of process {}", dump.pid);
    let remedy = format!("look again: stallscope dump {}", dump.pid);
    match (census.complete, census.found_by) {
        (true, Way::Lists) => {}
        (false, Way::Lists) => dump.blind.push(BlindSpot {
            what,
            why: "the lists that lead to them changed each time they were followed, or could not be read"
                .into(),
            remedy,
        }),
        (complete, Way::Search) => dump.blind.push(BlindSpot {
            what: if complete { format!("whether these are all greenlets and tasks of process {}", dump.pid) } else { what },
            why: format!(
                "the lists of its garbage collector could not be followed, so {} of its memory was searched for them",
                if complete { "all" } else { "a part" }
            ),
            remedy,
        }),
    }
    // Named only once where many are the same: thousands wait at one place.
    let mut index: HashMap<_, usize> = HashMap::new();
    for (g, native) in census.greenlets.iter().zip(&native) {
        // Each has local variables of its own.
        let own = (g.hub || variables.wanted.is_some()).then_some(g.address);
        let key = (
            g.state,
            (g.main, g.library),
            &g.type_name,
            &g.callable,
            &g.spawned_at,
            &g.frames,
            g.ns_tid,
            (own, native),
        );
        let place = *index.entry(key).or_insert(dump.greenlets.len());
        if let Some(same) = dump.greenlets.get_mut(place) {
            same.count += 1;
            continue;
        }
        let tid = g.ns_tid.and_then(|ns_tid| dump.threads.iter().find(|t| t.ns_tid == ns_tid)).map(|t| t.tid);
        let (frames, spawned_at) = (named(python, &g.frames), named(python, &g.spawned_at));
        let locals = variables.of(python, &places(&g.addresses, &g.frames));
        let native = native.clone();
        dump.greenlets.push(GreenletDump { locals, native, ..greenlet(g, tid, frames, spawned_at, now_s) });
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

fn greenlet(
    seen: &Greenlet,
    tid: Option<i32>,
    frames: Vec<Frame>,
    spawned_at: Vec<Frame>,
    now_s: f64,
) -> GreenletDump {
    GreenletDump {
        count: 1,
        state: match seen.state {
            greenlets::State::Running => GreenletState::Running,
            greenlets::State::Suspended => GreenletState::Suspended,
            greenlets::State::Unstarted => GreenletState::Unstarted,
            greenlets::State::Finished => GreenletState::Finished,
        },
        library: seen.library.map(|library| match library {
            Library::Gevent => GreenletLibrary::Gevent,
            Library::Eventlet => GreenletLibrary::Eventlet,
        }),
        kind: match (seen.hub, seen.main) {
            (true, _) => "hub".into(),
            (false, true) => "main".into(),
            (false, false) => seen.type_name.to_string(),
        },
        callable: seen.callable.as_deref().map(str::to_owned),
        spawned_at,
        tid,
        last_turn_ms: seen.last_turn_s.map(|turn| ((now_s - turn).max(0.0) * 1e3) as u64),
        frames,
        locals: None,
        native: None,
    }
}
