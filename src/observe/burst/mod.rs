//! A bounded burst of stops: every system call of a process's threads for a few hundredths of a second.
//!
//! The one part of the tool that stops threads, and only where its user has asked for that. [`take`] gives the orders to a
//! fresh child of its own ([`child`]), waits for its end, and makes plain data of what it left in shared memory
//! (`shared`). The child is this program started again rather than a fork: a fork would carry the memory of the tool, and
//! the kernel frees what a dying tracer held only after that memory is torn down; and after a fork only a handful of
//! calls would be safe. Starting anew costs a millisecond in which nothing is held yet.
//!
//! What must hold, whatever happens to the tool: nothing is left stopped, no signal is lost, and no freeze is
//! longer than the limit. The kernel sees to it, not this code:
//! * threads are seized, never attached to with a signal, and nothing is set that outlives the tracer (no step, no
//!   breakpoint, no stop on exit): when the child is gone they go on;
//! * a stop is seen without being taken, so a signal that it was about is delivered even if nobody hands it on;
//! * a kernel timer kills the child at the limit, also when it hangs or is stopped, and the death of the tool kills it;
//! * it never waits for a given thread, so one that cannot stop (a disk that does not answer) costs the others nothing;
//! * it ends by exiting: a detach would interrupt sleeping calls once more. Before that it lets go whoever is about to begin
//!   a call, for the kernel wakes a thread that the exit frees there as a signal would.
//!
//! A stop is not neutral: a thread that sleeps in one of thirteen calls, `epoll_wait` first of all, comes back from it
//! with `EINTR`. Which threads that were is in the result; [`Choice::Undisturbed`] leaves them out.

mod arguments;
pub mod child;
mod copies;
mod seizing;
mod shared;
mod stacks;
mod ties;
mod tracee;

pub use stacks::{CopiedStack, Wanted, copy_stacks, copy_stacks_with};

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock::monotonic_ns;
use super::kernel_file::ProcDir;
use super::{parse, pidfd, signals};
use crate::capture::burst::{Burst, End, Engine, Event, FollowedThread, LeftOut, What, Woken};
use crate::capture::calls::{Disturbed, disturbed};
use crate::capture::model::Doing;
use shared::{Orders, Record, Shared, kind, phase};

/// The longest that a burst takes unless somebody asks for more.
pub const DEFAULT_LIMIT: Duration = Duration::from_millis(50);
/// The most stops of a burst unless somebody asks for more.
pub const DEFAULT_STOPS: u64 = 200;
/// More stops than this would need too much memory, whose end holds the target up.
pub const MOST_STOPS: u64 = 20_000;

/// How long the child may take to start, and to be gone after its limit; then it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which threads are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All of them.
    All,
    /// All but those that sleep in a call which a stop might interrupt.
    Undisturbed,
    /// Those that are on a processor: nothing is interrupted.
    Running,
}

impl Choice {
    const fn number(self) -> u32 {
        match self {
            Self::All => 0,
            Self::Undisturbed => 1,
            Self::Running => 2,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::All,
            2 => Self::Running,
            // Whatever else: the gentler one.
            _ => Self::Undisturbed,
        }
    }
}

/// The bounds of a burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The longest it may take.
    pub limit: Duration,
    /// The most stops it may make.
    pub max_stops: u64,
    /// Which threads it follows.
    pub choice: Choice,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, max_stops: DEFAULT_STOPS, choice: Choice::All }
    }
}

/// Why there was no burst.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBurst {
    /// The kernel lets nobody, or not us, trace any of the threads.
    #[error("no thread of it may be traced: {0}")]
    Refused(Errno),
    /// The process is gone, or its number is another's now.
    #[error("it is gone")]
    Gone,
    /// The child could not be started.
    #[error("the helper process cannot be started: {0}")]
    NoChild(String),
}

/// Takes a burst at a process. Blocks until nothing is held any more.
pub fn take(process: &ProcDir, bounds: &Bounds) -> Result<Burst, NoBurst> {
    take_with(Path::new("/proc/self/exe"), process, bounds)
}

/// The same with the program named that answers to [`child::VERB`].
pub fn take_with(program: &Path, process: &ProcDir, bounds: &Bounds) -> Result<Burst, NoBurst> {
    hold(program, process, bounds, &[]).map(|(burst, _)| burst)
}

/// Has a child hold threads: all that are chosen, or those of whose stacks copies are wanted.
fn hold(
    program: &Path,
    process: &ProcDir,
    bounds: &Bounds,
    wanted: &[Wanted],
) -> Result<(Burst, Shared), NoBurst> {
    let stat = process.read("stat", 4096).map_err(|_| NoBurst::Gone)?;
    let start_time_ticks = parse::stat(&stat).ok_or(NoBurst::Gone)?.start_time_ticks;
    let max_stops = bounds.max_stops.clamp(1, MOST_STOPS);
    let orders = Orders {
        pid: process.pid(),
        parent: std::process::id() as i32,
        start_time_ticks,
        limit_ns: bounds.limit.as_nanos() as u64,
        max_stops,
        choice: bounds.choice.number(),
        // Each stop, and at most a quarter as many threads, each with a beginning and an end.
        room: 2 * max_stops as u32 + 16 + wanted.len() as u32,
        stacks: wanted.len() as u32,
        unused: 0,
    };
    let failed = |error: &dyn std::fmt::Display| NoBurst::NoChild(error.to_string());
    let (shared, file) = Shared::create(orders).map_err(|e| failed(&e))?;
    stacks::tell(&shared, wanted);
    // Without its memory the calls are seen all the same.
    let memory = process.open_file("mem").map_or_else(|_| Stdio::null(), |memory: File| Stdio::from(memory));
    let child = Command::new(PathBuf::from(program))
        .arg(child::VERB)
        .env_clear()
        .stdin(Stdio::from(file))
        .stdout(memory)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(&e))?;
    let tracer = child.id() as i32;
    let (ended, waited_ns) = wait(child, bounds.limit + PATIENCE).map_err(|e| failed(&e))?;
    let over_ns = monotonic_ns();
    let mut burst = gather(&shared, ended, over_ns)?;
    burst.helper_waited_ns = waited_ns.saturating_sub(shared.state().waited_ns.load(Ordering::Acquire));
    burst.detached = !traced_by(process, &burst, tracer);
    let at_large: HashSet<i32> =
        burst.threads.iter().map(|thread| thread.tid).filter(|tid| burst.was_at_large(*tid)).collect();
    for thread in &mut burst.threads {
        // What became of its call is exact where it was seen to stop, and to be expected where it was not.
        let first = burst.events.iter().find(|event| event.tid == thread.tid);
        match (first.map(|event| &event.what), thread.doing) {
            (Some(What::Held(Some(_))), _) => thread.woken = Woken::Interrupted,
            (Some(What::Held(None)), _) => thread.woken = Woken::No,
            // Only a socket has a time limit.
            (_, Doing::Syscall(_, args))
                if thread.woken == Woken::PerhapsInterrupted && is_no_socket(process, args[0]) =>
            {
                thread.woken = Woken::No;
            }
            _ => {}
        }
        if thread.woken == Woken::No && at_large.contains(&thread.tid) {
            thread.woken = Woken::PerhapsInterrupted;
        }
    }
    Ok((burst, shared))
}

/// Waits for the end of the child, and tells how long it has waited for a processor in its life. Somebody who has asked the
/// tool to stop does not wait for the limit.
fn wait(mut child: Child, most: Duration) -> std::io::Result<(ExitStatus, u64)> {
    let deadline_ns = monotonic_ns() + most.as_nanos() as u64;
    let pidfd = pidfd::open_number(child.id() as i32)?;
    let mut killed = false;
    loop {
        let left_ms = deadline_ns.saturating_sub(monotonic_ns()).div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
        match ready {
            Ok(1..) => break,
            Err(Errno::EINTR) if signals::caught().is_none() || killed => {}
            _ if killed => break,
            // It is late, or not wanted any more. What it held is free when it is dead.
            _ => {
                child.kill()?;
                killed = true;
            }
        }
    }
    // It tells until it is taken off.
    let waited_ns = waited_ns(&child.id().to_string());
    child.wait().map(|status| (status, waited_ns))
}

/// How long a process, by its name in `/proc`, has waited for a processor.
fn waited_ns(process: &str) -> u64 {
    let text = std::fs::read(format!("/proc/{process}/schedstat")).unwrap_or_default();
    parse::schedstat(&text).map_or(0, |sched| sched.delay_ns)
}

/// Makes data of what the child left behind.
fn gather(shared: &Shared, ended: ExitStatus, over_ns: u64) -> Result<Burst, NoBurst> {
    let (state, orders) = (shared.state(), shared.orders());
    let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Acquire);
    let end = match state.phase.load(Ordering::Acquire) {
        phase::TIME => End::Time,
        phase::STOPS => End::Stops,
        phase::STOPPED => End::Stopped,
        phase::NOTHING_LEFT => End::NothingLeft,
        phase::EXEC => End::Exec,
        phase::OLD_KERNEL => End::OldKernel,
        phase::TRACING if ended.signal() == Some(nix::libc::SIGKILL) => {
            let late = over_ns.saturating_sub(load(&state.began_ns)) >= orders.limit_ns;
            if late { End::Timer } else { End::Killed }
        }
        phase::TRACING => End::Killed,
        phase::PREPARING => return Err(NoBurst::NoChild(format!("it ended early, {ended}"))),
        _ => return Err(NoBurst::Gone),
    };
    let left_out = LeftOut {
        spared: load(&state.spared),
        asleep: load(&state.asleep),
        no_room: load(&state.no_room),
        refused: load(&state.refused),
        error: state.error.load(Ordering::Acquire),
    };
    if load(&state.seized) == 0 && left_out.refused > 0 {
        return Err(NoBurst::Refused(Errno::from_raw(left_out.error)));
    }
    let records = shared.records();
    Ok(Burst {
        engine: Engine::Ptrace,
        pid: orders.pid,
        began_ns: load(&state.began_ns),
        letting_go_ns: Some(load(&state.letting_go_ns)).filter(|at| *at != 0),
        ended_ns: Some(load(&state.ended_ns)).filter(|at| *at != 0),
        over_ns,
        limit_ns: orders.limit_ns,
        max_stops: orders.max_stops,
        max_events: 0,
        end,
        threads: records.iter().filter_map(thread).collect(),
        left_out,
        stops: load(&state.stops),
        stopped_ns_total: load(&state.stopped_ns_total),
        stopped_ns_max: load(&state.stopped_ns_max),
        helper_waited_ns: 0,
        lost: load(&state.lost),
        late: 0,
        locked: state.locked.load(Ordering::Acquire) != 0,
        detached: false,
        events: records.iter().filter_map(event).collect(),
    })
}

fn thread(record: &Record) -> Option<FollowedThread> {
    let doing = match record.kind {
        kind::RUNNING => Doing::Running,
        kind::ASLEEP => Doing::Syscall(record.number, record.args),
        kind::ELSEWHERE => Doing::Elsewhere,
        kind::UNREADABLE => Doing::Unreadable,
        _ => return None,
    };
    let woken = match doing {
        Doing::Syscall(number, _) if disturbed(std::env::consts::ARCH, number) != Disturbed::No => {
            Woken::PerhapsInterrupted
        }
        _ => Woken::No,
    };
    Some(FollowedThread { tid: record.tid, doing, woken })
}

fn event(record: &Record) -> Option<Event> {
    let length = (record.length as usize).min(shared::MEMORY_BYTES);
    let memory = record.memory.get(..length).unwrap_or_default().to_vec();
    let what = match record.kind {
        kind::ENTER => What::Enter { number: record.number, args: record.args, memory },
        kind::LEAVE => What::Leave { result: record.value, memory },
        kind::SIGNAL => What::Signal(record.number as i32),
        kind::JOB_CONTROL => What::JobControl(record.number as i32),
        kind::HELD | kind::STACK => What::Held((record.number >= 0).then_some(record.number)),
        kind::ENDED => What::Ended,
        kind::OTHER => What::Other,
        _ => return None,
    };
    let resumed_ns = (record.resumed_ns != 0).then_some(record.resumed_ns);
    Some(Event { tid: record.tid, at_ns: record.at_ns, resumed_ns, what })
}

/// Whether a descriptor is certainly none of a socket.
fn is_no_socket(process: &ProcDir, fd: u64) -> bool {
    // Descriptors are 32 bits wide, whatever stands above.
    let link = process.link(&format!("fd/{}", fd as u32 as i32));
    link.is_ok_and(|link| !link.starts_with("socket:"))
}

/// Whether the kernel still calls the child the tracer of any thread.
fn traced_by(process: &ProcDir, burst: &Burst, tracer: i32) -> bool {
    burst.threads.iter().any(|thread| {
        let text = process.read(&format!("task/{}/status", thread.tid), 16 * 1024).unwrap_or_default();
        parse::status(&text).is_some_and(|status| status.tracer_pid == tracer)
    })
}
