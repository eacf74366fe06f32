//! How often each source was asked and how often it answered: a report says what it stands on.

use crate::capture::model::SourceCount;
use crate::observe::kernel_file::{Seen, Unseen};

/// The sources that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Run and run-queue time of a thread.
    Schedstat,
    /// What a thread sleeps in.
    Syscall,
    /// Python stacks.
    Stack,
    /// Sockets and their counters.
    Sockets,
    /// Open descriptors.
    Descriptors,
    /// Heartbeat files.
    Heartbeat,
    /// Control groups.
    Cgroup,
    /// Readiness of descriptors.
    Poll,
}

const NAMES: [&str; 8] = [
    "proc.schedstat",
    "proc.syscall",
    "memory.stack",
    "sockets",
    "proc.fd",
    "heartbeat.ctime",
    "cgroup.cpu_stat",
    "poll",
];

/// The counts.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    counts: [(u64, u64); 8],
    denied: [bool; 8],
    late_ns_max: u64,
}

impl Sources {
    /// Counts one reading.
    pub fn count<T>(&mut self, source: Source, seen: &Seen<T>) {
        let at = source as usize;
        self.counts[at].0 += 1;
        self.counts[at].1 += u64::from(seen.is_ok());
        self.denied[at] |= matches!(seen, Err(Unseen::Denied));
    }

    /// Counts one reading by its success.
    pub fn counted(&mut self, source: Source, obtained: bool) {
        let at = source as usize;
        self.counts[at].0 += 1;
        self.counts[at].1 += u64::from(obtained);
    }

    /// Remembers how late a tick was.
    pub fn late(&mut self, late_ns: u64) {
        self.late_ns_max = self.late_ns_max.max(late_ns);
    }

    /// Whether a source was refused.
    #[must_use]
    pub const fn denied(&self, source: Source) -> bool {
        self.denied[source as usize]
    }

    /// The counts of the sources that were asked.
    #[must_use]
    pub fn report(&self) -> Vec<SourceCount> {
        let each = NAMES.iter().zip(self.counts).zip(self.denied);
        each.filter(|((_, (requested, _)), _)| *requested > 0)
            .map(|((name, (requested, obtained)), denied)| SourceCount {
                name: (*name).to_owned(),
                requested,
                obtained,
                denied: (denied && obtained == 0).then(|| "not permitted".to_owned()),
                late_ms_max: self.late_ns_max / 1_000_000,
            })
            .collect()
    }
}
