//! Pairs of equal length under load, once with and once without somebody who looks, in alternating order; what that costs
//! the server, and what it costs itself.

use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use stallscope::portal::load::{Load, Plan as LoadPlan, REQUEST_PATIENCE};
use stallscope::portal::server::Portal;

use super::Fallible;

/// What a program that looked has cost.
pub struct Cost {
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    /// How it ended; `None` by a signal.
    pub code: Option<i32>,
    /// What it said on standard error.
    pub told: String,
}

/// Who looks.
pub struct Looker {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
}

/// How many pairs of what length, and the limits that are marked.
pub struct Plan {
    pub pairs: usize,
    pub half: Duration,
    pub wall_limit_s: f64,
    pub cpu_limit: f64,
    pub rss_limit_mib: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            pairs: 4,
            half: Duration::from_secs(4),
            wall_limit_s: f64::INFINITY,
            cpu_limit: f64::INFINITY,
            rss_limit_mib: f64::INFINITY,
        }
    }
}

impl Plan {
    /// Prints the pairs and the middle of their ratios.
    pub fn under_load(&self, portal: &Portal, looker: &Looker) -> Fallible<()> {
        let mut ratios = Vec::new();
        for pair in 0..self.pairs {
            let looked_at_first = pair % 2 == 1;
            let (mut without, mut with, mut seen) = (0.0, 0.0, None);
            for half in [looked_at_first, !looked_at_first] {
                if half {
                    (with, seen) = self.loaded(portal, Some(looker))?;
                } else {
                    without = self.loaded(portal, None)?.0;
                }
            }
            ratios.push(with / f64::max(without, 1e-9));
            let told = seen.as_ref().map_or_else(String::new, |cost| self.cost(cost));
            println!("  {without:8.1} {with:8.1}  {:.3}  {told}", with / f64::max(without, 1e-9));
        }
        ratios.sort_by(f64::total_cmp);
        let middle = f64::midpoint(ratios[(self.pairs - 1) / 2], ratios[self.pairs / 2]);
        println!("  median ratio {middle:.3}, from {:.3} to {:.3}", ratios[0], ratios[self.pairs - 1]);
        Ok(())
    }

    /// Requests per second during one half of a pair, and what the look in it has cost.
    fn loaded(&self, portal: &Portal, looker: Option<&Looker>) -> Fallible<(f64, Option<Cost>)> {
        let load = Load::start(&LoadPlan {
            address: portal.direct,
            path: "/fault/slow_page".into(),
            connections: 8,
            keep_alive: false,
            pause: Duration::ZERO,
            patience: REQUEST_PATIENCE,
            at_most: self.half,
        });
        let began = Instant::now();
        let cost = looker.map(Looker::look).transpose()?;
        // A look that is over early does not shorten its half.
        std::thread::sleep(self.half.saturating_sub(began.elapsed()));
        // The load ends by itself after its half; a look that takes longer must not thin out its answers.
        Ok((load.stop().answers as f64 / self.half.as_secs_f64(), cost))
    }

    /// A cost, with a mark where it is over its limit.
    pub fn cost(&self, cost: &Cost) -> String {
        let share = cost.cpu_s / cost.wall_s.max(1e-9);
        let mark = |over: bool| if over { "!" } else { " " };
        format!(
            "wall {:.2} s{} cpu {:.2} % of a core{} peak {:.1} MiB{} exit {}",
            cost.wall_s,
            mark(cost.wall_s > self.wall_limit_s),
            share * 100.0,
            mark(share > self.cpu_limit),
            cost.peak_mib,
            mark(cost.peak_mib > self.rss_limit_mib),
            cost.code.map_or_else(|| "by a signal".into(), |code| code.to_string()),
        )
    }
}

impl Looker {
    /// Looks once.
    pub fn look(&self) -> Fallible<Cost> {
        let began = Instant::now();
        // A file takes all that is said, and nobody has to read it meanwhile.
        let mut told = tempfile::tempfile()?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(told.try_clone()?);
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
        let wall_s = began.elapsed().as_secs_f64();
        let mut said = Vec::new();
        told.rewind()?;
        told.read_to_end(&mut said)?;
        Ok(Cost {
            wall_s,
            cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            peak_mib: usage.ru_maxrss as f64 / 1024.0,
            code: ExitStatus::from_raw(status).code(),
            told: String::from_utf8_lossy(&said).into_owned(),
        })
    }
}
