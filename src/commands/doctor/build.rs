//! From facts and trials to the document. Pure.

use crate::capture::model::HostFacts;
use crate::diagnose::model::Code;
use crate::observe::gates::Gates;
use crate::observe::probe::{Source, Trial};
use crate::report::doctor::{Access, Check, Doctor, GateSeen, SourceSeen, TargetSeen, You};
use crate::report::model::{Exit, SCHEMA_VERSION, Tool};
use crate::target::access::decide::CAP_SYS_PTRACE;
use crate::target::access::{Facts, Gate, Here, Presence, Want, decide, remedy};

/// Capabilities that a look can use, by bit.
const CAPABILITIES: [(u32, &str); 6] = [
    (2, "CAP_DAC_READ_SEARCH"),
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (40, "CAP_CHECKPOINT_RESTORE"),
];

/// The document without servers and target.
#[must_use]
pub fn machine(here: &Here, host: &HostFacts, user: Option<String>, exit: Exit) -> Doctor {
    Doctor {
        schema_version: SCHEMA_VERSION.into(),
        tool: Tool::own(),
        host: host.into(),
        you: You {
            uid: here.us.uid,
            user,
            gid: here.us.gid,
            place: here.signs.place().words().into(),
            capabilities: CAPABILITIES
                .iter()
                .filter(|(bit, _)| here.us.capabilities & (1 << bit) != 0)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            no_new_privs: here.us.no_new_privs,
        },
        machine: permits(here).into_iter().chain(measures(&here.gates)).collect(),
        servers: None,
        target: None,
        exit,
    }
}

fn check(name: &str, value: impl Into<String>, ok: bool, meaning: &str) -> Check {
    Check { name: name.into(), value: value.into(), ok, meaning: meaning.into() }
}

/// Who may read whom.
fn permits(here: &Here) -> Vec<Check> {
    let (us, gates) = (&here.us, &here.gates);
    let capable = us.capabilities & CAP_SYS_PTRACE != 0;
    let label = || us.label.clone().unwrap_or_else(|| "unconfined".into());
    let confined = us.label.as_deref().is_some_and(|label| !label.starts_with("unconfined"));
    vec![
        match gates.yama_scope {
            None => check("yama", "absent", true, "processes of your own user may be read"),
            Some(0) => check("yama", "ptrace_scope=0", true, "processes of your own user may be read"),
            Some(scope @ 1..=2) if capable => {
                check("yama", format!("ptrace_scope={scope}"), true, "CAP_SYS_PTRACE passes it")
            }
            Some(1) => check("yama", "ptrace_scope=1", false, "only your own children may be read"),
            Some(2) => check("yama", "ptrace_scope=2", false, "only CAP_SYS_PTRACE may read a process"),
            Some(scope) => check(
                "yama",
                format!("ptrace_scope={scope}"),
                false,
                "nobody may read a process until the next boot",
            ),
        },
        match (gates.selinux_enforcing, gates.selinux_deny_ptrace) {
            (false, _) => check("selinux", "not enforcing", true, "it denies nothing"),
            (true, false) => check("selinux", "enforcing", true, "its policy decides; doctor PID tries"),
            (true, true) => check("selinux", "deny_ptrace=1", false, "confined programs may read no process"),
        },
        if gates.apparmor && confined {
            check("apparmor", label(), false, "processes under another profile may not be read")
        } else if gates.apparmor {
            check("apparmor", label(), true, "stallscope is not confined")
        } else {
            check("apparmor", "absent", true, "it denies nothing")
        },
        match us.seccomp {
            0 => check("seccomp", "no filter", true, "no system call is forbidden"),
            mode => check(
                "seccomp",
                format!("mode {mode}"),
                true,
                "a filter stands; doctor PID tries what it permits",
            ),
        },
        if us.first_user_ns {
            check("user namespace", "the machine's own", true, "your rights count everywhere")
        } else {
            let map = us.uid_map.split_whitespace().collect::<Vec<_>>().join(":");
            check("user namespace", map, false, "your rights end at its border")
        },
        match &gates.hidepid {
            None => check("/proc", "shows all", true, "every process is visible"),
            Some(option) if capable => check("/proc", option.clone(), true, "CAP_SYS_PTRACE sees through it"),
            Some(option) => check("/proc", option.clone(), false, "processes of other users are hidden"),
        },
    ]
}

/// What the kernel measures.
fn measures(gates: &Gates) -> Vec<Check> {
    let mut checks = vec![
        check(
            "schedstat",
            if gates.schedstat { "filled" } else { "empty" },
            gates.schedstat,
            if gates.schedstat {
                "processor and run-queue times are exact"
            } else {
                "run-queue times are not known"
            },
        ),
        check(
            "pressure",
            if gates.pressure { "measured" } else { "absent" },
            gates.pressure,
            if gates.pressure {
                "the machine's shortage of processors is known"
            } else {
                "psi=1 at boot would tell the machine's shortage of processors"
            },
        ),
        match gates.cgroup_version {
            Some(version) => {
                check("cgroup", format!("version {version}"), true, "quotas and throttling can be read")
            }
            None => check("cgroup", "none", false, "quotas and throttling are not known"),
        },
        check(
            "perf_event_paranoid",
            gates.perf_event_paranoid.map_or_else(|| "absent".into(), |level| level.to_string()),
            true,
            "only trace --engine perf needs perf events",
        ),
    ];
    if gates.gvisor {
        checks.push(check("kernel", "gVisor", false, "its /proc lacks schedstat, wchan and syscall"));
    }
    checks
}

/// A gate as the document shows it.
#[must_use]
pub fn gate(gate: &Gate, facts: &Facts) -> GateSeen {
    GateSeen {
        name: gate.name().into(),
        cause: remedy::cause(gate, facts),
        value: remedy::value(gate, facts),
        remedies: remedy::remedies(gate, facts),
        without: remedy::without(gate, facts.them.pid),
    }
}

/// How much may be read behind a gate.
#[must_use]
pub const fn access(gate: Option<&Gate>) -> Access {
    match gate {
        None => Access::Full,
        Some(gate) if gate.shuts_all() => Access::None,
        Some(_) => Access::Degraded,
    }
}

/// One process.
#[must_use]
pub fn target(facts: &Facts, trials: &[Trial], python: Option<String>) -> TargetSeen {
    let them = &facts.them;
    let closed = decide(facts, Want::Read);
    let burst = decide(facts, Want::Attach);
    let seen = them.presence == Presence::Seen;
    // Without its processor times there is nothing to judge by, whatever else may be read.
    let blind = seen
        && !trials.iter().any(|t| t.seen.is_ok() && matches!(t.source, Source::Stat | Source::Schedstat));
    TargetSeen {
        pid: them.pid,
        ns_pid: them.ns_pid,
        name: them.name.clone(),
        uid: seen.then_some(them.uids[1]),
        user: them.user.clone(),
        state: seen.then_some(them.state),
        python,
        access: if blind { Access::None } else { access(closed.as_ref()) },
        sources: trials.iter().map(source).collect(),
        gate: closed.as_ref().map(|closed| gate(closed, facts)),
        burst: burst.as_ref().map(|closed| gate(closed, facts)),
        others: Vec::new(),
    }
}

fn source(trial: &Trial) -> SourceSeen {
    let (name, serves, costs) = about(trial.source);
    SourceSeen {
        name: name.into(),
        obtained: trial.seen.is_ok(),
        seen: trial.seen.clone().unwrap_or_else(|why| why),
        serves: serves.into(),
        costs: costs.to_vec(),
    }
}

/// Name, use, and the verdicts that need it. Each follows from the conditions of a rule.
const fn about(source: Source) -> (&'static str, &'static str, &'static [Code]) {
    use Code::{
        CgroupThrottled, CpuStarved, Deadlock, GilContention, HotSpin, Idle, LockContention,
        LoopBlockedOffCpu, LoopBlockedOnCpu, SaturatedProductive, StalledInProcess, WaitingClient,
        WaitingDisk, WaitingUpstream,
    };
    match source {
        Source::Stat => ("proc.stat", "state and processor times", &[]),
        Source::Schedstat => {
            ("proc.schedstat", "exact processor and run-queue times", &[CpuStarved, CgroupThrottled])
        }
        Source::Wchan => ("proc.wchan", "the kernel function a thread sleeps in", &[WaitingDisk]),
        Source::Syscall => (
            "proc.syscall",
            "what sleeping threads wait for",
            &[
                LoopBlockedOffCpu,
                LockContention,
                Deadlock,
                WaitingDisk,
                WaitingUpstream,
                WaitingClient,
                StalledInProcess,
                Idle,
            ],
        ),
        Source::Maps => ("proc.maps", "where the interpreter is", &[LoopBlockedOnCpu, GilContention]),
        Source::Memory => (
            "memory.file",
            "Python stacks and the interpreter lock",
            &[LoopBlockedOnCpu, GilContention, SaturatedProductive],
        ),
        Source::RemoteRead => ("memory.remote", "the same, many pages at once: cheaper", &[]),
        Source::Descriptors => (
            "proc.fd",
            "descriptors, epoll sets, heartbeat files; whose sockets are whose",
            &[HotSpin, WaitingUpstream, WaitingClient, StalledInProcess],
        ),
        Source::Environ => ("proc.environ", "gunicorn's settings in GUNICORN_CMD_ARGS", &[]),
        Source::Exe => ("proc.exe", "which program it is", &[]),
        Source::NetNamespace => ("proc.ns_net", "whether sockets can be looked up from here", &[]),
        Source::SockDiag => {
            ("sock_diag", "ages and bytes of connections, accept queues", &[StalledInProcess])
        }
        Source::SocketFiles => ("proc.net", "sockets where sock_diag does not answer", &[]),
        Source::Cgroup => ("cgroup", "quota and throttling", &[CgroupThrottled]),
    }
}

/// The exit code: 0 when a look can judge, be it from less than all; 3 when it cannot.
#[must_use]
pub fn exit(target: Option<&TargetSeen>) -> Exit {
    match target.map(|target| (target.access, &target.gate)) {
        None => Exit {
            code: 0,
            reason: "this machine was looked at; name a PID to see what may be read of it".into(),
        },
        Some((Access::Full, _)) => Exit { code: 0, reason: "a full diagnosis is possible".into() },
        Some((Access::Degraded, _)) => {
            Exit { code: 0, reason: "a diagnosis is possible, without what is denied above".into() }
        }
        Some((Access::None, gate)) => Exit {
            code: 3,
            reason: match gate {
                Some(gate) => format!("no diagnosis is possible: {}", gate.cause),
                None => "no diagnosis is possible".into(),
            },
        },
    }
}
