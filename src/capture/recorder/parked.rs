//! What is parked in a process, by place: greenlets and tasks, each counted where it stands.

use std::sync::Arc;

use foldhash::HashMap;

use super::interner::Interner;
use super::python::Python;
use crate::capture::model::Record;
use crate::capture::profile::{ParkedGroup, Stack, Who};
use crate::observe::kernel_file::ProcDir;
use crate::python::census::{ALL_OBJECTS, Asked};
use crate::python::reader::RawFrame;
use crate::python::{greenlets, search, tasks};
use crate::target::maps;

impl Python {
    /// What is parked in it, by place: greenlets but for the loop's own, and tasks. `None` when they could not be found or
    /// not be found to their end.
    pub fn parked(
        &mut self,
        dir: &ProcDir,
        interner: &mut Interner,
        out: &mut Vec<Record>,
    ) -> Option<Vec<ParkedGroup>> {
        let unseen = self.reader().interpreter().unseen;
        if unseen.greenlets || unseen.tasks {
            return None;
        }
        // What is imported stays.
        self.parks = self.parks || self.reader().interpreters().may_park;
        if !self.parks {
            return Some(Vec::new());
        }
        let mappings = maps::of(dir).ok()?;
        let asked = Asked {
            stacks: &[],
            most: ALL_OBJECTS,
            most_bytes: search::walk_bytes(&mappings),
            search: Some(&|| maps::resident(dir, &mappings)),
            lists: true,
        };
        let census = self.census(&asked);
        if !census.complete {
            return None;
        }
        let mut groups: HashMap<(Who, bool, Arc<[RawFrame]>), u64> = HashMap::default();
        for greenlet in census.greenlets.iter().filter(|g| g.state == greenlets::State::Suspended && !g.hub) {
            *groups.entry((Who::Greenlets, false, Arc::clone(&greenlet.frames))).or_default() += 1;
        }
        for task in &census.tasks {
            let ready = match task.state {
                tasks::State::Waiting => false,
                tasks::State::Ready => true,
                tasks::State::Running | tasks::State::Finished => continue,
            };
            *groups.entry((Who::Tasks, ready, Arc::clone(&task.frames))).or_default() += 1;
        }
        let groups = groups.into_iter().map(|((who, ready, frames), count)| {
            let stack = self.number(&frames, interner, out).map_or(Stack::Other, Stack::Kept);
            ParkedGroup { who, ready, stack, count }
        });
        Some(groups.collect())
    }
}
