//! The worked example: its script run against a real server, healthy and blocked, and what its pipelines upload.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use stallscope::portal::faults::by_name;
use stallscope::portal::server::{Options, Portal};
use stallscope::portal::{Stack, http};

use super::tool::skipped;
use super::{ROOT, output, said, text};

/// The script of the worked examples, with the environment that a pipeline would give it.
fn gate(pid: i32, folder: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(Path::new(ROOT).join("fixtures/ci/gate.sh"));
    command.arg(pid.to_string()).env("STALLSCOPE", env!("CARGO_BIN_EXE_stallscope"));
    for name in ["GITHUB_ACTIONS", "GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY", "CI_PROJECT_DIR"] {
        command.env_remove(name);
    }
    command
        .env("REPORTS", folder.join("stall-report"))
        .env("DURATION", "2s")
        .envs(environment.iter().copied());
    output(&mut command).unwrap()
}

/// Looks again, with a limit, where the outcome is one that may come before the one that is awaited.
fn look_until(awaited: i32, before: &[i32], look: impl Fn() -> Output) -> Output {
    for _ in 0..5 {
        let looked = look();
        match looked.status.code() {
            Some(code) if code == awaited => return looked,
            Some(code) if before.contains(&code) => {}
            _ => panic!("{}", said(&looked)),
        }
    }
    panic!("five looks never ended with {awaited}")
}

#[test]
fn the_worked_example_passes_a_healthy_server_and_stops_a_blocked_one() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { workers: 2, ..Options::of(Stack::Builtin, "builtin", &folder.path().join("portal")) };
    let portal = match Portal::up(&options, &mut |line| eprintln!("{line}")) {
        Ok(portal) => portal,
        Err(error) if error.message.contains("was found") => return skipped(&error.message),
        Err(error) => panic!("{}: {}", error.message, error.cause),
    };
    let reports = folder.path().join("stall-report");
    let file = |name: &str| std::fs::read_to_string(reports.join(name)).unwrap();

    // Where other work has the processors a look may be undecided (4); it must never find a fault.
    let healthy = look_until(0, &[4], || gate(portal.arbiter_pid, folder.path(), &[]));
    assert!(file("junit.xml").contains("failures=\"0\""), "{}", file("junit.xml"));
    assert!(said(&healthy).contains("exit code 0"), "{}", said(&healthy));

    let fault = by_name("block_sleep").unwrap();
    let mut asks = Vec::new();
    for _ in 0..2 {
        let mut client = http::Client::connect(portal.direct, std::time::Duration::from_secs(30)).unwrap();
        client.ask(&fault.path(30), false).unwrap();
        asks.push(client);
    }
    let summary = folder.path().join("summary.md");
    std::fs::write(&summary, "").unwrap();
    let environment = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_WORKSPACE", text(&portal.dir)),
        ("GITHUB_STEP_SUMMARY", text(&summary)),
    ];
    // Until the fault is in the worker's hands the look may find it healthy.
    let blocked = look_until(1, &[0, 4], || gate(portal.arbiter_pid, folder.path(), &environment));
    let annotations = said(&blocked);
    assert!(annotations.contains("::error file=app/faults.py,line="), "{annotations}");
    assert!(annotations.contains("title=loop_blocked_off_cpu"), "{annotations}");
    assert!(std::fs::read_to_string(&summary).unwrap().contains("`loop_blocked_off_cpu`"));
    assert!(file("junit.xml").contains("<failure "), "{}", file("junit.xml"));
    let sarif: Value = serde_json::from_str(&file("report.sarif")).unwrap();
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!(place["uri"], "app/faults.py", "{sarif:#}");
    let document: Value = serde_json::from_str(&file("report.json")).unwrap();
    assert_eq!(document["exit"]["code"], 1);
    assert!(file("report.md").contains("Evidence"));
    assert_eq!(file("report.ndjson").lines().last().unwrap().matches("\"end\"").count(), 1);
    portal.down();

    let gone = gate(2_147_483_646, folder.path(), &[]);
    assert_eq!(gone.status.code(), Some(3), "{}", said(&gone));
    assert!(said(&gone).contains("no such process"), "{}", said(&gone));
}

#[test]
fn the_worked_examples_call_the_script() {
    for example in ["github-actions.yml", "gitlab-ci.yml"] {
        let steps = std::fs::read_to_string(Path::new(ROOT).join("fixtures/ci").join(example)).unwrap();
        assert!(steps.contains("fixtures/ci/gate.sh \"$"), "{example}");
        // What is uploaded is what the script writes.
        for report in steps.split("stall-report/").skip(1) {
            let name = report.split(char::is_whitespace).next().unwrap();
            let script = std::fs::read_to_string(Path::new(ROOT).join("fixtures/ci/gate.sh")).unwrap();
            assert!(name.is_empty() || script.contains(&format!("$reports/{name}\"")), "{example}: {name}");
        }
    }
}
