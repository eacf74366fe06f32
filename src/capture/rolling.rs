//! The last seconds of a look without end, as a capture that can be judged at any time.
//!
//! Takes the records as they come, from a live recorder or from a saved capture; gives a [`Capture`] whose window is
//! the last few seconds, with all times counted from its start, and the cheap numbers of [`super::live`]. It stays
//! bounded however long it runs: what is older than the window is dropped, and only the last word about what is
//! written on change (facts, descriptors, epoll sets) is kept. Pure: no clock, no file, no process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::model::{
    BlindSpot, Capture, Descriptor, EpollEntry, Frame, Header, ProcessFacts, Record, SelfCost, SourceCount,
};
use super::recorder::rfc3339;

/// Most blind spots that are remembered; each names a process, and processes come and go.
const MAX_BLIND: usize = 64;

/// What is known of a process besides what the window holds.
#[derive(Debug)]
pub(super) struct Kept {
    /// As last told.
    pub facts: ProcessFacts,
    /// When it was seen to have ended.
    pub gone_at_ns: Option<u64>,
    fds: Option<Vec<Descriptor>>,
    epoll: BTreeMap<i32, Vec<EpollEntry>>,
}

/// The last seconds of a look.
#[derive(Debug)]
pub struct Rolling {
    header: Header,
    window_ns: u64,
    from_ns: u64,
    now_ns: u64,
    pub(super) processes: BTreeMap<i32, Kept>,
    pub(super) names: Vec<String>,
    pub(super) frames: Vec<Frame>,
    pub(super) stacks: Vec<(Vec<u32>, bool)>,
    pub(super) records: VecDeque<Record>,
    pub(super) costs: VecDeque<SelfCost>,
    blind: VecDeque<BlindSpot>,
}

impl Rolling {
    /// Nothing yet.
    #[must_use]
    pub const fn new(header: Header, window_ns: u64) -> Self {
        Self {
            header,
            window_ns,
            from_ns: 0,
            now_ns: 0,
            processes: BTreeMap::new(),
            names: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            records: VecDeque::new(),
            costs: VecDeque::new(),
            blind: VecDeque::new(),
        }
    }

    /// Who is looked at, and how.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The time of the newest record, counted from the start of the look.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The first instant of the window, counted from the start of the look.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.from_ns.max(self.now_ns.saturating_sub(self.window_ns))
    }

    /// Forgets what was seen so far, as if the look began now; what is known of the processes stays.
    pub fn reset(&mut self) {
        self.from_ns = self.now_ns;
        self.forget_old();
    }

    /// Takes one record.
    pub fn push(&mut self, record: Record) {
        match record {
            Record::Name { text, .. } => self.names.push(text),
            Record::Frame { frame, .. } => self.frames.push(frame),
            Record::Stack { frames, complete, .. } => self.stacks.push((frames, complete)),
            Record::Blind(spot) => self.note(spot),
            // Read once at the end of a look: of a window that moves on it says nothing.
            Record::Below(_) => {}
            Record::Process(facts) => self.meet(*facts),
            Record::End(cost) => {
                self.now_ns = self.now_ns.max(cost.at_ns);
                self.costs.push_back(cost);
            }
            timed => {
                self.now_ns = self.now_ns.max(at(&timed));
                if let Record::Gone { at_ns, pid, .. } = timed
                    && let Some(kept) = self.processes.get_mut(&pid)
                {
                    kept.gone_at_ns = Some(at_ns);
                }
                self.records.push_back(timed);
            }
        }
    }

    fn note(&mut self, spot: BlindSpot) {
        if !self.blind.contains(&spot) {
            self.blind.push_back(spot);
            if self.blind.len() > MAX_BLIND {
                self.blind.pop_front();
            }
        }
    }

    /// A process as first seen, or as seen better since. A pid that is used again is somebody else.
    fn meet(&mut self, facts: ProcessFacts) {
        self.now_ns = self.now_ns.max(facts.at_ns);
        let pid = facts.pid;
        match self.processes.get_mut(&pid) {
            Some(kept) if kept.facts.start_time_ticks == facts.start_time_ticks => kept.facts = facts,
            before => {
                if before.is_some() {
                    self.records.iter_mut().for_each(|record| disown(record, pid));
                    self.records.retain(|record| whose(record) != Some(pid));
                }
                let kept = Kept { facts, gone_at_ns: None, fds: None, epoll: BTreeMap::new() };
                self.processes.insert(pid, kept);
            }
        }
    }

    /// Drops what is older than the window.
    pub fn forget_old(&mut self) {
        let start = self.start_ns();
        while self.records.front().is_some_and(|record| at(record) < start) {
            match self.records.pop_front() {
                Some(Record::Descriptors { pid, fds, .. }) => {
                    if let Some(kept) = self.processes.get_mut(&pid) {
                        kept.epoll.retain(|epfd, _| fds.iter().any(|d| d.fd == *epfd));
                        kept.fds = Some(fds);
                    }
                }
                Some(Record::EpollSet { pid, epfd, entries, .. }) => {
                    if let Some(kept) = self.processes.get_mut(&pid) {
                        kept.epoll.insert(epfd, entries);
                    }
                }
                _ => {}
            }
        }
        self.processes.retain(|_, kept| kept.gone_at_ns.is_none_or(|gone| gone >= start));
        // One cost from before the window is needed to know what the window itself has cost.
        while self.costs.get(1).is_some_and(|second| second.at_ns <= start) {
            self.costs.pop_front();
        }
    }

    /// The window as a capture: its times count from its own start, its numbers of names, frames and stacks are its own.
    #[must_use]
    pub fn capture(&self) -> Capture {
        let start = self.start_ns();
        let mut header = self.header.clone();
        header.started_realtime_ns += start;
        header.started_monotonic_ns += start;
        header.started_at = rfc3339(header.started_realtime_ns);
        header.duration_ms = self.window_ns / 1_000_000;
        let mut used = Used::of(&self.records, start);
        let mut records = used.definitions(self);
        for kept in self.processes.values() {
            let mut facts = kept.facts.clone();
            // "When first seen" is the start of the window for whoever is older.
            facts.age_ms += start.saturating_sub(facts.at_ns) / 1_000_000;
            facts.at_ns = facts.at_ns.saturating_sub(start);
            let pid = facts.pid;
            records.push(Record::Process(Box::new(facts)));
            records.extend(kept.fds.iter().map(|fds| Record::Descriptors {
                at_ns: 0,
                pid,
                fds: fds.clone(),
            }));
            let sets = kept.epoll.iter();
            records.extend(sets.map(|(epfd, entries)| Record::EpollSet {
                at_ns: 0,
                pid,
                epfd: *epfd,
                entries: entries.clone(),
            }));
        }
        records.extend(self.blind.iter().cloned().map(Record::Blind));
        for record in self.records.iter().filter(|record| at(record) >= start) {
            let mut record = record.clone();
            let at_ns = at(&record) - start;
            set_at(&mut record, at_ns);
            used.renumber(&mut record);
            records.push(record);
        }
        records.extend(self.cost(start).map(Record::End));
        Capture { header, records }
    }

    /// What the window has cost: the difference of two totals.
    fn cost(&self, start: u64) -> Option<SelfCost> {
        let last = self.costs.back()?;
        let mut cost = last.clone();
        cost.at_ns = last.at_ns.saturating_sub(start);
        let late_ns = self.records.iter().filter(|r| at(r) >= start).map(|r| match r {
            Record::Tick(tick) => tick.late_ns,
            _ => 0,
        });
        let late_ms_max = late_ns.max().unwrap_or(0) / 1_000_000;
        let before = self.costs.front().filter(|c| c.at_ns <= start && c.at_ns < last.at_ns);
        if let Some(before) = before {
            cost.cpu_ns = last.cpu_ns.saturating_sub(before.cpu_ns);
            cost.stacks_obtained = last.stacks_obtained.saturating_sub(before.stacks_obtained);
            cost.stacks_torn = last.stacks_torn.saturating_sub(before.stacks_torn);
            cost.stacks_discarded = last.stacks_discarded.saturating_sub(before.stacks_discarded);
        }
        for source in &mut cost.sources {
            source.late_ms_max = late_ms_max;
            let old: Option<&SourceCount> =
                before.and_then(|b| b.sources.iter().find(|s| s.name == source.name));
            if let Some(old) = old {
                source.requested = source.requested.saturating_sub(old.requested);
                source.obtained = source.obtained.saturating_sub(old.obtained);
            }
        }
        Some(cost)
    }
}

/// The names, frames and stacks that a window uses, and their numbers in it.
struct Used {
    names: BTreeMap<u32, u32>,
    frames: BTreeMap<u32, u32>,
    stacks: BTreeMap<u32, u32>,
}

impl Used {
    fn of(records: &VecDeque<Record>, start: u64) -> Self {
        let ticks = records.iter().filter_map(|r| if let Record::Tick(tick) = r { Some(tick) } else { None });
        let samples = ticks.filter(|tick| tick.at_ns >= start).flat_map(|tick| &tick.samples);
        let (mut names, mut stacks) = (BTreeSet::new(), BTreeSet::new());
        for sample in samples {
            names.extend(sample.wchan);
            stacks.extend(sample.stack);
        }
        let seen = records.iter().filter(|r| at(r) >= start);
        let tasks = seen.filter_map(|r| if let Record::Tasks(tasks) = r { Some(tasks) } else { None });
        stacks.extend(tasks.flat_map(|tasks| &tasks.groups).map(|group| group.stack));
        Self { names: numbered(names), frames: BTreeMap::new(), stacks: numbered(stacks) }
    }

    /// The records that define them.
    fn definitions(&mut self, rolling: &Rolling) -> Vec<Record> {
        let mut out = Vec::new();
        for (old, id) in &self.names {
            let text = rolling.names.get(*old as usize).cloned().unwrap_or_default();
            out.push(Record::Name { id: *id, text });
        }
        let stack = |old: u32| rolling.stacks.get(old as usize);
        let frames = self.stacks.keys().filter_map(|old| stack(*old)).flat_map(|(frames, _)| frames).copied();
        self.frames = numbered(frames.collect());
        for (old, id) in &self.frames {
            let unknown = || Frame { function: String::new(), file: String::new(), line: 0 };
            let frame = rolling.frames.get(*old as usize).cloned().unwrap_or_else(unknown);
            out.push(Record::Frame { id: *id, frame });
        }
        for (old, id) in &self.stacks {
            let (frames, complete) = stack(*old).cloned().unwrap_or_default();
            let frames = frames.iter().filter_map(|frame| self.frames.get(frame).copied()).collect();
            out.push(Record::Stack { id: *id, frames, complete });
        }
        out
    }

    fn renumber(&self, record: &mut Record) {
        match record {
            Record::Tick(tick) => {
                for sample in &mut tick.samples {
                    sample.wchan = sample.wchan.and_then(|old| self.names.get(&old).copied());
                    sample.stack = sample.stack.and_then(|old| self.stacks.get(&old).copied());
                }
            }
            Record::Tasks(tasks) => tasks.groups.retain_mut(|group| {
                let id = self.stacks.get(&group.stack);
                group.stack = id.copied().unwrap_or_default();
                id.is_some()
            }),
            _ => {}
        }
    }
}

fn numbered(used: BTreeSet<u32>) -> BTreeMap<u32, u32> {
    used.into_iter().zip(0..).collect()
}

/// When a record was made; 0 for one without a time.
#[must_use]
pub const fn at(record: &Record) -> u64 {
    match record {
        Record::Process(facts) => facts.at_ns,
        Record::Tick(tick) => tick.at_ns,
        Record::Cgroup(sample) => sample.at_ns,
        Record::Host(sample) => sample.at_ns,
        Record::End(cost) => cost.at_ns,
        Record::Tasks(tasks) => tasks.at_ns,
        Record::Below(below) => below.at_ns,
        Record::Gone { at_ns, .. }
        | Record::Threads { at_ns, .. }
        | Record::Descriptors { at_ns, .. }
        | Record::EpollSet { at_ns, .. }
        | Record::Sockets { at_ns, .. }
        | Record::Readiness { at_ns, .. }
        | Record::LoopClock { at_ns, .. }
        | Record::Burst { at_ns, .. }
        | Record::Heartbeat { at_ns, .. } => *at_ns,
        Record::Name { .. } | Record::Frame { .. } | Record::Stack { .. } | Record::Blind(_) => 0,
    }
}

const fn set_at(record: &mut Record, to: u64) {
    match record {
        Record::Process(facts) => facts.at_ns = to,
        Record::Tick(tick) => tick.at_ns = to,
        Record::Cgroup(sample) => sample.at_ns = to,
        Record::Host(sample) => sample.at_ns = to,
        Record::End(cost) => cost.at_ns = to,
        Record::Tasks(tasks) => tasks.at_ns = to,
        Record::Below(below) => below.at_ns = to,
        Record::Gone { at_ns, .. }
        | Record::Threads { at_ns, .. }
        | Record::Descriptors { at_ns, .. }
        | Record::EpollSet { at_ns, .. }
        | Record::Sockets { at_ns, .. }
        | Record::Readiness { at_ns, .. }
        | Record::LoopClock { at_ns, .. }
        | Record::Burst { at_ns, .. }
        | Record::Heartbeat { at_ns, .. } => *at_ns = to,
        Record::Name { .. } | Record::Frame { .. } | Record::Stack { .. } | Record::Blind(_) => {}
    }
}

/// The one process that a record is about.
const fn whose(record: &Record) -> Option<i32> {
    match record {
        Record::Gone { pid, .. }
        | Record::Threads { pid, .. }
        | Record::Descriptors { pid, .. }
        | Record::EpollSet { pid, .. }
        | Record::Readiness { pid, .. }
        | Record::LoopClock { pid, .. }
        | Record::Heartbeat { pid, .. } => Some(*pid),
        Record::Tasks(tasks) => Some(tasks.pid),
        Record::Below(below) => Some(below.pid),
        Record::Burst { burst, .. } => Some(burst.pid),
        _ => None,
    }
}

/// Takes a process out of a record that is about several.
fn disown(record: &mut Record, pid: i32) {
    match record {
        Record::Tick(tick) => tick.samples.retain(|sample| sample.pid != pid),
        Record::Cgroup(sample) => sample.pids.retain(|p| *p != pid),
        _ => {}
    }
}

#[cfg(test)]
#[path = "rolling_tests.rs"]
mod tests;
