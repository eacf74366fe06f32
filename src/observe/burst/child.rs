//! The child that holds threads: the only place in the tool that ever stops one.
//!
//! It is this program again, freshly started with a hidden first argument, so that nothing of what the tool has gathered
//! weighs on it: the kernel lets go of what a tracer held only when its memory is torn down. Until the first thread is
//! seized it prepares like any program; from then on it touches the shared memory, the kernel's process files and the
//! target's memory, and nothing else: no disk, no terminal, no lock. Whatever happens to it, the kernel ends the freeze: a
//! timer kills it at the limit, and so does the death of the tool. It always ends by exiting, so that the normal
//! end and the crash are one path.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};

use super::arguments::read;
use super::copies::{self, Wish};
use super::shared::{Orders, Record, Shared, kind, phase};
use super::ties::{arm, settle};
use super::tracee::{self, Call, Held, Stop, Told};
use crate::observe::clock::monotonic_ns;
use crate::observe::kernel_file::{FileBudget, ProcDir};
use crate::observe::parse;

/// The hidden first argument.
pub const VERB: &str = "--burst-child";

/// Where the tool puts the shared memory, and the memory of the target.
const SHARED_FD: RawFd = 0;
const MEMORY_FD: RawFd = 1;

/// The kernel's timer waits so much longer than the child itself, which then ends in order.
const GRACE_NS: u64 = 1_500_000;
/// How long threads that are not in a call are waited for at the end, within the limit: at most this part of it, and so long.
const LETTING_GO_PART: u64 = 4;
const LETTING_GO_NS: u64 = 2_000_000;
/// No thread is held for more than this part of the time that a burst may take.
const STOPPED_PART: u64 = 10;
/// Longest text of a process file.
pub(super) const TEXT_BYTES: usize = 4096;

/// Runs as such a child if the arguments say so. Does not come back then.
pub fn answer(mut args: impl Iterator<Item = String>) {
    if args.nth(1).as_deref() == Some(VERB) {
        run();
        // SAFETY: ends the process, which is what frees everything it held.
        unsafe { libc::_exit(0) };
    }
}

fn run() {
    // SAFETY: the tool has put it there; it stays open until the end, as nobody closes it.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(SHARED_FD) });
    // Somebody typed the argument.
    let Ok(mut shared) = Shared::open(&*file) else { return };
    let orders = shared.orders();
    if !settle(&orders) {
        return;
    }
    // What is locked takes time to be torn down, in which threads are held: all but the records, which the tool keeps.
    let locked = mlockall(MlockAllFlags::MCL_CURRENT).is_ok();
    shared.state().locked.store(locked.into(), Ordering::Relaxed);
    if shared.map_records(&*file).is_err() {
        return;
    }
    let end = prepare(&shared, &orders).map_or(phase::GONE, |mut burst| {
        if orders.stacks > 0 {
            return burst.copy_stacks();
        }
        let end = burst.follow();
        burst.let_go();
        end
    });
    shared.state().ended_ns.store(monotonic_ns(), Ordering::Relaxed);
    shared.state().phase.store(end, Ordering::Release);
}

/// A thread that is followed.
#[derive(Default)]
pub(super) struct Followed {
    /// The call it is in: number and arguments.
    pub(super) call: Option<(i64, [u64; 6])>,
    /// How long it has been held so far.
    pub(super) stopped_ns: u64,
}

pub(super) struct Burst<'s> {
    pub(super) shared: &'s Shared,
    pub(super) orders: Orders,
    pub(super) process: ProcDir,
    memory: ManuallyDrop<File>,
    pub(super) deadline_ns: u64,
    pub(super) threads: HashMap<i32, Followed>,
    /// The same in a row, to look at each in turn.
    pub(super) row: Vec<i32>,
    turn: usize,
    pub(super) left_out: HashSet<i32>,
    /// Whether whoever stops is let go for good.
    pub(super) ending: bool,
    /// Stacks that are to be copied.
    pub(super) wishes: Vec<Wish>,
    /// The one that is next.
    pub(super) wish: Option<Wish>,
}

/// Everything that may take time or fail, before anything is held.
fn prepare<'s>(shared: &'s Shared, orders: &Orders) -> Option<Burst<'s>> {
    let process = ProcDir::open(orders.pid, &FileBudget::new(0)).ok()?;
    if !is_meant(&process, orders) {
        return None;
    }
    // Room now, so that none is needed later.
    let room = 2 * orders.max_stops as usize;
    let mut burst = Burst {
        shared,
        orders: *orders,
        process,
        // SAFETY: the tool has put it there; it stays open until the end.
        memory: ManuallyDrop::new(unsafe { File::from_raw_fd(MEMORY_FD) }),
        deadline_ns: u64::MAX,
        threads: HashMap::with_capacity(room),
        row: Vec::with_capacity(room),
        turn: 0,
        left_out: HashSet::with_capacity(room),
        ending: false,
        wishes: Vec::new(),
        wish: None,
    };
    let first = if orders.stacks > 0 {
        burst.wishes = copies::wishes(shared);
        copies::touch(shared, &burst.wishes);
        Vec::new()
    } else {
        burst.candidates()
    };
    // All of it before the timer runs: a machine that has no time for us until its end is no failure to begin.
    shared.state().waited_ns.store(super::waited_ns("self"), Ordering::Relaxed);
    let began_ns = monotonic_ns();
    burst.deadline_ns = began_ns + orders.limit_ns - letting_go_ns(orders);
    shared.state().began_ns.store(began_ns, Ordering::Relaxed);
    shared.state().phase.store(phase::TRACING, Ordering::Release);
    arm(orders.limit_ns + GRACE_NS).ok()?;
    if orders.stacks > 0 {
        return Some(burst);
    }
    burst.seize_all(first);
    // What is held now cannot be replaced by another process any more.
    is_meant(&burst.process, orders).then_some(burst)
}

/// The end of a burst, in which threads are let go.
fn letting_go_ns(orders: &Orders) -> u64 {
    LETTING_GO_NS.min(orders.limit_ns / LETTING_GO_PART)
}

/// Whether the number still means the process that was meant.
pub(super) fn is_meant(process: &ProcDir, orders: &Orders) -> bool {
    let text = process.read("stat", TEXT_BYTES as u64).unwrap_or_default();
    parse::stat(&text).is_some_and(|stat| stat.start_time_ticks == orders.start_time_ticks)
}

impl Burst<'_> {
    /// Lets every stop go on at once until time or stops are used up.
    fn follow(&mut self) -> u32 {
        loop {
            if self.threads.is_empty() {
                return phase::NOTHING_LEFT;
            }
            if self.is_used_up() {
                return phase::STOPS;
            }
            let now_ns = monotonic_ns();
            if now_ns >= self.deadline_ns {
                return phase::TIME;
            }
            // The kernel tells of the first thread that has something to tell, again and again; so each of the others
            // is asked in its turn, and none can wait for long.
            let turn = self.next_turn();
            let told = [tracee::look(None), turn.and_then(|tid| tracee::look(Some(tid)))];
            if told.iter().all(Option::is_none) {
                tracee::wait_for_news(self.deadline_ns - now_ns);
                continue;
            }
            let mut seen = None;
            for told in told.into_iter().flatten() {
                // The same stop, told twice: it is gone by now.
                let tid = match &told {
                    Told::Stop(stop) => stop.tid(),
                    Told::Ended(tid) => *tid,
                };
                if seen.replace(tid) == Some(tid) {
                    continue;
                }
                if let Some(end) = self.handle(told) {
                    return end;
                }
            }
        }
    }

    /// Whether there are no more stops than are needed to let go those that are in no call.
    fn is_used_up(&self) -> bool {
        let stops = self.shared.state().stops.load(Ordering::Relaxed);
        let reserve = || self.threads.values().filter(|thread| thread.call.is_none()).count() as u64;
        stops + self.threads.len() as u64 >= self.orders.max_stops
            && stops + reserve() >= self.orders.max_stops
    }

    /// Lets threads go for good before the end. One that the end itself frees at the beginning of a call gets `EINTR` from
    /// that call if it is one of the thirteen, as the kernel wakes it like a signal would; so threads that are about to
    /// make a call are waited for a little. Who is in a call already, or computes for longer, is not touched.
    fn let_go(&mut self) {
        self.ending = true;
        let now_ns = monotonic_ns();
        self.shared.state().letting_go_ns.store(now_ns, Ordering::Relaxed);
        let until_ns = now_ns + letting_go_ns(&self.orders);
        loop {
            while let Some(told) = tracee::look(None) {
                let tid = match &told {
                    Told::Stop(stop) => stop.tid(),
                    Told::Ended(tid) => *tid,
                };
                if self.handle(told) == Some(phase::EXEC) {
                    return;
                }
                self.threads.remove(&tid);
            }
            let now_ns = monotonic_ns();
            if now_ns >= until_ns || self.threads.values().all(|thread| thread.call.is_some()) {
                return;
            }
            tracee::wait_for_news(until_ns - now_ns);
        }
    }

    /// Lets a thread go on, with a signal to be delivered or 0.
    fn go(&self, held: Held, signal: i32) -> Result<(), Errno> {
        if self.ending { held.release(signal) } else { held.resume(signal) }
    }

    fn next_turn(&mut self) -> Option<i32> {
        self.turn = (self.turn + 1) % self.row.len().max(1);
        self.row.get(self.turn).copied()
    }

    /// Does what a stop asks for, lets go, and notes it. Gives the reason to end, if there is one.
    pub(super) fn handle(&mut self, told: Told) -> Option<u32> {
        let at_ns = monotonic_ns();
        let stop = match told {
            Told::Stop(stop) => stop,
            Told::Ended(tid) => {
                self.threads.remove(&tid);
                self.row.retain(|other| *other != tid);
                self.shared.append(&Record::new(kind::ENDED, tid, at_ns));
                return None;
            }
        };
        self.shared.state().stops.fetch_add(1, Ordering::Relaxed);
        let tid = stop.tid();
        let (record, end) = match stop {
            // First things first: the signal is on its way before anybody notes it.
            Stop::Signal(held, signal) => {
                let record = Record { number: signal.into(), ..Record::new(kind::SIGNAL, held.tid(), at_ns) };
                (self.shared.append_after(self.go(held, signal), &record), None)
            }
            Stop::JobControl(held, signal) => {
                let record =
                    Record { number: signal.into(), ..Record::new(kind::JOB_CONTROL, held.tid(), at_ns) };
                (self.shared.append_after(held.listen(), &record), None)
            }
            Stop::Asked(held) => {
                match self.threads.entry(tid) {
                    Entry::Vacant(new) => {
                        new.insert(Followed::default());
                        self.row.push(tid);
                    }
                    // It goes back into its call, or begins the next one: that will be seen.
                    Entry::Occupied(mut known) => known.get_mut().call = None,
                }
                let record = if let Some(wish) = self.wish.take_if(|wish| wish.tid() == tid) {
                    copies::copy(self.shared, &self.memory, &held, &wish, at_ns)
                } else {
                    let number = held.interrupted().unwrap_or(-1);
                    Record { number, ..Record::new(kind::HELD, tid, at_ns) }
                };
                (self.shared.append_after(self.go(held, 0), &record), None)
            }
            Stop::Other(held) => {
                let record = Record::new(kind::OTHER, held.tid(), at_ns);
                (self.shared.append_after(self.go(held, 0), &record), None)
            }
            // Another program is another target; the exit lets it go.
            Stop::Exec(held) => {
                (self.shared.append(&Record::new(kind::OTHER, held.tid(), at_ns)), Some(phase::EXEC))
            }
            Stop::Call(held) => match self.call(held, at_ns) {
                Ok(number) => (number, None),
                Err(end) => (None, Some(end)),
            },
        };
        end.or(self.account(record, tid, at_ns))
    }

    /// The stop of a call: what it is about and what its arguments lead to.
    fn call(&mut self, held: Held, at_ns: u64) -> Result<Option<u64>, u32> {
        let tid = held.tid();
        let mut record = Record::new(kind::OTHER, tid, at_ns);
        match held.call() {
            Ok(Call::Enter(number, args)) => {
                (record.kind, record.number, record.args) = (kind::ENTER, number, args);
                read(&self.memory, &mut record, (number, args), None);
                self.threads.entry(tid).or_default().call = Some((number, args));
            }
            Ok(Call::Leave(value)) => {
                (record.kind, record.value) = (kind::LEAVE, value);
                if let Some(call) = self.threads.get_mut(&tid).and_then(|thread| thread.call.take()) {
                    read(&self.memory, &mut record, call, Some(value));
                }
            }
            // Gone meanwhile: its end will be told.
            Ok(Call::None) | Err(Errno::ESRCH) => {}
            // The exit lets it go.
            Err(_) => return Err(phase::OLD_KERNEL),
        }
        Ok(self.shared.append_after(self.go(held, 0), &record))
    }

    /// Notes how long a thread was held. A reason to end, when that is enough for one.
    fn account(&mut self, record: Option<u64>, tid: i32, at_ns: u64) -> Option<u32> {
        let now_ns = monotonic_ns();
        let (state, stopped_ns) = (self.shared.state(), now_ns.saturating_sub(at_ns));
        self.shared.resumed(record, now_ns);
        state.stopped_ns_total.fetch_add(stopped_ns, Ordering::Relaxed);
        state.stopped_ns_max.fetch_max(stopped_ns, Ordering::Relaxed);
        let thread = self.threads.get_mut(&tid)?;
        thread.stopped_ns += stopped_ns;
        (thread.stopped_ns >= self.orders.limit_ns / STOPPED_PART).then_some(phase::STOPPED)
    }
}
