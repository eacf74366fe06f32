//! The incidents of `fixtures/incidents.toml`: each is shown by something, and what shows it says what must be said.

use std::path::PathBuf;

use serde::Deserialize;
use stallscope::capture::model::Role;
use stallscope::capture::model::{Capture, Record};
use stallscope::capture::reader;
use stallscope::diagnose::calls::{Pattern, parse, recognise};
use stallscope::diagnose::diagnose;
use stallscope::diagnose::ladder::code_name;
use stallscope::portal::scenarios;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    incident: Vec<Incident>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incident {
    number: usize,
    source: Vec<String>,
    what: String,
    verdict: Option<String>,
    subcause: Option<String>,
    advice: Option<String>,
    server: Option<String>,
    #[serde(default)]
    shown_by: Vec<String>,
    #[serde(default)]
    test: Vec<String>,
    #[serde(default)]
    trace: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn incidents() -> Vec<Incident> {
    let text = std::fs::read_to_string(root().join("fixtures/incidents.toml")).unwrap();
    toml::from_str::<List>(&text).unwrap().incident
}

/// The kept captures of a scenario.
fn captures(scenario: &str) -> Vec<Capture> {
    let folder = root().join("fixtures/captures/matrix");
    let of_it = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        name.strip_prefix(scenario).is_some_and(|rest| rest.starts_with('.'))
            && file.extension().is_some_and(|ending| ending == "cap")
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(of_it);
    files.iter().map(|file| reader::read(file).unwrap()).collect()
}

fn arbiters(capture: &Capture) -> Vec<i32> {
    let arbiter = |record: &Record| match record {
        Record::Process(process) if process.role == Role::Arbiter => Some(process.pid),
        _ => None,
    };
    capture.records.iter().filter_map(arbiter).collect()
}

#[test]
fn there_are_twenty_five_and_each_is_shown_by_something() {
    let incidents = incidents();
    let numbers: Vec<usize> = incidents.iter().map(|i| i.number).collect();
    assert_eq!(numbers, (1..=25).collect::<Vec<_>>());
    for incident in &incidents {
        let number = incident.number;
        assert!(!incident.source.is_empty() && !incident.what.is_empty(), "{number}");
        assert!(incident.verdict.is_some() != incident.server.is_some(), "{number}");
        assert!(!incident.shown_by.is_empty() || !incident.test.is_empty(), "{number} is shown by nothing");
    }
}

/// The scenarios bring the verdict about, and their captures give it, with sub-cause and advice.
#[test]
fn what_shows_it_says_what_must_be_said() {
    let scenarios = scenarios::all().unwrap();
    let mut looked_at = 0;
    for incident in incidents() {
        for id in &incident.shown_by {
            let scenario =
                scenarios.iter().find(|s| s.id == *id).unwrap_or_else(|| panic!("{id} is missing"));
            let verdict = incident.verdict.as_deref().unwrap();
            let expected: Vec<String> = scenario.expected.iter().map(|code| code_name(*code)).collect();
            assert!(expected.iter().any(|code| code == verdict), "{id}: {expected:?}");
            let captures = captures(id);
            assert!(!captures.is_empty(), "no capture of {id}");
            for capture in captures {
                let arbiters = arbiters(&capture);
                let diagnosis = diagnose(&capture);
                let fits = |p: &&stallscope::diagnose::model::ProcessDiagnosis| {
                    let advised = |id: &String| p.advice.iter().any(|advice| advice.id == *id);
                    !arbiters.contains(&p.pid)
                        && code_name(p.verdict.code) == verdict
                        && incident.subcause.as_ref().is_none_or(|s| p.verdict.subcause.as_ref() == Some(s))
                        && incident.advice.as_ref().is_none_or(advised)
                };
                let said: Vec<_> = diagnosis
                    .processes
                    .iter()
                    .map(|p| (&p.verdict.summary, &p.verdict.subcause, p.advice.iter().map(|a| &a.id)))
                    .map(|(summary, sub, advice)| {
                        format!("{summary} {sub:?} {:?}", advice.collect::<Vec<_>>())
                    })
                    .collect();
                assert!(diagnosis.processes.iter().any(|p| fits(&p)), "{}, {id}: {said:#?}", incident.number);
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 30, "{looked_at}");
}

#[test]
fn the_tests_that_show_it_exist() {
    for incident in incidents() {
        for test in &incident.test {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{test}: {e}"));
            assert!(text.contains(&format!("fn {name}()")), "{test}");
        }
    }
}

#[test]
fn traces_are_recognised() {
    let mut spins = 0;
    for incident in incidents() {
        for trace in &incident.trace {
            let text = std::fs::read_to_string(root().join("fixtures/traces").join(trace)).unwrap();
            match recognise(&parse(&text)) {
                Pattern::HotSpin { events, .. } => {
                    assert_eq!(incident.verdict.as_deref(), Some("hot_spin"), "{trace}");
                    let hung_up = events.contains("HUP") || events.contains("ERR");
                    assert_eq!(incident.subcause.as_deref() == Some("hup_err_fd"), hung_up, "{trace}");
                    spins += 1;
                }
                // An arbiter that looks at its workers is well, whatever else is wrong.
                Pattern::ArbiterRound { workers, .. } => assert!(workers > 0, "{trace}"),
                Pattern::Nothing => panic!("{trace} is not recognised"),
            }
        }
    }
    assert_eq!(spins, 3);
}
