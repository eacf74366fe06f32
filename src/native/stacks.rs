//! The native stacks of one process: a copy of a sleeping thread's stack → named frames.
//!
//! Whoever asks has to prove that the thread slept while its stack was copied.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use foldhash::HashMap;

use super::cfi::NoCaller;
use super::merge;
use super::modules::{Module, Modules};
use super::names::{KnownFiles, Names};
use super::perf_map::{self, PerfMap};
use super::registers::Registers;
use super::unwind::{Place, StackCopy, Unwinder};
use crate::observe::kernel_file::{ProcDir, Unseen};
use crate::observe::parse::Site;
use crate::observe::target_file::regular_below_root;
use crate::python::memory::{MemoryReader, PAGE};
use crate::target::maps::Mapping;

/// The machine whose registers are known here.
pub const NATIVE_ARCH: &str = "x86_64";

/// Most of a stack that is copied.
const MAX_STACK: u64 = 1 << 20;
/// What a function may use below its stack pointer without saying so.
const RED_ZONE: u64 = 128;

/// A frame of the machine's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            no_file: BTreeMap::new(),
        }
    }

    /// Copies what lies on a stack; `None` when nothing can be read there.
    #[must_use]
    pub fn copy(&self, site: Site) -> Option<StackCopy> {
        let behind = self.mappings.partition_point(|(_, end)| *end <= site.stack_pointer);
        let (_, end) = self.mappings.get(behind)?;
        let start = site.stack_pointer.checked_sub(RED_ZONE)?;
        let length = (end - start).min(MAX_STACK) as usize;
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
        (!bytes.is_empty()).then_some(StackCopy { start, bytes })
    }

    /// The frames on a copied stack.
    pub fn frames(&mut self, site: Site, stack: &StackCopy, known: &mut KnownFiles) -> NativeStack {
        let registers = Registers::asleep(site.stack_pointer, site.program_counter);
        let walked = self.unwinder.walk(&self.memory, &self.modules, stack, registers);
        let mut frames = Vec::with_capacity(walked.places.len());
        for place in walked.places {
            self.name(place, known, &mut frames);
        }
        NativeStack { frames, cut: walked.cut }
    }

    /// Names a frame and those that are inlined in it.
    fn name(&mut self, place: Place, known: &mut KnownFiles, frames: &mut Vec<NativeFrame>) {
        let Self { modules, unwinder, names, dir, memory, no_file, .. } = self;
        let Some(module) = modules.at(place.inside) else {
            let function = self.compiled(place.inside).map(str::to_owned);
            frames.push(NativeFrame { function, library: None, offset: place.address, source: None });
            return;
        };
        let Module { path, start, .. } = module;
        let own = names.entry(*start).or_insert_with(|| {
            let found = known.of(dir, module, memory);
            if let Some(why) = found.no_file {
                no_file.insert(path.clone(), why);
            }
            found
        });
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
