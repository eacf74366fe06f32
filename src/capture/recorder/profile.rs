//! Looking without end for where the time goes: every thread at every turn, parked greenlets and tasks now and then.
//!
//! A turn costs one small read of a thread that has not run since the last one: its `schedstat` proves that it still does
//! the same. What is parked stands in no thread. It is counted by following the garbage collector's lists, which takes
//! milliseconds: one process after the other, each once a second at most, and so seldom that all of it takes no more than
//! half a per cent of a processor. Each greenlet that is found parked stands for the time since its process was last
//! counted, as a stack stands for the time since the look before. When the recording ends they are counted once more, so that
//! a short one has them too.

use std::sync::atomic::{AtomicI32, Ordering};

use super::python::{NoPython, Python};
use super::watched::{Context, Watched};
use super::{OTHERS_PER_TICK, Recorder, SLOW_NS};
use crate::capture::model::{Doing, Record, Role, ThreadSample};
use crate::capture::profile::{Profile, ProfileHeader};
use crate::capture::syscalls::{Wait, describe};
use crate::error::Error;
use crate::observe::clock::own_cpu_ns;
use crate::target::access::{self, Here};
use crate::target::maps;

/// Shortest time between two counts of the same process.
const COUNT_NS: u64 = 1_000_000_000;
/// Counting costs no more than one part in so many of a processor.
const COUNT_SHARE: u64 = 200;

/// A recording of where the time goes.
pub struct Profiler<'s> {
    recorder: Recorder<'s>,
    /// What was found so far.
    pub profile: Profile,
    samples: Vec<ThreadSample>,
    next_round_ns: u64,
    next_count_ns: u64,
    last_counted: i32,
    /// Whether there was but one process when it began.
    alone: bool,
}

impl<'s> Profiler<'s> {
    /// Begins with a recorder that has found its server.
    #[must_use]
    pub fn new(mut recorder: Recorder<'s>, keep_timeline: bool) -> Self {
        let header = ProfileHeader {
            tool_version: recorder.header.tool_version.clone(),
            started_realtime_ns: recorder.header.started_realtime_ns,
            rate_hz: recorder.options.rate_hz,
            arch: recorder.arch.clone(),
            server: Some(recorder.header.server.clone()),
            max_stacks: super::interner::MAX_STACKS,
        };
        for watched in recorder.watched.values_mut() {
            watched.profiled = true;
        }
        let alone = recorder.watched.len() == 1;
        let mut profiler = Self {
            recorder,
            profile: Profile::new(header, keep_timeline),
            samples: Vec::new(),
            next_round_ns: SLOW_NS,
            next_count_ns: COUNT_NS,
            last_counted: 0,
            alone,
        };
        profiler.name_threads();
        profiler.take_over();
        profiler
    }

    /// One turn of the sampling clock, up to `end_ns`; says whether there may be another.
    pub fn turn(&mut self, end_ns: Option<u64>, stop: &AtomicI32) -> bool {
        if self.recorder.watched.is_empty() {
            return false;
        }
        let woken = self.recorder.clock.tick();
        if stop.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let Some(woken) = woken else { return true };
        if end_ns.is_some_and(|end_ns| woken.at_ns >= end_ns) {
            return false;
        }
        self.look(woken.at_ns);
        if woken.at_ns >= self.next_round_ns {
            // Rounds that were missed are not made up for.
            self.next_round_ns = (woken.at_ns + 1).next_multiple_of(SLOW_NS);
            self.round(woken.at_ns);
        }
        if woken.at_ns >= self.next_count_ns {
            self.count_next(woken.at_ns);
        }
        true
    }

    /// Every thread that serves, as it is now.
    fn look(&mut self, at_ns: u64) {
        let recorder = &mut self.recorder;
        let others: usize = recorder.watched.values().map(Watched::others).sum();
        self.profile.tick(at_ns);
        self.samples.clear();
        let mut context = Context {
            arch: &recorder.arch,
            interner: &mut recorder.interner,
            sources: &mut recorder.sources,
            out: &mut recorder.records,
            buffer: &mut recorder.buffer,
        };
        let alone = self.alone;
        for watched in recorder.watched.values_mut().filter(|w| serves(w, alone)) {
            let budget = if others <= OTHERS_PER_TICK {
                watched.others()
            } else {
                (watched.others() * OTHERS_PER_TICK / others).max(1)
            };
            watched.sample(budget, true, &mut context, &mut self.samples);
        }
        // Frames and stacks before the samples that name them.
        self.take_over();
        let full = self.recorder.interner.is_full();
        for sample in &self.samples {
            let watched = self.recorder.watched.get(&sample.pid);
            let gil = watched.is_some_and(|w| waits_for_lock(w, &self.recorder.arch, sample));
            self.profile.thread(sample, gil, full);
        }
    }

    /// What changes by the quarter of a second: births, deaths, threads.
    fn round(&mut self, at_ns: u64) {
        self.recorder.births_and_deaths(at_ns);
        self.recorder.recognise_late();
        let mut ended = Vec::new();
        for (pid, watched) in &mut self.recorder.watched {
            watched.profiled = true;
            let mut context = Context {
                arch: &self.recorder.arch,
                interner: &mut self.recorder.interner,
                sources: &mut self.recorder.sources,
                out: &mut self.recorder.records,
                buffer: &mut self.recorder.buffer,
            };
            if watched.refresh(&mut context).is_err() {
                ended.push(*pid);
            }
        }
        for pid in ended {
            self.recorder.leave(pid, at_ns);
        }
        self.name_threads();
        self.take_over();
        let watched = &self.recorder.watched;
        self.profile.forget_threads(|tid| watched.values().any(|w| w.has_thread(tid)));
    }

    /// The names of threads that have none yet.
    fn name_threads(&mut self) {
        for watched in self.recorder.watched.values_mut() {
            let profile = &self.profile;
            let new: Vec<i32> =
                watched.tids().filter(|tid| !profile.thread_names.contains_key(tid)).collect();
            if !new.is_empty() {
                self.profile.name_threads(watched.thread_names(&new, &mut self.recorder.buffer));
            }
        }
    }

    /// Takes over what the sampling has written, so that nothing piles up.
    fn take_over(&mut self) {
        let at_ns = self.recorder.clock.elapsed_ns();
        for record in self.recorder.records.drain(..) {
            match record {
                Record::Frame { frame, .. } => self.profile.frames.push(frame),
                Record::Stack { frames, complete, .. } => self.profile.stacks.push((frames, complete)),
                Record::Process(facts) => self.profile.process(&facts, at_ns),
                Record::Blind(spot) => self.profile.unseen(spot),
                _ => {}
            }
        }
    }

    /// Counts what is parked in the process whose turn it is.
    fn count_next(&mut self, at_ns: u64) {
        let alone = self.alone;
        let after = |pid: &&i32| **pid > self.last_counted;
        let mut serving = self.recorder.watched.iter().filter(|(_, w)| serves(w, alone)).map(|(pid, _)| pid);
        let many = serving.clone().count() as u64;
        let next = serving.clone().find(after).or_else(|| serving.next()).copied();
        let before_ns = own_cpu_ns();
        if let Some(pid) = next {
            self.last_counted = pid;
            self.count(pid, at_ns);
        }
        let cost_ns = own_cpu_ns().saturating_sub(before_ns);
        self.next_count_ns = at_ns + (COUNT_NS / many.max(1)).max(cost_ns.saturating_mul(COUNT_SHARE));
    }

    fn count(&mut self, pid: i32, at_ns: u64) {
        let recorder = &mut self.recorder;
        let Some(watched) = recorder.watched.get_mut(&pid) else { return };
        let Some(python) = watched.python.as_mut() else { return };
        let groups = python.parked(&watched.dir, &mut recorder.interner, &mut recorder.records);
        self.take_over();
        self.profile.parked(pid, at_ns, groups.as_deref());
    }

    /// Ends the recording: counts what is parked once more, those first that were not counted for longest. All that never
    /// were are; the others as far as that costs no more than the rest of the counting did.
    pub fn finish(&mut self) {
        let at_ns = self.recorder.clock.elapsed_ns();
        let alone = self.alone;
        let serving: Vec<i32> =
            self.recorder.watched.iter().filter(|(_, w)| serves(w, alone)).map(|(pid, _)| *pid).collect();
        let before_ns = own_cpu_ns();
        for (pid, counted) in self.profile.longest_uncounted(&serving) {
            let spent_ns = own_cpu_ns().saturating_sub(before_ns);
            if !counted || spent_ns < at_ns / COUNT_SHARE {
                self.count(pid, at_ns);
            }
        }
        self.recorder.tell_denied();
        self.take_over();
        self.profile.totals.at_ns = at_ns;
        let read = self.recorder.watched.values().filter_map(|w| w.python.as_ref()).map(Python::counts);
        let (torn, discarded) = read.fold((0, 0), |sum, (_, torn, off)| (sum.0 + torn, sum.1 + off));
        (self.profile.totals.torn, self.profile.totals.discarded) = (torn, discarded);
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        self.recorder.clock.elapsed_ns()
    }

    /// The one gate that keeps the stacks closed, where it is that.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        let refused = |w: &&Watched| {
            w.python.is_none() && matches!(Python::attach(&w.dir, &maps::of(&w.dir)), Err(NoPython::Denied))
        };
        let watched = self.recorder.watched.values().find(refused)?;
        Some(access::refusal(&watched.dir, &Here::gather()))
    }
}

/// Whether the time of a process is asked for: an arbiter serves nobody, unless it is all that was asked for.
fn serves(watched: &Watched, alone: bool) -> bool {
    alone || watched.facts.role != Role::Arbiter
}

/// Whether a thread sleeps until it gets the interpreter lock.
fn waits_for_lock(watched: &Watched, arch: &str, sample: &ThreadSample) -> bool {
    let Doing::Syscall(number, args) = sample.doing else { return false };
    let Some(python) = &watched.facts.python else { return false };
    (python.runtime_start..python.runtime_end).contains(&args[0])
        && describe(arch, number).is_some_and(|call| call.wait == Wait::Futex)
}
