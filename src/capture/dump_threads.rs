//! The threads of a dump: what the kernel says of each, its stack, and what Python says of it.
//!
//! Takes a process and its interpreter, gives plain data. A thread that is inside a sub-interpreter has a stack in each
//! interpreter on its way there: it is then told once for each, the innermost first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::dump::{Gil, NativeDump, ThreadDump, Variables};
use super::dump_native::Natives;
use super::model::{Doing, Frame};
use super::recorder::python::Python;
use super::syscalls::{Wait, describe};
use crate::observe::kernel_file::READ_BUFFER_BYTES;
use crate::observe::thread_files::{ThreadFiles, list_threads};
use crate::python::Sample;
use crate::python::innermost::Innermost;
use crate::python::reader::{Pace, RawFrame};
use crate::python::threads::{About, Interpreters};
use crate::target::Member;

/// How often the holders of the interpreter lock are looked at: one look says little.
const GIL_LOOKS: usize = 9;
/// How often a thread that wakes up is looked at.
const TRIES: usize = 3;

/// The threads, each with its stack; `None` when the process has ended.
pub(super) fn threads(
    member: &Member,
    arch: &str,
    mut python: Option<&mut Python>,
    interpreters: &Interpreters,
    variables: &mut Variables,
    mut natives: Option<&mut Natives<'_>>,
) -> Option<Vec<ThreadDump>> {
    let mut buffer = [0; READ_BUFFER_BYTES];
    let same = member.snapshot.ns_pid == member.snapshot.pid;
    let lock_ranges: Vec<Range<u64>> =
        python.as_mut().map(|python| python.reader().lock_ranges()).unwrap_or_default();
    let python2 = python.as_mut().is_some_and(|python| python.reader().interpreter().version.major == 2);
    let mut holding: HashMap<i32, usize> = HashMap::new();
    let mut named = Named::new();
    let mut threads = Vec::new();
    for tid in list_threads(&member.dir).ok()? {
        let mut files = ThreadFiles::new(Arc::clone(&member.dir), tid);
        let ns_tid = if same { tid } else { files.status(&mut buffer).map_or(tid, |s| s.ns_pid) };
        let doing = files.syscall(&mut buffer).unwrap_or(Doing::Unreadable);
        let Ok(stat) = files.stat(&mut buffer) else { continue };
        let pace = if matches!(doing, Doing::Syscall(..)) { Pace::Asleep } else { Pace::Running };
        let call = match doing {
            Doing::Syscall(number, args) => describe(arch, number).map(|info| (info, args)),
            _ => None,
        };
        let waits = call.as_ref().is_some_and(|(info, args)| {
            info.wait == Wait::Futex && lock_ranges.iter().any(|lock| lock.contains(&args[0]))
        });
        let thread = ThreadDump {
            tid,
            ns_tid,
            comm: String::from_utf8_lossy(stat.comm).into_owned(),
            about: About::default(),
            state: stat.state,
            gil: None,
            sleeping_in: call.map(|(info, _)| info.name.to_owned()),
            frames: Arc::default(),
            locals: None,
            native: None,
        };
        let mut look = |thread: &ThreadDump| match &mut python {
            Some(python) => stacks(python, thread, pace, interpreters, variables, &mut named),
            None => Looked { stacks: vec![thread.clone()], calls: Some(Vec::new()), innermost: None },
        };
        let mut stacks = match &mut natives {
            Some(natives) => with_native(&thread, &mut files, natives, python2, &mut look, &mut buffer),
            None => look(&thread).stacks,
        };
        let Some(python) = python.as_mut() else {
            threads.append(&mut stacks);
            continue;
        };
        python.reader().forget_stack(ns_tid);
        for _ in 0..GIL_LOOKS {
            let holds = python.reader().lock_holders().contains(&ns_tid);
            *holding.entry(ns_tid).or_default() += usize::from(holds);
            // One that sleeps without it, and not for it, will not get it meanwhile.
            if !holds && !waits && pace == Pace::Asleep {
                break;
            }
        }
        for stack in &mut stacks {
            stack.gil = Some(Gil::None);
        }
        if let Some(innermost) = stacks.first_mut().filter(|_| waits) {
            innermost.gil = Some(Gil::Waits);
        }
        threads.append(&mut stacks);
    }
    // The one that was seen with it most often has it; where there are several locks, each that mostly had one.
    let mostly = |looks: usize| looks * 2 > GIL_LOOKS;
    let most = holding.values().copied().max().unwrap_or(0);
    // The first one is the runtime's own memory.
    let several = lock_ranges.len() > 2;
    let looks = |thread: &ThreadDump| holding.get(&thread.ns_tid).copied().unwrap_or(0);
    // A single lock that two were seen with has since gone to the one that was looked at later.
    let last = threads.iter().rev().find(|thread| looks(thread) == most).map(|thread| thread.tid);
    let mut told: Option<i32> = None;
    for thread in &mut threads {
        let first = told.replace(thread.tid) != Some(thread.tid);
        let one = several || Some(thread.tid) == last;
        if first && thread.gil == Some(Gil::None) && mostly(looks(thread)) && one {
            thread.gil = Some(Gil::Holds);
        }
    }
    Some(threads)
}

/// Of the frames of a thread, how many belong to each call of the evaluation function; `None` when they are not all known.
type Calls = Option<Vec<usize>>;

/// Stacks with their names, each made once: hundreds of threads of a pool stand at one place.
type Named = HashMap<Vec<RawFrame>, Arc<[Frame]>>;

/// A thread as it was seen at one look.
struct Looked {
    /// Once for each interpreter in which it has frames, the newest first.
    stacks: Vec<ThreadDump>,
    calls: Calls,
    /// Where its innermost frame is told, if it is in one interpreter only.
    innermost: Option<Innermost>,
}

impl Looked {
    fn with(mut self, native: NativeDump) -> Vec<ThreadDump> {
        if let Some(innermost) = self.stacks.first_mut() {
            innermost.native = Some(native);
        }
        self.stacks
    }

    /// Whether the same functions were seen, and only the innermost may have gone on.
    fn agrees(&self, other: &Self) -> bool {
        let ([one], [two]) = (self.stacks.as_slice(), other.stacks.as_slice()) else { return false };
        let mut pairs = one.frames.iter().zip(&*two.frames).enumerate();
        let same = |(depth, (a, b)): (usize, (&Frame, &Frame))| {
            (&a.function, &a.file) == (&b.function, &b.file) && (depth == 0 || a.line == b.line)
        };
        let lengths = one.frames.len() == two.frames.len() && self.innermost == other.innermost;
        lengths && self.calls == other.calls && pairs.all(same)
    }
}

/// A thread with its Python frames and, as long as it sleeps or may be held, with the machine's stack.
fn with_native(
    thread: &ThreadDump,
    files: &mut ThreadFiles,
    natives: &mut Natives<'_>,
    python2: bool,
    look: &mut dyn FnMut(&ThreadDump) -> Looked,
    buffer: &mut [u8],
) -> Vec<ThreadDump> {
    let mut seen = None;
    for _ in 0..TRIES {
        let before = files.asleep(buffer);
        let looked = look(thread);
        let native = match before {
            Ok(Some(before)) => natives.of(files, &before, looked.calls.as_deref(), python2, buffer),
            Ok(None) if natives.may_stop() => {
                let (looked, native) = held(thread, looked, natives, python2, look);
                if let Some(native) = native {
                    return looked.with(native);
                }
                seen = Some(looked);
                continue;
            }
            Ok(None) => Some(NativeDump::running()),
            Err(why) => Some(NativeDump::unreadable(why)),
        };
        match native {
            Some(native) => return looked.with(native),
            None => seen = Some(looked),
        }
    }
    seen.map(|looked| looked.with(natives.gave_up())).unwrap_or_default()
}

/// A thread that runs: held for a moment between two looks at its Python frames. Both belong together where these looks
/// agree, and the frame that the thread was in when it was held is theirs. No native frames where it has fallen asleep.
fn held(
    thread: &ThreadDump,
    before: Looked,
    natives: &mut Natives<'_>,
    python2: bool,
    look: &mut dyn FnMut(&ThreadDump) -> Looked,
) -> (Looked, Option<NativeDump>) {
    let words = before.innermost.map_or([0; 2], |innermost| innermost.words);
    let copied = match natives.hold(thread.tid, words) {
        Ok(Some(copied)) => copied,
        Ok(None) => return (before, None),
        Err(native) => return (before, Some(native)),
    };
    let after = look(thread);
    let meant = before.innermost.is_none_or(|innermost| innermost.is(copied.words));
    let together = meant && before.agrees(&after);
    let calls = if together { after.calls.as_deref() } else { None };
    let native = natives.of_held(&copied, together, calls, python2);
    (after, Some(native))
}

/// A thread, once for each interpreter in which it has frames, the newest first.
fn stacks(
    python: &mut Python,
    thread: &ThreadDump,
    pace: Pace,
    interpreters: &Interpreters,
    variables: &mut Variables,
    named: &mut Named,
) -> Looked {
    let mut stacks = vec![stack(python, thread, pace, interpreters, variables, named)];
    let mut innermost = python.reader().innermost();
    let places: Vec<usize> = {
        let others = python.reader().other_states().enumerate();
        others.filter(|(_, ns_tid)| *ns_tid == thread.ns_tid).map(|(place, _)| place).collect()
    };
    for place in places {
        innermost = None;
        if python.reader().exchange_state(place) {
            stacks.push(stack(python, thread, pace, interpreters, variables, named));
            python.reader().exchange_state(place);
        }
    }
    // Where it has none at all, it is told as the first interpreter knows it.
    if stacks.iter().any(|(s, _)| !s.frames.is_empty()) {
        stacks.retain(|(s, _)| !s.frames.is_empty());
    } else {
        stacks.truncate(1);
    }
    stacks.sort_by_key(|(s, _)| std::cmp::Reverse(s.about.interpreter));
    let (stacks, mut calls): (Vec<ThreadDump>, Vec<Calls>) = stacks.into_iter().unzip();
    let calls = if calls.len() == 1 { calls.pop().flatten() } else { None };
    Looked { stacks, calls, innermost }
}

/// A thread with its stack in the state that the reader is in.
fn stack(
    python: &mut Python,
    thread: &ThreadDump,
    pace: Pace,
    interpreters: &Interpreters,
    variables: &mut Variables,
    named: &mut Named,
) -> (ThreadDump, Calls) {
    let mut thread = thread.clone();
    thread.about = python.reader().about(thread.ns_tid, interpreters);
    let reader = python.reader();
    let (places, calls) = match reader.sample(thread.ns_tid, pace) {
        Sample::Unchanged | Sample::Changed => {
            let calls = reader.complete().then(|| reader.evaluation_calls());
            (reader.frame_places(), calls)
        }
        Sample::NoFrame => (Vec::new(), Some(reader.evaluation_calls())),
        Sample::NoThread => (Vec::new(), Some(Vec::new())),
        Sample::Torn | Sample::Unreadable => (Vec::new(), None),
    };
    let frames: Vec<RawFrame> = places.iter().map(|place| place.frame).collect();
    thread.frames = Arc::clone(
        named
            .entry(frames)
            .or_insert_with_key(|frames| frames.iter().map(|frame| python.named(*frame)).collect()),
    );
    thread.locals = variables.of(python, &places);
    (thread, calls)
}
