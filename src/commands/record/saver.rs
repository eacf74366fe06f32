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
