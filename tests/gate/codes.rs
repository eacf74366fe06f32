//! Exit codes: each of the contract from the real program, and what `--fail-on` makes of a verdict.
//!
//! 130 and 143 stand in `edges/interrupted.rs` for the document; here for the forms that pipelines read.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::capture::reader;
use stallscope::diagnose::diagnose;
use stallscope::report::exit::{self, FailOn};
use stallscope::report::{build, junit};

use super::{capture, captures};
use crate::tool::{Target, await_samples, finish, run, start, tool};

fn code(args: &[&str]) -> i32 {
    run(args).code
}

#[test]
fn each_code_of_the_contract() {
    let (idle, spin) = (capture("idle"), capture("hot_spin"));
    let folder = tempfile::tempdir().unwrap();
    let nothing_known = folder.path().join("short.cap");
    let target = Target::waiting();
    let pid = target.pid().to_string();
    let short = ["--level", "proc", "-d", "50ms", "--max-duration", "50ms"];
    run(&[&[pid.as_str(), "--save", super::text(&nothing_known)], &short[..]].concat());
    for (expected, args) in [
        (0, &["--replay", &idle][..]),
        (1, &["--replay", &spin]),
        (2, &["--replay", &spin, "--fail-on", "hotspin"]),
        (2, &["--replay", &spin, "--format", "xml"]),
        (2, &["4242", "--redact", "--show-values"]),
        (3, &["2147483646"]),
        (3, &["--replay", "/no/such/capture"]),
        (4, &["--replay", super::text(&nothing_known)]),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, expected, "{args:?}: {ran:?}");
    }
}

#[test]
fn what_fails_is_what_the_user_calls_a_failure() {
    // critical, warning, info
    let (spin, waiting, idle) = (capture("hot_spin"), capture("waiting_upstream"), capture("idle"));
    for (capture, fail_on, expected) in [
        (&spin, "critical", 1),
        (&spin, "warning", 1),
        (&spin, "never", 0),
        (&spin, "hot_spin", 1),
        (&spin, "deadlock,hot_spin", 1),
        (&spin, "deadlock", 0),
        (&spin, "one_bad_worker", 1),
        (&waiting, "critical", 0),
        (&waiting, "warning", 1),
        (&waiting, "waiting_upstream", 1),
        (&idle, "warning", 0),
        (&idle, "idle", 1),
    ] {
        assert_eq!(code(&["--replay", capture, "--fail-on", fail_on]), expected, "{capture} {fail_on}");
    }
}

#[test]
fn the_form_does_not_change_the_code() {
    for (verdict, expected) in [("idle", 0), ("hot_spin", 1)] {
        for form in super::forms::FORMS {
            assert_eq!(code(&["--replay", &capture(verdict), "--format", form]), expected, "{form}");
        }
    }
}

/// A failed test and exit code 1 come together, whatever counts as a failure.
#[test]
fn the_list_of_tests_agrees_with_the_code() {
    for (_, file) in captures() {
        let capture = reader::read(&file).unwrap();
        let diagnosis = diagnose(&capture);
        for fail_on in ["critical", "warning", "never", "idle", "hot_spin,upstream_bound", "arbiter_normal"] {
            let fail_on: FailOn = fail_on.parse().unwrap();
            let decision = exit::decide(&diagnosis, &fail_on, None);
            let code = decision.code;
            let xml = junit::render(&build(&capture, &diagnosis, decision), &fail_on, None);
            let document = roxmltree::Document::parse(&xml).unwrap();
            let failures = document.descendants().filter(|node| node.has_tag_name("failure")).count();
            assert_eq!(code == 1, failures > 0, "{} {fail_on:?}: {xml}", file.display());
            let suites = document.root_element();
            assert_eq!(suites.attribute("failures"), Some(failures.to_string().as_str()));
        }
    }
}

#[test]
fn a_reader_that_stops_reading_is_quiet_and_keeps_the_code() {
    for form in super::forms::FORMS {
        // The pipe is full or closed long before a report of this many processes ends.
        let script = "\"$0\" --replay \"$1\" --format \"$2\" | head -c 1 >/dev/null; echo ${PIPESTATUS[0]}";
        let mut command = Command::new("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_stallscope"), &capture("hot_spin"), form]);
        let ran = finish(start(command));
        assert_eq!((ran.stdout.trim(), ran.stderr.as_str()), ("1", ""), "{form}");
    }
}

#[test]
fn a_closed_standard_output_is_an_error_and_not_a_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = tool(&["--replay", &capture("idle")]);
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("No space left"), "{ran:?}");
}

#[test]
fn interrupted_forms_are_whole() {
    let target = Target::waiting();
    for (form, signal, expected) in
        [("junit", Signal::SIGINT, 130), ("ndjson", Signal::SIGTERM, 143), ("sarif", Signal::SIGINT, 130)]
    {
        let child = start(tool(&[&target.pid().to_string(), "--format", form, "-d", "30s"]));
        await_samples(&child, 30);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let ran = finish(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (expected, ""), "{form}: {ran:?}");
        super::forms::assert_whole(form, &ran.stdout);
        assert!(ran.stdout.contains(signal.as_str()), "{form} does not say that it was cut short: {ran:?}");
    }
}
