//! What a span of a process looks like in numbers: the only thing that rules see.
//!
//! Takes a process of the capture and a span, gives [`Features`]. It measures and does not judge.

use foldhash::HashMap;
use std::collections::BTreeMap;

use super::activity::{Activity, Meaning, Reader};
use super::budget::{Tally, overlap, part};
use super::parked::{self, Parked};
use super::signs::{self, Gaps};
use super::sockets::{self, Traffic};
use super::stack::{Place, Stack};
use super::view::{At, ProcessView, Span, View};
use crate::capture::model::{LoopKind, Role, ThreadCounters, ThreadSample, WorkerClass};

/// The numbers of one process in one span.
#[derive(Debug)]
pub struct Features<'v, 'a> {
    /// The span.
    pub span: Span,
    /// The process.
    pub process: &'v ProcessView<'a>,
    /// The thread that runs the loop or accepts.
    pub main: Tally,
    /// The request slots of a worker without a loop; empty for one with a loop.
    pub slots: Slots,
    /// The thread, of the loop's and the slots', that wanted a processor most.
    pub hungriest: Tally,
    /// Runnable samples of the loop thread by where its stack stands.
    pub runnable_at: BTreeMap<Place, u64>,
    /// All samples of the loop thread by where its stack stands.
    pub at: BTreeMap<Place, u64>,
    /// Times in which the loop was not seen to turn.
    pub gaps: Gaps,
    /// What went over client and backend sockets.
    pub traffic: Traffic,
    /// What its parked greenlets and tasks wait for, where they were counted.
    pub parked: Option<Parked>,
    /// Descriptors that `poll` found ready, by how often.
    pub ready: Vec<ReadyFd>,
    /// Processor time of all threads, in processors.
    pub process_on_cpu: f64,
    /// The busiest thread besides the loop thread, and its processor share.
    pub busiest_other: Option<(i32, f64)>,
    /// Switches of the loop thread by its own will, per second.
    pub voluntary_per_s: Option<f64>,
    /// Share of the loop thread's processor time spent in the kernel.
    pub system_share: Option<f64>,
    /// Threads seen holding the interpreter lock, by samples.
    pub gil_holders: BTreeMap<i32, u64>,
    /// Stacks of the judged threads with how often each was seen, and what it meant.
    pub stacks: Vec<Seen<'v, 'a>>,
    /// The same of the loop thread alone, which is not the judged one where a pool serves.
    pub loop_stacks: Vec<Seen<'v, 'a>>,
    /// The same of all threads beside the loop's.
    pub beside: Vec<Seen<'v, 'a>>,
    /// Threads of a pool beside a loop that are at work, and those of them that wait for a backend.
    pub helpers: Helpers,
    /// Longest uninterrupted sleep of the judged threads outside their poller.
    pub longest_sleep_ns: u64,
    /// Readings of the loop thread, running, at the instruction of the reading before, of all that tell.
    pub still: (u64, u64),
    /// Readings of running threads during which a collector ran, of all that tell.
    pub collecting: (u64, u64),
}

/// A stack, how often, doing what.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'v, 'a> {
    /// Whose.
    pub tid: i32,
    /// What the thread was doing.
    pub meaning: Meaning,
    /// The stack; `None` when it could not be read.
    pub stack: Option<&'v Stack<'a>>,
    /// Its number in the capture, which makes the order of equals the same every time.
    pub id: Option<u32>,
    /// How often.
    pub count: u64,
}

/// Threads of a pool beside a loop, to which it hands what would block it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Helpers {
    /// At work most of the time.
    pub busy: u64,
    /// Of those, asleep on a backend's socket or a name server's answer most of the time.
    pub on_backends: u64,
}

impl Helpers {
    /// Whether a backend is what most of them are at.
    #[must_use]
    pub const fn wait_for_backends(self) -> bool {
        self.on_backends > 0 && self.on_backends * 2 >= self.busy
    }
}

/// Request slots of a worker.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// How many there are; 0 for a worker with a loop.
    pub capacity: u64,
    /// How many were seen: a pool starts its threads when it needs them.
    pub seen: u64,
    /// Their time, together.
    pub tally: Tally,
    /// Share of the slots' time that is taken, free threads and threads never started counted as free.
    pub busy_share: f64,
}

impl Slots {
    /// Share of all slots' time with one meaning.
    #[must_use]
    pub fn held(&self, activity: Activity) -> f64 {
        self.tally.share(activity) * part(self.seen, self.capacity)
    }
}

/// A descriptor that `poll` was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyFd {
    /// The descriptor.
    pub fd: i32,
    /// How often it was asked about.
    pub asked: u64,
    /// How often it was ready.
    pub ready: u64,
    /// The `POLL*` bits it had when ready.
    pub revents: i16,
    /// Whether the bytes waiting on it never changed.
    pub constant: bool,
    /// Bytes waiting at the last reading.
    pub queued_bytes: Option<u64>,
}

impl<'v, 'a> Features<'v, 'a> {
    /// Measures a process in a span.
    #[must_use]
    pub fn new(
        view: &'v View<'a>,
        process: &'v ProcessView<'a>,
        stacks: &'v HashMap<u32, Stack<'a>>,
        span: Span,
    ) -> Self {
        let reader = Reader::new(view, process, stacks);
        let loop_tid = process.facts.loop_tid;
        let mut seen: HashMap<(i32, Option<u32>, Activity, Option<i32>), Seen<'v, 'a>> = HashMap::default();
        let mut at = BTreeMap::new();
        let mut runnable_at = BTreeMap::new();
        let mut gil_holders = BTreeMap::new();
        let mut main = Tally::default();
        let mut pool: Vec<Tally> = Vec::new();
        let mut longest_sleep_ns = 0;
        let mut helpers = Helpers::default();
        let (mut still, mut collecting) = ((0, 0), (0, 0));
        let count = |counts: &mut (u64, u64), told: Option<bool>| {
            counts.0 += u64::from(told == Some(true));
            counts.1 += u64::from(told.is_some());
        };
        let class = process.facts.worker_class;
        let pooled = class == Some(WorkerClass::Gthread) && process.facts.python.is_none();
        for tid in process.samples.keys().copied() {
            let mut tally = tally(process, tid, span);
            let mut slot_samples = 0;
            let mut sleep: Option<(u64, u64)> = None;
            for sample in process.samples_in(tid, span) {
                let meaning = reader.meaning(sample.value, sample.at_ns);
                let stack = reader.stack(sample.value);
                let place = stack.map(|s| s.place);
                // Where no stack is read, whatever runs beside the thread that accepts is taken for its pool.
                let unread = pooled && place.is_none() && tid != loop_tid;
                slot_samples += u64::from(unread || matches!(place, Some(Place::BusySlot | Place::FreeSlot)));
                *tally.samples.entry(meaning.activity).or_default() += 1;
                if sample.value.holds_gil == Some(true) {
                    *gil_holders.entry(tid).or_default() += 1;
                }
                count(&mut collecting, sample.value.collecting);
                if tid == loop_tid {
                    count(&mut still, sample.value.still);
                    let key = place.unwrap_or(Place::Other);
                    *at.entry(key).or_default() += 1;
                    if meaning.activity == Activity::Runnable {
                        *runnable_at.entry(key).or_default() += 1;
                    }
                }
                if matches!(meaning.activity, Activity::Runnable | Activity::OwnPoller | Activity::FreeSlot) {
                    sleep = None;
                } else {
                    // The same number of time slices means the same sleep.
                    let began = match sleep {
                        Some((slices, began)) if slices == sample.value.slices => began,
                        _ => sample.at_ns,
                    };
                    sleep = Some((sample.value.slices, began));
                    if tid == loop_tid || slot_samples > 0 {
                        longest_sleep_ns = longest_sleep_ns.max(sample.at_ns - began);
                    }
                }
                let key = (tid, sample.value.stack, meaning.activity, meaning.fd);
                seen.entry(key)
                    .or_insert(Seen { tid, meaning, stack, id: sample.value.stack, count: 0 })
                    .count += 1;
            }
            if tid == loop_tid {
                main = tally;
            } else if slot_samples * 2 > tally.total() {
                let mostly = |n: u64| n * 2 > tally.total();
                let on_backends = tally.count(Activity::Upstream) + tally.count(Activity::Dns);
                helpers.busy += u64::from(!mostly(tally.count(Activity::FreeSlot)));
                helpers.on_backends += u64::from(mostly(on_backends));
                pool.push(tally);
            }
        }
        let slots = slots(view, class, &main, &pool);
        let hungriest = pool.iter().fold(&main, |a, b| if b.demand() > a.demand() { b } else { a }).clone();
        let judged_pool = slots.capacity > 0 && class != Some(WorkerClass::Sync);
        let mut seen: Vec<Seen<'v, 'a>> = seen.into_values().collect();
        seen.sort_by_key(|s| (std::cmp::Reverse(s.count), s.tid, s.meaning.activity, s.meaning.fd, s.id));
        let (loop_stacks, beside): (Vec<_>, Vec<_>) = seen.into_iter().partition(|s| s.tid == loop_tid);
        let stacks = if judged_pool { &beside } else { &loop_stacks }.clone();
        let (first, last) = counters(process, span);
        Self {
            span,
            process,
            main,
            slots,
            hungriest,
            runnable_at,
            at,
            gaps: signs::gaps(view, process, &reader, span),
            traffic: sockets::traffic(view, process, span),
            parked: parked::parked(view, process),
            ready: ready(process, span),
            process_on_cpu: process_on_cpu(first, last),
            busiest_other: busiest_other(first, last, loop_tid),
            voluntary_per_s: rate(first, last, loop_tid, |c| c.voluntary_switches),
            system_share: system_share(first, last, loop_tid),
            gil_holders,
            stacks,
            loop_stacks,
            beside,
            helpers,
            longest_sleep_ns,
            still,
            collecting,
        }
    }

    /// Share of runnable samples whose stack stands at a place, among those whose stack is known.
    #[must_use]
    pub fn runnable_share(&self, place: Place) -> Option<(u64, u64)> {
        let known: u64 = self.runnable_at.iter().filter(|(p, _)| **p != Place::Other).map(|(_, n)| n).sum();
        (known > 0).then(|| (self.runnable_at.get(&place).copied().unwrap_or(0), known))
    }

    /// Share of all samples of the loop thread whose stack stands at a place.
    #[must_use]
    pub fn share_at(&self, place: Place) -> f64 {
        part(self.at.get(&place).copied().unwrap_or(0), self.at.values().sum())
    }

    /// Number of the loop thread's samples with a stack.
    #[must_use]
    pub fn stacked(&self) -> u64 {
        self.at.iter().filter(|(p, _)| **p != Place::Other).map(|(_, n)| n).sum()
    }

    /// The time that decides: the request slots' where there are any, else the loop thread's.
    #[must_use]
    pub const fn judged(&self) -> &Tally {
        if self.slots.capacity > 0 { &self.slots.tally } else { &self.main }
    }

    /// Whether there is a loop, a request slot or a listener at all: a process without any serves nobody, and its
    /// sleeps and computations block nobody.
    #[must_use]
    pub fn serves(&self) -> bool {
        let facts = self.process.facts;
        facts.worker_class.is_some()
            || facts.loop_kind != LoopKind::None
            || !facts.listen.is_empty()
            || facts.role == Role::Worker
    }

    /// The distinct stacks with a meaning, weighted.
    #[must_use]
    pub fn stacks_of(&self, wanted: impl Fn(&Meaning) -> bool) -> Vec<(&'v Stack<'a>, u64)> {
        self.stacks.iter().filter(|s| wanted(&s.meaning)).filter_map(|s| Some((s.stack?, s.count))).collect()
    }
}

/// Exact counters of a thread from the samples at the edges of a span, the nearest ones outside included.
fn tally(process: &ProcessView<'_>, tid: i32, span: Span) -> Tally {
    let Some(samples) = process.samples.get(&tid) else { return Tally::default() };
    let inside = |s: &&At<&ThreadSample>| span.holds(s.at_ns);
    let (Some(first), Some(last)) = (samples.iter().find(inside), samples.iter().rev().find(inside)) else {
        return Tally::default();
    };
    let counted = last.value.run_ns > 0 || last.value.slices > 0;
    let mut tally = Tally {
        span_ns: last.at_ns - first.at_ns,
        run_ns: counted.then(|| last.value.run_ns.saturating_sub(first.value.run_ns)),
        delay_ns: counted.then(|| last.value.delay_ns.saturating_sub(first.value.delay_ns)),
        ..Tally::default()
    };
    tally.throttled_ns = throttled(process, Span { start_ns: first.at_ns, end_ns: last.at_ns })
        .min(tally.delay_ns.unwrap_or(0));
    tally
}

/// Time in which the tightest of the process's groups was held back.
fn throttled(process: &ProcessView<'_>, span: Span) -> u64 {
    let mut by_path: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for sample in &process.cgroups {
        by_path.entry(&sample.path).or_default().push((sample.at_ns, sample.throttled_ns));
    }
    let total = |points: &Vec<(u64, u64)>| points.windows(2).map(|w| overlap(w[0], w[1], span)).sum();
    by_path.values().map(total).max().unwrap_or(0)
}

fn slots(view: &View<'_>, class: Option<WorkerClass>, main: &Tally, pool: &[Tally]) -> Slots {
    match class {
        Some(WorkerClass::Sync) => {
            let free = main.share(Activity::OwnPoller);
            Slots { capacity: 1, seen: 1, tally: main.clone(), busy_share: 1.0 - free }
        }
        Some(WorkerClass::Gthread) => {
            let seen = pool.len() as u64;
            let capacity =
                view.capture.header.server.threads_configured.map_or(seen, u64::from).max(seen).max(1);
            let mut tally = Tally::default();
            for thread in pool {
                tally.add(thread);
            }
            let busy = if seen == 0 { 0.0 } else { 1.0 - tally.share(Activity::FreeSlot) };
            Slots { capacity, seen, busy_share: busy * part(seen, capacity), tally }
        }
        _ => Slots::default(),
    }
}

type Counters<'a> = Option<&'a At<&'a [ThreadCounters]>>;

/// The counters nearest to the edges of a span.
fn counters<'p>(process: &'p ProcessView<'_>, span: Span) -> (Counters<'p>, Counters<'p>) {
    let first = process.counters.iter().rev().find(|c| c.at_ns <= span.start_ns).or(process.counters.first());
    let last = process.counters.iter().find(|c| c.at_ns >= span.end_ns).or(process.counters.last());
    (first, last)
}

fn pairs<'p>(
    first: Counters<'p>,
    last: Counters<'p>,
) -> impl Iterator<Item = (u64, &'p ThreadCounters, &'p ThreadCounters)> {
    let both = first.zip(last).filter(|(a, b)| b.at_ns > a.at_ns);
    both.into_iter().flat_map(|(a, b)| {
        let between = b.at_ns - a.at_ns;
        b.value.iter().filter_map(move |l| Some((between, a.value.iter().find(|f| f.tid == l.tid)?, l)))
    })
}

fn on_cpu((between, a, b): (u64, &ThreadCounters, &ThreadCounters)) -> f64 {
    part(b.run_ns.unwrap_or(0).saturating_sub(a.run_ns.unwrap_or(0)), between)
}

fn process_on_cpu(first: Counters<'_>, last: Counters<'_>) -> f64 {
    pairs(first, last).map(on_cpu).sum()
}

fn busiest_other(first: Counters<'_>, last: Counters<'_>, loop_tid: i32) -> Option<(i32, f64)> {
    pairs(first, last)
        .filter(|(_, _, b)| b.tid != loop_tid)
        .map(|p| (p.2.tid, on_cpu(p)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
}

fn rate(
    first: Counters<'_>,
    last: Counters<'_>,
    tid: i32,
    of: impl Fn(&ThreadCounters) -> u64,
) -> Option<f64> {
    let (between, a, b) = pairs(first, last).find(|(_, _, b)| b.tid == tid)?;
    Some(part(of(b).saturating_sub(of(a)), between) * 1e9)
}

fn system_share(first: Counters<'_>, last: Counters<'_>, tid: i32) -> Option<f64> {
    let (_, a, b) = pairs(first, last).find(|(_, _, b)| b.tid == tid)?;
    let system = b.stime_ticks.saturating_sub(a.stime_ticks);
    let user = b.utime_ticks.saturating_sub(a.utime_ticks);
    (system + user >= 10).then(|| part(system, system + user))
}

fn ready(process: &ProcessView<'_>, span: Span) -> Vec<ReadyFd> {
    let one = |(fd, answers): (&i32, &Vec<At<super::view::Ready>>)| {
        let inside: Vec<_> = answers.iter().filter(|a| span.holds(a.at_ns)).collect();
        let last = inside.last()?;
        let ready: Vec<_> = inside.iter().filter(|a| a.value.revents != 0).collect();
        Some(ReadyFd {
            fd: *fd,
            asked: inside.len() as u64,
            ready: ready.len() as u64,
            revents: ready.last().map_or(0, |a| a.value.revents),
            constant: inside.iter().all(|a| a.value.queued_bytes == last.value.queued_bytes),
            queued_bytes: last.value.queued_bytes,
        })
    };
    process.ready.iter().filter_map(one).collect()
}
