//! Looks that are cut short: by Ctrl-C, by a polite kill, by a reader that goes away, by a short window.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tool::{Target, await_samples, finish, look, run, start, tool, verdicts};

fn interrupted(signal: Signal, code: i32) {
    let target = Target::waiting();
    let child = start(tool(&[&target.pid().to_string(), "--format", "json", "-d", "30s"]));
    await_samples(&child, 30);
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    let ran = finish(child);
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.took.as_secs() < 5, "{:?}", ran.took);
    let document = ran.json();
    assert_eq!(document["exit"]["code"], code, "{document}");
    assert!(document["exit"]["reason"].as_str().unwrap().contains(signal.as_str()), "{document}");
    assert_eq!(document["processes"][0]["pid"], target.pid(), "{document}");
    assert!(document["collection"]["duration_ms"].as_u64().unwrap() < 20_000, "{document}");
}

#[test]
fn ctrl_c_ends_the_look_and_not_the_report() {
    interrupted(Signal::SIGINT, 130);
}

#[test]
fn a_polite_kill_ends_the_look_and_not_the_report() {
    interrupted(Signal::SIGTERM, 143);
}

#[test]
fn an_interrupt_before_the_first_sample_is_an_interrupt_too() {
    let target = Target::waiting();
    let child = start(tool(&[&target.pid().to_string(), "--format", "json", "-d", "30s"]));
    await_samples(&child, 0);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ran = finish(child);
    assert_eq!((ran.code, &ran.json()["exit"]["code"]), (130, &130.into()), "{ran:?}");
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let target = Target::waiting();
    for format in ["text", "json"] {
        let pid = target.pid().to_string();
        let mut child = start(tool(&[&pid, "--format", format, "-d", "300ms", "--max-duration", "300ms"]));
        drop(child.stdout.take());
        let ran = finish(child);
        assert_eq!(ran.stderr, "", "{format}");
        assert!([0, 1, 4].contains(&ran.code), "{format}: {ran:?}");
    }
    let mut child = start(tool(&["--help"]));
    drop(child.stdout.take());
    assert_eq!(finish(child).stderr, "");
}

#[test]
fn a_short_look_is_never_sure() {
    let target = Target::python("python3", "while True: pass", &[]);
    let pid = target.pid().to_string();
    for (duration, rate) in [("200ms", "100"), ("1s", "5")] {
        let ran =
            run(&[&pid, "--format", "json", "-d", duration, "--max-duration", duration, "--rate", rate]);
        assert!([0, 1, 4].contains(&ran.code), "{ran:?}");
        for (code, confidence) in verdicts(&ran.json()) {
            assert!(
                code == "unknown" || confidence < 0.7,
                "{code} with {confidence}: {duration}, {rate} per second"
            );
        }
    }
}

#[test]
fn a_look_without_memory_says_that_it_sees_no_stacks() {
    let target = Target::waiting();
    let (ran, document) = look(target.pid(), &["--level", "proc"]);
    assert!([0, 1, 4].contains(&ran.code), "{document}");
    assert_eq!(document["collection"]["level"], "proc");
    assert_eq!(document["collection"]["stacks"]["obtained"], 0);
    let spots = document["blind_spots"].as_array().unwrap();
    let stacks = spots.iter().find(|s| s["what"].as_str().unwrap().contains("stack"));
    let stacks = stacks.unwrap_or_else(|| panic!("{spots:?}"));
    assert!(stacks["remedy"].as_str().unwrap().contains("memory"), "{stacks}");
}
