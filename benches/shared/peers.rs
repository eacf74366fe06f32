//! The tools that our reading of stacks is measured beside: how many stacks a second each gets of a target, by its own count,
//! when it is told to go as fast as it can without stopping it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Fallible, SID};

/// Samples per second that py-spy is asked for, the highest first: where it cannot keep up it may never come to its end.
const PY_SPY_RATES: [&str; 3] = ["20000", "5000", "1000"];
/// Longer than this nobody is waited for.
const PATIENCE: Duration = Duration::from_secs(12);
/// What `CPython` 3.15 samples itself with, called as fast as it will go.
const UNWINDER: &str = "
import sys, time, _remote_debugging
pid, seconds, cached = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == 'cached'
unwinder = _remote_debugging.RemoteUnwinder(pid, all_threads=True, mode=0, cache_frames=cached)
stacks, end = 0, time.monotonic() + seconds
while time.monotonic() < end:
    try: stacks += sum(len(i.threads) for i in unwinder.get_stack_trace())
    except (RuntimeError, OSError, UnicodeDecodeError): pass
print(stacks / seconds)
";

/// Who else reads stacks of a target; each where it can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    PySpy,
    Austin3,
    /// Needs a newer C library than Debian 12 has: it is run on that of the sid root.
    Austin4,
    /// `CPython` 3.15's own, on targets of its version. It writes nothing.
    Cpython,
    /// The same with its cache, for which it writes into the target at every sample.
    CpythonWriting,
}

impl Peer {
    pub const fn name(self) -> &'static str {
        match self {
            Self::PySpy => "py-spy 0.4.1",
            Self::Austin3 => "austin 3.7",
            Self::Austin4 => "austin 4.0",
            Self::Cpython => "CPython 3.15's sampler",
            Self::CpythonWriting => "the same, writing into the target",
        }
    }

    /// Stacks of threads per second; `None` where it gives no figure.
    pub fn stacks_per_s(self, pid: i32, seconds: u64, folder: &Path) -> Fallible<Option<f64>> {
        match self {
            Self::PySpy => by_py_spy(pid, seconds, folder),
            Self::Austin3 => by_austin_3(pid, seconds, folder),
            Self::Austin4 => by_austin_4(pid, seconds, folder),
            Self::Cpython => by_cpython(pid, seconds, "plain"),
            Self::CpythonWriting => by_cpython(pid, seconds, "cached"),
        }
    }
}

fn patient(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program).stdin(Stdio::null());
    command
}

/// Sum of the counts of collapsed stacks.
fn collapsed(text: &str) -> u64 {
    text.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn by_py_spy(pid: i32, seconds: u64, folder: &Path) -> Fallible<Option<f64>> {
    let Some(program) = super::py_spy() else { return Ok(None) };
    let out = folder.join("py-spy.txt");
    for rate in PY_SPY_RATES {
        let ran = patient(&program)
            .args(["record", "--nonblocking", "--threads", "--idle", "-f", "raw", "-r", rate])
            .args(["-d", &seconds.to_string(), "-p", &pid.to_string(), "-o"])
            .arg(&out)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if ran.success() {
            return Ok(Some(collapsed(&std::fs::read_to_string(&out)?) as f64 / seconds as f64));
        }
    }
    Ok(None)
}

/// Each line is one sample of one thread.
fn by_austin_3(pid: i32, seconds: u64, folder: &Path) -> Fallible<Option<f64>> {
    let Some(program) = super::from_pypi("austin-dist", "3.7.0", "austin") else { return Ok(None) };
    let out = folder.join("austin-3.txt");
    patient(&program)
        .args(["-i", "1us", "-x", &seconds.to_string(), "-p", &pid.to_string(), "-o"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let bytes = std::fs::read(out).unwrap_or_default();
    let lines = String::from_utf8_lossy(&bytes);
    let samples = lines.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).count();
    Ok((samples > 0).then(|| samples as f64 / seconds as f64))
}

/// Its file is binary; it counts its samples when it ends: "Error rate . . 0/46465 (0.00%)".
fn by_austin_4(pid: i32, seconds: u64, folder: &Path) -> Fallible<Option<f64>> {
    let libraries = Path::new(SID).join("usr/lib/x86_64-linux-gnu");
    let loader = libraries.join("ld-linux-x86-64.so.2");
    let program = super::from_pypi("austin-dist", "4.0.0", "austin").filter(|_| loader.exists());
    let Some(program) = program else { return Ok(None) };
    let ran = patient(&loader)
        .arg("--library-path")
        .arg(&libraries)
        .arg(program)
        .args(["-i", "1us", "-x", &seconds.to_string(), "-p", &pid.to_string(), "-o"])
        .arg(folder.join("austin-4.mojo"))
        .output()?;
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let told = said.lines().find(|line| line.contains("Error rate"));
    let samples = told.and_then(|line| {
        let (_, behind) = line.split_once('/')?;
        behind.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<f64>().ok()
    });
    Ok(samples.filter(|samples| *samples > 0.0).map(|samples| samples / seconds as f64))
}

/// Runs inside the sid root, which it must see at the paths that the target's mappings name.
fn by_cpython(pid: i32, seconds: u64, mode: &str) -> Fallible<Option<f64>> {
    let root = Path::new(SID);
    let program = root.join("tmp/unwinder.py");
    if !root.join("usr/bin/python3.15").exists() {
        return Ok(None);
    }
    std::fs::write(&program, UNWINDER)?;
    let same_path = root.join(SID.trim_start_matches('/'));
    if let Some(above) = same_path.parent().filter(|_| !same_path.exists()) {
        std::fs::create_dir_all(above)?;
        std::os::unix::fs::symlink("/", &same_path)?;
    }
    let script = "mount --rbind /proc \"$1/proc\" && exec timeout \"$5\" chroot \"$1\" python3.15 /tmp/unwinder.py \"$2\" \"$3\" \"$4\"";
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", SID, &pid.to_string(), &seconds.to_string(), mode])
        .arg(PATIENCE.as_secs().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    Ok(String::from_utf8_lossy(&ran.stdout).trim().parse().ok())
}
