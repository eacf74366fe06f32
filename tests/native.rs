//! `dump --native` against what gdb says of the machine's stack and the process of its Python frames; and against targets
//! and files that mean harm.

mod below;
mod interpreters;
mod packages;
mod tool;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use below::{
    EVALUATION, PATIENCE, beside, dump, every_python, frames, functions, gdb, places, plain, threads,
};
use interpreters::{Program, Python, interpreters};
use packages::{PAIRINGS, with_packages};
use proptest::prelude::*;
use serde_json::Value;
use stallscope::capture::model::{BelowSeen, NativeFunction, Record};
use stallscope::capture::reader;
use stallscope::diagnose::diagnose;
use stallscope::diagnose::model::{Code, ProcessDiagnosis};
use stallscope::native::modules::{Module, Modules};
use stallscope::native::registers::Registers;
use stallscope::native::symbols::Symbols;
use stallscope::native::unwind::{StackCopy, Unwinder};
use stallscope::target::maps;

const PARKED: &str = include_str!("../fixtures/native/parked.py");

fn some_interpreters(names: &[&str]) -> Vec<Python> {
    interpreters().into_iter().filter(|python| names.contains(&python.name.as_str())).collect()
}

#[test]
fn merged_stacks_are_those_of_gdb_and_of_python() {
    for python in some_interpreters(&["3.10.13", "3.13.0", "Debian's 3.11", "sid's 3.15"]) {
        let program = Program::start(&python, PARKED);
        let told: BTreeMap<String, Vec<(String, u64)>> = serde_json::from_str(&program.line).unwrap();
        assert!(told.len() > 10, "{}", python.name);
        let process = dump(program.pid());
        program.unharmed();
        let seen: Vec<&Value> =
            threads(&process).iter().filter(|t| told.contains_key(&t["tid"].to_string())).collect();
        assert_eq!(seen.len(), told.len(), "{}", python.name);
        for thread in &seen {
            let who = format!("{}: {thread:#}", python.name);
            assert_eq!(thread["native"]["state"], "merged", "{who}");
            assert_eq!(places(thread), told[&thread["tid"].to_string()], "{who}");
            assert!(functions(thread, "native").iter().all(|name| !name.starts_with(EVALUATION)), "{who}");
            // The innermost frame is that of the call.
            let first = frames(thread, "native").next().unwrap();
            assert!(first["library"].as_str().unwrap().contains("libc.so"), "{who}");
        }
        let Some(gdb) = gdb(program.pid(), python.root) else { continue };
        for thread in seen {
            let theirs = &gdb[&thread["tid"].to_string()];
            let ours: Vec<String> = functions(thread, "native").iter().map(|name| plain(name)).collect();
            if theirs.iter().any(|name| name.starts_with(EVALUATION)) {
                assert_eq!(ours, beside(theirs), "{}: {}", python.name, thread["name"]);
            } else {
                // Where gdb has no name for the evaluation function, its frames are some of those without a name.
                let named = |names: &[String]| -> Vec<String> {
                    names.iter().map(|name| plain(name)).filter(|name| !name.is_empty()).collect()
                };
                assert_eq!(named(&ours), named(theirs), "{}: {}", python.name, thread["name"]);
                assert!(ours.len() < theirs.len(), "{}: {}", python.name, thread["name"]);
            }
        }
        program.unharmed();
    }
}

/// A greenlet that blocks its thread in a call, out of a greenlet, out of the main one.
const BLOCKED: &str = r"
import gevent, json, socket, sys, threading
a, b = socket.socketpair()
def places(frame):
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
def call(_):
    here = list(places(sys._getframe()))
    here[0] = (here[0][0], here[0][1] + 3)
    print(json.dumps(here), flush=True)
    a.recv(1)
def blocked():
    return sorted([1], key=call)
def spawner():
    gevent.spawn(blocked).join()
gevent.spawn(spawner).join()
";

#[test]
fn the_stack_of_a_greenlet_ends_where_the_greenlet_began() {
    let all = interpreters();
    for pairing in PAIRINGS.into_iter().filter(|(file, ..)| ["py310", "py313"].contains(file)) {
        let Some(python) = with_packages(&all, pairing) else { continue };
        let program = Program::start(&python, BLOCKED);
        let told: Vec<(String, u64)> = serde_json::from_str(&program.line).unwrap();
        let process = asleep(program.pid(), "recvfrom");
        let thread = &threads(&process)[0];
        assert_eq!(thread["native"]["state"], "merged", "{thread:#}");
        assert_eq!(places(thread), told, "{}", python.name);
        let native = functions(thread, "native");
        assert!(native.last().unwrap().contains("initialstub"), "{native:?}");
        assert!(native.iter().any(|name| name == "sock_recv"), "{native:?}");
        assert!(
            native.iter().all(|name| !name.contains("ev_run")),
            "the loop is another greenlet's: {native:?}"
        );
        program.unharmed();
    }
}

/// The process as soon as its main thread sleeps in a call.
fn asleep(pid: i32, call: &str) -> Value {
    let began = Instant::now();
    loop {
        let process = dump(pid);
        let thread = &threads(&process)[0];
        if thread["sleeping_in"] == call && thread["native"]["state"] != "moved" {
            return process;
        }
        assert!(began.elapsed() < PATIENCE, "{thread:#}");
    }
}

/// Greenlets that wait, each in a chain of calls of its own; says where each is once all of them wait.
const SUSPENDED: &str = include_str!("../fixtures/native/suspended.py");

#[test]
fn suspended_greenlets_have_their_native_frames() {
    let all = interpreters();
    let some = ["py27", "py310", "py311-late", "py312", "py313", "py315"];
    for pairing in PAIRINGS.into_iter().filter(|(file, ..)| every_python() || some.contains(file)) {
        let Some(python) = with_packages(&all, pairing) else { continue };
        let program = Program::start(&python, SUSPENDED);
        let told: BTreeMap<String, Vec<(String, u64)>> = serde_json::from_str(&program.line).unwrap();
        assert!(told.len() > 5, "{}", python.name);
        let process = dump(program.pid());
        program.unharmed();
        let mut seen = 0;
        for greenlet in process["greenlets"].as_array().unwrap() {
            if greenlet["state"] != "suspended" {
                continue;
            }
            let who = format!("{}: {greenlet:#}", python.name);
            assert_eq!(greenlet["native"]["state"], "merged", "{who}");
            let native = functions(greenlet, "native");
            assert_eq!(native[0], "slp_switch", "{who}");
            assert!(native.iter().all(|name| !name.starts_with(EVALUATION)), "{who}");
            if greenlet["kind"] == "main" {
                assert_eq!(native.last().unwrap(), "_start", "{who}");
                continue;
            }
            assert!(native.last().unwrap().contains("initialstub"), "{who}");
            let Some(expected) = greenlet["callable"].as_str().and_then(|callable| told.get(callable)) else {
                continue;
            };
            let ours = places(greenlet);
            // This one's greenlet (3.0.0) tells the process itself of the innermost frame only.
            let known = if python.name == "py312" { &ours[..expected.len().min(1)] } else { &ours[..] };
            assert_eq!(known, expected, "{who}");
            assert!(ours.last().unwrap().0.ends_with("program.py"), "{who}");
            let sorts = native.iter().any(|name| name.contains("sort"));
            // Debian's interpreters have no names for it.
            let named = python.root.is_none() || sorts;
            assert!(!named || sorts == greenlet["callable"].as_str().unwrap().contains("sorts"), "{who}");
            seen += 1;
        }
        assert_eq!(seen, told.len(), "{}: {:#}", python.name, process["greenlets"]);
        program.unharmed();
    }
}

#[test]
fn a_thread_that_runs_has_its_python_frames_only() {
    let Some(python) = some_interpreters(&["3.13.0", "Debian's 3.11"]).pop() else { return };
    let program =
        Program::start(&python, "def busy():\n    print('here', flush=True)\n    while True: pass\nbusy()\n");
    let began = Instant::now();
    let thread = loop {
        let thread = threads(&dump(program.pid()))[0].clone();
        if thread["native"]["state"] == "running" && !places(&thread).is_empty() {
            break thread;
        }
        assert!(began.elapsed() < PATIENCE, "{thread:#}");
    };
    assert_eq!(frames(&thread, "native").count(), 0);
    assert!(functions(&thread, "python").iter().any(|name| name == "busy"), "{thread:#}");
    program.unharmed();
}

#[test]
fn a_program_without_python_has_its_native_frames() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let process = asleep(child.id() as i32, "clock_nanosleep");
    child.kill().unwrap();
    child.wait().unwrap();
    let native = functions(&threads(&process)[0], "native");
    assert!(native.first().unwrap().contains("clock_nanosleep"), "{native:?}");
    // Its own functions have no names; its beginning is known all the same, as it is where the stack ends.
    assert_eq!(threads(&process)[0]["native"]["state"], "merged", "{process:#}");
}

/// Imports a module from a file of its own, which is then gone, and a pipe in its place.
const EXCHANGED: &str = r#"
import importlib.util, os, shutil, sys, tempfile, select as original
if not getattr(original, "__file__", None):
    print("built in", flush=True)
    sys.stdin.read()
folder = tempfile.mkdtemp()
path = os.path.join(folder, os.path.basename(original.__file__))
shutil.copy(original.__file__, path)
spec = importlib.util.spec_from_file_location("select", path)
copy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(copy)
os.unlink(path)
os.mkfifo(path)
reader, writer = os.pipe()
print(path, flush=True)
copy.select([reader, 0], [], [])
os.unlink(path); os.rmdir(folder)
"#;

#[test]
fn a_library_that_is_gone_is_still_named_and_a_pipe_in_its_place_keeps_nobody() {
    let Some(python) = some_interpreters(&["3.13.0", "3.10.13"]).pop() else { return };
    let mut program = Program::start(&python, EXCHANGED);
    let path = program.line.trim().to_owned();
    assert!(Path::new(&path).extension().is_some_and(|end| end == "so"), "{path}");
    let process = asleep(program.pid(), "pselect6");
    let thread = &threads(&process)[0];
    assert_eq!(thread["native"]["state"], "merged", "{thread:#}");
    let own = frames(thread, "native").find(|f| f["library"] == path.as_str()).unwrap();
    // The kernel's link to what is mapped is for the superuser.
    if nix::unistd::geteuid().is_root() {
        assert_eq!(own["function"], "select_select_impl", "{own:#}");
    }
    program.unharmed();
    drop(program.child.stdin.take());
    program.child.wait().unwrap();
}

#[test]
fn a_page_has_native_and_kernel_frames_among_those_of_python() {
    let Some(python) = some_interpreters(&["3.13.0", "Debian's 3.11"]).pop() else { return };
    let text = "import sys\ndef waits():\n    print('here', flush=True)\n    sys.stdin.readline()\nwaits()\n";
    let program = Program::start(&python, text);
    asleep(program.pid(), "read");
    let pid = program.pid().to_string();
    let page = tool::run(&["dump", &pid, "--only", &pid, "--native"]).stdout;
    let lines: Vec<&str> = page.lines().map(str::trim).collect();
    let at = |what: &str| lines.iter().position(|line| line.starts_with(what));
    let (read, waits) = (lines.iter().position(|l| l.contains("  libc.so.6")), at("waits  "));
    assert!(read < waits && read.is_some(), "{page}");
    if nix::unistd::geteuid().is_root() {
        assert!(lines.iter().position(|l| l.ends_with("  kernel")) < read, "{page}");
    }
    assert!(
        lines.iter().any(|line| line.starts_with("Py_BytesMain") || line.starts_with("_start")),
        "{page}"
    );
}

/// What the judge makes of a kept look, when these functions were seen below the stack on which its loop is blocked.
fn judged(functions: &[(&str, &str)]) -> ProcessDiagnosis {
    let path = "fixtures/captures/modern-gevent-block_upstream.loop_blocked_off_cpu.cap";
    let mut capture = reader::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let blocked = diagnose(&capture).processes.into_iter();
    let pid = blocked.filter(|p| p.verdict.code == Code::LoopBlockedOffCpu).map(|p| p.pid).next().unwrap();
    let samples = capture
        .records
        .iter()
        .filter_map(|r| if let Record::Tick(tick) = r { Some(&tick.samples) } else { None });
    let stacks = samples.flatten().filter(|s| s.pid == pid && s.tid == pid).filter_map(|s| s.stack);
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    stacks.for_each(|stack| *counts.entry(stack).or_default() += 1);
    let stack = *counts.iter().max_by_key(|(_, count)| **count).unwrap().0;
    let function =
        |(name, library): &(&str, &str)| NativeFunction { name: (*name).into(), library: (*library).into() };
    let functions: Vec<NativeFunction> = functions.iter().map(function).collect();
    if !functions.is_empty() {
        capture.records.push(Record::Below(BelowSeen { at_ns: 0, pid, stack, functions }));
    }
    diagnose(&capture).processes.into_iter().find(|p| p.pid == pid).unwrap()
}

#[test]
fn the_verdict_names_the_library_that_waits_and_nothing_else_changes() {
    let before = judged(&[]);
    let query = [
        ("__libc_recv", "libc.so.6"),
        ("vio_read", "libx.so.1"),
        ("real_query", "libx.so.1"),
        ("f", "_x.so"),
    ];
    let mut named = judged(&query);
    assert_eq!(named.verdict.summary, format!("{} (recv ← libx.so.1 real_query)", before.verdict.summary));
    named.verdict.summary.clone_from(&before.verdict.summary);
    assert_eq!(named.verdict, before.verdict);
    // A wait for a backend turns out to be one for a name.
    assert_eq!(before.verdict.subcause.as_deref(), Some("upstream"));
    let asks = judged(&[("__poll", "libc.so.6"), ("getaddrinfo", "libc.so.6"), ("g", "_socket.so")]);
    assert_eq!(asks.verdict.subcause.as_deref(), Some("dns"));
    assert_eq!(asks.verdict.code, before.verdict.code);
}

/// A small program or library, with what can be asked of it.
fn small_files() -> Vec<Vec<u8>> {
    let home = std::env::var("HOME").unwrap_or_default();
    // One without, one with debugging information.
    let lib = format!("{home}/.pyenv/versions/3.10.13/lib/python3.10/lib-dynload");
    let module = std::fs::read_dir(Path::new(&lib))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("_heapq.")));
    [Some("/bin/true".into()), module]
        .into_iter()
        .flatten()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Where a file is mapped, as it is.
const BASE: u64 = 0x10_0000;

/// Asks everything of a file; how many frames and names came of it.
fn ask(bytes: &[u8], stack: &[u8]) -> (usize, usize) {
    let symbols = Symbols::of_bytes(bytes, true).unwrap_or_default();
    let names = (0..bytes.len() as u64).step_by(251).map(|at| symbols.at(at).len()).sum();
    let end = BASE + (bytes.len() as u64).next_multiple_of(4_096);
    let modules = Modules::of(&maps::parse(&format!("{BASE:x}-{end:x} r-xp 00000000 00:00 0 /lib/x.so\n")));
    let memory = StackCopy { start: BASE, bytes: bytes.to_vec() };
    let stack = StackCopy { start: 0x7000_0000, bytes: stack.to_vec() };
    let mut unwinder = Unwinder::default();
    let mut walk = |offset: u64| {
        let registers = Registers::asleep(stack.start, BASE + offset);
        let mut of_file = |_: &Module, address| symbols.rule(address, BASE);
        unwinder.walk_with(&memory, &modules, &stack, registers, &mut of_file).places.len()
    };
    (names, (0..bytes.len() as u64).step_by(97).map(&mut walk).sum())
}

#[test]
fn files_that_are_whole_have_names_and_rules() {
    // A stack of addresses inside the file leads from function to function.
    let stack: Vec<u8> = (0..512_u64).flat_map(|i| (BASE + i * 61).to_le_bytes()).collect();
    for file in small_files() {
        let (names, frames) = ask(&file, &stack);
        assert!(frames > file.len() / 97, "rules lead on: {frames}");
        let symbols = file.windows(7).any(|w| w == b".symtab");
        assert!(!symbols || names > 0, "{names}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_file_can_hurt(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
        head: bool,
        stack in prop::collection::vec(any::<u8>(), 0..2_048),
    ) {
        let files = small_files();
        let mut bytes = which.get(&files).clone();
        // The headers are where a change does most.
        let reach = if head { 1_024.min(bytes.len()) } else { bytes.len() };
        for (place, value) in changes {
            bytes[place.index(reach)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = ask(&bytes, &stack);
    }
}
