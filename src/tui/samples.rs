//! Snapshots made by hand, for the tests of the state and of the panes.

use std::sync::Arc;

use super::app::{App, Snapshot};
use crate::capture::live::{Live, LiveProcess, Now, Own};
use crate::capture::model::{Capture, Frame, Record};
use crate::diagnose::model::{Backend, Connections, Diagnosis};
use crate::report::exit::{FailOn, decide};
use crate::report::model::Report;
use crate::report::{build, samples};

pub const SECOND: u64 = 1_000_000_000;

pub fn report((capture, diagnosis): &(Capture, Diagnosis)) -> Report {
    build(capture, diagnosis, decide(diagnosis, &FailOn::default(), None))
}

/// A server with a spinning worker, `seconds` after the look began.
pub fn snapshot(seconds: u64) -> Snapshot {
    let (capture, diagnosis) = samples::hot_spin();
    let mut report = report(&(capture.clone(), diagnosis));
    let backend = Backend { peer: "10.0.0.9:5432".into(), waiting: 2 };
    let connections = Connections {
        clients: 3,
        in_flight: Some(2),
        oldest_ms: Some(1_250),
        unread: 1,
        backends: vec![backend],
    };
    report.processes[1].connections = Some(connections);
    Snapshot { live: live(&capture, seconds), report: Some(Arc::new(report)), played: None }
}

/// A server whose names are hostile.
pub fn hostile() -> Snapshot {
    let (capture, diagnosis) = samples::hostile();
    let report = report(&(capture.clone(), diagnosis));
    let mut live = live(&capture, 1);
    for process in &mut live.processes {
        let evil = "\x1b]0;owned\x07\u{202e}\u{9b}2J".repeat(20);
        let frame = Frame { function: evil.clone(), file: evil.clone(), line: 1 };
        process.now = Some(Now { doing: evil, frame: Some(frame) });
    }
    Snapshot { live, report: Some(Arc::new(report)), played: None }
}

fn live(capture: &Capture, seconds: u64) -> Live {
    let facts = capture.records.iter().filter_map(|r| match r {
        Record::Process(facts) => Some(facts),
        _ => None,
    });
    let processes = facts.enumerate().map(|(at, facts)| LiveProcess {
        pid: facts.pid,
        start_time_ticks: facts.start_time_ticks,
        role: facts.role,
        gone: false,
        cpu: Some([0.0, 0.97, 0.02, 0.3, 0.0][at % 5]),
        run_queue: Some([0.0, 0.02, 0.0, 0.01, 0.0][at % 5]),
        now: Some(Now {
            doing: if at == 1 { "running".into() } else { "epoll_wait".into() },
            frame: Some(Frame {
                function: "Hub.run".into(),
                file: "/srv/venv/lib/python3.11/site-packages/gevent/hub.py".into(),
                line: 647,
            }),
        }),
    });
    Live {
        at_ns: seconds * SECOND,
        realtime_ns: capture.header.started_realtime_ns + seconds * SECOND,
        cpus: 4,
        host_busy: Some(0.34),
        throttled: Some(0.0),
        own: Own { cpu: Some(0.012), rss_kib: 13_000, lost: 3, asked: 12_345, late_ms: 2, rate_hz: 49.7 },
        processes: processes.collect(),
    }
}

/// The view after some seconds.
pub fn app(seconds: u64) -> App {
    let mut app = App::default();
    for second in 0..seconds {
        app.take(&Arc::new(snapshot(second)));
    }
    app
}
