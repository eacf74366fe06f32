//! The gate of a pipeline: every form of the report, every exit code, and what stands in documents.

mod codes;
mod forms;
mod redacted;
#[path = "../schema/mod.rs"]
mod schema;
mod schemas;
#[path = "../tool/mod.rs"]
mod tool;

use std::path::{Path, PathBuf};

/// The committed captures, with the verdict that each must give.
fn captures() -> Vec<(String, PathBuf)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "cap"));
    files.sort();
    assert!(files.len() >= 12, "the captures are missing");
    let verdict =
        |file: &Path| file.file_stem().unwrap().to_str().unwrap().split_once('.').unwrap().1.to_owned();
    files.into_iter().map(|file| (verdict(&file), file)).collect()
}

/// A capture that gives this verdict.
fn capture(verdict: &str) -> String {
    let found = captures().into_iter().find(|(given, _)| given == verdict);
    found.unwrap_or_else(|| panic!("no capture gives {verdict}")).1.to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
