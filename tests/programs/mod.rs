//! The programs of `fixtures/programs`, and what strace says of them: shared by the tests of both engines of `trace`.
#![allow(dead_code, reason = "each test program uses its share of this")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stallscope::observe::kernel_file::{FileBudget, ProcDir};

use crate::tool::{Target, program, start, status, until};

/// A program of `fixtures/programs`, compiled once.
pub fn compiled(name: &str) -> PathBuf {
    static COMPILED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compile = || PathBuf::from(program(name, name, &["-O1"]).get_program());
    compiled.entry(name.to_owned()).or_insert_with(compile).clone()
}

pub fn target(name: &str) -> Target {
    Target::announced(Command::new(compiled(name)))
}

/// What a target says when its input ends.
pub fn last_words(target: &mut Target) -> String {
    target.hang_up();
    let mut text = String::new();
    target.child.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
    text
}

pub fn dir(pid: i32) -> ProcDir {
    ProcDir::open(pid, &FileBudget::new(0)).unwrap()
}

fn tids(pid: i32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

/// A field of the status of each thread.
pub fn of_threads(pid: i32, field: &str) -> Vec<String> {
    tids(pid).iter().filter_map(|tid| status_of_task(pid, tid, field)).collect()
}

/// The states of all threads.
pub fn states(pid: i32) -> Vec<String> {
    of_threads(pid, "State")
}

/// That nobody traces any thread of a process, and none is stopped.
pub fn assert_free(pid: i32) {
    for tid in tids(pid) {
        let field = |field: &str| status_of_task(pid, &tid, field);
        // One that has just ended is free.
        let Some(tracer) = field("TracerPid") else { continue };
        assert_eq!(tracer, "0", "thread {tid} is traced");
        let state = field("State").unwrap_or_default();
        assert!(!state.starts_with(['t', 'T']), "thread {tid} is stopped: {state}");
    }
}

pub fn status_of_task(pid: i32, tid: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|v| v.trim().to_owned()))
}

/// How many threads of a process sleep.
pub fn asleep(pid: i32) -> usize {
    states(pid).iter().filter(|state| state.starts_with('S')).count()
}

/// A call as both tell it: name, descriptor, result or error.
pub type Told = (String, Option<i64>, String);

/// What strace says: `openat(AT_FDCWD, "/x", O_RDONLY) = -1 ENOENT (…)`.
fn of_strace(line: &str) -> Option<Told> {
    let (head, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = head.split_once('(')?;
    let fd = arguments.split([',', ')']).next()?.trim().parse().ok();
    let mut words = result.split_whitespace();
    let number = words.next()?;
    let result = match (number, number.strip_prefix("0x")) {
        ("-1", _) => words.next()?.to_owned(),
        (_, Some(address)) => i64::from_str_radix(address, 16).ok()?.to_string(),
        _ => number.to_owned(),
    };
    Some((name.trim().to_owned(), fd, result))
}

pub fn of_trace(call: &Value) -> Option<Told> {
    let result = match (&call["error"], &call["result"]) {
        (Value::String(error), _) => error.clone(),
        (_, Value::Number(result)) => result.to_string(),
        _ => return None,
    };
    Some((call["name"].as_str()?.to_owned(), call["fd"].as_i64(), result))
}

/// One turn of a steady program, begun with the opening of its file.
pub fn turns(calls: Vec<Told>) -> Vec<Vec<Told>> {
    let mut turns: Vec<Vec<Told>> = Vec::new();
    for call in calls {
        if call.0 == "openat" && call.2 != "ENOENT" {
            turns.push(Vec::new());
        }
        if let Some(turn) = turns.last_mut() {
            turn.push(call);
        }
    }
    // The last one may be cut off.
    turns.pop();
    turns
}

/// Ends what goes on beside a test, also when that fails.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// strace at a thread; ended on drop.
pub struct Strace {
    child: Child,
    pid: i32,
    folder: tempfile::TempDir,
}

impl Strace {
    /// Starts it; it follows nobody but that thread.
    pub fn start(pid: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-qq", "-o"]).arg(folder.path().join("log")).args(["-p", &pid.to_string()]);
        Self { child: start(command), pid, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How often a word stands in its log.
    pub fn seen(&self, word: &str) -> usize {
        self.log().matches(word).count()
    }

    /// Waits until that is more than so often.
    pub fn until_seen(&self, word: &str, times: usize) {
        until("strace has seen enough", || self.seen(word) > times);
    }

    /// Ends it, and gives what it has seen.
    pub fn end(mut self) -> Vec<Told> {
        self.stop();
        let pid = self.pid;
        until("the target is free", || status(pid, "TracerPid").is_none_or(|tracer| tracer == "0"));
        self.log().lines().filter_map(of_strace).collect()
    }

    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.stop();
    }
}
