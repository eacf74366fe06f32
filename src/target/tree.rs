//! The server around a process: its head, its workers, who is born and who dies.
//!
//! Takes a pid, gives a [`Server`]. Every member is held by its open `/proc/PID`, so a number that is given to somebody
//! else is never mistaken for it; its identity is pid and start time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::gunicorn::{self, Settings, Title};
use super::hearts::{self, Hearts};
use super::{access, recognise};
use crate::capture::model::{Role, ServerKind, TargetFacts};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::kernel_file::{FileBudget, ProcDir, Seen, Unseen};
use crate::observe::process::{ProcessSnapshot, snapshot};

/// Parents that are followed upwards at most; real servers have one or two levels.
const MAX_LEVELS: usize = 8;
/// Processes that are watched at once at most.
pub const MAX_MEMBERS: usize = 512;

/// A process of the server.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its directory.
    pub dir: Arc<ProcDir>,
    /// As first seen.
    pub snapshot: ProcessSnapshot,
    /// What it is for.
    pub role: Role,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// What kind it is.
    pub kind: ServerKind,
    /// Its head: the arbiter, or the only process.
    pub head: i32,
    /// What its command line says.
    pub settings: Settings,
    /// Its processes by pid.
    pub members: BTreeMap<i32, Member>,
    /// Children of the head that are gunicorns of their own: an upgrade's new arbiter, the arbiter of dirty workers.
    pub others: BTreeSet<i32>,
    only: Option<i32>,
    budget: FileBudget,
}

impl Server {
    /// Finds the server of a process. With `only`, just that process of it.
    pub fn find(pid: i32, only: Option<i32>, budget: &FileBudget) -> Result<Self> {
        let target = open(pid, budget)?;
        if let Some(error) = access::unfit(&target.0) {
            return Err(error);
        }
        let (kind, head) = climb(target, budget);
        let environ = head.0.read("environ", 256 * 1024).ok();
        let from_environment = environ.as_deref().and_then(|text| variable(text, "GUNICORN_CMD_ARGS"));
        let settings = match kind {
            ServerKind::Gunicorn => gunicorn::settings(&head.1.cmdline, from_environment.as_deref()),
            _ => gunicorn::settings(&head.1.cmdline, None),
        };
        let mut server = Self {
            kind,
            head: head.1.pid,
            settings,
            members: BTreeMap::new(),
            others: BTreeSet::new(),
            only: None,
            budget: budget.clone(),
        };
        let alone = Member { dir: Arc::new(head.0), snapshot: head.1, role: Role::Process };
        server.members.insert(server.head, alone);
        server.refresh();
        if let Some(only) = only {
            server.only = Some(only);
            server.members.retain(|member, _| *member == only);
            if server.members.is_empty() {
                let head = server.head;
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("process {only} is not part of the server of process {pid}"),
                    format!(
                        "the server's head is process {head}, and {only} is neither it nor one of its workers"
                    ),
                )
                .remedy(format!("stallscope {only}")));
            }
        }
        Ok(server)
    }

    /// What a document says of the process that was pointed at; of the head where that one is no member.
    #[must_use]
    pub fn pointed_at(&self, pid: i32, selected_by: String) -> TargetFacts {
        let member = self.members.get(&pid).or_else(|| self.members.get(&self.head));
        let snapshot = member.map(|member| &member.snapshot);
        TargetFacts {
            pid,
            start_time_ticks: snapshot.map_or(0, |s| s.start_time_ticks),
            cmdline: snapshot.map(|s| s.cmdline.clone()).unwrap_or_default(),
            exe: snapshot.and_then(|s| s.exe.clone()),
            cgroup: None,
            container_id: None,
            selected_by,
        }
    }

    /// Looks for members that were born or have died. Gives their pids: (born, gone).
    pub fn refresh(&mut self) -> (Vec<i32>, Vec<i32>) {
        let gone: Vec<i32> =
            self.members.iter().filter(|(_, m)| !m.dir.exists()).map(|(pid, _)| *pid).collect();
        for pid in &gone {
            self.members.remove(pid);
        }
        if self.only.is_some() {
            return (Vec::new(), gone);
        }
        let Some(head) = self.members.get(&self.head) else { return (Vec::new(), gone) };
        let (head_dir, head_snapshot) = (Arc::clone(&head.dir), head.snapshot.clone());
        let mut born = Vec::new();
        let mut head_hearts: Option<Option<Hearts>> = None;
        let children = children(&head_dir, self.head);
        self.others.retain(|pid| children.contains(pid));
        for pid in children {
            let known = self.members.contains_key(&pid) || self.others.contains(&pid);
            if known || self.members.len() >= MAX_MEMBERS {
                continue;
            }
            let Ok(dir) = ProcDir::open(pid, &self.budget) else { continue };
            let Ok(child) = snapshot(&dir) else { continue };
            if child.ppid != self.head {
                continue;
            }
            let theirs = || hearts::of(&dir);
            let ours = || head_hearts.get_or_insert_with(|| hearts::of(&head_dir)).clone();
            if is_worker(self.kind, &head_snapshot, &child, ours, theirs) {
                self.members.insert(pid, Member { dir: Arc::new(dir), snapshot: child, role: Role::Worker });
                born.push(pid);
            } else if self.kind == ServerKind::Gunicorn && gunicorn::is_gunicorn(&child.cmdline) {
                self.others.insert(pid);
            }
        }
        // A gunicorn is headed by an arbiter even while it has no worker.
        if (self.kind == ServerKind::Gunicorn || !born.is_empty())
            && let Some(head) = self.members.get_mut(&self.head)
        {
            head.role = Role::Arbiter;
        }
        (born, gone)
    }

    /// Leaves a child out: its stack has shown that it is no worker.
    pub fn leave_out(&mut self, pid: i32) {
        self.members.remove(&pid);
        self.others.insert(pid);
    }
}

type Open = (ProcDir, ProcessSnapshot);

fn look(pid: i32, budget: &FileBudget) -> Seen<Open> {
    ProcDir::open(pid, budget).and_then(|dir| snapshot(&dir).map(|s| (dir, s)))
}

fn open(pid: i32, budget: &FileBudget) -> Result<Open> {
    look(pid, budget).map_err(|unseen| match unseen {
        Unseen::Gone | Unseen::Absent | Unseen::Denied => access::absence(pid),
        other => Error::new(ErrorKind::Io, format!("process {pid} cannot be read"), other.to_string()),
    })
}

fn kind_of((dir, process): &Open) -> ServerKind {
    let holds_hearts = || hearts::of(dir).is_some_and(|hearts| !hearts.is_empty());
    match gunicorn::title(&process.cmdline) {
        Some(Title::Master | Title::Worker) => ServerKind::Gunicorn,
        None if gunicorn::is_gunicorn(&process.cmdline) => ServerKind::Gunicorn,
        None if recognise::is_uvicorn(&process.cmdline) => ServerKind::Uvicorn,
        // An application may run gunicorn itself, under any name.
        None if holds_hearts() => ServerKind::Gunicorn,
        None | Some(Title::Dirty) => ServerKind::Process,
    }
}

/// Goes up as long as the parent is of the same server.
fn climb(target: Open, budget: &FileBudget) -> (ServerKind, Open) {
    let mut here = target;
    for _ in 0..MAX_LEVELS {
        let Ok(parent) = look(here.1.ppid, budget) else { break };
        if here.1.ppid <= 1 && !same_program(&parent.1, &here.1)
            || !is_worker(
                kind_of(&parent),
                &parent.1,
                &here.1,
                || hearts::of(&parent.0),
                || hearts::of(&here.0),
            )
        {
            break;
        }
        here = parent;
    }
    (kind_of(&here), here)
}

/// Where neither program may be read, the command lines that callers compare must do.
fn same_program(a: &ProcessSnapshot, b: &ProcessSnapshot) -> bool {
    a.exe == b.exe && !a.cmdline.is_empty()
}

/// Whether a child serves for a parent of a kind. The heartbeat files of both are asked for only where they decide.
fn is_worker(
    kind: ServerKind,
    parent: &ProcessSnapshot,
    child: &ProcessSnapshot,
    of_parent: impl FnOnce() -> Option<Hearts>,
    of_child: impl FnOnce() -> Option<Hearts>,
) -> bool {
    match kind {
        ServerKind::Gunicorn => match gunicorn::title(&child.cmdline) {
            Some(title) => title == Title::Worker,
            // An upgrade's new arbiter has the same command line as its parent, but shares no heartbeat with it.
            None => hearts::shared(of_parent().as_ref(), of_child().as_ref())
                .unwrap_or_else(|| gunicorn::is_gunicorn(&child.cmdline)),
        },
        ServerKind::Uvicorn => recognise::is_spawned(&child.cmdline) || recognise::is_uvicorn(&child.cmdline),
        // Forked without exec: the same program with the same arguments, or a title written over them (nginx).
        ServerKind::Loop | ServerKind::Process => {
            let title =
                |p: &ProcessSnapshot| p.cmdline.first().and_then(|a| a.split(':').next()).map(str::to_owned);
            let spawned = recognise::spawns_workers(&parent.cmdline) && recognise::is_spawned(&child.cmdline);
            same_program(parent, child)
                && (spawned
                    || parent.cmdline == child.cmdline
                    || parent.cmdline.first().is_some_and(|a| a.contains(": "))
                        && title(parent) == title(child))
        }
    }
}

/// The children of a process: the kernel's own list where it has one, else a walk over all processes.
fn children(dir: &ProcDir, pid: i32) -> Vec<i32> {
    let tasks = crate::observe::thread_files::list_threads(dir).unwrap_or_default();
    let mut pids = Vec::new();
    let mut listed = false;
    for tid in tasks {
        if let Ok(text) = dir.read(&format!("task/{tid}/children"), 64 * 1024) {
            listed = true;
            pids.extend(
                String::from_utf8_lossy(&text).split_whitespace().filter_map(|p| p.parse::<i32>().ok()),
            );
        }
    }
    if !listed && let Ok(process) = remoteprocess::Process::new(pid) {
        let all = process.child_processes().unwrap_or_default();
        pids = all.into_iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child).collect();
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// A variable of an environment block.
fn variable(environ: &[u8], name: &str) -> Option<String> {
    environ.split(|b| *b == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let block = b"X=1\0GUNICORN_CMD_ARGS=-w 3\0GUNICORN_CMD_ARGS_OLD=-w 9\0";
        assert_eq!(variable(block, "GUNICORN_CMD_ARGS").as_deref(), Some("-w 3"));
        assert_eq!(variable(block, "CMD_ARGS"), None);
    }

    #[test]
    fn a_worker_of_gunicorn_shares_a_heart_or_says_so_or_looks_the_same() {
        let me = open(std::process::id() as i32, &FileBudget::new(10)).unwrap().1;
        let named = |text: &str| ProcessSnapshot {
            cmdline: if text.contains(": ") {
                vec![text.into()]
            } else {
                text.split(' ').map(str::to_owned).collect()
            },
            ..me.clone()
        };
        let (same, heart) = (named("python -m gunicorn a"), Some(Hearts::from([(1, 1)])));
        let serves = |child: &ProcessSnapshot, hearts: Option<Hearts>| {
            is_worker(ServerKind::Gunicorn, &same, child, || heart.clone(), || hearts)
        };
        assert!(serves(&same, heart.clone()));
        assert!(!serves(&same, Some(Hearts::new())), "an upgrade's new arbiter");
        assert!(serves(&same, None), "where nothing may be read, the command line must do");
        assert!(
            serves(&named("python server.py"), heart.clone()),
            "an application that runs gunicorn itself"
        );
        assert!(!serves(&named("python server.py"), None));
        assert!(serves(&named("gunicorn: worker [a]"), None));
        assert!(!serves(&named("gunicorn: master [a.2]"), heart.clone()));
        assert!(!serves(&named("gunicorn: dirty-arbiter"), heart.clone()));
    }

    #[test]
    fn a_pid_that_is_not_there_says_so() {
        let error = Server::find(i32::MAX, None, &FileBudget::new(10)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }

    #[test]
    fn a_kernel_thread_is_refused() {
        // Process 2 is kthreadd wherever kernel threads are visible.
        if let Ok((_, two)) = open(2, &FileBudget::new(10))
            && two.kernel_thread
        {
            assert_eq!(
                Server::find(2, None, &FileBudget::new(10)).unwrap_err().kind,
                ErrorKind::NotObservable
            );
        } else {
            eprintln!("SKIPPED: no kernel threads are visible in this pid namespace");
        }
    }
}
