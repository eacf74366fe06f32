//! Starting and ending the portal's processes: exactly ours, by pid and start time, and all of them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::failed;
use crate::error::Result;
use crate::observe::kernel_file::{FileBudget, ProcDir};
use crate::observe::process::snapshot;

/// How long a process may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest environment that is looked through.
const MAX_ENVIRONMENT: u64 = 256 * 1024;

/// A process of ours, also after its starter has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in ticks since boot.
    pub start_time_ticks: u64,
}

impl Identity {
    /// The identity of a living process.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let dir = ProcDir::open(pid, &FileBudget::new(4)).ok()?;
        snapshot(&dir).ok().map(|s| Self { pid, start_time_ticks: s.start_time_ticks })
    }

    /// Whether it still lives (a zombie does not).
    #[must_use]
    pub fn lives(self) -> bool {
        let seen = ProcDir::open(self.pid, &FileBudget::new(4)).and_then(|dir| snapshot(&dir));
        seen.is_ok_and(|s| s.start_time_ticks == self.start_time_ticks && !matches!(s.state, 'Z' | 'X'))
    }

    /// Ends it and the processes it has started: asked first, then not. Only processes known by pid and start time are
    /// signalled, so a number that was given to somebody else meanwhile is safe.
    pub fn end(self) {
        if !self.lives() {
            return;
        }
        let workers = self.children();
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        self.wait(Instant::now() + PATIENCE);
        kill_all(&workers);
        kill_all(&[self]);
    }

    /// Ends several that have nobody over them, all at once.
    pub fn end_all(processes: &[Self]) {
        for process in processes.iter().filter(|p| p.lives()) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
        }
        let until = Instant::now() + PATIENCE;
        for process in processes {
            process.wait(until);
        }
        kill_all(processes);
    }

    /// Its children.
    #[must_use]
    pub fn children(self) -> Vec<Self> {
        let list =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Self::of(pid.parse().ok()?)).collect()
    }

    fn wait(self, until: Instant) {
        while self.lives() && Instant::now() < until {
            // A child of ours becomes a zombie, which counts as ended; another's is gone. Both are seen by polling only.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn kill_all(processes: &[Identity]) {
    for process in processes.iter().filter(|p| p.lives()) {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        process.wait(Instant::now() + PATIENCE);
    }
}

/// The variable by which the processes of a portal are known, also those whose starter was killed.
pub const MARKER: &str = "STALLSCOPE_PORTAL";

/// A value for [`MARKER`] that no other portal has.
pub fn new_marker() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
    text.map(|text| text.trim().to_owned()).map_err(|e| failed("no unique name can be had", &e))
}

/// The processes that were started with a marker in their environment, or forked from one that was.
#[must_use]
pub fn marked(marker: &str) -> Vec<Identity> {
    let entry = format!("{MARKER}={marker}").into_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let carries = |dir: &ProcDir| {
        dir.read("environ", MAX_ENVIRONMENT).is_ok_and(|text| text.split(|b| *b == 0).any(|e| e == entry))
    };
    // The directory is held while its environment and its start time are read: both are the same process's.
    let identity = |pid| {
        let dir = ProcDir::open(pid, &FileBudget::new(4)).ok().filter(carries)?;
        let seen = snapshot(&dir).ok().filter(|s| !matches!(s.state, 'Z' | 'X'))?;
        Some(Identity { pid, start_time_ticks: seen.start_time_ticks })
    };
    pids.filter_map(identity).collect()
}

/// Starts a program as the head of a process group of its own, its output in a file.
pub fn start(command: &mut Command, log: &Path) -> Result<(Child, Identity)> {
    let file = File::create(log).map_err(|e| failed(&format!("{} cannot be written", log.display()), &e))?;
    let errors = file.try_clone().map_err(|e| failed("a log cannot be shared", &e))?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|e| failed(&format!("{program} cannot be started"), &e))?;
    let identity = Identity::of(child.id() as i32)
        .ok_or_else(|| failed(&format!("{program} ended at once"), &last_lines(log)))?;
    Ok((child, identity))
}

/// The end of a log, for an error.
#[must_use]
pub fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
