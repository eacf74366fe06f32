//! Prints what a look costs: the server that is looked at, and the machine.
//!
//! Pairs of equal length, once with and once without a look, in alternating order, so that whatever else goes on hits
//! both alike. The limits stand beside the figures; nothing fails on them, a shared machine is no scale.

mod shared;

use shared::Fallible;
use shared::pairs::{Looker, Plan};

const WALL_LIMIT_S: f64 = 3.5;
const CPU_LIMIT: f64 = 0.03;
const RSS_LIMIT_MIB: f64 = 15.0;

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let portal = shared::eight_gevent_workers(folder.path())?;
    println!(
        "8 gevent workers; limits: wall {WALL_LIMIT_S} s, {:.0} % of a core, {RSS_LIMIT_MIB} MiB",
        CPU_LIMIT * 100.0
    );
    let pid = portal.arbiter_pid.to_string();
    let stallscope = Looker {
        name: "stallscope",
        program: env!("CARGO_BIN_EXE_stallscope").into(),
        args: [&pid, "-d", "3s", "--max-duration", "3s", "--fail-on", "never"].map(str::to_owned).into(),
    };
    let py_spy = shared::py_spy().map(|program| Looker {
        name: "py-spy",
        program,
        args: [
            "record",
            "-d",
            "3",
            "-r",
            "100",
            "--subprocesses",
            "--nonblocking",
            "-f",
            "raw",
            "-o",
            "/dev/null",
            "-p",
            &pid,
        ]
        .map(str::to_owned)
        .into(),
    });
    let plan = Plan {
        wall_limit_s: WALL_LIMIT_S,
        cpu_limit: CPU_LIMIT,
        rss_limit_mib: RSS_LIMIT_MIB,
        ..Plan::default()
    };
    for looker in [Some(&stallscope), py_spy.as_ref()].into_iter().flatten() {
        println!("\n{}, idle workers", looker.name);
        for _ in 0..2 {
            println!("  {}", plan.cost(&looker.look()?));
        }
        println!("{}, under load (requests/s without, with, ratio)", looker.name);
        plan.under_load(&portal, looker)?;
    }
    portal.down();
    Ok(())
}
