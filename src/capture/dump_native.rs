//! The native side of a dump: the machine's stack of each sleeping thread, joined with its Python frames.
//!
//! A thread is never stopped. Its stack is copied while it sleeps, and counts only if it slept from before the first look at
//! its Python frames until after the copy; one that runs has its Python frames only.

use std::sync::Arc;

use super::model::BlindSpot;
use crate::native::merge::{Fit, Place, merge};
use crate::native::names::{KnownFiles, PATIENCE};
use crate::native::stacks::{NATIVE_ARCH, NativeFrame, NativeStacks};
use crate::observe::kernel_file::{Seen, Unseen};
use crate::observe::memory::Memory;
use crate::observe::thread_files::{Asleep, ThreadFiles};
use crate::target::Member;
use crate::target::maps::Mapping;

/// The machine's stack of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What became of the machine's stack of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NativeState {
    /// Joined with the Python frames, to its root.
    Merged,
    /// Joined, but its outer part is not known.
    Incomplete,
    /// Both are known, but they do not fit together.
    Apart,
    /// The thread runs; nothing short of a stop shows its registers.
    Running,
    /// It woke up each time it was looked at.
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
            "the thread runs, and its registers are only known while it sleeps",
        )
    }

    /// A thread of which it cannot be told where it sleeps.
    pub(super) fn unreadable(why: Unseen) -> Self {
        Self::without(NativeState::Unreadable, &format!("where it sleeps cannot be told: {why}"))
    }

    /// A thread that woke up.
    pub(super) fn moved() -> Self {
        Self::without(NativeState::Moved, "the thread woke up each time it was looked at")
    }
}

/// The native stacks of a process, and what is known of names.
pub(super) struct Natives<'a> {
    stacks: NativeStacks<Memory>,
    known: &'a mut KnownFiles,
    kernel: Option<Unseen>,
}

impl<'a> Natives<'a> {
    /// Those of a process; `None` where its memory or mappings may not be read, or on another machine than this is for.
    pub(super) fn new(
        member: &Member,
        arch: &str,
        mappings: &Seen<Vec<Mapping>>,
        known: &'a mut KnownFiles,
    ) -> Option<Self> {
        let mappings = mappings.as_deref().ok().filter(|_| arch == NATIVE_ARCH)?;
        let memory = Memory::open(&member.dir).ok()?;
        let stacks = NativeStacks::new(Arc::clone(&member.dir), memory, member.snapshot.ns_pid, mappings);
        Some(Self { stacks, known, kernel: None })
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
        let stack = self.stacks.frames(before.site, &copy, self.known);
        let cut = stack.cut.map(|why| why.to_string());
        let (places, state, why) =
            match calls.map(|calls| merge(&stack.frames, cut.is_some(), calls, python2)) {
                Some((places, Fit::Whole)) => (places, NativeState::Merged, None),
                Some((places, Fit::Incomplete)) => (places, NativeState::Incomplete, cut),
                Some((_, Fit::Apart { native, python })) => {
                    let found = format!(
                        "{native} calls of the interpreter are on it, by its own account there are {python}"
                    );
                    let why = cut.map_or(found.clone(), |cut| format!("{found}; {cut}"));
                    (Vec::new(), NativeState::Apart, Some(why))
                }
                None => {
                    let why = "its Python frames are not all known, or are those of several interpreters";
                    (Vec::new(), NativeState::Apart, Some(why.to_owned()))
                }
            };
        Some(NativeDump { state, why, kernel, frames: stack.frames, places })
    }

    /// That there are none of a process, and why.
    pub(super) fn none(pid: i32, arch: &str) -> BlindSpot {
        let (why, remedy) = if arch == NATIVE_ARCH {
            ("its memory may not be read", "see what opens it: stallscope doctor")
        } else {
            ("they are only followed on x86-64", "nothing; its Python frames are all here")
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
        let left_out = self.known.left_out;
        let lines = (left_out > 0).then(|| BlindSpot {
            what: format!("inlined functions and lines of {left_out} libraries of process {pid}"),
            why: format!(
                "reading the debugging information of others took {} s of processor time, which is the most",
                PATIENCE.as_secs()
            ),
            remedy: format!("look at it alone: stallscope dump {pid} --only {pid} --native"),
        });
        files.chain(kernel).chain(lines).collect()
    }
}
