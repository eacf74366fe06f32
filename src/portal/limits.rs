//! What holds a portal back from outside: a control group with little processor time, and other work on the processors.
//!
//! Both end when they are dropped: whoever is inside a group goes back to the one above it before it is removed, and
//! other work is threads of ours, so it cannot outlive the tool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::failed;
use crate::error::Result;

/// A control group with a fifth of a processor.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// Makes one. `name` must be one that no other run has.
    pub fn new(name: &str) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let (first, second) = (root.join("cpu").join(name), root.join(name));
        let (folder, file, quota) =
            if root.join("cpu/cpu.cfs_quota_us").exists() || root.join("cpu/tasks").exists() {
                (first, "cpu.cfs_quota_us", "20000")
            } else {
                (second, "cpu.max", "20000 100000")
            };
        let cannot = |e: &std::io::Error| failed("a control group with a quota cannot be made", e);
        std::fs::create_dir(&folder).map_err(|e| cannot(&e))?;
        // From here on it is removed again whatever happens.
        let group = Self(folder);
        std::fs::write(group.0.join(file), quota).map_err(|e| cannot(&e))?;
        Ok(group)
    }

    /// Puts a process into it.
    pub fn add(&self, pid: i32) -> Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string())
            .map_err(|e| failed(&format!("process {pid} cannot be put into a control group"), &e))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let inside = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        if let Some(above) = self.0.parent() {
            for pid in inside.split_whitespace() {
                let _ = std::fs::write(above.join("cgroup.procs"), pid);
            }
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Other work: three threads for each processor that do nothing but compute.
#[derive(Debug)]
pub struct Neighbours {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Neighbours {
    /// Starts them.
    #[must_use]
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let work = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..processors * 3).map(work).collect();
        Self { stop, threads }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_goes_lets_go() {
        let name = format!("stallscope-unit-{}", std::process::id());
        let group = match Group::new(&name) {
            Ok(group) => group,
            Err(error) => return eprintln!("SKIPPED: {}: {}", error.message, error.cause),
        };
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let folder = group.0.clone();
        group.add(child.id() as i32).unwrap();
        let inside = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap();
        assert!(inside.split_whitespace().any(|pid| pid == child.id().to_string()), "{inside}");
        drop(group);
        assert!(!folder.exists());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
