//! The one gate that is closed. Pure: facts in, a gate out.
//!
//! The order is the kernel's own (`__ptrace_may_access`, then the security modules): what it asks first is what it
//! refuses for. A gate that was found open by trying is never named.

use super::facts::{Facts, Presence};

/// `CAP_SYS_PTRACE` in a set of capabilities.
pub const CAP_SYS_PTRACE: u64 = 1 << 19;

/// What is wanted of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// To read it: memory, what threads sleep in, descriptors.
    Read,
    /// To stop it for a moment, which a burst does. Nobody else may be doing it already.
    Attach,
}

/// A closed gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Nobody has this pid.
    NoSuchProcess,
    /// Nobody has it here; these have it in a pid namespace of their own.
    PidNamespace {
        /// Their pids here.
        here: Vec<i32>,
    },
    /// `/proc` is mounted so that it hides other users' processes.
    Hidepid,
    /// It belongs to the kernel.
    KernelThread,
    /// It has ended and not been reaped.
    Exited,
    /// Somebody else traces it.
    Traced,
    /// Our rights end at the border of a user namespace.
    UserNamespace,
    /// We are root without `CAP_SYS_PTRACE`.
    Capability,
    /// It belongs to another user.
    Uid,
    /// It belongs to another group.
    Gid,
    /// It has changed its user, or asked not to be read.
    NotDumpable,
    /// It has capabilities that we lack.
    TargetCapabilities {
        /// Those that we lack.
        extra: u64,
    },
    /// Yama.
    Yama {
        /// Its `ptrace_scope`.
        scope: u8,
    },
    /// `SELinux`.
    Selinux,
    /// `AppArmor`.
    Apparmor,
    /// A filter of system calls.
    Seccomp,
    /// None of the gates that can be told apart.
    SecurityModule,
}

impl Gate {
    /// A word that scripts can match.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoSuchProcess => "no_such_process",
            Self::PidNamespace { .. } => "pid_namespace",
            Self::Hidepid => "hidepid",
            Self::KernelThread => "kernel_thread",
            Self::Exited => "exited",
            Self::Traced => "traced",
            Self::UserNamespace => "user_namespace",
            Self::Capability => "capability",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::NotDumpable => "not_dumpable",
            Self::TargetCapabilities { .. } => "target_capabilities",
            Self::Yama { .. } => "yama",
            Self::Selinux => "selinux",
            Self::Apparmor => "apparmor",
            Self::Seccomp => "seccomp",
            Self::SecurityModule => "security_module",
        }
    }

    /// Whether nothing at all can be seen behind it.
    #[must_use]
    pub const fn shuts_all(&self) -> bool {
        matches!(
            self,
            Self::NoSuchProcess
                | Self::PidNamespace { .. }
                | Self::Hidepid
                | Self::KernelThread
                | Self::Exited
        )
    }
}

/// The first closed gate, if any is.
#[must_use]
pub fn decide(facts: &Facts, want: Want) -> Option<Gate> {
    let them = &facts.them;
    match them.presence {
        Presence::Hidden => return Some(Gate::Hidepid),
        Presence::Nobody if them.inside.is_empty() => return Some(Gate::NoSuchProcess),
        Presence::Nobody => return Some(Gate::PidNamespace { here: them.inside.clone() }),
        Presence::Seen => {}
    }
    if them.kernel_thread {
        return Some(Gate::KernelThread);
    }
    if matches!(them.state, 'Z' | 'X') {
        return Some(Gate::Exited);
    }
    if want == Want::Attach && them.tracer.is_some() {
        return Some(Gate::Traced);
    }
    if them.refused == Some(false) {
        return None;
    }
    credentials(facts).or_else(|| modules(facts))
}

/// Whether `CAP_SYS_PTRACE` counts for the process: it does in our own user namespace and below it.
fn privileged(facts: &Facts) -> bool {
    let reaches = facts.them.same_user_ns != Some(false) || facts.us.first_user_ns;
    facts.us.capabilities & CAP_SYS_PTRACE != 0 && reaches
}

/// The kernel's own rules, before any security module is asked.
fn credentials(facts: &Facts) -> Option<Gate> {
    let (us, them) = (&facts.us, &facts.them);
    if privileged(facts) {
        return None;
    }
    let other_ns = them.same_user_ns == Some(false);
    if other_ns && !us.first_user_ns {
        return Some(Gate::UserNamespace);
    }
    let other_user = them.uids.iter().any(|uid| *uid != us.uid);
    let other_group = them.gids.iter().any(|gid| *gid != us.gid);
    let extra = them.capabilities & !us.capabilities;
    let shut = if other_user {
        Gate::Uid
    } else if other_group {
        Gate::Gid
    } else if them.dumpable == Some(false) {
        Gate::NotDumpable
    } else if extra != 0 {
        Gate::TargetCapabilities { extra }
    } else {
        return None;
    };
    Some(match shut {
        // Root would pass all of these with the capability that it usually has.
        _ if us.uid == 0 => Gate::Capability,
        Gate::Uid | Gate::Gid if other_ns => Gate::UserNamespace,
        shut => shut,
    })
}

fn modules(facts: &Facts) -> Option<Gate> {
    let (us, them, gates) = (&facts.us, &facts.them, &facts.gates);
    match gates.yama_scope {
        Some(scope @ 1) if !privileged(facts) && !them.descends_from_us => return Some(Gate::Yama { scope }),
        Some(scope @ 2) if !privileged(facts) => return Some(Gate::Yama { scope }),
        Some(scope @ 3..) => return Some(Gate::Yama { scope }),
        _ => {}
    }
    if them.refused != Some(true) {
        // Whether the others refuse cannot be foretold: their rules are not to be read.
        return None;
    }
    let confined =
        |label: &Option<String>| label.as_deref().is_some_and(|label| !label.starts_with("unconfined"));
    if gates.selinux_enforcing {
        Some(Gate::Selinux)
    } else if gates.apparmor && (confined(&us.label) || confined(&them.label)) {
        Some(Gate::Apparmor)
    } else if us.seccomp == 2 {
        Some(Gate::Seccomp)
    } else {
        Some(Gate::SecurityModule)
    }
}
