//! The servers of this machine that could be looked at: for `doctor` and for completions.
//!
//! A candidate is recognised by its command line (gunicorn, uvicorn) or by a TCP socket that it listens on. It is found
//! within a deadline: what was not looked at by then is left out, as nobody waits for a completion.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::select::all_pids;
use super::{gunicorn, recognise};
use crate::observe::kernel_file::{FileBudget, ProcDir, READ_BUFFER_BYTES};
use crate::observe::listeners::listeners;
use crate::observe::parse;
use crate::observe::thread_files::numbered_entries;

/// Longest command line that is read.
const MAX_CMDLINE_BYTES: u64 = 8 * 1024;
/// Descriptors of a process among which its listener is looked for; servers open theirs first.
const MAX_DESCRIPTORS: usize = 64;

/// A server that could be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its head.
    pub pid: i32,
    /// `gunicorn`, `uvicorn`, or the name of its program.
    pub name: String,
    /// Its other processes.
    pub workers: Vec<i32>,
    /// Ports that it listens on, as far as its descriptors may be read.
    pub ports: Vec<u16>,
}

struct Found {
    parent: i32,
    name: String,
    ports: Vec<u16>,
}

/// The candidates by pid.
#[must_use]
pub fn candidates(deadline: Instant) -> Vec<Candidate> {
    let budget = FileBudget::new(0);
    let me = std::process::id() as i32;
    let ports = ProcDir::open(me, &budget).map(|me| listeners(&me)).unwrap_or_default();
    let mut found = BTreeMap::new();
    for pid in all_pids() {
        if Instant::now() >= deadline {
            break;
        }
        if pid != me
            && let Some(process) = look(pid, &ports, &budget)
        {
            found.insert(pid, process);
        }
    }
    group(&found)
}

fn look(pid: i32, ports: &HashMap<u64, u16>, budget: &FileBudget) -> Option<Found> {
    let dir = ProcDir::open(pid, budget).ok()?;
    let text = dir.read("stat", READ_BUFFER_BYTES as u64).ok()?;
    let stat = parse::stat(&text)?;
    if stat.kernel_thread || matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    let cmdline = dir.read("cmdline", MAX_CMDLINE_BYTES).ok()?;
    let cmdline: Vec<String> =
        cmdline.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let recognised = if gunicorn::is_gunicorn(&cmdline) {
        Some("gunicorn")
    } else if recognise::is_uvicorn(&cmdline) {
        Some("uvicorn")
    } else {
        None
    };
    let held = held_ports(&dir, ports);
    let name = match recognised {
        Some(name) => name.to_owned(),
        None if held.is_empty() => return None,
        None => String::from_utf8_lossy(stat.comm).into_owned(),
    };
    Some(Found { parent: stat.ppid, name, ports: held })
}

fn held_ports(dir: &ProcDir, ports: &HashMap<u64, u16>) -> Vec<u16> {
    if ports.is_empty() {
        return Vec::new();
    }
    let (fds, _) = numbered_entries(dir, "fd", MAX_DESCRIPTORS).unwrap_or_default();
    let inode = |fd: i32| {
        let link = dir.link(&format!("fd/{fd}")).ok()?;
        parse::decimal(link.strip_prefix("socket:[")?.strip_suffix(']')?.as_bytes())
    };
    let mut held: Vec<u16> =
        fds.into_iter().filter_map(inode).filter_map(|i| ports.get(&i).copied()).collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// Children of a candidate of the same name are its workers.
fn group(found: &BTreeMap<i32, Found>) -> Vec<Candidate> {
    let head_of = |pid: i32| {
        let mut here = pid;
        // A circle cannot be, but what was read at different times may look like one.
        for _ in 0..found.len() {
            let parent = found.get(&here).map_or(0, |process| process.parent);
            match (found.get(&parent), found.get(&here)) {
                (Some(above), Some(below)) if above.name == below.name => here = parent,
                _ => break,
            }
        }
        here
    };
    let mut heads: BTreeMap<i32, Candidate> = BTreeMap::new();
    for (pid, process) in found {
        let head = head_of(*pid);
        let candidate = heads.entry(head).or_insert_with(|| Candidate {
            pid: head,
            name: process.name.clone(),
            workers: Vec::new(),
            ports: Vec::new(),
        });
        if *pid != head {
            candidate.workers.push(*pid);
        }
        candidate.ports.extend(&process.ports);
        candidate.ports.sort_unstable();
        candidate.ports.dedup();
    }
    heads.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &[(i32, i32, &str, &[u16])]) -> BTreeMap<i32, Found> {
        let one = |(pid, parent, name, ports): &(i32, i32, &str, &[u16])| {
            (*pid, Found { parent: *parent, name: (*name).to_owned(), ports: ports.to_vec() })
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn workers_stand_below_their_head() {
        let all = found(&[
            (10, 1, "gunicorn", &[8000]),
            (11, 10, "gunicorn", &[8000]),
            (12, 10, "gunicorn", &[8000, 8001]),
            (20, 1, "nginx", &[80]),
            (30, 20, "redis", &[6379]),
        ]);
        let heads = group(&all);
        assert_eq!(heads.iter().map(|c| c.pid).collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!((&heads[0].workers, &heads[0].ports), (&vec![11, 12], &vec![8000, 8001]));
        assert_eq!((heads[1].workers.len(), heads[2].workers.len()), (0, 0));
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(group(&found(&[(1, 2, "a", &[]), (2, 1, "a", &[])])).len(), 2);
    }
}
