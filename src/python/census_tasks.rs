//! The tasks of a census: each read by itself, with the frames of its coroutines and who waits for it.
//!
//! Takes the addresses that [`super::census`] found; gives tasks that read the same twice. What changed at every try is
//! counted, never shown.

use foldhash::{HashMap, HashSet};

use super::census::{Look, TRIES};
use super::census_model::{Census, Task};
use super::layout::FRAME_BYTES;
use super::memory::{MemoryReader, ReadError};
use super::object;
use super::objects::{Objects, TaskAt};
use super::reader::{RawFrame, StackReader};
use super::tasks::{self, Tasks, Way};
use super::walk::Link;

impl<M: MemoryReader> StackReader<M> {
    /// Reads the tasks that were found, and who waits for whom among them.
    pub(super) fn all_tasks(
        &mut self,
        look: &mut Look,
        objects: &Objects,
        at: TaskAt,
        found: &HashSet<u64>,
        census: &mut Census,
    ) {
        let mut following = Tasks::default();
        let mut waits: HashMap<u64, Vec<String>> = HashMap::default();
        let mut addresses: Vec<u64> = found.iter().copied().collect();
        addresses.sort_unstable();
        for address in addresses {
            match self.task(look, &mut following, objects, at, address) {
                Ok(Some((way, task))) => {
                    if found.contains(&way.waits_for) {
                        waits.entry(way.waits_for).or_default().push(task.name.clone());
                    }
                    if task.state != tasks::State::Finished {
                        census.tasks.push(task);
                    }
                }
                Ok(None) => census.rejected.torn += 1,
                Err(_) => census.rejected.unreadable += 1,
            }
        }
        for task in &mut census.tasks {
            task.awaited_by = waits.remove(&task.address).unwrap_or_default();
        }
    }

    /// Reads a task; `None` when it changed at every try.
    fn task(
        &mut self,
        look: &mut Look,
        following: &mut Tasks,
        objects: &Objects,
        at: TaskAt,
        address: u64,
    ) -> Result<Option<(Way, Task)>, ReadError> {
        let layout = self.interpreter().layout;
        let mut last = Ok(None);
        for _ in 0..TRIES {
            let way = following.way(self.memory(), &layout, objects, at, address)?;
            let frames = self.frames_of(look, &way);
            if following.way(self.memory(), &layout, objects, at, address)? != way {
                last = Ok(None);
                continue;
            }
            let frames = match frames {
                Ok(frames) => frames,
                Err(why) => {
                    last = Err(why);
                    continue;
                }
            };
            let waits_for = match way.waits_for {
                0 => None,
                future => object::type_name(self.memory(), &layout, future).ok(),
            };
            let name = match way.name {
                0 => String::new(),
                name => object::text_or_number(self.memory(), &layout, name)?,
            };
            let addresses = way.frames.iter().rev().copied().collect();
            let frames = look.stack(&frames);
            let (state, awaited_by) = (way.state, Vec::new());
            let task = Task { address, name, state, frames, addresses, waits_for, awaited_by };
            return Ok(Some((way, task)));
        }
        last
    }

    /// The frames on a task's way, innermost first.
    fn frames_of(&mut self, look: &mut Look, way: &Way) -> Result<Vec<RawFrame>, ReadError> {
        let layout = self.interpreter().layout;
        let mut frames = Vec::with_capacity(way.frames.len());
        for address in way.frames.iter().rev() {
            let mut header = [0; FRAME_BYTES];
            let room = header.get_mut(..layout.frame_bytes).ok_or(ReadError::Unmapped)?;
            self.memory().read(*address, room)?;
            let link = Link::parse(&layout, *address, &header).ok_or(ReadError::Unmapped)?;
            frames.push(self.known_frame(look, &link)?);
        }
        Ok(frames)
    }
}
