//! `stallscope record` on real servers: what is on top is what was done, and what reads such files reads ours.

#[path = "consumers/mod.rs"]
mod consumers;
#[path = "live/harness.rs"]
#[allow(dead_code, reason = "the live tests use the rest")]
mod harness;
#[path = "record/readers.rs"]
mod readers;
mod tool;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use consumers::browser::{Browser, gallery};
use harness::{Rig, Setup};
use readers::{by_protobuf, by_speedscopes_schema, is_a_trace, on_speedscopes_page};
use stallscope::portal::faults::by_name;
use tool::{Target, await_samples, finish, run, skipped, start, status, until};

/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Computes in one thread, sleeps in another one.
const PROGRAM: &str = "
import threading
def hold():
    time.sleep(1000)
def compute():
    while True: sum(range(1000))
threading.Thread(target=hold, name='holder', daemon=True).start()
compute()
";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Stacks of the folded form, the heaviest first.
fn folded(text: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), weight.parse::<u64>().unwrap())
    };
    let mut stacks: Vec<(String, u64)> = text.lines().map(line).collect();
    stacks.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    stacks
}

/// Records until a recording is as it must be once all is under way.
fn recorded(pid: i32, more: &[&str], holds: impl Fn(&[(String, u64)]) -> bool) -> Vec<(String, u64)> {
    let (pid, deadline) = (pid.to_string(), Instant::now() + PATIENCE);
    loop {
        let ran = run(&[&["record", &pid, "-d", "700ms", "--format", "collapsed"], more].concat());
        let stacks = folded(&ran.stdout);
        if holds(&stacks) {
            assert_eq!(ran.code, 0, "{ran:?}");
            return stacks;
        }
        assert!(Instant::now() < deadline, "{more:?}: {ran:?}");
    }
}

/// The line of a function of the portal in which a text stands.
fn line_of(file: &str, text: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/portal").join(file);
    let source = std::fs::read_to_string(path).unwrap();
    source.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn a_gunicorn_that_computes_blocks_and_waits() {
    let Some(rig) = Rig::up(&Setup { workers: 3, ..Setup::of("gevent") }) else { return };
    // Those that block take no second request, so each has a worker of its own.
    for fault in ["upstream_cooperative", "block_sleep", "cpu_python"] {
        rig.trigger(by_name(fault).unwrap(), 100);
    }
    let pid = rig.portal.arbiter_pid;
    let on_top = |name: &'static str| {
        move |stacks: &[(String, u64)]| stacks.first().is_some_and(|(stack, _)| stack.contains(name))
    };

    let cpu = recorded(pid, &["--mode", "cpu"], on_top(";cpu_python ("));
    assert!(cpu.iter().all(|(stack, _)| !stack.contains("[parked]") && !stack.contains("[clock_nanosleep]")));

    let line = line_of("faults.py", "original(\"time\", \"sleep\")(seconds)");
    let blocked = recorded(pid, &["--mode", "blocked"], on_top(";block_sleep ("));
    let top = &blocked[0].0;
    assert!(top.contains(&format!("faults.py:{line});[")), "the line that blocks is named: {top}");
    assert!(top.ends_with("sleep]"), "{top}");

    let waits = |stack: &str| stack.contains(";upstream_cooperative (") && stack.ends_with(";[parked]");
    let wall = recorded(pid, &[], |stacks| stacks.iter().any(|(stack, _)| waits(stack)));
    // A hub that turns is there; one that waits is not: its greenlets stand for themselves.
    let hub = |stack: &str| stack.contains("Hub.run (") && stack.ends_with("wait]");
    assert!(!wall.iter().any(|(stack, _)| hub(stack)), "{wall:?}");
    let idle = recorded(pid, &["--idle", "--by", "worker"], |stacks| stacks.iter().any(|(s, _)| hub(s)));
    let workers: std::collections::BTreeSet<&str> =
        idle.iter().filter_map(|(stack, _)| stack.split(';').next()).collect();
    assert_eq!(workers.len(), 3, "{workers:?}");
    assert!(workers.iter().all(|worker| worker.ends_with("(gevent)")), "{workers:?}");

    consumers_read(pid);
    rig.unharmed();
}

/// One recording in each form, made at once, each read by somebody else.
fn consumers_read(pid: i32) {
    let folder = tempfile::tempdir().unwrap();
    let pid = pid.to_string();
    let names = ["r.speedscope.json", "r.pb.gz", "r.trace.json", "r.svg", "r.folded"];
    let recording = names.map(|name| {
        let place = folder.path().join(name);
        let child = start(tool::tool(&["record", &pid, "-d", "2s", "-o", text(&place)]));
        (child, place)
    });
    let [speedscope, pprof, trace, svg, collapsed] = recording.map(|(child, place)| {
        let ran = finish(child);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stderr.contains("looks in") && ran.stderr.contains("wrote "), "{ran:?}");
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        place
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), names.len(), "nothing else is left");
    by_speedscopes_schema(&speedscope);
    by_protobuf(&pprof);
    on_speedscopes_page(folder.path(), &[(&speedscope, "worker "), (&pprof, "r.pb.gz - speedscope")]);
    is_a_trace(&trace);
    let mut picture = Vec::new();
    let stacks = std::fs::read_to_string(&collapsed).unwrap();
    let mut options = inferno::flamegraph::Options::default();
    inferno::flamegraph::from_lines(&mut options, stacks.lines(), &mut picture).unwrap();
    for picture in [picture, std::fs::read(&svg).unwrap()] {
        let picture = String::from_utf8(picture).unwrap();
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        roxmltree::Document::parse_with_options(&picture, options).unwrap();
        assert!(picture.contains("cpu_python (") && picture.contains("block_sleep ("));
    }
}

/// A function that bears a script as its name.
const HOSTILE: &str = "
def f():
    while True: sum(range(1000))
name = '</title></text><script>document.title=1,new Image().src=\"http://owned.invalid/\"</script>'
more = {'co_qualname': name} if hasattr(f.__code__, 'co_qualname') else {}
f.__code__ = f.__code__.replace(co_name=name, **more)
f()
";

#[test]
fn a_browser_shows_the_picture_and_runs_nothing_of_others() {
    let Some(browser) = Browser::find() else {
        return skipped("no Chromium is installed: the flame graph was not shown by a browser");
    };
    let folder = tempfile::tempdir().unwrap();
    let target = Target::python("python3", HOSTILE, &[]);
    let place = folder.path().join("r.svg");
    let ran = run(&["record", &target.pid().to_string(), "-d", "500ms", "-o", text(&place)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown = browser.open(&place, "");
    assert_eq!((shown.complaints.as_slice(), shown.asked), (&[] as &[String], 0));
    let page = &shown.page;
    // Its own script has made room for the search and the details, so it has run.
    assert!(page.contains("&lt;script&gt;document.title=1"), "the name is shown: {page}");
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    let picture = gallery(folder.path(), "record.png");
    assert_eq!(browser.picture(&place, (1200, 400), false, &picture).asked, 0);
    assert!(std::fs::metadata(&picture).unwrap().len() > 5_000);
}

/// Whether a file is whole.
type Valid = fn(&[u8]) -> bool;

#[test]
fn a_recording_is_valid_at_every_moment() {
    killed_at_any_moment(3, Duration::from_millis(200));
}

/// Long enough that later versions are put in the place of the first one.
#[test]
#[ignore = "takes minutes"]
fn a_recording_is_valid_at_every_moment_at_length() {
    killed_at_any_moment(8, Duration::from_secs(12));
}

/// Kills recordings of each form; what stands in their places is whole.
fn killed_at_any_moment(rounds: u32, at_most: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::python("python3", PROGRAM, &[]);
    let pid = target.pid().to_string();
    let whole: [(&str, Valid); 5] = [
        ("r.speedscope.json", |bytes| {
            serde_json::from_slice::<Value>(bytes)
                .is_ok_and(|file| !file["profiles"][0]["samples"][0].is_null())
        }),
        ("r.trace.json", |bytes| {
            serde_json::from_slice::<Value>(bytes).is_ok_and(|file| !file["traceEvents"][0].is_null())
        }),
        ("r.pb.gz", |bytes| {
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut Vec::new()).is_ok_and(|length| length > 100)
        }),
        ("r.svg", |bytes| bytes.ends_with(b"</svg>") || bytes.ends_with(b"</svg>\n")),
        ("r.folded", |bytes| !folded(std::str::from_utf8(bytes).unwrap()).is_empty()),
    ];
    // At the first version, and then at any moment: while it gets ready, samples, writes, puts a version in place.
    for round in 0..=rounds {
        let tools = whole.map(|(name, valid)| {
            let place = folder.path().join(name);
            let child = start(tool::tool(&["record", &pid, "-q", "-o", text(&place)]));
            (child, place, valid)
        });
        for (mut child, place, valid) in tools {
            until("the first version is there", || place.exists());
            if round > 0 {
                std::thread::sleep(at_most.mul_f64(chance()));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let bytes = std::fs::read(&place).unwrap();
            assert!(valid(&bytes), "{}: {}", place.display(), String::from_utf8_lossy(&bytes));
        }
    }
    unharmed(target.pid());
}

/// Any number from 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

fn unharmed(pid: i32) {
    assert_eq!(status(pid, "TracerPid").as_deref(), Some("0"));
    let state = status(pid, "State").unwrap();
    assert!(!state.starts_with(['t', 'T']), "{state}");
}

fn signalled(child: Child, signal: Signal) -> tool::Ran {
    await_samples(&child, 20);
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    finish(child)
}

#[test]
fn ctrl_c_is_its_usual_end_and_a_polite_kill_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::python("python3", PROGRAM, &[]);
    let pid = target.pid().to_string();
    for (signal, code) in [(Signal::SIGINT, 0), (Signal::SIGTERM, 143)] {
        let place = folder.path().join(format!("{signal}.folded"));
        let child = start(tool::tool(&["record", &pid, "--by", "thread", "-o", text(&place)]));
        let ran = signalled(child, signal);
        assert_eq!(ran.code, code, "{ran:?}");
        let stacks = folded(&std::fs::read_to_string(place).unwrap());
        let has =
            |parts: &[&str]| stacks.iter().any(|(stack, _)| parts.iter().all(|part| stack.contains(part)));
        assert!(has(&[";MainThread (", ";compute (<string>:"]), "{stacks:?}");
        assert!(has(&[";holder (", ";hold (<string>:", "sleep]"]), "{stacks:?}");
    }
    unharmed(target.pid());
}

/// Two tasks wait, one computes.
const TASKS: &str = "
import asyncio
async def waits(): await asyncio.Event().wait()
async def crunches():
    while True:
        sum(range(20000))
        await asyncio.sleep(0)
async def main(): await asyncio.gather(waits(), waits(), crunches())
asyncio.run(main())
";

#[test]
fn tasks_stand_for_themselves_and_not_for_their_loop() {
    let target = Target::python("python3", TASKS, &[]);
    recorded(target.pid(), &[], |stacks| {
        let parked = |name: &str| -> u64 {
            let of = |stack: &str| stack.starts_with(name) && stack.ends_with(";[parked]");
            stacks.iter().filter(|(stack, _)| of(stack)).map(|(_, weight)| weight).sum()
        };
        let (main, waits) = (parked("main ("), parked("waits ("));
        let crunches = stacks.iter().any(|(stack, _)| stack.starts_with("crunches ("));
        // Each of the two waits all the time, as the first one does, however much of it the third one gets.
        crunches && main > 0 && waits.abs_diff(2 * main) < 10
    });
    unharmed(target.pid());
}

#[test]
fn nothing_recorded_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let place: PathBuf = folder.path().join("r.svg");
    let target = Target::waiting();
    let pid = target.pid().to_string();
    let ran = run(&["record", &pid, "-d", "300ms", "--mode", "cpu", "-o", text(&place)]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error:") && ran.stderr.contains("looks="), "{ran:?}");
    let other = run(&["record", &pid, "-o", text(&folder.path().join("r.json"))]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.stderr.contains(".speedscope.json"), "{other:?}");
    let mut sleep = Command::new("sleep");
    sleep.arg("100");
    let sleeper = Target::silent(sleep);
    let none = run(&["record", &sleeper.pid().to_string(), "-d", "200ms", "-o", text(&place)]);
    assert_eq!(none.code, 3, "{none:?}");
    assert!(none.stderr.contains("it runs no Python"), "{none:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_disk_that_fills_up_keeps_the_version_before() {
    let folder = tempfile::tempdir().unwrap();
    let [disk, kept] = ["disk", "kept.folded"].map(|name| folder.path().join(name));
    std::fs::create_dir(&disk).unwrap();
    let target = Target::python("python3", PROGRAM, &[]);
    let script = "mount -t tmpfs -o size=16k,mode=700 none \"$0\" || exit 99; kept=$1; shift; \
                  \"$@\" -o \"$0/r.folded\" & \
                  while [ ! -s \"$0/r.folded\" ]; do sleep 0.02; done; cat /dev/zero > \"$0/filler\"; \
                  kill -TERM $!; wait $!; code=$?; cp \"$0/r.folded\" \"$kept\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, text(&disk), text(&kept), env!("CARGO_BIN_EXE_stallscope")]);
    command.args(["record", &target.pid().to_string()]).env("NO_COLOR", "1");
    let ran = finish(start(command));
    if ran.code == 99 || ran.stderr.contains("unshare:") {
        return skipped("no file system can be mounted here");
    }
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("No space left"), "{ran:?}");
    let stacks = folded(&std::fs::read_to_string(kept).unwrap());
    assert!(stacks.iter().any(|(stack, _)| stack.contains("compute (")), "{stacks:?}");
}

#[test]
fn workers_that_come_join_and_those_that_go_stay_in_the_recording() {
    let Some(rig) = Rig::up(&Setup::of("gevent")) else { return };
    let arbiter = rig.portal.arbiter_pid;
    let workers = || -> Vec<i32> {
        let listed = std::fs::read_to_string(format!("/proc/{arbiter}/task/{arbiter}/children"));
        listed.unwrap_or_default().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    let before = workers();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("r.folded");
    let args = ["record", &arbiter.to_string(), "--idle", "--by", "worker", "-o", text(&place)];
    let child = start(tool::tool(&args));
    until("the first version is there", || place.exists());
    kill(Pid::from_raw(before[0]), Signal::SIGKILL).unwrap();
    until("another worker is born", || workers().iter().any(|pid| !before.contains(pid)));
    let born = workers().into_iter().find(|pid| !before.contains(pid)).unwrap();
    // Births are looked for four times a second.
    await_samples(&child, 100);
    let ran = signalled(child, Signal::SIGINT);
    assert_eq!(ran.code, 0, "{ran:?}");
    let stacks = folded(&std::fs::read_to_string(place).unwrap());
    for pid in [before[0], born] {
        let prefix = format!("worker {pid} ");
        assert!(stacks.iter().any(|(stack, _)| stack.starts_with(&prefix)), "{pid}: {stacks:?}");
    }
    assert_eq!(status(born, "TracerPid").as_deref(), Some("0"));
    let _ = std::fs::remove_dir_all(&rig.portal.dir);
    rig.portal.down();
}
