//! A recording in the forms that others open: folded stacks, a flame graph, speedscope, pprof, a Chrome trace.
//!
//! Takes what was added up and what it means; gives bytes. Pure. [`lines`] chooses what is told of it, the other modules
//! write that down, one form each. Every foreign name goes through `super::words`, so that neither a terminal nor a
//! viewer acts on it.

mod chrome;
mod collapsed;
mod flamegraph;
pub mod lines;
mod pprof;
mod speedscope;

#[cfg(test)]
mod attacks;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use crate::capture::profile::Profile;
use crate::diagnose::times::Meaning;
use lines::Told;

/// The form of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileForm {
    /// One line for each stack, folded by `;`.
    Collapsed,
    /// A picture for browsers.
    Flamegraph,
    /// For speedscope.
    Speedscope,
    /// For pprof and what reads its files.
    Pprof,
    /// The trace event format, for Perfetto and Chrome.
    Chrome,
}

impl ProfileForm {
    /// Whether it is text that a terminal may show.
    #[must_use]
    pub const fn is_text(self) -> bool {
        !matches!(self, Self::Pprof)
    }

    /// Whether it tells what came after what.
    #[must_use]
    pub const fn needs_timeline(self) -> bool {
        matches!(self, Self::Chrome)
    }
}

/// Which time is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All of it.
    Wall,
    /// That on a processor.
    Cpu,
    /// That asleep in anything but waiting for work.
    Blocked,
}

/// By what stacks are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By nothing: the same stack in all workers is one.
    Server,
    /// By worker.
    Worker,
    /// By worker and thread.
    Thread,
}

/// What is told of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Which time.
    pub mode: Mode,
    /// Whether threads that wait for work are told of, too.
    pub idle: bool,
    /// By what stacks are told apart, in the forms that do not tell that by themselves.
    pub by: By,
}

/// A recording in a form. Empty if it holds nothing of what was selected.
#[must_use]
pub fn render(profile: &Profile, meanings: &[Meaning], selection: Selection, form: ProfileForm) -> Vec<u8> {
    // Between two slices of a track something stands; nothing there would be a gap in what is known.
    let idle = selection.idle || (form.needs_timeline() && selection.mode == Mode::Wall);
    let told = Told::new(profile, meanings, Selection { idle, ..selection });
    if told.lines.is_empty() {
        return Vec::new();
    }
    match form {
        ProfileForm::Collapsed => collapsed::render(&told),
        ProfileForm::Flamegraph => flamegraph::render(&told),
        ProfileForm::Speedscope => speedscope::render(&told),
        ProfileForm::Pprof => pprof::render(&told),
        ProfileForm::Chrome => chrome::render(&told),
    }
}
