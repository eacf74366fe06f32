//! Bursts whose helper, or whose tool, is under a tracer (`fixtures/programs/supervisor.c`), which does something to it at a
//! system call that it is told.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use stallscope::capture::burst::Burst;
use stallscope::observe::burst::{Bounds, NoBurst};
use tempfile::TempDir;

use crate::rig::{TOOL, burst_by, compiled};
use crate::tool::until;

/// What is done when a call of that number begins, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Killed, at any call.
    Kill(u32),
    /// Killed at the first system call of this number.
    KillAt(i64),
    /// Never let go on, at a call from its first `ptrace` on.
    Hold(u32),
    /// Made an endless loop behind a call from its first `ptrace` on.
    Spin(u32),
}

/// A place for orders and answers.
pub struct Supervised {
    program: PathBuf,
    _folder: TempDir,
}

impl Supervised {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("helper");
        symlink(compiled("supervisor"), &program).unwrap();
        Self { program, _folder: folder }
    }

    /// Takes a burst during which that is done to its helper. Gives also the number of the call at which it was done, unless
    /// there were not so many.
    pub fn burst(&self, pid: i32, deed: Deed, bounds: &Bounds) -> (Result<Burst, NoBurst>, Option<i64>) {
        self.order(deed);
        let seen = burst_by(&self.program, pid, bounds);
        (seen, self.done_at())
    }

    /// Runs the tool, to which that is done. Gives also the number of the call.
    pub fn run(&self, args: &[&str], deed: Deed) -> (ExitStatus, Option<i64>) {
        self.order(deed);
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().unwrap();
        (status, self.done_at())
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.program.with_extension(ending)
    }

    fn order(&self, deed: Deed) {
        let (what, first, which) = match deed {
            Deed::Kill(which) => ("kill", -1, which),
            Deed::KillAt(number) => ("kill", number, 1),
            Deed::Hold(which) => ("hold", nix::libc::SYS_ptrace, which),
            Deed::Spin(which) => ("spin", nix::libc::SYS_ptrace, which),
        };
        let _ = std::fs::remove_file(self.file("told"));
        std::fs::write(self.file("orders"), format!("{TOOL} {what} {first} {which}\n")).unwrap();
    }

    fn done_at(&self) -> Option<i64> {
        let told = self.file("told");
        until("the supervisor has told", || told.exists());
        let at: i64 = std::fs::read_to_string(told).unwrap().trim().parse().unwrap();
        (at >= 0).then_some(at)
    }
}
