//! All greenlets and tasks of a process at one look, with their stacks.
//!
//! They are found by walking the garbage collector's lists, or, where those cannot be followed, by searching memory for
//! objects of their types. Each is then read by itself, and read again: what changed meanwhile is read anew a few times and
//! then counted as torn, never shown. Code objects are resolved once for the whole look and compared at its end. The target
//! is not stopped. Costs some ten milliseconds per million objects, so it is for one look, not for every tick.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::attributes::Looking;
use super::census_model::Found;
pub use super::census_model::{Asked, Census, FoundBy, Greenlet, MachineStack, Rejected, Task};
use super::gc::{self, Price};
use super::greenlets::{LoopClock, State, Words};
use super::heap::Pages;
use super::kinds::{GreenletType, Kind, Kinds, Library, slot, type_name};
use super::layout::FrameKind;
use super::memory::{MemoryReader, ReadError};
use super::object;
use super::objects::{self, Objects};
use super::reader::{Pace, RawFrame, Sample, StackReader};
use super::search;
use super::spawn::Spawning;
use super::types::Types;
use super::values::integer;
use super::walk::{Link, Owner};

/// How often a greenlet or task that changes is read.
pub(super) const TRIES: usize = 4;
/// Objects up to which the lists are followed where nothing else bounds the price.
pub const ALL_OBJECTS: usize = 20_000_000;
/// Most greenlets and most tasks that are read.
pub(super) const MOST: usize = 200_000;

/// What is remembered during one look.
#[derive(Default)]
pub(super) struct Look {
    kinds: Kinds,
    spawning: Spawning,
    chain: Vec<Link>,
    frames: Vec<RawFrame>,
    spawned: Vec<(u64, u32)>,
    /// Numbers of code objects by address, to be compared at the end.
    codes: HashMap<u64, u32>,
    /// Frames by code object and instruction.
    named: HashMap<(u64, u64), RawFrame>,
    /// Most greenlets stand at few places.
    stacks: HashSet<Arc<[RawFrame]>>,
    texts: HashMap<u32, Arc<str>>,
}

impl Look {
    pub(super) fn stack(&mut self, frames: &[RawFrame]) -> Arc<[RawFrame]> {
        if let Some(known) = self.stacks.get(frames) {
            return Arc::clone(known);
        }
        let new: Arc<[RawFrame]> = frames.into();
        self.stacks.insert(Arc::clone(&new));
        new
    }
}

impl<M: MemoryReader> StackReader<M> {
    /// Looks at everything.
    pub fn census(&mut self, asked: &Asked<'_>) -> Census {
        let version = self.interpreter().version;
        let objects = objects::of(version.major, version.minor, self.interpreter().layout.longer_head);
        let mut census = Census::default();
        let mut look = Look::default();
        let found = self.find(&mut look.kinds, &objects, asked);
        (census.objects, census.complete, census.found_by) = (found.objects, found.complete, found.by);
        census.timers = found.timers;
        let mut greenlets: Vec<_> =
            found.greenlets.iter().map(|(at, (kind_address, kind))| (*at, *kind_address, *kind)).collect();
        greenlets.sort_unstable_by_key(|(address, ..)| *address);
        for (address, kind_address, kind) in greenlets {
            match self.greenlet(&mut look, &objects, asked.stacks, address, kind_address, kind) {
                Ok(Some(greenlet)) => census.greenlets.push(greenlet),
                Ok(None) => census.rejected.torn += 1,
                // What a search took for one and does not read as one was none.
                Err(_) if found.by == FoundBy::Search => {}
                Err(_) => census.rejected.unreadable += 1,
            }
        }
        let own = self.interpreter().task_lists.map(|lists| lists.task);
        if let Some(at) = own.or(objects.task) {
            self.all_tasks(&mut look, &objects, at, &found.tasks, &mut census);
        }
        self.compare_codes(&look, &mut census);
        census
    }

    /// Where they are: by the lists of every interpreter, or by a search.
    fn find(&self, kinds: &mut Kinds, objects: &Objects, asked: &Asked<'_>) -> Found {
        let layout = self.interpreter().layout;
        let looking = Looking { memory: self.memory(), layout: &layout, objects };
        let python = self.interpreter();
        if python.newer_than_known() {
            return Found { complete: true, ..Found::default() };
        }
        if python.free_threaded {
            let (tasks, complete) =
                self.listed_tasks(kinds, looking, asked.most.min(MOST)).unwrap_or_default();
            return Found { objects: tasks.len(), tasks, complete, ..Found::default() };
        }
        let price = Price { objects: asked.most, bytes: asked.most_bytes };
        let listed = if asked.lists { self.listed(kinds, looking, price) } else { Found::default() };
        let type_type = self.code_type().and_then(|code| self.memory().word(code.wrapping_add(8)).ok());
        let (false, true, Some(search), Some(type_type)) =
            (listed.complete, listed.objects <= asked.most, asked.search, type_type)
        else {
            return listed;
        };
        let mut found = search::search(looking, self.interpreter().version, type_type, &search(), kinds);
        found.objects = listed.objects;
        // What a torn list gave is there too: each is checked when it is read.
        found.greenlets.extend(listed.greenlets);
        found.tasks.extend(listed.tasks);
        found
    }

    /// Walks the lists of every interpreter.
    fn listed(&self, kinds: &mut Kinds, looking: Looking<'_>, price: Price) -> Found {
        let Ok(interpreters) = self.interpreter_states() else { return Found::default() };
        let mut found = Found { complete: true, ..Found::default() };
        for interpreter in interpreters {
            let mut visit = |object: u64, kind_address: u64| match kinds.of(looking, kind_address) {
                Kind::Greenlet(kind) if found.greenlets.len() < MOST => {
                    found.greenlets.insert(object, (kind_address, kind));
                }
                Kind::Task if found.tasks.len() < MOST => {
                    found.tasks.insert(object);
                }
                Kind::Timer => found.timers += usize::from(!is_spent(&looking, object)),
                _ => {}
            };
            let python = self.interpreter();
            let walked = gc::each(self.memory(), python, looking.objects, interpreter, price, &mut visit);
            match walked {
                Ok(walked) => {
                    found.objects += walked.objects;
                    found.complete &= walked.complete;
                }
                Err(_) => found.complete = false,
            }
        }
        found
    }

    /// Reads a greenlet; `None` when it changed at every try.
    fn greenlet(
        &mut self,
        look: &mut Look,
        objects: &Objects,
        stacks: &[MachineStack],
        address: u64,
        kind_address: u64,
        kind: GreenletType,
    ) -> Result<Option<Greenlet>, ReadError> {
        let version = self.interpreter().version;
        let layout = self.interpreter().layout;
        let mut last = Ok(None);
        for _ in 0..TRIES {
            let before = Words::read(self.memory(), version, kind, address)?;
            let (of_type, words) = before;
            // What was a greenlet may be something else by now.
            if of_type != kind_address {
                return Err(ReadError::Unmapped);
            }
            let state = words.state();
            let on_stack = words.on_stack();
            let ns_tid = on_stack
                .and_then(|at| stacks.iter().find(|s| (s.start..s.end).contains(&at)))
                .map(|s| s.ns_tid);
            look.frames.clear();
            let mut turns_loop = false;
            let frames = if state == State::Suspended {
                // Frames that are objects lie anywhere; others lie side by side.
                let near = Pages::near(self.memory());
                let memory: &dyn MemoryReader =
                    if matches!(layout.frames, FrameKind::Object { .. }) { self.memory() } else { &near };
                match words.frames(memory, &layout, objects, &mut look.chain) {
                    Ok(Some(_)) => self.resolve_chain(look),
                    Ok(None) | Err(ReadError::Unmapped) => Err(ReadError::Unmapped),
                    Err(other) => return Err(other),
                }
            } else {
                Ok(())
            };
            if state == State::Suspended {
                turns_loop = self.turns_eventlets_loop(look.chain.last(), look.frames.last());
            }
            if Words::read(self.memory(), version, kind, address)? != before {
                last = Ok(None);
                continue;
            }
            if let Err(why) = frames {
                last = Err(why);
                continue;
            }
            if state == State::Running
                && let Some(tid) = ns_tid
                && matches!(self.sample(tid, Pace::Running), Sample::Changed | Sample::Unchanged)
            {
                look.frames.clear();
                look.frames.extend_from_slice(self.frames());
                turns_loop = self.turns_eventlets_loop(
                    self.outermost(tid).map(|(link, _)| link).as_ref(),
                    look.frames.last(),
                );
            }
            let seen = std::mem::take(&mut look.frames);
            let frames = look.stack(&seen);
            look.frames = seen;
            let callable = match frames.last() {
                Some(outermost) => self.function(look, outermost.code),
                None => self.callable(objects, address).map(Arc::from),
            };
            return Ok(Some(Greenlet {
                address,
                of: (kind_address, kind),
                state,
                main: words.is_main(),
                hub: kind.hub || turns_loop,
                library: if turns_loop { Some(Library::Eventlet) } else { kind.library },
                type_name: look
                    .kinds
                    .name(Looking { memory: self.memory(), layout: &layout, objects }, kind_address)?,
                ns_tid,
                callable,
                spawned_at: self.spawned_at(look, objects, kind_address, kind, address),
                last_turn_s: if kind.hub { self.loop_clock_of(kind, address) } else { None },
                frames,
                addresses: match state {
                    State::Suspended => shown(&look.chain).map(|link| link.address).collect(),
                    _ => Vec::new(),
                },
            }));
        }
        last
    }

    /// Whether a frame is the outermost one of eventlet's hub: its function, and the first variable of that a `Hub`.
    fn turns_eventlets_loop(&self, link: Option<&Link>, frame: Option<&RawFrame>) -> bool {
        let of_hub = |function: &str, file: &str| {
            function.rsplit('.').next() == Some("run") && file.contains("/eventlet/hubs/")
        };
        frame.and_then(|f| self.code(f.code)).is_some_and(|c| of_hub(&c.function, &c.file))
            && link.and_then(|link| self.first_is_hub(link).ok()).unwrap_or(false)
    }

    fn first_is_hub(&self, link: &Link) -> Result<bool, ReadError> {
        let layout = self.interpreter().layout;
        let memory = self.memory();
        let mut first = self.first_variable(link.address)?;
        // A variable that inner functions share stands in a cell, which up to 3.10 is found elsewhere.
        if first != 0 && object::type_name(memory, &layout, first)? == "cell" {
            first = memory.word(first.wrapping_add(layout.behind_head()))?;
        }
        Ok(first == 0 || object::type_name(memory, &layout, first)? == "Hub")
    }

    fn function(&self, look: &mut Look, number: u32) -> Option<Arc<str>> {
        let code = self.code(number)?;
        Some(Arc::clone(look.texts.entry(number).or_insert_with(|| code.function.as_str().into())))
    }

    /// Drops what stands in code that has become another one during the look.
    fn compare_codes(&self, look: &Look, census: &mut Census) {
        let numbers = look.codes.values().copied();
        let changed: HashSet<u32> = numbers.filter(|number| !self.code_stayed(*number)).collect();
        if changed.is_empty() {
            return;
        }
        let sound = |frames: &[RawFrame]| !frames.iter().any(|frame| changed.contains(&frame.code));
        let before = census.greenlets.len() + census.tasks.len();
        census.greenlets.retain(|g| sound(&g.frames) && sound(&g.spawned_at));
        census.tasks.retain(|t| sound(&t.frames));
        census.rejected.torn += (before - census.greenlets.len() - census.tasks.len()) as u64;
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
        let (link, code) = self.outermost(ns_tid)?;
        let code = self.code(code)?;
        if !code.file.ends_with("gevent/hub.py") || code.function.rsplit('.').next() != Some("run") {
            return None;
        }
        let layout = self.interpreter().layout;
        let version = self.interpreter().version;
        let hub = self.first_variable(link.address).ok()?;
        let kind = self.memory().word(hub.wrapping_add(layout.object_type())).ok()?;
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        let looking = Looking { memory: self.memory(), layout: &layout, objects: &objects };
        let Kind::Greenlet(kind) = Kinds::default().of(looking, kind) else { return None };
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

    /// Where a gevent greenlet was spawned; nothing where that is not kept or cannot be read.
    fn spawned_at(
        &mut self,
        look: &mut Look,
        objects: &Objects,
        kind_address: u64,
        kind: GreenletType,
        greenlet: u64,
    ) -> Arc<[RawFrame]> {
        if !kind.spawned {
            return Arc::default();
        }
        let layout = self.interpreter().layout;
        let looking = Looking { memory: self.memory(), layout: &layout, objects };
        let mut record = std::mem::take(&mut look.spawned);
        let read = look.spawning.record(looking, kind_address, kind, greenlet, &mut record);
        let frame = |(address, line): &(u64, u32)| {
            Some(RawFrame { code: self.known_code(look, *address).ok()?, line: *line })
        };
        let frames: Vec<RawFrame> =
            if read.is_ok() { record.iter().map_while(frame).collect() } else { Vec::new() };
        look.spawned = record;
        look.stack(&frames)
    }

    /// The number of a code object, resolved once in a look.
    fn known_code(&mut self, look: &mut Look, address: u64) -> Result<u32, ReadError> {
        if let Some(number) = look.codes.get(&address) {
            return Ok(*number);
        }
        let number = self.resolve_code(address)?;
        look.codes.insert(address, number);
        Ok(number)
    }

    /// A frame with its code and line, resolved once in a look.
    pub(super) fn known_frame(&mut self, look: &mut Look, link: &Link) -> Result<RawFrame, ReadError> {
        if let Some(frame) = look.named.get(&(link.code, link.instruction)) {
            return Ok(*frame);
        }
        self.known_code(look, link.code)?;
        let frame = self.resolve_link(link)?;
        look.named.insert((link.code, link.instruction), frame);
        Ok(frame)
    }

    /// The chain as frames, without those of the interpreter's own.
    fn resolve_chain(&mut self, look: &mut Look) -> Result<(), ReadError> {
        let chain = std::mem::take(&mut look.chain);
        let mut frames = std::mem::take(&mut look.frames);
        let mut all = || {
            for link in shown(&chain) {
                frames.push(self.known_frame(look, link)?);
            }
            Ok(())
        };
        let ended = all();
        (look.chain, look.frames) = (chain, frames);
        ended
    }
}

/// The links of a chain that are no frames of the interpreter's own.
fn shown(chain: &[Link]) -> impl Iterator<Item = &Link> {
    chain.iter().filter(|link| link.owner != Owner::Interpreter)
}

/// Whether a timer will wake nobody any more. eventlet and asyncio keep one that was cancelled until its time comes, and say
/// so in it.
fn is_spent(looking: &Looking<'_>, timer: u64) -> bool {
    let mut types = Types::default();
    let mut said = || -> Result<bool, ReadError> {
        let value = match looking.attribute(timer, "called")? {
            Some(value) => Some(value),
            None => slot(*looking, timer, "_cancelled")?,
        };
        let Some(value) = value else { return Ok(false) };
        let of_type = types.of(looking, value)?;
        Ok(of_type.name == "bool" && integer(looking, of_type, value)? == Some(1))
    };
    said().unwrap_or(false)
}
