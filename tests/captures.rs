//! Captures recorded from live runs: each must give the verdict in its name, always, and whoever is looked at.

use std::path::{Path, PathBuf};

use stallscope::capture::model::{Capture, Role};
use stallscope::capture::reader;
use stallscope::diagnose::diagnose;
use stallscope::diagnose::ladder::code_name;
use stallscope::report::{self, exit, json};

#[path = "captures/findings.rs"]
mod findings;
#[path = "captures/incidents.rs"]
mod incidents;
#[path = "captures/matrix.rs"]
mod matrix;
#[path = "captures/metamorphic.rs"]
mod metamorphic;

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
    files.into_iter().map(|file| Kept::read(&file))
}

impl Kept {
    fn read(file: &Path) -> Self {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let (name, expected) = stem.split_once('.').unwrap();
        Self { name: name.into(), expected: expected.into(), capture: reader::read(file).unwrap() }
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
