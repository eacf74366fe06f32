//! All greenlets and tasks of a process at one look, with their stacks.
//!
//! The garbage collector's lists are walked once through a block cache to find them; each is then read by itself, past the
//! cache, and read again: what changed meanwhile is read anew a few times and then counted as torn, never shown. The target
//! is not stopped. Costs some ten milliseconds per hundred thousand objects, so it is for one look, not for every tick.

use std::collections::{HashMap, HashSet};

use super::attributes::Looking;
use super::gc;
use super::greenlets::{self, LoopClock, State, Words};
use super::heap::Blocks;
use super::kinds::{Family, GreenletType, Kind, Kinds, type_name};
use super::memory::{MemoryReader, ReadError};
use super::object;
use super::objects::{self, Objects, TaskAt};
use super::reader::{Pace, RawFrame, Sample, StackReader};
use super::tasks::{self, Tasks, Way};
use super::walk::{Link, Owner};

/// How often a greenlet or task that changes is read.
const TRIES: usize = 4;
/// How often the lists are walked when they change meanwhile.
const WALKS: usize = 3;
/// Objects up to which the lists are followed where nothing else bounds the price.
pub const ALL_OBJECTS: usize = 20_000_000;
/// Most greenlets and most tasks that are read.
const MOST: usize = 200_000;
/// Longest record of who spawned a greenlet.
const MAX_SPAWNING: usize = 16;

/// A mapping that is the machine stack of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineStack {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// The thread, in the target's namespace.
    pub ns_tid: i32,
}

/// A greenlet.
#[derive(Debug, Clone, PartialEq)]
pub struct Greenlet {
    /// Where it is: its identity while it lives.
    pub address: u64,
    /// What it is doing.
    pub state: State,
    /// Whether it is the one that its thread began with.
    pub main: bool,
    /// Who made its type.
    pub family: Family,
    /// The name of its type.
    pub type_name: String,
    /// The thread it belongs to, in the target's namespace.
    pub ns_tid: Option<i32>,
    /// Its frames, innermost first. Those of a running one are its thread's.
    pub frames: Vec<RawFrame>,
    /// Where its frames are, as far as they are its own: those of a suspended one.
    pub addresses: Vec<u64>,
    /// What it runs: a function's name.
    pub callable: Option<String>,
    /// Where it was spawned, innermost first, as far as gevent keeps that.
    pub spawned_at: Vec<RawFrame>,
    /// For gevent's hub: the monotonic time, in seconds, of its loop's last turn.
    pub last_turn_s: Option<f64>,
}

/// An asyncio task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where it is: its identity while it lives.
    pub address: u64,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: tasks::State,
    /// Frames of its coroutines, innermost first.
    pub frames: Vec<RawFrame>,
    /// Where these are.
    pub addresses: Vec<u64>,
    /// The type of what it waits for.
    pub waits_for: Option<String>,
    /// Names of the tasks that wait for it.
    pub awaited_by: Vec<String>,
}

/// What became of the readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Changed at every try.
    pub torn: u64,
    /// Could not be read or made no sense.
    pub unreadable: u64,
}

/// What a process holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Census {
    /// Its greenlets, by address.
    pub greenlets: Vec<Greenlet>,
    /// Its tasks, by address.
    pub tasks: Vec<Task>,
    /// What is missing.
    pub rejected: Rejected,
    /// Objects that the collector's lists held.
    pub objects: usize,
    /// Whether all lists were followed to their ends.
    pub complete: bool,
}

/// What the lists held.
#[derive(Default)]
struct Found {
    greenlets: HashMap<u64, (u64, GreenletType)>,
    tasks: HashSet<u64>,
    objects: usize,
    complete: bool,
}

impl<M: MemoryReader> StackReader<M> {
    /// Looks at everything. `stacks` are the machine stacks of its threads.
    /// Gives up on lists that hold more than `most` objects.
    pub fn census(&mut self, stacks: &[MachineStack], most: usize) -> Census {
        let version = self.interpreter().version;
        let objects = objects::of(version.major, version.minor, self.interpreter().layout.longer_head);
        let mut census = Census::default();
        let Ok(found) = self.find(&objects, most) else { return census };
        census.objects = found.objects;
        census.complete = found.complete;
        let mut greenlets: Vec<_> =
            found.greenlets.iter().map(|(at, (kind_address, kind))| (*at, *kind_address, *kind)).collect();
        greenlets.sort_unstable_by_key(|(address, ..)| *address);
        for (address, kind_address, kind) in greenlets {
            match self.greenlet(&objects, stacks, address, kind_address, kind) {
                Ok(Some(greenlet)) => census.greenlets.push(greenlet),
                Ok(None) => census.rejected.torn += 1,
                Err(_) => census.rejected.unreadable += 1,
            }
        }
        let own = self.interpreter().task_lists.map(|lists| lists.task);
        if let Some(at) = own.or(objects.task) {
            self.all_tasks(&objects, at, &found.tasks, &mut census);
        }
        census
    }

    /// Walks the lists of every interpreter.
    fn find(&self, objects: &Objects, most: usize) -> Result<Found, ReadError> {
        if self.interpreter().newer_than_known() {
            return Ok(Found { complete: true, ..Found::default() });
        }
        if self.interpreter().free_threaded {
            let (tasks, complete) = self.listed_tasks(objects, most.min(MOST), WALKS)?;
            return Ok(Found { objects: tasks.len(), tasks, complete, ..Found::default() });
        }
        let mut found = Found { complete: true, ..Found::default() };
        let mut kinds = Kinds::default();
        for interpreter in self.interpreter_states()? {
            let mut complete = false;
            for _ in 0..WALKS {
                let blocks = Blocks::new(self.memory());
                let mut visit =
                    |object: u64, kind_address: u64| match kinds.of(&blocks, objects.kind, kind_address) {
                        Kind::Greenlet(kind) if found.greenlets.len() < MOST => {
                            found.greenlets.insert(object, (kind_address, kind));
                        }
                        Kind::Task if found.tasks.len() < MOST => {
                            found.tasks.insert(object);
                        }
                        _ => {}
                    };
                let walked = gc::each(&blocks, self.interpreter(), objects, interpreter, most, &mut visit);
                let Ok(walked) = walked else { continue };
                found.objects = found.objects.max(walked.objects);
                complete = walked.complete;
                if complete || walked.objects >= most {
                    break;
                }
            }
            found.complete &= complete;
        }
        Ok(found)
    }

    /// Reads a greenlet; `None` when it changed at every try.
    fn greenlet(
        &mut self,
        objects: &Objects,
        stacks: &[MachineStack],
        address: u64,
        kind_address: u64,
        kind: GreenletType,
    ) -> Result<Option<Greenlet>, ReadError> {
        let version = self.interpreter().version;
        let layout = self.interpreter().layout;
        let mut chain: Vec<Link> = Vec::new();
        let mut last = Ok(None);
        for _ in 0..TRIES {
            // What was a greenlet may be something else by now.
            if self.memory().word(address.wrapping_add(layout.object_type()))? != kind_address {
                return Err(ReadError::Unmapped);
            }
            let words = Words::read(self.memory(), version, kind, address)?;
            let state = words.state();
            let on_stack = words.on_stack();
            let ns_tid = on_stack
                .and_then(|at| stacks.iter().find(|s| (s.start..s.end).contains(&at)))
                .map(|s| s.ns_tid);
            let frames = match state {
                State::Suspended => match words.frames(self.memory(), &layout, objects, &mut chain) {
                    Ok(Some(_)) => self.resolve_chain(&chain),
                    Ok(None) | Err(ReadError::Unmapped) => Err(ReadError::Unmapped),
                    Err(other) => return Err(other),
                },
                _ => Ok(Vec::new()),
            };
            if Words::read(self.memory(), version, kind, address)? != words {
                last = Ok(None);
                continue;
            }
            let mut frames = match frames {
                Ok(frames) => frames,
                Err(why) => {
                    last = Err(why);
                    continue;
                }
            };
            if state == State::Running
                && let Some(tid) = ns_tid
                && matches!(self.sample(tid, Pace::Running), Sample::Changed | Sample::Unchanged)
            {
                frames = self.frames().to_vec();
            }
            let outermost = frames.last().and_then(|f| self.code(f.code)).map(|c| c.function.clone());
            let callable = outermost.or_else(|| self.callable(objects, address));
            return Ok(Some(Greenlet {
                address,
                state,
                main: words.is_main(),
                family: kind.family,
                type_name: type_name(self.memory(), objects.kind, kind_address)?,
                ns_tid,
                callable,
                spawned_at: if kind.family == Family::Gevent {
                    self.spawned_at(kind, address).unwrap_or_default()
                } else {
                    Vec::new()
                },
                last_turn_s: if kind.family == Family::Hub {
                    self.loop_clock_of(kind, address)
                } else {
                    None
                },
                frames,
                addresses: match state {
                    State::Suspended => shown(&chain).map(|link| link.address).collect(),
                    _ => Vec::new(),
                },
            }));
        }
        last
    }

    fn loop_clock_of(&self, kind: GreenletType, hub: u64) -> Option<f64> {
        LoopClock::find(self.memory(), &self.interpreter().layout, kind, hub)
            .ok()
            .flatten()?
            .last_turn_s(self.memory())
    }

    /// The monotonic time, in seconds, at which the gevent loop of a thread last turned, by the loop's own clock. It is found
    /// once: where the hub's own function is the outermost of the thread's frames, its first variable is the hub.
    pub fn last_turn_s(&mut self, ns_tid: i32) -> Option<f64> {
        if let Some(clock) = self.loop_clock {
            return clock.last_turn_s(self.memory());
        }
        let (frame, code) = self.outermost(ns_tid)?;
        let code = self.code(code)?;
        if !code.file.ends_with("gevent/hub.py") || code.function.rsplit('.').next() != Some("run") {
            return None;
        }
        let layout = self.interpreter().layout;
        let version = self.interpreter().version;
        let hub = self.memory().word(frame.wrapping_add(layout.frame_locals)).ok()? & layout.reference_mask;
        let kind = self.memory().word(hub.wrapping_add(layout.object_type())).ok()?;
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        let Kind::Greenlet(kind) = Kinds::default().of(self.memory(), objects.kind, kind) else {
            return None;
        };
        self.loop_clock = LoopClock::find(self.memory(), &layout, kind, hub).ok().flatten();
        self.loop_clock?.last_turn_s(self.memory())
    }

    /// The name of the function that a greenlet which has no frames yet is to run.
    fn callable(&mut self, objects: &Objects, greenlet: u64) -> Option<String> {
        let layout = self.interpreter().layout;
        let memory = self.memory();
        let looking = Looking { memory, layout: &layout, objects };
        let mut run = looking.attribute(greenlet, "_run").ok()??;
        for _ in 0..2 {
            let kind = memory.word(run.wrapping_add(layout.object_type())).ok()?;
            match type_name(memory, objects.kind, kind).ok()?.as_str() {
                // A method is a function and whose it is.
                "method" | "instancemethod" => {
                    run = memory.word(run.wrapping_add(layout.behind_head())).ok()?;
                }
                "function" => break,
                _ => return None,
            }
        }
        let code = memory.word(run.wrapping_add(objects.function_code)).ok()?;
        let id = self.resolve_code(code).ok()?;
        self.code(id).map(|c| c.function.clone())
    }

    /// Where a gevent greenlet was spawned: a list of {code, line, what called it}.
    fn spawned_at(&mut self, kind: GreenletType, greenlet: u64) -> Result<Vec<RawFrame>, ReadError> {
        let layout = self.interpreter().layout;
        let mut here = greenlets::spawning_stack(self.memory(), &layout, kind, greenlet)?.unwrap_or(0);
        let mut frames = Vec::new();
        while here != 0 && frames.len() < MAX_SPAWNING {
            if !greenlets::is_record(self.memory(), &layout, here) {
                break;
            }
            let code = self.memory().word(here.wrapping_add(16))?;
            let line = self.memory().half(here.wrapping_add(24))?;
            frames.push(RawFrame { code: self.resolve_code(code)?, line });
            here = self.memory().word(here.wrapping_add(32))?;
        }
        Ok(frames)
    }

    fn all_tasks(&mut self, objects: &Objects, at: TaskAt, found: &HashSet<u64>, census: &mut Census) {
        let mut following = Tasks::default();
        let mut waits: HashMap<u64, Vec<String>> = HashMap::new();
        let mut addresses: Vec<u64> = found.iter().copied().collect();
        addresses.sort_unstable();
        for address in addresses {
            match self.task(&mut following, objects, at, address) {
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

    fn task(
        &mut self,
        following: &mut Tasks,
        objects: &Objects,
        at: TaskAt,
        address: u64,
    ) -> Result<Option<(Way, Task)>, ReadError> {
        let layout = self.interpreter().layout;
        let mut last = Ok(None);
        for _ in 0..TRIES {
            let way = following.way(self.memory(), &layout, objects, at, address)?;
            let frames = self.frames_of(&way);
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
            let (state, awaited_by) = (way.state, Vec::new());
            let task = Task { address, name, state, frames, addresses, waits_for, awaited_by };
            return Ok(Some((way, task)));
        }
        last
    }

    /// The frames on a task's way, innermost first.
    fn frames_of(&mut self, way: &Way) -> Result<Vec<RawFrame>, ReadError> {
        let layout = self.interpreter().layout;
        let mut frames = Vec::with_capacity(way.frames.len());
        for address in way.frames.iter().rev() {
            let mut header = [0; super::layout::FRAME_BYTES];
            let room = header.get_mut(..layout.frame_bytes).ok_or(ReadError::Unmapped)?;
            self.memory().read(*address, room)?;
            let link = Link::parse(&layout, *address, &header).ok_or(ReadError::Unmapped)?;
            frames.push(self.resolve_link(&link)?);
        }
        Ok(frames)
    }

    /// A chain as frames, without those of the interpreter's own.
    fn resolve_chain(&mut self, chain: &[Link]) -> Result<Vec<RawFrame>, ReadError> {
        shown(chain).map(|link| self.resolve_link(link)).collect()
    }
}

/// The links of a chain that are no frames of the interpreter's own.
fn shown(chain: &[Link]) -> impl Iterator<Item = &Link> {
    chain.iter().filter(|link| link.owner != Owner::Interpreter)
}
