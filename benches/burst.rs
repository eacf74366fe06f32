//! Prints what a burst costs a loaded worker, by stops and by perf events, beside `strace -c` and `perf trace -s` on the same
//! one.
//!
//! Pairs of equal length, once with and once without, in alternating order, so that whatever else goes on hits both
//! alike. A control that only waits stands beside them: its ratio is what this machine does to a ratio of 1. The peers
//! are measured twice: for as long as our burst lasts, and all the time, which is how they are used. The goals stand
//! beside the figures; nothing fails on them, a shared machine is no scale.

mod shared;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shared::Fallible;
use stallscope::observe::burst::DEFAULT_LIMIT;
use stallscope::portal::http;
use stallscope::portal::load::{Load, Outcome, Plan, REQUEST_PATIENCE};
use stallscope::portal::server::Portal;

const PAIRS: usize = 6;
const HALF: Duration = Duration::from_secs(3);
/// What is left of the throughput under `diagnose --level burst`.
const RATIO_GOAL: f64 = 0.99;
/// How long `trace` stops a thread in total.
const STOPPED_GOAL_MS: f64 = 5.0;
/// How long a peer may take to begin, or to fail.
const PATIENCE: Duration = Duration::from_secs(1);

/// When a program that is measured ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// By itself.
    Itself,
    /// It is told to at the end of the half.
    WithTheHalf,
    /// It is told to when it has traced for as long as a burst takes.
    LikeABurst,
}

/// What is done to the worker during a half.
#[derive(Clone)]
struct Measured {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    ends: Ends,
}

impl Measured {
    fn new(name: &str, program: &Path, args: &[&str], ends: Ends) -> Self {
        let args = args.iter().map(|&word| word.to_owned()).collect();
        Self { name: name.to_owned(), program: program.to_owned(), args, ends }
    }
}

/// A portal of one worker, and what it is asked for.
struct Rig<'f> {
    portal: Portal,
    worker: String,
    path: &'static str,
    folder: &'f Path,
}

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    println!("goals: ratio {RATIO_GOAL}, {STOPPED_GOAL_MS} ms stopped by a trace");
    let tool = Path::new(env!("CARGO_BIN_EXE_stallscope"));

    println!("\n== 1 gevent worker that serves as fast as it can");
    let rig = Rig::new(&folder.path().join("well"), "/", folder.path())?;
    let pid = rig.worker.as_str();
    rig.pairs(None)?;
    rig.pairs(Some(&Measured::new("trace", tool, &["trace", pid, "--only", pid], Ends::Itself)))?;
    let by_events = by_events(tool, pid);
    for peer in by_events.iter().cloned().chain(peers(pid)) {
        if let Err(why) = rig.works(&peer) {
            println!("\nSKIPPED: {}: {why}", peer.name);
        } else {
            rig.pairs(Some(&peer))?;
        }
    }
    rig.stopped(tool)?;
    if let Some(by_events) = &by_events {
        rig.recorded(by_events)?;
    }
    rig.portal.down();

    // A look makes its burst only where it firms up the verdict: at a worker that spins.
    println!("\n== 1 gevent worker that spins on a descriptor nobody reads, and serves");
    let rig = Rig::new(&folder.path().join("spins"), "/fault/slow_page", folder.path())?;
    http::get(rig.portal.direct, "/fault/spin_watcher?seconds=120", PATIENCE)?;
    let pid = rig.worker.as_str();
    rig.pairs(None)?;
    let look = ["diagnose", pid, "--only", pid, "-d", "2s", "--max-duration", "2s", "--fail-on", "never"];
    let args = [&look[..], &["--level", "burst", "--format", "json"]].concat();
    rig.pairs(Some(&Measured::new("diagnose --level burst", tool, &args, Ends::Itself)))?;
    rig.portal.down();
    Ok(())
}

/// A trace of two seconds by perf events, with tracefs in a mount namespace of its own; loudly none where that is not
/// permitted.
fn by_events(tool: &Path, pid: &str) -> Option<Measured> {
    const WITH_TRACEFS: &str =
        "T=/sys/kernel/tracing; mountpoint -q $T || mount -t tracefs tracefs $T; exec \"$@\"";
    let tool = tool.to_str()?;
    let of = |length: &str| {
        let head = ["--mount", "sh", "-c", WITH_TRACEFS, "sh", tool, "trace", pid, "--only", pid];
        let tail = ["--engine", "perf", "--max-events", "200000", "--format", "json", "-d", length];
        let name = "trace --engine perf, 2 s";
        Measured::new(name, Path::new("unshare"), &[&head[..], &tail].concat(), Ends::Itself)
    };
    let trial = of("1ms");
    let permitted = Command::new(&trial.program)
        .args(&trial.args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !permitted {
        println!("SKIPPED: perf events are not permitted here: trace --engine perf was not measured");
    }
    permitted.then(|| of("2s"))
}

/// The programs that ours is compared with, loudly without those that are not there.
fn peers(pid: &str) -> Vec<Measured> {
    let mut peers = Vec::new();
    if let Some(strace) = on_path("strace") {
        let args = ["-c", "-f", "-o", "/dev/null", "-p", pid];
        peers.push(Measured::new("strace -c, as long as a burst", &strace, &args, Ends::LikeABurst));
        peers.push(Measured::new("strace -c, all the time", &strace, &args, Ends::WithTheHalf));
    }
    if let Some(perf) = on_path("perf") {
        let args = ["trace", "-s", "-o", "/dev/null", "-p", pid];
        let seconds = DEFAULT_LIMIT.as_secs_f64().to_string();
        let bounded = [&args[..], &["--", "sleep", &seconds]].concat();
        peers.push(Measured::new("perf trace -s, as long as a burst", &perf, &bounded, Ends::Itself));
        peers.push(Measured::new("perf trace -s, all the time", &perf, &args, Ends::WithTheHalf));
    }
    peers
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        println!("SKIPPED: {program} is not installed, so there is nothing to compare with");
    }
    found
}

impl<'f> Rig<'f> {
    fn new(place: &Path, path: &'static str, folder: &'f Path) -> Fallible<Self> {
        let portal = shared::gevent_workers(place, 1)?;
        let arbiter = portal.arbiter_pid;
        let children = std::fs::read_to_string(format!("/proc/{arbiter}/task/{arbiter}/children"))?;
        let worker = children.split_whitespace().next().ok_or("there is no worker")?.to_owned();
        Ok(Self { portal, worker, path, folder })
    }

    /// Whether a peer does anything here: one that fails at once would look as if it cost nothing.
    fn works(&self, peer: &Measured) -> Fallible<()> {
        let mut child = self.start(peer)?;
        self.end(peer, &mut child, Instant::now() + PATIENCE).map(drop)
    }

    fn pairs(&self, measured: Option<&Measured>) -> Fallible<()> {
        let name = measured.map_or("control (nothing)", |m| m.name.as_str());
        println!("\n{name} (requests/s without, with, ratio; 99 of 100 answered within ms without, with)");
        let mut ratios = Vec::new();
        for pair in 0..PAIRS {
            let first = pair % 2 == 1;
            let (mut without, mut with, mut told) = (None, None, String::new());
            for half in [first, !first] {
                if half {
                    let (outcome, said) = self.loaded(measured)?;
                    (with, told) = (Some(outcome), said);
                } else {
                    without = Some(self.loaded(None)?.0);
                }
            }
            let (Some(without), Some(with)) = (without, with) else { continue };
            let rate = |outcome: &Outcome| outcome.answers as f64 / HALF.as_secs_f64();
            let ratio = rate(&with) / f64::max(rate(&without), 1e-9);
            println!(
                "  {:8.1} {:8.1}  {ratio:.3}  {:6.1} {:6.1}  {told}",
                rate(&without),
                rate(&with),
                without.p99_ms,
                with.p99_ms
            );
            ratios.push(ratio);
        }
        ratios.sort_by(f64::total_cmp);
        let middle = f64::midpoint(ratios[(PAIRS - 1) / 2], ratios[PAIRS / 2]);
        let mark = if middle < RATIO_GOAL { "!" } else { "" };
        println!("  median ratio {middle:.3}{mark}, from {:.3} to {:.3}", ratios[0], ratios[PAIRS - 1]);
        Ok(())
    }

    /// What was answered during one half of a pair, and what the program in it said of itself.
    fn loaded(&self, measured: Option<&Measured>) -> Fallible<(Outcome, String)> {
        let load = self.load(HALF);
        let over = Instant::now() + HALF;
        let mut child = measured.map(|measured| self.start(measured)).transpose()?;
        let mut told = String::new();
        if let (Some(measured), Some(child)) = (measured, &mut child) {
            told = self.end(measured, child, over)?;
        }
        // One that is over early does not shorten its half.
        std::thread::sleep(over.saturating_duration_since(Instant::now()));
        Ok((load.stop(), told))
    }

    fn load(&self, at_most: Duration) -> Load {
        Load::start(&Plan {
            address: self.portal.direct,
            path: self.path.into(),
            connections: 8,
            keep_alive: false,
            pause: Duration::ZERO,
            patience: REQUEST_PATIENCE,
            at_most,
        })
    }

    fn start(&self, measured: &Measured) -> Fallible<Child> {
        let file = |name| File::create(self.folder.join(name)).map(Stdio::from);
        let mut command = Command::new(&measured.program);
        command.args(&measured.args).stdin(Stdio::null()).stdout(file("out")?).stderr(file("errors")?);
        Ok(command.spawn()?)
    }

    /// Waits for the end of a program or brings it about. One that did not do what it was to do is an error; what a look
    /// says of its burst is given.
    fn end(&self, measured: &Measured, child: &mut Child, over: Instant) -> Fallible<String> {
        if measured.ends == Ends::LikeABurst {
            let traced = || status_field(&self.worker, "TracerPid").is_some_and(|pid| pid != "0");
            while !traced() && Instant::now() < over {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(DEFAULT_LIMIT);
        } else if measured.ends == Ends::WithTheHalf {
            std::thread::sleep(over.saturating_duration_since(Instant::now()));
        }
        let told_to = measured.ends != Ends::Itself;
        let ended_early = told_to && child.try_wait()?.is_some();
        if told_to && !ended_early {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
        }
        let status = child.wait()?;
        let text = |name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let document: Value = serde_json::from_str(&text("out")).unwrap_or_default();
        if ended_early || !told_to && !status.success() {
            let said = [text("errors").trim(), &document["error"].to_string()].join(" ");
            return Err(format!("{} ended with {status}: {said}", measured.name).into());
        }
        let burst = &document["collection"]["burst"];
        Ok(if burst.is_null() {
            String::new()
        } else {
            let code = &document["processes"][0]["verdict"]["code"];
            let total = burst["stopped_ns_total"].as_f64().unwrap_or(0.0) / 1e6;
            format!("{code}: burst {}, {} stops, {total:.3} ms stopped", burst["used"], burst["stops"])
        })
    }

    /// What a trace says that it stopped, and how long its helper took to be gone, of some traces under load.
    fn stopped(&self, tool: &Path) -> Fallible<()> {
        println!(
            "\ntrace under load: stops, stopped in all, longest stop, gone after the limit (ms), ended by"
        );
        let load = self.load(PATIENCE * PAIRS as u32);
        for _ in 0..PAIRS {
            let args = ["trace", &self.worker, "--only", &self.worker, "--format", "json"];
            let out = Command::new(tool).args(args).output()?;
            let document: Value = serde_json::from_slice(&out.stdout)?;
            let burst = &document["processes"][0]["burst"];
            let ms = |key: &str| burst[key].as_f64().unwrap_or(0.0) / 1e6;
            let total = ms("stopped_ns_total");
            let mark = if total > STOPPED_GOAL_MS { "!" } else { "" };
            println!(
                "  {:6} {total:.3}{mark} {:.3} {:.3} {}",
                burst["stops"],
                ms("stopped_ns_max"),
                ms("gone_ns") - ms("limit_ns"),
                burst["ended_by"]
            );
        }
        drop(load);
        Ok(())
    }

    /// How many events of the loaded worker a trace by perf events has kept and lost.
    fn recorded(&self, by_events: &Measured) -> Fallible<()> {
        println!("\n{} under load: length (ms), events, lost, stops", by_events.name);
        let load = self.load(HALF * PAIRS as u32);
        for _ in 0..PAIRS {
            let out = Command::new(&by_events.program).args(&by_events.args).output()?;
            let document: Value = serde_json::from_slice(&out.stdout)?;
            let burst = &document["processes"][0]["burst"];
            let length_ms = burst["duration_ns"].as_f64().unwrap_or(0.0) / 1e6;
            println!("  {length_ms:6.0} {} {} {}", burst["events"], burst["lost"], burst["stops"]);
        }
        drop(load);
        Ok(())
    }
}

/// A field of `/proc/PID/status`.
fn status_field(pid: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}
