//! What the tests of bursts share: targets that tell what was done to them, bursts, rains of signals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::capture::burst::{Burst, FollowedThread, Woken};
use stallscope::observe::burst::{Bounds, Choice, NoBurst, take_with};

use crate::programs::dir;
pub use crate::programs::{assert_free, compiled, last_words, of_threads, states, status_of_task, target};
use crate::tool::{Target, status, until};

/// Whether the whole numbers of the promise are to be run, and not a share of them.
pub fn is_full() -> bool {
    std::env::var("STALLSCOPE_BURST_PROOF").is_ok_and(|value| value == "full")
}

/// How often something is done: as promised, or as often as the time of every run of the tests allows.
pub fn share(full: u32, small: u32) -> u32 {
    if is_full() { full } else { small }
}

/// What the machine may add to a time. The whole proof runs on a machine of its own; a share of it beside other tests.
pub fn noise() -> Duration {
    Duration::from_millis(if is_full() { 0 } else { 100 })
}

/// What a canary has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// How long it did not tick since the last time that it was asked.
    pub stood: Duration,
    /// Calls.
    pub calls: u64,
    /// Signals.
    pub signals: u64,
    /// Signals that did not come in their turn.
    pub disordered: u64,
    /// Polls that ended with `EINTR`.
    pub interrupted: u64,
}

/// A target that tells what was done to it.
pub struct Canary(Target);

impl Canary {
    /// With threads that tick, call and sleep.
    pub fn new() -> Self {
        Self(target("canary"))
    }

    /// The same, and one thread waits in vfork.
    pub fn in_vfork() -> Self {
        let canary = Self::with("vfork");
        until("a thread waits in vfork", || canary.is_stuck());
        canary
    }

    /// The ticker alone: what this machine does to somebody whom nobody touches.
    pub fn control() -> Self {
        Self::with("ticker")
    }

    fn with(kind: &str) -> Self {
        let mut command = Command::new(compiled("canary"));
        command.arg(kind);
        Self(Target::announced(command))
    }

    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Whether a thread waits in a way that nothing interrupts.
    pub fn is_stuck(&self) -> bool {
        states(self.pid()).iter().any(|state| state.starts_with('D'))
    }

    /// What it has counted. It answers only if it is alive and not stopped.
    pub fn ask(&mut self) -> Counted {
        self.0.say("?");
        let mut line = String::new();
        BufReader::new(self.0.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [stood_us, calls, signals, disordered, interrupted] = numbers[..] else { panic!("{line:?}") };
        Counted { stood: Duration::from_micros(stood_us), calls, signals, disordered, interrupted }
    }

    /// Waits until it has made more calls than it had counted before, and counts anew: it goes on.
    pub fn goes_on(&mut self, before: &mut Counted) {
        let (mut counted, mut stood) = (*before, Duration::ZERO);
        until("the target makes calls", || {
            counted = self.ask();
            stood = stood.max(counted.stood);
            counted.calls > before.calls
        });
        *before = Counted { stood, ..counted };
    }

    /// Ends it, and gives what it has counted by then. It ends as it should.
    pub fn end(mut self, rain: Option<Rain>) -> Counted {
        if let Some(rain) = rain {
            let sent = rain.stop();
            until("all signals are there", || self.ask().signals >= sent);
            let counted = self.ask();
            assert_eq!((counted.signals, counted.disordered), (sent, 0), "signals were lost");
        }
        let counted = self.ask();
        assert_free(self.pid());
        last_words(&mut self.0);
        assert_eq!(self.0.child.wait().unwrap().code(), Some(7), "it ended in another way than it should");
        counted
    }
}

/// A rain of numbered signals on a process, until it is stopped or dropped.
pub struct Rain {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Rain {
    pub fn on(pid: i32, every: Duration) -> Self {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&over), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed) as usize;
                let value = libc::sigval { sival_ptr: number as *mut libc::c_void };
                // SAFETY: takes numbers only; the pointer is one of them, and nobody follows it.
                let queued = unsafe { libc::sigqueue(pid, libc::SIGRTMIN() + 5, value) } == 0;
                count.fetch_add(queued.into(), Ordering::Relaxed);
                std::thread::sleep(every);
            }
        });
        Self { over, sent, thread: Some(thread) }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops it and gives how many were sent.
    pub fn stop(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.sent()
    }
}

impl Drop for Rain {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// How long something took or stood, of many times, beside the same of the control.
#[derive(Debug)]
pub struct Times {
    promised: Duration,
    all: Vec<(Duration, Duration)>,
}

impl Times {
    /// Of what must never be longer than is promised.
    pub const fn promised(promised: Duration) -> Self {
        Self { promised, all: Vec::new() }
    }

    /// Adds one, and how long the control stood meanwhile.
    pub fn add(&mut self, (time, control): (Duration, Duration)) {
        self.all.push((time, control));
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Prints the middle and the longest, and fails if one was too long. What the control stood still the target would have,
    /// too: that is the machine.
    pub fn tell(&self, what: &str) {
        let ms = |of: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<Duration> = self.all.iter().map(of).collect();
            times.sort();
            let at = |place: usize| times.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3;
            format!("{:.1}/{:.1} ms", at(times.len() / 2), at(times.len().saturating_sub(1)))
        };
        let over = |allowed: &dyn Fn(Duration) -> Duration| {
            self.all.iter().filter(|(time, control)| *time > allowed(*control)).count()
        };
        let (longer, unexcused) =
            (over(&|_| self.promised), over(&|control| self.promised + control + noise()));
        println!(
            "PROOF {what}, {} times: median/longest {} (control {}); promised {:?}, longer {longer} times, {unexcused} times \
             by more than the control",
            self.len(),
            ms(|t| t.0),
            ms(|t| t.1),
            self.promised
        );
        assert_eq!(unexcused, 0, "{what}: {:?}", self.all);
    }
}

/// The real program.
pub const TOOL: &str = env!("CARGO_BIN_EXE_stallscope");

/// A burst whose helper is the real program.
pub fn try_burst(pid: i32, bounds: &Bounds) -> Result<Burst, NoBurst> {
    burst_by(Path::new(TOOL), pid, bounds)
}

/// A burst whose helper is another program, which becomes the real one.
pub fn burst_by(program: &Path, pid: i32, bounds: &Bounds) -> Result<Burst, NoBurst> {
    take_with(program, &dir(pid), bounds)
}

pub fn burst(pid: i32, bounds: &Bounds) -> Burst {
    let seen = try_burst(pid, bounds).unwrap();
    assert!(seen.detached, "{seen:?}");
    seen
}

/// How many threads the report says got `EINTR`.
pub fn announced(seen: &Burst) -> u64 {
    seen.threads.iter().filter(|thread| thread.woken == Woken::Interrupted).count() as u64
}

/// How many interruptions a report leaves open: of threads that did not stop, or were not let go, in time.
pub fn left_open(seen: &Burst) -> u64 {
    let open = |t: &&FollowedThread| t.woken == Woken::PerhapsInterrupted || seen.was_at_large(t.tid);
    seen.threads.iter().filter(open).count() as u64
}

pub fn of_ms(limit: u64) -> Bounds {
    Bounds { limit: Duration::from_millis(limit), ..Bounds::default() }
}

/// A burst that only its time ends.
pub fn long(limit: u64) -> Bounds {
    Bounds { limit: Duration::from_millis(limit), max_stops: 20_000, choice: Choice::All }
}

pub fn tracer(pid: i32) -> i32 {
    status(pid, "TracerPid").and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// Waits until a helper holds the process, and gives its number.
pub fn await_tracer(pid: i32) -> Pid {
    let mut found = 0;
    until("somebody traces the target", || {
        found = tracer(pid);
        found != 0
    });
    Pid::from_raw(found)
}

/// The helper that holds a process, as soon as it does; none where it was over before that was seen.
pub fn helper_of(pid: i32, is_over: impl Fn() -> bool) -> Option<Pid> {
    loop {
        match tracer(pid) {
            0 if is_over() => return None,
            // Short beside a burst; there is no event for it.
            0 => std::thread::sleep(Duration::from_micros(200)),
            helper => return Some(Pid::from_raw(helper)),
        }
    }
}

/// Takes a burst and does something to its helper at a moment of it, at random: within so long after it has begun.
pub fn burst_with(pid: i32, bounds: &Bounds, within: Duration, signal: Signal) -> Burst {
    std::thread::scope(|scope| {
        let burst = scope.spawn(move || try_burst(pid, bounds));
        if let Some(helper) = helper_of(pid, || burst.is_finished()) {
            // A moment at random is what is wanted here, no event.
            std::thread::sleep(Duration::from_micros(any(within.as_micros() as u64)));
            if tracer(pid) == helper.as_raw() {
                let _ = kill(helper, signal);
            }
        }
        let seen = burst.join().unwrap().unwrap();
        assert!(seen.detached, "{seen:?}");
        seen
    })
}

/// Some other number each time, below `below`.
pub fn any(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() % below
}
