//! Why a process cannot be looked at: facts in, one cause with its remedy out.
//!
//! Pure but for [`Facts::gather`]. It never advises to weaken the host.

use crate::error::{Error, ErrorKind};
use crate::observe::process::ProcessSnapshot;

/// What decides whether a process may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The process.
    pub pid: i32,
    /// Its effective user.
    pub their_uid: u32,
    /// Our effective user.
    pub our_uid: u32,
    /// Whether we have `CAP_SYS_PTRACE`.
    pub ptrace_capability: bool,
    /// Yama's `ptrace_scope`, where there is a Yama.
    pub yama_scope: Option<u8>,
    /// Whether the process may be read by its own user.
    pub dumpable: Option<bool>,
    /// Whether we are in its user namespace, if that can be told.
    pub same_user_ns: Option<bool>,
}

/// `CAP_SYS_PTRACE` is bit 19 of the capability sets.
const CAP_SYS_PTRACE: u64 = 1 << 19;

impl Facts {
    /// Reads the facts about a process and about us.
    #[must_use]
    pub fn gather(process: &ProcessSnapshot) -> Self {
        let own = procfs::process::Process::myself().and_then(|me| me.status());
        let user_ns = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
        Self {
            pid: process.pid,
            their_uid: process.effective_uid,
            our_uid: nix::unistd::geteuid().as_raw(),
            ptrace_capability: own.is_ok_and(|s| s.capeff & CAP_SYS_PTRACE != 0),
            yama_scope: std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
                .ok()
                .and_then(|s| s.trim().parse().ok()),
            dumpable: process.dumpable,
            same_user_ns: user_ns("self").zip(user_ns(&process.pid.to_string())).map(|(a, b)| a == b),
        }
    }

    /// The one gate that is closed.
    #[must_use]
    pub fn explain(&self) -> Error {
        let pid = self.pid;
        let denied = |cause: String, value: String| {
            Error::new(
                ErrorKind::NotPermitted,
                format!("the memory and descriptors of process {pid} may not be read"),
                cause,
            )
            .value(value)
        };
        let sudo = format!("sudo stallscope {pid}");
        if self.our_uid == 0 && !self.ptrace_capability {
            return denied(
                "root here lacks CAP_SYS_PTRACE, as in a container".into(),
                "CapEff without bit 19".into(),
            )
            .remedy("docker run --cap-add SYS_PTRACE …, or in Kubernetes: kubectl debug --profile=general …")
            .remedy("run stallscope on the host");
        }
        if self.same_user_ns == Some(false) {
            return denied("it lives in another user namespace".into(), format!("uid={}", self.our_uid))
                .remedy(format!("from the parent namespace: {sudo}"));
        }
        if self.our_uid != self.their_uid && !self.ptrace_capability {
            return denied(
                "it belongs to another user".into(),
                format!("uid={} ours={}", self.their_uid, self.our_uid),
            )
            .remedy(sudo);
        }
        if self.dumpable == Some(false) && !self.ptrace_capability {
            return denied(
                "it has dropped its privileges and is not dumpable since".into(),
                "dumpable=0".into(),
            )
            .remedy(sudo);
        }
        match self.yama_scope {
            Some(scope @ 1..=2) if !self.ptrace_capability => denied(
                "Yama lets only a parent or an administrator read a process".into(),
                format!("kernel.yama.ptrace_scope={scope}"),
            )
            .remedy(sudo)
            .remedy("sudo setcap cap_sys_ptrace=ep \"$(command -v stallscope)\""),
            Some(3) => denied(
                "Yama forbids reading any process until the next boot".into(),
                "kernel.yama.ptrace_scope=3".into(),
            ),
            _ => denied(
                "the kernel refuses, by a security module or a seccomp filter".into(),
                format!("uid={}", self.our_uid),
            )
            .remedy("look for the denial in the audit log: ausearch -m avc, or journalctl -k"),
        }
        .remedy(format!(
            "without it: stallscope --level proc {pid} (processor and queue verdicts, no stacks)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            pid: 42,
            their_uid: 1000,
            our_uid: 1000,
            ptrace_capability: false,
            yama_scope: None,
            dumpable: Some(true),
            same_user_ns: Some(true),
        }
    }

    #[test]
    fn each_gate_is_named_with_its_value() {
        let table = [
            (Facts { our_uid: 0, ..facts() }, "CAP_SYS_PTRACE", "CapEff without bit 19"),
            (Facts { our_uid: 7, ..facts() }, "another user", "uid=1000 ours=7"),
            (Facts { dumpable: Some(false), ..facts() }, "not dumpable", "dumpable=0"),
            (Facts { yama_scope: Some(1), ..facts() }, "Yama", "kernel.yama.ptrace_scope=1"),
            (Facts { yama_scope: Some(3), ..facts() }, "next boot", "kernel.yama.ptrace_scope=3"),
            (Facts { same_user_ns: Some(false), ..facts() }, "user namespace", "uid=1000"),
            (facts(), "security module", "uid=1000"),
        ];
        for (facts, cause, value) in table {
            let error = facts.explain();
            assert!(error.cause.contains(cause), "{error:?}");
            assert_eq!(error.value.as_deref(), Some(value));
        }
    }

    #[test]
    fn weakening_the_host_is_never_advised() {
        for scope in 0..=3 {
            let text = format!("{:?}", Facts { yama_scope: Some(scope), ..facts() }.explain());
            assert!(!text.contains("privileged") && !text.contains("ptrace_scope=0"), "{text}");
        }
    }
}
