//! Judgements made by hand, as real looks would give them, for the tests of the formats.

use crate::capture::model::{BlindSpot, Capture, Record};
use crate::capture::samples::{ARBITER, capture};
use crate::diagnose::model::{
    AcceptQueue, Advice, Code, Connections, Culprit, Diagnosis, EventLoop, Evidence, Finding, Heartbeat,
    Method, ProcessDiagnosis, ReportFrame, RunnerUp, ServerCode, ServerDiagnosis, ServerVerdict, Severity,
    Share, StackShare, ThreadShare, TimeBudget, Verdict,
};

fn counter(share: f64) -> Share {
    Share { share, method: Method::Counter, ..Share::default() }
}

fn sampled(share: f64, n: u64, of: u64, ci95: [f64; 2]) -> Share {
    Share { share, method: Method::Sampled, n: Some(n), of: Some(of), ci95: Some(ci95) }
}

fn evidence(
    id: &str,
    source: &str,
    observed: &str,
    limit: Option<(f64, &str, f64)>,
    supports: Code,
) -> Evidence {
    Evidence {
        id: id.into(),
        source: source.into(),
        observed: observed.into(),
        value: limit.map(|(value, _, _)| value),
        op: limit.map(|(_, op, _)| op.into()),
        threshold: limit.map(|(_, _, threshold)| threshold),
        supports,
    }
}

fn judged(
    pid: i32,
    code: Code,
    severity: Option<Severity>,
    confidence: f64,
    summary: &str,
) -> ProcessDiagnosis {
    ProcessDiagnosis {
        pid,
        verdict: Verdict {
            code,
            subcause: None,
            severity,
            confidence,
            summary: summary.into(),
            culprit: None,
            sub_windows_agree: "3/3".into(),
        },
        runner_up: None,
        time_budget: TimeBudget {
            on_cpu: counter(0.004),
            own_poller: sampled(0.996, 299, 300, [0.981, 0.999]),
            ..TimeBudget::default()
        },
        event_loop: EventLoop {
            kind: "libev".into(),
            turns_per_s: None,
            longest_gap_ms: None,
            gap_p99_ms: None,
        },
        heartbeat: None,
        connections: Some(Connections { in_flight: Some(0), ..Connections::default() }),
        evidence: Vec::new(),
        counter_evidence: Vec::new(),
        what_would_change: Vec::new(),
        findings: Vec::new(),
        advice: Vec::new(),
        stacks: Vec::new(),
        threads: Vec::new(),
        tasks: None,
    }
}

fn arbiter() -> ProcessDiagnosis {
    let mut judged = judged(
        ARBITER,
        Code::ArbiterNormal,
        Some(Severity::Info),
        0.99,
        "looks after its workers once a second: a select on its signal pipe, then one fstat per heartbeat file",
    );
    judged.event_loop.kind = "none".into();
    judged
}

fn idle(pid: i32) -> ProcessDiagnosis {
    judged(pid, Code::Idle, Some(Severity::Info), 0.97, "nothing is asked of it")
}

fn server(code: ServerCode, severity: Option<Severity>, confidence: f64, summary: &str) -> ServerDiagnosis {
    ServerDiagnosis {
        verdict: ServerVerdict { code, severity, confidence, summary: summary.into() },
        accept_queue: AcceptQueue { max: Some(3), backlog: Some(2_048), share_nonzero: Some(0.12) },
    }
}

fn frame(function: &str, file: &str, line: u32, kind: &str) -> ReportFrame {
    ReportFrame { function: function.into(), file: file.into(), line, kind: kind.into() }
}

fn spinning_evidence() -> Vec<Evidence> {
    vec![
        evidence(
            "E1",
            "proc.schedstat",
            "the loop thread is on a processor or wants one",
            Some((0.99, ">=", 0.7)),
            Code::HotSpin,
        ),
        evidence(
            "E2",
            "heartbeat.ctime",
            "the heartbeat is fresh, so the loop turns; longest gap in seconds",
            Some((0.42, "<", 1.0)),
            Code::HotSpin,
        ),
        evidence(
            "E3",
            "poll.readiness",
            "fd 16 was readable in 30 of 30 readings with 24 bytes waiting, and the bytes stayed",
            Some((1.0, ">=", 0.9)),
            Code::HotSpin,
        ),
        evidence("E4", "memory.stack", "gevent's hub alone in 291 of 300 stacks", None, Code::HotSpin),
    ]
}

fn spinning_advice() -> Vec<Advice> {
    vec![
            Advice {
                id: "A16".into(),
                change: "Make FeedPoller.start read fd 16 or take it out of the loop; the peer is 10.0.0.5:5432. Until then restart the two workers, one at a time.".into(),
                why: vec!["E3".into(), "E4".into()],
                risk: "a restarted worker spins again as soon as the peer sends".into(),
                expected_effect: "processor use of the worker falls below 5 %".into(),
            },
            Advice {
                id: "A1".into(),
                change: "Change to --worker-class gthread --threads 4".into(),
                why: vec!["E2".into()],
                risk: "it hides the bug; workers times threads must fit the database's pool".into(),
                expected_effect: "no loop is left that could spin".into(),
            },
        ]
}

/// A gevent worker that spins on a descriptor that nobody reads.
fn spinning(pid: i32) -> ProcessDiagnosis {
    let mut judged = judged(
        pid,
        Code::HotSpin,
        Some(Severity::Critical),
        0.95,
        "The loop turns about 5,400 times a second, always for fd 16, which is readable and which nobody reads.",
    );
    judged.verdict.subcause = Some("ready_fd_undrained".into());
    judged.verdict.culprit = Some(Culprit {
        kind: "fd".into(),
        function: Some("FeedPoller.start".into()),
        file: Some("/srv/portal/feed.py".into()),
        line: Some(88),
        fd: Some(16),
        what: Some("socket 10.0.0.7:41822".into()),
        peer: Some("10.0.0.5:5432".into()),
    });
    judged.runner_up = Some(RunnerUp {
        code: Code::HealthyBusy,
        margin: 0.6,
        rejected_because: vec![
            "no byte moved on any socket in 3 s".into(),
            "only one descriptor was ever ready".into(),
        ],
    });
    judged.time_budget = TimeBudget {
        on_cpu: counter(0.972),
        run_queue: counter(0.018),
        own_poller: sampled(0.01, 3, 300, [0.003, 0.029]),
        ..TimeBudget::default()
    };
    judged.event_loop.turns_per_s = Some(5_412.0);
    judged.event_loop.longest_gap_ms = Some(12);
    judged.event_loop.gap_p99_ms = Some(4);
    judged.heartbeat = Some(Heartbeat { age_ms: 420, cadence_ms: 1_000, source: "ctime".into() });
    judged.evidence = spinning_evidence();
    judged.counter_evidence = vec![evidence(
        "E5",
        "proc.stat",
        "user time is more than half of it, a bare spin has about as much system time",
        Some((0.58, "<", 0.5)),
        Code::LoopBlockedOnCpu,
    )];
    judged.what_would_change = vec![
        "a read on fd 16 would make it healthy_busy".into(),
        "a heartbeat older than 1.5 s would make it loop_blocked_on_cpu".into(),
    ];
    judged.findings = vec![Finding {
        code: "fd_near_limit".into(),
        severity: Severity::Warning,
        text: "871 of 1,024 descriptors are open".into(),
    }];
    judged.advice = spinning_advice();
    judged.stacks = vec![StackShare {
        thread: pid,
        state: "on_cpu".into(),
        share: 0.97,
        frames: vec![
            frame("epoll_wait", "libc.so.6", 0, "native"),
            frame("Hub.run", "/srv/venv/lib/python3.11/site-packages/gevent/hub.py", 647, "python"),
        ],
    }];
    judged.threads = vec![
        ThreadShare {
            tid: pid,
            name: "gunicorn".into(),
            state: "R".into(),
            on_cpu_share: Some(0.972),
            run_queue_share: Some(0.018),
            gil: Some("holds".into()),
            sleeping_in: None,
        },
        ThreadShare {
            tid: pid + 5_000,
            name: "ThreadPoolExec".into(),
            state: "S".into(),
            on_cpu_share: Some(0.0),
            run_queue_share: Some(0.0),
            gil: Some("none".into()),
            sleeping_in: Some("waiting for work".into()),
        },
    ];
    judged
}

/// The story: two of four gevent workers spin on a descriptor that nobody reads.
pub fn hot_spin() -> (Capture, Diagnosis) {
    let mut busy = judged(
        ARBITER + 4,
        Code::HealthyBusy,
        Some(Severity::Info),
        0.91,
        "12 requests a second, head-room left",
    );
    busy.time_budget.on_cpu = counter(0.21);
    busy.time_budget.own_poller = sampled(0.79, 237, 300, [0.741, 0.832]);
    let diagnosis = Diagnosis {
        server: server(
            ServerCode::OneBadWorker,
            Some(Severity::Critical),
            0.95,
            "2 of 4 workers burn a processor each without doing anything.",
        ),
        processes: vec![arbiter(), spinning(ARBITER + 1), idle(ARBITER + 2), spinning(ARBITER + 3), busy],
        blind_spots: Vec::new(),
        sub_windows: 3,
    };
    (capture(4), diagnosis)
}

/// A worker whose loop waits in a C driver for its database.
pub fn blocked() -> (Capture, Diagnosis) {
    let mut waiting = judged(
        ARBITER + 1,
        Code::LoopBlockedOffCpu,
        Some(Severity::Critical),
        0.82,
        "The loop thread sleeps in recvfrom on its database connection; no other greenlet can run meanwhile.",
    );
    waiting.verdict.subcause = Some("upstream".into());
    waiting.verdict.sub_windows_agree = "2/3".into();
    waiting.verdict.culprit = Some(Culprit {
        kind: "peer".into(),
        function: Some("Cursor.execute".into()),
        file: Some("/srv/portal/history.py".into()),
        line: Some(41),
        peer: Some("10.0.0.5:5432".into()),
        ..Culprit::default()
    });
    waiting.time_budget = TimeBudget {
        on_cpu: counter(0.012),
        upstream_socket: sampled(0.988, 297, 300, [0.971, 0.997]),
        ..TimeBudget::default()
    };
    waiting.evidence = vec![evidence(
        "E1",
        "proc.syscall",
        "the loop thread is in recvfrom on fd 19 instead of its own poller",
        Some((0.988, ">=", 0.5)),
        Code::LoopBlockedOffCpu,
    )];
    let diagnosis = Diagnosis {
        server: server(ServerCode::AllBlocked, Some(Severity::Critical), 0.82, "The only worker is blocked."),
        processes: vec![arbiter(), waiting],
        blind_spots: Vec::new(),
        sub_windows: 3,
    };
    let mut capture = capture(1);
    for record in &mut capture.records {
        if let Record::Process(process) = record {
            process.ns_pid -= ARBITER - 1;
        }
    }
    (capture, diagnosis)
}

/// A server of which nothing is asked.
pub fn idle_server() -> (Capture, Diagnosis) {
    let diagnosis = Diagnosis {
        server: server(ServerCode::Idle, Some(Severity::Info), 0.97, "Nothing is asked of it."),
        processes: vec![
            arbiter(),
            idle(ARBITER + 1),
            idle(ARBITER + 2),
            idle(ARBITER + 3),
            idle(ARBITER + 4),
        ],
        blind_spots: Vec::new(),
        sub_windows: 3,
    };
    (capture(4), diagnosis)
}

/// A look that was allowed to see too little, and whose capture was cut short.
pub fn unknown() -> (Capture, Diagnosis) {
    let denied = BlindSpot {
        what: "Python stacks of pid 4241".into(),
        why: "kernel.yama.ptrace_scope is 1 and this user is not root".into(),
        remedy: "sudo stallscope diagnose 4240".into(),
    };
    let mut capture = capture(1);
    capture.records.pop();
    capture.records.push(Record::Blind(denied.clone()));
    capture.header.server.version = None;
    capture.header.server.timeout_s = None;
    let mut worker = judged(
        ARBITER + 1,
        Code::Unknown,
        None,
        0.41,
        "The time budget covers 0.62 of the window; too little to tell.",
    );
    worker.verdict.sub_windows_agree = "1/3".into();
    let diagnosis = Diagnosis {
        server: ServerDiagnosis {
            verdict: ServerVerdict {
                code: ServerCode::Unknown,
                severity: None,
                confidence: 0.41,
                summary: "Not enough was seen.".into(),
            },
            accept_queue: AcceptQueue::default(),
        },
        processes: vec![worker],
        blind_spots: vec![
            denied,
            BlindSpot {
                what: "accept queue".into(),
                why: "the listener lies in another network namespace".into(),
                remedy: "run in the namespace of the target".into(),
            },
        ],
        sub_windows: 3,
    };
    (capture, diagnosis)
}

/// The story again, on a target that would like to own the terminal.
pub fn hostile() -> (Capture, Diagnosis) {
    let (mut capture, mut diagnosis) = blocked();
    capture.header.host.hostname = "portal\u{9b}31m".into();
    let worker = diagnosis.processes.last_mut().unwrap();
    worker.verdict.summary = "sleeps in \x1b]0;pwned\x07\x1b[2J\nok  server: healthy".into();
    let culprit = worker.verdict.culprit.as_mut().unwrap();
    culprit.function = Some("\x1b]52;c;cm0gLXJmIC8=\x07</text><script>".into());
    culprit.file = Some(format!("/srv/{}/\u{202e}yp.live", "very_long_folder/".repeat(40)));
    worker.evidence[0].id = "E1\x1b[1A".into();
    worker.evidence[0].source = "proc\u{200b}.syscall\r".into();
    worker.evidence[0].observed = "漢字".repeat(80);
    worker.evidence.push(evidence(&"E".repeat(5_000), &"proc.".repeat(1_000), "x", None, Code::Idle));
    worker.advice = vec![Advice {
        id: "A".repeat(900),
        change: "y ".repeat(2_000),
        why: vec!["\x1b".into()],
        risk: "\u{7}".into(),
        expected_effect: "é".into(),
    }];
    worker.findings =
        vec![Finding { code: "x\u{2066}".into(), severity: Severity::Info, text: "a\tb".into() }];
    worker.threads = vec![ThreadShare {
        tid: 7,
        name: "\x1b[31mred".into(),
        state: "\x07".into(),
        on_cpu_share: None,
        run_queue_share: None,
        gil: Some("\x1bc".into()),
        sleeping_in: Some("\x7f".into()),
    }];
    worker.stacks = vec![StackShare {
        thread: 7,
        state: "\x1b".into(),
        share: 1.0,
        frames: vec![frame("f\u{9d}", "g\u{85}", 3, "na\u{feff}tive")],
    }];
    (capture, diagnosis)
}
