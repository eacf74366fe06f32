//! Findings beside the verdict: a recorded capture with one thing changed has one finding more, and the same verdict.

use stallscope::capture::model::{Capture, Package, Record};
use stallscope::diagnose::diagnose;
use stallscope::diagnose::model::Finding;
use stallscope::report::catalogue;

use super::{captures, verdicts};

/// The capture whose file name begins so.
fn capture(name: &str) -> Capture {
    captures().into_iter().find(|c| c.name.starts_with(name)).unwrap_or_else(|| panic!("{name}")).capture
}

/// The findings of all processes. Each is explained in the catalogue.
fn findings(capture: &Capture) -> Vec<Finding> {
    let found: Vec<Finding> = diagnose(capture).processes.into_iter().flat_map(|p| p.findings).collect();
    for finding in &found {
        assert!(catalogue::of(&finding.code).is_some(), "{} is not explained", finding.code);
    }
    found
}

/// The text of a finding that the change brings about and that was not there before.
fn brought_about(name: &str, code: &str, change: impl FnOnce(&mut Capture)) -> String {
    let mut capture = capture(name);
    let before = verdicts(&capture);
    let of = |capture: &Capture| findings(capture).into_iter().find(|f| f.code == code).map(|f| f.text);
    assert_eq!(of(&capture), None, "{code} is there before anything was changed");
    change(&mut capture);
    assert_eq!(verdicts(&capture), before, "{code} changes the verdict");
    of(&capture).unwrap_or_else(|| panic!("{code} is missing: {:?}", findings(&capture)))
}

fn packages(capture: &mut Capture, packages: &[(&str, &str)]) {
    let package =
        |(name, version): &(&str, &str)| Package { name: (*name).into(), version: (*version).into() };
    capture.header.server.packages = packages.iter().map(package).collect();
}

#[test]
fn a_version_with_a_known_fault() {
    let text = brought_about("modern-gevent-none", "known_bug", |c| packages(c, &[("gevent", "22.10.2")]));
    assert!(
        text.contains("gevent 22.10.2") && text.contains("gevent#2013") && text.contains("26.8"),
        "{text}"
    );
}

#[test]
fn an_agent_that_is_loaded() {
    let text = brought_about("modern-gevent-none", "apm_agent", |c| packages(c, &[("newrelic", "8.2.1")]));
    assert!(text.contains("newrelic 8.2.1"), "{text}");
}

#[test]
fn a_server_that_watches_its_sources() {
    brought_about("modern-gevent-none", "reload_on", |c| c.header.target.cmdline.push("--reload".into()));
}

#[test]
fn another_tracer() {
    let text = brought_about("modern-gevent-spin_watcher", "traced", |c| {
        for record in &mut c.records {
            if let Record::Process(facts) = record {
                facts.tracer_pid = 99;
            }
        }
    });
    assert!(text.contains("99"), "{text}");
}

#[test]
fn a_limit_of_descriptors_that_is_near() {
    let text = brought_about("modern-gevent-none", "fd_limit_near", |c| {
        for record in &mut c.records {
            if let Record::Process(facts) = record {
                facts.fd_limit = Some(10);
            }
        }
    });
    assert!(text.contains("of 10"), "{text}");
}

/// A collector that runs in a third of the readings is not the cause, and worth a word.
#[test]
fn a_collector_that_runs_often() {
    let text = brought_about("modern-gevent-cpu_python", "gc_heavy", |c| {
        let ticks = c.records.iter_mut().filter_map(|r| if let Record::Tick(t) = r { Some(t) } else { None });
        let running = ticks.flat_map(|t| &mut t.samples).filter(|s| s.stack.is_some() && s.state.is_none());
        for (number, sample) in running.enumerate() {
            sample.collecting = Some(number % 3 == 0);
        }
    });
    assert!(text.contains("33 %") || text.contains("34 %"), "{text}");
}

/// Threads that want processors all at once are native: four copies of a computing thread on one processor.
#[test]
fn more_computing_threads_than_processors() {
    let text = brought_about("modern-sync-cpu_python", "thread_oversubscription", |c| {
        c.header.host.cpus = 2;
        for record in &mut c.records {
            if let Record::Threads { threads, .. } = record {
                let busiest = threads.iter().max_by_key(|t| t.run_ns).cloned().unwrap();
                threads.extend((1..4).map(|n| {
                    let mut copy = busiest.clone();
                    copy.tid += 1_000_000 + n;
                    copy
                }));
            }
        }
    });
    assert!(text.contains("4 of its threads"), "{text}");
}

#[test]
fn an_idle_loop_that_wakes() {
    let all = findings(&capture("modern-gevent-none"));
    assert!(all.iter().any(|f| f.code == "normal_wakeups" && f.text.starts_with("normal:")), "{all:?}");
    let text = brought_about("modern-gevent-none", "fast_timer", |c| {
        for record in &mut c.records {
            if let Record::Threads { at_ns, threads, .. } = record {
                for thread in threads {
                    thread.voluntary_switches += *at_ns / 1_000_000;
                }
            }
        }
    });
    assert!(text.contains("times a second"), "{text}");
}
