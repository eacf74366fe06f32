//! One burst at one process with all that its decoding needs: names, descriptors, sockets, epoll sets, pipes.
//!
//! Connects observe like [`super::dump`] does. Everything around the burst is read without stopping anything, before
//! and after it.

use std::collections::{BTreeMap, HashSet};

use super::burst::{Burst, Engine};
use super::calls::{Disturbed, disturbed, name};
use super::model::{BlindSpot, Descriptor, Doing, EpollEntry, Role, Socket};
use crate::observe::descriptors::{self, FdInfo};
use crate::observe::kernel_file::ProcDir;
use crate::observe::parse;
use crate::observe::sock_diag::SockDiag;
use crate::observe::sockets::{SocketFiles, Table, Wanted};
use crate::observe::thread_files::list_threads;
use crate::target::{Member, Server};

/// Most bytes of a thread's name.
const NAME_BYTES: u64 = 64;

/// One burst and what it was about.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// What the process is for.
    pub role: Role,
    /// Machine architecture, by which numbers of calls are names.
    pub arch: String,
    /// The burst.
    pub burst: Burst,
    /// The kernel's names of its threads.
    pub names: BTreeMap<i32, String>,
    /// Its descriptors: those that were open before the burst, and those that were new behind it.
    pub descriptors: Vec<Descriptor>,
    /// What its epoll sets watch, by their descriptors.
    pub epoll: BTreeMap<i32, Vec<EpollEntry>>,
    /// Its sockets.
    pub sockets: Vec<Socket>,
    /// Who of the server holds a pipe, too: its inode, process, descriptor.
    pub pipes: Vec<(u64, i32, i32)>,
    /// What could not be seen.
    pub blind: Vec<BlindSpot>,
}

/// Looks at a process of a server: `burst` sees its calls, everything around them is read before and behind that.
pub fn take<E>(
    server: &Server,
    member: &Member,
    arch: &str,
    burst: impl FnOnce(&ProcDir) -> Result<Burst, E>,
) -> Result<Traced, E> {
    let dir = &member.dir;
    let pid = dir.pid();
    let mut blind = Vec::new();
    let mut descriptors = descriptors::list(dir).map(|listing| listing.fds).unwrap_or_default();
    let epoll = epoll_sets(dir, &descriptors);
    let sockets = sockets(dir, &descriptors);
    let seen = burst(dir)?;
    blind.extend(unseen_by(&seen));
    // What was opened meanwhile.
    let known: HashSet<i32> = descriptors.iter().map(|d| d.fd).collect();
    let after = descriptors::list(dir).map(|listing| listing.fds).unwrap_or_default();
    descriptors.extend(after.into_iter().filter(|d| !known.contains(&d.fd)));
    if descriptors.is_empty() {
        blind.push(BlindSpot {
            what: format!("what the descriptors of process {pid} are"),
            why: "its list of descriptors may not be read".into(),
            remedy: format!("stallscope doctor {pid}"),
        });
    }
    let name = |tid: i32| {
        let text = dir.read(&format!("task/{tid}/comm"), NAME_BYTES).ok()?;
        Some((tid, String::from_utf8_lossy(&text).trim_end().to_owned()))
    };
    let tids: HashSet<i32> =
        seen.threads.iter().map(|t| t.tid).chain(seen.events.iter().map(|e| e.tid)).collect();
    Ok(Traced {
        role: member.role,
        arch: arch.to_owned(),
        names: tids.into_iter().filter_map(name).collect(),
        pipes: pipes(server, pid, &descriptors),
        burst: seen,
        descriptors,
        epoll,
        sockets,
        blind,
    })
}

/// What the engine of a burst cannot see.
fn unseen_by(burst: &Burst) -> Vec<BlindSpot> {
    if burst.engine == Engine::Ptrace {
        return Vec::new();
    }
    let spot = |what: String, why: &str| BlindSpot {
        what,
        why: why.into(),
        remedy: "--engine ptrace sees them, and stops threads for it".into(),
    };
    let mut found = vec![spot(
        "which names and addresses calls were given, and which descriptors a poll reported".into(),
        "they are in memory that a thread which is not stopped has changed by the time it could be read",
    )];
    if burst.late > 0 {
        let threads = if burst.late == 1 { "1 thread".to_owned() } else { format!("{} threads", burst.late) };
        found.push(spot(
            format!("the first calls of {threads} of process {} that began meanwhile", burst.pid),
            "their events are opened when their beginning is noticed",
        ));
    }
    found
}

/// Names of calls that a burst would end with `EINTR` now, and how many threads of the process sleep in each.
#[must_use]
pub fn would_wake(member: &Member, arch: &str) -> BTreeMap<&'static str, u64> {
    let mut calls = BTreeMap::new();
    for tid in list_threads(&member.dir).unwrap_or_default() {
        let text = member.dir.read(&format!("task/{tid}/syscall"), 4096).unwrap_or_default();
        let Some(Doing::Syscall(number, _)) = parse::syscall(&text) else { continue };
        if disturbed(arch, number) == Disturbed::Always
            && let Some(name) = name(arch, number)
        {
            *calls.entry(name).or_default() += 1;
        }
    }
    calls
}

fn epoll_sets(dir: &ProcDir, fds: &[Descriptor]) -> BTreeMap<i32, Vec<EpollEntry>> {
    let sets = fds.iter().filter(|d| d.link == "anon_inode:[eventpoll]");
    sets.filter_map(|d| match descriptors::info(dir, d.fd) {
        Ok(FdInfo::Epoll { entries, .. }) => Some((d.fd, entries)),
        Ok(_) => Some((d.fd, Vec::new())),
        Err(_) => None,
    })
    .collect()
}

/// The sockets among its descriptors: by the kernel's diagnosis, which knows both ends of unix sockets, else by the
/// tables of its network namespace.
fn sockets(dir: &ProcDir, fds: &[Descriptor]) -> Vec<Socket> {
    let of_sockets = fds.iter().filter(|d| d.link.starts_with("socket:"));
    let wanted = Wanted { inodes: of_sockets.filter_map(|d| d.inode).collect(), ports: HashSet::default() };
    if wanted.inodes.is_empty() {
        return Vec::new();
    }
    let asked = SockDiag::open(dir).and_then(|mut diag| {
        let mut found = diag.unix(&wanted)?.sockets;
        found.extend(diag.tcp(&wanted)?.sockets);
        Ok(found)
    });
    let (mut found, tables) = match asked {
        Ok(found) if found.len() >= wanted.inodes.len() => return found,
        Ok(found) => (found, &[Table::Udp][..]),
        Err(_) => (Vec::new(), Table::ALL),
    };
    found.extend(SocketFiles::new().read(dir, tables, &wanted).map(|kept| kept.sockets).unwrap_or_default());
    found
}

/// Where else in the server the same pipes are open.
fn pipes(server: &Server, pid: i32, fds: &[Descriptor]) -> Vec<(u64, i32, i32)> {
    let mine: HashSet<u64> =
        fds.iter().filter(|d| d.link.starts_with("pipe:")).filter_map(|d| d.inode).collect();
    if mine.is_empty() {
        return Vec::new();
    }
    let mut ends: Vec<(u64, i32, i32)> =
        fds.iter().filter_map(|d| Some((d.inode.filter(|inode| mine.contains(inode))?, pid, d.fd))).collect();
    for other in server.members.values().filter(|other| other.snapshot.pid != pid) {
        for d in descriptors::list(&other.dir).map(|listing| listing.fds).unwrap_or_default() {
            if let Some(inode) = d.inode.filter(|inode| d.link.starts_with("pipe:") && mine.contains(inode)) {
                ends.push((inode, other.snapshot.pid, d.fd));
            }
        }
    }
    ends
}
