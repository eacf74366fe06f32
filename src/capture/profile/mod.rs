//! KEEP: where the time of a server went, added up while it is looked at.
//!
//! Takes what the recorder sees of threads, greenlets and tasks, turn by turn, and keeps one [`Entry`] for each distinct
//! combination of who, stack and call: memory is bounded by distinct stacks and not by time. Plain data and additions; it
//! judges nothing and touches no process.

mod clock;
mod model;
mod timeline;

use foldhash::HashMap;

use super::model::{BlindSpot, Doing, Frame, ProcessFacts, ThreadSample};
use clock::SeenClock;
pub use model::{Call, Entry, Key, ParkedGroup, Process, ProfileHeader, Stack, Totals, Who};
pub use timeline::{Slice, Timeline};

/// Most entries that are kept; what comes beyond them is added up under [`Stack::Other`].
pub const MAX_ENTRIES: usize = 100_000;
/// Entries from which on those of threads that have ended are folded into one.
const FOLD_FROM: usize = MAX_ENTRIES / 4;
/// Most processes, names of threads and blind spots that are kept: a server in a crash loop has no end of them.
const MAX_PROCESSES: usize = 5_000;
const MAX_THREAD_NAMES: usize = 50_000;
const MAX_BLIND: usize = 100;

/// Where the time of a server went.
#[derive(Debug, Default)]
pub struct Profile {
    /// What was asked of whom.
    pub header: ProfileHeader,
    /// The processes that were seen, in the order of their coming.
    pub processes: Vec<Process>,
    /// Names of threads, by thread id.
    pub thread_names: HashMap<i32, String>,
    /// Distinct frames; stacks name them by place.
    pub frames: Vec<Frame>,
    /// Distinct stacks: places of frames, innermost first, and whether the root was reached.
    pub stacks: Vec<(Vec<u32>, bool)>,
    /// What was added up.
    pub entries: Vec<Entry>,
    /// What each thread did, one after the other; only where that is wanted.
    pub timeline: Timeline,
    /// How it went.
    pub totals: Totals,
    /// What could not be seen.
    pub blind: Vec<BlindSpot>,
    index: HashMap<Key, u32>,
    last: HashMap<i32, Last>,
    fold_from: usize,
    clock: SeenClock,
}

/// What was last seen of a thread.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "units stand in names")]
struct Last {
    /// On the clock of the time that was seen.
    seen_ns: u64,
    at_ns: u64,
    run_ns: u64,
    delay_ns: u64,
    slices: u64,
}

impl Last {
    /// Whether a thread has slept ever since: then nothing that nobody saw can have happened.
    const fn still(&self, sample: &ThreadSample) -> bool {
        sample.slices > 0
            && sample.slices == self.slices
            && sample.run_ns == self.run_ns
            && sample.delay_ns == self.delay_ns
    }
}

impl Profile {
    /// An empty one.
    #[must_use]
    pub fn new(header: ProfileHeader, keep_timeline: bool) -> Self {
        let period_ns = 1_000_000_000 / u64::from(header.rate_hz.max(1));
        Self {
            clock: SeenClock::new(period_ns),
            timeline: Timeline::new(keep_timeline),
            header,
            ..Self::default()
        }
    }

    /// What was added up so far, to be read by somebody else while it goes on.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self {
            header: self.header.clone(),
            processes: self.processes.clone(),
            thread_names: self.thread_names.clone(),
            frames: self.frames.clone(),
            stacks: self.stacks.clone(),
            entries: self.entries.clone(),
            timeline: self.timeline.clone(),
            totals: self.totals,
            blind: self.blind.clone(),
            ..Self::default()
        }
    }

    /// A process that was met, or is known better now.
    pub fn process(&mut self, facts: &ProcessFacts, at_ns: u64) {
        let same =
            |p: &&mut Process| (p.facts.pid, p.facts.start_time_ticks) == (facts.pid, facts.start_time_ticks);
        if let Some(known) = self.processes.iter_mut().find(same) {
            known.facts = facts.clone();
        } else if self.processes.len() < MAX_PROCESSES {
            self.processes.push(Process {
                facts: facts.clone(),
                joined_ns: at_ns,
                counted_ns: at_ns,
                counts: 0,
                uncounted: false,
            });
        }
    }

    /// Names of threads.
    pub fn name_threads(&mut self, names: impl IntoIterator<Item = (i32, String)>) {
        let room = MAX_THREAD_NAMES.saturating_sub(self.thread_names.len());
        self.thread_names.extend(names.into_iter().take(room));
    }

    /// Something that cannot be seen.
    pub fn unseen(&mut self, spot: BlindSpot) {
        if self.blind.len() < MAX_BLIND {
            self.blind.push(spot);
        }
    }

    /// A turn of the sampling clock begins.
    pub fn tick(&mut self, at_ns: u64) {
        self.clock.tick(at_ns);
        self.totals.at_ns = at_ns;
        self.totals.ticks += 1;
        self.totals.unseen_ns = self.clock.unseen_ns();
    }

    /// One thread at this turn. `gil` says whether it waits for the interpreter lock, `full` whether no more stacks are
    /// kept.
    pub fn thread(&mut self, sample: &ThreadSample, gil: bool, full: bool) {
        let now = self.clock.seen_ns();
        let this = Last {
            seen_ns: now,
            at_ns: self.totals.at_ns,
            run_ns: sample.run_ns,
            delay_ns: sample.delay_ns,
            slices: sample.slices,
        };
        let last = self.last.insert(sample.tid, this);
        let call = call_of(sample, gil);
        let wall_ns = match last {
            Some(last) if call != Call::Running && last.still(sample) => this.at_ns - last.at_ns,
            Some(last) => now.saturating_sub(last.seen_ns),
            // A thread that is new stands for one period.
            None => self.clock.period_ns(),
        };
        let cpu_ns = if call == Call::Running { on_processor(wall_ns, sample, last) } else { 0 };
        let stack = match sample.stack {
            Some(id) => Stack::Kept(id),
            None if full => Stack::Other,
            None => Stack::Missing,
        };
        self.totals.samples += 1;
        self.totals.with_stack += u64::from(sample.stack.is_some());
        let key = Key { pid: sample.pid, who: Who::Thread(sample.tid), stack, call };
        let entry = self.add(key, 1, wall_ns, cpu_ns);
        self.timeline.add(sample.tid, self.totals.at_ns, wall_ns, entry);
    }

    /// The greenlets and tasks of a process that are parked now: each stands for the time since they were last counted.
    /// `None` when they could not be counted.
    pub fn parked(&mut self, pid: i32, at_ns: u64, groups: Option<&[ParkedGroup]>) {
        let Some(process) = self.processes.iter_mut().rev().find(|p| p.facts.pid == pid) else { return };
        process.uncounted = groups.is_none();
        let Some(groups) = groups else { return };
        let wall_ns = at_ns.saturating_sub(process.counted_ns);
        process.counted_ns = at_ns;
        process.counts += 1;
        for group in groups {
            let call = if group.ready { Call::Ready } else { Call::Parked };
            let key = Key { pid, who: group.who, stack: group.stack, call };
            self.add(key, group.count, group.count.saturating_mul(wall_ns), 0);
        }
    }

    /// These processes, those first whose greenlets and tasks were not counted for longest, and whether they ever were.
    #[must_use]
    pub fn longest_uncounted(&self, pids: &[i32]) -> Vec<(i32, bool)> {
        let of = |pid: &i32| self.processes.iter().rev().find(|process| process.facts.pid == *pid);
        let mut found: Vec<&Process> = pids.iter().filter_map(of).collect();
        found.sort_by_key(|process| (process.counts > 0, process.counted_ns));
        found.into_iter().map(|process| (process.facts.pid, process.counts > 0)).collect()
    }

    /// Adds to an entry and gives its place.
    fn add(&mut self, key: Key, samples: u64, wall_ns: u64, cpu_ns: u64) -> u32 {
        let place = match self.index.get(&key) {
            Some(place) => *place,
            None if self.entries.len() < MAX_ENTRIES => self.enter(key),
            None => {
                // Few of these can be: a process, a call.
                let rest = Key { who: Who::Thread(0), stack: Stack::Other, ..key };
                self.index.get(&rest).copied().unwrap_or_else(|| self.enter(rest))
            }
        };
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.samples += samples;
            entry.wall_ns = entry.wall_ns.saturating_add(wall_ns);
            entry.cpu_ns += cpu_ns;
            self.totals.other += if entry.key.stack == Stack::Other { samples } else { 0 };
        }
        place
    }

    fn enter(&mut self, key: Key) -> u32 {
        let place = self.entries.len() as u32;
        self.entries.push(Entry { key, samples: 0, wall_ns: 0, cpu_ns: 0 });
        self.index.insert(key, place);
        place
    }

    /// Forgets threads that have ended: what was added up of them stays. Where there are very many of them, as in a server
    /// that begins a thread for each request, it is no longer told apart.
    pub fn forget_threads(&mut self, alive: impl Fn(i32) -> bool) {
        self.last.retain(|tid, _| alive(*tid));
        self.timeline.forget(&alive);
        if self.entries.len() >= self.fold_from.max(FOLD_FROM) {
            self.fold(alive);
            self.fold_from = 2 * self.entries.len();
        }
    }

    /// Adds what ended threads did to that of one.
    fn fold(&mut self, alive: impl Fn(i32) -> bool) {
        let before = std::mem::take(&mut self.entries);
        self.index.clear();
        let places: Vec<u32> = before
            .into_iter()
            .map(|entry| {
                let who = match entry.key.who {
                    Who::Thread(tid) if !alive(tid) => Who::Thread(0),
                    who => who,
                };
                let key = Key { who, ..entry.key };
                let place = self.index.get(&key).copied().unwrap_or_else(|| self.enter(key));
                if let Some(folded) = self.entries.get_mut(place as usize) {
                    folded.samples += entry.samples;
                    folded.wall_ns = folded.wall_ns.saturating_add(entry.wall_ns);
                    folded.cpu_ns += entry.cpu_ns;
                }
                place
            })
            .collect();
        self.timeline.renumber(&places);
    }
}

/// Of a running thread's time, what it had a processor for: the kernel's counters tell how it was divided.
fn on_processor(wall_ns: u64, sample: &ThreadSample, last: Option<Last>) -> u64 {
    let Some(last) = last else { return wall_ns };
    let ran = sample.run_ns.saturating_sub(last.run_ns);
    let waited = sample.delay_ns.saturating_sub(last.delay_ns);
    match ran.saturating_add(waited) {
        // The kernel adds to them when a thread leaves the processor: one that never left it ran.
        0 => wall_ns,
        both => (u128::from(wall_ns) * u128::from(ran) / u128::from(both)) as u64,
    }
}

fn call_of(sample: &ThreadSample, gil: bool) -> Call {
    let number = match sample.doing {
        Doing::Running => return Call::Running,
        Doing::Syscall(number, _) => Some(number),
        Doing::Elsewhere | Doing::Unreadable => None,
    };
    match (sample.state, number) {
        (Some('T' | 't'), _) => Call::Stopped,
        (Some('D'), number) => Call::Disk(number),
        _ if gil => Call::Gil,
        (_, Some(number)) => Call::Syscall(number),
        (_, None) => Call::Unknown,
    }
}

#[cfg(test)]
mod tests;
