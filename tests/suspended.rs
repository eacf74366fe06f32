//! Suspended greenlets and asyncio tasks from outside, against what the process says of itself: every pairing of `CPython`,
//! greenlet and gevent that `fixtures/greenlets/` pins, and asyncio of every version.

mod interpreters;
mod packages;
mod threads;

use std::collections::BTreeMap;
use std::process::Command;

use interpreters::{Program, interpreters};
use packages::{PAIRINGS, with_packages};
use serde_json::Value;
use stallscope::observe::kernel_file::{FileBudget, ProcDir};
use stallscope::python::census::{ALL_OBJECTS, Asked, Census, FoundBy};
use stallscope::python::greenlets::State;
use stallscope::python::reader::Pace;
use stallscope::python::task_lists::TaskLists;
use stallscope::python::{Sample, objects, own_table};
use stallscope::target::maps;

fn dump(pid: i32) -> Value {
    let document = run_dump(pid, &[]);
    let mut process = document["processes"][0].clone();
    process["blind_spots"] = document["blind_spots"].clone();
    process
}

/// The document of a dump of one process.
fn run_dump(pid: i32, more: &[&str]) -> Value {
    let pid = pid.to_string();
    let out = Command::new(env!("CARGO_BIN_EXE_stallscope"))
        .args(["dump", &pid, "--only", &pid, "--format", "json"])
        .args(more)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// What the frames of a function that calls itself hold as `n`, innermost first.
fn depths(groups: &Value, function: &str) -> Vec<u64> {
    let frames = groups.as_array().unwrap().iter().flat_map(|group| group["frames"].as_array().unwrap());
    let own = frames.filter(|f| f["function"] == function);
    let n = |f: &Value| {
        let held = f["locals"].as_array().unwrap().iter().find(|v| v["name"] == "n");
        held.unwrap_or_else(|| panic!("{f:#}"))["value"].as_str().unwrap().parse().unwrap()
    };
    own.map(n).collect()
}

type Stack = Vec<(String, String, u64)>;

fn stack(frames: &Value) -> Stack {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let frame = |f: &Value| match f {
        Value::Array(f) => (text(&f[0]), text(&f[1]), f[2].as_u64().unwrap()),
        f => (text(&f["function"]), text(&f["file"]), f["line"].as_u64().unwrap()),
    };
    frames.as_array().unwrap().iter().map(frame).collect()
}

/// Stacks with how often each is there.
fn counted<'v>(stacks: impl Iterator<Item = (&'v Value, u64)>) -> BTreeMap<Stack, u64> {
    let mut counts = BTreeMap::new();
    for (frames, n) in stacks {
        *counts.entry(stack(frames)).or_default() += n;
    }
    counts
}

/// The frames of the program itself, which is the same in every run but for its folder.
fn of_program(stacks: &BTreeMap<Stack, u64>) -> BTreeMap<Vec<(String, u64)>, u64> {
    let mut counts = BTreeMap::new();
    for (frames, n) in stacks {
        let own = frames.iter().filter(|(_, file, _)| file.ends_with("/program.py"));
        *counts.entry(own.map(|(function, _, line)| (function.clone(), *line)).collect()).or_default() += n;
    }
    counts
}

const GREENLETS: &str = r#"# -*- coding: utf-8 -*-
from __future__ import print_function
import gc, json, os, sys, threading
import gevent, gevent.event, gevent.lock, gevent.queue, gevent.socket
import greenlet

never = gevent.event.Event()
keep = []

def sleeper(): gevent.sleep(100000)
def waiter(): never.wait()
def getter(): gevent.queue.Queue().get()
def locker(): gevent.lock.Semaphore(0).acquire()
def receiver():
    keep.append(gevent.socket.socketpair() if hasattr(gevent.socket, "socketpair") else None)
    if keep[-1]:
        keep[-1][0].recv(10)
    never.wait()
def deep(n): return deep(n - 1) if n else never.wait()
def deepest(): deep(150)
def generator(): yield never.wait()
def through_generator(): list(generator())
def by_key(_): never.wait()
def through_sorted(): sorted([1], key=by_key)
class Thing(object):
    def __init__(self): never.wait()
    def method(self): never.wait()
    @staticmethod
    def make(): Thing()
def raw(): greenlet.getcurrent().parent.switch()

keep += [gevent.spawn(f) for f in (sleeper, getter, locker, receiver, deepest, through_generator, through_sorted, Thing.make)]
keep.append(gevent.spawn(Thing.__new__(Thing).method))
keep += [gevent.spawn(waiter) for _ in range(500)]
plain = greenlet.greenlet(raw)
plain.switch()
unstarted = gevent.Greenlet(sleeper)
# Places where greenlets were.
gone = [gevent.spawn(waiter) for _ in range(300)]
gevent.sleep(0)
gevent.killall(gone[::2])
del gone[::2]
keep += gone
def spawns(n): return spawns(n - 1) if n else gevent.spawn(waiter)
keep.append(spawns(3))
keep.append(spawns(30))
finished = gevent.spawn(lambda: None)
finished.join()

inside = threading.Event()
def other():
    keep.append(gevent.spawn(sleeper))
    gevent.sleep(0.01)
    inside.set()
    gevent.sleep(100000)
thread = threading.Thread(target=other)
thread.daemon = True
thread.start()

def parked(g):
    return not isinstance(g, greenlet.greenlet) or g.gr_frame is not None
while not all(parked(g) for g in keep) or not inside.is_set():
    gevent.sleep(0.01)

def stack(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([code.co_qualname if hasattr(code, "co_qualname") else code.co_name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return out

hubs = type(gevent.get_hub())
found = [g for g in gc.get_objects() if isinstance(g, greenlet.greenlet)]
# Main greenlets and hubs change places when this one goes to sleep.
suspended = [g for g in found if g.gr_frame is not None and g.parent is not None and not isinstance(g, hubs)]
def spawned_at(g):
    out, f = [], getattr(g, "spawning_stack", None)
    while f is not None and len(out) < 16:
        code = f.f_code
        out.append([code.co_qualname if hasattr(code, "co_qualname") else code.co_name, code.co_filename, f.f_lineno])
        f = f.f_back
    return out

spawned = [spawned_at(g) for g in found if isinstance(g, gevent.Greenlet)]
print(json.dumps({"suspended": [stack(g.gr_frame) for g in suspended], "total": len(found), "greenlet": greenlet.__version__, "spawned": spawned}))
sys.stdout.flush()
gevent.spawn(lambda: (gevent.os.tp_read(0, 1), os._exit(0)))
never.wait()
"#;

/// The collector's lists and a search of memory, which never looks at them, must give the same.
fn a_search_finds_the_same(name: &str, program: &Program) {
    let dir = ProcDir::open(program.pid(), &FileBudget::new(16)).unwrap();
    let mappings = maps::of(&dir).unwrap();
    let mut reader = program.reader();
    for tid in reader.thread_ids().collect::<Vec<_>>() {
        reader.sample(tid, Pace::Asleep);
    }
    let search = || maps::resident(&dir, &mappings);
    let mut census = |lists: bool| {
        let asked =
            Asked { stacks: &[], most: ALL_OBJECTS, most_bytes: u64::MAX, search: Some(&search), lists };
        reader.census(&asked)
    };
    // It may go on between two looks, where it has just begun: only what is the same before and after counts.
    let still = (0..20).find_map(|_| {
        let (before, searched, after) = (census(true), census(false), census(true));
        let listed = [&before, &after].iter().all(|c| c.complete && c.found_by == FoundBy::Lists);
        (listed && before == after).then_some((before, searched))
    });
    let (listed, searched) = still.unwrap_or_else(|| panic!("{name}: it never stood still"));
    assert_eq!((searched.found_by, searched.complete), (FoundBy::Search, true), "{name}");
    let addresses = |census: &Census| -> Vec<(u64, bool)> {
        let greenlets = census.greenlets.iter().map(|g| (g.address, true));
        greenlets.chain(census.tasks.iter().map(|t| (t.address, false))).collect()
    };
    assert_eq!(addresses(&listed), addresses(&searched), "{name}");
    assert_eq!(listed.greenlets, searched.greenlets, "{name}");
    assert_eq!(listed.tasks, searched.tasks, "{name}");
    assert_eq!((searched.rejected.torn, searched.rejected.unreadable), (0, 0), "{name}");
}

#[test]
fn suspended_greenlets_are_read_exactly_in_every_pairing() {
    let all = interpreters();
    let mut seen = 0;
    let mut cut = None;
    for (file, interpreter, version, abi) in PAIRINGS {
        let Some(python) = with_packages(&all, (file, interpreter, version, abi)) else { continue };
        let program = Program::start(&python, GREENLETS);
        let truth: Value =
            serde_json::from_str(&program.line).unwrap_or_else(|e| panic!("{file}: {e}: {:?}", program.line));
        // It may be interrupted in the middle of a collection, on a machine with much to do.
        let document = (0..10)
            .map(|_| dump(program.pid()))
            .find(|document| document["found_by"] == "collector_lists")
            .unwrap_or_else(|| panic!("{file}: the lists could not be followed"));
        let groups = document["greenlets"].as_array().unwrap();
        let outside = counted(
            groups
                .iter()
                .filter(|g| g["state"] == "suspended" && g["kind"] != "main" && g["kind"] != "hub")
                // The reader of its input was spawned after the truth was told.
                .filter(|g| {
                    !g["frames"].to_string().contains("tp_read")
                        && !g["frames"].to_string().contains("<lambda>")
                })
                .map(|g| (&g["frames"], g["count"].as_u64().unwrap())),
        );
        let inside = counted(truth["suspended"].as_array().unwrap().iter().map(|s| (s, 1)));
        // greenlet 3.0.0 to 3.0.2 cuts the stack that a suspended one shows of itself behind its innermost frame. From
        // outside all of it is seen: the same as with a later release.
        if truth["greenlet"].as_str().unwrap().starts_with("3.0.") {
            let innermost = |stacks: &BTreeMap<Stack, u64>| {
                let mut counts: BTreeMap<_, u64> = BTreeMap::new();
                for (frames, n) in stacks {
                    *counts.entry(frames[0].clone()).or_default() += n;
                }
                counts
            };
            assert_eq!(innermost(&outside), innermost(&inside), "{file}");
            cut = Some(of_program(&outside));
        } else {
            assert_eq!(outside, inside, "{file}, greenlet {}", truth["greenlet"]);
            if let Some(cut) = cut.take() {
                assert_eq!(cut, of_program(&outside), "{file}: the same program with the release before");
            }
        }
        assert!(inside.values().any(|n| *n >= 500), "{file}: those at the same place are one entry");
        assert_eq!(document["rejected"]["unreadable"], 0, "{file}: {}", document["rejected"]);

        let hub = groups
            .iter()
            .find(|g| g["kind"] == "hub" && g["thread"] == program.pid())
            .unwrap_or_else(|| panic!("{file}: no hub: {groups:#?}"));
        assert!(hub["last_turn_ms"].as_u64().is_some_and(|ms| ms < 60_000), "{file}: {hub:#}");
        let unstarted = groups.iter().find(|g| g["state"] == "unstarted").unwrap();
        assert_eq!(unstarted["callable"], "sleeper", "{file}: {unstarted:#}");
        let many = groups.iter().find(|g| g["count"].as_u64().unwrap() >= 500).unwrap();
        assert_eq!(many["callable"], "waiter", "{file}");
        assert_eq!(many["thread"], program.pid(), "{file}");
        assert!(many["spawned_at"].to_string().contains("program.py"), "{file}: {many:#}");
        let records = groups.iter().filter(|g| !g["spawned_at"].as_array().unwrap().is_empty());
        let records = counted(
            records
                .filter(|g| !g["frames"].to_string().contains("tp_read"))
                .map(|g| (&g["spawned_at"], g["count"].as_u64().unwrap())),
        );
        assert_eq!(records, counted(truth["spawned"].as_array().unwrap().iter().map(|s| (s, 1))), "{file}");
        assert_eq!(hub["library"], "gevent", "{file}");
        assert_eq!(many["library"], "gevent", "{file}");
        a_search_finds_the_same(file, &program);
        let tids: std::collections::BTreeSet<i64> =
            groups.iter().filter_map(|g| g["thread"].as_i64()).collect();
        assert!(tids.len() >= 2, "{file}: two threads have greenlets, and newer pools of gevent: {tids:?}");
        let with_locals = run_dump(program.pid(), &["--locals"])["processes"][0].clone();
        assert_eq!(depths(&with_locals["greenlets"], "deep"), (0..=150).collect::<Vec<_>>(), "{file}");
        program.unharmed();
        seen += 1;
    }
    assert!(seen > 0 || all.is_empty(), "no pairing could be tested");
}

/// Greenlets of a process that collects all the time: its lists are never as they should be.
const COLLECTING: &str = r"
import gc, json, sys
import greenlet

def parked(n): return parked(n - 1) if n else greenlet.getcurrent().parent.switch()
keep = [greenlet.greenlet(parked) for _ in range(300)]
for g in keep:
    g.switch(5)
heap = [[n] for n in range(100000)]
print(json.dumps([id(g) for g in keep]))
sys.stdout.flush()
while True:
    gc.collect()
";

#[test]
fn a_collector_at_work_hides_no_greenlet() {
    let all = interpreters();
    // One of each form of the collector's headers and of greenlets.
    let of_interest = |p: &(&str, &str, &str, &str)| ["py36", "py310", "py313", "py315"].contains(&p.0);
    for (file, interpreter, version, abi) in PAIRINGS.into_iter().filter(of_interest) {
        let Some(python) = with_packages(&all, (file, interpreter, version, abi)) else { continue };
        let program = Program::start(&python, COLLECTING);
        let mut truth: Vec<u64> = serde_json::from_str(&program.line).unwrap();
        truth.sort_unstable();
        let dir = ProcDir::open(program.pid(), &FileBudget::new(16)).unwrap();
        let mappings = maps::of(&dir).unwrap();
        let mut reader = program.reader();
        while !matches!(reader.sample(program.pid(), Pace::Running), Sample::Changed | Sample::Unchanged) {}
        for (round, lists) in [true, false].into_iter().enumerate() {
            let search = || maps::resident(&dir, &mappings);
            let asked =
                Asked { stacks: &[], most: ALL_OBJECTS, most_bytes: u64::MAX, search: Some(&search), lists };
            let census = reader.census(&asked);
            let parked = census.greenlets.iter().filter(|g| g.state == State::Suspended);
            let (addresses, depths): (Vec<u64>, Vec<usize>) =
                parked.map(|g| (g.address, g.frames.len())).unzip();
            assert_eq!(addresses, truth, "{file}, look {round}, found by {:?}", census.found_by);
            assert!(depths.iter().all(|depth| *depth == 6), "{file}: {depths:?}");
            assert_eq!(census.rejected.unreadable, 0, "{file}");
        }
        program.unharmed();
    }
}

/// eventlet's greenlets in two threads: the loop of the first one turns, that of the second has switched to a greenlet that
/// blocks the thread.
const EVENTLET: &str = r#"
import gc, json, sys, threading, time
import eventlet, eventlet.event, eventlet.hubs, eventlet.queue, eventlet.semaphore
import greenlet
from eventlet.green import socket
eventlet.hubs.use_hub("HUB")

never = eventlet.event.Event()
pair = socket.socketpair()
def sleeper(): eventlet.sleep(100000)
def waiter(): never.wait()
def getter(): eventlet.queue.Queue().get()
def locker(): eventlet.semaphore.Semaphore(0).acquire()
def receiver(): pair[0].recv(10)
def deep(n): return deep(n - 1) if n else never.wait()
def deepest(): deep(150)
keep = [eventlet.spawn(f) for f in (sleeper, getter, locker, receiver, deepest)]
keep += [eventlet.spawn(waiter) for _ in range(200)]
keep += [eventlet.spawn_n(waiter)]
pool = eventlet.GreenPool(10)
pool.spawn_n(waiter)
pool.spawn(sleeper)

inside = threading.Event()
def blocks():
    inside.set()
    time.sleep(100000)
def other():
    keep.append(eventlet.spawn(blocks))
    eventlet.sleep(100000)
thread = threading.Thread(target=other)
thread.daemon = True
thread.start()
inside.wait()

hub = eventlet.hubs.get_hub().greenlet

def stack(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([code.co_qualname if hasattr(code, "co_qualname") else code.co_name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return out

def suspended():
    found = [g for g in gc.get_objects() if isinstance(g, greenlet.greenlet)]
    stacks = [stack(g.gr_frame) for g in found if g.gr_frame is not None and g.parent is not None and g is not hub]
    return [s for s in stacks if "/eventlet/hubs/" not in s[-1][1]]
while len(suspended()) < 208:
    eventlet.sleep(0.01)
print(json.dumps(suspended()))
sys.stdout.flush()
never.wait()
"#;

#[test]
fn greenlets_of_eventlet_and_its_hubs_are_told_apart() {
    let all = interpreters();
    let runs = [
        ("py39-eventlet", "3.9.18", "3.9", "cp39", "epolls"),
        ("py39-eventlet", "3.9.18", "3.9", "cp39", "poll"),
        ("py313-eventlet", "3.13.0", "3.13", "cp313", "epolls"),
        ("py313-eventlet", "3.13.0", "3.13", "cp313", "asyncio"),
    ];
    for (file, interpreter, version, abi, hub) in runs {
        let Some(python) = with_packages(&all, (file, interpreter, version, abi)) else { continue };
        let name = format!("{file} with the hub {hub}");
        let program = Program::start(&python, &EVENTLET.replace("HUB", hub));
        let truth: Vec<Value> =
            serde_json::from_str(&program.line).unwrap_or_else(|e| panic!("{name}: {e}: {:?}", program.line));
        let document = dump(program.pid());
        let groups = document["greenlets"].as_array().unwrap();
        let count = |g: &Value| g["count"].as_u64().unwrap();
        let outside = counted(
            groups
                .iter()
                .filter(|g| g["state"] == "suspended" && g["kind"] != "main" && g["kind"] != "hub")
                .map(|g| (&g["frames"], count(g))),
        );
        assert_eq!(outside, counted(truth.iter().map(|s| (s, 1))), "{name}");
        let waiters = groups.iter().find(|g| count(g) >= 200).unwrap();
        assert_eq!((&waiters["library"], &waiters["kind"]), (&"eventlet".into(), &"GreenThread".into()));
        let hubs: Vec<&Value> = groups.iter().filter(|g| g["kind"] == "hub").collect();
        assert!(hubs.iter().all(|h| h["library"] == "eventlet" && count(h) == 1), "{name}: {hubs:#?}");
        let of_main = |h: &&&Value| h["thread"] == program.pid();
        assert_eq!(hubs.len(), 2, "{name}: each thread has one: {groups:#?}");
        assert_eq!(hubs.iter().find(of_main).unwrap()["state"], "running", "{name}: its loop turns");
        assert_eq!(hubs.iter().find(|h| !of_main(h)).unwrap()["state"], "suspended", "{name}: it is blocked");
        assert_eq!(document["rejected"], serde_json::json!({"torn": 0, "unreadable": 0}), "{name}");
        a_search_finds_the_same(&name, &program);
        program.unharmed();
    }
}

const TASKS: &str = r#"
import asyncio, json, os, sys, threading

class Derived(asyncio.Task): pass
async def wait(event): await event.wait()
async def nested(event, n):
    if n:
        return await nested(event, n - 1)
    await event.wait()
async def sleeper(): await asyncio.sleep(100000)
async def getter(): await asyncio.Queue().get()
async def waits_for(task): await task
async def values(event):
    yield 1
    await event.wait()
    yield 2
async def iterates(event):
    async for _ in values(event):
        pass
class Awaitable:
    def __init__(self, event): self.event = event
    def __await__(self): return wait(self.event).__await__()
async def by_protocol(event): await Awaitable(event)

def coroutine_stack(task):
    # As far as the interpreter itself can look: outermost first, with whether it had to stop at an asynchronous iterator.
    out, c = [], task._coro if hasattr(task, "_coro") else task.get_coro()
    while c is not None:
        frame = getattr(c, "cr_frame", None) or getattr(c, "gi_frame", None) or getattr(c, "ag_frame", None)
        if frame is None:
            return out, type(c).__name__ in ("async_generator_asend", "coroutine_wrapper")
        code = frame.f_code
        out.append([code.co_qualname if hasattr(code, "co_qualname") else code.co_name, code.co_filename, frame.f_lineno])
        for name in ("cr_await", "gi_yieldfrom", "ag_await"):
            if hasattr(c, name):
                c = getattr(c, name)
                break
    return out, False

async def main():
    event = asyncio.Event()
    make = asyncio.ensure_future
    tasks = [make(wait(event)) for _ in range(300)]
    tasks += [make(f) for f in (nested(event, 50), sleeper(), getter(), iterates(event), by_protocol(event))]
    tasks.append(make(waits_for(tasks[0])))
    tasks.append(Derived(sleeper(), loop=asyncio.get_event_loop()))
    if hasattr(tasks[0], "set_name"):
        tasks[0].set_name("first")
        tasks[-2].set_name("behind the first")
    # With those of the two that sleep three timers that will wake somebody.
    timers = [asyncio.get_event_loop().call_later(100000, print) for _ in range(3)]
    for timer in timers[:2]:
        timer.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    truth = [dict(zip(("frames", "stopped"), coroutine_stack(t))) for t in tasks]
    print(json.dumps(truth))
    sys.stdout.flush()
    await event.wait()

ends = threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)))
ends.daemon = True
ends.start()
asyncio.get_event_loop_policy().new_event_loop().run_until_complete(main()) if sys.version_info < (3, 14) else asyncio.run(main())
"#;

/// asyncio's own lists, the only ones of a free-threaded build, are those of the collector where there are both.
#[test]
fn own_lists_of_asyncio_hold_all_tasks() {
    for python in interpreters() {
        let name = &python.name;
        if !["3.14", "3.15"].iter().any(|version| name.contains(version)) {
            continue;
        }
        let program = Program::start(&python, TASKS);
        let truth: Vec<Value> = serde_json::from_str(&program.line).unwrap();
        let reader = program.reader();
        let (memory, interpreter) = (reader.memory(), reader.interpreter());
        let mappings = program.mappings();
        let state = interpreter.runtime_start;
        let file = mappings.iter().find(|m| (m.start..m.end).contains(&state)).map(|m| m.path.as_str());
        let size = own_table::interpreter_size(memory, state).unwrap();
        let lists = TaskLists::find(memory, &mappings, file.unwrap(), size)
            .unwrap_or_else(|| panic!("{name}: no table of asyncio's"));
        let objects = objects::of(3, interpreter.version.minor, interpreter.layout.longer_head);
        assert_eq!(Some(lists.task), objects.task, "{name}");
        let mut listed = std::collections::BTreeSet::new();
        let interpreters = reader.interpreter_states().unwrap();
        let walked = lists.each(
            memory,
            &interpreter.layout,
            &interpreters,
            reader.thread_states(),
            usize::MAX,
            &mut |task, _| {
                listed.insert(task);
            },
        );
        assert_eq!(walked, Ok(true), "{name}");
        assert_eq!(listed.len(), truth.len() + 1, "{name}");
        let mut reader = program.reader();
        let asked = Asked { stacks: &[], most: ALL_OBJECTS, most_bytes: u64::MAX, search: None, lists: true };
        let census = reader.census(&asked);
        assert_eq!(
            census.tasks.iter().map(|t| t.address).collect::<Vec<_>>(),
            Vec::from_iter(listed),
            "{name}"
        );
    }
}

#[test]
fn tasks_of_asyncio_are_read_exactly_by_every_interpreter() {
    let mut timed = 0;
    for python in interpreters().into_iter().filter(|p| p.name != "2.7.18") {
        let name = &python.name;
        let program = Program::start(&python, TASKS);
        let truth: Vec<Value> =
            serde_json::from_str(&program.line).unwrap_or_else(|e| panic!("{name}: {e}: {:?}", program.line));
        let document = dump(program.pid());
        let groups = document["asyncio_tasks"].as_array().unwrap();
        let spots = document["blind_spots"].to_string();
        // No list leads to them there, which must be said.
        if name == "3.13t" {
            assert!(groups.is_empty() && spots.contains("asyncio tasks of process"), "{name}: {spots}");
            continue;
        }
        assert_eq!(spots, "[]", "{name}");
        let mut reader = program.reader();
        let census = reader.census(&Asked {
            stacks: &[],
            most: ALL_OBJECTS,
            most_bytes: u64::MAX,
            search: None,
            lists: true,
        });
        // The lists of a free-threaded build hold tasks and nothing else.
        if census.found_by == FoundBy::Lists && !name.ends_with('t') {
            assert_eq!(census.timers, 3, "{name}: a timer that was cancelled wakes nobody");
            timed += 1;
        }
        let total: u64 = groups.iter().map(|g| g["count"].as_u64().unwrap()).sum();
        assert_eq!(total, truth.len() as u64 + 1, "{name}: all tasks and the first one: {groups:#?}");
        let mut outside: Vec<(Stack, u64)> = groups
            .iter()
            .map(|g| {
                let mut frames = stack(&g["frames"]);
                frames.reverse();
                (frames, g["count"].as_u64().unwrap())
            })
            .collect();
        for task in &truth {
            let inside = stack(&task["frames"]);
            let stopped = task["stopped"] == true;
            // Where the interpreter's own view ends at an asynchronous iterator, ours goes on.
            let same = |seen: &Stack| {
                if stopped { seen.starts_with(&inside) && seen.len() > inside.len() } else { *seen == inside }
            };
            let place = outside.iter_mut().find(|(seen, n)| *n > 0 && same(seen));
            let Some((_, n)) = place else { panic!("{name}: not found: {inside:?}\nin {groups:#?}") };
            *n -= 1;
        }
        assert!(
            groups.iter().any(|g| g["count"].as_u64().unwrap() >= 299),
            "{name}: equal ones are one entry"
        );
        if !["3.6.15", "3.7.16"].contains(&name.as_str()) {
            let first = groups.iter().find(|g| g["name"] == "first").unwrap();
            assert_eq!(first["awaited_by"], serde_json::json!(["behind the first"]), "{name}");
        }
        assert!(groups.iter().all(|g| g["state"] == "waiting"), "{name}: {groups:#?}");
        assert_eq!(document["rejected"], serde_json::json!({"torn": 0, "unreadable": 0}), "{name}");
        assert_eq!(
            document["gc_collecting"],
            if name == "3.6.15" { Value::Null } else { false.into() },
            "{name}"
        );
        let with_locals = run_dump(program.pid(), &["--locals"])["processes"][0].clone();
        assert_eq!(depths(&with_locals["asyncio_tasks"], "nested"), (0..=50).collect::<Vec<_>>(), "{name}");
        // What a search goes by, the collector's header before an object, is not there without an interpreter lock.
        if !python.free_threaded() {
            a_search_finds_the_same(name, &program);
        }
        program.unharmed();
    }
    assert!(timed > 0, "no interpreter of all had timers to count");
}
