//! What is asked of a look at all greenlets and tasks, and what it gives: plain data.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::greenlets::State;
use super::kinds::{GreenletType, Library};
use super::reader::RawFrame;
use super::tasks;
use crate::target::maps::Mapping;

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

/// What is asked of a look.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The machine stacks of the threads.
    pub stacks: &'a [MachineStack],
    /// Most objects that the lists may hold.
    pub most: usize,
    /// Most bytes that may be copied to follow them: a search is cheaper where they jump about in memory.
    pub most_bytes: u64,
    /// Gives the mappings that are searched where the lists cannot be followed; nothing is searched without.
    pub search: Option<&'a dyn Fn() -> Vec<Mapping>>,
    /// Whether the lists are tried at all.
    pub lists: bool,
}

/// How greenlets and tasks were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FoundBy {
    /// By the collector's lists, which hold them all.
    #[default]
    Lists,
    /// By a search of memory for objects of their types.
    Search,
}

/// A greenlet.
#[derive(Debug, Clone, PartialEq)]
pub struct Greenlet {
    /// Where it is: its identity while it lives.
    pub address: u64,
    /// Its type: where that is, and what kind of greenlet it makes.
    pub of: (u64, GreenletType),
    /// What it is doing.
    pub state: State,
    /// Whether it is the one that its thread began with.
    pub main: bool,
    /// Whether it runs its library's loop.
    pub hub: bool,
    /// Who made its type, or the loop that it runs.
    pub library: Option<Library>,
    /// The name of its type.
    pub type_name: Arc<str>,
    /// The thread it belongs to, in the target's namespace.
    pub ns_tid: Option<i32>,
    /// Its frames, innermost first. Those of a running one are its thread's.
    pub frames: Arc<[RawFrame]>,
    /// Where its frames are, as far as they are its own: those of a suspended one.
    pub addresses: Vec<u64>,
    /// What it runs: a function's name.
    pub callable: Option<Arc<str>>,
    /// Where it was spawned, innermost first, as far as gevent keeps that.
    pub spawned_at: Arc<[RawFrame]>,
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
    pub frames: Arc<[RawFrame]>,
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
    /// Timers of loops, at the least: greenlets and tasks that are to be woken at a time.
    pub timers: usize,
    /// How they were found.
    pub found_by: FoundBy,
    /// Objects that the collector's lists held.
    pub objects: usize,
    /// Whether all lists were followed to their ends, or all of the mappings searched.
    pub complete: bool,
}

impl Census {
    /// That of a process in which nothing makes greenlets or tasks.
    #[must_use]
    pub fn none() -> Self {
        Self { complete: true, ..Self::default() }
    }
}

/// What is there to be read.
#[derive(Default)]
pub(super) struct Found {
    /// Greenlets: the addresses of their types, and what those are.
    pub greenlets: HashMap<u64, (u64, GreenletType)>,
    /// Tasks.
    pub tasks: HashSet<u64>,
    /// Timers of loops that the lists held.
    pub timers: usize,
    /// Objects that the lists held.
    pub objects: usize,
    /// Whether nothing was left out.
    pub complete: bool,
    /// How they were found.
    pub by: FoundBy,
}
