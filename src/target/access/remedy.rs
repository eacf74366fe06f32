//! What a closed gate means in words, and what opens it where the tool runs. Pure.
//!
//! The least privilege that suffices comes first, and nothing that changes the machine for others is named: neither
//! `ptrace_scope=0` nor a privileged container.

use super::decide::{CAP_SYS_PTRACE, Gate, Want, decide};
use super::facts::{Facts, Presence};
use super::place::{Place, Signs};
use crate::error::{Error, ErrorKind};
use crate::observe::own::Own;

/// A gate as an error: what failed, the cause, its value, its remedies, and last what works without them.
#[must_use]
pub fn error(gate: &Gate, facts: &Facts) -> Error {
    let pid = facts.them.pid;
    let who = who(facts);
    let (kind, message) = match gate {
        Gate::NoSuchProcess | Gate::PidNamespace { .. } => (ErrorKind::NotFound, format!("no process {pid}")),
        Gate::Hidepid => (ErrorKind::NotPermitted, format!("process {pid} exists but /proc hides it")),
        Gate::KernelThread => (ErrorKind::NotObservable, format!("{who} is a kernel thread")),
        Gate::Exited => (ErrorKind::NotObservable, format!("{who} has exited")),
        Gate::Traced => (ErrorKind::NotPermitted, format!("{who} may not be stopped for a burst")),
        _ => (ErrorKind::NotPermitted, format!("the memory of {who} may not be read")),
    };
    let mut error = Error::new(kind, message, cause(gate, facts));
    error.value = value(gate, facts);
    error.remedies = remedies(gate, facts);
    error.remedies.extend(without(gate, pid).map(|without| format!("without it: {without}")));
    error
}

/// Process 42 (gunicorn).
fn who(facts: &Facts) -> String {
    let them = &facts.them;
    if them.name.is_empty() {
        format!("process {}", them.pid)
    } else {
        format!("process {} ({})", them.pid, them.name)
    }
}

/// Why the gate is closed, in one sentence.
#[must_use]
pub fn cause(gate: &Gate, facts: &Facts) -> String {
    let them = &facts.them;
    match gate {
        Gate::NoSuchProcess => "there is no such process in this pid namespace".into(),
        Gate::PidNamespace { here } => {
            let list: Vec<String> = here.iter().map(i32::to_string).collect();
            let number = them.pid;
            format!("{number} is the pid of a process inside its container; here it is {}", list.join(" or "))
        }
        Gate::Hidepid if facts.gates.hidepid.is_none() => "/proc hides it".into(),
        Gate::Hidepid => "/proc is mounted with hidepid, which hides the processes of other users".into(),
        Gate::KernelThread => "it has no program and no memory of its own".into(),
        Gate::Exited => format!("it is a zombie: its parent, process {}, has not reaped it", them.parent),
        Gate::Traced => "somebody traces it already, and there can be only one".into(),
        Gate::UserNamespace if facts.us.first_user_ns => "it lives in another user namespace".into(),
        Gate::UserNamespace => "it lives outside of our user namespace, where our rights end".into(),
        Gate::Capability => "root here lacks CAP_SYS_PTRACE, as in a container".into(),
        Gate::Uid => "it belongs to another user".into(),
        Gate::Gid => "it belongs to another group".into(),
        Gate::NotDumpable => "it has dropped its privileges and is not dumpable since".into(),
        Gate::TargetCapabilities { .. } => "it has capabilities that you lack".into(),
        Gate::Yama { scope: 1 } => "Yama lets only a parent or an administrator read a process".into(),
        Gate::Yama { scope: 2 } => "Yama lets only an administrator read a process".into(),
        Gate::Yama { .. } => "Yama forbids reading any process until the next boot".into(),
        Gate::Selinux => "SELinux's policy does not permit it".into(),
        Gate::Apparmor => "AppArmor's profile does not permit it".into(),
        Gate::Seccomp => "a filter of system calls stands around stallscope".into(),
        Gate::SecurityModule => "the kernel refuses, by a security module or a seccomp filter".into(),
    }
}

/// The value that shows it.
#[must_use]
pub fn value(gate: &Gate, facts: &Facts) -> Option<String> {
    let (us, them) = (&facts.us, &facts.them);
    let first_other =
        |ids: &[u32; 3], ours: u32| ids.iter().copied().find(|id| *id != ours).unwrap_or(ids[1]);
    let label = |label: &Option<String>| label.clone().unwrap_or_else(|| "none".into());
    Some(match gate {
        Gate::NoSuchProcess | Gate::KernelThread => return None,
        Gate::PidNamespace { .. } => format!("NSpid={}", them.pid),
        Gate::Hidepid => return facts.gates.hidepid.clone(),
        Gate::Exited => format!("state={}", them.state),
        Gate::Traced => {
            let tracer = them.tracer.as_ref()?;
            format!("TracerPid={} ({})", tracer.pid, tracer.name)
        }
        Gate::UserNamespace => {
            format!("uid_map={}", us.uid_map.split_whitespace().collect::<Vec<_>>().join(":"))
        }
        Gate::Capability => "CapEff without bit 19".into(),
        Gate::Uid => format!("uid={} ours={}", first_other(&them.uids, us.uid), us.uid),
        Gate::Gid => format!("gid={} ours={}", first_other(&them.gids, us.gid), us.gid),
        Gate::NotDumpable => "dumpable=0".into(),
        Gate::TargetCapabilities { extra } => {
            format!("CapPrm={:016x}, of which {extra:016x} are not ours", them.capabilities)
        }
        Gate::Yama { scope } => format!("kernel.yama.ptrace_scope={scope}"),
        Gate::Selinux if facts.gates.selinux_deny_ptrace => "deny_ptrace=1".into(),
        Gate::Selinux => format!("enforcing, ours={} theirs={}", label(&us.label), label(&them.label)),
        Gate::Apparmor => format!("ours={} theirs={}", label(&us.label), label(&them.label)),
        Gate::Seccomp => format!("Seccomp={}", us.seccomp),
        Gate::SecurityModule => format!("uid={}", us.uid),
    })
}

/// What still works with the gate closed.
#[must_use]
pub fn without(gate: &Gate, pid: i32) -> Option<String> {
    match gate {
        gate if gate.shuts_all() => None,
        Gate::Traced => Some(format!("stallscope {pid} (everything that is not a burst of stops)")),
        _ => Some(format!("stallscope --level proc {pid} (processor and queue verdicts, no stacks)")),
    }
}

/// What opens the gate.
#[must_use]
pub fn remedies(gate: &Gate, facts: &Facts) -> Vec<String> {
    let pid = facts.them.pid;
    match gate {
        Gate::NoSuchProcess => vec![
            "stallscope --name gunicorn".into(),
            "if the pid is from inside a container, run stallscope there or use the pid on the host".into(),
        ],
        Gate::PidNamespace { here } => here.iter().take(3).map(|pid| format!("stallscope {pid}")).collect(),
        Gate::Hidepid => hidden(facts),
        Gate::KernelThread => vec!["name a process of a server: stallscope --name gunicorn".into()],
        Gate::Exited => vec![format!("look at its parent: stallscope {}", facts.them.parent)],
        Gate::Traced => {
            let tracer = facts.them.tracer.as_ref();
            tracer.map(|t| format!("wait for process {} ({}), or end it", t.pid, t.name)).into_iter().collect()
        }
        Gate::UserNamespace if !facts.us.first_user_ns => {
            vec![format!("outside of this user namespace, as {pid}'s user or root, with its pid there: stallscope {pid}")]
        }
        Gate::Uid => {
            let mut found: Vec<String> = as_their_user(facts).into_iter().collect();
            found.extend(elevate(facts));
            found
        }
        Gate::UserNamespace | Gate::Capability | Gate::Gid | Gate::NotDumpable | Gate::TargetCapabilities { .. } => {
            elevate(facts)
        }
        Gate::Yama { scope: 3.. } => vec!["nothing before the next boot".into()],
        Gate::Yama { scope } => {
            let mut found = elevate(facts);
            if *scope == 1 && facts.signs.place() == Place::Host {
                found.push("start the server so that it permits it: setpriv --ptracer any gunicorn … (util-linux 2.41)".into());
            }
            found
        }
        Gate::Selinux => vec![
            "sudo ausearch -m avc -ts recent (names what was denied: permit that in the policy)".into(),
        ],
        Gate::Apparmor => match facts.signs.place() {
            Place::Host => vec!["journalctl -k -g apparmor (names what was denied: permit that in the profile)".into()],
            Place::Docker => vec![
                from_the_host(facts),
                format!(
                    "docker run --rm -it --pid=container:{} --cap-add SYS_PTRACE --security-opt apparmor=unconfined IMAGE \
                     stallscope {pid} (this container only)",
                    facts.signs.container()
                ),
            ],
            _ => elevate(facts),
        },
        Gate::Seccomp => vec![
            "run stallscope outside of the filter, or let its profile permit openat, pread64 and process_vm_readv".into(),
        ],
        Gate::SecurityModule => {
            vec!["look for the denial in the audit log: ausearch -m avc, or journalctl -k".into()]
        }
    }
}

fn hidden(facts: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    // ptraceable (4) shows what may be traced, and knows no exempt group.
    let by_group =
        !facts.gates.hidepid.as_deref().is_some_and(|h| h.ends_with("=4") || h.ends_with("ptraceable"));
    if let Some(gid) = facts.gates.hidepid_gid.filter(|_| by_group) {
        found.push(format!(
            "join the group that sees all processes (gid {gid}), then: stallscope --level proc {}",
            facts.them.pid
        ));
    }
    found.extend(elevate(facts));
    found
}

/// As the process's own user, where that alone opens every gate.
fn as_their_user(facts: &Facts) -> Option<String> {
    let them = &facts.them;
    let mut there = facts.clone();
    // Its user has no more rights than that, and nobody has tried yet.
    (there.us.uid, there.us.gid, there.us.capabilities) = (them.uids[1], them.gids[1], 0);
    there.them.refused = None;
    there.them.presence = Presence::Seen;
    if them.uids[1] == 0 || facts.us.no_new_privs || decide(&there, Want::Read).is_some() {
        return None;
    }
    let pid = them.pid;
    let user = them.user.clone().unwrap_or_else(|| format!("'#{}'", them.uids[1]));
    match facts.signs.place() {
        Place::Host => Some(format!("sudo -u {user} stallscope {pid}")),
        Place::Docker => {
            Some(format!("docker exec -it -u {} {} stallscope {pid}", them.uids[1], facts.signs.container()))
        }
        Place::Podman { .. } => {
            Some(format!("podman exec -it -u {} {} stallscope {pid}", them.uids[1], facts.signs.container()))
        }
        _ => None,
    }
}

/// The ways to `CAP_SYS_PTRACE`.
fn elevate(facts: &Facts) -> Vec<String> {
    let mut found = vec![with_capability(&facts.us, &facts.signs, &facts.them.pid.to_string())];
    match facts.signs.place() {
        Place::Host if facts.us.uid != 0 && !facts.us.no_new_privs => found.push(
            "sudo setcap cap_sys_ptrace=ep \"$(command -v stallscope)\" (lets everybody who may run it read any process)"
                .into(),
        ),
        Place::Host | Place::Ecs => {}
        _ => found.push(from_the_host(facts)),
    }
    found
}

/// `stallscope` with these arguments and with `CAP_SYS_PTRACE`, where the tool runs.
#[must_use]
pub fn with_capability(us: &Own, signs: &Signs, args: &str) -> String {
    let container = signs.container();
    match signs.place() {
        Place::Host if us.uid == 0 && us.bounding & CAP_SYS_PTRACE == 0 => format!(
            "from a root shell whose bounding set has CAP_SYS_PTRACE (in a unit: CapabilityBoundingSet=): stallscope {args}"
        ),
        Place::Host if us.uid == 0 => format!("from a root shell with all its capabilities: stallscope {args}"),
        Place::Host if us.no_new_privs => {
            format!("from a root shell, as sudo has no effect here (no_new_privs): stallscope {args}")
        }
        Place::Host => format!("sudo stallscope {args}"),
        Place::Docker => {
            format!("docker run --rm -it --pid=container:{container} --cap-add SYS_PTRACE IMAGE stallscope {args}")
        }
        Place::Podman { .. } => {
            format!("podman run --rm -it --pid=container:{container} --cap-add SYS_PTRACE IMAGE stallscope {args}")
        }
        Place::Kubernetes => format!(
            "kubectl debug -it {} --image=IMAGE --target=CONTAINER --profile=general -- stallscope {args}",
            signs.pod()
        ),
        Place::Ecs => {
            "in the task definition: \"linuxParameters\": {\"capabilities\": {\"add\": [\"SYS_PTRACE\"]}}, \"pidMode\": \"task\""
                .into()
        }
        Place::Container => "give stallscope's container CAP_SYS_PTRACE".into(),
    }
}

/// From outside of the container, which leaves it as it is.
fn from_the_host(facts: &Facts) -> String {
    let container = facts.signs.container();
    let first = facts.them.pid == 1;
    match facts.signs.place() {
        Place::Docker if first => {
            format!("on the host: sudo stallscope \"$(docker inspect -f '{{{{.State.Pid}}}}' {container})\"")
        }
        Place::Docker => {
            format!("on the host: sudo stallscope PID, with the pid that docker top {container} shows")
        }
        Place::Podman { rootless: true } => {
            format!(
                "on the host, as the container's user: stallscope PID, with the pid that podman top {container} hpid shows"
            )
        }
        Place::Podman { rootless: false } => {
            format!("on the host: sudo stallscope PID, with the pid that podman top {container} hpid shows")
        }
        Place::Kubernetes => "on the node, as root: stallscope --name gunicorn".into(),
        _ => "on the host, as root: stallscope --name gunicorn".into(),
    }
}
