//! Prints what a recording costs: the tool's processor time at a hundred looks a second on eight workers, and what the
//! server loses, beside py-spy and austin.
//!
//! Pairs of equal length, once with and once without a recording, in alternating order, so that whatever else goes on hits
//! both alike. The limits stand beside the figures; nothing fails on them, a shared machine is no scale.

mod shared;

use std::time::Duration;

use shared::Fallible;
use shared::pairs::{Looker, Plan};

const CPU_LIMIT: f64 = 0.02;
const RATIO_GOAL: f64 = 0.99;
/// Long enough that getting ready does not count.
const SECONDS: u64 = 20;
const PAIRS: usize = 3;

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let portal = shared::eight_gevent_workers(folder.path())?;
    println!(
        "8 gevent workers, 100 looks a second; limits: {:.0} % of a core, ratio {RATIO_GOAL}",
        CPU_LIMIT * 100.0
    );
    let pid = portal.arbiter_pid.to_string();
    let seconds = SECONDS.to_string();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let ours = |name: &'static str, mode: &str, file: &str| Looker {
        name,
        program: env!("CARGO_BIN_EXE_stallscope").into(),
        args: [
            "record",
            &pid,
            "-q",
            "-d",
            &format!("{seconds}s"),
            "--idle",
            "--mode",
            mode,
            "-o",
            &place(file),
        ]
        .map(str::to_owned)
        .into(),
    };
    let mut lookers = vec![
        ours("stallscope record, flame graph", "wall", "ours.svg"),
        ours("stallscope record, Chrome trace", "wall", "ours.trace.json"),
    ];
    lookers.extend(shared::py_spy().map(|program| {
        Looker {
            name: "py-spy record",
            program,
            args: [
                "record",
                "-d",
                &seconds,
                "-r",
                "100",
                "--idle",
                "--subprocesses",
                "--nonblocking",
                "-f",
                "raw",
            ]
            .into_iter()
            .chain(["-o", &place("py-spy.txt"), "-p", &pid])
            .map(str::to_owned)
            .collect(),
        }
    }));
    lookers.extend(shared::from_pypi("austin-dist", "3.7.0", "austin").map(|program| {
        Looker {
            name: "austin 3.7",
            program,
            args: ["-i", "10ms", "-C", "-x", &seconds, "-o", &place("austin.txt"), "-p", &pid]
                .map(str::to_owned)
                .into(),
        }
    }));
    let plan =
        Plan { pairs: PAIRS, half: Duration::from_secs(SECONDS), cpu_limit: CPU_LIMIT, ..Plan::default() };
    for looker in &lookers {
        println!("\n{}, idle workers", looker.name);
        println!("  {}", plan.cost(&looker.look()?));
        println!("{}, under load (requests/s without, with, ratio)", looker.name);
        plan.under_load(&portal, looker)?;
    }
    portal.down();
    Ok(())
}
