//! One process under observation: its threads' kept-open files, its interpreter, what it was last seen doing.
//!
//! A thread whose `schedstat` has not moved is still in the same sleep: nothing else of it is read again. That is
//! what lets hundreds of idle workers be watched for the price of one read each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::interner::Interner;
use super::python::Python;
use super::sources::{Source, Sources};
use crate::capture::model::{Doing, ProcessFacts, Record, Role, ThreadCounters, ThreadSample};
use crate::capture::syscalls::{Wait, describe};
use crate::observe::exit::ExitWatch;
use crate::observe::kernel_file::{ProcDir, READ_BUFFER_BYTES, Unseen};
use crate::observe::parse::{Site, is_interruptible};
use crate::observe::thread_files::{ThreadFiles, list_threads};
use crate::python::reader::{GilHolder, Pace};
use crate::target::Member;

/// What sampling needs besides the process.
pub struct Context<'c> {
    /// Machine architecture.
    pub arch: &'c str,
    /// Numbers of names, frames and stacks.
    pub interner: &'c mut Interner,
    /// Counts.
    pub sources: &'c mut Sources,
    /// Where records go that the samples refer to.
    pub out: &'c mut Vec<Record>,
    /// For readings.
    pub buffer: &'c mut [u8; READ_BUFFER_BYTES],
}

struct Thread {
    files: ThreadFiles,
    ns_tid: i32,
    last: Option<ThreadSample>,
    /// Whether all of the last sample was read, and nothing taken over from an earlier one.
    whole: bool,
    /// The last sleep in an epoll set that was read whole, and where it was begun.
    sleep: Option<(ThreadSample, Site)>,
}

/// Whether a sleep is that of a poller as it was before: the same call on the same set with the same room for events, begun
/// at the same place with as much on the machine stack.
fn same_poll(arch: &str, doing: Doing, site: Site, before: &(ThreadSample, Site)) -> bool {
    let (Doing::Syscall(number, now), Doing::Syscall(before_number, then)) = (doing, before.0.doing) else {
        return false;
    };
    number == before_number
        && now[..3] == then[..3]
        && site == before.1
        && describe(arch, number).is_some_and(|info| info.wait == Wait::Epoll)
}

/// One process under observation.
pub struct Watched {
    /// Its directory.
    pub dir: Arc<ProcDir>,
    /// What is known of it.
    pub facts: ProcessFacts,
    /// Its interpreter, if it has one that can be read.
    pub python: Option<Python>,
    /// Packages of which something is mapped, each with the folder that it is installed in.
    pub packages: BTreeSet<(String, String)>,
    /// Tells how it ended.
    pub exit: Option<ExitWatch>,
    threads: BTreeMap<i32, Thread>,
    next_other: i32,
    same_pid_ns: bool,
    /// Whether its monotonic clock is ours: a time namespace may shift it.
    pub same_clock: bool,
    /// Whether it is recorded for where its time goes. A sleep in the same poll, begun at the same place, is then taken for
    /// the same stack whenever it is met, and not only while it is not the turn of its stack; and nobody asks whether a
    /// collector runs.
    pub profiled: bool,
}

/// Whether a process is in our time namespace. A kernel without such namespaces has one clock.
fn same_clock(process: &ProcDir) -> bool {
    let ours = nix::sys::stat::stat("/proc/self/ns/time").map(|s| s.st_ino);
    match (ours, process.stat("ns/time")) {
        (Ok(ours), Ok(theirs)) => ours == theirs.st_ino,
        (Err(_), _) => true,
        (Ok(_), Err(_)) => false,
    }
}

impl Watched {
    /// Starts to watch a process whose facts are known.
    #[must_use]
    pub fn new(member: &Member, facts: ProcessFacts, python: Option<Python>) -> Self {
        let same_pid_ns = facts.ns_pid == facts.pid;
        Self {
            dir: Arc::clone(&member.dir),
            facts,
            python,
            packages: BTreeSet::new(),
            exit: ExitWatch::open(&member.dir),
            threads: BTreeMap::new(),
            next_other: 0,
            same_pid_ns,
            same_clock: same_clock(&member.dir),
            profiled: false,
        }
    }

    /// Its threads.
    pub fn tids(&self) -> impl Iterator<Item = i32> + '_ {
        self.threads.keys().copied()
    }

    /// Whether a thread is one of its own.
    #[must_use]
    pub fn has_thread(&self, tid: i32) -> bool {
        self.threads.contains_key(&tid)
    }

    /// What threads are called: by Python, else by the kernel.
    pub fn thread_names(&mut self, tids: &[i32], buffer: &mut [u8; READ_BUFFER_BYTES]) -> Vec<(i32, String)> {
        let interpreters = self.python.as_mut().map(|python| python.reader().interpreters());
        let mut names = Vec::with_capacity(tids.len());
        for tid in tids {
            let Some(thread) = self.threads.get_mut(tid) else { continue };
            let by_python = match (&mut self.python, &interpreters) {
                (Some(python), Some(all)) => python.reader().about(thread.ns_tid, all).name,
                _ => None,
            };
            let by_kernel = || {
                let stat = thread.files.stat(buffer).ok()?;
                Some(String::from_utf8_lossy(stat.comm).into_owned())
            };
            names.extend(by_python.or_else(by_kernel).map(|name| (*tid, name)));
        }
        names
    }

    /// Looks which threads there are. `Gone` when the process has ended.
    pub fn refresh(&mut self, context: &mut Context<'_>) -> Result<(), Unseen> {
        let listed = self.threads_if_changed()?;
        if let Some(tids) = &listed {
            self.threads.retain(|tid, _| tids.contains(tid));
        }
        for tid in listed.unwrap_or_default() {
            let same = self.same_pid_ns;
            self.threads.entry(tid).or_insert_with(|| {
                let mut files = ThreadFiles::new(Arc::clone(&self.dir), tid);
                let ns_tid = if same { tid } else { files.status(context.buffer).map_or(tid, |s| s.ns_pid) };
                Thread { files, ns_tid, last: None, whole: false, sleep: None }
            });
        }
        if let Some(python) = &mut self.python {
            python.refresh();
        }
        if self.threads.is_empty() { Err(Unseen::Gone) } else { Ok(()) }
    }

    /// The threads, unless they are as many as are known: the kernel counts them in the links of their folder. One that
    /// has ended is struck off when its files are next read, so that another one in its place is not overlooked.
    fn threads_if_changed(&self) -> Result<Option<Vec<i32>>, Unseen> {
        let links = self.dir.stat("task")?.st_nlink;
        if links == self.threads.len() as u64 + 2 { Ok(None) } else { list_threads(&self.dir).map(Some) }
    }

    /// The exact counters of all threads. `Gone` when the process has ended.
    pub fn counters(&mut self, context: &mut Context<'_>) -> Result<Vec<ThreadCounters>, Unseen> {
        let mut counters = Vec::with_capacity(self.threads.len());
        self.threads.retain(|_, thread| match thread.files.counters(context.buffer) {
            Ok(one) => {
                counters.push(one);
                true
            }
            Err(Unseen::Gone | Unseen::Absent) => false,
            Err(_) => true,
        });
        if counters.is_empty() { Err(Unseen::Gone) } else { Ok(counters) }
    }

    /// Times that its threads were put on a processor, as far as the samples show. As long as this stands still, nothing
    /// of the process can have changed by its own doing. `None` when it cannot be told.
    #[must_use]
    pub fn slices(&self) -> Option<u64> {
        self.threads.values().try_fold(0_u64, |sum, thread| {
            let slices = thread.last.as_ref()?.slices;
            (slices > 0).then(|| sum.wrapping_add(slices))
        })
    }

    /// How many threads are sampled besides the loop's.
    #[must_use]
    pub fn others(&self) -> usize {
        self.threads.len().saturating_sub(1)
    }

    /// Samples the loop thread and, in turn, at most `budget` of the others. `stacks` says whether the stacks of running
    /// threads are read this time; a thread that has fallen asleep is always looked at.
    pub fn sample(
        &mut self,
        budget: usize,
        stacks: bool,
        context: &mut Context<'_>,
        samples: &mut Vec<ThreadSample>,
    ) {
        let from = samples.len();
        let loop_tid = self.facts.loop_tid;
        self.sample_thread(loop_tid, stacks, context, samples);
        if budget > 0 && self.facts.role != Role::Arbiter {
            let after = self.threads.range(self.next_other..).map(|(t, _)| *t);
            let before = self.threads.range(..self.next_other).map(|(t, _)| *t);
            let turn: Vec<i32> = after.chain(before).filter(|t| *t != loop_tid).take(budget).collect();
            self.next_other = turn.last().map_or(0, |t| t + 1);
            for tid in turn {
                self.sample_thread(tid, stacks, context, samples);
            }
        }
        // Where nobody else could want the lock it is asked for with the stacks only.
        if let Some(python) = &mut self.python
            && (stacks || self.threads.len() > 1)
            && samples[from..].iter().any(|s| s.doing == Doing::Running)
        {
            let holder = python.gil_holder();
            for sample in &mut samples[from..] {
                let ns_tid = self.threads.get(&sample.tid).map(|t| t.ns_tid);
                sample.holds_gil = match holder {
                    GilHolder::Nobody => Some(false),
                    GilHolder::Thread(tid) => Some(Some(tid) == ns_tid),
                    // Nobody holds it and nobody waits for it: there is nothing to tell.
                    GilHolder::Absent | GilHolder::Unknown => None,
                };
            }
        }
    }

    fn sample_thread(
        &mut self,
        tid: i32,
        stacks: bool,
        context: &mut Context<'_>,
        samples: &mut Vec<ThreadSample>,
    ) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let sched = thread.files.schedstat(context.buffer);
        context.sources.count(Source::Schedstat, &sched);
        let (run_ns, delay_ns, slices) = match sched {
            Ok(s) => (s.run_ns, s.delay_ns, s.slices),
            Err(Unseen::Gone) => return drop(self.threads.remove(&tid)),
            Err(_) => (0, 0, 0),
        };
        if let Some(last) = thread.last.as_ref().filter(|_| thread.whole)
            && slices > 0
            && (last.run_ns, last.delay_ns, last.slices) == (run_ns, delay_ns, slices)
            && last.doing != Doing::Running
        {
            samples.push(last.clone());
            return;
        }
        let seen = thread.files.syscall_and_site(context.buffer);
        context.sources.count(Source::Syscall, &seen);
        let (doing, site) = seen.unwrap_or((Doing::Unreadable, None));
        // Loops come back to the same sleep many times a second: where the turn of its stack has not come, it is what it was.
        // One that goes on is read whole at the next tick, lest a stop be taken for it.
        let asleep_still = thread.last.as_ref().is_some_and(|last| last.slices == slices);
        if (!stacks || self.profiled)
            && !asleep_still
            && let (Some(site), Some(before)) = (site, &thread.sleep)
            && same_poll(context.arch, doing, site, before)
        {
            let sample = ThreadSample { run_ns, delay_ns, slices, doing, ..before.0.clone() };
            thread.last = Some(sample.clone());
            thread.whole = false;
            samples.push(sample);
            return;
        }
        thread.whole = true;
        let mut sample =
            ThreadSample { run_ns, delay_ns, slices, ..ThreadSample::of(self.facts.pid, tid, doing) };
        if doing != Doing::Running {
            let wchan = thread.files.wchan(context.buffer).ok().flatten();
            let interruptible = wchan.is_some_and(is_interruptible);
            sample.wchan = wchan.map(|name| context.interner.name(name, context.out));
            sample.state = if interruptible {
                Some('S')
            } else {
                thread.files.stat(context.buffer).ok().map(|s| s.state)
            };
            // Without the right to read `syscall`, the state letter alone tells running from asleep.
            if doing == Doing::Unreadable && sample.state == Some('R') {
                sample.doing = Doing::Running;
            }
        }
        if let Some(python) = &mut self.python {
            if let Doing::Syscall(number, args) = doing {
                sample.fds = match describe(context.arch, number).map(|i| i.wait) {
                    Some(Wait::Poll) => python.polled(args[0], args[1]),
                    Some(Wait::Select) => python.selected(args[0], args[1]),
                    _ => Vec::new(),
                };
            }
            let running = doing == Doing::Running;
            let pace = if running { Pace::Running } else { Pace::Asleep };
            if running && !stacks {
                thread.last = Some(sample.clone());
                samples.push(sample);
                return;
            }
            let stack = python.stack(thread.ns_tid, pace, context.interner, context.out);
            context.sources.counted(Source::Stack, stack.is_some());
            sample.stack = stack;
            if running && stack.is_some() {
                sample.still = python.stood_still(thread.ns_tid);
                sample.collecting = if self.profiled { None } else { python.collecting() };
            }
        }
        thread.sleep = site.filter(|_| sample.stack.is_some()).map(|site| (sample.clone(), site));
        thread.last = Some(sample.clone());
        samples.push(sample);
    }
}
