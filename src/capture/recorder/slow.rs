//! The slow round: what changes by the quarter of a second and not by the hundredth.
//!
//! Descriptors, epoll sets, sockets, heartbeats, control groups, the machine. A listing that has not changed is not
//! written again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::sockets::SocketWatch;
use super::sources::{Source, Sources};
use super::watched::Watched;
use crate::capture::model::{
    BlindSpot, Descriptor, EpollEntry, Record, Role, Socket, SocketFamily, SocketState,
};
use crate::observe::cgroup::CpuGroup;
use crate::observe::clock::realtime_ns;
use crate::observe::descriptors::{self, FdInfo};
use crate::observe::heartbeat::{self, HeartbeatFile};
use crate::observe::host::HostFiles;
use crate::observe::kernel_file::{ProcDir, Unseen};
use crate::observe::readiness::{NotAsked, Readiness};

/// Descriptors of a process from which listing it takes long enough to do it less often.
const MANY_DESCRIPTORS: usize = 1_000;
/// Processes whose descriptors are listed in one round, and the most rounds that one waits for its turn.
const LISTED_PER_ROUND: u64 = 5;
const MOST_ROUNDS_PER_LIST: u64 = 4;
/// So many times longer waits a process whose list is long.
const ROUNDS_PER_LONG_LIST: u64 = 4;
/// Most watched descriptors of a process that `poll` is asked about.
const MAX_ASKED: usize = 64;

/// Something that is looked for once.
#[derive(Default)]
enum Looked<T> {
    #[default]
    NotYet,
    Absent,
    Found(T),
}

impl<T> Looked<T> {
    const fn found(&self) -> Option<&T> {
        if let Self::Found(it) = self { Some(it) } else { None }
    }
}

/// What is kept of a process between rounds.
#[derive(Default)]
struct Kept {
    fds: Vec<Descriptor>,
    epoll: BTreeMap<i32, Vec<EpollEntry>>,
    beat: Option<(Arc<ProcDir>, HeartbeatFile)>,
    readiness: Option<Readiness>,
    cgroup: Looked<CpuGroup>,
    ever_ready: HashSet<i32>,
    /// Slices of the process at the last listing.
    listed_at: Option<u64>,
    denied: bool,
}

/// The sources of the slow round.
pub struct Slow {
    kept: HashMap<i32, Kept>,
    sockets: SocketWatch,
    host: Option<HostFiles>,
    round: u64,
    blind: Vec<BlindSpot>,
    refused: Vec<i32>,
}

impl Slow {
    /// Opens the sources for a server whose head is `head`.
    #[must_use]
    pub fn open(head: &ProcDir) -> Self {
        let mut blind = Vec::new();
        let sockets = SocketWatch::open(head, &mut blind);
        Self {
            kept: HashMap::new(),
            sockets,
            host: HostFiles::open().ok(),
            round: 0,
            blind,
            refused: Vec::new(),
        }
    }

    /// The processes whose descriptors were refused since this was last asked.
    pub fn take_refused(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.refused)
    }

    /// Whom a process listens for, as last seen.
    #[must_use]
    pub fn listeners(&self, sockets: &[Socket], pid: i32) -> Vec<String> {
        let owned: HashSet<u64> =
            self.kept.get(&pid).into_iter().flat_map(|k| &k.fds).filter_map(|d| d.inode).collect();
        let mut listen: Vec<String> =
            sockets
                .iter()
                .filter(|s| s.state == SocketState::Listen && owned.contains(&s.inode))
                .map(|s| {
                    if s.family == SocketFamily::Unix { format!("unix:{}", s.local) } else { s.local.clone() }
                })
                .collect();
        listen.sort();
        listen.dedup();
        listen
    }

    /// One round over all processes.
    pub fn round(
        &mut self,
        at_ns: u64,
        processes: &BTreeMap<i32, Watched>,
        sources: &mut Sources,
        out: &mut Vec<Record>,
    ) {
        // The more processes, the less often each is listed; a new one at once.
        let every = (processes.len() as u64).div_ceil(LISTED_PER_ROUND).clamp(1, MOST_ROUNDS_PER_LIST);
        for (turn, (pid, process)) in (self.round..).zip(processes) {
            let wait = self.kept.get(pid).map_or(1, |kept| {
                if kept.fds.len() > MANY_DESCRIPTORS { every * ROUNDS_PER_LONG_LIST } else { every }
            });
            if turn.is_multiple_of(wait) {
                self.descriptors(at_ns, process, sources, out);
            }
        }
        self.find_heartbeats(processes);
        self.sockets(at_ns, processes, sources, out);
        let now = realtime_ns();
        for (pid, kept) in &self.kept {
            if let Some((holder, file)) = &kept.beat {
                let seen = file.read(holder, *pid, at_ns, now);
                sources.count(Source::Heartbeat, &seen);
                out.extend(seen.ok());
            }
        }
        self.cgroups(at_ns, processes, sources, out);
        if let Some(host) = &self.host
            && let Ok(sample) = host.sample(at_ns)
        {
            out.push(Record::Host(sample));
        }
        out.extend(self.blind.drain(..).map(Record::Blind));
        self.round += 1;
    }

    fn descriptors(&mut self, at_ns: u64, process: &Watched, sources: &mut Sources, out: &mut Vec<Record>) {
        let pid = process.facts.pid;
        let kept = self.kept.entry(pid).or_default();
        // Who has not run since has the same descriptors.
        let slices = process.slices();
        if slices.is_some() && slices == kept.listed_at {
            return;
        }
        let listing = descriptors::list(&process.dir);
        sources.count(Source::Descriptors, &listing);
        let fds = match listing {
            Ok(listing) => {
                kept.listed_at = slices;
                listing.fds
            }
            Err(Unseen::Denied) if !std::mem::replace(&mut kept.denied, true) => {
                self.refused.push(pid);
                return;
            }
            Err(_) => return,
        };
        for fd in fds.iter().filter(|d| d.link == "anon_inode:[eventpoll]") {
            let entries = match descriptors::info(&process.dir, fd.fd) {
                Ok(FdInfo::Epoll { entries, .. }) => entries,
                Ok(_) => Vec::new(),
                Err(_) => continue,
            };
            if kept.epoll.get(&fd.fd) != Some(&entries) {
                out.push(Record::EpollSet { at_ns, pid, epfd: fd.fd, entries: entries.clone() });
                kept.epoll.insert(fd.fd, entries);
            }
        }
        kept.epoll.retain(|epfd, _| fds.iter().any(|d| d.fd == *epfd));
        if kept.fds != fds {
            out.push(Record::Descriptors { at_ns, pid, fds: fds.clone() });
            kept.fds = fds;
        }
    }

    /// A worker's own heartbeat file is the one among its own that no older sibling holds.
    fn find_heartbeats(&mut self, processes: &BTreeMap<i32, Watched>) {
        let mut taken: HashSet<(u64, u64)> = HashSet::new();
        let mut workers: Vec<&Watched> =
            processes.values().filter(|p| p.facts.role == Role::Worker).collect();
        workers.sort_by_key(|p| (p.facts.start_time_ticks, p.facts.pid));
        for worker in workers {
            let Some(kept) = self.kept.get_mut(&worker.facts.pid) else { continue };
            if kept.beat.is_none() {
                let files =
                    heartbeat::find(&kept.fds).filter_map(|d| HeartbeatFile::open(&worker.dir, d.fd).ok());
                let own = files.filter(|f| !taken.contains(&f.identity())).last();
                kept.beat = own.map(|file| (Arc::clone(&worker.dir), file));
            }
            taken.extend(kept.beat.as_ref().map(|(_, file)| file.identity()));
        }
    }

    fn sockets(
        &mut self,
        at_ns: u64,
        processes: &BTreeMap<i32, Watched>,
        sources: &mut Sources,
        out: &mut Vec<Record>,
    ) {
        let Some(any) = processes.values().next() else { return };
        let is_socket = |d: &&Descriptor| d.link.starts_with("socket:");
        let inodes =
            self.kept.values().flat_map(|k| &k.fds).filter(is_socket).filter_map(|d| d.inode).collect();
        let seen = self.sockets.round(inodes, &any.dir, sources, &mut self.blind);
        out.extend(seen.map(|sockets| Record::Sockets { at_ns, sockets }));
    }

    /// Each group is read once, for all processes in it.
    fn cgroups(
        &mut self,
        at_ns: u64,
        processes: &BTreeMap<i32, Watched>,
        sources: &mut Sources,
        out: &mut Vec<Record>,
    ) {
        let mut pids_of: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for process in processes.values() {
            let pid = process.facts.pid;
            let kept = self.kept.entry(pid).or_default();
            if matches!(kept.cgroup, Looked::NotYet) {
                kept.cgroup = CpuGroup::open(&process.dir).map_or(Looked::Absent, Looked::Found);
            }
            if let Some(group) = kept.cgroup.found() {
                pids_of.entry(group.path().to_owned()).or_default().push(pid);
            }
        }
        for pids in pids_of.values() {
            let first = pids.first().and_then(|pid| self.kept.get(pid));
            let Some(group) = first.and_then(|k| k.cgroup.found()) else { continue };
            let seen = group.sample(at_ns, pids);
            sources.count(Source::Cgroup, &seen);
            out.extend(seen.unwrap_or_default().into_iter().map(Record::Cgroup));
        }
    }

    /// Asks `poll` about what a suspected spinner watches. Only descriptors that were ever ready are written.
    pub fn ask_readiness(
        &mut self,
        at_ns: u64,
        process: &Watched,
        sources: &mut Sources,
        out: &mut Vec<Record>,
    ) {
        let Some(kept) = self.kept.get_mut(&process.facts.pid) else { return };
        if kept.readiness.is_none() {
            kept.readiness = Readiness::open(Arc::clone(&process.dir)).ok();
        }
        let Some(readiness) = &kept.readiness else { return };
        let watched: Vec<&EpollEntry> = kept.epoll.values().flatten().take(MAX_ASKED).collect();
        for entry in watched {
            let Some(descriptor) = kept.fds.iter().find(|d| d.fd == entry.fd) else { continue };
            // A set that was inherited through a fork may mean another file by the same number.
            if entry.inode.zip(descriptor.inode).is_some_and(|(watched, now)| watched != now) {
                continue;
            }
            match readiness.ask(descriptor, entry.events) {
                Ok(ready) => {
                    sources.counted(Source::Poll, true);
                    if ready.revents != 0 {
                        kept.ever_ready.insert(entry.fd);
                    }
                    if kept.ever_ready.contains(&entry.fd) {
                        out.push(Record::Readiness {
                            at_ns,
                            pid: process.facts.pid,
                            fd: entry.fd,
                            revents: ready.revents,
                            queued_bytes: ready.queued_bytes,
                        });
                    }
                }
                Err(NotAsked::Unseen(Unseen::Denied)) => {
                    sources.counted(Source::Poll, false);
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Forgets a process.
    pub fn forget(&mut self, pid: i32) {
        self.kept.remove(&pid);
    }

    /// The control group of a process, as it sees it.
    #[must_use]
    pub fn cgroup(&self, pid: i32) -> Option<&str> {
        Some(self.kept.get(&pid)?.cgroup.found()?.path())
    }

    /// Whether a process has an epoll set.
    #[must_use]
    pub fn has_epoll(&self, pid: i32) -> bool {
        self.kept.get(&pid).is_some_and(|k| !k.epoll.is_empty())
    }
}
