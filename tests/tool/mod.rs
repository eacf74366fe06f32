//! Runs the real binary against real processes: shared by the tests of edges, harm and replay.
#![allow(dead_code, reason = "each test program uses its share of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// No run of the tool may take longer: longer is a hang.
const PATIENCE: Duration = Duration::from_mins(1);

/// The tool, as a command to add to.
pub fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stallscope"));
    command.args(args).env("NO_COLOR", "1");
    // A pipeline that runs these tests must not change what they see, nor get their reports.
    for name in ["GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY", "CI_PROJECT_DIR"] {
        command.env_remove(name);
    }
    command
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ran {
    /// The document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON: {e}: {self:?}"))
    }
}

/// Runs the tool to its end.
pub fn run(args: &[&str]) -> Ran {
    finish(start(tool(args)))
}

/// Looks for a second and gives the exit code and the document.
pub fn look(pid: i32, more: &[&str]) -> (Ran, Value) {
    let pid = pid.to_string();
    let ran = run(&[&[pid.as_str(), "--format", "json", "-d", "1s", "--max-duration", "1s"], more].concat());
    let document = ran.json();
    (ran, document)
}

/// Starts a prepared command with its outputs caught.
pub fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Waits for the end of a run: no hang, no panic, no death by a signal.
pub fn finish(mut child: Child) -> Ran {
    let began = Instant::now();
    let pid = Pid::from_raw(child.id() as i32);
    let (ended, watched) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let hung = watched.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if hung {
            let _ = kill(pid, Signal::SIGKILL);
        }
        hung
    });
    let errors = child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        })
    });
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout).unwrap();
    }
    let stderr = errors.map_or_else(String::new, |thread| thread.join().unwrap().unwrap());
    let status = child.wait().unwrap();
    let took = began.elapsed();
    drop(ended);
    assert!(!watch.join().unwrap(), "the tool hung: {stderr}");
    assert_eq!(status.signal(), None, "the tool died of a signal: {stderr}");
    let code = status.code().unwrap();
    assert!(code != 101 && !stderr.contains("panicked at"), "the tool panicked: {stderr}");
    Ran { code, stdout, stderr, took }
}

/// That an error is told as the contract says: exit code, one cause on standard error, or one document.
pub fn assert_error(args: &[&str], kind: &str, cause: &str) {
    let wanted = if kind == "usage" { 2 } else { 3 };
    let text = run(args);
    assert_eq!(text.code, wanted, "{args:?}: {text:?}");
    assert!(text.stdout.is_empty(), "{args:?}: {text:?}");
    assert!(text.stderr.starts_with("error:"), "{args:?}: {text:?}");
    assert_eq!(text.stderr.matches("cause:").count(), 1, "{args:?}: {text:?}");
    let told = text.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(cause), "{args:?}: {cause:?} not in {told:?}");

    let json = run(&[args, &["--format", "json"]].concat());
    assert_eq!(json.code, wanted, "{args:?}: {json:?}");
    assert!(json.stderr.is_empty(), "{args:?}: {json:?}");
    let document = json.json();
    assert_eq!(document["error"]["kind"], kind, "{args:?}: {document}");
    assert!(document["schema_version"].is_string());
    let fields = [&document["error"]["message"], &document["error"]["cause"], &document["error"]["value"]];
    let told = fields.map(|field| field.as_str().unwrap_or_default()).join(" ");
    assert!(told.contains(cause), "{args:?}: {cause:?} not in {told:?}");
}

/// A process to look at, which has told that it is ready; ended on drop.
pub struct Target {
    pub child: Child,
    input: Option<ChildStdin>,
}

impl Target {
    /// `python3` that waits for the end of its input.
    pub fn waiting() -> Self {
        Self::python("python3", "sys.stdin.read()", &[])
    }

    /// A Python program, run by an interpreter, with arguments.
    pub fn python(interpreter: &str, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(interpreter);
        let ready = "import os, sys, time\nsys.stdout.write('ready\\n'); sys.stdout.flush()\n";
        command.args(["-c", &format!("{ready}{program}")]).args(args);
        Self::announced(command)
    }

    /// A program that prints a line when it is ready.
    pub fn announced(command: Command) -> Self {
        let mut target = Self::silent(command);
        let mut line = String::new();
        BufReader::new(target.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready"), "the target did not start: {line:?}");
        target
    }

    /// A program that needs no time to get ready.
    pub fn silent(mut command: Command) -> Self {
        // Its own group, so that a Ctrl-C meant for the tests does not change what is looked at.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let input = child.stdin.take();
        Self { child, input }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Writes into its input.
    pub fn say(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends its input.
    pub fn hang_up(&mut self) {
        self.input = None;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of `fixtures/programs`, compiled in one of several ways, each of which has a name.
pub fn program(name: &str, way: &str, flags: &[&str]) -> Command {
    let source = format!("{}/fixtures/programs/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    // Tests run side by side: each makes its own and puts it in its place whole.
    let (made, place) = (folder.join(format!("{way}.{:?}", std::thread::current().id())), folder.join(way));
    let mut compiler = Command::new("cc");
    let done = compiler.args(flags).args(["-pthread", "-o"]).arg(&made).arg(source).status().unwrap();
    assert!(done.success(), "{name} does not compile");
    std::fs::rename(made, &place).unwrap();
    Command::new(place)
}

/// Waits until a condition holds; there is no event for what goes on inside another process.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A field of `/proc/PID/status`.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::trim));
    line.map(str::to_owned)
}

/// Waits until a tool has taken about that many samples: it sleeps once between two of them, and its signal
/// handlers stand before the first.
pub fn await_samples(tool: &Child, samples: u64) {
    let pid = tool.id() as i32;
    let number = |field: &str, radix| status(pid, field).and_then(|v| u64::from_str_radix(&v, radix).ok());
    let interrupt = 1 << (Signal::SIGINT as u32 - 1);
    until("the tool catches signals", || number("SigCgt", 16).is_some_and(|set| set & interrupt != 0));
    let slept = || number("voluntary_ctxt_switches", 10).unwrap_or(0);
    let before = slept();
    until("the tool samples", || slept() >= before + samples);
}

/// The verdict of each process of a document: code and confidence.
pub fn verdicts(document: &Value) -> Vec<(String, f64)> {
    let processes = document["processes"].as_array().cloned().unwrap_or_default();
    let verdict = |p: &Value| {
        let verdict = &p["verdict"];
        (verdict["code"].as_str().unwrap().to_owned(), verdict["confidence"].as_f64().unwrap_or(0.0))
    };
    processes.iter().map(verdict).collect()
}

/// All blind spots of a document as one text.
pub fn blind_spots(document: &Value) -> String {
    document["blind_spots"].to_string()
}

/// Says that a test could not be done here.
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}
