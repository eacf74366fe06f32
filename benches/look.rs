//! Prints what a look costs: the server that is looked at, and the machine.
//!
//! Pairs of equal length, once with and once without a look, in alternating order, so that whatever else goes on hits
//! both alike. The limits stand beside the figures; nothing fails on them, a shared machine is no scale.

mod shared;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use shared::Fallible;
use stallscope::portal::load::{Load, Plan};
use stallscope::portal::server::Portal;

const PAIRS: usize = 4;
const HALF: Duration = Duration::from_secs(4);
const WALL_LIMIT_S: f64 = 3.5;
const CPU_LIMIT: f64 = 0.03;
const RSS_LIMIT_MIB: f64 = 15.0;

/// What a program that looked has cost.
struct Cost {
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    code: Option<i32>,
}

/// Who looks.
struct Looker {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
}

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
    for looker in [Some(&stallscope), py_spy.as_ref()].into_iter().flatten() {
        println!("\n{}, idle workers", looker.name);
        for _ in 0..2 {
            println!("  {}", cost(&looker.look()?));
        }
        println!("{}, under load (requests/s without, with, ratio)", looker.name);
        under_load(&portal, looker)?;
    }
    portal.down();
    Ok(())
}

fn under_load(portal: &Portal, looker: &Looker) -> Fallible<()> {
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let looked_at_first = pair % 2 == 1;
        let (mut without, mut with, mut seen) = (0.0, 0.0, None);
        for half in [looked_at_first, !looked_at_first] {
            if half {
                let (rate, cost) = loaded(portal, Some(looker))?;
                (with, seen) = (rate, cost);
            } else {
                without = loaded(portal, None)?.0;
            }
        }
        ratios.push(with / f64::max(without, 1e-9));
        let told = seen.as_ref().map_or_else(String::new, cost);
        println!("  {without:8.1} {with:8.1}  {:.3}  {told}", with / f64::max(without, 1e-9));
    }
    ratios.sort_by(f64::total_cmp);
    let middle = f64::midpoint(ratios[(PAIRS - 1) / 2], ratios[PAIRS / 2]);
    println!("  median ratio {middle:.3}, from {:.3} to {:.3}", ratios[0], ratios[PAIRS - 1]);
    Ok(())
}

/// Requests per second during one half of a pair, and what the look in it has cost.
fn loaded(portal: &Portal, looker: Option<&Looker>) -> Fallible<(f64, Option<Cost>)> {
    let load = Load::start(&Plan {
        address: portal.direct,
        path: "/fault/slow_page".into(),
        connections: 8,
        keep_alive: false,
        pause: Duration::ZERO,
        at_most: HALF,
    });
    let began = Instant::now();
    let cost = looker.map(Looker::look).transpose()?;
    // A look that is over early does not shorten its half.
    std::thread::sleep(HALF.saturating_sub(began.elapsed()));
    // The load ends by itself after `HALF`; a look that takes longer must not thin out its answers.
    Ok((load.stop().answers as f64 / HALF.as_secs_f64(), cost))
}

impl Looker {
    /// Looks once.
    fn look(&self) -> Fallible<Cost> {
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        let mut usage = std::mem::MaybeUninit::<nix::libc::rusage>::zeroed();
        let mut status = 0;
        let pid = child.id() as i32;
        // SAFETY: both pointers are to live variables of the types that wait4(2) fills, and the pid is of an
        // unreaped child of ours.
        let reaped = unsafe { nix::libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped != pid {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: all bits zero are a valid `rusage`, and wait4 has filled it.
        let usage = unsafe { usage.assume_init() };
        let seconds = |time: nix::libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Ok(Cost {
            wall_s: began.elapsed().as_secs_f64(),
            cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            peak_mib: usage.ru_maxrss as f64 / 1024.0,
            code: ExitStatus::from_raw(status).code(),
        })
    }
}

/// A cost, with a mark where it is over its limit.
fn cost(cost: &Cost) -> String {
    let share = cost.cpu_s / cost.wall_s.max(1e-9);
    let mark = |over: bool| if over { "!" } else { " " };
    format!(
        "wall {:.2} s{} cpu {:.2} % of a core{} peak {:.1} MiB{} exit {}",
        cost.wall_s,
        mark(cost.wall_s > WALL_LIMIT_S),
        share * 100.0,
        mark(share > CPU_LIMIT),
        cost.peak_mib,
        mark(cost.peak_mib > RSS_LIMIT_MIB),
        cost.code.map_or_else(|| "by a signal".into(), |code| code.to_string()),
    )
}
