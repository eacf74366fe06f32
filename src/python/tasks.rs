//! asyncio's tasks: the coroutine of each, what it awaits down to the future that it waits for.
//!
//! Takes memory and the address of a task made in C, gives the addresses of the frames on its way and of what stands at
//! its end. What a coroutine awaits is the top value of its suspended frame; each step is checked by the name of its type,
//! and the way is bounded.

use std::collections::HashMap;

use super::kinds::type_name;
use super::layout::Layout;
use super::memory::{MemoryReader, ReadError};
use super::objects::{GeneratorFrame, Objects, TaskAt, TopValue};

/// Longest way from a task to what it waits for.
const MAX_STEPS: usize = 256;

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its coroutine executes now.
    Running,
    /// It waits for something.
    Waiting,
    /// It has not begun, or it can go on as soon as the loop comes to it.
    Ready,
    /// It has ended.
    Finished,
}

/// A task's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// What it is doing.
    pub state: State,
    /// Where its name is; 0 when it has none.
    pub name: u64,
    /// Addresses of the frames of its coroutines, outermost first.
    pub frames: Vec<u64>,
    /// The future or task it waits for; 0 when none.
    pub waits_for: u64,
}

/// Follows tasks; remembers the names of types.
#[derive(Debug, Default)]
pub struct Tasks {
    names: HashMap<u64, Awaitable>,
}

/// What can stand on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaitable {
    /// A coroutine or generator: it has a frame.
    Generator,
    /// It wraps another one, first thing behind its head.
    Wrapper,
    /// The end.
    Other,
}

impl Tasks {
    /// The way of a task.
    pub fn way(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        objects: &Objects,
        at: TaskAt,
        task: u64,
    ) -> Result<Way, ReadError> {
        let coroutine = memory.word(task.wrapping_add(at.coroutine))?;
        let waits_for = memory.word(task.wrapping_add(at.waiter))?;
        let name = match at.name {
            Some(at) => memory.word(task.wrapping_add(at))?,
            None => 0,
        };
        let mut way = Way { state: State::Ready, name, frames: Vec::new(), waits_for };
        if coroutine == 0 {
            way.state = State::Finished;
            return Ok(way);
        }
        let mut here = coroutine;
        for step in 0..MAX_STEPS {
            match self.what(memory, layout, objects, here)? {
                Awaitable::Other if step == 0 => return Err(ReadError::Unmapped),
                Awaitable::Other => break,
                Awaitable::Wrapper => here = memory.word(here.wrapping_add(layout.behind_head()))?,
                Awaitable::Generator => {
                    let Some((frame, executing, waits)) = frame(memory, objects, here)? else { break };
                    way.frames.push(frame);
                    if executing {
                        way.state = State::Running;
                    }
                    if !waits {
                        break;
                    }
                    here = top(memory, objects, frame)? & layout.reference_mask;
                }
            }
            if here == 0 {
                break;
            }
        }
        if way.state != State::Running {
            way.state = match (way.waits_for, way.frames.is_empty()) {
                (0, true) => State::Finished,
                (0, false) => State::Ready,
                _ => State::Waiting,
            };
        }
        Ok(way)
    }

    fn what(
        &mut self,
        memory: &dyn MemoryReader,
        layout: &Layout,
        objects: &Objects,
        object: u64,
    ) -> Result<Awaitable, ReadError> {
        let kind = memory.word(object.wrapping_add(layout.object_type()))?;
        if let Some(known) = self.names.get(&kind) {
            return Ok(*known);
        }
        let what = match type_name(memory, objects.kind, kind)?.as_str() {
            "coroutine" | "generator" | "async_generator" => Awaitable::Generator,
            "coroutine_wrapper" | "async_generator_asend" | "async_generator_athrow" => Awaitable::Wrapper,
            _ => Awaitable::Other,
        };
        self.names.insert(kind, what);
        Ok(what)
    }
}

/// The frame of a generator or coroutine, whether it executes, and whether it waits in an `await`; `None` when it has ended.
fn frame(
    memory: &dyn MemoryReader,
    objects: &Objects,
    generator: u64,
) -> Result<Option<(u64, bool, bool)>, ReadError> {
    match objects.generator {
        GeneratorFrame::Pointer(at) => {
            let frame = memory.word(generator.wrapping_add(at))?;
            if frame == 0 {
                return Ok(None);
            }
            // A frame that executes keeps the top of its values elsewhere.
            let executing = match objects.top {
                Some(TopValue::Stacktop { at, .. }) => memory.word(frame.wrapping_add(at))? == 0,
                Some(TopValue::Depth { depth, .. }) => (memory.half(frame.wrapping_add(depth))? as i32) < 0,
                _ => false,
            };
            Ok(Some((frame, executing, !executing)))
        }
        GeneratorFrame::Inline { at, state, states } => {
            let mut byte = [0];
            memory.read(generator.wrapping_add(state), &mut byte)?;
            let [now] = byte.map(u8::cast_signed);
            let alive = now == states.created || now == states.executing || states.suspended.contains(&now);
            let executing = now == states.executing;
            Ok(alive.then(|| (generator.wrapping_add(at), executing, states.awaiting.contains(&now))))
        }
    }
}

/// The top value of a suspended frame; 0 when there is none.
fn top(memory: &dyn MemoryReader, objects: &Objects, frame: u64) -> Result<u64, ReadError> {
    let at = |address: u64| memory.word(address);
    match objects.top {
        None => Ok(0),
        Some(TopValue::Stacktop { at: behind, first }) => {
            let (behind, first) = (at(frame.wrapping_add(behind))?, at(frame.wrapping_add(first))?);
            // Below the first value are the locals.
            if behind > first { at(behind.wrapping_sub(8)) } else { Ok(0) }
        }
        Some(TopValue::Depth { array, depth }) => {
            let count = memory.half(frame.wrapping_add(depth))? as i32;
            if count <= 0 {
                return Ok(0);
            }
            at(at(frame.wrapping_add(array))?.wrapping_add((count as u64 - 1) * 8))
        }
        Some(TopValue::Index { at: index, locals }) => {
            let count = memory.half(frame.wrapping_add(index))? as i32;
            if count <= 0 {
                return Ok(0);
            }
            at(frame.wrapping_add(locals + (count as u64 - 1) * 8))
        }
        Some(TopValue::Pointer { at: pointer, below }) => match at(frame.wrapping_add(pointer))? {
            0 => Ok(0),
            behind => at(behind.wrapping_sub(below)),
        },
    }
}
