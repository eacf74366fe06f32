//! Prints how fast stacks are read, beside the fastest peers on the same target in the same run.
//!
//! Ours are accepted samples of the reader that the recorder uses; the peers' are what they say they have sampled when
//! they are told to go as fast as they can, without stopping the target. Ratios count, the machine is no scale.

mod shared;

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stallscope::observe::kernel_file::{FileBudget, ProcDir};
use stallscope::observe::memory::Memory;
use stallscope::python::locate::locate;
use stallscope::python::reader::Pace;
use stallscope::python::{Sample, StackReader};
use stallscope::target::maps;

type Fallible<T> = Result<T, Box<dyn Error>>;

const SECONDS: u64 = 3;
/// Samples per second that py-spy is asked for: more than it can do, and not so many that it never comes to its end.
const RATE: &str = "20000";
/// Longer than this nobody is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

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
    fn start(python: &Path, threads: u32, depth: u32, mode: &str) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("levels.py");
        std::fs::write(&program, PROGRAM)?;
        let mut child = Command::new(python)
            .arg(&program)
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

/// Sum of the counts of collapsed stacks.
fn collapsed(text: &str) -> u64 {
    text.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// `None` when it gave no figure.
fn by_py_spy(program: &Path, target: &Target) -> Fallible<Option<f64>> {
    let out = target.folder.path().join("py-spy.txt");
    let ran = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(program)
        .args(["record", "--nonblocking", "--threads", "--idle", "-f", "raw", "-r", RATE, "-d"])
        .arg(SECONDS.to_string())
        .args(["-p", &target.pid().to_string(), "-o"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !ran.success() {
        println!("  py-spy did not come to its end within {} s: no figure", PATIENCE.as_secs());
        return Ok(None);
    }
    Ok(Some(collapsed(&std::fs::read_to_string(out)?) as f64 / SECONDS as f64))
}

/// austin counts microseconds unless it is told to count samples; each line is one sample of one thread.
fn by_austin(program: &Path, target: &Target) -> Fallible<f64> {
    let out = target.folder.path().join("austin.txt");
    Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(program)
        .args(["-i", "1us", "-x", &SECONDS.to_string(), "-o"])
        .arg(&out)
        .args(["-p", &target.pid().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let bytes = std::fs::read(out)?;
    let lines = String::from_utf8_lossy(&bytes);
    Ok(lines.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).count() as f64 / SECONDS as f64)
}

/// One 64-byte remote read, and one reading of a stack that has not changed, in nanoseconds: the quickest of many.
fn floor(pid: i32) -> Fallible<(f64, f64)> {
    const ROUNDS: u32 = 20_000;
    const BATCHES: usize = 15;
    let mut reader = reader(pid)?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
    let address = reader.interpreter().runtime_start;
    let least = |run: &mut dyn FnMut()| {
        let batch = |run: &mut dyn FnMut()| {
            let began = Instant::now();
            (0..ROUNDS).for_each(|_| run());
            began.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
        };
        (0..BATCHES).map(|_| batch(run)).fold(f64::MAX, f64::min)
    };
    let bare = least(&mut || {
        let mut bytes = [0; 64];
        let _ = black_box(memory.read_at(&mut bytes, address));
    });
    let unchanged = least(&mut || {
        black_box(reader.sample(pid, Pace::Asleep));
    });
    Ok((bare, unchanged))
}

/// Wall time of a whole process, the median of several.
fn wall(program: &Path, args: &[&str]) -> Fallible<f64> {
    let mut times = Vec::new();
    for _ in 0..11 {
        let began = Instant::now();
        let ran = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !ran.success() {
            return Err(format!("{} failed", program.display()).into());
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> Fallible<()> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let (py_spy, austin) = (shared::py_spy(), shared::austin());
    for version in ["3.10.13", "3.13.0"] {
        let python = home.join(".pyenv/versions").join(version).join("bin/python");
        if !python.exists() {
            println!("SKIPPED: Python {version} is not installed");
            continue;
        }
        println!(
            "\nPython {version}: stacks per second, ours / py-spy / austin (ratio to the fastest; goal 2)"
        );
        for (threads, depth, mode) in [(1, 5, "busy"), (1, 200, "busy"), (20, 20, "busy"), (20, 20, "parked")]
        {
            let target = Target::start(&python, threads, depth, mode)?;
            let pace = if mode == "busy" { Pace::Running } else { Pace::Asleep };
            let (rate, given_up) = ours(target.pid(), pace)?;
            let theirs = [
                py_spy.as_deref().map(|p| by_py_spy(p, &target)).transpose()?.flatten(),
                austin.as_deref().map(|p| by_austin(p, &target)).transpose()?,
            ];
            let fastest = theirs.iter().flatten().copied().fold(0.0, f64::max);
            let shown = theirs.map(|t| t.map_or_else(|| "-".into(), |t| format!("{t:9.0}")));
            println!(
                "  {threads:2} threads, depth {depth:3}, {mode:6} {rate:9.0} / {} / {}  ratio {:.2}, given up {:.1} %",
                shown[0],
                shown[1],
                rate / fastest.max(1.0),
                given_up * 100.0
            );
        }
        let parked = Target::start(&python, 1, 5, "parked")?;
        let (bare, unchanged) = floor(parked.pid())?;
        println!(
            "  unchanged stack {unchanged:.0} ns, a bare 64-byte read {bare:.0} ns: ratio {:.2} (limit 1.5)",
            unchanged / bare
        );
        for (threads, depth, limit_ms) in [(2, 5, 3), (200, 100, 25)] {
            let target = Target::start(&python, threads, depth, "parked")?;
            let pid = target.pid().to_string();
            let own = wall(Path::new(env!("CARGO_BIN_EXE_stallscope")), &["dump", &pid, "--only", &pid])?;
            let peer =
                py_spy.as_deref().map(|p| wall(p, &["dump", "--nonblocking", "-p", &pid])).transpose()?;
            println!(
                "  dump of {threads} threads, depth {depth}: {own:.1} ms wall (limit {limit_ms}), py-spy {} ms",
                peer.map_or_else(|| "-".into(), |ms| format!("{ms:.1}"))
            );
        }
    }
    Ok(())
}
