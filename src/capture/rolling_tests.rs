//! What stays and what goes when the window moves on, and whether the judge is told the same.

use std::path::PathBuf;

use super::*;
use crate::capture::model::{
    CgroupSample, Doing, HostSample, Role, Socket, ThreadCounters, ThreadSample, Tick,
};
use crate::capture::reader;
use crate::capture::samples;
use crate::diagnose::diagnose;
use crate::diagnose::ladder::code_name;

const S: u64 = 1_000_000_000;

fn rolling(window_s: u64) -> Rolling {
    let capture = samples::capture(1);
    let mut rolling = Rolling::new(capture.header, window_s * S);
    capture.records.into_iter().filter(|r| matches!(r, Record::Process(_))).for_each(|r| rolling.push(r));
    rolling
}

fn sample(pid: i32, run_ns: u64, doing: Doing) -> ThreadSample {
    ThreadSample { run_ns, slices: run_ns, ..ThreadSample::of(pid, pid, doing) }
}

fn tick(at_ns: u64, samples: Vec<ThreadSample>) -> Record {
    Record::Tick(Tick { at_ns, late_ns: 0, samples })
}

fn threads(at_ns: u64, pid: i32, run_ns: u64, delay_ns: u64) -> Record {
    let counters = ThreadCounters {
        tid: pid,
        name: "gunicorn".into(),
        state: 'S',
        utime_ticks: 0,
        stime_ticks: 0,
        run_ns: Some(run_ns),
        delay_ns: Some(delay_ns),
        slices: Some(1),
        voluntary_switches: 0,
        involuntary_switches: 0,
        blkio_ticks: 0,
    };
    Record::Threads { at_ns, pid, threads: vec![counters] }
}

fn captures() -> Vec<(String, Capture)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "cap"));
    files.sort();
    assert!(files.len() >= 12, "the captures are missing");
    files.iter().map(|f| (f.display().to_string(), reader::read(f).unwrap())).collect()
}

fn verdicts(capture: &Capture) -> Vec<(i32, String)> {
    diagnose(capture).processes.iter().map(|p| (p.pid, code_name(p.verdict.code))).collect()
}

#[test]
fn a_window_is_judged_as_the_look_that_it_holds() {
    for (name, capture) in captures() {
        let mut rolling = Rolling::new(capture.header.clone(), 60 * S);
        capture.records.iter().cloned().for_each(|record| rolling.push(record));
        rolling.forget_old();
        assert_eq!(verdicts(&rolling.capture()), verdicts(&capture), "{name}");
    }
}

/// The same three seconds again and again: descriptors, epoll sets, names and stacks come only once.
#[test]
fn it_stays_bounded_and_the_verdict_stays_the_same() {
    const ROUNDS: u64 = 10;
    for (name, capture) in captures() {
        let len = capture.records.iter().map(at).max().unwrap();
        let mut rolling = Rolling::new(capture.header.clone(), len - 1);
        let mut most = (0, 0);
        for round in 0..ROUNDS {
            for record in &capture.records {
                let once = matches!(
                    record,
                    Record::Name { .. }
                        | Record::Frame { .. }
                        | Record::Stack { .. }
                        | Record::Process(_)
                        | Record::Descriptors { .. }
                        | Record::EpollSet { .. }
                );
                if round > 0 && once {
                    continue;
                }
                let mut record = record.clone();
                let at_ns = at(&record) + round * len;
                set_at(&mut record, at_ns);
                rolling.push(record);
            }
            rolling.forget_old();
            most = (most.0.max(rolling.records.len()), most.1.max(rolling.costs.len()));
            let window = rolling.capture();
            assert!(window.records.iter().all(|record| at(record) <= len), "{name}");
            if round + 1 == ROUNDS {
                assert_eq!(verdicts(&window), verdicts(&capture), "{name}");
            }
        }
        assert!(most.0 <= capture.records.len() && most.1 <= 3, "{name}: {most:?}");
    }
}

#[test]
fn times_count_from_the_start_of_the_window() {
    let mut rolling = rolling(3);
    for at in 0..10 {
        rolling.push(tick(at * S, vec![sample(4_241, at, Doing::Running)]));
    }
    rolling.forget_old();
    let capture = rolling.capture();
    let ticks: Vec<u64> = capture.records.iter().filter(|r| matches!(r, Record::Tick(_))).map(at).collect();
    assert_eq!(ticks, [0, S, 2 * S, 3 * S]);
    assert_eq!(capture.header.started_realtime_ns, rolling.header().started_realtime_ns + 6 * S);
    assert_eq!(capture.header.started_at, "2026-03-01T03:12:50.000Z");
    let facts = |pid: i32| {
        capture.records.iter().find_map(|r| match r {
            Record::Process(facts) if facts.pid == pid => Some(facts.clone()),
            _ => None,
        })
    };
    assert_eq!(facts(4_241).unwrap().age_ms, 259_200_000 + 6_000, "it is older than when first seen");
}

#[test]
fn whoever_has_ended_leaves_with_the_window() {
    let mut rolling = rolling(3);
    rolling.push(Record::Gone { at_ns: S, pid: 4_241, status: None });
    rolling.push(tick(2 * S, Vec::new()));
    rolling.forget_old();
    assert!(rolling.live().processes.iter().any(|p| p.pid == 4_241 && p.gone));
    rolling.push(tick(5 * S, Vec::new()));
    rolling.forget_old();
    assert!(rolling.live().processes.iter().all(|p| p.pid != 4_241));
}

#[test]
fn a_pid_that_is_used_again_is_somebody_else() {
    let mut rolling = rolling(3);
    rolling.push(tick(S, vec![sample(4_240, 1, Doing::Running), sample(4_241, 1, Doing::Running)]));
    rolling.push(threads(S, 4_241, 1, 0));
    let again = rolling.processes[&4_241].facts.clone();
    rolling.push(Record::Process(Box::new(ProcessFacts {
        at_ns: 2 * S,
        start_time_ticks: 9,
        ..again.clone()
    })));
    let whose: Vec<i32> = rolling.capture().records.iter().filter_map(whose).collect();
    assert!(!whose.contains(&4_241), "{whose:?}");
    let window = rolling.capture();
    let samples = window.records.iter().filter_map(|r| match r {
        Record::Tick(tick) => Some(tick.samples.len()),
        _ => None,
    });
    assert_eq!(samples.sum::<usize>(), 1);
    // Facts that are only better known are the same process.
    rolling.push(threads(2 * S, 4_241, 1, 0));
    let better = ProcessFacts { at_ns: 2 * S, start_time_ticks: 9, listen: vec!["x".into()], ..again };
    rolling.push(Record::Process(Box::new(better)));
    assert!(rolling.capture().records.iter().any(|r| super::whose(r) == Some(4_241)));
    assert_eq!(rolling.processes[&4_241].facts.listen, ["x"]);
}

#[test]
fn the_cost_is_that_of_the_window() {
    let capture = samples::capture(1);
    let Some(Record::End(cost)) = capture.records.last().cloned() else { panic!("no cost") };
    let mut rolling = rolling(3);
    for second in 1..=10 {
        let mut cost = cost.clone();
        cost.at_ns = second * S;
        cost.cpu_ns = second * 20_000_000;
        cost.sources[0].requested = second * 100;
        cost.sources[0].obtained = second * 99;
        rolling.push(tick(second * S, Vec::new()));
        rolling.push(Record::End(cost));
        rolling.forget_old();
    }
    let window = rolling.capture();
    let Some(Record::End(cost)) = window.records.last() else { panic!("no cost") };
    assert_eq!((cost.at_ns, cost.cpu_ns), (3 * S, 60_000_000));
    assert_eq!((cost.sources[0].requested, cost.sources[0].obtained), (300, 297));
    let own = rolling.live().own;
    assert_eq!(own.cpu, Some(0.02), "of a processor");
    assert!(own.lost > 0 && own.asked > own.lost);
}

#[test]
fn reset_forgets_what_was_seen_and_not_who() {
    let mut rolling = rolling(3);
    rolling.push(tick(S, vec![sample(4_241, 1, Doing::Running)]));
    rolling.push(Record::Sockets { at_ns: S, sockets: Vec::<Socket>::new() });
    rolling.push(tick(2 * S, vec![sample(4_241, 2, Doing::Running)]));
    rolling.reset();
    assert_eq!(rolling.start_ns(), 2 * S);
    let window = rolling.capture();
    assert_eq!(window.records.iter().filter(|r| matches!(r, Record::Tick(_))).count(), 1);
    assert_eq!(window.records.iter().filter(|r| matches!(r, Record::Process(_))).count(), 2);
}

#[test]
fn live_numbers_are_those_of_the_last_second() {
    let mut rolling = rolling(3);
    // Nothing before, half a processor and a quarter of the time in a queue since.
    for quarter in 0..=12 {
        let since = u64::saturating_sub(quarter, 4);
        rolling.push(threads(quarter * S / 4, 4_241, since * S / 8, since * S / 16));
    }
    let call = Doing::Syscall(232, [7, 0, 0, 0, 0, 0]);
    rolling.push(Record::Name { id: 0, text: "ep_poll".into() });
    rolling.push(Record::Frame {
        id: 0,
        frame: Frame { function: "run".into(), file: "hub.py".into(), line: 7 },
    });
    rolling.push(Record::Stack { id: 0, frames: vec![0], complete: true });
    let asleep = ThreadSample { stack: Some(0), ..sample(4_241, 1, call) };
    rolling.push(tick(3 * S, vec![asleep.clone()]));
    let host = |at_ns, idle_ticks, total_ticks| {
        Record::Host(HostSample {
            at_ns,
            idle_ticks,
            total_ticks,
            steal_ticks: 0,
            psi_cpu_some_us: None,
            psi_io_some_us: None,
            suspended_ns: 0,
        })
    };
    let group = |at_ns, throttled_ns| {
        Record::Cgroup(CgroupSample {
            at_ns,
            path: "/portal".into(),
            version: 2,
            pids: vec![4_241],
            quota_us: Some(1),
            period_us: 2,
            nr_periods: 1,
            nr_throttled: 1,
            throttled_ns,
            frozen: false,
        })
    };
    for record in [host(2 * S, 0, 0), group(2 * S, 0), host(3 * S, 150, 200), group(3 * S, S / 10)] {
        rolling.push(record);
    }
    let live = rolling.live();
    let worker = live.processes.iter().find(|p| p.pid == 4_241).unwrap();
    assert_eq!((worker.cpu, worker.run_queue), (Some(0.5), Some(0.25)));
    let now = worker.now.clone().unwrap();
    assert_eq!((now.doing.as_str(), now.frame.unwrap().function.as_str()), ("epoll_wait", "run"));
    assert_eq!((live.host_busy, live.throttled), (Some(0.25), Some(0.1)));
    assert_eq!(live.processes.iter().find(|p| p.role == Role::Arbiter).unwrap().cpu, None);
    // A running thread whose stack was not read this time was where it was seen last.
    rolling.push(tick(3 * S + 1, vec![ThreadSample { doing: Doing::Running, stack: None, ..asleep }]));
    let now = rolling.live().processes.iter().find(|p| p.pid == 4_241).unwrap().now.clone().unwrap();
    assert_eq!((now.doing.as_str(), now.frame.unwrap().line), ("running", 7));
}
