//! A capture sorted by process: the same observations, found by whose they are and when they were made.
//!
//! Takes a [`Capture`], gives one [`ProcessView`] per process. It decides nothing.

use foldhash::HashMap;
use std::collections::{BTreeMap, BTreeSet};

use super::ending::Ending;
use crate::capture::burst::Burst;
use crate::capture::model::{
    BelowSeen, Capture, CgroupSample, Descriptor, EpollEntry, Frame, HostSample, ProcessFacts, Record, Role,
    SelfCost, ServerFacts, ServerKind, Socket, SocketFamily, SocketState, TasksSeen, ThreadCounters,
    ThreadSample,
};

/// A half-open span of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First instant.
    pub start_ns: u64,
    /// First instant behind it.
    pub end_ns: u64,
}

impl Span {
    /// Its length.
    #[must_use]
    pub const fn len_ns(self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Whether an instant lies in it. The end counts as inside, as the last counters are read there.
    #[must_use]
    pub const fn holds(self, at_ns: u64) -> bool {
        at_ns >= self.start_ns && at_ns <= self.end_ns
    }

    /// Cuts it into equal parts.
    #[must_use]
    pub fn split(self, parts: u32) -> Vec<Self> {
        let step = self.len_ns() / u64::from(parts.max(1));
        (0..u64::from(parts))
            .map(|i| Self {
                start_ns: self.start_ns + i * step,
                end_ns: if i + 1 == u64::from(parts) { self.end_ns } else { self.start_ns + (i + 1) * step },
            })
            .collect()
    }
}

/// Something at an instant.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// The instant.
    pub at_ns: u64,
    /// What was seen.
    pub value: T,
}

/// One reading of the heartbeat file.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// Age of the last beat at the reading.
    pub age_ns: u64,
    /// Changes with every beat.
    pub stamp_ns: u64,
}

/// One answer of `poll` about a descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// `POLL*` bits.
    pub revents: i16,
    /// Bytes waiting.
    pub queued_bytes: Option<u64>,
}

/// Everything seen of one process.
#[derive(Debug)]
pub struct ProcessView<'a> {
    /// As first seen.
    pub facts: &'a ProcessFacts,
    /// When it was seen to be gone.
    pub gone_at_ns: Option<u64>,
    /// How it ended, if that is known.
    pub ended: Option<Ending>,
    /// Samples by thread, in order of time.
    pub samples: BTreeMap<i32, Vec<At<&'a ThreadSample>>>,
    /// Exact counters of all threads, in order of time.
    pub counters: Vec<At<&'a [ThreadCounters]>>,
    /// Descriptor listings, in order of time.
    pub descriptors: Vec<At<&'a [Descriptor]>>,
    /// What each epoll descriptor watches, as last read.
    pub epoll: BTreeMap<i32, &'a [EpollEntry]>,
    /// What `poll` said of descriptors.
    pub ready: BTreeMap<i32, Vec<At<Ready>>>,
    /// Heartbeats.
    pub beats: Vec<At<Beat>>,
    /// Age of the loop's last turn by its own clock.
    pub loop_clock: Vec<At<u64>>,
    /// Bandwidth control of the groups it is in, outermost or innermost in any order.
    pub cgroups: Vec<&'a CgroupSample>,
    /// Descriptor number to inode, as last seen.
    pub inode_of: HashMap<i32, u64>,
    /// Its greenlets and tasks, where they were counted.
    pub tasks: Option<&'a TasksSeen>,
    /// What its loop's thread does below Python, where that was looked at.
    pub below: Option<&'a BelowSeen>,
    /// The burst of stops at it, if there was one.
    pub burst: Option<&'a Burst>,
}

/// A capture sorted by process.
#[derive(Debug)]
pub struct View<'a> {
    /// The capture.
    pub capture: &'a Capture,
    /// The window that was really observed.
    pub window: Span,
    /// The processes by pid.
    pub processes: BTreeMap<i32, ProcessView<'a>>,
    /// Socket readings in order of time.
    pub sockets: Vec<At<&'a [Socket]>>,
    /// Every socket that was seen, as last seen, by inode.
    pub socket_of: HashMap<u64, &'a Socket>,
    /// Inodes of the server's listeners.
    pub listeners: BTreeSet<u64>,
    /// Ports that the server listens on.
    pub ports: BTreeSet<u16>,
    /// Unix paths that the server listens on.
    pub paths: BTreeSet<&'a str>,
    /// Readings of the machine.
    pub host: Vec<&'a HostSample>,
    /// The tool's own cost, unless the capture was cut short.
    pub end: Option<&'a SelfCost>,
    frames: Vec<&'a Frame>,
    stacks: Vec<(&'a [u32], bool)>,
    names: Vec<&'a str>,
}

impl<'a> View<'a> {
    /// Sorts a capture.
    #[must_use]
    pub fn new(capture: &'a Capture) -> Self {
        let mut view = Self {
            capture,
            window: Span { start_ns: 0, end_ns: 0 },
            processes: BTreeMap::new(),
            sockets: Vec::new(),
            socket_of: HashMap::default(),
            listeners: BTreeSet::new(),
            ports: BTreeSet::new(),
            paths: BTreeSet::new(),
            host: Vec::new(),
            end: None,
            frames: Vec::new(),
            stacks: Vec::new(),
            names: Vec::new(),
        };
        let mut last_ns = 0;
        for record in &capture.records {
            last_ns = last_ns.max(view.add(record));
        }
        view.window.end_ns = last_ns;
        for process in view.processes.values_mut() {
            if let Some(fds) = process.descriptors.last() {
                process.inode_of = fds.value.iter().filter_map(|d| Some((d.fd, d.inode?))).collect();
            }
        }
        view.find_listeners();
        view
    }

    fn process(&mut self, pid: i32) -> Option<&mut ProcessView<'a>> {
        self.processes.get_mut(&pid)
    }

    /// Files what is about one process; gives its time.
    fn file(&mut self, pid: i32, at_ns: u64, into: impl FnOnce(&mut ProcessView<'a>)) -> u64 {
        if let Some(process) = self.process(pid) {
            into(process);
        }
        at_ns
    }

    /// Files one record; returns its time.
    fn add(&mut self, record: &'a Record) -> u64 {
        match record {
            Record::Process(facts) => {
                // A second record of the same process tells what was not known at first.
                let known = self.process(facts.pid);
                match known.filter(|p| p.facts.start_time_ticks == facts.start_time_ticks) {
                    Some(process) => process.facts = facts,
                    None => drop(self.processes.insert(facts.pid, ProcessView::new(facts))),
                }
                facts.at_ns
            }
            Record::Gone { at_ns, pid, status } => self.file(*pid, *at_ns, |process| {
                process.gone_at_ns = Some(*at_ns);
                process.ended = status.map(Ending::of);
            }),
            Record::Name { text, .. } => {
                self.names.push(text);
                0
            }
            Record::Frame { frame, .. } => {
                self.frames.push(frame);
                0
            }
            Record::Stack { frames, complete, .. } => {
                self.stacks.push((frames, *complete));
                0
            }
            Record::Tick(tick) => {
                for sample in &tick.samples {
                    if let Some(process) = self.process(sample.pid) {
                        let at = At { at_ns: tick.at_ns, value: sample };
                        process.samples.entry(sample.tid).or_default().push(at);
                    }
                }
                tick.at_ns
            }
            Record::Threads { at_ns, pid, threads } => self.file(*pid, *at_ns, |process| {
                process.counters.push(At { at_ns: *at_ns, value: threads });
            }),
            Record::Descriptors { at_ns, pid, fds } => self.file(*pid, *at_ns, |process| {
                process.descriptors.push(At { at_ns: *at_ns, value: fds });
            }),
            Record::EpollSet { at_ns, pid, epfd, entries } => self.file(*pid, *at_ns, |process| {
                process.epoll.insert(*epfd, entries);
            }),
            Record::Sockets { at_ns, sockets } => {
                self.socket_of.extend(sockets.iter().filter(|s| s.inode != 0).map(|s| (s.inode, s)));
                self.sockets.push(At { at_ns: *at_ns, value: sockets });
                *at_ns
            }
            Record::Readiness { at_ns, pid, fd, revents, queued_bytes } => {
                self.file(*pid, *at_ns, |process| {
                    let value = Ready { revents: *revents, queued_bytes: *queued_bytes };
                    process.ready.entry(*fd).or_default().push(At { at_ns: *at_ns, value });
                })
            }
            Record::LoopClock { at_ns, pid, age_ns } => self.file(*pid, *at_ns, |process| {
                process.loop_clock.push(At { at_ns: *at_ns, value: *age_ns });
            }),
            Record::Heartbeat { at_ns, pid, now_realtime_ns, ctime_ns, .. } => {
                self.file(*pid, *at_ns, |process| {
                    let age_ns = now_realtime_ns.saturating_sub(*ctime_ns);
                    process.beats.push(At { at_ns: *at_ns, value: Beat { age_ns, stamp_ns: *ctime_ns } });
                })
            }
            Record::Cgroup(sample) => {
                for pid in &sample.pids {
                    if let Some(process) = self.process(*pid) {
                        process.cgroups.push(sample);
                    }
                }
                sample.at_ns
            }
            Record::Host(sample) => {
                self.host.push(sample);
                sample.at_ns
            }
            Record::Below(below) => {
                // It is waited for after the window: that does not make the window longer.
                self.file(below.pid, 0, |process| process.below = Some(below))
            }
            Record::Tasks(tasks) => self.file(tasks.pid, tasks.at_ns, |process| process.tasks = Some(tasks)),
            Record::Burst { burst, .. } => {
                // It comes when the window is over.
                self.file(burst.pid, 0, |process| process.burst = Some(burst))
            }
            Record::Blind(_) => 0,
            Record::End(cost) => {
                self.end = Some(cost);
                cost.at_ns
            }
        }
    }

    /// The server's own listeners: those that its head and its workers share. An application may listen for other
    /// purposes, and so may the head; where nothing is shared (one process, or a socket per worker) all count.
    fn find_listeners(&mut self) {
        let held = |role: fn(Role) -> bool| -> BTreeSet<u64> {
            let members = self.processes.values().filter(|p| role(p.facts.role));
            members.flat_map(|p| p.inode_of.values()).copied().collect()
        };
        let shared: BTreeSet<u64> =
            held(|r| r == Role::Arbiter).intersection(&held(|r| r != Role::Arbiter)).copied().collect();
        let listeners: Vec<&'a Socket> =
            self.sockets.iter().flat_map(|at| at.value).filter(|s| s.state == SocketState::Listen).collect();
        let any_shared = listeners.iter().any(|s| shared.contains(&s.inode));
        for socket in listeners.into_iter().filter(|s| !any_shared || shared.contains(&s.inode)) {
            self.listeners.insert(socket.inode);
            match socket.family {
                SocketFamily::Tcp => drop(self.ports.insert(socket.local_port)),
                SocketFamily::Unix => drop(self.paths.insert(&socket.local)),
                SocketFamily::Udp => {}
            }
        }
    }

    /// A stack, innermost frame first.
    #[must_use]
    pub fn stack(&self, id: u32) -> Vec<&'a Frame> {
        let Some((frames, _)) = self.stacks.get(id as usize) else { return Vec::new() };
        frames.iter().filter_map(|f| self.frames.get(*f as usize).copied()).collect()
    }

    /// How many distinct stacks there are.
    #[must_use]
    pub const fn stacks_len(&self) -> usize {
        self.stacks.len()
    }

    /// A name by its number.
    #[must_use]
    pub fn name(&self, id: u32) -> &'a str {
        self.names.get(id as usize).copied().unwrap_or_default()
    }

    /// Whether a socket was accepted by the server, that is: its other end is a client.
    #[must_use]
    pub fn is_client(&self, socket: &Socket) -> bool {
        socket.state != SocketState::Listen
            && match socket.family {
                SocketFamily::Tcp => self.ports.contains(&socket.local_port),
                SocketFamily::Unix => !socket.local.is_empty() && self.paths.contains(socket.local.as_str()),
                SocketFamily::Udp => false,
            }
    }
}

impl<'a> ProcessView<'a> {
    fn new(facts: &'a ProcessFacts) -> Self {
        Self {
            facts,
            gone_at_ns: None,
            ended: None,
            samples: BTreeMap::new(),
            counters: Vec::new(),
            descriptors: Vec::new(),
            epoll: BTreeMap::new(),
            ready: BTreeMap::new(),
            beats: Vec::new(),
            loop_clock: Vec::new(),
            cgroups: Vec::new(),
            inode_of: HashMap::default(),
            tasks: None,
            below: None,
            burst: None,
        }
    }

    /// Whether it is gone as a worker of gunicorn goes that has done its work: by itself and without an error, or, where
    /// nobody knows how, under a server that replaces its workers after so many requests. One that never got as far as
    /// its class has not done its work.
    #[must_use]
    pub fn retired(&self, server: &ServerFacts) -> bool {
        let orderly = self.ended.map_or(server.max_requests.is_some(), |ended| ended == Ending::Code(0));
        let worked = self.facts.role == Role::Worker && self.facts.worker_class.is_some();
        server.kind == ServerKind::Gunicorn && self.gone_at_ns.is_some() && worked && orderly
    }

    /// The samples of a thread inside a span.
    pub fn samples_in(&self, tid: i32, span: Span) -> impl Iterator<Item = &At<&'a ThreadSample>> {
        self.samples.get(&tid).into_iter().flatten().filter(move |s| span.holds(s.at_ns))
    }

    /// What the link of a descriptor says, as last seen.
    #[must_use]
    pub fn link(&self, fd: i32) -> Option<&'a str> {
        self.descriptors
            .iter()
            .rev()
            .find_map(|at| at.value.iter().find(|d| d.fd == fd))
            .map(|d| d.link.as_str())
    }

    /// The inode of a descriptor as it was at an instant, so that a number that was reused is not confused.
    #[must_use]
    pub fn inode_at(&self, fd: i32, at_ns: u64) -> Option<u64> {
        let before = self.descriptors.iter().rev().find(|d| d.at_ns <= at_ns).or(self.descriptors.first())?;
        before
            .value
            .iter()
            .find(|d| d.fd == fd)
            .and_then(|d| d.inode)
            .or_else(|| self.inode_of.get(&fd).copied())
    }
}
