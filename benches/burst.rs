//! Prints what a burst costs a loaded worker, by stops and by perf events, beside `strace -c` and `perf trace -s` on the same
//! one.
//!
//! Pairs of equal length, once with and once without, in alternating order, so that whatever else goes on hits both
//! alike. A control that only waits stands beside them: its ratio is what this machine does to a ratio of 1. The goals
//! stand beside the figures; nothing fails on them, a shared machine is no scale.

mod shared;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shared::Fallible;
use stallscope::portal::load::{Load, Plan};
use stallscope::portal::server::Portal;

const PAIRS: usize = 6;
const HALF: Duration = Duration::from_secs(4);
/// What is left of the throughput under `diagnose --level burst`.
const RATIO_GOAL: f64 = 0.99;
/// How long `trace` stops a thread in total.
const STOPPED_GOAL_MS: f64 = 5.0;

/// What is done to the worker during a half.
struct Measured {
    name: &'static str,
    /// The program and its arguments; nothing for the control.
    command: Option<Vec<String>>,
    /// Whether it goes on until it is told to end.
    endless: bool,
}

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let portal = shared::gevent_workers(folder.path(), 1)?;
    let pid = worker(&portal)?;
    println!(
        "1 gevent worker under load; goals: ratio {RATIO_GOAL}, {STOPPED_GOAL_MS} ms stopped by a trace"
    );
    let tool = env!("CARGO_BIN_EXE_stallscope");
    let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    let only = ["--only", &pid, "--fail-on", "never"];
    let of_tool = |name, more: &[&str]| Measured {
        name,
        command: words(
            &[&[tool, "diagnose", &pid, "-d", "3s", "--max-duration", "3s"], more, &only].concat(),
        ),
        endless: false,
    };
    let mut all = vec![
        Measured { name: "control (nothing)", command: None, endless: false },
        of_tool("diagnose", &[]),
        of_tool("diagnose --level burst", &["--level", "burst"]),
        Measured { name: "trace", command: words(&[tool, "trace", &pid, "--only", &pid]), endless: false },
    ];
    let by_events = by_events(tool, &pid);
    if let Some(command) = &by_events {
        let name = "trace --engine perf (3 s)";
        all.push(Measured { name, command: Some(command.clone()), endless: false });
    }
    for (name, program, args) in [
        ("strace -c", "/usr/bin/strace", &["-c", "-f", "-o", "/dev/null", "-p"][..]),
        ("perf trace -s", "/usr/bin/perf", &["trace", "-s", "-o", "/dev/null", "-p"]),
    ] {
        if Path::new(program).exists() {
            all.push(Measured { name, command: words(&[&[program], args, &[&pid]].concat()), endless: true });
        } else {
            println!("SKIPPED: {program} is not installed, so there is nothing to compare with");
        }
    }
    for measured in &all {
        pairs(&portal, measured)?;
    }
    stopped(tool, &pid)?;
    if let Some(command) = &by_events {
        recorded(&portal, command)?;
    }
    portal.down();
    Ok(())
}

/// A trace of three seconds by perf events, with tracefs in a mount namespace of its own; loudly none where that is not
/// permitted.
fn by_events(tool: &str, pid: &str) -> Option<Vec<String>> {
    const WITH_TRACEFS: &str =
        "T=/sys/kernel/tracing; mountpoint -q $T || mount -t tracefs tracefs $T; exec \"$@\"";
    let words = |length: &str| {
        let head = ["unshare", "--mount", "sh", "-c", WITH_TRACEFS, "sh", tool, "trace", pid, "--only", pid];
        let tail = ["--engine", "perf", "--max-events", "200000", "--format", "json", "-d", length];
        head.iter().chain(&tail).map(|&word| word.to_owned()).collect::<Vec<_>>()
    };
    let trial = words("1ms");
    let permitted = Command::new(&trial[0])
        .args(&trial[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !permitted {
        println!("SKIPPED: perf events are not permitted here: trace --engine perf was not measured");
    }
    permitted.then(|| words("3s"))
}

/// The one worker.
fn worker(portal: &Portal) -> Fallible<String> {
    let arbiter = portal.arbiter_pid;
    let children = std::fs::read_to_string(format!("/proc/{arbiter}/task/{arbiter}/children"))?;
    Ok(children.split_whitespace().next().ok_or("there is no worker")?.to_owned())
}

fn pairs(portal: &Portal, measured: &Measured) -> Fallible<()> {
    println!("\n{} (requests/s without, with, ratio)", measured.name);
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let first = pair % 2 == 1;
        let (mut without, mut with) = (0.0, 0.0);
        for half in [first, !first] {
            if half {
                with = loaded(portal, measured.command.as_deref(), measured.endless)?;
            } else {
                without = loaded(portal, None, false)?;
            }
        }
        let ratio = with / f64::max(without, 1e-9);
        println!("  {without:8.1} {with:8.1}  {ratio:.3}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let middle = f64::midpoint(ratios[(PAIRS - 1) / 2], ratios[PAIRS / 2]);
    let mark = if middle < RATIO_GOAL { "!" } else { "" };
    println!("  median ratio {middle:.3}{mark}, from {:.3} to {:.3}", ratios[0], ratios[PAIRS - 1]);
    Ok(())
}

/// The load of one half of a pair.
fn plan(portal: &Portal) -> Plan {
    Plan {
        address: portal.direct,
        path: "/".into(),
        connections: 8,
        keep_alive: false,
        pause: Duration::ZERO,
        at_most: HALF,
    }
}

/// Requests per second during one half of a pair.
fn loaded(portal: &Portal, command: Option<&[String]>, endless: bool) -> Fallible<f64> {
    let load = Load::start(&plan(portal));
    let began = Instant::now();
    let child: Option<Child> = match command {
        Some([program, args @ ..]) => Some(
            Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        ),
        _ => None,
    };
    // One that is over early does not shorten its half.
    std::thread::sleep(HALF.saturating_sub(began.elapsed()));
    let rate = load.stop().answers as f64 / HALF.as_secs_f64();
    if let Some(mut child) = child {
        if endless {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
        }
        child.wait()?;
    }
    Ok(rate)
}

/// What a trace says that it stopped, and how long its helper took to be gone, of some traces of the worker at rest.
fn stopped(tool: &str, pid: &str) -> Fallible<()> {
    println!("\ntrace: stops, stopped in all, longest stop, gone after the limit (ms)");
    for _ in 0..PAIRS {
        let out = Command::new(tool).args(["trace", pid, "--only", pid, "--format", "json"]).output()?;
        let document: Value = serde_json::from_slice(&out.stdout)?;
        let burst = &document["processes"][0]["burst"];
        let ms = |key: &str| burst[key].as_f64().unwrap_or(0.0) / 1e6;
        let total = ms("stopped_ns_total");
        let mark = if total > STOPPED_GOAL_MS { "!" } else { "" };
        println!(
            "  {:6} {total:.3}{mark} {:.3} {:.3}",
            burst["stops"],
            ms("stopped_ns_max"),
            ms("gone_ns") - ms("limit_ns")
        );
    }
    Ok(())
}

/// How many events of the loaded worker a trace by perf events has kept and lost.
fn recorded(portal: &Portal, command: &[String]) -> Fallible<()> {
    println!("\ntrace --engine perf: length (ms), events, lost, stops");
    for _ in 0..PAIRS {
        let load = Load::start(&plan(portal));
        let out = Command::new(&command[0]).args(&command[1..]).output()?;
        let _ = load.stop();
        let document: Value = serde_json::from_slice(&out.stdout)?;
        let burst = &document["processes"][0]["burst"];
        let length_ms = burst["duration_ns"].as_f64().unwrap_or(0.0) / 1e6;
        println!("  {length_ms:6.0} {} {} {}", burst["events"], burst["lost"], burst["stops"]);
    }
    Ok(())
}
