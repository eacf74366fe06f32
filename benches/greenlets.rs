//! Prints how long a dump of a big gevent process takes, what it costs the process, and how much memory it needs.
//!
//! The process holds 500 MB in millions of small objects that the garbage collector knows, and 10,000 parked greenlets; it
//! goes on working and counts what it does where it can be read without asking it. Twice: with a heap as it was made, and
//! with one in which the order of the collector's lists is no more that of memory.
//!
//! py-spy is measured on the same process. It shows threads; greenlets it does not see.

mod shared;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

type Fallible<T> = Result<T, Box<dyn Error>>;

const GREENLETS: u64 = 10_000;
const HEAP_MB: &str = "500";
/// What a dump may take.
const LIMIT_MS: f64 = 1_000.0;
/// Windows of work with and without us, in turn.
const PAIRS: usize = 6;
const WINDOW: Duration = Duration::from_millis(1_500);

const PROGRAM: &str = r#"
import gc, mmap, random, struct, sys, resource
import gevent, gevent.event
folder, greenlets, megabytes, aged = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "aged"
gc.disable()
class Item(object):
    __slots__ = ("number", "list")
    def __init__(self, number):
        self.number = number
        self.list = [self]
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * mmap.PAGESIZE >> 20
items = []
while resident() < megabytes:
    items.extend([Item(n) for n in range(20000)])
if aged:
    # Holes everywhere, filled again in another order.
    random.seed(1)
    random.shuffle(items)
    del items[len(items) * 2 // 3:]
    random.shuffle(items)
    items.extend([Item(n) for n in range(len(items) // 2)])
never = gevent.event.Event()
def parked(n): return parked(n - 1) if n else never.wait()
def starts(): return parked(3)
keep = [gevent.spawn(starts) for _ in range(greenlets)]
gevent.sleep(0)
gc.enable()
with open(folder + "/counter", "w+b") as f:
    f.write(b"\0" * 8)
    f.flush()
    counter = mmap.mmap(f.fileno(), 8)
print(len(gc.get_objects()), resident())
sys.stdout.flush()
count = 0
while True:
    for _ in range(200):
        [n for n in range(50)]
    count += 1
    struct.pack_into("<Q", counter, 0, count)
    gevent.sleep(0)
"#;

struct Target {
    child: Child,
    folder: tempfile::TempDir,
    said: String,
}

impl Target {
    fn start(python: &Path, packages: &Path, order: &str) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("big.py");
        std::fs::write(&program, PROGRAM)?;
        let mut child = Command::new(python)
            .arg(&program)
            .arg(folder.path())
            .args([&GREENLETS.to_string(), HEAP_MB, order])
            .env("PYTHONPATH", packages)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut said)?;
        Ok(Self { child, folder, said })
    }

    fn count(&self) -> Fallible<u64> {
        let mut bytes = [0; 8];
        std::fs::File::open(self.folder.path().join("counter"))?.read_exact_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Work per second over a window in which something else is done.
    fn rate(&self, meanwhile: impl Fn() -> Fallible<()>) -> Fallible<f64> {
        let (began, before) = (Instant::now(), self.count()?);
        meanwhile()?;
        std::thread::sleep(WINDOW.saturating_sub(began.elapsed()));
        Ok((self.count()? - before) as f64 / began.elapsed().as_secs_f64())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A dump of ours: milliseconds and what it said.
fn dump(pid: &str) -> Fallible<(f64, Value)> {
    let began = Instant::now();
    let out = Command::new(env!("CARGO_BIN_EXE_stallscope"))
        .args(["dump", pid, "--only", pid, "--format", "json"])
        .stderr(Stdio::null())
        .output()?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    Ok((ms, serde_json::from_slice(&out.stdout)?))
}

fn py_spy_dump(program: &Path, pid: &str) -> Fallible<f64> {
    let began = Instant::now();
    Command::new(program)
        .args(["dump", "--nonblocking", "-p", pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Suspended greenlets of a dump that stand where the program parks them.
fn parked(document: &Value) -> u64 {
    let groups = document["processes"][0]["greenlets"].as_array().map_or(&[][..], Vec::as_slice);
    let here = |g: &&Value| g["state"] == "suspended" && g["frames"].to_string().contains("starts");
    groups.iter().filter(here).filter_map(|g| g["count"].as_u64()).sum()
}

/// Most memory of a dump in KiB. It is told of a process's children together, so a process of its own asks.
fn peak(pid: &str) -> Fallible<u64> {
    let out = Command::new(std::env::current_exe()?).arg(pid).output()?;
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn measure(target: &Target, py_spy: Option<&Path>) -> Fallible<()> {
    let pid = target.child.id().to_string();
    let mut times = Vec::new();
    let mut last = Value::Null;
    for _ in 0..7 {
        let (ms, document) = dump(&pid)?;
        times.push(ms);
        last = document;
    }
    let peak_kib = peak(&pid)?;
    let (quickest, slowest) =
        times.iter().fold((f64::MAX, 0.0_f64), |(low, high), t| (low.min(*t), high.max(*t)));
    println!(
        "    dump {:.0} ms ({quickest:.0} to {slowest:.0}; limit {LIMIT_MS:.0}), {} of {GREENLETS} parked stacks, peak memory {:.1} MiB",
        median(times),
        parked(&last),
        peak_kib as f64 / 1_024.0
    );
    println!("    not read: {}; blind spots: {}", last["processes"][0]["rejected"], last["blind_spots"]);
    let mut shares = Vec::new();
    for _ in 0..PAIRS {
        let alone = target.rate(|| Ok(()))?;
        let watched = target.rate(|| dump(&pid).map(|_| ()))?;
        shares.push(watched / alone);
    }
    let shown: Vec<String> = shares.iter().map(|s| format!("{s:.3}")).collect();
    println!(
        "    its work with one dump in {:.1} s, as a share of that without: median {:.3} ({})",
        WINDOW.as_secs_f64(),
        median(shares.clone()),
        shown.join(" ")
    );
    if let Some(py_spy) = py_spy {
        let times: Vec<f64> = (0..5).map(|_| py_spy_dump(py_spy, &pid)).collect::<Fallible<_>>()?;
        println!("    py-spy dump {:.0} ms: threads only, no greenlet", median(times));
    }
    Ok(())
}

fn main() -> Fallible<()> {
    let asked = std::env::args().nth(1).filter(|pid| pid.parse::<i32>().is_ok());
    if let Some(pid) = asked {
        dump(&pid)?;
        println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
        return Ok(());
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let py_spy = shared::py_spy();
    for (version, packages) in [("3.13.0", "greenlets-py313"), ("3.10.13", "greenlets-py310")] {
        let python = home.join(".pyenv/versions").join(version).join("bin/python");
        let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join(packages);
        if !python.exists() || !packages.join("complete").exists() {
            println!("SKIPPED: Python {version} with {} (cargo test --test suspended)", packages.display());
            continue;
        }
        for order in ["fresh", "aged"] {
            let target = Target::start(&python, &packages, order)?;
            let mut said = target.said.split_whitespace();
            println!(
                "Python {version}, {order} heap: {} objects of the collector, {} MB",
                said.next().unwrap_or("?"),
                said.next().unwrap_or("?")
            );
            measure(&target, py_spy.as_deref())?;
        }
    }
    Ok(())
}
