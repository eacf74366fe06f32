//! The recorder: turns a live server into the stream of observations.
//!
//! A fast round by the sampling clock (what every loop thread does now, with its stack; other threads in turn), a slow
//! round four times a second, births and deaths as they come. It never stops a thread and never writes into
//! one; its own cost and lateness are part of the stream.

mod below;
mod burst;
mod denied;
mod facts;
mod handout;
mod interner;
mod members;
mod packages;
mod parked;
mod profile;
pub(super) mod python;
mod slow;
mod sockets;
mod sources;
mod tasks;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, Ordering};

use super::model::{Capture, Header, Level, Record, Role, SelfCost, Tick};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::clock::{Clock, own_cpu_ns, realtime_ns};
use crate::observe::host;
use crate::observe::kernel_file::{READ_BUFFER_BYTES, Unseen};
use crate::target::Server;
use denied::{Denied, Part};
pub use facts::rfc3339;
use interner::Interner;
use members::calls_refused;
pub use profile::Profiler;
use slow::Slow;
use sources::{Source, Sources};
use watched::{Context, Watched};

/// Time between slow rounds.
const SLOW_NS: u64 = 250_000_000;
/// Parts of the window at whose bounds exact counters are wanted.
const PARTS: u32 = 3;
/// Time between two questions to `poll` about a suspected spinner.
const ASK_NS: u64 = 50_000_000;
/// Processes whose running stacks are read in one tick.
const WORKERS_PER_STACK_TICK: u64 = 2;
/// However many run, a running thread's stack is read at least every so many ticks.
const MOST_TICKS_PER_STACK: u64 = 5;
/// Demand for a processor from which a process is suspected to spin.
const SUSPECT_DEMAND: f64 = 0.6;
/// Threads besides the loops' that are sampled per tick, over all processes: this bounds the tool's own cost.
const OTHERS_PER_TICK: usize = 32;

/// Whether a slow round reads the exact counters of all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counters {
    Read,
    Leave,
}

/// How to look.
#[derive(Debug, Clone)]
pub struct Options {
    /// Samples per second.
    pub rate_hz: u32,
    /// Requested window, for the header.
    pub duration_ms: u64,
    /// The most that may be done to the target.
    pub level: Level,
    /// How the target was selected.
    pub selected_by: String,
    /// The process that was named.
    pub pid: i32,
}

/// Is given the header and the records as they come.
pub type Sink<'s> = &'s mut dyn FnMut(&Header, &[Record]) -> Result<()>;

/// A recording under way.
pub struct Recorder<'s> {
    server: Server,
    options: Options,
    watched: BTreeMap<i32, Watched>,
    slow: Slow,
    sources: Sources,
    denied: Denied,
    interner: Interner,
    clock: Clock,
    cpu_at_start_ns: u64,
    first: BTreeMap<i32, (u64, u64)>,
    grown: BTreeSet<i32>,
    next_slow_ns: u64,
    next_ask_ns: u64,
    interrupted: bool,
    arch: String,
    tick: u64,
    buffer: Box<[u8; READ_BUFFER_BYTES]>,
    header: Header,
    records: Vec<Record>,
    written: usize,
    next_counters_ns: u64,
    sink: Option<Sink<'s>>,
}

impl<'s> Recorder<'s> {
    /// Looks at everything once and gets ready to sample. `sink` is given the records as they come.
    pub fn start(server: Server, options: Options, sink: Option<Sink<'s>>) -> Result<Self> {
        let cpu_at_start_ns = own_cpu_ns();
        let host = host::facts()?;
        // Who is looked at alone is in the same network as the head, which is no member then.
        let head = server.members.get(&server.head).or_else(|| server.members.values().next());
        let head = head.ok_or_else(|| gone(server.head))?;
        let slow = Slow::open(&head.dir);
        let header = facts::header(&server, &options, host);
        let clock = Clock::start(options.rate_hz);
        let mut recorder = Self {
            arch: header.host.arch.clone(),
            server,
            options,
            watched: BTreeMap::new(),
            slow,
            sources: Sources::default(),
            denied: Denied::default(),
            interner: Interner::default(),
            clock,
            cpu_at_start_ns,
            first: BTreeMap::new(),
            grown: BTreeSet::new(),
            next_slow_ns: SLOW_NS,
            next_ask_ns: 0,
            interrupted: false,
            tick: 0,
            buffer: Box::new([0; READ_BUFFER_BYTES]),
            header,
            records: Vec::new(),
            written: 0,
            next_counters_ns: 0,
            sink,
        };
        // The head first: what it is decides what its children are.
        let head = recorder.server.head;
        let mut pids: Vec<i32> = recorder.server.members.keys().copied().collect();
        pids.sort_by_key(|pid| (*pid != head, *pid));
        for pid in pids {
            recorder.watch(pid, 0);
        }
        recorder.say_who_is_left_out();
        recorder.slow_round(0, Counters::Read);
        recorder.finish_facts();
        // The window begins when everything is ready: what it took to get ready is no part of it.
        recorder.clock = Clock::start(recorder.options.rate_hz);
        recorder.header.started_realtime_ns = realtime_ns();
        recorder.header.started_monotonic_ns = recorder.clock.start_ns();
        recorder.header.started_at = facts::rfc3339(recorder.header.started_realtime_ns);
        recorder.slow_round(0, Counters::Read);
        recorder.flush()?;
        Ok(recorder)
    }

    /// What is known only after the descriptors and sockets were read once.
    fn finish_facts(&mut self) {
        let sockets =
            self.records.iter().rev().find_map(|r| {
                if let Record::Sockets { sockets, .. } = r { Some(sockets.clone()) } else { None }
            });
        let sockets = sockets.unwrap_or_default();
        for (pid, watched) in &mut self.watched {
            watched.facts.listen = self.slow.listeners(&sockets, *pid);
            watched.facts.cgroup = self.slow.cgroup(*pid).map(str::to_owned);
            facts::finish_loop(&mut watched.facts, self.slow.has_epoll(*pid));
        }
        let listen = facts::shared_listeners(&self.watched);
        facts::finish_header(&mut self.header, &self.watched, listen);
        // The first round only served to learn this; the window has its own.
        let blind: Vec<Record> = self
            .records
            .drain(..)
            .filter(|r| {
                !matches!(
                    r,
                    Record::Sockets { .. } | Record::Host(_) | Record::Heartbeat { .. } | Record::Cgroup(_)
                )
            })
            .collect();
        self.records = self.watched.values().map(|w| Record::Process(Box::new(w.facts.clone()))).collect();
        self.records
            .extend(blind.into_iter().filter(|r| !matches!(r, Record::Process(_) | Record::Threads { .. })));
    }

    /// Samples until `end_ns` of the window, or until `stop` is set to a signal's number. `progress` is told the time.
    pub fn run(&mut self, end_ns: u64, stop: &AtomicI32, progress: &mut dyn FnMut(u64)) -> Result<()> {
        while self.turn(end_ns, stop, progress)? {}
        let at_ns = self.clock.elapsed_ns();
        self.births_and_deaths(at_ns);
        self.slow_round(at_ns, Counters::Read);
        self.next_slow_ns = (at_ns + 1).next_multiple_of(SLOW_NS);
        self.flush()
    }

    /// One turn of the sampling clock; says whether there may be another.
    fn turn(&mut self, end_ns: u64, stop: &AtomicI32, progress: &mut dyn FnMut(u64)) -> Result<bool> {
        if self.watched.is_empty() {
            return Ok(false);
        }
        let woken = self.clock.tick();
        if stop.load(Ordering::Relaxed) != 0 {
            self.interrupted = true;
            return Ok(false);
        }
        let Some(woken) = woken else { return Ok(true) };
        if woken.at_ns >= end_ns {
            return Ok(false);
        }
        self.sources.late(woken.late_ns);
        self.fast_round(woken.at_ns, woken.late_ns);
        if woken.at_ns >= self.next_ask_ns {
            self.next_ask_ns = woken.at_ns + ASK_NS;
            self.ask(woken.at_ns);
        }
        if woken.at_ns >= self.next_slow_ns {
            // Rounds that were missed are not made up for.
            self.next_slow_ns = (woken.at_ns + 1).next_multiple_of(SLOW_NS);
            self.births_and_deaths(woken.at_ns);
            self.recognise_late();
            let counters =
                if woken.at_ns >= self.next_counters_ns { Counters::Read } else { Counters::Leave };
            self.slow_round(woken.at_ns, counters);
            progress(woken.at_ns);
            self.flush()?;
        }
        Ok(true)
    }

    fn fast_round(&mut self, at_ns: u64, late_ns: u64) {
        let mut samples = Vec::with_capacity(self.watched.len() + 8);
        let others: usize = self.watched.values().map(Watched::others).sum();
        let mut context = Context {
            arch: &self.arch,
            interner: &mut self.interner,
            sources: &mut self.sources,
            out: &mut self.records,
            buffer: &mut self.buffer,
        };
        self.tick += 1;
        // The more run, the less often each one's stack is read: this, too, bounds the tool's own cost.
        let every =
            (self.watched.len() as u64).div_ceil(WORKERS_PER_STACK_TICK).clamp(1, MOST_TICKS_PER_STACK);
        for (turn, watched) in (self.tick..).zip(self.watched.values_mut()) {
            // Each process gets its part of the budget, and at least one.
            let budget = if others <= OTHERS_PER_TICK {
                watched.others()
            } else {
                (watched.others() * OTHERS_PER_TICK / others).max(1)
            };
            watched.sample(budget, turn.is_multiple_of(every), &mut context, &mut samples);
        }
        for sample in &samples {
            self.first.entry(sample.tid).or_insert((at_ns, sample.run_ns + sample.delay_ns));
        }
        self.records.push(Record::Tick(Tick { at_ns, late_ns, samples }));
    }

    /// Asks `poll` about what the likely spinners watch.
    fn ask(&mut self, at_ns: u64) {
        if self.options.level == Level::Proc {
            return;
        }
        let Some(Record::Tick(tick)) = self.records.iter().rev().find(|r| matches!(r, Record::Tick(_)))
        else {
            return;
        };
        let suspect = |w: &Watched| {
            let now = tick.samples.iter().find(|s| s.pid == w.facts.pid && s.tid == w.facts.loop_tid)?;
            let (since, then) = *self.first.get(&now.tid)?;
            let passed = at_ns.saturating_sub(since);
            (passed > 2 * ASK_NS).then(|| (now.run_ns + now.delay_ns - then) as f64 / passed as f64)
        };
        let suspects: Vec<i32> = self
            .watched
            .iter()
            .filter(|(_, w)| w.facts.role != Role::Arbiter && suspect(w).is_some_and(|d| d >= SUSPECT_DEMAND))
            .map(|(pid, _)| *pid)
            .collect();
        for pid in suspects {
            self.slow.ask_readiness(at_ns, &self.watched[&pid], &mut self.sources, &mut self.records);
        }
    }

    fn slow_round(&mut self, at_ns: u64, counters: Counters) {
        let mut ended = Vec::new();
        for (pid, watched) in &mut self.watched {
            let mut context = Context {
                arch: &self.arch,
                interner: &mut self.interner,
                sources: &mut self.sources,
                out: &mut self.records,
                buffer: &mut self.buffer,
            };
            let seen = watched.refresh(&mut context).and_then(|()| match counters {
                Counters::Read => watched.counters(&mut context).map(Some),
                Counters::Leave => Ok(None),
            });
            match seen {
                Ok(Some(threads)) => self.records.push(Record::Threads { at_ns, pid: *pid, threads }),
                Err(Unseen::Gone) => ended.push(*pid),
                Ok(None) | Err(_) => {}
            }
        }
        for pid in ended {
            self.leave(pid, at_ns);
        }
        if counters == Counters::Read {
            // The judge compares the parts of the window, so they are read at the parts' bounds.
            let part_ns = self.options.duration_ms * 1_000_000 / u64::from(PARTS);
            self.next_counters_ns = (at_ns / part_ns.max(1) + 1) * part_ns;
        }
        self.loop_clocks(at_ns);
        self.slow.round(at_ns, &self.watched, &mut self.sources, &mut self.records);
        for pid in self.slow.take_refused() {
            if let Some(watched) = self.watched.get(&pid) {
                self.denied.add(&watched.dir, &[Part::Descriptors]);
            }
        }
        self.denied.tell(&mut self.records);
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(sink) = &mut self.sink {
            sink(&self.header, &self.records[self.written..])?;
            self.written = self.records.len();
        }
        Ok(())
    }

    /// What was recorded so far, as a capture that could be judged now.
    pub fn so_far(&mut self) -> Capture {
        let mut records = std::mem::take(&mut self.records);
        records.push(self.cost());
        Capture { header: self.header.clone(), records }
    }

    /// Takes back a capture made by [`Recorder::so_far`], to go on.
    pub fn go_on(&mut self, mut capture: Capture) {
        capture.records.pop();
        self.records = capture.records;
    }

    /// Ends the recording.
    pub fn finish(mut self) -> Result<Capture> {
        self.tell_denied();
        let cost = self.cost();
        self.records.push(cost);
        self.flush()?;
        Ok(Capture { header: self.header, records: self.records })
    }

    /// Tells of each gate that turned out to be closed, once.
    fn tell_denied(&mut self) {
        if self.sources.denied(Source::Syscall) {
            // Also of those who have shut the door after the look had begun.
            for watched in self.watched.values().filter(|w| calls_refused(&w.dir)) {
                self.denied.add(&watched.dir, &[Part::Calls]);
            }
            self.denied.tell(&mut self.records);
        }
    }

    fn cost(&self) -> Record {
        let stacks = self.watched.values().filter_map(|w| w.python.as_ref()).map(python::Python::counts);
        let sum = stacks.fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
        let rss_kib = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)
            .map_or(0, |u| u.max_rss() as u64);
        Record::End(SelfCost {
            at_ns: self.clock.elapsed_ns(),
            cpu_ns: own_cpu_ns().saturating_sub(self.cpu_at_start_ns),
            rss_kib,
            sources: self.sources.report(),
            stacks_obtained: sum.0,
            stacks_torn: sum.1,
            stacks_discarded: sum.2,
            interrupted: self.interrupted,
        })
    }

    /// Whether there is nothing more to see: a signal, or all processes have ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.interrupted || self.watched.is_empty()
    }
}

fn gone(pid: i32) -> Error {
    Error::new(ErrorKind::Gone, format!("process {pid} has ended"), "it ended before anything could be seen")
}
