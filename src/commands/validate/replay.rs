//! Kept captures in the place of processes: the same scores in seconds, also of rules that did not exist then.
//!
//! The name of a capture carries its scenario, and what became of the run when it was recorded.

use std::path::{Path, PathBuf};

use super::reading::{report_of, said};
use crate::capture::lowered::to_kernel_files;
use crate::capture::model::Level;
use crate::capture::reader;
use crate::error::{Error, ErrorKind, Result};
use crate::portal::scenarios::Scenario;
use crate::validate::run::{Beside, Outcome, Run};

/// Judges the captures of a folder. Beside the runs, how many captures were left out: of no scenario that was chosen, of
/// another level, or unreadable. At the lowest level those of a higher one are judged by what it would have seen.
pub fn runs(folder: &Path, scenarios: &[Scenario], level: Level) -> Result<(Vec<Run>, u64)> {
    let mut runs = Vec::new();
    let mut left_out = 0;
    let mut repeats: Vec<String> = Vec::new();
    for file in captures(folder)? {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let scenario = scenarios.iter().find(|s| s.id == Scenario::id_of(&name));
        let capture = scenario.and_then(|s| Some((s, reader::read(&file).ok()?)));
        let capture = capture.map(|(s, c)| (s, if level == Level::Proc { to_kernel_files(c) } else { c }));
        let Some((scenario, capture)) = capture.filter(|(_, c)| c.header.level == level) else {
            left_out += 1;
            continue;
        };
        repeats.push(scenario.id.clone());
        let repeat = repeats.iter().filter(|id| **id == scenario.id).count() as u32;
        let outcome = Outcome::of_name(&name);
        let why =
            (outcome == Outcome::Unproven).then(|| "the name of the capture does not say so".to_owned());
        // Which worker was in question is not kept; whoever is worst off is.
        let Some(said) = said(&report_of(&capture), None) else {
            left_out += 1;
            continue;
        };
        let beside = Beside::of(&capture, said.pid);
        runs.push(Run::looked_at(scenario, repeat, outcome, why, said, beside));
    }
    Ok((runs, left_out))
}

fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder).map_err(|e| {
        Error::new(ErrorKind::NotFound, format!("{} cannot be read", folder.display()), e.to_string())
            .remedy("stallscope portal validate --keep DIR")
    })?;
    let mut files: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "cap"));
    files.sort();
    Ok(files)
}
