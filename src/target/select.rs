//! From what was typed to one pid.
//!
//! Takes a [`Selector`], reads procfs, gives the pid of a process of the server. Ambiguity is an error that lists
//! the candidates, never a guess.

use std::collections::BTreeSet;

use super::access::{Here, remedy};
use crate::capture::model::SocketState;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::kernel_file::{FileBudget, ProcDir};
use crate::observe::sockets::{SocketFiles, Table, Wanted};
use crate::observe::{descriptors, process};

/// What the user pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A process id.
    Pid(i32),
    /// The port of a listening socket.
    Port(u16),
    /// A part of a process's name or of its program's.
    Name(String),
}

impl Selector {
    /// In words, for the report.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Pid(_) => "pid".into(),
            Self::Port(port) => format!("port {port}"),
            Self::Name(name) => format!("name {name}"),
        }
    }

    /// The pid it means.
    pub fn resolve(&self) -> Result<i32> {
        match self {
            Self::Pid(pid) => Ok(*pid),
            Self::Port(port) => by_port(*port),
            Self::Name(name) => by_name(name),
        }
    }
}

/// All pids that `/proc` lists, in ascending order.
pub(super) fn all_pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The oldest of the processes that is not a child of another of them: the head of a server.
fn heads(found: &[(i32, i32)]) -> Vec<i32> {
    let pids: BTreeSet<i32> = found.iter().map(|(pid, _)| *pid).collect();
    found.iter().filter(|(_, parent)| !pids.contains(parent)).map(|(pid, _)| *pid).collect()
}

fn one(found: &[(i32, i32)], what: &str, cause: &str) -> Result<i32> {
    let heads = heads(found);
    match heads.as_slice() {
        [pid] => Ok(*pid),
        [] => Err(Error::new(ErrorKind::NotFound, format!("no process found for {what}"), cause)),
        several => {
            let list: Vec<String> = several.iter().map(i32::to_string).collect();
            let mut error =
                Error::new(ErrorKind::NotFound, format!("{what} is ambiguous"), "several servers match")
                    .value(list.join(" "));
            for pid in several.iter().take(3) {
                error = error.remedy(format!("stallscope {pid}"));
            }
            Err(error)
        }
    }
}

fn by_port(port: u16) -> Result<i32> {
    let budget = FileBudget::from_limit();
    let wanted = Wanted { ports: [port].into(), ..Wanted::default() };
    let own = ProcDir::open(std::process::id() as i32, &budget)
        .and_then(|me| SocketFiles::new().read(&me, &[Table::Tcp], &wanted))
        .map_err(|e| Error::new(ErrorKind::Io, "the list of sockets cannot be read", e.to_string()))?;
    let listening = own.sockets.iter().filter(|s| s.state == SocketState::Listen && s.local_port == port);
    let inodes: BTreeSet<u64> = listening.map(|s| s.inode).collect();
    if inodes.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("nothing listens on port {port}"),
            "no listening TCP socket with this port in this network namespace",
        )
        .remedy("name the process instead: stallscope PID")
        .remedy("in a container, run stallscope there or use the pid on the host"));
    }
    let mut hidden = 0;
    let mut found = Vec::new();
    for pid in all_pids() {
        let Ok(dir) = ProcDir::open(pid, &budget) else { continue };
        let Ok(listing) = descriptors::list(&dir) else {
            hidden += 1;
            continue;
        };
        let holds = listing
            .fds
            .iter()
            .any(|d| d.link.starts_with("socket:") && d.inode.is_some_and(|i| inodes.contains(&i)));
        if holds && let Ok(snapshot) = process::snapshot(&dir) {
            found.push((pid, snapshot.ppid));
        }
    }
    one(
        &found,
        &format!("port {port}"),
        &format!("its owner is not visible: the descriptors of {hidden} processes may not be read"),
    )
    .map_err(|e| if found.is_empty() { e.remedy(as_root(&format!("--port {port}"))) } else { e })
}

/// How to ask the same with the right to see everybody's descriptors.
fn as_root(args: &str) -> String {
    let here = Here::gather();
    remedy::with_capability(&here.us, &here.signs, args)
}

fn by_name(name: &str) -> Result<i32> {
    let budget = FileBudget::from_limit();
    let me = std::process::id() as i32;
    let mut found = Vec::new();
    for pid in all_pids() {
        let Ok(snapshot) = ProcDir::open(pid, &budget).and_then(|dir| process::snapshot(&dir)) else {
            continue;
        };
        // The program and its script count, its other arguments do not: an editor with the file open is no server.
        let program = snapshot
            .cmdline
            .iter()
            .take(2)
            .any(|arg| arg.rsplit('/').next().is_some_and(|base| base.contains(name)));
        let module = snapshot.cmdline.windows(2).any(|w| w[0] == "-m" && w[1].contains(name));
        let own = snapshot.name == "stallscope" || pid == me;
        if !own && !snapshot.kernel_thread && (snapshot.name.contains(name) || program || module) {
            found.push((pid, snapshot.ppid));
        }
    }
    one(&found, &format!("name {name}"), "no process has this in its name or its program's")
        .map_err(|e| if found.is_empty() { e.remedy(format!("ps -ef | grep {name}")) } else { e })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_tree_is_taken_and_two_trees_are_ambiguous() {
        assert_eq!(one(&[(10, 1), (11, 10), (12, 10)], "x", "").unwrap(), 10);
        assert_eq!(one(&[(10, 1), (20, 1)], "x", "").unwrap_err().value.as_deref(), Some("10 20"));
        assert_eq!(one(&[], "x", "why").unwrap_err().cause, "why");
    }
}
