//! Captures made by hand, as real looks would give them, for tests.

use super::model::{
    CAPTURE_VERSION, Capture, Header, HostFacts, Level, LoopKind, ProcessFacts, PythonFacts, Record, Role,
    SelfCost, ServerFacts, ServerKind, SourceCount, TargetFacts, WorkerClass,
};

/// The arbiter's pid; the workers count on from there.
pub const ARBITER: i32 = 4240;

/// A capture of a gunicorn with gevent workers and this many workers.
pub fn capture(workers: i32) -> Capture {
    let mut records: Vec<Record> =
        (0..=workers).map(|number| Record::Process(Box::new(process(ARBITER + number)))).collect();
    records.push(Record::End(own_cost()));
    Capture { header: header(), records }
}

fn header() -> Header {
    Header {
        capture_version: CAPTURE_VERSION.into(),
        tool_version: "0.1.0".into(),
        started_at: "2026-03-01T03:12:44Z".into(),
        started_realtime_ns: 1_772_334_764_000_000_000,
        started_monotonic_ns: 88_000_000_000_000,
        rate_hz: 100,
        duration_ms: 3_000,
        level: Level::Memory,
        host: HostFacts {
            hostname: "portal-7".into(),
            kernel: "6.1.0-28-amd64".into(),
            arch: "x86_64".into(),
            cpus: 4,
            boot_id: "5f0c6a3e-2f0a-4d2b-9a43-0d0e6b7f3c11".into(),
            ticks_per_s: 100,
        },
        target: TargetFacts {
            pid: ARBITER,
            start_time_ticks: 8_700_000,
            cmdline: [
                "/srv/venv/bin/python",
                "/srv/venv/bin/gunicorn",
                "--env",
                "DB_PASSWORD=hunter2",
                "portal:app",
            ]
            .map(String::from)
            .to_vec(),
            exe: Some("/usr/bin/python3.11".into()),
            cgroup: Some("/system.slice/portal.service".into()),
            container_id: None,
            selected_by: "port 8000".into(),
        },
        server: ServerFacts {
            kind: ServerKind::Gunicorn,
            version: Some("20.1.0".into()),
            worker_class: Some(WorkerClass::Gevent),
            listen: vec!["127.0.0.1:8000".into()],
            workers_configured: Some(4),
            threads_configured: None,
            max_requests: None,
            packages: Vec::new(),
            timeout_s: Some(30),
        },
    }
}

/// A worker of the server, or its arbiter.
pub(crate) fn process(pid: i32) -> ProcessFacts {
    let arbiter = pid == ARBITER;
    ProcessFacts {
        at_ns: 0,
        pid,
        ns_pid: pid,
        ppid: if arbiter { 1 } else { ARBITER },
        start_time_ticks: 8_700_000 + u64::from((pid - ARBITER).unsigned_abs()),
        age_ms: 259_200_000,
        name: "gunicorn".into(),
        cmdline: vec!["gunicorn: worker [portal]".into()],
        role: if arbiter { Role::Arbiter } else { Role::Worker },
        worker_class: (!arbiter).then_some(WorkerClass::Gevent),
        recognised_by: "gevent's libev is mapped".into(),
        python: Some(PythonFacts {
            version: "3.11.7".into(),
            implementation: "cpython".into(),
            runtime_start: 0x5600_0000,
            runtime_end: 0x5610_0000,
        }),
        tracer_pid: 0,
        loop_tid: pid,
        loop_kind: if arbiter { LoopKind::None } else { LoopKind::Libev },
        listen: vec!["127.0.0.1:8000".into()],
        cgroup: Some("/system.slice/portal.service".into()),
        net_ns: Some(4_026_531_840),
        fd_limit: Some(1_024),
    }
}

fn own_cost() -> SelfCost {
    let source = |name: &str, requested, obtained, denied: Option<&str>| SourceCount {
        name: name.into(),
        requested,
        obtained,
        denied: denied.map(Into::into),
        late_ms_max: 3,
    };
    SelfCost {
        at_ns: 3_004_000_000,
        cpu_ns: 21_400_000,
        rss_kib: 9_320,
        sources: vec![
            source("proc.syscall", 300, 296, None),
            source("memory.stack", 1_200, 1_200, None),
            source(
                "sock_diag.tcp_info",
                2,
                0,
                Some("EPERM: needs CAP_NET_ADMIN in the target's network namespace"),
            ),
        ],
        stacks_obtained: 1_200,
        stacks_torn: 3,
        stacks_discarded: 0,
        interrupted: false,
    }
}
