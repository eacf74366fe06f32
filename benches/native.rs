//! What `dump --native` costs beside `py-spy dump --native` and gdb: the time each takes, and how long a ticker in the target
//! stands still meanwhile, in turns on the same process. And how long a thread that runs is held for a copy of its stack: as
//! the helper tells, and as the thread itself notices, beside what it notices when nobody does anything.
//!
//! `cargo bench --bench native`; nothing else may run meanwhile. Peers that are not installed are left out, loudly.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stallscope::observe::burst::{Bounds, Choice, Wanted, copy_stacks_with};
use stallscope::observe::kernel_file::{FileBudget, ProcDir};

/// Looks of each tool.
const ROUNDS: usize = 15;
/// Stops of a thread that runs.
const STOPS: usize = 300;
/// How long the median stop may be, in microseconds.
const STOP_GOAL_US: f64 = 50.0;

/// Parked threads, and a ticker that tells the longest time between two of its ticks when it is asked.
const TARGET: &str = r#"
import sys, threading, time
for _ in range(16):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
longest = 0.0
def tick():
    global longest
    before = time.monotonic()
    while True:
        time.sleep(0.001)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
threading.Thread(target=tick, daemon=True).start()
print("ready", flush=True)
for _ in sys.stdin:
    print(longest, flush=True)
    longest = 0.0
"#;

struct Target {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Target {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", TARGET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut String::new()).expect("it is ready");
        Self { child, out }
    }

    /// The longest time that its ticker stood still since it was last asked, in milliseconds.
    fn stood_still_ms(&mut self) -> f64 {
        use std::io::Write as _;
        let pipe = self.child.stdin.as_mut().expect("a pipe");
        pipe.write_all(b"\n").and_then(|()| pipe.flush()).expect("it listens");
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it answers");
        line.trim().parse::<f64>().expect("seconds") * 1e3
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// A program that computes at the end of a deep chain of calls, and notes in a file the longest time that it stood still.
struct Spinner {
    child: Child,
    noted: std::fs::File,
    _folder: tempfile::TempDir,
}

impl Spinner {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (program, noted) = (folder.path().join("spins"), folder.path().join("noted"));
        std::fs::write(&noted, [0; 8]).expect("a file");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/programs/spins.c");
        let made = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(source).status();
        assert!(made.expect("cc runs").success());
        let mut child =
            Command::new(program).arg(&noted).stdout(Stdio::piped()).spawn().expect("the program runs");
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut String::new()).expect("it is ready");
        let noted =
            std::fs::OpenOptions::new().read(true).write(true).open(noted).expect("the file is there");
        Self { child, noted, _folder: folder }
    }

    /// The longest time that it stood still since this was last asked, in microseconds.
    fn stood_still_us(&self) -> f64 {
        let mut bytes = [0; 8];
        self.noted.read_exact_at(&mut bytes, 0).expect("eight bytes");
        self.noted.write_all_at(&[0; 8], 0).expect("they can be written");
        u64::from_le_bytes(bytes) as f64 / 1e3
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a thread that runs is held for a copy of its stack.
fn stops() {
    let spinner = Spinner::start();
    let pid = spinner.child.id() as i32;
    let process = ProcDir::open(pid, &FileBudget::new(0)).expect("it is there");
    let bounds = Bounds { choice: Choice::Running, ..Bounds::default() };
    let program = Path::new(env!("CARGO_BIN_EXE_stallscope"));
    let (mut held, mut still, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kept, mut interrupted) = (0, 0);
    for _ in 0..STOPS {
        spinner.stood_still_us();
        let (burst, copies) =
            copy_stacks_with(program, &process, &[Wanted { tid: pid, words: [0; 2] }], &bounds)
                .expect("it may be stopped");
        still.push(spinner.stood_still_us());
        assert!(burst.detached, "{burst:?}");
        kept += copies.iter().filter(|copy| !copy.bytes.is_empty()).count();
        interrupted +=
            burst.threads.iter().filter(|t| t.woken != stallscope::capture::burst::Woken::No).count();
        held.push(burst.stopped_ns_max as f64 / 1e3);
        // As long as a burst takes, with nothing done.
        std::thread::sleep(Duration::from_millis(3));
        alone.push(spinner.stood_still_us());
    }
    println!("\na thread that runs, {STOPS} times; goal: {STOP_GOAL_US} µs at the median");
    println!("{:44} {:>9} {:>9} {:>9}", "", "p50", "p99", "longest");
    for (name, values) in [
        ("held for a copy, as the helper tells", &mut held),
        ("stood still meanwhile, as it notices itself", &mut still),
        ("stood still with nothing done", &mut alone),
    ] {
        let mark = if name.starts_with("held") && median(values) > STOP_GOAL_US { "!" } else { "" };
        let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| quantile(values, share));
        println!("{name:44} {p50:6.1} µs {p99:6.1} µs {longest:6.1} µs{mark}");
    }
    println!("copies: {kept} of {STOPS}; calls interrupted: {interrupted}");
}

fn main() {
    stops();
    tools();
}

fn tools() {
    let mut target = Target::start();
    let pid = target.child.id().to_string();
    let mut tools: Vec<(&str, Vec<String>)> = vec![
        ("nothing", vec!["sleep".into(), "0.2".into()]),
        (
            "stallscope dump --native",
            [env!("CARGO_BIN_EXE_stallscope"), "dump", &pid, "--only", &pid, "--native"]
                .map(str::to_owned)
                .into(),
        ),
        ("py-spy dump --native", ["py-spy", "dump", "--native", "--pid", &pid].map(str::to_owned).into()),
        (
            "gdb thread apply all bt",
            ["gdb", "-nx", "-batch", "-p", &pid, "-ex", "thread apply all bt"].map(str::to_owned).into(),
        ),
    ];
    let here = |words: &[String]| {
        let found =
            Command::new(&words[0]).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            eprintln!("SKIPPED: {} is not installed", words[0]);
        }
        found.is_ok()
    };
    tools.retain(|(_, words)| here(words));
    let mut measured: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); tools.len()];
    for _ in 0..ROUNDS {
        for ((_, words), (took, still)) in tools.iter().zip(&mut measured) {
            target.stood_still_ms();
            let began = Instant::now();
            let out =
                Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("it runs");
            assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
            took.push(began.elapsed().as_secs_f64() * 1e3);
            still.push(target.stood_still_ms());
        }
    }
    println!("\n{:28} {:>12} {:>24}", "18 threads", "takes", "ticker stood still");
    for ((name, _), (took, still)) in tools.iter().zip(&mut measured) {
        let longest = still.iter().copied().fold(0.0, f64::max);
        println!("{name:28} {:9.1} ms {:9.1} ms, at most {longest:.1} ms", median(took), median(still));
    }
}
