//! The files of one thread, kept open.
//!
//! [`ThreadFiles`] takes a process directory and a thread id and reads what the sampling loop wants, each with one
//! `pread` into the caller's buffer. A file that is never asked for is never opened. It must never be asked after
//! somebody has stopped the thread for what it slept in before: a stop turns some calls into `restart_syscall`.

use std::sync::Arc;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::kernel_file::{KeptFile, ProcDir, Seen, Unseen};
use super::parse::{self, SchedStat, Site, Stat, Status};
use crate::capture::model::{Doing, ThreadCounters};

/// Longest stack of the kernel that is read: it has 64 lines at most.
const KERNEL_STACK_BYTES: u64 = 16 << 10;

/// A thread that sleeps in a call. Two equal ones prove that it did not run in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asleep {
    /// The call.
    pub doing: Doing,
    /// Where it was made.
    pub site: Site,
    ran: Ran,
}

/// What grows each time that a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    Scheduled(SchedStat),
    Switched(u64, u64),
}

/// The files of one thread.
#[derive(Debug)]
pub struct ThreadFiles {
    process: Arc<ProcDir>,
    tid: i32,
    schedstat: KeptFile,
    syscall: KeptFile,
    stat: KeptFile,
    status: KeptFile,
    wchan: KeptFile,
}

impl ThreadFiles {
    /// Names the files of a thread; none is opened yet.
    #[must_use]
    pub fn new(process: Arc<ProcDir>, tid: i32) -> Self {
        let file = |name: &str| KeptFile::new(format!("task/{tid}/{name}"));
        Self {
            process,
            tid,
            schedstat: file("schedstat"),
            syscall: file("syscall"),
            stat: file("stat"),
            status: file("status"),
            wchan: file("wchan"),
        }
    }

    /// The thread id.
    #[must_use]
    pub const fn tid(&self) -> i32 {
        self.tid
    }

    /// Time on a processor and in a run queue. [`Unseen::Absent`] on kernels without it.
    pub fn schedstat(&mut self, buffer: &mut [u8]) -> Seen<SchedStat> {
        parse::schedstat(self.schedstat.read(&self.process, buffer)?).ok_or(Unseen::Garbled)
    }

    /// What the thread is doing. Needs the right to read the target as a debugger would.
    pub fn syscall(&mut self, buffer: &mut [u8]) -> Seen<Doing> {
        parse::syscall(self.syscall.read(&self.process, buffer)?).ok_or(Unseen::Garbled)
    }

    /// What the thread is doing, and where in its program.
    pub fn syscall_and_site(&mut self, buffer: &mut [u8]) -> Seen<(Doing, Option<Site>)> {
        let text = self.syscall.read(&self.process, buffer)?;
        Ok((parse::syscall(text).ok_or(Unseen::Garbled)?, parse::site(text)))
    }

    /// What the thread sleeps in, and what changes as soon as it runs. `None` for one that runs, [`Unseen::Absent`] for one that
    /// sleeps in no call.
    pub fn asleep(&mut self, buffer: &mut [u8]) -> Seen<Option<Asleep>> {
        let (doing, site) = self.syscall_and_site(buffer)?;
        if doing == Doing::Running {
            return Ok(None);
        }
        let site = site.ok_or(Unseen::Absent)?;
        let ran = match self.schedstat(buffer) {
            // A kernel that does not count says zero.
            Ok(sched) if sched.slices > 0 => Ran::Scheduled(sched),
            Ok(_) | Err(Unseen::Absent) => {
                let status = self.status(buffer)?;
                Ran::Switched(status.voluntary_switches, status.involuntary_switches)
            }
            Err(why) => return Err(why),
        };
        Ok(Some(Asleep { doing, site, ran }))
    }

    /// The functions of the kernel that the thread sleeps in, innermost first. Only for the superuser.
    pub fn kernel_stack(&mut self) -> Seen<Vec<String>> {
        let text = self.process.read(&format!("task/{}/stack", self.tid), KERNEL_STACK_BYTES)?;
        Ok(parse::kernel_stack(&text))
    }

    /// State, processor times, start time.
    pub fn stat<'b>(&mut self, buffer: &'b mut [u8]) -> Seen<Stat<'b>> {
        parse::stat(self.stat.read(&self.process, buffer)?).ok_or(Unseen::Garbled)
    }

    /// Context switches, users, tracer, namespaced id.
    pub fn status(&mut self, buffer: &mut [u8]) -> Seen<Status> {
        parse::status(self.status.read(&self.process, buffer)?).ok_or(Unseen::Garbled)
    }

    /// The kernel function it sleeps in. `None` when it does not sleep, or when the kernel hides it.
    pub fn wchan<'b>(&mut self, buffer: &'b mut [u8]) -> Seen<Option<&'b str>> {
        self.wchan.read(&self.process, buffer).map(parse::wchan)
    }

    /// All exact counters. Those of `schedstat` are missing where the kernel does not keep them.
    pub fn counters(&mut self, buffer: &mut [u8]) -> Seen<ThreadCounters> {
        let sched = match self.schedstat(buffer) {
            Ok(sched) => Some(sched),
            Err(Unseen::Gone) => return Err(Unseen::Gone),
            Err(_) => None,
        };
        let status = self.status(buffer)?;
        let stat = self.stat(buffer)?;
        Ok(ThreadCounters {
            tid: self.tid,
            name: String::from_utf8_lossy(stat.comm).into_owned(),
            state: stat.state,
            utime_ticks: stat.utime_ticks,
            stime_ticks: stat.stime_ticks,
            run_ns: sched.map(|sched| sched.run_ns),
            delay_ns: sched.map(|sched| sched.delay_ns),
            slices: sched.map(|sched| sched.slices),
            voluntary_switches: status.voluntary_switches,
            involuntary_switches: status.involuntary_switches,
            blkio_ticks: stat.blkio_ticks,
        })
    }
}

/// The threads of a process, in the kernel's order: the oldest first.
pub fn list_threads(process: &ProcDir) -> Seen<Vec<i32>> {
    numbered_entries(process, "task", usize::MAX).map(|(tids, _)| tids)
}

/// The entries of a directory of a process that are numbers, at most `limit`; and whether there were more.
pub(crate) fn numbered_entries(process: &ProcDir, path: &str, limit: usize) -> Seen<(Vec<i32>, bool)> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir =
        Dir::openat(process, path, flags, Mode::empty()).map_err(|errno| match Unseen::from(errno) {
            // These directories exist as long as the process does.
            Unseen::Absent => Unseen::Gone,
            other => other,
        })?;
    let mut numbers = Vec::new();
    for entry in dir.iter() {
        let number = parse::decimal(entry?.file_name().to_bytes()).and_then(|number| number.try_into().ok());
        match number {
            Some(_) if numbers.len() >= limit => return Ok((numbers, true)),
            Some(number) => numbers.push(number),
            None => {}
        }
    }
    Ok((numbers, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kernel_file::{FileBudget, READ_BUFFER_BYTES};

    #[test]
    fn files_are_opened_when_needed_and_closed_on_drop() {
        let budget = FileBudget::new(100);
        let me = Arc::new(ProcDir::open(std::process::id() as i32, &budget).unwrap());
        let mut thread = ThreadFiles::new(me, nix::unistd::gettid().as_raw());
        let mut buffer = [0; READ_BUFFER_BYTES];
        assert_eq!(budget.left(), 100);
        let before = thread.schedstat(&mut buffer).unwrap();
        assert_eq!(budget.left(), 99);
        let counters = thread.counters(&mut buffer).unwrap();
        assert!(counters.run_ns.unwrap() >= before.run_ns);
        assert_eq!(counters.state, 'R', "a thread that reads itself is running");
        assert_eq!(budget.left(), 97);
        drop(thread);
        assert_eq!(budget.left(), 100);
    }

    #[test]
    fn a_thread_that_ended_is_gone_also_through_kept_files() {
        let budget = FileBudget::new(100);
        let me = Arc::new(ProcDir::open(std::process::id() as i32, &budget).unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = wait.recv();
        });
        let tid = told.recv().unwrap();
        assert!(list_threads(&me).unwrap().contains(&tid));
        let mut thread = ThreadFiles::new(Arc::clone(&me), tid);
        let mut buffer = [0; READ_BUFFER_BYTES];
        thread.counters(&mut buffer).unwrap();
        drop(release);
        other.join().unwrap();
        // The thread is joined a moment before the kernel has taken its entry away.
        while list_threads(&me).unwrap().contains(&tid) {
            std::thread::yield_now();
        }
        assert_eq!(thread.counters(&mut buffer).unwrap_err(), Unseen::Gone);
        assert_eq!(thread.syscall(&mut buffer).unwrap_err(), Unseen::Gone, "opened only now");
    }
}
