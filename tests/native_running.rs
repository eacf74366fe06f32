//! Threads that run: without leave they are let be, with it each is stopped for the moment of a copy, and what that shows is
//! what gdb shows. And functions whose tables are in a file only.

mod below;
mod interpreters;
mod packages;
mod tool;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use below::{
    PATIENCE, beside, dump, dump_with, every_python, frames, functions, gdb, places, plain, threads,
};
use interpreters::{Program, Python, interpreters};
use packages::{PAIRINGS, with_packages};
use serde_json::Value;
use tool::{Target, program, skipped, status};

const LEAVE: [&str; 2] = ["--level", "burst"];

/// What a process is compiled with so that callers are not found by mapped tables.
const NO_TABLES: [&str; 4] = ["-O1", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];

fn assert_free(pid: i32) {
    assert_eq!(status(pid, "TracerPid").as_deref(), Some("0"));
    let state = status(pid, "State").unwrap();
    assert!(!state.starts_with(['t', 'T']), "{state}");
}

/// A process whose main thread was held; on a machine that has no processor for it, that takes more than one look.
fn held(pid: i32) -> Value {
    let began = Instant::now();
    loop {
        let process = dump_with(pid, &LEAVE);
        assert_free(pid);
        if threads(&process)[0]["native"]["state"] != "running" {
            return process;
        }
        assert!(began.elapsed() < PATIENCE, "{process:#}");
    }
}

/// The thread of a process that spins in C, seen with leave to stop it, beside gdb's frames.
fn spinning(way: &str, command: Command) -> Value {
    let target = Target::announced(command);
    let process = held(target.pid());
    let thread = threads(&process)[0].clone();
    assert_eq!(thread["native"]["state"], "merged", "{way}: {thread:#}");
    let burst = &process["burst"];
    assert_eq!((&burst["detached"], &burst["interrupted"]), (&true.into(), &0.into()), "{way}: {burst}");
    let stops = burst["stops"].as_u64().unwrap();
    assert!((1..=3).contains(&stops), "{way}: {burst}");
    assert!(burst["stopped_ns_max"].as_u64().unwrap() > 0, "{way}: {burst}");
    let ours = functions(&thread, "native");
    let spins: Vec<&str> = ours.iter().map(String::as_str).filter(|name| *name == "middle").collect();
    assert_eq!((ours[0].as_str(), spins.len()), ("inner", 6), "{way}: {ours:?}");
    if let Some(theirs) = gdb(target.pid(), None) {
        // gdb goes no further than that, unless its call was made a jump.
        let end = ours.iter().position(|name| name == "main").map_or(ours.len(), |main| main + 1);
        let ours: Vec<String> = ours[..end].iter().map(|name| plain(name)).collect();
        let theirs: Vec<String> = theirs[&target.pid().to_string()].iter().map(|name| plain(name)).collect();
        assert_eq!(ours, theirs, "{way}");
    }
    thread
}

#[test]
fn a_c_program_that_spins_has_the_frames_of_gdb() {
    for (way, flags) in
        [("spins", &["-O1"][..]), ("spins-base", &["-O1", "-fno-omit-frame-pointer"]), ("spins-o2", &["-O2"])]
    {
        spinning(way, program("spins", way, flags));
    }
}

#[test]
fn functions_whose_tables_are_in_a_file_only_are_followed() {
    let packed = [&NO_TABLES[..], &["-gz=zlib"]].concat();
    for (way, flags) in [("spins-file", &NO_TABLES[..]), ("spins-packed", &packed)] {
        let thread = spinning(way, program("spins", way, flags));
        let mut lines = frames(&thread, "native").filter(|frame| frame["function"] == "middle");
        assert!(lines.all(|frame| frame["line"].as_u64() > Some(0)), "{thread:#}");
    }
    // In the file beside, to which a link leads.
    let made = program("spins", "spins-stripped", &NO_TABLES);
    let path = made.get_program().to_str().unwrap().to_owned();
    let beside = format!("{path}.debug");
    let link = format!("--add-gnu-debuglink={beside}");
    for words in [&["--only-keep-debug", &path, &beside][..], &["--strip-all", &path], &[&link, &path]] {
        match Command::new("objcopy").args(words).status() {
            Ok(done) => assert!(done.success(), "objcopy {words:?}"),
            Err(_) => return skipped("objcopy is not installed: a table in a file beside was not tried"),
        }
    }
    spinning("spins-stripped", made);
    // Without that file nobody can tell, and nobody guesses.
    std::fs::remove_file(beside).unwrap();
    let target = Target::announced(Command::new(&path));
    let process = held(target.pid());
    let thread = &threads(&process)[0];
    assert_eq!(thread["native"]["state"], "incomplete", "{thread:#}");
    assert_eq!(frames(thread, "native").count(), 1, "{thread:#}");
    let why = thread["native"]["why"].as_str().unwrap();
    assert!(why.contains("does not tell how callers are found"), "{why}");
}

#[test]
fn without_leave_nobody_is_stopped_and_the_way_is_told() {
    let target = Target::announced(program("spins", "spins", &["-O1"]));
    let process = dump(target.pid());
    let thread = &threads(&process)[0];
    assert_eq!(thread["native"]["state"], "running", "{thread:#}");
    assert_eq!(frames(thread, "native").count(), 0);
    assert!(thread["native"]["why"].as_str().unwrap().contains("--level burst"), "{thread:#}");
    assert!(process.get("burst").is_none(), "{process:#}");
    let pid = target.pid().to_string();
    let refused = tool::run(&["dump", &pid, "--level", "burst"]);
    assert_eq!(refused.code, 2, "without --native it means nothing: {refused:?}");
    let mut page = String::new();
    tool::until("it is held", || {
        page = tool::run(&["dump", &pid, "--native", "--level", "burst"]).stdout;
        page.contains("    inner  spins")
    });
    assert!(page.contains("threads that run were stopped ") && page.contains("detached"), "{page}");
}

#[test]
fn who_sleeps_is_not_stopped_with_leave_either() {
    let target = Target::waiting();
    tool::until("it sleeps", || status(target.pid(), "State").is_some_and(|state| state.starts_with('S')));
    let process = dump_with(target.pid(), &LEAVE);
    assert_eq!(process["burst"]["stops"], 0, "{process:#}");
    assert_eq!(threads(&process)[0]["native"]["state"], "merged");
}

#[test]
fn who_is_traced_already_keeps_its_tracer_and_its_python_frames() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: a target that is traced already was not tried");
    }
    let target = Target::announced(program("spins", "spins", &["-O1"]));
    let mut strace = tool::start({
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &target.pid().to_string()]);
        command
    });
    tool::until("strace holds it", || status(target.pid(), "TracerPid").is_some_and(|pid| pid != "0"));
    let process = dump_with(target.pid(), &LEAVE);
    let native = &threads(&process)[0]["native"];
    assert_eq!(native["state"], "running", "{native:#}");
    assert!(native["why"].as_str().unwrap().contains("could not be stopped"), "{native:#}");
    assert_eq!(process["burst"]["stops"], 0);
    assert_ne!(status(target.pid(), "TracerPid").unwrap(), "0", "strace goes on");
    let strace_pid = nix::unistd::Pid::from_raw(strace.id() as i32);
    nix::sys::signal::kill(strace_pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
}

/// Computations in native code that libraries or the interpreter itself make: what is called, and which frames say so.
const COMPUTES: [(&str, &str, &str); 3] = [
    (
        "zlib",
        "import zlib\ndata = bytes(range(256)) * 65536\ndef work():\n    zlib.compress(data, 9)\n",
        "libz.so",
    ),
    ("hash", "import hashlib\ndata = bytes(1 << 26)\ndef work():\n    hashlib.sha512(data)\n", "crypto"),
    (
        "regex",
        "import re\ntext = 'a' * 26\nfind = re.compile('(a+)+b')\ndef work():\n    find.match(text)\n",
        "",
    ),
];

/// How each is run: in a pool of threads like gthread's, in a greenlet like gevent's.
const GTHREAD: &str = "import concurrent.futures
print('here', flush=True)
def handle():
    while True:
        work()
concurrent.futures.ThreadPoolExecutor(1).submit(handle).result()
";
const GEVENT: &str = "import gevent
print('here', flush=True)
def handle():
    while True:
        work()
gevent.spawn(handle).join()
";

/// A thread whose innermost Python function is `work`, with native frames below it, as soon as one is met.
fn computing(program: &Program, who: &str) -> (Value, Value) {
    let began = Instant::now();
    loop {
        let process = dump_with(program.pid(), &LEAVE);
        program.unharmed();
        assert_free(program.pid());
        let works = |thread: &&Value| {
            let all = thread["frames"].as_array().unwrap();
            let inner = all.iter().position(|frame| frame["kind"] == "python");
            inner.is_some_and(|at| at > 0 && all[at]["function"] == "work")
                && thread["native"]["state"] == "merged"
                && process["burst"]["stops"].as_u64() > Some(0)
        };
        if let Some(thread) = threads(&process).iter().find(works) {
            return (thread.clone(), process["burst"].clone());
        }
        assert!(began.elapsed() < PATIENCE, "{who}: {process:#}");
    }
}

/// The frames further out than the innermost evaluation of Python code: these do not move.
fn outer(names: &[String]) -> Vec<String> {
    let behind = names.iter().skip_while(|name| !name.starts_with(below::EVALUATION)).skip(1);
    beside(&behind.cloned().collect::<Vec<_>>())
}

fn native_computations(python: &Python, by: &str) {
    for (what, text, library) in COMPUTES {
        let who = format!("{}: {what}", python.name);
        let program = Program::start(python, &format!("{text}{by}"));
        let (thread, burst) = computing(&program, &who);
        assert_eq!(burst["interrupted"], 0, "{who}: {burst}");
        let all = thread["frames"].as_array().unwrap();
        let inner = all.iter().position(|frame| frame["kind"] == "python").unwrap();
        let own = all[..inner].iter().any(|f| f["library"].as_str().is_some_and(|l| l.contains(library)));
        assert!(own || what == "hash", "{who}: {thread:#}");
        assert_eq!(functions(&thread, "python")[..2], ["work", "handle"], "{who}");
        // In a greenlet, the stack ends where that began.
        if by == GEVENT {
            assert!(
                functions(&thread, "native").last().unwrap().contains("initialstub"),
                "{who}: {thread:#}"
            );
            continue;
        }
        let Some(gdb) = gdb(program.pid(), python.root) else { continue };
        let theirs = outer(&gdb[&thread["tid"].to_string()]);
        let names = all[inner + 1..].iter().filter(|frame| frame["kind"] == "native");
        let ours: Vec<String> = names.map(|frame| plain(frame["function"].as_str().unwrap())).collect();
        assert_eq!(ours, theirs, "{who}");
        program.unharmed();
    }
}

#[test]
fn computations_in_a_pool_of_threads_are_named() {
    for python in interpreters() {
        if python.name == "3.13.0" || (every_python() && python.name == "3.10.13") {
            native_computations(&python, GTHREAD);
        }
    }
}

#[test]
fn computations_in_a_greenlet_are_named() {
    let all = interpreters();
    let some = |file: &str| file == "py310" || (every_python() && file == "py313");
    for pairing in PAIRINGS.into_iter().filter(|(file, ..)| some(file)) {
        if let Some(python) = with_packages(&all, pairing) {
            native_computations(&python, GEVENT);
        }
    }
}

#[test]
fn pure_python_that_runs_is_joined_too() {
    let loops = "def inner():\n    while True:\n        pass\ndef work():\n    inner()\nprint('here', flush=True)\nwork()\n";
    for python in interpreters() {
        if !["3.10.13", "3.12.1", "3.13.0"].contains(&python.name.as_str()) {
            continue;
        }
        let program = Program::start(&python, loops);
        let began = Instant::now();
        let thread = loop {
            let thread = threads(&dump_with(program.pid(), &LEAVE))[0].clone();
            if thread["native"]["state"] == "merged" && places(&thread).len() == 3 {
                break thread;
            }
            assert!(began.elapsed() < PATIENCE, "{}: {thread:#}", python.name);
        };
        assert_eq!(functions(&thread, "python"), ["inner", "work", "<module>"], "{}", python.name);
        assert!(functions(&thread, "native").iter().any(|name| name == "_start"), "{thread:#}");
        program.unharmed();
    }
}

/// A loop that compresses for seconds.
const BLOCKED_LOOP: &str = "import asyncio, zlib
data = bytes(range(256)) * (1 << 19)
def work():
    zlib.compress(data, 9)
async def main():
    print('ready', flush=True)
    while True:
        for _ in range(6):
            work()
        await asyncio.sleep(0)
asyncio.run(main())
";

#[test]
fn a_diagnosis_with_leave_names_the_library_that_computes() {
    let Some(python) = interpreters().into_iter().find(|python| python.name == "3.13.0") else { return };
    let program = Program::start(&python, BLOCKED_LOOP);
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("loop.cap");
    let (capture, pid) = (capture.to_str().unwrap(), program.pid().to_string());
    let mut ran = None;
    // On a machine that starves it, the verdict is another one for a while.
    tool::until("the library is named", || {
        // A loop is blocked when it has not turned for a second.
        let look = [pid.as_str(), "-d", "2s", "--max-duration", "2s", "--level", "burst", "--save", capture];
        let seen = tool::run(&[&look[..], &["--format", "json"]].concat());
        let document = seen.json();
        let verdict = &document["processes"][0]["verdict"];
        let named = verdict["code"] == "loop_blocked_on_cpu"
            && verdict["summary"].as_str().unwrap().contains("(libz.so")
            && document["collection"]["burst"]["stops"].as_u64() > Some(0);
        assert_free(program.pid());
        if named {
            ran = Some(seen);
        } else {
            std::fs::remove_file(capture).unwrap();
        }
        named
    });
    let again = tool::run(&["--replay", capture, "--format", "json"]);
    assert_eq!(again.stdout, ran.unwrap().stdout, "the capture keeps it");
    program.unharmed();
}
