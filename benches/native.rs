//! What `dump --native` costs beside `py-spy dump --native` and gdb: the time each takes, and how long a ticker in the target
//! stands still meanwhile, in turns on the same process.
//!
//! `cargo bench --bench native`; nothing else may run meanwhile. Peers that are not installed are left out, loudly.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Looks of each tool.
const ROUNDS: usize = 15;

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
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
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
    println!("{:28} {:>12} {:>24}", "18 threads", "takes", "ticker stood still");
    for ((name, _), (took, still)) in tools.iter().zip(&mut measured) {
        let longest = still.iter().copied().fold(0.0, f64::max);
        println!("{name:28} {:9.1} ms {:9.1} ms, at most {longest:.1} ms", median(took), median(still));
    }
}
