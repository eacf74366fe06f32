//! Why the kernel gives no perf events of a process: what failed and the facts in, the one cause with its value and its
//! remedies out. Pure.
//!
//! The order is the kernel's own: first its tracing files, then the right to its events at all, then the right to those of
//! this process. That somebody loosen `perf_event_paranoid` for all is never advised.

use super::decide::{Gate, Want, decide};
use super::facts::Facts;
use super::place::Place;
use super::remedy;
use crate::error::{Error, ErrorKind};
use crate::observe::kernel_file::Unseen;
use crate::observe::perf::NoPerf;
use nix::errno::Errno;

/// `CAP_SYS_ADMIN` and `CAP_PERFMON` (since Linux 5.8): each suffices.
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
/// Above this `perf_event_paranoid` keeps the kernel's events from those without the capability.
const PARANOID: i32 = 1;

/// The cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoEvents {
    /// tracefs is mounted nowhere.
    NotMounted,
    /// The kernel was built without what is needed.
    NotBuilt {
        /// The option that is missing.
        option: &'static str,
    },
    /// The kernel is locked down.
    Lockdown,
    /// Only root may read tracefs.
    RootOnly,
    /// A tracing file cannot be read or understood.
    Unreadable {
        /// Which, and why.
        what: String,
    },
    /// Our rights end at the border of a user namespace.
    UserNamespace,
    /// We are root without the capability.
    Capability,
    /// The kernel gives its events only to those with the capability.
    Paranoid {
        /// `perf_event_paranoid`, where it is known.
        level: Option<i32>,
    },
    /// What the process itself is guarded by.
    Process(Gate),
    /// A filter of system calls.
    Seccomp,
    /// No more descriptors or memory for it.
    NoRoom(Errno),
    /// Nothing of this.
    Other(Errno),
    /// The process is gone.
    Gone,
}

/// The one cause of a failure.
#[must_use]
pub fn decide_perf(failed: &NoPerf, facts: &Facts) -> NoEvents {
    match failed {
        NoPerf::Gone => NoEvents::Gone,
        NoPerf::NotMounted => NoEvents::NotMounted,
        NoPerf::NoTracefs => NoEvents::NotBuilt { option: "CONFIG_TRACING" },
        NoPerf::Unreadable { why: Unseen::Denied, .. } if is_locked_down(facts) => NoEvents::Lockdown,
        NoPerf::Unreadable { why: Unseen::Denied, .. } if facts.us.uid != 0 => NoEvents::RootOnly,
        NoPerf::Unreadable { why: Unseen::Absent, .. } => {
            NoEvents::NotBuilt { option: "CONFIG_FTRACE_SYSCALLS" }
        }
        NoPerf::Unreadable { .. } => NoEvents::Unreadable { what: failed.to_string() },
        NoPerf::NoRoom(errno) => NoEvents::NoRoom(*errno),
        NoPerf::Refused(errno) => refused(*errno, facts),
    }
}

fn is_locked_down(facts: &Facts) -> bool {
    facts.gates.lockdown.as_deref() == Some("confidentiality")
}

fn refused(errno: Errno, facts: &Facts) -> NoEvents {
    let us = &facts.us;
    match errno {
        // A kernel without them has no such file either; a filter may say the same.
        Errno::ENOSYS if facts.gates.perf_event_paranoid.is_none() => {
            return NoEvents::NotBuilt { option: "CONFIG_PERF_EVENTS" };
        }
        Errno::ENOSYS | Errno::EACCES | Errno::EPERM => {}
        other => return NoEvents::Other(other),
    }
    let capable = us.capabilities & (CAP_SYS_ADMIN | CAP_PERFMON) != 0;
    if capable && !us.first_user_ns {
        return NoEvents::UserNamespace;
    }
    let level = facts.gates.perf_event_paranoid;
    if !capable && level.is_none_or(|level| level > PARANOID) {
        return if us.uid == 0 { NoEvents::Capability } else { NoEvents::Paranoid { level } };
    }
    if !capable && let Some(gate) = decide(facts, Want::Read) {
        return NoEvents::Process(gate);
    }
    if us.seccomp == 2 { NoEvents::Seccomp } else { NoEvents::Other(errno) }
}

/// A cause as an error: what failed, the cause, its value, its remedies, and last what works without them.
#[must_use]
pub fn error(no: &NoEvents, facts: &Facts) -> Error {
    let pid = facts.them.pid;
    if let NoEvents::Process(gate) = no {
        return remedy::error(gate, facts);
    }
    let kind = match no {
        NoEvents::Gone => ErrorKind::Gone,
        _ => ErrorKind::NotPermitted,
    };
    let mut error = Error::new(kind, format!("the kernel gives no perf events of process {pid}"), cause(no));
    error.value = value(no, facts);
    error.remedies = remedies(no, facts);
    if *no != NoEvents::Gone {
        error
            .remedies
            .push(format!("without it: stallscope trace {pid} --engine ptrace (stops threads, briefly)"));
    }
    error
}

fn cause(no: &NoEvents) -> String {
    match no {
        NoEvents::NotMounted => "tracefs, where the kernel describes its tracepoints, is not mounted".into(),
        NoEvents::NotBuilt { .. } => "this kernel was built without it".into(),
        NoEvents::Lockdown => "the kernel is locked down, which closes its tracing files to root, too".into(),
        NoEvents::RootOnly => "only root may read tracefs".into(),
        NoEvents::Unreadable { .. } => "a file of tracefs cannot be read".into(),
        NoEvents::UserNamespace => "our rights end at the border of this user namespace".into(),
        NoEvents::Capability => "root here lacks CAP_PERFMON, as in a container".into(),
        NoEvents::Paranoid { .. } => "the kernel gives its events only to those with CAP_PERFMON".into(),
        NoEvents::Process(gate) => gate.name().into(),
        NoEvents::Seccomp => "a filter of system calls stands around stallscope".into(),
        NoEvents::NoRoom(Errno::EMFILE | Errno::ENFILE) => "there are no descriptors left for events".into(),
        NoEvents::NoRoom(_) => "no memory may be locked for events".into(),
        NoEvents::Other(_) => "the kernel refuses, by a security module or a seccomp filter".into(),
        NoEvents::Gone => "it ended before it could be followed".into(),
    }
}

fn value(no: &NoEvents, facts: &Facts) -> Option<String> {
    Some(match no {
        NoEvents::NotMounted => "no tracefs in /proc/self/mounts".into(),
        NoEvents::NotBuilt { option } => (*option).into(),
        NoEvents::Lockdown => format!("lockdown={}", facts.gates.lockdown.as_deref()?),
        NoEvents::RootOnly => format!("uid={}", facts.us.uid),
        NoEvents::Unreadable { what } => what.clone(),
        NoEvents::UserNamespace => {
            format!("uid_map={}", facts.us.uid_map.split_whitespace().collect::<Vec<_>>().join(":"))
        }
        NoEvents::Capability => "CapEff without bit 38".into(),
        NoEvents::Paranoid { level } => format!("kernel.perf_event_paranoid={}", (*level)?),
        NoEvents::Seccomp => format!("Seccomp={}", facts.us.seccomp),
        NoEvents::NoRoom(errno) | NoEvents::Other(errno) => format!("{errno:?}"),
        NoEvents::Process(_) | NoEvents::Gone => return None,
    })
}

fn remedies(no: &NoEvents, facts: &Facts) -> Vec<String> {
    let ours = format!("stallscope trace {} --engine perf", facts.them.pid);
    let host = facts.signs.place() == Place::Host;
    match no {
        NoEvents::NotMounted if host => {
            let sudo = if facts.us.uid == 0 { "" } else { "sudo " };
            vec![format!("{sudo}mount -t tracefs tracefs /sys/kernel/tracing")]
        }
        NoEvents::NotMounted => vec![
            "give stallscope's container the machine's: -v /sys/kernel/tracing:/sys/kernel/tracing:ro".into(),
        ],
        NoEvents::RootOnly | NoEvents::Paranoid { .. } if host && !facts.us.no_new_privs => {
            vec![format!("sudo {ours}")]
        }
        NoEvents::RootOnly | NoEvents::Paranoid { .. } | NoEvents::Capability if host => {
            vec![format!("from a root shell with all its capabilities: {ours}")]
        }
        NoEvents::RootOnly | NoEvents::Paranoid { .. } | NoEvents::Capability | NoEvents::UserNamespace => {
            vec![
                format!("on the machine itself, as root and with its pid there: {ours}"),
                "give stallscope's container CAP_PERFMON (--cap-add PERFMON) and tracefs".into(),
            ]
        }
        NoEvents::Seccomp => {
            vec!["run stallscope outside of the filter, or let its profile permit perf_event_open".into()]
        }
        NoEvents::NoRoom(Errno::EMFILE | Errno::ENFILE) => vec![format!("ulimit -n 65536; {ours}")],
        NoEvents::NoRoom(_) => vec![format!("ulimit -l unlimited; {ours}")],
        NoEvents::Unreadable { .. } | NoEvents::Other(_) => {
            vec!["look for the denial in the audit log: ausearch -m avc, or journalctl -k".into()]
        }
        NoEvents::NotBuilt { .. } | NoEvents::Lockdown | NoEvents::Process(_) | NoEvents::Gone => Vec::new(),
    }
}
