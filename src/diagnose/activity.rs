//! What one sample of a thread means: on a processor, asleep in its own poller, waiting for whom.
//!
//! Takes a sample with what is known of its process, gives an [`Activity`]. One rule throughout: a sleep belongs to
//! the loop only if the loop itself called it, whatever the system call.

use foldhash::{HashMap, HashSet};

use super::known;
use super::sockets;
use super::stack::{Place, Stack};
use super::view::{At, ProcessView, View};
use crate::capture::model::{Doing, LoopKind, Socket, SocketFamily, SocketState, ThreadSample, WorkerClass};
use crate::capture::syscalls::{Wait, describe};

/// What a thread was doing at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// On a processor or in a run queue.
    Runnable,
    /// Asleep in the loop's own poller, or in the accept call of a free worker.
    OwnPoller,
    /// A pool thread without work.
    FreeSlot,
    /// Asleep on a client's socket.
    Client,
    /// Asleep on a backend's socket.
    Upstream,
    /// Asleep on a name server's answer.
    Dns,
    /// Asleep waiting for the interpreter lock.
    Gil,
    /// Asleep on an application lock.
    Lock,
    /// Waiting for storage.
    Disk,
    /// Asleep until a time.
    Sleep,
    /// Waiting for another process to end or to write.
    Subprocess,
    /// Waiting for a lock on a file.
    FileLock,
    /// Waiting, by short sleeps, for a database file that somebody else has locked.
    DatabaseFile,
    /// Writing to a pipe nobody empties.
    LogPipe,
    /// Stopped by a signal or a tracer.
    Stopped,
    /// Asleep, and it cannot be told in what.
    Unknown,
}

impl Activity {
    /// The name under which a verdict mentions it.
    #[must_use]
    pub const fn subcause(self) -> Option<&'static str> {
        Some(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Dns => "dns",
            Self::Lock => "lock",
            Self::Disk => "disk",
            Self::Sleep => "sleep",
            Self::Subprocess => "subprocess",
            Self::FileLock => "file_lock",
            Self::DatabaseFile => "database_file",
            Self::LogPipe => "log_pipe",
            Self::Gil => "gil",
            _ => return None,
        })
    }

    /// In words, behind "asleep".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Runnable => "running",
            Self::OwnPoller => "in its own poller",
            Self::FreeSlot => "waiting for work",
            Self::Client => "on a client's socket",
            Self::Upstream => "on a backend's socket",
            Self::Dns => "on a name server's answer",
            Self::Gil => "waiting for the interpreter lock",
            Self::Lock => "on an application lock",
            Self::Disk => "waiting for storage",
            Self::Sleep => "in a timed sleep",
            Self::Subprocess => "waiting for another process",
            Self::FileLock => "waiting for a file lock",
            Self::DatabaseFile => "waiting for a locked database file",
            Self::LogPipe => "writing to a full pipe",
            Self::Stopped => "stopped",
            Self::Unknown => "in a place that could not be told",
        }
    }
}

/// What a thread was doing, and on which descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What it was doing.
    pub activity: Activity,
    /// The descriptor it slept on.
    pub fd: Option<i32>,
}

/// What a descriptor is, as far as waiting on it is concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Other<'a> {
    /// A listener of the server.
    Listener,
    /// An accepted connection.
    Client(&'a Socket),
    /// A connection that the server made.
    Backend(&'a Socket),
    /// A pipe.
    Pipe,
    /// An epoll set.
    Epoll,
    /// A file, device or anything else with a name.
    File,
    /// Not known.
    Unknown,
}

/// What a descriptor of a process is.
#[must_use]
pub fn other_end<'a>(view: &View<'a>, process: &ProcessView<'a>, fd: i32, at_ns: u64) -> Other<'a> {
    let link = process.link(fd).unwrap_or_default();
    if let Some(socket) = process.inode_at(fd, at_ns).and_then(|inode| view.socket_of.get(&inode)).copied() {
        return match socket.state {
            SocketState::Listen => Other::Listener,
            _ if view.is_client(socket) => Other::Client(socket),
            _ => Other::Backend(socket),
        };
    }
    match link {
        l if l.starts_with("pipe:") => Other::Pipe,
        l if l.contains("[eventpoll]") => Other::Epoll,
        l if l.starts_with('/') => Other::File,
        _ => Other::Unknown,
    }
}

/// Reads samples of one process.
#[derive(Debug)]
pub struct Reader<'v, 'a> {
    view: &'v View<'a>,
    process: &'v ProcessView<'a>,
    stacks: &'v HashMap<u32, Stack<'a>>,
    database_open: bool,
    /// A backend that was asked and is silent, by its descriptor; where memory is read it is known what is polled.
    asked: Option<i32>,
    /// What the threads of a pool are at, where no stack tells.
    pool: Option<UnreadPool>,
}

/// A pool of threads whose stacks are not read.
#[derive(Debug)]
struct UnreadPool {
    /// Whether at least as many requests are in flight all the time as it has threads: then none of them is free.
    taken: bool,
    /// Threads that are put on a processor at every other sample at least.
    restless: HashSet<i32>,
}

impl UnreadPool {
    fn of(view: &View<'_>, process: &ProcessView<'_>) -> Self {
        let threads = process.samples.keys().filter(|tid| **tid != process.facts.loop_tid);
        let stuck = sockets::traffic(view, process, view.window).stuck;
        let restless = |tid: &&i32| {
            let seen = process.samples.get(*tid).map_or(&[][..], Vec::as_slice);
            let slices = |at: Option<&At<&ThreadSample>>| at.map_or(0, |at| at.value.slices);
            slices(seen.last()).saturating_sub(slices(seen.first())) * 2 >= seen.len() as u64
        };
        Self {
            taken: stuck > 0 && stuck >= threads.clone().count() as u64,
            restless: threads.filter(restless).copied().collect(),
        }
    }
}

impl<'v, 'a> Reader<'v, 'a> {
    /// A reader for a process; `stacks` are the stacks of the capture, looked at.
    #[must_use]
    pub fn new(
        view: &'v View<'a>,
        process: &'v ProcessView<'a>,
        stacks: &'v HashMap<u32, Stack<'a>>,
    ) -> Self {
        let is_database = |link: &str| known::DATABASE_FILES.iter().any(|end| link.ends_with(end));
        let database_open = process
            .descriptors
            .iter()
            .flat_map(|at| at.value)
            .any(|d| d.link.starts_with('/') && is_database(&d.link));
        let asked = if process.facts.python.is_some() { None } else { sockets::asked(view, process) };
        let pooled =
            process.facts.python.is_none() && process.facts.worker_class == Some(WorkerClass::Gthread);
        let pool = pooled.then(|| UnreadPool::of(view, process));
        Self { view, process, stacks, database_open, asked, pool }
    }

    /// The stack of a sample.
    #[must_use]
    pub fn stack(&self, sample: &ThreadSample) -> Option<&'v Stack<'a>> {
        self.stacks.get(&sample.stack?).filter(|s| !s.frames.is_empty())
    }

    /// What a sample means.
    #[must_use]
    pub fn meaning(&self, sample: &ThreadSample, at_ns: u64) -> Meaning {
        let just = |activity| Meaning { activity, fd: None };
        if matches!(sample.state, Some('T' | 't')) {
            return just(Activity::Stopped);
        }
        let disk = sample.state == Some('D');
        match sample.doing {
            Doing::Running => just(Activity::Runnable),
            Doing::Elsewhere if disk => just(Activity::Disk),
            Doing::Elsewhere | Doing::Unreadable => self.by_wchan(sample),
            Doing::Syscall(number, args) => {
                let wait = describe(&self.view.capture.header.host.arch, number).map(|i| i.wait);
                // A parent in vfork sleeps uninterruptibly too; that is no storage.
                let vfork = sample.wchan.is_some_and(|id| self.view.name(id).contains("vfork"));
                match wait {
                    _ if disk && !vfork => just(Activity::Disk),
                    Some(wait) => self.in_call(sample, wait, &args, at_ns),
                    None if vfork => just(Activity::Subprocess),
                    None => self.otherwise(sample),
                }
            }
        }
    }

    /// Without the system call, only the kernel function tells; it knows no descriptor.
    fn by_wchan(&self, sample: &ThreadSample) -> Meaning {
        let place = self.stack(sample).map(|s| s.place);
        let wchan = sample.wchan.map(|id| self.view.name(id)).unwrap_or_default();
        let polls = wchan.contains("epoll") || wchan.contains("poll_schedule") || wchan.contains("select");
        let activity = match place {
            Some(Place::FreeSlot) => Activity::FreeSlot,
            Some(Place::Loop | Place::Arbiter) if polls => Activity::OwnPoller,
            _ if wchan.contains("nanosleep") => Activity::Sleep,
            _ if wchan.contains("do_wait") && !wchan.contains("futex") => Activity::Subprocess,
            _ if wchan.contains("locks_lock") || wchan.contains("fcntl_setlk") => Activity::FileLock,
            None if wchan.contains("ep_poll") || wchan.contains("do_epoll_wait") => Activity::OwnPoller,
            _ => Activity::Unknown,
        };
        Meaning { activity, fd: None }
    }

    /// A call that says nothing about whom it waits for: the stack and the kernel function may.
    fn otherwise(&self, sample: &ThreadSample) -> Meaning {
        match self.stack(sample).map(|s| s.place) {
            Some(Place::FreeSlot) => Meaning { activity: Activity::FreeSlot, fd: None },
            Some(Place::Loop | Place::Arbiter) => Meaning { activity: Activity::OwnPoller, fd: None },
            _ => self.by_wchan(sample),
        }
    }

    fn in_call(&self, sample: &ThreadSample, wait: Wait, args: &[u64; 6], at_ns: u64) -> Meaning {
        let stack = self.stack(sample);
        let place = stack.map(|s| s.place);
        let fd = args.first().map_or(-1, |a| *a as i32);
        let on = |activity| Meaning { activity, fd: Some(fd) };
        let just = |activity| Meaning { activity, fd: None };
        let free = match place {
            Some(Place::FreeSlot) => Some(Activity::FreeSlot),
            Some(Place::Loop | Place::Arbiter) => Some(Activity::OwnPoller),
            _ => None,
        };
        match wait {
            Wait::Futex if self.in_runtime(args[0]) => just(Activity::Gil),
            Wait::Futex => just(self.unread_slot(sample, args).or(free).unwrap_or(Activity::Lock)),
            Wait::Epoll => match place {
                Some(Place::Callback | Place::BusySlot | Place::Boot) if !self.python_cannot_tell() => {
                    self.foreign_poller(stack, fd, at_ns)
                }
                _ => on(free.unwrap_or(Activity::OwnPoller)),
            },
            Wait::Poll | Wait::Select => match free {
                Some(activity) => just(activity),
                None if wait == Wait::Select && args[0] == 0 => just(Activity::Sleep),
                None if wait == Wait::Poll && args[1] == 0 => just(Activity::Sleep),
                None if sample.fds.is_empty() && self.python_cannot_tell() => self.polled_unseen(at_ns),
                None => self.polled(stack, &sample.fds, at_ns),
            },
            Wait::Sleep => just(free.unwrap_or_else(|| self.sleep_kind(stack, args))),
            Wait::Child => just(Activity::Subprocess),
            Wait::FileLock => on(Activity::FileLock),
            Wait::Sync => on(Activity::Disk),
            Wait::Accept => on(Activity::OwnPoller),
            Wait::Recv | Wait::Read | Wait::Send | Wait::Write | Wait::Connect => {
                let reading = matches!(wait, Wait::Recv | Wait::Read);
                match self.on_descriptor(stack, fd, reading, at_ns) {
                    // The call was read first, and the state when the storage had answered.
                    Meaning { activity: Activity::Unknown, .. }
                        if sample.state == Some('R') && self.is_file(fd) =>
                    {
                        on(Activity::Disk)
                    }
                    meaning => meaning,
                }
            }
            Wait::FileName | Wait::Signal | Wait::AsyncIo | Wait::Ipc | Wait::Yield | Wait::Restart => {
                self.otherwise(sample)
            }
        }
    }

    /// A loop whose callbacks leave no Python frames (none is known here) would be misread; the loop's class tells.
    const fn python_cannot_tell(&self) -> bool {
        self.process.facts.python.is_none()
    }

    /// Whether a descriptor is a file with a name, and no device.
    fn is_file(&self, fd: i32) -> bool {
        self.process.link(fd).is_some_and(|link| link.starts_with('/') && !link.starts_with("/dev/"))
    }

    fn in_runtime(&self, address: u64) -> bool {
        self.process
            .facts
            .python
            .as_ref()
            .is_some_and(|p| (p.runtime_start..p.runtime_end).contains(&address))
    }

    /// What is polled is listed in memory. Where that is not read, a backend that was asked and is silent is the one; a loop
    /// that asks `epoll` polls nothing else for itself, and one that does not waits for its listener.
    fn polled_unseen(&self, at_ns: u64) -> Meaning {
        let loop_polls =
            !matches!(self.process.facts.loop_kind, LoopKind::Libev | LoopKind::Libuv | LoopKind::Asyncio);
        match self.asked {
            Some(fd) => self.on_descriptor(None, fd, true, at_ns),
            None if loop_polls => Meaning { activity: Activity::OwnPoller, fd: None },
            None => Meaning { activity: Activity::Unknown, fd: None },
        }
    }

    /// What a thread of a pool whose stack is not read is asleep on. One that waits for work does so without a deadline; for
    /// the interpreter lock threads wait some milliseconds at a time, again and again.
    fn unread_slot(&self, sample: &ThreadSample, args: &[u64; 6]) -> Option<Activity> {
        let pool = self.pool.as_ref().filter(|_| sample.tid != self.process.facts.loop_tid)?;
        let timed = args[3] != 0;
        Some(match () {
            () if timed && pool.restless.contains(&sample.tid) => Activity::Gil,
            () if timed || pool.taken => Activity::Lock,
            () => Activity::FreeSlot,
        })
    }

    /// An epoll set that a request waits on instead of the loop.
    fn foreign_poller(&self, stack: Option<&Stack<'_>>, epfd: i32, at_ns: u64) -> Meaning {
        let fds: Vec<i32> =
            self.process.epoll.get(&epfd).map_or_else(Vec::new, |set| set.iter().map(|e| e.fd).collect());
        if fds.is_empty() {
            return Meaning { activity: Self::by_stack(stack).unwrap_or(Activity::Unknown), fd: Some(epfd) };
        }
        self.polled(stack, &fds, at_ns)
    }

    /// Several descriptors are waited for at once: the sleep is for the most telling of them.
    fn polled(&self, stack: Option<&Stack<'_>>, fds: &[i32], at_ns: u64) -> Meaning {
        let each = fds.iter().map(|fd| self.on_descriptor(stack, *fd, true, at_ns));
        let rank = |m: &Meaning| match m.activity {
            Activity::OwnPoller => 0,
            Activity::Upstream | Activity::Dns => 1,
            Activity::Client => 2,
            Activity::Unknown => 9,
            _ => 5,
        };
        each.min_by_key(rank).unwrap_or_else(|| Meaning {
            activity: Self::by_stack(stack).unwrap_or(Activity::Unknown),
            fd: None,
        })
    }

    fn on_descriptor(&self, stack: Option<&Stack<'_>>, fd: i32, reading: bool, at_ns: u64) -> Meaning {
        let activity = match other_end(self.view, self.process, fd, at_ns) {
            Other::Listener => Activity::OwnPoller,
            Other::Client(_) => Activity::Client,
            Other::Backend(socket) if socket.remote_port == 53 => Activity::Dns,
            Other::Backend(socket) if socket.family == SocketFamily::Udp && socket.remote.is_empty() => {
                Activity::Unknown
            }
            Other::Backend(_) => Activity::Upstream,
            Other::Pipe if !reading => Activity::LogPipe,
            // Without stacks nobody else is known to write into it.
            Other::Pipe if Self::by_stack(stack).is_some() || self.python_cannot_tell() => {
                Activity::Subprocess
            }
            Other::Pipe | Other::Epoll | Other::Unknown => Self::by_stack(stack).unwrap_or(Activity::Unknown),
            Other::File => Activity::Unknown,
        };
        Meaning { activity, fd: Some(fd) }
    }

    /// What the Python stack alone tells.
    fn by_stack(stack: Option<&Stack<'_>>) -> Option<Activity> {
        let stack = stack?;
        if stack.has(known::SUBPROCESS) {
            Some(Activity::Subprocess)
        } else if stack.innermost_in(known::RESOLVERS) {
            Some(Activity::Dns)
        } else {
            None
        }
    }

    /// `SQLite` waits for a locked file by short C-level sleeps: relative and on the real-time clock, which is how the C
    /// library's `usleep` calls the kernel, while Python's own sleep is absolute and monotonic (3.11 and later) or a
    /// `select` on nothing (before).
    fn sleep_kind(&self, stack: Option<&Stack<'_>>, args: &[u64; 6]) -> Activity {
        let c_library = args[0] == 0 && args[1] == 0;
        let at_database = stack.is_some_and(|s| s.innermost_in(known::DATABASE_CALLS)) || self.database_open;
        let waits_for_child = stack.is_some_and(|s| s.has(known::SUBPROCESS));
        match () {
            () if c_library && at_database => Activity::DatabaseFile,
            () if waits_for_child => Activity::Subprocess,
            () => Activity::Sleep,
        }
    }
}
