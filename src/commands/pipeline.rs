//! What a pipeline tells by its environment: where the sources lie, and where a summary may be left.
//!
//! Reads the environment so that `report/` need not. A summary is a convenience: that it cannot be written is no
//! reason to fail, and no reason to speak.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::report::markdown;
use crate::report::model::Report;

/// What GitHub takes of a step's summary; more makes it refuse all of it.
const SUMMARY_BYTES: u64 = 1 << 20;

/// The folder of the checked-out sources: GitHub's, then GitLab's name for it.
pub(super) fn source_root() -> Option<String> {
    ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|root| root.starts_with('/'))
}

/// Appends the report as Markdown to the summary of the step, where there is one.
pub(super) fn append_summary(report: &Report) {
    let Some(place) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|place| !place.is_empty()) else {
        return;
    };
    // The runner has made the file; anything else at that name is not what it means.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let Ok(mut file) = OpenOptions::new().append(true).custom_flags(flags).open(place) else { return };
    let text = markdown::render(report);
    let fits = file
        .metadata()
        .is_ok_and(|there| there.is_file() && there.len() + text.len() as u64 <= SUMMARY_BYTES);
    if fits {
        let _ = file.write_all(text.as_bytes());
    }
}
