//! What the kernel refuses, told once per gate and not once per process and source.
//!
//! Takes refusals as they are met, gives one blind spot per closed gate. A server of eight workers that belong to
//! somebody else is one thing that the user does not know, with one remedy.

use std::collections::BTreeSet;

use crate::capture::model::{BlindSpot, NOT_PERMITTED, Record};
use crate::error::Error;
use crate::observe::kernel_file::ProcDir;
use crate::target::access::{self, Here};

/// Pids that are listed at most.
const MAX_LISTED: usize = 6;

/// Something that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Memory: stacks, the interpreter lock.
    Stacks,
    /// What sleeping threads wait for.
    Calls,
    /// Descriptors, and with them whose sockets are whose.
    Descriptors,
}

impl Part {
    const fn words(self) -> &'static str {
        match self {
            Self::Stacks => "memory and stacks",
            Self::Calls => "what sleeping threads wait for",
            Self::Descriptors => "descriptors and sockets",
        }
    }
}

struct Closed {
    error: Error,
    parts: BTreeSet<Part>,
    pids: BTreeSet<i32>,
    told: bool,
}

/// The closed gates met so far.
#[derive(Default)]
pub struct Denied {
    here: Option<Here>,
    gates: Vec<Closed>,
}

impl Denied {
    /// Remembers that a part of a process is refused.
    pub fn add(&mut self, process: &ProcDir, parts: &[Part]) {
        let pid = process.pid();
        if parts.is_empty()
            || self.gates.iter().any(|g| g.pids.contains(&pid) && parts.iter().all(|p| g.parts.contains(p)))
        {
            return;
        }
        let error = access::refusal(process, self.here.get_or_insert_with(Here::gather));
        self.remember(pid, parts, error);
    }

    fn remember(&mut self, pid: i32, parts: &[Part], error: Error) {
        let same = |g: &&mut Closed| (&g.error.cause, &g.error.value) == (&error.cause, &error.value);
        match self.gates.iter_mut().find(same) {
            Some(gate) => {
                gate.parts.extend(parts);
                gate.pids.insert(pid);
            }
            None => self.gates.push(Closed {
                error,
                parts: parts.iter().copied().collect(),
                pids: [pid].into(),
                told: false,
            }),
        }
    }

    /// Tells of each gate that was not told of yet.
    pub fn tell(&mut self, out: &mut Vec<Record>) {
        for gate in self.gates.iter_mut().filter(|gate| !gate.told) {
            gate.told = true;
            out.push(Record::Blind(spot(gate)));
        }
    }
}

fn spot(gate: &Closed) -> BlindSpot {
    let parts: Vec<&str> = gate.parts.iter().map(|part| part.words()).collect();
    let mut pids: Vec<String> = gate.pids.iter().take(MAX_LISTED).map(i32::to_string).collect();
    if gate.pids.len() > MAX_LISTED {
        pids.push("…".into());
    }
    let of = match gate.pids.len() {
        1 => format!("process {}", pids.join("")),
        many => format!("{many} processes ({})", pids.join(" ")),
    };
    let value = gate.error.value.as_ref().map_or_else(String::new, |value| format!(" ({value})"));
    BlindSpot {
        what: format!("{} of {of}", parts.join(", ")),
        why: format!("{NOT_PERMITTED}{}{value}", gate.error.cause),
        remedy: gate.error.remedies.first().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn error(cause: &str) -> Error {
        Error::new(ErrorKind::NotPermitted, "x", cause).value("uid=1 ours=2").remedy("sudo stallscope 1")
    }

    #[test]
    fn a_gate_is_told_once_for_all_processes_and_parts() {
        let mut denied = Denied::default();
        for pid in 1..=8 {
            denied.remember(pid, &[Part::Descriptors], error("it belongs to another user"));
            denied.remember(pid, &[Part::Stacks, Part::Calls], error("it belongs to another user"));
        }
        denied.remember(9, &[Part::Stacks], error("it is not dumpable"));
        let mut out = Vec::new();
        denied.tell(&mut out);
        denied.remember(10, &[Part::Stacks], error("it belongs to another user"));
        denied.tell(&mut out);
        let [Record::Blind(first), Record::Blind(second)] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(
            first.what,
            "memory and stacks, what sleeping threads wait for, descriptors and sockets of 8 processes (1 2 3 4 5 6 …)"
        );
        assert_eq!(first.why, "not permitted: it belongs to another user (uid=1 ours=2)");
        assert_eq!(first.remedy, "sudo stallscope 1");
        assert_eq!(second.what, "memory and stacks of process 9");
    }
}
