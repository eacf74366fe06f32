//! Real processes to look at: small Python programs that say when they are ready and end with the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stallscope::observe::kernel_file::{FileBudget, ProcDir};
use stallscope::observe::thread_files::ThreadFiles;

/// A child that is ended on drop.
pub struct Target {
    pub child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Target {
    /// Runs a Python program. It may `print` numbers, which [`Target::numbers`] reads, and read lines that
    /// [`Target::tell`] writes.
    pub fn python(program: &str) -> Self {
        Self::start(&mut Command::new("python3"), program)
    }

    /// Runs a Python program under a prepared command.
    pub fn start(command: &mut Command, program: &str) -> Self {
        let prelude = "import fcntl, os, select, socket, sys, threading, time\n\
            def say(*numbers): print(*numbers, flush=True)\n";
        command.args(["-c", &format!("{prelude}{program}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The numbers of the next line that the child prints.
    pub fn numbers(&mut self) -> Vec<i64> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the child ended: {:?}", self.child.wait());
        line.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// Writes a line to the child.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes the child's input, by which programs that read it end.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    pub fn proc_dir(&self) -> Arc<ProcDir> {
        Arc::new(ProcDir::open(self.pid(), &FileBudget::new(1000)).unwrap())
    }

    pub fn main_thread(&self) -> ThreadFiles {
        ThreadFiles::new(self.proc_dir(), self.pid())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it sees what it looks for. The state of another process can only be looked at, not awaited.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never seen: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Runs a closure on a thread that has given up root, so that what it asks is refused as for any user.
pub fn as_nobody<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    const NOBODY: nix::libc::uid_t = 65_534;
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: takes three integers. Past the C library, so that it changes this thread only.
                let result = unsafe { nix::libc::syscall(nix::libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
                assert_eq!(result, 0, "cannot give up root");
                look()
            })
            .join()
            .unwrap()
    })
}

/// Whether the tests run as root; says loudly what is not tested if not.
pub fn root_or_skip(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(what, "needs root");
    }
    root
}

/// Says past the test harness, which hides what passing tests print, that something was not tested.
pub fn skipped(what: &str, why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {what}: {why}\n").as_bytes()).unwrap();
}
