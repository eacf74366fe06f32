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
/// Long enough that getting ready does not count; all of it takes some eight minutes.
const SECONDS: u64 = 15;
const PAIRS: usize = 3;
/// What each says of itself: how often it has looked. Who cannot keep up costs less.
const TOLD: [&str; 3] = ["looks in", "Samples:", "ampling"];

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let portal = shared::eight_gevent_workers(folder.path())?;
    println!(
        "8 gevent workers, 100 looks a second, {PAIRS} pairs of {SECONDS} s; limits: {:.0} % of a core, ratio {RATIO_GOAL}",
        CPU_LIMIT * 100.0
    );
    let pid = portal.arbiter_pid.to_string();
    let seconds = SECONDS.to_string();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let ours = |name: &'static str, file: &str| Looker {
        name,
        program: env!("CARGO_BIN_EXE_stallscope").into(),
        args: ["record", &pid, "-r", "100", "-d", &format!("{seconds}s"), "--idle", "-o", &place(file)]
            .map(str::to_owned)
            .into(),
    };
    let py_spy = |name: &'static str, more: &[&str]| {
        shared::py_spy().map(|program| Looker {
            name,
            program,
            args: ["record", "-d", &seconds, "-r", "100", "--idle", "--subprocesses", "-f", "raw"]
                .into_iter()
                .chain(more.iter().copied())
                .chain(["-o", &place("py-spy.txt"), "-p", &pid])
                .map(str::to_owned)
                .collect(),
        })
    };
    let austin = shared::from_pypi("austin-dist", "3.7.0", "austin").map(|program| Looker {
        name: "austin 3.7",
        program,
        args: ["-i", "10ms", "-C", "-x", &seconds, "-o", &place("austin.txt"), "-p", &pid]
            .map(str::to_owned)
            .into(),
    });
    let lookers = [
        Some(ours("stallscope record, flame graph", "ours.svg")),
        py_spy("py-spy record, which stops what it looks at", &[]),
        austin,
        py_spy("py-spy record --nonblocking", &["--nonblocking"]),
    ];
    let plan =
        Plan { pairs: PAIRS, half: Duration::from_secs(SECONDS), cpu_limit: CPU_LIMIT, ..Plan::default() };
    let idle = |looker: &Looker| -> Fallible<()> {
        println!("\n{}, idle workers", looker.name);
        let cost = looker.look()?;
        println!("  {}", plan.cost(&cost));
        let failed = cost.code != Some(0);
        for line in cost.told.lines().filter(|line| failed || TOLD.iter().any(|told| line.contains(told))) {
            println!("  it says: {}", line.trim());
        }
        Ok(())
    };
    for looker in lookers.iter().flatten() {
        idle(looker)?;
        println!("{}, under load (requests/s without, with, ratio)", looker.name);
        plan.under_load(&portal, looker)?;
    }
    // The one form that keeps what came after what.
    idle(&ours("stallscope record, Chrome trace", "ours.trace.json"))?;
    portal.down();
    Ok(())
}
