//! What is said beside the recording, on standard error: a line while it goes on, a few when it has ended.

use std::io::{IsTerminal, Write};
use std::path::Path;

use crate::capture::model::Role;
use crate::capture::profile::{Profile, Who};
use crate::diagnose::times;
use crate::report::output::write_quietly;
use crate::report::profile::lines::Told;
use crate::report::profile::{ProfileForm, Selection};
use crate::report::sanitize::{Charset, PROSE_COLUMNS, escape};
use crate::report::words::{count, name, plural};

/// Time between two lines on a terminal.
const SHOW_NS: u64 = 250_000_000;

/// A line on a terminal while it records.
pub(super) struct Progress {
    shown: bool,
    next_ns: u64,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), next_ns: 0 }
    }

    pub(super) fn show(&mut self, profile: &Profile, end_ns: Option<u64>) {
        let at_ns = profile.totals.at_ns;
        if !self.shown || at_ns < self.next_ns {
            return;
        }
        self.next_ns = at_ns + SHOW_NS;
        let of = end_ns.map_or_else(String::new, |end_ns| format!(" of {:.0}", end_ns as f64 / 1e9));
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[Krecording {:.1}{of} s: {} looks, {} stacks; Ctrl-C ends it",
            at_ns as f64 / 1e9,
            count(profile.totals.samples),
            count(profile.stacks.len() as u64),
        );
    }

    pub(super) fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// How it went.
pub(super) fn summary(profile: &Profile, selection: Selection, form: ProfileForm, path: Option<&Path>) {
    let _ = write_quietly(&mut std::io::stderr(), &text(profile, selection, form, path));
}

/// Who opens a form.
const fn reader(form: ProfileForm) -> &'static str {
    match form {
        ProfileForm::Collapsed => "for flamegraph.pl, or grep",
        ProfileForm::Flamegraph => "for a browser",
        ProfileForm::Speedscope => "for https://www.speedscope.app",
        ProfileForm::Pprof => "for go tool pprof -http=:",
        ProfileForm::Chrome => "for https://ui.perfetto.dev",
    }
}

fn text(profile: &Profile, selection: Selection, form: ProfileForm, path: Option<&Path>) -> String {
    let meanings = times::meanings(profile);
    let told = Told::new(profile, &meanings, selection);
    let totals = &profile.totals;
    let seconds = |ns: u64| format!("{:.1} s", ns as f64 / 1e9);
    let threads = {
        let mut all: Vec<Who> = profile.entries.iter().map(|entry| entry.key.who).collect();
        all.sort_unstable();
        all.dedup();
        all.iter().filter(|who| matches!(who, Who::Thread(_))).count()
    };
    let processes = profile.processes.iter().filter(|p| p.facts.role != Role::Arbiter).count();
    let mut lines = vec![format!(
        "{}: {} looks in {} at {} of {}, {}",
        told.title(),
        count(totals.samples),
        seconds(totals.at_ns),
        plural(threads as u64, "thread"),
        plural(processes.max(1) as u64, "process"),
        plural(profile.stacks.len() as u64, "stack"),
    )];
    if let Some(path) = path.filter(|path| path.as_os_str() != "-") {
        let (path, all) = (name(&path.to_string_lossy()), seconds(told.total_ns()));
        lines.push(format!("wrote {path} ({all} of {}), {}", told.kind(), reader(form)));
    }
    let mut note = |what: String| lines.push(format!("note: {what}"));
    if totals.other > 0 {
        note(format!(
            "{} looks stand under [other stacks]: {} distinct ones are kept",
            count(totals.other),
            count(profile.header.max_stacks as u64)
        ));
    }
    if totals.unseen_ns >= totals.at_ns / 20 {
        note(format!("for {} nobody looked: this tool was held up", seconds(totals.unseen_ns)));
    }
    if totals.discarded * 20 >= totals.samples {
        note(format!("{} stacks changed at each try and were not read", count(totals.discarded)));
    }
    let uncounted = profile.processes.iter().filter(|p| p.uncounted).count();
    if uncounted > 0 {
        note(format!(
            "greenlets and tasks of {} could not be counted; threads are all there",
            plural(uncounted as u64, "process")
        ));
    }
    for spot in &profile.blind {
        let [what, why, remedy] =
            [&spot.what, &spot.why, &spot.remedy].map(|text| escape(text, Charset::Unicode, PROSE_COLUMNS));
        note(format!("not seen: {what}: {why}; {remedy}"));
    }
    lines.push(String::new());
    lines.join("\n")
}
