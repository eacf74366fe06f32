//! The Python reader against the truth: every `CPython` on the machine, compared frame by frame with what the
//! interpreter says of itself; the holder of the interpreter lock; stacks that change while they are read.

mod interpreters;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use interpreters::{Program, Python, interpreters};
use stallscope::observe::memory::Memory;
use stallscope::python::reader::{GilHolder, Pace};
use stallscope::python::{Sample, StackReader};

/// Runs on Python 2.7 and all of Python 3.
const PARKED: &str = r#"# -*- coding: utf-8 -*-
from __future__ import print_function
import ctypes, json, sys, threading, time

gettid = getattr(threading, "get_native_id", None) or (lambda: ctypes.CDLL(None).syscall(186))
for_ever = threading.Event()

def park():
    for_ever.wait()

def deep(n):
    if n:
        return deep(n - 1)
    park()

def generator():
    yield 1
    park()

by_name = """
class Größe:
    def methode(self, _=None):
        def inner():
            park()
        inner()
"""
if sys.version_info[0] > 2:
    exec(by_name + "\nSize = Größe")
else:
    exec(by_name.replace("Größe", "Size"))

def by_key(_):
    park()

several_lines = lambda: (
    None,
    park(),
)

targets = [
    lambda: deep(200),
    lambda: list(generator()),
    lambda: Size().methode(),
    lambda: sorted([1], key=by_key),
    several_lines,
]
tids = {}

def run(n):
    tids[n] = gettid()
    targets[n]()

threads = [threading.Thread(target=run, args=(n,)) for n in range(len(targets))]
for t in threads:
    t.daemon = True
    t.start()

def waits(frame):
    return frame and frame.f_code.co_name == "wait" and frame.f_back.f_code.co_name == "wait"

# Each stands still once it is in the condition of the event: at the same instruction at several looks.
before, same = None, 0
while same < 5:
    frames = sys._current_frames()
    arrived = len(tids) == len(threads) and all(waits(frames.get(t.ident)) for t in threads)
    here = [frames[t.ident].f_lasti for t in threads] if arrived else None
    same = same + 1 if arrived and here == before else 0
    before = here
    time.sleep(0.01)

def stack(frame):
    out = []
    while frame:
        code = frame.f_code
        name = code.co_qualname if hasattr(code, "co_qualname") else code.co_name
        out.append([name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return out

frames = sys._current_frames()
truth = {tids[n]: stack(frames[t.ident]) for n, t in enumerate(threads)}
print(json.dumps(truth))
sys.stdout.flush()
sys.stdin.read()
"#;

type Stack = Vec<(String, String, u32)>;

fn outside(reader: &StackReader<Memory>) -> Stack {
    let frame = |f: &stallscope::python::reader::RawFrame| {
        let code = reader.code(f.code).unwrap();
        (code.function.clone(), code.file.clone(), f.line)
    };
    reader.frames().iter().map(frame).collect()
}

#[test]
fn parked_threads_are_read_exactly_by_every_interpreter() {
    for python in interpreters() {
        let version = &python.name;
        let program = Program::start(&python, PARKED);
        let truth: BTreeMap<i32, Stack> = serde_json::from_str(&program.line).unwrap();
        assert_eq!(truth.len(), 5, "{version}");
        let mut reader = program.reader();
        for (tid, inside) in &truth {
            assert_eq!(reader.sample(*tid, Pace::Asleep), Sample::Changed, "{version}");
            assert_eq!(&outside(&reader), inside, "Python {version}, thread {tid}");
            assert!(reader.complete());
            assert_eq!(
                reader.sample(*tid, Pace::Asleep),
                Sample::Unchanged,
                "{version}: a parked thread does not change"
            );
        }
        assert!(truth.values().any(|s| s.len() > 200), "the deep one is among them");
        assert!(reader.thread_ids().any(|tid| tid == program.pid()), "{version}: the main thread is known");
        assert_eq!(reader.sample(1, Pace::Asleep), Sample::NoThread);
        assert_eq!(reader.counts().discarded, 0);
        program.unharmed();
    }
}

/// A copy of an interpreter without its table of symbols and all that only debuggers need; `None`, said loudly, where that
/// cannot be made.
fn stripped(python: &Python, folder: &Path) -> Option<Python> {
    let program = Path::new(&python.program[0]).canonicalize().ok()?;
    let home = program.parent()?.parent()?.to_owned();
    let library = std::fs::read_dir(home.join("lib")).ok()?.flatten().find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libpython") && name.contains(".so.")
    })?;
    let copies = [program.clone(), library.path()].map(|from| (folder.join(from.file_name().unwrap()), from));
    for (to, from) in &copies {
        std::fs::copy(from, to).unwrap();
        let strip = Command::new("strip").arg("--strip-all").arg(to).status();
        if !strip.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: Python {} without symbols: strip does not work here", python.name);
            return None;
        }
    }
    let run = [
        "env".to_owned(),
        format!("PYTHONHOME={}", home.display()),
        format!("LD_LIBRARY_PATH={}", folder.display()),
        copies[0].0.display().to_string(),
    ];
    Some(Python { name: python.name.clone(), program: run.to_vec(), root: None, packages: None })
}

#[test]
fn interpreters_without_a_table_of_symbols_are_read_as_well() {
    for python in interpreters().into_iter().filter(|p| p.program[0].contains(".pyenv")) {
        let folder = tempfile::tempdir().unwrap();
        let Some(python) = stripped(&python, folder.path()) else { continue };
        let version = &python.name;
        let program = Program::start(&python, PARKED);
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", program.pid())).unwrap();
        let copy = folder.path().join("libpython").display().to_string();
        assert!(maps.contains(&copy), "{version}: the copy runs: {maps}");
        let truth: BTreeMap<i32, Stack> = serde_json::from_str(&program.line).unwrap();
        let mut reader = program.reader();
        for (tid, inside) in &truth {
            assert_eq!(reader.sample(*tid, Pace::Asleep), Sample::Changed, "{version}");
            assert_eq!(&outside(&reader), inside, "Python {version}, thread {tid}");
        }
    }
}

const BUSY: &str = r#"
from __future__ import print_function
import sys, threading

parked = threading.Event()

def in_background(target):
    thread = threading.Thread(target=target)
    thread.daemon = True
    thread.start()

in_background(parked.wait)

def work():
    n = 0
    while True:
        n += 1

def main():
    print("ready")
    sys.stdout.flush()
    work()

in_background(lambda: (sys.stdin.read(), __import__("os")._exit(0)))
main()
"#;

#[test]
fn the_holder_of_the_interpreter_lock_is_named() {
    for python in interpreters().into_iter().map(Python::with_lock) {
        let version = &python.name;
        let program = Program::start(&python, BUSY);
        let mut reader = program.reader();
        // It says that it is ready just before it begins to compute.
        while !matches!(reader.sample(program.pid(), Pace::Running), Sample::Changed | Sample::Unchanged)
            || outside(&reader)[0].0 != "work"
        {
            std::thread::yield_now();
        }
        // Spread over time: looks in quick succession see one instant, and 2.7 gives the lock away every hundred steps.
        let mut clock = stallscope::observe::clock::Clock::start(1_000);
        let looks = (0..60).map(|_| {
            while clock.tick().is_none() {}
            reader.gil_holder()
        });
        let named = looks.filter(|h| *h == GilHolder::Thread(program.pid())).count();
        assert!(named >= 50, "Python {version}: {named} of 60");
        program.unharmed();
    }
}

/// Two chains with names of their own, called in turn as fast as possible: any mixture is a stack that never was.
const ALTERNATING: &str = r#"
from __future__ import print_function
import sys, threading

source = []
for chain in "ab":
    source.append("def %s_0(): return 1" % chain)
    for n in range(1, 15):
        source.append("def %s_%d(): x = %d; return %s_%d() + x" % (chain, n, n, chain, n - 1))
exec(compile("\n".join(source), "chains.py", "exec"))

def main():
    a, b = a_14, b_14
    print("ready")
    sys.stdout.flush()
    while True:
        a()
        b()

ends = threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)))
ends.daemon = True
ends.start()
main()
"#;

/// A million for each: `STALLSCOPE_SAMPLES=1000000 cargo test --test python_reader mixed`
fn samples() -> u32 {
    std::env::var("STALLSCOPE_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(8_000)
}

#[test]
fn a_stack_that_changes_while_it_is_read_is_never_mixed() {
    let samples = samples();
    for python in interpreters() {
        let version = &python.name;
        let program = Program::start(&python, ALTERNATING);
        let mut reader = program.reader();
        let mut seen = 0_u32;
        for _ in 0..samples {
            if !matches!(reader.sample(program.pid(), Pace::Running), Sample::Changed | Sample::Unchanged) {
                continue;
            }
            seen += 1;
            let chains: Vec<(String, u32)> = outside(&reader)
                .into_iter()
                .filter(|(_, file, _)| file == "chains.py")
                .filter_map(|(name, ..)| {
                    name.split_once('_').map(|(c, n)| (c.to_owned(), n.parse().unwrap()))
                })
                .collect();
            assert!(chains.iter().all(|(c, _)| *c == chains[0].0), "Python {version}: mixed: {chains:?}");
            // Each calls the next one down; a hole would be a torn stack too.
            assert!(chains.windows(2).all(|w| w[0].1 + 1 == w[1].1), "Python {version}: a hole: {chains:?}");
            assert!(chains.last().is_none_or(|(_, n)| *n == 14), "Python {version}: cut off: {chains:?}");
        }
        // A target that never holds still may be given up nearly always; what was accepted is what is tested here.
        println!("{version}: {seen} of {samples}, {:?}", reader.counts());
        assert!(seen > 0, "Python {version}: none of {samples} was read");
        program.unharmed();
    }
}

/// The same in several threads at once: where there is no interpreter lock they run in parallel, each with instructions
/// of its own where the version makes such copies. The line of each function is known.
const PARALLEL: &str = r#"
import sys, threading

source = []
for chain in "abcdef":
    source.append("def %s_0(): return 1" % chain)
    for n in range(1, 15):
        source.append("def %s_%d(): x = %d; return %s_%d() + x" % (chain, n, n, chain, n - 1))
exec(compile("\n".join(source), "chains.py", "exec"))
tids = []

def run(a, b):
    tids.append(threading.get_native_id())
    while True:
        a()
        b()

pairs = [(a_14, b_14), (c_14, d_14), (e_14, f_14), (a_14, f_14)]
for pair in pairs:
    threading.Thread(target=run, args=pair, daemon=True).start()
while len(tids) < len(pairs):
    pass
print("ready", flush=True)
sys.stdin.read()
"#;

#[test]
fn threads_that_run_in_parallel_are_never_mixed() {
    for python in interpreters().into_iter().filter(Python::free_threaded) {
        let version = &python.name;
        let program = Program::start(&python, PARALLEL);
        let mut reader = program.reader();
        let tids: Vec<i32> = reader.thread_ids().filter(|tid| *tid != program.pid()).collect();
        assert_eq!(tids.len(), 4, "{version}");
        let mut seen = 0_u32;
        for tid in tids.iter().copied().cycle().take(samples() as usize) {
            if !matches!(reader.sample(tid, Pace::Running), Sample::Changed | Sample::Unchanged) {
                continue;
            }
            seen += 1;
            let stack = outside(&reader);
            let chain: Vec<_> = stack.iter().filter(|(_, file, _)| file == "chains.py").collect();
            for (name, _, line) in &chain {
                let (letter, n) = name.split_once('_').unwrap();
                let first = u32::from(letter.as_bytes()[0] - b'a') * 15;
                assert_eq!(*line, first + n.parse::<u32>().unwrap() + 1, "{version}: {name}");
                assert_eq!(letter, &chain[0].0[..1], "Python {version}: mixed: {chain:?}");
            }
            let numbers: Vec<u32> = chain.iter().map(|(name, ..)| name[2..].parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]), "Python {version}: a hole: {chain:?}");
            assert!(numbers.last().is_none_or(|n| *n == 14), "Python {version}: cut off: {chain:?}");
            assert!(stack.iter().any(|(name, ..)| name == "run"), "Python {version}: {stack:?}");
        }
        println!("{version}: {seen} of {}, {:?}", samples(), reader.counts());
        assert!(seen > 0, "Python {version}: none was read");
        program.unharmed();
    }
}

/// Threads that compute at once: with an interpreter lock they would wait for it in turn.
const COMPUTING: &str = r#"
import sys, threading

def work():
    n = 0
    while True:
        n += 1

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
work()
"#;

#[test]
fn nobody_waits_for_a_lock_that_is_not_in_use() {
    for python in interpreters().into_iter().filter(Python::free_threaded) {
        let version = &python.name;
        let program = Program::start(&python, COMPUTING);
        let reader = program.reader();
        assert!((0..60).all(|_| reader.gil_holder() == GilHolder::Absent), "{version}: it has no lock");
        let pid = program.pid().to_string();
        let say = |args: &[&str]| -> serde_json::Value {
            let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_stallscope"));
            let out = tool.args(args).args(["--format", "json"]).output().unwrap();
            serde_json::from_slice(&out.stdout).unwrap()
        };
        let report = say(&[&pid, "-d", "1s", "--max-duration", "1s"]);
        let process = &report["processes"][0];
        assert_ne!(process["verdict"]["code"], "gil_contention", "{version}: {process:#}");
        assert!(process["python"]["version"].as_str().unwrap().ends_with('t'), "{version}: {process:#}");
        assert!(report["collection"]["stacks"]["obtained"].as_u64().unwrap() > 0, "{version}");
        let held = |document: &serde_json::Value| {
            let threads = document["processes"][0]["threads"].as_array().unwrap();
            threads.iter().any(|t| t["gil"] == "holds" || t["gil"] == "waits")
        };
        assert!(!held(&report), "{version}: {process:#}");
        assert!(!held(&say(&["dump", &pid])), "{version}");
        program.unharmed();
    }
}

/// A generator that is called thousands of times in a row, a few calls deep.
const GENERATING: &str = r#"
from __future__ import print_function
import sys, threading

def outer():
    while True:
        middle()

def middle():
    return sum(number * number for number in range(500))

ends = threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)))
ends.daemon = True
ends.start()
print("ready")
sys.stdout.flush()
outer()
"#;

#[test]
fn a_generator_is_never_seen_without_its_callers() {
    for python in interpreters() {
        let version = &python.name;
        let program = Program::start(&python, GENERATING);
        let mut reader = program.reader();
        let (mut whole, mut alone) = (0_u32, 0_u32);
        for _ in 0..6_000 {
            if !matches!(reader.sample(program.pid(), Pace::Running), Sample::Changed | Sample::Unchanged) {
                continue;
            }
            // It may still be on its way into its functions, but never without the root of all.
            let rooted = outside(&reader).last().is_some_and(|(name, ..)| name == "<module>");
            if rooted { whole += 1 } else { alone += 1 }
        }
        println!("{version}: {whole} whole, {alone} cut off, {:?}", reader.counts());
        assert!(whole > 0, "Python {version}");
        assert_eq!(alone, 0, "Python {version}: without callers, beside {whole} with them");
        program.unharmed();
    }
}

#[test]
fn a_target_that_ends_is_noticed() {
    let Some(python) = interpreters().pop() else { return };
    let mut program = Program::start(&python, BUSY);
    let mut reader = program.reader();
    assert!(matches!(reader.sample(program.pid(), Pace::Running), Sample::Changed | Sample::Torn));
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert_eq!(reader.sample(program.pid(), Pace::Running), Sample::Unreadable);
    assert!(reader.refresh_threads().is_err());
}

#[test]
fn a_target_that_becomes_another_program_is_noticed() {
    let Some(python) = interpreters().pop() else { return };
    let text = r#"
import os, sys
print("ready", flush=True)
sys.stdin.readline()
os.execv("/bin/cat", ["cat"])
"#;
    let mut program = Program::start(&python, text);
    let mut reader = program.reader();
    program.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let exe = format!("/proc/{}/exe", program.pid());
    while !std::fs::read_link(&exe).is_ok_and(|p| p.ends_with("cat")) {
        std::thread::yield_now();
    }
    assert_eq!(
        reader.sample(program.pid(), Pace::Running),
        Sample::Unreadable,
        "its memory is that of another program now"
    );
}
