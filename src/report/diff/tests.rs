use super::*;
use crate::report::exit::{FailOn, decide};
use crate::report::received::{self, Received};
use crate::report::sanitize::is_harmful;
use crate::report::style::Style;
use crate::report::{build, json, samples};

fn report(sample: &(crate::capture::model::Capture, crate::diagnose::model::Diagnosis)) -> Received {
    let exit = decide(&sample.1, &FailOn::default(), None);
    received::own(&build(&sample.0, &sample.1, exit)).unwrap()
}

fn compared(before: &Received, after: &Received) -> Comparison {
    compare(Named { source: "a.json", report: before }, Named { source: "b.json", report: after })
}

fn server(severity: Option<&str>, workers: &[Option<&str>]) -> Received {
    let mut report = Received::default();
    report.server.verdict.code = format!("of_{}", severity.unwrap_or("nobody"));
    report.server.verdict.severity = severity.map(str::to_owned);
    report.processes = (10..)
        .zip(workers)
        .map(|(pid, severity)| {
            let mut process = received::ReceivedProcess { pid, role: "worker".into(), ..Default::default() };
            process.verdict.code = severity.unwrap_or("unheard_of").to_owned();
            process.verdict.severity = severity.map(str::to_owned);
            process
        })
        .collect();
    report
}

#[test]
fn the_story_and_its_cure() {
    let (story, cured) = (report(&samples::hot_spin()), report(&samples::idle_server()));
    let better = compared(&story, &cured);
    assert_eq!((better.change, better.exit.code), (Change::Better, 0));
    assert_eq!((better.before.critical_workers, better.after.critical_workers), (2, 0));
    let gone: Vec<&str> = better.gone.iter().map(|t| t.code.as_str()).collect();
    assert_eq!(gone, ["hot_spin", "fd_near_limit"]);
    assert!(better.new.is_empty() && better.stayed.is_empty());
    insta::assert_snapshot!("better", text::render(&better, Style::default()));
    insta::assert_snapshot!("better_markdown", markdown::render(&better));

    let worse = compared(&cured, &story);
    assert_eq!((worse.change, worse.exit.code), (Change::Worse, 1));
    assert_eq!(worse.new.len(), 2);
    // The samples are of one machine, and their processes have the same pids and start times.
    let followed: Vec<_> = worse.same_processes.iter().map(|p| (p.pid, p.after.as_str())).collect();
    assert_eq!(followed, [(4_241, "hot_spin"), (4_243, "hot_spin"), (4_244, "healthy_busy")]);
}

#[test]
fn worse_is_a_more_severe_server_or_more_critical_workers() {
    let (info, warning, critical) = (Some("info"), Some("warning"), Some("critical"));
    let change = |before: &Received, after: &Received| compared(before, after).change;
    let fine = server(info, &[info, info]);
    for (after, wanted) in [
        (server(info, &[info, info]), Change::Same),
        (server(warning, &[info, info]), Change::Worse),
        (server(info, &[info, critical]), Change::Worse),
        (server(warning, &[info, critical]), Change::Worse),
        (server(None, &[info, info]), Change::Undecided),
        (server(Some("eerie"), &[info, info]), Change::Undecided),
        // That the server is not known is no excuse for what is.
        (server(None, &[critical]), Change::Worse),
    ] {
        assert_eq!(change(&fine, &after), wanted, "{after:?}");
        assert_eq!(compared(&fine, &after).exit.code, u8::from(wanted == Change::Worse));
    }
    // Fewer critical workers do not make up for a more severe server.
    assert_eq!(change(&server(warning, &[critical; 2]), &server(critical, &[critical])), Change::Worse);
    assert_eq!(change(&server(critical, &[critical; 2]), &server(critical, &[critical])), Change::Better);
    assert_eq!(change(&server(critical, &[critical]), &server(warning, &[critical])), Change::Better);
}

#[test]
fn a_pid_alone_does_not_make_two_processes_one() {
    let mut before = server(Some("info"), &[Some("info")]);
    let mut after = server(Some("info"), &[Some("warning")]);
    for report in [&mut before, &mut after] {
        report.host.boot_id = "one boot".into();
        report.processes[0].start_time_ticks = 7;
    }
    assert_eq!(compared(&before, &after).same_processes.len(), 1);
    after.processes[0].start_time_ticks = 8;
    assert!(compared(&before, &after).same_processes.is_empty(), "another process of that number");
    after.processes[0].start_time_ticks = 7;
    after.host.boot_id = "another boot".into();
    assert!(compared(&before, &after).same_processes.is_empty(), "another machine");
}

#[test]
fn the_same_trouble_is_known_by_another_descriptor_port_and_line() {
    let story = report(&samples::hot_spin());
    let mut again = story.clone();
    for process in &mut again.processes {
        if let Some(culprit) = &mut process.verdict.culprit {
            culprit.fd = Some(99);
            culprit.line = Some(1);
            culprit.what = Some("socket 10.0.0.7:5".into());
        }
    }
    let same = compared(&story, &again);
    assert_eq!((same.change, same.stayed.len(), same.new.len()), (Change::Same, 2, 0));
    again.processes[1].verdict.culprit.as_mut().unwrap().function = Some("other".into());
    assert_eq!(compared(&story, &again).new.len(), 1);
}

#[test]
fn what_makes_two_reports_hard_to_compare_is_said() {
    let before = report(&samples::hot_spin());
    let mut after = before.clone();
    assert!(compared(&before, &after).caution.is_empty());
    after.tool.rules_version = "99".into();
    after.collection.level = "proc".into();
    after.collection.duration_ms *= 3;
    after.host.cpus += 1;
    after.blind_spots.clear();
    assert_eq!(compared(&before, &after).caution.len(), 5);
}

#[test]
fn texts_of_others_do_nothing_in_any_form() {
    for attack in
        ["\x1b]52;c;x\x07", "a | b\n| c |", "<script>", "\u{202e}x", "::error::x\n##[error]y", "`|`"]
    {
        let mut report = report(&samples::hot_spin());
        let text = attack.to_owned();
        report.host.hostname.clone_from(&text);
        report.server.kind.clone_from(&text);
        report.server.verdict.code.clone_from(&text);
        report.server.verdict.summary.clone_from(&text);
        report.tool.rules_version.clone_from(&text);
        for process in &mut report.processes {
            process.role.clone_from(&text);
            process.verdict.code.clone_from(&text);
            process.verdict.subcause = Some(text.clone());
            process.time_budget.insert(text.clone(), received::ReceivedShare { share: 0.5 });
            if let Some(culprit) = &mut process.verdict.culprit {
                culprit.function = Some(text.clone());
            }
        }
        let fine = self::report(&samples::idle_server());
        let comparison =
            compare(Named { source: &text, report: &fine }, Named { source: &text, report: &report });
        let forms = [
            text::render(&comparison, Style::default()),
            markdown::render(&comparison),
            json::render(&comparison),
        ];
        for form in &forms {
            assert!(!form.chars().any(|c| c != '\n' && is_harmful(c)), "{attack:?}: {form}");
            assert!(!form.lines().any(|line| line.trim_start().starts_with("::")), "{form}");
        }
        for row in forms[1].lines().filter(|line| line.starts_with("| ")) {
            assert_eq!(row.matches('|').count(), 5, "{attack:?}: {row}");
        }
        assert!(
            !forms[1].lines().any(|line| !line.contains('`') && line.contains("<script>")),
            "{}",
            forms[1]
        );
    }
}
