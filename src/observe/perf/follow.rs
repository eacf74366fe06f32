//! Follows the threads of a process: opens their events, reads their rings, and puts together what they tell.

use std::collections::HashSet;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::records::{Record, What as Told};
use super::sys::page_bytes;
use super::thread::{NotFollowed, Thread};
use super::tracefs::Tracepoints;
use super::{Bounds, NoPerf};
use crate::capture::burst::{Burst, End, Engine, Event, FollowedThread, LeftOut, What, Woken};
use crate::observe::candidates::{candidates, doing};
use crate::observe::clock::monotonic_ns;
use crate::observe::kernel_file::ProcDir;
use crate::observe::signals;

/// All rings together, and the least and the most of one.
const RINGS_BYTES: usize = 8 << 20;
const RING_BYTES: (usize, usize) = (16 << 10, 1 << 20);
/// More threads than this are not followed.
const MOST_THREADS: usize = RINGS_BYTES / RING_BYTES.0;
/// Most passes over the list of threads at the beginning: a process may make threads faster than they are opened.
const MOST_PASSES: u32 = 8;
/// How often rings are looked at that have not called: a new thread is noticed that late.
const PAUSE_NS: u64 = 2_000_000;

/// What is followed.
pub struct Follow<'p> {
    process: &'p ProcDir,
    tracepoints: Tracepoints,
    bounds: &'p Bounds,
    ring_bytes: usize,
    threads: Vec<Thread>,
    /// All that were ever looked at.
    known: HashSet<i32>,
    born: Vec<i32>,
    from_the_start: Vec<FollowedThread>,
    left_out: LeftOut,
    no_room: Option<Errno>,
    events: Vec<Event>,
    lost: u64,
    late: u64,
    exec: bool,
    buffer: Vec<u8>,
    began_ns: u64,
}

impl<'p> Follow<'p> {
    /// Opens the events of all threads, then lets them record.
    pub fn begin(process: &'p ProcDir, tracepoints: Tracepoints, bounds: &'p Bounds) -> Result<Self, NoPerf> {
        let mut follow = Self {
            process,
            tracepoints,
            bounds,
            ring_bytes: 0,
            threads: Vec::new(),
            known: HashSet::new(),
            born: Vec::new(),
            from_the_start: Vec::new(),
            left_out: LeftOut::default(),
            no_room: None,
            events: Vec::new(),
            lost: 0,
            late: 0,
            exec: false,
            buffer: Vec::new(),
            began_ns: 0,
        };
        for _ in 0..MOST_PASSES {
            let found = candidates(process, |tid| follow.known.contains(&tid));
            if found.is_empty() {
                break;
            }
            if follow.ring_bytes == 0 {
                follow.ring_bytes = bounds.ring_bytes.unwrap_or_else(|| ring_bytes(found.len()));
            }
            for candidate in found {
                follow.open(candidate.tid);
            }
        }
        if follow.threads.is_empty() {
            return Err(match (follow.left_out.refused, follow.no_room) {
                (1.., _) => NoPerf::Refused(Errno::from_raw(follow.left_out.error)),
                (_, Some(errno)) => NoPerf::NoRoom(errno),
                _ => NoPerf::Gone,
            });
        }
        follow.enable();
        Ok(follow)
    }

    fn open(&mut self, tid: i32) -> Option<&mut Thread> {
        self.known.insert(tid);
        if self.threads.len() >= MOST_THREADS {
            self.left_out.no_room += 1;
            return None;
        }
        match Thread::open(tid, &self.tracepoints, self.ring_bytes) {
            // Whatever else that number may have meant: it is a thread of this very process now.
            Ok(thread) if self.process.stat(&format!("task/{tid}")).is_ok() => {
                self.threads.push(thread);
                return self.threads.last_mut();
            }
            Ok(_) | Err(NotFollowed::Gone) => {}
            Err(NotFollowed::NoRoom(errno)) => {
                self.left_out.no_room += 1;
                self.no_room = Some(errno);
            }
            Err(NotFollowed::Refused(errno)) => {
                self.left_out.refused += 1;
                self.left_out.error = errno as i32;
            }
        }
        None
    }

    fn enable(&mut self) {
        self.began_ns = monotonic_ns();
        for thread in &self.threads {
            // One that has ended meanwhile is taken off when its ring is looked at.
            let _ = thread.enable();
        }
        for thread in &mut self.threads {
            let doing = doing(self.process, thread.tid);
            thread.was_doing(doing, monotonic_ns());
            self.from_the_start.push(FollowedThread { tid: thread.tid, doing, woken: Woken::No });
        }
    }

    /// Reads the rings until one of the bounds.
    pub fn until_over(&mut self) -> End {
        let deadline_ns = self.began_ns + self.bounds.limit.as_nanos() as u64;
        loop {
            self.drain();
            let now_ns = monotonic_ns();
            if self.events.len() as u64 >= self.bounds.max_events {
                return End::Events;
            } else if self.exec {
                return End::Exec;
            } else if self.threads.is_empty() {
                return End::NothingLeft;
            } else if signals::caught().is_some() {
                return End::Killed;
            } else if now_ns >= deadline_ns {
                return End::Time;
            }
            self.follow_born();
            self.wait((deadline_ns - now_ns).min(PAUSE_NS));
        }
    }

    /// Takes what is in the rings.
    fn drain(&mut self) {
        for thread in &mut self.threads {
            let tid = thread.tid;
            let (events, born, exec) = (&mut self.events, &mut self.born, &mut self.exec);
            thread.drain(&mut self.buffer, &self.tracepoints, |Record { at_ns, what }| {
                let what = match what {
                    Told::Enter(number, args) => What::Enter { number, args, memory: Vec::new() },
                    Told::Leave(_, result) => What::Leave { result, memory: Vec::new() },
                    Told::Out => What::OffCpu,
                    Told::In => What::OnCpu,
                    Told::Lost(records) => What::Lost(records),
                    Told::Ended => What::Ended,
                    Told::Exec => {
                        *exec = true;
                        What::Other
                    }
                    Told::Born(pid, tid) => {
                        if pid == self.process.pid() {
                            born.push(tid);
                        }
                        return;
                    }
                };
                events.push(seen(tid, at_ns, what));
            });
        }
    }

    /// Follows threads that have come since. Their first calls are over by now.
    fn follow_born(&mut self) {
        for tid in std::mem::take(&mut self.born) {
            if self.known.contains(&tid) {
                continue;
            }
            self.late += 1;
            if let Some(thread) = self.open(tid) {
                let _ = thread.enable();
            }
        }
    }

    /// Waits until a ring has filled up or a thread has ended, at most so long. Takes off those that have ended.
    fn wait(&mut self, most_ns: u64) {
        let timeout = PollTimeout::try_from(most_ns.div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX);
        let mut asked: Vec<PollFd> =
            self.threads.iter().map(|thread| PollFd::new(thread.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut asked, timeout).is_err() {
            return;
        }
        let over = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        let ended = |fd: &PollFd| fd.revents().is_some_and(|events| events.intersects(over));
        let ended: Vec<bool> = asked.iter().map(ended).collect();
        if ended.contains(&true) {
            // Its last words are in its ring.
            self.drain();
            let mut ended = ended.into_iter();
            let gone = self.threads.extract_if(.., |_| ended.next() == Some(true)).collect();
            self.take_off(gone);
        }
    }

    /// Notes what is left to say of threads, and closes their events.
    fn take_off(&mut self, threads: Vec<Thread>) {
        for thread in threads {
            self.lost += thread.lost();
            let within = thread.began_within().map(|what| seen(thread.tid, self.began_ns, what));
            self.events.extend(within);
        }
    }

    /// Ends it: nothing is recorded or open any more.
    pub fn finish(mut self, end: End) -> Burst {
        for thread in &self.threads {
            thread.disable();
        }
        let mut ended_ns = monotonic_ns();
        self.drain();
        let threads = std::mem::take(&mut self.threads);
        self.take_off(threads);
        let over_ns = monotonic_ns();
        let mut end = end;
        let mut events = self.events;
        // Each ring is in its order already; calls that were going on come first.
        events.sort_by_key(|event| (event.at_ns, !matches!(event.what, What::Within { .. })));
        if events.len() as u64 > self.bounds.max_events {
            events.truncate(self.bounds.max_events as usize);
            end = End::Events;
            ended_ns = events.last().map_or(ended_ns, |event| event.at_ns);
            // What was lost behind that is not missed.
            let lost = |event: &Event| if let What::Lost(records) = event.what { records } else { 0 };
            self.lost = events.iter().map(lost).sum();
        }
        Burst {
            engine: Engine::Perf,
            pid: self.process.pid(),
            began_ns: self.began_ns,
            ended_ns: Some(ended_ns),
            letting_go_ns: None,
            over_ns,
            limit_ns: self.bounds.limit.as_nanos() as u64,
            max_stops: 0,
            max_events: self.bounds.max_events,
            end,
            threads: self.from_the_start,
            left_out: self.left_out,
            stops: 0,
            stopped_ns_total: 0,
            stopped_ns_max: 0,
            helper_waited_ns: 0,
            lost: self.lost,
            late: self.late,
            locked: false,
            detached: true,
            events,
        }
    }
}

fn seen(tid: i32, at_ns: u64, what: What) -> Event {
    // Nothing was held, so it went on at once.
    Event { tid, at_ns, resumed_ns: Some(at_ns), what }
}

/// Bytes of the ring of one of so many threads.
fn ring_bytes(threads: usize) -> usize {
    let share = (RINGS_BYTES / threads.max(1)).clamp(RING_BYTES.0, RING_BYTES.1).max(page_bytes());
    // The greatest power of two that is not more.
    1 << share.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_share_what_there_is() {
        assert_eq!([1, 8, 9, 100, 512].map(ring_bytes), [1 << 20, 1 << 20, 512 << 10, 64 << 10, 16 << 10]);
        assert!(ring_bytes(MOST_THREADS) * MOST_THREADS <= RINGS_BYTES);
        assert_eq!(ring_bytes(usize::MAX), RING_BYTES.0.max(page_bytes()));
    }
}
