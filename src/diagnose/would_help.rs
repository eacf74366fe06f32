//! Where a burst of stops would tell what a look that stops nobody could not: which command, and what it costs.
//!
//! Pure. A burst follows only threads that are on a processor, and sees their calls: it names what wakes a loop that turns
//! without end, and tells whether one that computes polls meanwhile. It is advised for nothing else: what a thread sleeps in
//! is known without it, and a computation is named by its stack.

use super::ladder::Outcome;
use super::model::Code;
use super::rules::{Case, hot_spin};
use super::thresholds::{COMPUTING_DEMAND, SURE};
use crate::capture::calls::{Disturbed, disturbed};
use crate::capture::model::{BlindSpot, Doing, Level};

/// What a burst costs at most, as `diagnose --level burst` makes it.
const COST: &str = "makes one burst of 50 ms and 200 stops at most, in which no thread is stopped for more than 5 ms in all; who \
                    sleeps is left alone";
/// And where the loop may fall asleep just then.
const WARNING: &str = ", but a poll that falls asleep at that very moment may return EINTR";

/// A process whose calls would tell more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Which.
    pub pid: i32,
    /// What its calls would tell.
    what: &'static str,
    /// Why that is not known.
    why: &'static str,
    /// Whether it was seen in a call that a stop interrupts.
    may_interrupt: bool,
}

/// Whether the calls of a process with this verdict may firm it up or overturn it: it turns without end, computes without a
/// turn, or is not understood.
#[must_use]
pub const fn is_suspect(code: Code) -> bool {
    matches!(code, Code::HotSpin | Code::LoopBlockedOnCpu | Code::Unknown)
}

/// What a burst would tell of a process, if it would tell anything and may be made.
#[must_use]
pub fn open(case: &Case<'_, '_>, outcome: &Outcome) -> Option<Open> {
    let f = &case.features;
    let (code, process) = (outcome.winner.code, f.process);
    // A gentler look still would be the next step of a look at level proc.
    let not_yet = case.view.capture.header.level == Level::Memory && process.burst.is_none();
    if !not_yet || !is_suspect(code) || !may_be_made(case) {
        return None;
    }
    let (what, why) = match code {
        Code::HotSpin if outcome.winner.culprit.is_none() => (
            "what wakes the loop at every turn",
            "no descriptor was seen to stay ready, and calls are not seen without a stop",
        ),
        Code::Unknown if only_calls_are_missing(case) => (
            "whether the loop spins, and on what",
            "no stack tells it, no descriptor was seen to stay ready, and calls are not seen without a stop",
        ),
        Code::HotSpin | Code::LoopBlockedOnCpu if outcome.confidence < SURE => (
            "whether the loop polls while it uses the processor, and what becomes of what is ready",
            "the verdict is not sure, and calls are not seen without a stop",
        ),
        _ => return None,
    };
    Some(Open { pid: process.facts.pid, what, why, may_interrupt: sleeps_interruptibly(case) })
}

/// Whether a burst would find somebody: the process lives, nobody traces it, the kernel shows us what it does (which it does
/// to whom it lets trace), and its loop's thread is on a processor most of the time.
fn may_be_made(case: &Case<'_, '_>) -> bool {
    let (f, process) = (&case.features, case.features.process);
    let shown = |tid| process.samples_in(tid, f.span).any(|s| s.value.doing != Doing::Unreadable);
    process.gone_at_ns.is_none()
        && process.facts.tracer_pid == 0
        && f.main.demand() >= COMPUTING_DEMAND
        && shown(process.facts.loop_tid)
}

/// Whether nothing speaks against a spin, and only what could not be seen is missing for it.
fn only_calls_are_missing(case: &Case<'_, '_>) -> bool {
    hot_spin::assess(case)
        .is_some_and(|spin| !spin.fires() && spin.needs.iter().all(|c| c.met != Some(false)))
}

fn sleeps_interruptibly(case: &Case<'_, '_>) -> bool {
    let (f, arch) = (&case.features, case.view.capture.header.host.arch.as_str());
    let mut samples = f.process.samples_in(f.process.facts.loop_tid, f.span);
    samples.any(
        |s| matches!(s.value.doing, Doing::Syscall(call, _) if disturbed(arch, call) == Disturbed::Always),
    )
}

/// One line for all processes of which the same would be told. Where a burst could go to another process of the server
/// instead, the command says which one is meant.
#[must_use]
pub fn spots(open: &[Open], suspects: usize) -> Vec<BlindSpot> {
    let mut spots: Vec<BlindSpot> = Vec::new();
    for first in open {
        let alike: Vec<&Open> = open.iter().filter(|other| other.what == first.what).collect();
        if alike.first() != Some(&first) {
            continue;
        }
        let pids: Vec<String> = alike.iter().map(|open| open.pid.to_string()).collect();
        let only = if suspects > alike.len() { format!(" --only {}", first.pid) } else { String::new() };
        let warning = if alike.iter().any(|open| open.may_interrupt) { WARNING } else { "" };
        spots.push(BlindSpot {
            what: format!("pid {}: {}", pids.join(", "), first.what),
            why: first.why.to_owned(),
            remedy: format!("stallscope diagnose {} --level burst{only}, which {COST}{warning}", first.pid),
        });
    }
    spots
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::capture::model::{Capture, Record, ThreadSample};
    use crate::capture::reader;
    use crate::diagnose::diagnose;
    use crate::diagnose::model::{Diagnosis, ProcessDiagnosis};
    use crate::diagnose::thresholds::{NOT_POLLING, POLLING};
    use crate::observe::burst::{DEFAULT_LIMIT, DEFAULT_STOPS};

    fn capture(name: &str) -> Capture {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
        reader::read(&folder.join(format!("{name}.cap"))).unwrap()
    }

    fn spin() -> Capture {
        capture("modern-gevent-spin_watcher.hot_spin")
    }

    /// The same where `poll` could not be asked about anything.
    fn unasked(mut capture: Capture) -> Capture {
        capture.records.retain(|record| !matches!(record, Record::Readiness { .. }));
        capture
    }

    fn each_sample(capture: &mut Capture, change: impl Fn(&mut ThreadSample)) {
        for record in &mut capture.records {
            if let Record::Tick(tick) = record {
                tick.samples.iter_mut().for_each(&change);
            }
        }
    }

    /// The same where no stack could be read.
    fn unstacked(mut capture: Capture) -> Capture {
        each_sample(&mut capture, |sample| sample.stack = None);
        capture
    }

    fn advised(judged: &Diagnosis) -> Vec<&BlindSpot> {
        judged.blind_spots.iter().filter(|spot| spot.remedy.contains("--level burst")).collect()
    }

    fn suspect(judged: &Diagnosis) -> &ProcessDiagnosis {
        judged.processes.iter().find(|p| is_suspect(p.verdict.code)).unwrap()
    }

    #[test]
    fn a_spin_that_nothing_was_named_for_would_be_named_by_a_burst() {
        let judged = diagnose(&unasked(spin()));
        let pid = suspect(&judged).pid;
        let [spot] = advised(&judged)[..] else { panic!("{:?}", judged.blind_spots) };
        assert_eq!(spot.what, format!("pid {pid}: what wakes the loop at every turn"));
        assert!(
            spot.remedy
                .starts_with(&format!("stallscope diagnose {pid} --level burst, which makes one burst of "))
        );
    }

    #[test]
    fn so_would_one_of_a_program_without_stacks() {
        let told = |capture: &Capture| {
            let judged = diagnose(capture);
            let [spot] = advised(&judged)[..] else { panic!("{:?}", judged.blind_spots) };
            (suspect(&judged).verdict.code, spot.what.split_once(": ").unwrap().1.to_owned())
        };
        let mut blind = unstacked(unasked(spin()));
        assert_eq!(told(&blind), (Code::HotSpin, "what wakes the loop at every turn".into()));
        // Nor does it beat, and its time in the kernel is neither that of a poller nor that of a computation.
        blind.records.retain(|record| !matches!(record, Record::Heartbeat { .. } | Record::LoopClock { .. }));
        for record in &mut blind.records {
            let Record::Threads { threads, .. } = record else { continue };
            for thread in threads {
                let all = thread.utime_ticks + thread.stime_ticks;
                thread.stime_ticks = (all as f64 * f64::midpoint(NOT_POLLING, POLLING)) as u64;
                thread.utime_ticks = all - thread.stime_ticks;
            }
        }
        assert_eq!(told(&blind), (Code::Unknown, "whether the loop spins, and on what".into()));
    }

    #[test]
    fn nobody_is_told_to_stop_threads_where_that_tells_nothing() {
        for name in [
            "modern-gevent-spin_watcher.hot_spin",
            "modern-gevent-spin_sleep0.hot_spin",
            "modern-gevent-cpu_python.loop_blocked_on_cpu",
            "modern-gevent-block_upstream.loop_blocked_off_cpu",
            "modern-gthread-gil_contention.gil_contention",
            "modern-gevent-none.idle",
            "period-gevent-cpu_regex.loop_blocked_on_cpu",
        ] {
            let judged = diagnose(&capture(name));
            assert!(advised(&judged).is_empty(), "{name}: {:?}", judged.blind_spots);
        }
        // What computes without stacks makes no calls that would tell.
        let judged = diagnose(&unstacked(capture("modern-gevent-cpu_python.loop_blocked_on_cpu")));
        assert!(advised(&judged).is_empty(), "{:?}", judged.blind_spots);
    }

    #[test]
    fn nor_where_it_cannot_be_done_was_done_or_a_gentler_look_comes_first() {
        let traced = |capture: &mut Capture| {
            for record in &mut capture.records {
                if let Record::Process(facts) = record {
                    facts.tracer_pid = 1;
                }
            }
        };
        let hidden = |capture: &mut Capture| each_sample(capture, |sample| sample.doing = Doing::Unreadable);
        let at = |level: Level| move |capture: &mut Capture| capture.header.level = level;
        let changes: [&dyn Fn(&mut Capture); 4] = [&traced, &hidden, &at(Level::Proc), &at(Level::Burst)];
        for (number, change) in changes.iter().enumerate() {
            let mut capture = unasked(spin());
            change(&mut capture);
            let judged = diagnose(&capture);
            assert!(advised(&judged).is_empty(), "{number}: {:?}", judged.blind_spots);
        }
    }

    #[test]
    fn the_command_names_who_is_meant_where_others_are_suspect() {
        let open = |pid, may_interrupt| Open { pid, what: "x", why: "y", may_interrupt };
        let [spot] = &spots(&[open(7, false), open(9, true)], 3)[..] else { panic!() };
        assert_eq!(spot.what, "pid 7, 9: x");
        assert!(spot.remedy.starts_with("stallscope diagnose 7 --level burst --only 7, which "));
        assert!(spot.remedy.contains("EINTR"));
        assert!(!spots(&[open(7, false)], 1)[0].remedy.contains("EINTR"));
    }

    #[test]
    fn the_cost_is_that_of_the_burst() {
        let limit_ms = DEFAULT_LIMIT.as_millis();
        assert!(COST.contains(&format!("{limit_ms} ms and {DEFAULT_STOPS} stops at most")));
        assert!(COST.contains(&format!("more than {} ms in all", limit_ms / 10)));
    }
}
