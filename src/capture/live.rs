//! The cheap numbers of a live view: who uses a processor now, who wants one, what each is in at this instant.
//!
//! Takes the newest records of a [`Rolling`], gives plain numbers several times a second. They are readings and
//! not judgements: what they mean is decided by `diagnose` alone. Pure.

use super::model::{Doing, Frame, HostSample, Record, Role, ThreadCounters, ThreadSample, Tick};
use super::rolling::Rolling;
use super::syscalls::describe;

/// The time over which the numbers are averaged.
const SPAN_NS: u64 = 1_000_000_000;

/// The newest numbers of a look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// Their time, counted from the start of the look.
    pub at_ns: u64,
    /// The same on the wall clock.
    pub realtime_ns: u64,
    /// Online processors.
    pub cpus: u32,
    /// Share of all processors' time that somebody used; `None` before two readings.
    pub host_busy: Option<f64>,
    /// Share of the time in which the tightest control group held the server back.
    pub throttled: Option<f64>,
    /// The tool's own cost and losses.
    pub own: Own,
    /// Each process that was alive, or ended within the window.
    pub processes: Vec<LiveProcess>,
}

/// The tool's own cost and losses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Own {
    /// Share of one processor; `None` before two readings, and for a capture that is played.
    pub cpu: Option<f64>,
    /// Resident memory.
    pub rss_kib: u64,
    /// Samples that were asked for and not obtained, since the start.
    pub lost: u64,
    /// Samples that were asked for, since the start.
    pub asked: u64,
    /// The latest that a tick of the window came after its time.
    pub late_ms: u64,
    /// Ticks per second.
    pub rate_hz: f64,
}

/// The newest numbers of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveProcess {
    /// Process id.
    pub pid: i32,
    /// With the pid, the identity of the process.
    pub start_time_ticks: u64,
    /// What it is for.
    pub role: Role,
    /// Whether it has ended.
    pub gone: bool,
    /// Time on a processor of all threads, in processors.
    pub cpu: Option<f64>,
    /// Time in a run queue of all threads, in threads that waited.
    pub run_queue: Option<f64>,
    /// What it is in now.
    pub now: Option<Now>,
}

/// What a thread was doing when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// `running`, or the system call or kernel function it sleeps in.
    pub doing: String,
    /// The innermost function of its Python stack, where it was read.
    pub frame: Option<Frame>,
}

impl Rolling {
    /// The newest numbers.
    #[must_use]
    pub fn live(&self) -> Live {
        let header = self.header();
        Live {
            at_ns: self.now_ns(),
            realtime_ns: header.started_realtime_ns + self.now_ns(),
            cpus: header.host.cpus,
            host_busy: self.host_busy(),
            throttled: self.throttled(),
            own: self.own(),
            processes: self.processes.keys().map(|pid| self.process(*pid)).collect(),
        }
    }

    fn process(&self, pid: i32) -> LiveProcess {
        let kept = &self.processes[&pid];
        let (cpu, run_queue) = self.shares(pid);
        LiveProcess {
            pid,
            start_time_ticks: kept.facts.start_time_ticks,
            role: kept.facts.role,
            gone: kept.gone_at_ns.is_some(),
            cpu,
            run_queue,
            now: self.now_of(pid, kept.facts.loop_tid),
        }
    }

    /// On a processor and in a run queue, from the exact counters of all threads.
    fn shares(&self, pid: i32) -> (Option<f64>, Option<f64>) {
        let mut readings = self.records.iter().rev().filter_map(|record| match record {
            Record::Threads { at_ns, pid: of, threads } if *of == pid => Some((*at_ns, threads)),
            _ => None,
        });
        let Some((now, last)) = readings.next() else { return (None, None) };
        let Some((then, first)) = oldest_within(readings, now) else { return (None, None) };
        let passed = now.saturating_sub(then).max(1);
        let share = |of: fn(&ThreadCounters) -> Option<u64>| -> Option<f64> {
            let mut sum = 0;
            for thread in last {
                // A thread that was not there before has done all of it since.
                let before = first.iter().find(|t| t.tid == thread.tid).map_or(Some(0), of)?;
                sum += of(thread)?.saturating_sub(before);
            }
            Some(sum as f64 / passed as f64)
        };
        (share(|t| t.run_ns), share(|t| t.delay_ns))
    }

    /// What is most worth saying of it: a thread that runs, else what the loop's thread sleeps in.
    fn now_of(&self, pid: i32, loop_tid: i32) -> Option<Now> {
        let tick = self.last_tick()?;
        let mut mine = tick.samples.iter().filter(|sample| sample.pid == pid);
        let of_loop = mine.clone().find(|sample| sample.tid == loop_tid);
        let running = |sample: &&ThreadSample| sample.doing == Doing::Running;
        let sample = of_loop.filter(running).or_else(|| mine.find(running)).or(of_loop)?;
        let doing = match sample.doing {
            Doing::Running => "running".to_owned(),
            Doing::Syscall(number, _) => describe(&self.header().host.arch, number)
                .map_or_else(|| self.kernel_function(sample), |call| call.name.to_owned()),
            Doing::Elsewhere | Doing::Unreadable => self.kernel_function(sample),
        };
        Some(Now { doing, frame: self.innermost(sample) })
    }

    fn kernel_function(&self, sample: &ThreadSample) -> String {
        let name = sample.wchan.and_then(|id| self.names.get(id as usize));
        name.cloned().unwrap_or_else(|| "asleep".into())
    }

    /// Running stacks are not read at every tick: the thread's newest one counts.
    fn innermost(&self, sample: &ThreadSample) -> Option<Frame> {
        let id = sample.stack.or_else(|| {
            let mut ticks = self.records.iter().rev().filter_map(tick_of).take(MOST_TICKS_BACK);
            let same =
                |tick: &Tick| tick.samples.iter().find(|s| (s.pid, s.tid) == (sample.pid, sample.tid))?.stack;
            ticks.find_map(same)
        })?;
        let (frames, _) = self.stacks.get(id as usize)?;
        self.frames.get(*frames.first()? as usize).cloned()
    }

    fn last_tick(&self) -> Option<&Tick> {
        self.records.iter().rev().find_map(tick_of)
    }

    fn host_busy(&self) -> Option<f64> {
        let mut readings = self.records.iter().rev().filter_map(|record| match record {
            Record::Host(sample) => Some((sample.at_ns, sample)),
            _ => None,
        });
        let (now, last): (u64, &HostSample) = readings.next()?;
        let (_, first) = oldest_within(readings, now)?;
        let total = last.total_ticks.saturating_sub(first.total_ticks);
        let idle = last.idle_ticks.saturating_sub(first.idle_ticks);
        (total > 0).then(|| (1.0 - idle as f64 / total as f64).clamp(0.0, 1.0))
    }

    fn throttled(&self) -> Option<f64> {
        let samples = || {
            self.records.iter().rev().filter_map(|record| match record {
                Record::Cgroup(sample) => Some(sample),
                _ => None,
            })
        };
        let newest = samples().next()?.at_ns;
        let paths: std::collections::BTreeSet<&str> =
            samples().filter(|s| s.at_ns == newest).map(|s| s.path.as_str()).collect();
        let share = |path: &str| {
            let mut readings = samples().filter(|s| s.path == path).map(|s| (s.at_ns, s));
            let (now, last) = readings.next()?;
            let (then, first) = oldest_within(readings, now)?;
            let held = last.throttled_ns.saturating_sub(first.throttled_ns);
            Some((held as f64 / now.saturating_sub(then).max(1) as f64).min(1.0))
        };
        paths.into_iter().filter_map(share).max_by(f64::total_cmp)
    }

    fn own(&self) -> Own {
        let mut own = Own::default();
        let ticks: Vec<&Tick> = self.records.iter().filter_map(tick_of).collect();
        if let (Some(first), Some(last)) = (ticks.first(), ticks.last())
            && last.at_ns > first.at_ns
        {
            own.rate_hz = (ticks.len() - 1) as f64 * 1e9 / (last.at_ns - first.at_ns) as f64;
            own.late_ms = ticks.iter().map(|t| t.late_ns).max().unwrap_or(0) / 1_000_000;
        }
        let mut costs = self.costs.iter().rev().map(|cost| (cost.at_ns, cost));
        let Some((now, last)) = costs.next() else { return own };
        own.rss_kib = last.rss_kib;
        own.asked = last.sources.iter().map(|s| s.requested).sum();
        own.lost = own.asked.saturating_sub(last.sources.iter().map(|s| s.obtained).sum());
        if let Some((then, first)) = oldest_within(costs, now) {
            let spent = last.cpu_ns.saturating_sub(first.cpu_ns);
            own.cpu = Some(spent as f64 / now.saturating_sub(then).max(1) as f64);
        }
        own
    }
}

/// A running thread's stack is read at least every so many ticks.
const MOST_TICKS_BACK: usize = 8;

const fn tick_of(record: &Record) -> Option<&Tick> {
    if let Record::Tick(tick) = record { Some(tick) } else { None }
}

/// The oldest reading that is no older than [`SPAN_NS`] before `now`, of readings that go back in time; the next one
/// where all are older.
fn oldest_within<T>(readings: impl Iterator<Item = (u64, T)>, now: u64) -> Option<(u64, T)> {
    let mut found = None;
    for reading in readings {
        let old = reading.0 + SPAN_NS < now;
        if !old || found.is_none() {
            found = Some(reading);
        }
        if old {
            break;
        }
    }
    found
}
