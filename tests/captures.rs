//! Captures recorded from live runs: each must give the verdict in its name, always, and whoever is looked at.

use std::path::PathBuf;

use stallscope::capture::model::{Capture, Role};
use stallscope::capture::reader;
use stallscope::diagnose::diagnose;
use stallscope::diagnose::ladder::code_name;
use stallscope::report::{self, exit, json};

#[path = "captures/findings.rs"]
mod findings;

/// A recorded capture.
struct Kept {
    name: String,
    /// The verdict that its name says.
    expected: String,
    capture: Capture,
}

fn captures() -> impl Iterator<Item = Kept> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "cap"));
    files.sort();
    assert!(files.len() >= 12, "the captures are missing");
    files.into_iter().map(Kept::read)
}

impl Kept {
    fn read(file: PathBuf) -> Self {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let (name, expected) = stem.split_once('.').unwrap();
        Self { name: name.into(), expected: expected.into(), capture: reader::read(&file).unwrap() }
    }
}

/// The verdicts of the workers, in order of pid.
fn verdicts(capture: &Capture) -> Vec<String> {
    let arbiters: Vec<i32> = capture
        .records
        .iter()
        .filter_map(|r| match r {
            stallscope::capture::model::Record::Process(p) if p.role == Role::Arbiter => Some(p.pid),
            _ => None,
        })
        .collect();
    let diagnosis = diagnose(capture);
    let workers = diagnosis.processes.iter().filter(|p| !arbiters.contains(&p.pid));
    workers.map(|p| code_name(p.verdict.code)).collect()
}

#[test]
fn each_gives_the_verdict_in_its_name() {
    for Kept { expected, capture, .. } in captures() {
        let given = verdicts(&capture);
        assert!(
            !given.is_empty() && given.iter().all(|v| *v == expected),
            "{expected}: {given:?} {:?}",
            capture.header.server
        );
    }
}

#[test]
fn the_document_is_the_same_byte_for_byte() {
    for Kept { capture, .. } in captures() {
        let document = || {
            let diagnosis = diagnose(&capture);
            let decision = exit::decide(&diagnosis, &"critical".parse().unwrap(), None);
            json::render(&report::build(&capture, &diagnosis, decision))
        };
        assert_eq!(document(), document());
    }
}

/// Numbers and names carry no meaning: other pids, other functions, the same verdict.
#[test]
fn other_numbers_and_names_change_nothing() {
    for Kept { expected, capture, .. } in captures() {
        let mut value = serde_json::to_value(&capture).unwrap();
        disguise(&mut value);
        let disguised: Capture = serde_json::from_value(value).unwrap();
        let given = verdicts(&disguised);
        assert!(given.iter().all(|v| *v == expected), "{expected}: {given:?}");
    }
}

fn disguise(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Array(items) => items.iter_mut().for_each(disguise),
        Value::Object(fields) => {
            let application = fields.get("file").and_then(Value::as_str).is_some_and(|f| f.contains("/app/"));
            for (key, field) in fields.iter_mut() {
                match key.as_str() {
                    "pid" | "tid" | "loop_tid" | "ppid" if field.is_i64() => {
                        *field = (field.as_i64().unwrap() + 100_000).into();
                    }
                    "pids" => {
                        for pid in field.as_array_mut().into_iter().flatten() {
                            *pid = (pid.as_i64().unwrap() + 100_000).into();
                        }
                    }
                    "function" if application => {
                        *field = format!("f{}", field.as_str().unwrap_or_default().len()).into();
                    }
                    _ => disguise(field),
                }
            }
        }
        _ => {}
    }
}
