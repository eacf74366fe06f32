//! Keeps the file whole while the recording goes on: whatever ends it, the last version is there and valid.
//!
//! A version is written by a thread of its own, beside the file and then put in its place, so that neither a slow disk
//! nor a long rendering holds up the looking. What cannot be written now may be later: only the last version decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::capture::profile::Profile;
use crate::diagnose::times;
use crate::observe::clock::thread_cpu_ns;
use crate::report::output::Output;
use crate::report::profile::{ProfileForm, Selection, render};

/// Time between two versions.
const RENEW_NS: u64 = 5_000_000_000;
/// Writing them costs no more than one part in so many of a processor.
const SHARE: u64 = 200;

/// Whoever writes the versions.
enum Writing {
    /// A thread, which gives the place back.
    Thread(SyncSender<Profile>, JoinHandle<Output>),
    /// Nobody: standard output has one version only, and without a thread there is no other.
    Nobody(Output),
}

/// Keeps the file.
pub(super) struct Saver {
    writing: Writing,
    cost_ns: Arc<AtomicU64>,
    next_ns: u64,
}

impl Saver {
    /// Begins; nothing is written yet.
    pub(super) fn start(output: Output, selection: Selection, form: ProfileForm) -> Self {
        let cost_ns = Arc::new(AtomicU64::new(0));
        if matches!(output, Output::Stdout) {
            return Self { writing: Writing::Nobody(output), cost_ns, next_ns: 0 };
        }
        let (sender, receiver) = sync_channel::<Profile>(1);
        let cost = Arc::clone(&cost_ns);
        let thread = std::thread::spawn(move || {
            let mut output = output;
            for profile in receiver {
                let before_ns = thread_cpu_ns();
                let bytes = render(&profile, &times::meanings(&profile), selection, form);
                if !bytes.is_empty() {
                    // The last version tells of an error that stays.
                    let _ = output.renew(&bytes);
                }
                cost.store(thread_cpu_ns().saturating_sub(before_ns), Ordering::Relaxed);
            }
            output
        });
        Self { writing: Writing::Thread(sender, thread), cost_ns, next_ns: 0 }
    }

    /// Offers what was recorded so far; a version is made of it if it is time for one and the last one is written.
    pub(super) fn offer(&mut self, profile: &Profile) {
        let at_ns = profile.totals.at_ns;
        if at_ns < self.next_ns || profile.totals.with_stack == 0 {
            return;
        }
        if let Writing::Thread(sender, _) = &self.writing {
            let _ = sender.try_send(profile.snapshot());
        }
        let cost_ns = self.cost_ns.load(Ordering::Relaxed);
        self.next_ns = at_ns + RENEW_NS.max(cost_ns.saturating_mul(SHARE));
    }

    /// Ends the writing and gives the place for the last version.
    pub(super) fn finish(self) -> Output {
        match self.writing {
            Writing::Nobody(output) => output,
            Writing::Thread(sender, thread) => {
                drop(sender);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::report::profile::samples::{EVERYTHING, recording};

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_newer_version_takes_the_place_of_the_first_one_when_it_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("r.folded");
        let read = || std::fs::read_to_string(&place).unwrap_or_default();
        let output = Output::open(Some(&place)).unwrap();
        let mut saver = Saver::start(output, EVERYTHING, ProfileForm::Collapsed);
        let mut profile = recording();
        let with_stack = std::mem::take(&mut profile.totals.with_stack);
        saver.offer(&profile);
        profile.totals.with_stack = with_stack;
        saver.offer(&profile);
        until("the first version", || read().contains("compute ("));
        let first = read();
        profile.frames[0].function = "later".into();
        // It is not time yet; then it is.
        saver.offer(&profile);
        profile.frames[0].function = "latest".into();
        profile.totals.at_ns += 10 * RENEW_NS;
        saver.offer(&profile);
        until("the second version", || read() != first);
        assert!(read().contains("latest (") && !read().contains("later ("), "{}", read());
        drop(saver.finish());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn standard_output_gets_no_version_but_the_last() {
        let mut saver = Saver::start(Output::Stdout, EVERYTHING, ProfileForm::Collapsed);
        saver.offer(&recording());
        assert!(matches!(saver.finish(), Output::Stdout));
    }
}
