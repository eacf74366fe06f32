//! The matrix of permissions as a table: who asks whom, where, under which gates, and the one gate that must be named.

use super::facts::{Facts, Presence, Them, Tracer};
use super::place::{Place, Signs};
use super::*;
use crate::error::ErrorKind;
use crate::observe::gates::Gates;
use crate::observe::kernel_file::Unseen;
use crate::observe::own::Own;
use nix::errno::Errno;

const ALL: u64 = 0x1ff_ffff_ffff;
const PTRACE: u64 = decide::CAP_SYS_PTRACE;
/// The capabilities of root in a container of Docker, without `CAP_SYS_PTRACE`.
const DOCKER: u64 = 0xa804_25fb;

/// The least privilege that reaches into a container of Docker.
const SIDECAR: &str = "docker run --rm -it --pid=container:4f0bd5c0c1aa --cap-add SYS_PTRACE";

/// User 1000 on a plain machine asks about a process of its own.
fn same_user() -> Facts {
    Facts {
        them: Them {
            pid: 42,
            ns_pid: 42,
            name: "gunicorn".into(),
            presence: Presence::Seen,
            state: 'S',
            kernel_thread: false,
            parent: 41,
            uids: [1000; 3],
            gids: [1000; 3],
            user: Some("alice".into()),
            capabilities: 0,
            tracer: None,
            dumpable: Some(true),
            same_user_ns: Some(true),
            descends_from_us: false,
            label: None,
            refused: None,
            inside: Vec::new(),
        },
        us: Own {
            uid: 1000,
            gid: 1000,
            capabilities: 0,
            bounding: ALL,
            no_new_privs: false,
            seccomp: 0,
            label: None,
            uid_map: "0 0 4294967295".into(),
            first_user_ns: true,
            first_namespaces: true,
        },
        gates: Gates::default(),
        signs: Signs { first_namespaces: true, ..Signs::default() },
    }
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = same_user();
    change(&mut facts);
    facts
}

fn root(facts: &mut Facts) {
    (facts.us.uid, facts.us.gid, facts.us.capabilities) = (0, 0, ALL);
}

fn of_root(facts: &mut Facts) {
    (facts.them.uids, facts.them.gids, facts.them.capabilities) = ([0; 3], [0; 3], ALL);
    (facts.them.user, facts.them.dumpable) = (Some("root".into()), None);
}

fn of_bob(facts: &mut Facts) {
    (facts.them.uids, facts.them.gids, facts.them.user) = ([1001; 3], [1001; 3], Some("bob".into()));
}

/// Root of a container of Docker.
fn in_docker(facts: &mut Facts) {
    root(facts);
    (facts.us.capabilities, facts.us.bounding, facts.us.seccomp) = (DOCKER, DOCKER, 2);
    facts.us.first_namespaces = false;
    facts.signs = Signs { dockerenv: true, hostname: "4f0bd5c0c1aa".into(), ..Signs::default() };
}

/// Root of a user namespace below the machine's, looking out of it.
fn child_user_ns(facts: &mut Facts) {
    root(facts);
    (facts.us.first_user_ns, facts.us.uid_map) = (false, "0 1000 1".into());
    facts.them.same_user_ns = Some(false);
}

fn confined(facts: &mut Facts) {
    refused(facts);
    facts.gates.apparmor = true;
    facts.us.label = Some("docker-default (enforce)".into());
    facts.them.label = Some("unconfined".into());
}

fn refused(facts: &mut Facts) {
    facts.them.refused = Some(true);
}

/// Facts, the gate, its value, the beginning of its first remedy.
type Row = (&'static str, Facts, &'static str, &'static str, &'static str);

fn assert_rows(rows: Vec<Row>, want: Want) {
    for (what, facts, gate, value, first) in rows {
        let closed = decide(&facts, want).unwrap_or_else(|| panic!("{what}: no gate is closed"));
        assert_eq!(closed.name(), gate, "{what}");
        let error = remedy::error(&closed, &facts);
        assert_eq!(error.value.as_deref().unwrap_or(""), value, "{what}");
        let remedy = error.remedies.first().map_or("", String::as_str);
        assert!(!first.is_empty() && remedy.starts_with(first), "{what}: {remedy}");
        let all = format!("{error:?}");
        assert!(!all.contains("privileged") && !all.contains("ptrace_scope=0"), "{what}: {all}");
    }
}

#[rustfmt::skip]
#[test]
fn who_may_read_is_kept_from_nothing() {
    let strace = || Some(Tracer { pid: 7, name: "strace".into() });
    let open = [
        ("root", with(|f| { root(f); of_bob(f); })),
        ("same user without Yama", same_user()),
        ("same user, found open", with(|f| { f.gates.yama_scope = Some(1); f.them.refused = Some(false); })),
        ("a child under Yama", with(|f| { f.gates.yama_scope = Some(1); f.them.descends_from_us = true; })),
        ("root under Yama", with(|f| { root(f); f.gates.yama_scope = Some(2); })),
        ("a capable file", with(|f| { f.us.capabilities = PTRACE; of_bob(f); })),
        ("root of a container and its process", with(|f| { in_docker(f); of_root(f); f.them.capabilities = DOCKER; })),
        ("root, of a child user namespace", with(|f| { root(f); of_bob(f); f.them.same_user_ns = Some(false); })),
        ("traced by somebody", with(|f| f.them.tracer = strace())),
    ];
    for (what, facts) in open {
        assert_eq!(decide(&facts, Want::Read), None, "{what}");
    }
}

// A table is read by its columns: what, facts; gate, value, first remedy.
#[rustfmt::skip]
#[test]
fn the_kernels_own_rules() {
    let no_ptrace = ALL & !PTRACE;
    assert_rows(vec![
        ("other user", with(of_bob),
            "uid", "uid=1001 ours=1000", "sudo -u bob stallscope 42"),
        ("other user without a name", with(|f| { of_bob(f); f.them.user = None; }),
            "uid", "uid=1001 ours=1000", "sudo -u '#1001' stallscope 42"),
        ("becoming its user would not suffice: Yama", with(|f| { of_bob(f); f.gates.yama_scope = Some(1); }),
            "uid", "uid=1001 ours=1000", "sudo stallscope 42"),
        ("nor here: not dumpable", with(|f| { of_bob(f); f.them.dumpable = Some(false); }),
            "uid", "uid=1001 ours=1000", "sudo stallscope 42"),
        ("root's", with(of_root),
            "uid", "uid=0 ours=1000", "sudo stallscope 42"),
        ("another real user", with(|f| f.them.uids = [1001, 1000, 1000]),
            "uid", "uid=1001 ours=1000", "sudo stallscope 42"),
        ("other group", with(|f| f.them.gids = [1000, 33, 33]),
            "gid", "gid=33 ours=1000", "sudo stallscope 42"),
        ("not dumpable", with(|f| f.them.dumpable = Some(false)),
            "not_dumpable", "dumpable=0", "sudo stallscope 42"),
        ("not dumpable, no_new_privs", with(|f| { f.them.dumpable = Some(false); f.us.no_new_privs = true; }),
            "not_dumpable", "dumpable=0", "from a root shell, as sudo has no effect"),
        ("more capabilities", with(|f| f.them.capabilities = 1 << 10),
            "target_capabilities", "CapPrm=0000000000000400, of which 0000000000000400 are not ours", "sudo stallscope 42"),
        ("root without the capability, other user", with(|f| { root(f); f.us.capabilities = no_ptrace; of_bob(f); }),
            "capability", "CapEff without bit 19", "from a root shell with all its capabilities"),
        ("root that can never have it", with(|f| { root(f); f.us.capabilities = no_ptrace; f.us.bounding = no_ptrace; of_bob(f); }),
            "capability", "CapEff without bit 19", "from a root shell whose bounding set has CAP_SYS_PTRACE"),
        ("root without it, full root", with(|f| { root(f); f.us.capabilities = no_ptrace; of_root(f); }),
            "capability", "CapEff without bit 19", "from a root shell"),
        ("root of a container, other user", with(|f| { in_docker(f); of_bob(f); }),
            "capability", "CapEff without bit 19", SIDECAR),
        ("root of a child user namespace, outside", with(|f| { child_user_ns(f); of_root(f); }),
            "user_namespace", "uid_map=0:1000:1", "outside of this user namespace"),
        ("user outside, child user namespace", with(|f| { of_bob(f); f.them.same_user_ns = Some(false); }),
            "user_namespace", "uid_map=0:0:4294967295", "sudo stallscope 42"),
    ], Want::Read);
}

#[rustfmt::skip]
#[test]
fn security_modules_and_filters() {
    let label = |text: &str| Some(text.to_owned());
    assert_rows(vec![
        ("Yama 1", with(|f| f.gates.yama_scope = Some(1)),
            "yama", "kernel.yama.ptrace_scope=1", "sudo stallscope 42"),
        ("Yama 1 in a container", with(|f| { in_docker(f); of_root(f); f.them.capabilities = DOCKER; f.gates.yama_scope = Some(1); }),
            "yama", "kernel.yama.ptrace_scope=1", SIDECAR),
        ("Yama 2, a child", with(|f| { f.gates.yama_scope = Some(2); f.them.descends_from_us = true; }),
            "yama", "kernel.yama.ptrace_scope=2", "sudo stallscope 42"),
        ("Yama 3, root", with(|f| { root(f); f.gates.yama_scope = Some(3); }),
            "yama", "kernel.yama.ptrace_scope=3", "nothing before the next boot"),
        ("SELinux's boolean", with(|f| { root(f); refused(f); f.gates.selinux_enforcing = true; f.gates.selinux_deny_ptrace = true; }),
            "selinux", "deny_ptrace=1", "sudo ausearch -m avc"),
        ("SELinux's policy", with(|f| { refused(f); f.gates.selinux_enforcing = true; f.us.label = label("staff_t"); f.them.label = label("httpd_t"); }),
            "selinux", "enforcing, ours=staff_t theirs=httpd_t", "sudo ausearch -m avc"),
        ("AppArmor in Docker", with(|f| { in_docker(f); of_root(f); f.us.capabilities = ALL; confined(f); }),
            "apparmor", "ours=docker-default (enforce) theirs=unconfined", "on the host: sudo stallscope PID"),
        ("AppArmor on a host", with(|f| { root(f); confined(f); }),
            "apparmor", "ours=docker-default (enforce) theirs=unconfined", "journalctl -k -g apparmor"),
        ("seccomp", with(|f| { root(f); refused(f); f.us.seccomp = 2; f.gates.apparmor = true; f.us.label = label("unconfined"); }),
            "seccomp", "Seccomp=2", "run stallscope outside of the filter"),
        ("nothing that can be told", with(refused),
            "security_module", "uid=1000", "look for the denial in the audit log"),
    ], Want::Read);
}

#[rustfmt::skip]
#[test]
fn who_is_not_to_be_seen() {
    let hidden = |option: &str, gid| with(|f| {
        f.them.presence = Presence::Hidden;
        (f.gates.hidepid, f.gates.hidepid_gid) = (Some(option.into()), gid);
    });
    assert_rows(vec![
        ("hidepid", hidden("hidepid=2", None),
            "hidepid", "hidepid=2", "sudo stallscope 42"),
        ("hidepid with a group", hidden("hidepid=invisible", Some(27)),
            "hidepid", "hidepid=invisible", "join the group that sees all processes (gid 27)"),
        ("hidepid that knows no group", hidden("hidepid=ptraceable", Some(27)),
            "hidepid", "hidepid=ptraceable", "sudo stallscope 42"),
        ("zombie", with(|f| { f.them.state = 'Z'; root(f); }),
            "exited", "state=Z", "look at its parent: stallscope 41"),
        ("kernel thread", with(|f| { f.them.kernel_thread = true; root(f); }),
            "kernel_thread", "", "name a process of a server"),
        ("gone", with(|f| f.them.presence = Presence::Nobody),
            "no_such_process", "", "stallscope --name gunicorn"),
        ("in a container", with(|f| { f.them.presence = Presence::Nobody; f.them.inside = vec![31_337]; }),
            "pid_namespace", "NSpid=42", "stallscope 31337"),
    ], Want::Read);
}

#[test]
fn a_burst_needs_that_nobody_else_traces() {
    let strace = with(|f| {
        root(f);
        f.them.tracer = Some(Tracer { pid: 4349, name: "strace".into() });
    });
    assert_rows(
        vec![("traced", strace, "traced", "TracerPid=4349 (strace)", "wait for process 4349 (strace)")],
        Want::Attach,
    );
    assert_eq!(decide(&same_user(), Want::Attach), None);
}

#[test]
fn the_remedy_fits_the_place() {
    let id = "0123456789ab".repeat(5) + "cdef";
    let mut facts = with(|f| {
        in_docker(f);
        of_bob(f);
    });
    let table = [
        (
            Signs { containerenv: Some("rootless=1".into()), ..Signs::default() },
            Place::Podman { rootless: true },
            "podman run",
        ),
        (
            Signs { kubernetes: true, hostname: "web-7d4b".into(), ..Signs::default() },
            Place::Kubernetes,
            "kubectl debug -it web-7d4b --image=IMAGE --target=CONTAINER --profile=general",
        ),
        (Signs { ecs: true, ..Signs::default() }, Place::Ecs, "in the task definition"),
        (
            Signs { traces: format!("/x/{id}"), ..Signs::default() },
            Place::Container,
            "give stallscope's container CAP_SYS_PTRACE",
        ),
        (
            Signs { traces: format!("/docker/{id}"), ..Signs::default() },
            Place::Docker,
            "docker run --rm -it --pid=container:0123456789ab",
        ),
    ];
    for (signs, place, first) in table {
        assert_eq!(signs.place(), place);
        facts.signs = signs;
        let remedies = remedy::remedies(&Gate::Capability, &facts);
        assert!(remedies[0].starts_with(first), "{remedies:?}");
        assert!(remedies.iter().all(|r| !r.starts_with("sudo")), "{remedies:?}");
    }
    facts.them.pid = 1;
    let remedies = remedy::remedies(&Gate::Capability, &facts);
    assert_eq!(
        remedies[1],
        "on the host: sudo stallscope \"$(docker inspect -f '{{.State.Pid}}' 0123456789ab)\""
    );
}

#[test]
fn what_still_works_is_said_last_where_anything_does() {
    let last = |facts: &Facts, want| {
        let error = remedy::error(&decide(facts, want).unwrap(), facts);
        error.remedies.last().cloned().unwrap()
    };
    assert!(last(&with(of_bob), Want::Read).starts_with("without it: stallscope --level proc 42"));
    let gone = with(|f| f.them.presence = Presence::Nobody);
    assert!(!last(&gone, Want::Read).contains("without it"));
    let zombie = with(|f| f.them.state = 'Z');
    let error = remedy::error(&decide(&zombie, Want::Read).unwrap(), &zombie);
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::NotObservable, "process 42 (gunicorn) has exited")
    );
}

#[rustfmt::skip]
#[test]
fn why_there_are_no_perf_events() {
    let denied = || NoPerf::Unreadable { path: "/t/id".into(), why: Unseen::Denied };
    let gave = |errno| NoPerf::Refused(errno);
    let paranoid = |level| with(|f| f.gates.perf_event_paranoid = Some(level));
    let perfmon = |f: &mut Facts| { root(f); of_bob(f); f.gates.perf_event_paranoid = Some(2); };
    let unlock = "without it: stallscope trace 42 --engine ptrace (stops threads, briefly)";
    let rows: Vec<(&str, NoPerf, Facts, &str, &str)> = vec![
        ("not mounted, root", NoPerf::NotMounted, with(root),
            "no tracefs in /proc/self/mounts", "mount -t tracefs tracefs /sys/kernel/tracing"),
        ("not mounted, user", NoPerf::NotMounted, same_user(),
            "no tracefs in /proc/self/mounts", "sudo mount -t tracefs"),
        ("not mounted, container", NoPerf::NotMounted, with(in_docker),
            "no tracefs in /proc/self/mounts", "give stallscope's container the machine's: -v /sys/kernel/tracing"),
        ("no tracefs", NoPerf::NoTracefs, with(root), "CONFIG_TRACING", unlock),
        ("no such tracepoint", NoPerf::Unreadable { path: "/t/id".into(), why: Unseen::Absent }, with(root),
            "CONFIG_FTRACE_SYSCALLS", unlock),
        ("garbled", NoPerf::Unreadable { path: "/t/id".into(), why: Unseen::Garbled }, with(root),
            "/t/id: not understood", "look for the denial"),
        ("locked down", denied(), with(|f| { root(f); f.gates.lockdown = Some("confidentiality".into()); }),
            "lockdown=confidentiality", unlock),
        ("locked down a little, user", denied(), with(|f| f.gates.lockdown = Some("integrity".into())),
            "uid=1000", "sudo stallscope trace 42 --engine perf"),
        ("user without sudo", denied(), with(|f| f.us.no_new_privs = true),
            "uid=1000", "from a root shell"),
        ("paranoid", gave(Errno::EACCES), paranoid(2),
            "kernel.perf_event_paranoid=2", "sudo stallscope trace 42 --engine perf"),
        ("more so, as Debian can be", gave(Errno::EPERM), paranoid(3),
            "kernel.perf_event_paranoid=3", "sudo stallscope trace 42 --engine perf"),
        ("not paranoid, another's", gave(Errno::EACCES), with(|f| { of_bob(f); f.gates.perf_event_paranoid = Some(1); }),
            "uid=1001 ours=1000", "sudo -u bob stallscope 42"),
        ("not paranoid, not dumpable", gave(Errno::EACCES), with(|f| { f.them.dumpable = Some(false); f.gates.perf_event_paranoid = Some(-1); }),
            "dumpable=0", "sudo stallscope 42"),
        ("root of a container", gave(Errno::EPERM), with(|f| { in_docker(f); f.gates.perf_event_paranoid = Some(2); }),
            "CapEff without bit 38", "on the machine itself"),
        ("root of a user namespace", gave(Errno::EACCES), with(|f| { child_user_ns(f); f.gates.perf_event_paranoid = Some(2); }),
            "uid_map=0:1000:1", "on the machine itself"),
        ("root under a filter", gave(Errno::EPERM), with(|f| { perfmon(f); f.us.seccomp = 2; }),
            "Seccomp=2", "run stallscope outside of the filter"),
        ("root, a filter that says otherwise", gave(Errno::ENOSYS), with(|f| { perfmon(f); f.us.seccomp = 2; }),
            "Seccomp=2", "run stallscope outside of the filter"),
        ("root, no perf events", gave(Errno::ENOSYS), with(root), "CONFIG_PERF_EVENTS", unlock),
        ("root and a security module", gave(Errno::EACCES), with(perfmon), "EACCES", "look for the denial"),
        ("no descriptors", NoPerf::NoRoom(Errno::EMFILE), with(root), "EMFILE", "ulimit -n"),
        ("no memory", NoPerf::NoRoom(Errno::EPERM), with(root), "EPERM", "ulimit -l"),
    ];
    for (what, failed, facts, value, first) in rows {
        let error = perf::error(&perf::decide_perf(&failed, &facts), &facts);
        assert_eq!(error.value.as_deref(), Some(value), "{what}: {error:?}");
        assert!(error.remedies[0].starts_with(first), "{what}: {error:?}");
        assert_eq!(error.kind, ErrorKind::NotPermitted, "{what}");
        let all = format!("{error:?}");
        assert!(!all.contains("privileged") && !all.contains("sysctl"), "{what}: {all}");
    }
    let gone = perf::error(&perf::decide_perf(&NoPerf::Gone, &same_user()), &same_user());
    assert_eq!((gone.kind, gone.remedies.len()), (ErrorKind::Gone, 0));
}
