//! The native stacks of one process: a copy of a thread's or a greenlet's stack → named frames.
//!
//! Whoever asks has to prove that nothing moved while the stack was copied.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use foldhash::HashMap;

use super::cfi::NoCaller;
use super::merge;
use super::modules::{Module, Modules};
use super::names::{KnownFiles, Names};
use super::perf_map::{self, PerfMap};
use super::registers::{BASE, Registers};
use super::switch::{self, Switch};
use super::unwind::{Place, StackCopy, Unwinder, Walked};
use crate::observe::kernel_file::{ProcDir, Unseen};
use crate::observe::parse::Site;
use crate::observe::target_file::regular_below_root;
use crate::python::greenlets::SavedStack;
use crate::python::memory::{MemoryReader, PAGE};
use crate::target::maps::Mapping;

/// The machine whose stacks are followed: that which this is compiled for.
pub const NATIVE_ARCH: &str = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };

/// Most of a stack that is copied, and of a library that is searched.
const MAX_STACK: u64 = 1 << 20;
/// Most places whose names are kept.
const MOST_MET: usize = 65_536;
/// What a function may use below its stack pointer without saying so.
const RED_ZONE: u64 = 128;

/// A frame of the machine's stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NativeFrame {
    /// Its function; `None` when it has no name.
    pub function: Option<String>,
    /// Path of its program or library; `None` for code that was made at run time.
    pub library: Option<String>,
    /// Where it goes on, counted from where its library is mapped; the address itself without one.
    pub offset: u64,
    /// The file and line of its source, where known.
    pub source: Option<(String, u32)>,
}

impl merge::Frame for NativeFrame {
    fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    fn library(&self) -> &str {
        self.library.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
    }
}

/// The machine's stack of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeStack {
    /// Its frames, innermost first.
    pub frames: Vec<NativeFrame>,
    /// Why it ends before its root; `None` when it does not.
    pub cut: Option<NoCaller>,
}

/// Reads the native stacks of one process.
pub struct NativeStacks<M> {
    dir: Arc<ProcDir>,
    memory: M,
    ns_pid: i32,
    mappings: Vec<(u64, u64)>,
    modules: Modules,
    unwinder: Unwinder,
    names: HashMap<u64, Names>,
    compiled: Option<PerfMap>,
    /// Frames that were named before.
    met: HashMap<Place, Vec<NativeFrame>>,
    /// Where greenlets are suspended, once that was looked for.
    switch: OnceCell<Option<Switch>>,
    /// Libraries whose files could not be read, and why.
    pub no_file: BTreeMap<String, Unseen>,
}

impl<M: MemoryReader> NativeStacks<M> {
    /// For a process, its memory and its mappings.
    #[must_use]
    pub fn new(dir: Arc<ProcDir>, memory: M, ns_pid: i32, mappings: &[Mapping]) -> Self {
        Self {
            dir,
            memory,
            ns_pid,
            mappings: mappings.iter().map(|m| (m.start, m.end)).collect(),
            modules: Modules::of(mappings),
            unwinder: Unwinder::default(),
            names: HashMap::default(),
            compiled: None,
            met: HashMap::default(),
            switch: OnceCell::new(),
            no_file: BTreeMap::new(),
        }
    }

    /// Copies what lies on a stack; `None` when nothing can be read there.
    #[must_use]
    pub fn copy(&self, site: Site) -> Option<StackCopy> {
        let start = site.stack_pointer.checked_sub(RED_ZONE)?;
        let end = self.end_of_mapping(site.stack_pointer)?;
        let bytes = self.read_up(start, end);
        (!bytes.is_empty()).then_some(StackCopy { start, bytes })
    }

    /// Copies the stack of a suspended greenlet: its inner part from where that is kept, the rest from its place.
    #[must_use]
    pub fn copy_saved(&self, stack: &SavedStack) -> Option<StackCopy> {
        let end = match stack.stop {
            Some(stop) => stop,
            None => self.end_of_mapping(stack.start)?,
        };
        let mut bytes = vec![0; stack.saved.min(MAX_STACK) as usize];
        if !bytes.is_empty() {
            self.memory.read(stack.copy, &mut bytes).ok()?;
        }
        if stack.saved < MAX_STACK {
            let limit = stack.start.saturating_add(MAX_STACK);
            bytes.extend(self.read_up(stack.start.checked_add(stack.saved)?, end.min(limit)));
        }
        (!bytes.is_empty()).then_some(StackCopy { start: stack.start, bytes })
    }

    fn end_of_mapping(&self, address: u64) -> Option<u64> {
        let behind = self.mappings.partition_point(|(_, end)| *end <= address);
        self.mappings.get(behind).map(|(_, end)| *end)
    }

    /// What can be read from an address on, up to another.
    fn read_up(&self, start: u64, end: u64) -> Vec<u8> {
        let length = end.saturating_sub(start).min(MAX_STACK) as usize;
        let mut bytes = vec![0; length];
        if self.memory.read(start, &mut bytes).is_err() {
            // The C library puts guards between stacks, which do not show in the list of mappings.
            let first = (PAGE - start % PAGE) as usize;
            let mut read = 0;
            while let Some(room) =
                bytes.get_mut(read..(read + if read == 0 { first } else { PAGE as usize }).min(length))
                && !room.is_empty()
                && self.memory.read(start + read as u64, room).is_ok()
            {
                read += room.len();
            }
            bytes.truncate(read);
        }
        bytes
    }

    /// The frames of a suspended greenlet, by a copy of its stack. They reach its root where the next frame would lie outside
    /// of its own stack, and greenlet itself has called the last one.
    pub fn switched(&mut self, saved: &SavedStack, stack: &StackCopy, known: &mut KnownFiles) -> NativeStack {
        let Some(Switch { place, base }) = self.switch() else {
            return NativeStack { frames: Vec::new(), cut: Some(NoCaller::NoSwitch) };
        };
        let mut registers = Registers::asleep(saved.start, place);
        let base = base.and_then(|below| stack.word(saved.start.checked_add(below)?).ok());
        registers.set(BASE, base);
        let walked = self.walk(&registers, stack, known);
        let last = walked.places.last().and_then(|last| self.modules.at(last.inside));
        let of_greenlet = last.is_some() && last.map(|m| m.start) == self.modules.at(place).map(|m| m.start);
        let ends = |at: u64| saved.stop.is_some_and(|stop| at >= stop);
        let at_root = matches!(walked.cut, Some(NoCaller::OffStack(at)) if ends(at)) && of_greenlet;
        let cut = walked.cut.filter(|_| !at_root);
        NativeStack { frames: self.named(&walked.places, known), cut }
    }

    /// Where greenlets are suspended; `None` where that is in no library, or in several.
    fn switch(&self) -> Option<Switch> {
        let find = || {
            let libraries = self.modules.iter().filter(|module| module.name().contains("greenlet"));
            let mut found = libraries.filter_map(|m| switch::find(&self.read_up(m.start, m.end), m.start));
            let one = found.next();
            if found.next().is_none() { one } else { None }
        };
        *self.switch.get_or_init(find)
    }

    /// The frames on a copied stack, from these registers on.
    pub fn frames(&mut self, registers: Registers, stack: &StackCopy, known: &mut KnownFiles) -> NativeStack {
        let walked = self.walk(&registers, stack, known);
        NativeStack { frames: self.named(&walked.places, known), cut: walked.cut }
    }

    fn walk(&mut self, registers: &Registers, stack: &StackCopy, known: &mut KnownFiles) -> Walked {
        let Self { unwinder, memory, modules, names, dir, no_file, .. } = self;
        let (memory, modules, dir) = (&*memory, &*modules, &**dir);
        let mut of_file = |module: &Module, address: u64| {
            names_of(names, known, dir, memory, no_file, module).rule(address)
        };
        unwinder.walk_with(memory, modules, stack, *registers, &mut of_file)
    }

    /// Names frames and those that are inlined in them. Many stacks go through the same places.
    fn named(&mut self, places: &[Place], known: &mut KnownFiles) -> Vec<NativeFrame> {
        let mut frames = Vec::with_capacity(places.len());
        for place in places {
            if let Some(same) = self.met.get(place) {
                frames.extend_from_slice(same);
                continue;
            }
            let begin = frames.len();
            self.name(*place, known, &mut frames);
            if self.met.len() < MOST_MET {
                self.met.insert(*place, frames.get(begin..).unwrap_or_default().to_vec());
            }
        }
        frames
    }

    fn name(&mut self, place: Place, known: &mut KnownFiles, frames: &mut Vec<NativeFrame>) {
        let Self { modules, unwinder, names, dir, memory, no_file, .. } = self;
        let Some(module) = modules.at(place.inside) else {
            let function = self.compiled(place.inside).map(str::to_owned);
            frames.push(NativeFrame { function, library: None, offset: place.address, source: None });
            return;
        };
        let Module { path, start, .. } = module;
        let own = names_of(names, known, dir, memory, no_file, module);
        let frame = |function, source| {
            let offset = place.address.wrapping_sub(*start);
            NativeFrame { function, library: Some(path.clone()), offset, source }
        };
        let functions = own.at(place.inside);
        if functions.is_empty() {
            let part = unwinder.piece(place.inside).is_some_and(|piece| own.evaluates(memory, &piece));
            frames.push(frame(part.then(|| format!("{}.part", merge::EVALUATION)), None));
        }
        frames.extend(functions.into_iter().map(|named| frame(Some(named.function), named.source)));
    }

    /// The name that a runtime has left for code it made. Only the process's own user, or the superuser, may say so.
    fn compiled(&mut self, address: u64) -> Option<&str> {
        if self.compiled.is_none() {
            let owner = self.dir.stat("stat").map(|stat| stat.st_uid);
            let path = format!("/tmp/perf-{}.map", self.ns_pid);
            let mut text = Vec::new();
            if let (Ok(owner), Ok(file)) = (owner, regular_below_root(&self.dir, &path))
                && (file.owner == owner || file.owner == 0)
            {
                let _ = file.file.take(perf_map::MAX_BYTES).read_to_end(&mut text);
            }
            self.compiled = Some(PerfMap::parse(&String::from_utf8_lossy(&text)));
        }
        self.compiled.as_ref()?.at(address)
    }
}

/// The names in a module, looked for once.
fn names_of<'n>(
    names: &'n mut HashMap<u64, Names>,
    known: &mut KnownFiles,
    dir: &ProcDir,
    memory: &dyn MemoryReader,
    no_file: &mut BTreeMap<String, Unseen>,
    module: &Module,
) -> &'n Names {
    names.entry(module.start).or_insert_with(|| {
        let found = known.of(dir, module, memory);
        if let Some(why) = found.no_file {
            no_file.insert(module.path.clone(), why);
        }
        found
    })
}
