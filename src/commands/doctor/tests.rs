//! The document and its page, from facts made up by hand.

use super::build;
use crate::capture::model::{HostFacts, Role};
use crate::diagnose::model::Code;
use crate::observe::gates::Gates;
use crate::observe::kernel_file::{FileBudget, ProcDir};
use crate::observe::own::Own;
use crate::observe::probe::{Source, Trial};
use crate::report::doctor::{Access, Doctor, OtherSeen, ServerSeen, TargetSeen, text};
use crate::report::style::Style;
use crate::target::access::place::Signs;
use crate::target::access::{Facts, Here};

fn here() -> Here {
    Here {
        us: Own {
            uid: 1000,
            gid: 1000,
            capabilities: 0,
            bounding: 0,
            no_new_privs: false,
            seccomp: 0,
            label: None,
            uid_map: "0 0 4294967295".into(),
            first_user_ns: true,
            first_namespaces: true,
        },
        gates: Gates {
            yama_scope: Some(1),
            schedstat: true,
            pressure: true,
            cgroup_version: Some(2),
            ..Gates::default()
        },
        signs: Signs { first_namespaces: true, ..Signs::default() },
    }
}

fn host() -> HostFacts {
    HostFacts {
        hostname: "vm".into(),
        kernel: "6.18".into(),
        arch: "x86_64".into(),
        cpus: 2,
        boot_id: "b".into(),
        ticks_per_s: 100,
    }
}

/// A process of another user, whose name is hostile.
fn facts() -> Facts {
    let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(0)).unwrap();
    let mut facts = Facts::gather(&me, Some(true), &here());
    let them = &mut facts.them;
    (them.capabilities, them.label, them.dumpable) = (0, None, Some(true));
    (them.pid, them.ns_pid, them.name, them.state) = (42, 7, "gun\x1b[2Jicorn".into(), 'S');
    (them.uids, them.gids, them.user) = ([33; 3], [33; 3], Some("www-data".into()));
    (them.tracer, them.descends_from_us, them.same_user_ns) = (None, false, Some(true));
    facts
}

fn trials() -> Vec<Trial> {
    let denied = |source| Trial { source, seen: Err("not permitted".into()), denied: true };
    vec![
        Trial { source: Source::Stat, seen: Ok("state S".into()), denied: false },
        Trial { source: Source::Schedstat, seen: Ok("9 times on a processor".into()), denied: false },
        denied(Source::Syscall),
        denied(Source::Memory),
        denied(Source::Descriptors),
        Trial { source: Source::Exe, seen: Ok(format!("/{}", "x\u{202e}".repeat(60))), denied: false },
    ]
}

fn document(target: Option<TargetSeen>) -> Doctor {
    let mut doctor = build::machine(&here(), &host(), Some("alice".into()), build::exit(target.as_ref()));
    doctor.target = target;
    doctor
}

#[test]
fn a_refused_process_is_degraded_and_its_gate_explained_once() {
    let target = build::target(&facts(), &trials(), None);
    assert_eq!(target.access, Access::Degraded);
    assert_eq!(target.gate.as_ref().map(|gate| gate.name.as_str()), Some("uid"));
    let page = text::render(&document(Some(target)), Style::default());
    assert_eq!(page.matches("cause:").count(), 1, "{page}");
    assert!(page.contains("uid=33 ours=1000") && page.contains("loop_blocked_off_cpu"), "{page}");
    assert!(page.contains("in its container 7"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    assert!(!page.contains('\x1b') && !page.contains('\u{202e}'), "{page:?}");
    assert!(page.contains("exit code 0"), "{page}");
}

#[test]
fn pages() {
    let mut target = build::target(&facts(), &trials(), None);
    let gate = target.gate.clone();
    let other = |pid, role, access, gate| OtherSeen { pid, role, access, gate };
    target.others = vec![
        other(41, Role::Arbiter, Access::Full, None),
        other(43, Role::Worker, Access::Degraded, gate.clone()),
        other(44, Role::Worker, Access::Degraded, gate.clone()),
    ];
    insta::assert_snapshot!("target", text::render(&document(Some(target)), Style::default()));
    let mut doctor = document(None);
    let server = |pid, name: &str, workers, access, gate| ServerSeen {
        pid,
        name: name.into(),
        workers,
        ports: vec![8000],
        access,
        gate,
    };
    doctor.servers = Some(vec![
        server(41, "gunicorn", 4, Access::Degraded, gate.clone()),
        server(60, "uvicorn", 1, Access::Degraded, gate),
        server(80, "na\u{202e}me", 0, Access::Full, None),
    ]);
    insta::assert_snapshot!("machine", text::render(&doctor, Style::default()));
}

#[test]
fn what_is_missing_costs_the_verdicts_that_need_it() {
    let target = build::target(&facts(), &trials(), None);
    let lost = |name: &str| target.sources.iter().find(|s| s.name == name).unwrap().costs.clone();
    assert!(lost("proc.syscall").contains(&Code::LoopBlockedOffCpu));
    assert!(lost("memory.file").contains(&Code::LoopBlockedOnCpu));
    assert!(lost("proc.fd").contains(&Code::HotSpin));
}

#[test]
fn without_processor_times_nothing_can_be_judged() {
    let mut trials = trials();
    for trial in trials.iter_mut().take(2) {
        trial.seen = Err("gone".into());
    }
    let target = build::target(&facts(), &trials, None);
    assert_eq!((target.access, build::exit(Some(&target)).code), (Access::None, 3));
}

#[test]
fn nobody_and_a_zombie_end_with_3() {
    let nobody = Facts::gather_absent(i32::MAX, &here());
    let target = build::target(&nobody, &[], None);
    assert_eq!((target.access, target.uid, build::exit(Some(&target)).code), (Access::None, None, 3));
    let mut zombie = facts();
    zombie.them.state = 'Z';
    let target = build::target(&zombie, &[], None);
    assert_eq!(target.gate.as_ref().map(|gate| gate.name.as_str()), Some("exited"));
    assert_eq!(build::exit(Some(&target)).code, 3);
}

#[test]
fn the_machine_says_what_limits_this_user() {
    let checks = document(None).machine;
    let yama = checks.iter().find(|check| check.name == "yama").unwrap();
    assert_eq!((yama.ok, yama.value.as_str()), (false, "ptrace_scope=1"));
    let mut capable = here();
    capable.us.capabilities = 1 << 19;
    let doctor = build::machine(&capable, &host(), None, build::exit(None));
    assert!(doctor.machine.iter().all(|check| check.ok), "{:?}", doctor.machine);
    assert_eq!(doctor.you.capabilities, ["CAP_SYS_PTRACE"]);
}
