//! Everything that decides whether a process may be read, as plain data, and its gathering.

use super::place::Signs;
use crate::observe::gates::{self, Gates};
use crate::observe::kernel_file::{FileBudget, ProcDir, READ_BUFFER_BYTES, Unseen};
use crate::observe::own::{self, Own, numbers};
use crate::observe::parse;

/// Parents that are followed upwards at most when it is asked whose child a process is.
const MAX_ANCESTORS: usize = 64;

/// Whether a pid has a process, as far as `/proc` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There, and its public files can be read.
    Seen,
    /// The kernel knows it; `/proc` does not show it, or refuses even its public files.
    Hidden,
    /// Nobody has this pid here.
    Nobody,
}

/// What is known of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Them {
    /// Its pid.
    pub pid: i32,
    /// Its pid in its own innermost namespace.
    pub ns_pid: i32,
    /// Its `comm`; empty when it cannot be read.
    pub name: String,
    /// Whether it is there.
    pub presence: Presence,
    /// State letter.
    pub state: char,
    /// Whether it belongs to the kernel.
    pub kernel_thread: bool,
    /// Its parent.
    pub parent: i32,
    /// Real, effective and saved user.
    pub uids: [u32; 3],
    /// Real, effective and saved group.
    pub gids: [u32; 3],
    /// The name of its effective user, if it has one that can stand in a command.
    pub user: Option<String>,
    /// Capabilities that it may use.
    pub capabilities: u64,
    /// Who traces it.
    pub tracer: Option<Tracer>,
    /// Whether its own user may read it. `None` when that cannot be told.
    pub dumpable: Option<bool>,
    /// Whether it lives in our user namespace. `None` when that cannot be told.
    pub same_user_ns: Option<bool>,
    /// Whether it descends from us.
    pub descends_from_us: bool,
    /// Label of the security module.
    pub label: Option<String>,
    /// Whether the kernel has refused its memory, where that was tried.
    pub refused: Option<bool>,
    /// Processes here that have this pid inside a pid namespace of their own.
    pub inside: Vec<i32>,
}

/// Who traces a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracer {
    /// Its pid.
    pub pid: i32,
    /// Its name.
    pub name: String,
}

/// What is the same for every process: the tool, the machine, the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// The tool.
    pub us: Own,
    /// The machine.
    pub gates: Gates,
    /// The place.
    pub signs: Signs,
}

impl Here {
    /// Reads it.
    #[must_use]
    pub fn gather() -> Self {
        let us = own::own();
        Self { gates: gates::gates(), signs: Signs::gather(us.first_namespaces), us }
    }
}

/// All facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The process.
    pub them: Them,
    /// The tool.
    pub us: Own,
    /// The machine.
    pub gates: Gates,
    /// The place.
    pub signs: Signs,
}

impl Facts {
    /// Reads the facts about a process. `refused` says what trying its memory has shown.
    #[must_use]
    pub fn gather(process: &ProcDir, refused: Option<bool>, here: &Here) -> Self {
        let them = read(process, &here.us, refused).unwrap_or_else(|_| absent(process.pid()));
        Self::of(them, here)
    }

    /// The facts about a pid whose directory cannot be opened or read.
    #[must_use]
    pub fn gather_absent(pid: i32, here: &Here) -> Self {
        Self::of(absent(pid), here)
    }

    fn of(them: Them, here: &Here) -> Self {
        Self { them, us: here.us.clone(), gates: here.gates.clone(), signs: here.signs.clone() }
    }
}

fn absent(pid: i32) -> Them {
    use nix::errno::Errno::EPERM;
    use nix::sys::signal::kill;
    let alive = pid > 0 && matches!(kill(nix::unistd::Pid::from_raw(pid), None), Ok(()) | Err(EPERM));
    Them {
        pid,
        ns_pid: pid,
        name: String::new(),
        presence: if alive { Presence::Hidden } else { Presence::Nobody },
        state: '?',
        kernel_thread: false,
        parent: 0,
        uids: [0; 3],
        gids: [0; 3],
        user: None,
        capabilities: 0,
        tracer: None,
        dumpable: None,
        same_user_ns: None,
        descends_from_us: false,
        label: None,
        refused: None,
        inside: if alive { Vec::new() } else { inside(pid) },
    }
}

fn read(process: &ProcDir, us: &Own, refused: Option<bool>) -> Result<Them, Unseen> {
    let limit = READ_BUFFER_BYTES as u64;
    let text = process.read("stat", limit)?;
    let stat = parse::stat(&text).ok_or(Unseen::Garbled)?;
    let text = process.read("status", limit)?;
    let status = parse::status(&text).ok_or(Unseen::Garbled)?;
    let ids = |key: &str| -> Result<[u32; 3], Unseen> {
        let ids: Vec<u32> =
            numbers(&text, key).into_iter().filter_map(|id| id.try_into().ok()).take(3).collect();
        ids.try_into().map_err(|_| Unseen::Garbled)
    };
    let capabilities =
        own::field(&text, "CapPrm").and_then(|set| parse::hexadecimal(set.trim_ascii())).unwrap_or(0);
    let owner = process.stat("maps").ok().map(|maps| maps.st_uid);
    let label = process.read("attr/current", 4096).ok();
    let label = label.map(|label| String::from_utf8_lossy(&label).trim_end_matches(['\0', '\n']).to_owned());
    Ok(Them {
        pid: process.pid(),
        ns_pid: status.ns_pid,
        name: String::from_utf8_lossy(stat.comm).into_owned(),
        presence: Presence::Seen,
        state: status.state,
        kernel_thread: stat.kernel_thread,
        parent: status.ppid,
        uids: ids("Uid")?,
        gids: ids("Gid")?,
        user: user_name(status.effective_uid),
        capabilities,
        tracer: (status.tracer_pid != 0)
            .then(|| Tracer { pid: status.tracer_pid, name: name_of(status.tracer_pid) }),
        // The kernel gives the files of a process that may not be read to root, which tells nothing of root's own.
        dumpable: owner.filter(|_| status.effective_uid != 0).map(|owner| owner == status.effective_uid),
        same_user_ns: same_user_ns(process, us),
        descends_from_us: descends_from_us(status.ppid),
        label: label.filter(|label| !label.is_empty()),
        refused,
        inside: Vec::new(),
    })
}

/// The link of the namespace needs the right in question; how ids are translated may always be read, and a process of
/// another namespace shows it translated otherwise than our own.
fn same_user_ns(process: &ProcDir, us: &Own) -> Option<bool> {
    if let (Ok(theirs), Ok(ours)) = (process.stat("ns/user"), nix::sys::stat::stat("/proc/self/ns/user")) {
        return Some((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino));
    }
    let map = process.read("uid_map", 4096).ok()?;
    Some(String::from_utf8_lossy(map.trim_ascii()) == us.uid_map)
}

fn descends_from_us(parent: i32) -> bool {
    let me = std::process::id() as i32;
    let budget = FileBudget::new(0);
    let mut here = parent;
    for _ in 0..MAX_ANCESTORS {
        if here == me {
            return true;
        }
        let Ok(text) =
            ProcDir::open(here, &budget).and_then(|dir| dir.read("stat", READ_BUFFER_BYTES as u64))
        else {
            return false;
        };
        match parse::stat(&text) {
            Some(stat) if stat.ppid > 1 => here = stat.ppid,
            _ => return false,
        }
    }
    false
}

fn name_of(pid: i32) -> String {
    let comm = ProcDir::open(pid, &FileBudget::new(0)).and_then(|dir| dir.read("comm", 64));
    comm.map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).unwrap_or_default()
}

/// A user's name, if it can stand in a command as it is.
fn user_name(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!user.name.is_empty() && !user.name.starts_with('-') && user.name.chars().all(plain))
        .then_some(user.name)
}

/// The processes here that carry a pid inside a namespace of their own.
fn inside(pid: i32) -> Vec<i32> {
    let budget = FileBudget::new(0);
    let found = super::super::select::all_pids().into_iter().filter(|here| {
        let status =
            ProcDir::open(*here, &budget).and_then(|dir| dir.read("status", READ_BUFFER_BYTES as u64));
        status.is_ok_and(|text| {
            let pids = numbers(&text, "NSpid");
            pids.len() > 1 && pids.last().is_some_and(|last| i64::try_from(*last) == Ok(i64::from(pid)))
        })
    });
    found.collect()
}
