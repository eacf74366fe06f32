//! Records handed out and forgotten: for whoever looks without end and keeps a window of their own.
//!
//! A look of seconds keeps everything; one of hours must not. What the recorder remembers for itself stays bounded
//! here too, and a worker that was born while it looked is looked at again once it has grown up.

use std::sync::atomic::AtomicI32;

use super::{Record, Recorder, SLOW_NS, facts};
use crate::capture::model::{Header, Socket};
use crate::error::Result;

/// The demand for a processor from which a spinner is suspected is measured over this time, not since the start.
const DEMAND_NS: u64 = 4 * SLOW_NS;
/// Age at which a newborn has loaded what tells its class, and holds its listeners.
const GROWN_NS: u64 = 2_000_000_000;

impl Recorder<'_> {
    /// What was recorded since the last time, with the cost so far as the last record. The recorder forgets it.
    pub fn take(&mut self) -> Vec<Record> {
        let now = self.clock.elapsed_ns();
        self.first.retain(|_, (since, _)| now.saturating_sub(*since) < DEMAND_NS);
        self.tell_denied();
        let mut records = std::mem::take(&mut self.records);
        self.written = 0;
        self.look_again_at_the_grown(now, &mut records);
        records.push(self.cost());
        records
    }

    /// Samples until `until_ns` of the look, or until `stop` is set: a short piece of a look without end.
    pub fn sample(&mut self, until_ns: u64, stop: &AtomicI32) -> Result<()> {
        while self.turn(u64::MAX, stop, &mut |_| {})? && self.clock.elapsed_ns() < until_ns {}
        Ok(())
    }

    /// Who is looked at, and how.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// A process seen in the moment of its birth tells neither its class nor its listeners.
    fn look_again_at_the_grown(&mut self, now: u64, records: &mut Vec<Record>) {
        self.grown.retain(|pid| self.watched.contains_key(pid));
        let grown: Vec<(i32, u64)> = self
            .watched
            .values()
            .map(|w| (w.facts.pid, w.facts.at_ns))
            .filter(|(pid, born)| *born > 0 && now >= born + GROWN_NS && !self.grown.contains(pid))
            .collect();
        if grown.is_empty() {
            return;
        }
        let sockets: Option<Vec<Socket>> = records.iter().rev().find_map(|r| match r {
            Record::Sockets { sockets, .. } => Some(sockets.clone()),
            _ => None,
        });
        let Some(sockets) = sockets else { return };
        for (pid, born) in grown {
            self.grown.insert(pid);
            self.watch(pid, born);
            let Some(watched) = self.watched.get_mut(&pid) else { continue };
            watched.facts.listen = self.slow.listeners(&sockets, pid);
            watched.facts.cgroup = self.slow.cgroup(pid).map(str::to_owned);
            facts::finish_loop(&mut watched.facts, self.slow.has_epoll(pid));
            records.push(Record::Process(Box::new(watched.facts.clone())));
        }
        records.append(&mut self.records);
    }
}
