//! Prints how fast stacks are read, beside the fastest peers on the same target in the same run.
//!
//! Ours are accepted samples of the reader that the recorder uses; the peers' are what they say they have sampled when
//! they are told to go as fast as they can, without stopping the target. Ratios count, the machine is no scale.

mod shared;

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::peers::Peer;
use shared::{Fallible, SID};
use stallscope::observe::kernel_file::{FileBudget, ProcDir, READ_BUFFER_BYTES};
use stallscope::observe::memory::Memory;
use stallscope::observe::thread_files::ThreadFiles;
use stallscope::python::locate::locate;
use stallscope::python::reader::Pace;
use stallscope::python::{Sample, StackReader};
use stallscope::target::maps;

const SECONDS: u64 = 3;

/// Threads that run at a depth, each with a function of its own at every level; or that are parked there.
const PROGRAM: &str = r#"
import sys, threading
threads, depth, busy = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "busy"
never = threading.Event()
source = ["def f_0():\n    if busy:\n        while True:\n            n = 0\n            while n < 1000: n += 1\n    never.wait()"]
source += ["def f_%d(): f_%d()" % (n, n - 1) for n in range(1, depth)]
exec(compile("\n".join(source), "levels.py", "exec"))
top = globals()["f_%d" % (depth - 1)]
ts = [threading.Thread(target=top, daemon=True) for _ in range(threads - 1)]
for t in ts: t.start()
print("ready", flush=True)
top()
"#;

struct Target {
    child: Child,
    folder: tempfile::TempDir,
}

impl Target {
    fn start(python: &[String], threads: u32, depth: u32, mode: &str) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        // Given as text: an interpreter in a root of its own sees no file of ours.
        let (program, before) = python.split_first().ok_or("no interpreter")?;
        let mut child = Command::new(program)
            .args(before)
            .args(["-c", PROGRAM])
            .args([threads.to_string(), depth.to_string(), mode.into()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut String::new())?;
        Ok(Self { child, folder })
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(pid: i32) -> Fallible<StackReader<Memory>> {
    let dir = ProcDir::open(pid, &FileBudget::from_limit())?;
    let text = dir.read("maps", 16 << 20)?;
    let memory = Memory::open(&dir)?;
    let interpreter = locate(&maps::parse(&String::from_utf8_lossy(&text)), &memory)?;
    let mut reader = StackReader::new(interpreter, memory);
    reader.refresh_threads()?;
    Ok(reader)
}

/// Accepted stacks per second, in turn over all threads, and what part of the readings was given up.
fn ours(pid: i32, pace: Pace) -> Fallible<(f64, f64)> {
    let mut reader = reader(pid)?;
    let threads: Vec<i32> = reader.thread_ids().collect();
    let (began, mut obtained, mut asked) = (Instant::now(), 0_u64, 0_u64);
    while began.elapsed() < Duration::from_secs(SECONDS) {
        for tid in &threads {
            asked += 1;
            obtained += u64::from(matches!(reader.sample(*tid, pace), Sample::Changed | Sample::Unchanged));
        }
    }
    let rate = obtained as f64 / began.elapsed().as_secs_f64();
    Ok((rate, 1.0 - obtained as f64 / asked.max(1) as f64))
}

/// A bare remote read, and what an unchanged stack costs, in nanoseconds: the quickest of many batches.
struct Floor {
    /// 64 bytes out of the memory of the target.
    bare: f64,
    /// One reading of a stack that has not changed: of a thread that has run since.
    reading: f64,
    /// What the recorder does first, and alone where the thread has not run since: its `schedstat`.
    not_run: f64,
}

impl Floor {
    fn of(pid: i32) -> Fallible<Self> {
        const ROUNDS: u32 = 20_000;
        const BATCHES: usize = 25;
        let mut reader = reader(pid)?;
        let memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
        let mut files = ThreadFiles::new(Arc::new(ProcDir::open(pid, &FileBudget::new(8))?), pid);
        let mut buffer = [0; READ_BUFFER_BYTES];
        let address = reader.interpreter().runtime_start;
        let batch = |run: &mut dyn FnMut()| {
            let began = Instant::now();
            (0..ROUNDS).for_each(|_| run());
            began.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
        };
        let mut least = Self { bare: f64::MAX, reading: f64::MAX, not_run: f64::MAX };
        // In turn, so that a disturbance of the machine hits all three.
        for _ in 0..BATCHES {
            least.bare = least.bare.min(batch(&mut || {
                let mut bytes = [0; 64];
                let _ = black_box(memory.read_at(&mut bytes, address));
            }));
            least.reading = least.reading.min(batch(&mut || {
                black_box(reader.sample(pid, Pace::Asleep));
            }));
            least.not_run = least.not_run.min(batch(&mut || {
                let _ = black_box(files.schedstat(&mut buffer));
            }));
        }
        Ok(least)
    }
}

/// Milliseconds until a program prints its first line, which it does when it has seen everything, and until it has ended:
/// the medians of several.
fn wall(program: &Path, args: &[&str]) -> Fallible<(f64, f64)> {
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        let began = Instant::now();
        let ms = || began.elapsed().as_secs_f64() * 1e3;
        let mut child =
            Command::new(program).args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut output = child.stdout.take().ok_or("no pipe")?;
        let seen = output.read(&mut [0; 1])?;
        first.push(ms());
        std::io::copy(&mut output, &mut std::io::sink())?;
        if !child.wait()?.success() || seen == 0 {
            return Err(format!("{} failed", program.display()).into());
        }
        all.push(ms());
    }
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((middle(first), middle(all)))
}

/// An interpreter to be measured on, and who else can read it.
struct Subject {
    name: &'static str,
    program: Vec<String>,
    exists: PathBuf,
    peers: &'static [Peer],
}

fn subjects() -> [Subject; 3] {
    let plain = |name, version: &str| {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let path = home.join(".pyenv/versions").join(version).join("bin/python");
        let program = vec![path.display().to_string()];
        Subject { name, program, exists: path, peers: &[Peer::PySpy, Peer::Austin3, Peer::Austin4] }
    };
    let newest = "/usr/bin/python3.15";
    [
        plain("3.10", "3.10.13"),
        plain("3.13", "3.13.0"),
        Subject {
            name: "3.15",
            program: ["chroot", SID, newest].map(str::to_owned).into(),
            exists: PathBuf::from(format!("{SID}{newest}")),
            peers: &[Peer::Cpython, Peer::CpythonWriting],
        },
    ]
}

fn speed(subject: &Subject) -> Fallible<()> {
    println!("\nPython {}: stacks per second (goal: twice the fastest that writes nothing)", subject.name);
    for (threads, depth, mode) in [(1, 5, "busy"), (1, 200, "busy"), (20, 20, "busy"), (20, 20, "parked")] {
        let target = Target::start(&subject.program, threads, depth, mode)?;
        let pace = if mode == "busy" { Pace::Running } else { Pace::Asleep };
        let (rate, given_up) = ours(target.pid(), pace)?;
        println!("  {threads} threads, depth {depth}, {mode}: {rate:.0}, given up {:.1} %", given_up * 100.0);
        for peer in subject.peers {
            let told = match peer.stacks_per_s(target.pid(), SECONDS, target.folder.path())? {
                Some(theirs) => format!("{theirs:9.0}, ratio {:.2}", rate / theirs.max(1.0)),
                None => "no figure".into(),
            };
            println!("    {:<34} {told}", peer.name());
        }
    }
    Ok(())
}

fn first_stacks(subject: &Subject) -> Fallible<()> {
    let py_spy = shared::py_spy().filter(|_| subject.peers.contains(&Peer::PySpy));
    for (threads, depth, limit_ms) in [(2, 5, 3), (200, 100, 25)] {
        let target = Target::start(&subject.program, threads, depth, "parked")?;
        let pid = target.pid().to_string();
        let (first, all) =
            wall(Path::new(env!("CARGO_BIN_EXE_stallscope")), &["dump", &pid, "--only", &pid])?;
        let peer = py_spy.as_deref().map(|p| wall(p, &["dump", "--nonblocking", "-p", &pid])).transpose()?;
        println!(
            "  dump of {threads} threads, depth {depth}: stacks after {first:.1} ms (limit {limit_ms}), ended after \
             {all:.1} ms; py-spy {}",
            peer.map_or_else(|| "-".into(), |(first, all)| format!("{first:.1} ms, {all:.1} ms"))
        );
    }
    Ok(())
}

fn main() -> Fallible<()> {
    // `cargo bench --bench stacks -- floor` and the like print a part.
    let wanted = |part: &str| {
        let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
        asked.is_empty() || asked.iter().any(|arg| arg == part)
    };
    for subject in subjects() {
        if !subject.exists.exists() {
            println!("SKIPPED: Python {} is not installed", subject.name);
            continue;
        }
        if wanted("speed") {
            speed(&subject)?;
        }
        if wanted("floor") {
            let parked = Target::start(&subject.program, 1, 5, "parked")?;
            let floor = Floor::of(parked.pid())?;
            println!(
                "  Python {}, a bare 64-byte read {:.0} ns; an unchanged stack of a thread that has not run {:.0} ns, ratio \
                 {:.2}; of one that has, read anew, {:.0} ns, ratio {:.2} (limit 1.5)",
                subject.name,
                floor.bare,
                floor.not_run,
                floor.not_run / floor.bare,
                floor.reading,
                floor.reading / floor.bare
            );
        }
        if wanted("dump") {
            first_stacks(&subject)?;
        }
    }
    Ok(())
}
