//! Every number that a rule compares with, in one place, each with its source.
//!
//! Changing one changes verdicts: raise [`RULES_VERSION`] with it.

/// Version of the rules and thresholds; part of every report.
pub const RULES_VERSION: &str = "5";

/// A loop that was not seen to turn for this long is blocked (tokio-console's "never yielded", skypilot's stall).
pub const BLOCKED_GAP_NS: u64 = 1_000_000_000;
/// A repeated sleep of this length outside the poller is a block of its own (gevent's and asyncio's own warnings).
pub const BLOCKING_SLEEP_NS: u64 = 100_000_000;
/// Demand for the processor from which a loop counts as computing.
pub const COMPUTING_DEMAND: f64 = 0.70;
/// Share of the samples that must agree on where a computing loop stands.
pub const SAME_PLACE: f64 = 0.80;
/// Share of the runnable samples in the loop's own code from which the loop itself is what burns the processor.
pub const LOOP_CODE: f64 = 0.50;
/// The same while nobody at all is served: at a tenth a turn takes some ten times what the loop's own part of it takes,
/// which is some tens of microseconds, so there are thousands of turns a second for nobody.
pub const LOOP_CODE_UNASKED: f64 = 0.10;
/// Share of a loop's processor time in the kernel from which it asks its poller more than it computes: a request's own share
/// is some per cents, a spin's a fifth to a half.
pub const POLLING: f64 = 0.20;
/// The same, below which it does not ask its poller at all: a turn is a call of a microsecond at least, in some tens of them.
pub const NOT_POLLING: f64 = 0.02;
/// Time in the kernel for one request from which it is no longer the price of the request, which is some tenths of a
/// millisecond.
pub const KERNEL_PER_REQUEST_NS: f64 = 2e6;
/// Processor time of the loop's own code for one request from which it is no longer the price of the request. Pollers
/// of busy servers stay under 1 ms a request; spins exceed 40 ms even under light load.
pub const LOOP_CODE_PER_REQUEST_NS: f64 = 20e6;
/// Bytes that count as one request where connections are reused faster than they are looked at.
pub const BYTES_PER_REQUEST: f64 = 1_000.0;
/// Share of answers of `poll` that must say "ready" before a descriptor counts as never drained.
pub const UNDRAINED: f64 = 0.90;
/// Fewest answers of `poll` from which anything is concluded.
pub const UNDRAINED_ANSWERS: u64 = 5;
/// Share of the demand that a quota must hold back.
pub const THROTTLED_OF_DEMAND: f64 = 0.25;
/// Share of the run-queue time that must be the quota's.
pub const THROTTLED_OF_DELAY: f64 = 0.50;
/// Share of wall time that a quota must hold back to matter at all.
pub const THROTTLED_OF_WALL: f64 = 0.03;
/// Part of a span from which a silence of the loop counts as all of it.
pub const WHOLE_SPAN: f64 = 0.90;
/// Share of wall time in the run queue for other reasons.
pub const STARVED_OF_WALL: f64 = 0.30;
/// How the run-queue time compares with the processor time of a starved thread.
pub const STARVED_OF_ON_CPU: f64 = 0.50;
/// Share of wall time asleep elsewhere from which a loop counts as blocked off the processor.
pub const BLOCKED_SLEEP: f64 = 0.50;
/// Share of the slots' time that one cause must hold.
pub const SLOTS_HELD: f64 = 0.50;
/// Share of the slots' time from which no slot counts as free.
pub const NO_FREE_SLOT: f64 = 0.95;
/// Share of loop or slot time asleep for the interpreter lock (ten times the level at which Coroot notices it).
pub const GIL_SHARE: f64 = 0.30;
/// Processor time of the whole process without which nobody can be holding the interpreter lock by computing.
pub const GIL_BUSY: f64 = 0.50;
/// Share of slot time in storage waits.
pub const DISK_SHARE: f64 = 0.30;
/// Age of a request from which its backend counts as slow.
pub const UPSTREAM_AGE_MS: u64 = 1_000;
/// Share of the readings in which requests must be in flight.
pub const IN_FLIGHT: f64 = 0.80;
/// Own-poller share from which a loop does nothing else.
pub const POLLER_IDLE: f64 = 0.95;
/// Own-poller share from which a loop turns freely.
pub const POLLER_FREE: f64 = 0.50;
/// Demand from which all of a processor is used.
pub const SATURATED_DEMAND: f64 = 0.90;
/// Processor share of a process that does nothing.
pub const IDLE_ON_CPU: f64 = 0.02;
/// Share of the samples in application-loading frames.
pub const BOOTING: f64 = 0.50;
/// Share of the samples in which a process must be stopped.
pub const STOPPED: f64 = 0.90;
/// Fewest samples from which anything is concluded.
pub const FEWEST_SAMPLES: u64 = 20;
/// Share of the readings of a computing thread in which the collector runs, from which the collector is what it does.
pub const COLLECTING: f64 = 0.50;
/// The same, from which it is worth a word.
pub const COLLECTOR_SHARE: f64 = 0.20;
/// Share of the readings at which a computing thread stands at the instruction of the reading before: it is inside what that
/// instruction has called. Code that goes on is at the same instruction of a loop by chance only.
pub const INSIDE_ONE_CALL: f64 = 0.80;
/// Share of a processor from which a thread counts as busy.
pub const BUSY_THREAD: f64 = 0.50;
/// Share of the permitted descriptors from which the limit is near.
pub const FD_LIMIT: f64 = 0.80;
/// Connections that only the other end has closed, from which they leak (uvicorn#1199 had 7,047).
pub const CLOSE_WAIT_LEAK: usize = 10;
/// Wake-ups of an idle loop per second from which they are a fast timer and no housekeeping (gevent#1273 had 1,000).
pub const FAST_TIMER_PER_S: f64 = 100.0;
/// How many times its usual rate a loop's own housekeeping may reach.
pub const HOUSEKEEPING: f64 = 3.0;
/// From this on a verdict is more than likely: below it the report calls its confidence low.
pub const SURE: f64 = 0.70;
/// Below this a verdict is not given.
pub const LEAST_CONFIDENCE: f64 = 0.50;
