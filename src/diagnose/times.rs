//! What the time of a recording was: running, blocked, at rest, parked; and which frames of a stack are whose.
//!
//! Takes a [`Profile`] and gives a [`Meaning`] for each of its entries, by the same tables of loops and pools that the
//! verdicts rest on. Without descriptors it cannot tell a client from a backend, and does not try. Pure.

use foldhash::HashMap;

use super::known;
use super::stack::{Place, Stack as Seen};
use crate::capture::model::{Frame, ProcessFacts, WorkerClass};
use crate::capture::profile::{Call, Entry, Profile, Stack, Who};
use crate::capture::syscalls::{Wait, describe};

/// What the time of an entry was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// On a processor, or waiting for one.
    Running,
    /// A thread asleep in anything but its own poller or its pool's queue.
    Blocked,
    /// A thread that waits for work, or a greenlet or task that the server keeps for itself.
    Idle,
    /// A greenlet or task that is not on a thread.
    Parked,
}

/// What an entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What its time was.
    pub state: State,
    /// So many of the innermost frames are its own; the others belong to the loop that called it.
    pub own: usize,
}

/// What the entries mean, each at its place.
#[must_use]
pub fn meanings(profile: &Profile) -> Vec<Meaning> {
    let frames = |(stack, _): &(Vec<u32>, bool)| -> Vec<&Frame> {
        stack.iter().filter_map(|frame| profile.frames.get(*frame as usize)).collect()
    };
    let stacks = Seen::all(profile.stacks.iter().map(frames).collect());
    // A number that was taken again is that of the newest.
    let processes: HashMap<i32, &ProcessFacts> =
        profile.processes.iter().map(|process| (process.facts.pid, &process.facts)).collect();
    let each = profile.entries.iter();
    each.map(|entry| meaning(&profile.header.arch, entry, processes.get(&entry.key.pid).copied(), &stacks))
        .collect()
}

fn meaning(arch: &str, entry: &Entry, process: Option<&ProcessFacts>, stacks: &[Seen<'_>]) -> Meaning {
    let seen = match entry.key.stack {
        Stack::Kept(id) => stacks.get(id as usize),
        Stack::Missing | Stack::Other => None,
    };
    let all = seen.map_or(0, |seen| seen.frames.len());
    let class = process.and_then(|process| process.worker_class);
    let python = process.is_some_and(|process| process.python.is_some());
    let place = seen.filter(|seen| !seen.frames.is_empty()).map(|seen| seen.place);
    let standing = seen.is_some_and(|seen| {
        seen.frames.is_empty()
            || seen.frames.iter().any(|frame| known::in_table(known::STANDING, &frame.file, &frame.function))
    });
    let state = match entry.key.call {
        Call::Running => State::Running,
        Call::Parked | Call::Ready if standing => State::Idle,
        Call::Parked | Call::Ready => State::Parked,
        Call::Unknown if at_rest(place) => State::Idle,
        Call::Gil | Call::Disk(_) | Call::Stopped | Call::Unknown => State::Blocked,
        Call::Syscall(number) => {
            let wait = describe(arch, number).map(|call| call.wait);
            asleep(place, wait, entry.key.stack, (python, seen.is_some_and(polls_itself)))
        }
    };
    let in_loop = seen.filter(|_| matches!(entry.key.who, Who::Thread(_)) && has_tasks(class));
    let own = in_loop.map_or(all, own_frames);
    Meaning { state, own }
}

/// Whether a stack is that of a thread which waits for work, as far as it sleeps.
const fn at_rest(place: Option<Place>) -> bool {
    matches!(place, Some(Place::Loop | Place::Arbiter | Place::FreeSlot))
}

/// Whether nothing but the loop's own file and the standard library's pollers stand above the loop: newer servers have
/// functions there that the verdicts do not know.
fn polls_itself(seen: &Seen<'_>) -> bool {
    let (Some(root), Some(above)) = (seen.frames.get(seen.above), seen.frames.get(..seen.above)) else {
        return false;
    };
    let own = |frame: &&Frame| {
        frame.file == root.file || known::in_table(known::MACHINERY, &frame.file, &frame.function)
    };
    seen.place == Place::Callback && above.iter().all(own)
}

fn asleep(place: Option<Place>, wait: Option<Wait>, stack: Stack, (python, own_poll): (bool, bool)) -> State {
    let polls = matches!(wait, Some(Wait::Epoll | Wait::Poll | Wait::Select));
    // Calls in which no loop and no pool waits for work, whatever the stack.
    let never = matches!(
        wait,
        Some(
            Wait::Recv
                | Wait::Send
                | Wait::Connect
                | Wait::Read
                | Wait::Write
                | Wait::Child
                | Wait::FileLock
                | Wait::Sync
        )
    );
    let idle = match place {
        _ if wait == Some(Wait::Accept) => true,
        Some(_) => (at_rest(place) && !never) || (own_poll && polls),
        // Threads of libraries wait for work in a lock and have no Python to show.
        None if python && stack == Stack::Missing => wait == Some(Wait::Futex) || polls,
        None => polls,
    };
    if idle { State::Idle } else { State::Blocked }
}

/// Whether the loop of a class runs tasks of asyncio.
const fn has_tasks(class: Option<WorkerClass>) -> bool {
    matches!(
        class,
        Some(WorkerClass::Uvicorn | WorkerClass::Asgi | WorkerClass::Asyncio | WorkerClass::Tornado)
    )
}

/// The frames of a task without those of the loop that runs it; all of them where it is the loop itself.
fn own_frames(seen: &Seen<'_>) -> usize {
    let all = seen.frames.len();
    if seen.place != Place::Callback {
        return all;
    }
    let of_loop = |frame: &&Frame| {
        known::in_table(known::MACHINERY, &frame.file, &frame.function)
            || known::in_table(HANDLES, &frame.file, &frame.function)
    };
    let above = seen.frames.get(..seen.above).unwrap_or_default();
    let own = above.len() - above.iter().rev().take_while(|frame| of_loop(frame)).count();
    if own == 0 { all } else { own }
}

/// What a loop calls its callbacks by.
const HANDLES: &[known::Row] = &[("asyncio/events.py", &["_run"])];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::model::{Doing, ThreadSample};
    use crate::capture::profile::{ParkedGroup, ProfileHeader};
    use crate::capture::samples;

    const EPOLL_WAIT: i64 = 232;
    const RECVFROM: i64 = 45;
    const FUTEX: i64 = 202;

    /// The meaning of one look at a thread.
    fn looked(class: WorkerClass, stack: &[(&str, &str)], doing: Doing) -> Meaning {
        let header = ProfileHeader { rate_hz: 100, arch: "x86_64".into(), ..ProfileHeader::default() };
        let mut profile = Profile::new(header, false);
        let mut facts = samples::process(7);
        facts.worker_class = Some(class);
        profile.process(&facts, 0);
        let frame = |(function, file): &(&str, &str)| Frame {
            function: (*function).into(),
            file: (*file).into(),
            line: 1,
        };
        profile.frames = stack.iter().map(frame).collect();
        profile.stacks = vec![((0..stack.len() as u32).collect(), true)];
        profile.tick(10_000_000);
        let sample = ThreadSample {
            slices: 1,
            state: (doing != Doing::Running).then_some('S'),
            stack: (!stack.is_empty()).then_some(0),
            ..ThreadSample::of(7, 7, doing)
        };
        profile.thread(&sample, false, false);
        meanings(&profile)[0]
    }

    fn asleep_in(number: i64) -> Doing {
        Doing::Syscall(number, [0; 6])
    }

    const HUB: [(&str, &str); 1] = [("Hub.run", "/s/gevent/hub.py")];

    #[test]
    fn a_hub_in_its_poller_is_idle_and_a_greenlet_in_a_call_is_blocked() {
        assert_eq!(looked(WorkerClass::Gevent, &HUB, asleep_in(EPOLL_WAIT)).state, State::Idle);
        let view = [("query", "/srv/db.py"), ("view", "/srv/app.py")];
        assert_eq!(looked(WorkerClass::Gevent, &view, asleep_in(RECVFROM)).state, State::Blocked);
        assert_eq!(looked(WorkerClass::Gevent, &view, asleep_in(EPOLL_WAIT)).state, State::Blocked);
        assert_eq!(
            looked(WorkerClass::Gevent, &view, Doing::Running),
            Meaning { state: State::Running, own: 2 }
        );
    }

    #[test]
    fn a_free_pool_thread_is_idle_and_a_busy_one_is_not() {
        let root = ("_worker", "/usr/lib/python3.11/concurrent/futures/thread.py");
        assert_eq!(looked(WorkerClass::Gthread, &[root], asleep_in(FUTEX)).state, State::Idle);
        let gevents = [
            ("acquire_with_timeout", "/s/gevent/_threading.py"),
            ("_Condition.wait", "/s/gevent/_threading.py"),
            ("Queue.get", "/s/gevent/_threading.py"),
            ("_WorkerGreenlet.run", "/s/gevent/threadpool.py"),
        ];
        assert_eq!(looked(WorkerClass::Gevent, &gevents, asleep_in(FUTEX)).state, State::Idle);
        let busy = [("view", "/srv/app.py"), root];
        assert_eq!(looked(WorkerClass::Gthread, &busy, asleep_in(FUTEX)).state, State::Blocked);
    }

    #[test]
    fn a_loop_that_polls_through_functions_of_its_own_is_idle() {
        let gthread = "/s/site-packages/gunicorn/workers/gthread.py";
        let poll = ("EpollSelector.select", "/usr/lib/python3.13/selectors.py");
        let own =
            [poll, ("ThreadWorker.wait_for_and_dispatch_events", gthread), ("ThreadWorker.run", gthread)];
        assert_eq!(looked(WorkerClass::Gthread, &own, asleep_in(EPOLL_WAIT)).state, State::Idle);
        assert_eq!(looked(WorkerClass::Gthread, &own, asleep_in(RECVFROM)).state, State::Blocked);
        let call = [poll, ("wait", "/s/site-packages/driver.py"), ("ThreadWorker.run", gthread)];
        assert_eq!(looked(WorkerClass::Gthread, &call, asleep_in(EPOLL_WAIT)).state, State::Blocked);
    }

    #[test]
    fn a_thread_of_a_library_waits_for_work() {
        assert_eq!(looked(WorkerClass::Gevent, &[], asleep_in(FUTEX)).state, State::Idle);
        assert_eq!(looked(WorkerClass::Gevent, &[], asleep_in(RECVFROM)).state, State::Blocked);
    }

    #[test]
    fn a_running_task_has_its_own_frames_and_not_the_loops() {
        let stack = [
            ("work", "/srv/app.py"),
            ("handler", "/srv/app.py"),
            ("Handle._run", "/usr/lib/python3.11/asyncio/events.py"),
            ("BaseEventLoop._run_once", "/usr/lib/python3.11/asyncio/base_events.py"),
            ("BaseEventLoop.run_forever", "/usr/lib/python3.11/asyncio/base_events.py"),
        ];
        assert_eq!(looked(WorkerClass::Uvicorn, &stack, Doing::Running).own, 2);
        // The loop's own turning is nobody else's.
        assert_eq!(looked(WorkerClass::Uvicorn, &stack[3..], Doing::Running).own, 2);
        assert_eq!(looked(WorkerClass::Sync, &stack, Doing::Running).own, 5);
    }

    #[test]
    fn what_is_parked_for_a_request_is_neither_idle_nor_blocked() {
        let mut profile = Profile::new(ProfileHeader { rate_hz: 100, ..ProfileHeader::default() }, false);
        profile.process(&samples::process(7), 0);
        let frame =
            |function: &str, file: &str| Frame { function: function.into(), file: file.into(), line: 3 };
        profile.frames = vec![frame("wait", "/srv/a.py"), frame("run", "/s/gunicorn/workers/ggevent.py")];
        profile.stacks = vec![(vec![0], true), (vec![0, 1], true)];
        let group =
            |stack| ParkedGroup { who: Who::Greenlets, ready: false, stack: Stack::Kept(stack), count: 2 };
        profile.parked(7, 1_000, Some(&[group(0), group(1)]));
        // What a server keeps for itself waits for work.
        let [waits, stands] =
            [(State::Parked, 1), (State::Idle, 2)].map(|(state, own)| Meaning { state, own });
        assert_eq!(meanings(&profile), [waits, stands]);
    }
}
