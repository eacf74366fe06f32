//! The native side of a dump: the machine's stack of each sleeping thread, joined with its Python frames.
//!
//! A thread's stack is copied while it sleeps, and counts only if it slept from before the first look at its Python frames
//! until after the copy. One that runs has its Python frames only, unless it may be held for the moment of a copy: that is
//! [`crate::observe::burst`]'s to do.

use std::sync::Arc;
use std::time::Duration;

use super::burst::{Burst, Woken};
use super::dump::WantedNative;
use super::model::BlindSpot;
use super::recorder::python::Python;
use crate::native::merge::{Fit, Place, merge};
use crate::native::names::{KnownFiles, PATIENCE};
use crate::native::registers::Registers;
use crate::native::stacks::{NATIVE_ARCH, NativeFrame, NativeStack, NativeStacks};
use crate::native::unwind::StackCopy;
use crate::observe::burst::{self, Bounds, Choice, CopiedStack};
use crate::observe::kernel_file::{ProcDir, Seen, Unseen};
use crate::observe::memory::Memory;
use crate::observe::thread_files::{Asleep, ThreadFiles};
use crate::python::census::Greenlet;
use crate::target::Member;
use crate::target::maps::Mapping;

/// The machine's stack of a thread or greenlet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NativeDump {
    /// What became of it.
    pub state: NativeState,
    /// Why it is not whole, if it is not.
    pub why: Option<String>,
    /// Functions of the kernel that the thread sleeps in, innermost first; empty where they may not be read.
    pub kernel: Vec<String>,
    /// Native frames, innermost first.
    pub frames: Vec<NativeFrame>,
    /// The order in which native and Python frames stand, innermost first; empty when they do not fit together.
    pub places: Vec<Place>,
}

/// What became of the machine's stack of a thread or greenlet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NativeState {
    /// Joined with the Python frames, to its root.
    Merged,
    /// Joined, but its outer part is not known.
    Incomplete,
    /// Both are known, but they do not fit together.
    Apart,
    /// The thread runs, and may not be held; nothing short of a stop shows its registers.
    Running,
    /// It woke up, or was switched to, each time it was looked at.
    Moved,
    /// It could not be read.
    Unreadable,
}

impl NativeDump {
    fn without(state: NativeState, why: &str) -> Self {
        Self { state, why: Some(why.to_owned()), kernel: Vec::new(), frames: Vec::new(), places: Vec::new() }
    }

    /// A thread that runs.
    pub(super) fn running() -> Self {
        Self::without(
            NativeState::Running,
            "the thread runs; --level burst may stop it, for microseconds, to copy its registers and stack",
        )
    }

    /// A thread that runs and could not be held.
    fn not_held(why: &str) -> Self {
        Self::without(NativeState::Running, &format!("the thread runs and could not be stopped: {why}"))
    }

    /// A thread of which it cannot be told where it sleeps.
    pub(super) fn unreadable(why: Unseen) -> Self {
        Self::without(NativeState::Unreadable, &format!("where it sleeps cannot be told: {why}"))
    }

    /// A thread that woke up.
    fn moved() -> Self {
        Self::without(NativeState::Moved, "the thread woke up each time it was looked at")
    }
}

/// How often a greenlet that is switched to is looked at.
const TRIES: usize = 3;
/// Most greenlets of a process whose machine's stacks are followed.
const MOST_SWITCHED: u64 = 2_000;

/// What was done to threads that run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Stopped {
    /// Stops.
    pub stops: u64,
    /// How long threads were held, together, from noticing each stop to letting go.
    pub stopped_ns_total: u64,
    /// The longest of them.
    pub stopped_ns_max: u64,
    /// Threads that had just fallen asleep in a call and got `EINTR` from it.
    pub interrupted: u64,
    /// Whether nothing is traced any more, as the kernel says.
    pub detached: bool,
}

impl Stopped {
    fn add(&mut self, burst: &Burst) {
        self.stops += burst.stops;
        self.stopped_ns_total += burst.stopped_ns_total;
        self.stopped_ns_max = self.stopped_ns_max.max(burst.stopped_ns_max);
        self.interrupted += burst.threads.iter().filter(|t| t.woken != Woken::No).count() as u64;
        self.detached &= burst.detached;
    }
}

/// Most threads of a process that are held, one after the other.
const MOST_HELD: u64 = 16;

/// The native stacks of a process, and what is known of names.
pub(super) struct Natives<'a> {
    dir: Arc<ProcDir>,
    stacks: NativeStacks<Memory>,
    known: &'a mut KnownFiles,
    kernel: Option<Unseen>,
    /// What was done to threads that run, where that is allowed.
    pub(super) stopped: Option<Stopped>,
    /// How long the last thread was waited for that did not stop.
    late: Option<Duration>,
    /// Greenlets whose stacks were asked for.
    switched: u64,
}

impl<'a> Natives<'a> {
    /// Those of a process; `None` where its memory or mappings may not be read, or on another machine than this is for.
    pub(super) fn new(
        member: &Member,
        arch: &str,
        mappings: &Seen<Vec<Mapping>>,
        WantedNative { known, may_stop }: WantedNative<'a>,
    ) -> Option<Self> {
        let mappings = mappings.as_deref().ok().filter(|_| arch == NATIVE_ARCH)?;
        let memory = Memory::open(&member.dir).ok()?;
        let stacks = NativeStacks::new(Arc::clone(&member.dir), memory, member.snapshot.ns_pid, mappings);
        let stopped = may_stop.then_some(Stopped { detached: true, ..Stopped::default() });
        Some(Self {
            dir: Arc::clone(&member.dir),
            stacks,
            known,
            kernel: None,
            stopped,
            late: None,
            switched: 0,
        })
    }

    /// Whether threads that run may be held for a moment.
    pub(super) const fn may_stop(&self) -> bool {
        self.stopped.is_some()
    }

    /// Holds a thread that runs, once, for a copy of its registers and its stack. None when it has fallen asleep; what there
    /// is to say instead when it cannot be held.
    pub(super) fn hold(&mut self, tid: i32, words: [u64; 2]) -> Result<Option<CopiedStack>, NativeDump> {
        let stopped = self.stopped.as_mut().ok_or_else(NativeDump::running)?;
        if stopped.stops >= MOST_HELD {
            return Err(NativeDump::not_held(&format!("{MOST_HELD} stops of a process are the most")));
        }
        let bounds = Bounds { max_stops: MOST_HELD, choice: Choice::Running, ..Bounds::default() };
        let wanted = burst::Wanted { tid, words };
        let (burst, copies) = burst::copy_stacks(&self.dir, &[wanted], &bounds)
            .map_err(|why| NativeDump::not_held(&why.to_string()))?;
        stopped.add(&burst);
        // One that waits for a processor stops only when it has got one.
        self.late = (burst.left_out.asleep == 0).then_some(bounds.limit);
        Ok(copies.into_iter().next())
    }

    /// What there is to say of a thread of which no look was good enough.
    pub(super) fn gave_up(&self) -> NativeDump {
        self.late.map_or_else(NativeDump::moved, |limit| {
            NativeDump::not_held(&format!("it did not come to a stop within {} ms", limit.as_millis()))
        })
    }

    /// The stack of a thread that was held. `together` says that the Python frames are those of that moment.
    pub(super) fn of_held(
        &mut self,
        copied: &CopiedStack,
        together: bool,
        calls: Option<&[usize]>,
        python2: bool,
    ) -> NativeDump {
        let copy = StackCopy { start: copied.start, bytes: copied.bytes.clone() };
        let stack = self.stacks.frames(Registers::held(&copied.registers), &copy, self.known);
        let unknown = if together {
            UNKNOWN_CALLS
        } else {
            "the thread was in other Python functions when it was held"
        };
        joined(stack, Vec::new(), calls.ok_or(unknown), python2)
    }

    /// The stack of a thread that was asleep before its Python frames were read. `None` when it is not any more. `calls`
    /// has, of these frames, how many belong to each call of the evaluation function, or `None` where they are not all of them.
    pub(super) fn of(
        &mut self,
        files: &mut ThreadFiles,
        before: &Asleep,
        calls: Option<&[usize]>,
        python2: bool,
        buffer: &mut [u8],
    ) -> Option<NativeDump> {
        self.late = None;
        let copy = self.stacks.copy(before.site);
        let kernel = files.kernel_stack();
        if files.asleep(buffer).ok().flatten().as_ref() != Some(before) {
            return None;
        }
        let kernel = kernel.unwrap_or_else(|why| {
            self.kernel = Some(why);
            Vec::new()
        });
        let Some(copy) = copy else {
            return Some(NativeDump {
                kernel,
                ..NativeDump::without(NativeState::Unreadable, "its stack could not be read")
            });
        };
        let registers = Registers::asleep(before.site.stack_pointer, before.site.program_counter);
        let stack = self.stacks.frames(registers, &copy, self.known);
        Some(joined(stack, kernel, calls.ok_or(UNKNOWN_CALLS), python2))
    }

    /// The stack of a greenlet that is suspended. It counts only if the greenlet was the same before and behind two equal
    /// copies. `None` where too many were asked for.
    pub(super) fn of_greenlet(
        &mut self,
        python: &mut Python,
        greenlet: &Greenlet,
        python2: bool,
    ) -> Option<NativeDump> {
        self.switched += 1;
        if self.switched > MOST_SWITCHED {
            return None;
        }
        for _ in 0..TRIES {
            let Some(before) = python.reader().switched(greenlet) else { continue };
            let Some(copy) = self.stacks.copy_saved(&before.stack) else {
                return Some(NativeDump::without(NativeState::Unreadable, "its stack could not be read"));
            };
            let again = self.stacks.copy_saved(&before.stack);
            if again.as_ref() == Some(&copy) && python.reader().switched(greenlet).as_ref() == Some(&before) {
                let stack = self.stacks.switched(&before.stack, &copy, self.known);
                let calls = before.calls.as_deref().ok_or(UNKNOWN_CALLS);
                return Some(joined(stack, Vec::new(), calls, python2));
            }
        }
        let why = "the greenlet was switched to each time it was looked at";
        Some(NativeDump::without(NativeState::Moved, why))
    }

    /// That there are none of a process, and why.
    pub(super) fn none(pid: i32, arch: &str) -> BlindSpot {
        let (why, remedy) = if arch == NATIVE_ARCH {
            ("its memory may not be read", "see what opens it: stallscope doctor")
        } else {
            ("they are only followed on x86-64 and aarch64", "nothing; its Python frames are all here")
        };
        BlindSpot {
            what: format!("native frames of process {pid}"),
            why: why.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// What could not be seen.
    pub(super) fn blind_spots(self, pid: i32) -> Vec<BlindSpot> {
        let files = self.stacks.no_file.into_iter().map(|(path, why)| BlindSpot {
            what: format!("names of functions in {path} of process {pid}, but for those it exports"),
            why: match why {
                Unseen::Garbled => {
                    "the file there is not what is mapped, or none that can be read".to_owned()
                }
                other => format!("its file cannot be read: {other}"),
            },
            remedy: "run as the superuser, who can read files that were deleted or exchanged".into(),
        });
        let kernel = self.kernel.filter(|why| *why == Unseen::Denied).map(|why| BlindSpot {
            what: format!("functions of the kernel that threads of process {pid} sleep in"),
            why: why.to_string(),
            remedy: "run as the superuser".into(),
        });
        let asked = self.switched;
        let greenlets = (asked > MOST_SWITCHED).then(|| BlindSpot {
            what: format!("native frames of {} greenlets of process {pid}", asked - MOST_SWITCHED),
            why: format!("those of {MOST_SWITCHED} are followed at most"),
            remedy: "nothing; their Python frames are all here".into(),
        });
        let left_out = self.known.left_out;
        let lines = (left_out > 0).then(|| BlindSpot {
            what: format!("inlined functions and lines of {left_out} libraries of process {pid}"),
            why: format!(
                "reading the debugging information of others took {} s of processor time, which is the most",
                PATIENCE.as_secs()
            ),
            remedy: format!("look at it alone: stallscope dump {pid} --only {pid} --native"),
        });
        files.chain(kernel).chain(greenlets).chain(lines).collect()
    }
}

/// Why frames cannot be joined where it is not known which of Python's belong to which call.
const UNKNOWN_CALLS: &str = "its Python frames are not all known, or are those of several interpreters";

/// Joins a native stack with the Python frames, of which `calls` says how many belong to each call of the evaluation function.
fn joined(
    stack: NativeStack,
    kernel: Vec<String>,
    calls: Result<&[usize], &str>,
    python2: bool,
) -> NativeDump {
    let NativeStack { frames, cut } = stack;
    let cut = cut.map(|why| why.to_string());
    let (places, state, why) = match calls.map(|calls| merge(&frames, cut.is_some(), calls, python2)) {
        Ok((places, Fit::Whole)) => (places, NativeState::Merged, None),
        Ok((places, Fit::Incomplete)) => (places, NativeState::Incomplete, cut),
        Ok((_, Fit::Apart { native, python })) => {
            let found =
                format!("{native} calls of the interpreter are on it, by its own account there are {python}");
            let why = cut.map_or(found.clone(), |cut| format!("{found}; {cut}"));
            (Vec::new(), NativeState::Apart, Some(why))
        }
        Err(why) => (Vec::new(), NativeState::Apart, Some(why.to_owned())),
    };
    NativeDump { state, why, kernel, frames, places }
}
