use super::*;
use crate::error::{Error, ErrorKind};
use crate::report::exit::{FailOn, decide};
use crate::report::received::{self, Received, ReceivedError};
use crate::report::sanitize::is_harmful;
use crate::report::style::Style;
use crate::report::{build, json, samples};

fn report(
    sample: &(crate::capture::model::Capture, crate::diagnose::model::Diagnosis),
    host: &str,
) -> Received {
    let exit = decide(&sample.1, &FailOn::default(), None);
    let mut report = received::own(&build(&sample.0, &sample.1, exit)).unwrap();
    report.host.hostname = host.into();
    report.host.boot_id = format!("booted-{host}");
    report
}

/// Two hosts whose workers wait for the same database, one that spins, and one that is well.
fn fleet() -> Gatherer {
    let mut gatherer = Gatherer::new(FailOn::default());
    gatherer.add("1.json", &report(&samples::blocked(), "web-1"));
    gatherer.add("2.json", &report(&samples::idle_server(), "web-2"));
    gatherer.add("3.json", &report(&samples::blocked(), "web-3"));
    gatherer.add("4.json", &report(&samples::hot_spin(), "web-4"));
    gatherer
}

#[test]
fn what_several_hosts_have_in_common() {
    let fleet = fleet().finish();
    assert_eq!((fleet.reports, fleet.hosts, fleet.workers), (4, 4, 10));
    assert_eq!(fleet.looks[0].hostname, "web-4", "the most critical workers");
    assert_eq!(fleet.looks.last().unwrap().hostname, "web-2", "the one that is well");
    let upstream = &fleet.upstreams[0];
    assert_eq!(
        (upstream.what.as_str(), upstream.hosts, upstream.processes),
        ("10.0.0.5:5432 (PostgreSQL)", 3, 4)
    );
    assert_eq!(upstream.codes, ["hot_spin", "loop_blocked_off_cpu"]);
    assert_eq!(upstream.hostnames, ["web-1", "web-3", "web-4"]);
    let functions: Vec<_> = fleet.functions.iter().map(|f| (f.what.as_str(), f.hosts)).collect();
    assert_eq!(functions, [("Cursor.execute (/srv/portal/history.py)", 2)]);
    assert_eq!(fleet.exit.code, 1);
    insta::assert_snapshot!("fleet", text::render(&fleet, Style::default()));
    insta::assert_snapshot!("fleet_markdown", markdown::render(&fleet));
}

#[test]
fn addresses_that_mean_another_on_every_host_are_not_shared() {
    let shared = |peer: &str, boot: Option<&str>| {
        let mut gatherer = Gatherer::new(FailOn::Never);
        for host in ["web-1", "web-2"] {
            let mut report = report(&samples::blocked(), host);
            report.processes[1].verdict.culprit.as_mut().unwrap().peer = Some(peer.into());
            if let Some(boot) = boot {
                (report.host.hostname, report.host.boot_id) = ("host-1".into(), boot.into());
            }
            gatherer.add(host, &report);
        }
        let fleet = gatherer.finish();
        assert_eq!(fleet.hosts, 2);
        fleet.upstreams.len()
    };
    for peer in ["10.0.0.5:5432", "[2001:db8::1]:80", "db.internal"] {
        assert_eq!(shared(peer, None), 1, "{peer}");
    }
    for peer in ["127.0.0.1:5432", "[::1]:80", "/run/db.sock", "@db", "unix:/x", ""] {
        assert_eq!(shared(peer, None), 0, "{peer}");
    }
    assert_eq!(shared("198.18.0.1:5432", Some("boot-1")), 0, "a pseudonym");
}

#[test]
fn one_blind_spot_of_many_processes_is_counted() {
    let mut gatherer = Gatherer::new(FailOn::Never);
    let mut report = report(&samples::unknown(), "web-1");
    for pids in ["4242", "77", "1, 22, 333, 4444", "7, 8"] {
        let mut spot = report.blind_spots[0].clone();
        spot.what = format!("Python stacks of pid {pids}");
        report.blind_spots.push(spot);
    }
    gatherer.add("x", &report);
    let fleet = gatherer.finish();
    assert_eq!(
        (fleet.blind_spots[0].what.as_str(), fleet.blind_spots[0].count),
        ("Python stacks of pid N", 5)
    );
    assert_eq!(fleet.exit.code, 4, "nothing is known");
}

#[test]
fn what_is_missing_is_told_and_no_success() {
    let mut gatherer = Gatherer::new(FailOn::default());
    gatherer.add("1.json", &report(&samples::idle_server(), "web-1"));
    gatherer.unread("2.json", &Error::new(ErrorKind::BadReport, "x", "it ends in the middle"));
    let failed = ReceivedError { kind: "not_permitted".into(), message: "m".into(), cause: "c".into() };
    gatherer.failed("3.json", &failed);
    let fleet = gatherer.finish();
    assert_eq!((fleet.exit.code, fleet.exit.reason.as_str()), (3, "2 of 3 reports are missing"));
    let kinds: Vec<_> = fleet.missing.iter().map(|m| (m.source.as_str(), m.kind.as_str())).collect();
    assert_eq!(kinds, [("2.json", "bad_report"), ("3.json", "not_permitted")]);
    assert!(text::render(&fleet, Style::default()).contains("2.json  it ends in the middle"));
}

#[test]
fn a_fleet_of_which_nothing_came_in_says_so() {
    let mut gatherer = Gatherer::new(FailOn::default());
    gatherer.failed("1.json", &ReceivedError::default());
    let fleet = gatherer.finish();
    assert_eq!((fleet.exit.code, fleet.exit.reason.as_str()), (3, "1 of 1 report is missing"));
    for page in [text::render(&fleet, Style::default()), markdown::render(&fleet)] {
        assert!(
            page.contains("no report came in") && !page.contains("worst") && !page.contains("verdict |"),
            "{page}"
        );
    }
}

#[test]
fn a_thousand_reports_are_one_page_and_a_bounded_document() {
    let mut gatherer = Gatherer::new(FailOn::Never);
    let mut sample = report(&samples::hot_spin(), "web");
    let flood = "x".repeat(5_000);
    sample.server.verdict.summary.clone_from(&flood);
    for number in 0..1_000 {
        sample.host.hostname = format!("web-{number}");
        sample.host.boot_id = format!("boot of {number}");
        for process in &mut sample.processes {
            process.verdict.code = format!("code-{number}-{}{flood}", process.pid);
        }
        gatherer.add("r.json", &sample);
    }
    let fleet = gatherer.finish();
    assert_eq!((fleet.reports, fleet.hosts), (1_000, 1_000));
    assert_eq!(fleet.left_out, 1_000 * 5 - 4_096);
    assert!(text::render(&fleet, Style::default()).lines().count() < 120);
    assert!(json::line(&fleet).len() < 10_000_000, "{}", json::line(&fleet).len());
    assert!(markdown::render(&fleet).len() < 200_000);
}

#[test]
fn texts_of_others_do_nothing_in_any_form() {
    for attack in ["\x1b[2J", "a | b\n| c |", "<script>", "\u{202e}x", "::error::x\n##[error]y", "`|`"] {
        let mut gatherer = Gatherer::new(FailOn::default());
        for host in ["1", "2"] {
            let mut report = report(&samples::blocked(), &format!("{attack}{host}"));
            report.server.kind = attack.into();
            report.server.version = Some(attack.into());
            report.server.verdict.code = attack.into();
            for process in &mut report.processes {
                process.role = attack.into();
                process.verdict.code = attack.into();
                if let Some(culprit) = &mut process.verdict.culprit {
                    (culprit.function, culprit.peer) = (Some(attack.into()), Some(format!("x{attack}")));
                }
            }
            gatherer.add(attack, &report);
        }
        gatherer.unread(attack, &Error::new(ErrorKind::Io, attack, attack));
        let fleet = gatherer.finish();
        assert_eq!((fleet.upstreams.len(), fleet.functions.len()), (1, 1), "{attack:?}");
        let markdown = markdown::render(&fleet);
        for form in [&text::render(&fleet, Style::default()), &markdown, &json::render(&fleet)] {
            assert!(!form.chars().any(|c| c != '\n' && is_harmful(c)), "{attack:?}: {form}");
            assert!(!form.lines().any(|line| line.trim_start().starts_with("::")), "{form}");
        }
        for row in markdown.lines().filter(|line| line.starts_with("| ")) {
            assert_eq!(row.matches('|').count(), 5, "{attack:?}: {row}");
        }
        assert!(!markdown.lines().any(|line| !line.contains('`') && line.contains("<script>")), "{markdown}");
    }
}
