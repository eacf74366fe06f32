//! Many bursts at targets of every kind: signals in flight, storms of children, programs and threads, stopped by an operator,
//! traced by somebody else, a thread in D state.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::capture::burst::End;
use stallscope::observe::burst::{Bounds, Choice, NoBurst};

use crate::rig::{
    Canary, Counted, Rain, announced, any, assert_free, await_tracer, burst, last_words, left_open, of_ms,
    of_threads, share, states, target, tracer, try_burst,
};
use crate::tool::{run, skipped, start, until};

/// How many bursts each kind of target gets.
fn number() -> u32 {
    share(1_000, 12)
}

/// A burst of some length, of some choice of threads.
fn some(which: u32) -> Bounds {
    let choice = [Choice::All, Choice::Undisturbed, Choice::Running][which as usize % 3];
    Bounds { choice, ..of_ms(5 + any(15)) }
}

/// Takes bursts while signals rain. Each call that got `EINTR` was announced.
fn bursts_at(what: &str, mut canary: Canary) {
    let rain = Rain::on(canary.pid(), Duration::from_millis(1));
    let (mut told, mut open, mut counted) = (0, 0, Counted::default());
    for which in 0..number() {
        let seen = burst(canary.pid(), &some(which));
        (told, open) = (told + announced(&seen), open + left_open(&seen));
        assert_free(canary.pid());
        canary.goes_on(&mut counted);
    }
    let counted = canary.end(Some(rain));
    let allowed = told..=told + open;
    assert!(allowed.contains(&counted.interrupted), "{} EINTR, announced {allowed:?}", counted.interrupted);
    println!(
        "PROOF {} bursts at {what}: 0 stopped, 0 of {} signals lost, {} EINTR, {told} announced and {open} left open, ended as it \
         should",
        number(),
        counted.signals,
        counted.interrupted
    );
}

#[test]
fn busy_and_idle_threads_with_signals_in_flight() {
    bursts_at("a C program that calls, ticks and sleeps, with signals in flight", Canary::new());
}

#[test]
fn a_thread_in_vfork_with_signals_in_flight() {
    bursts_at("the same with a thread in D state", Canary::in_vfork());
}

#[test]
fn storms_of_children_programs_and_threads() {
    let mut storm = target("storm");
    for which in 0..number() {
        let seen = burst(storm.pid(), &some(which));
        assert_ne!(seen.end, End::Killed);
        assert_free(storm.pid());
    }
    let words = last_words(&mut storm);
    let numbers: Vec<u64> = words.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(numbers[0] > 0, "{words}");
    assert_eq!(numbers[1], 0, "of {} children and threads some went wrong", numbers[0]);
    assert!(storm.child.wait().unwrap().success());
    println!(
        "PROOF {} bursts at storms of forks, programs and threads: 0 of {} ended in another way than they should",
        number(),
        numbers[0]
    );
}

/// It stays stopped, and goes on when it is told to; signals wait for it.
#[test]
fn a_target_that_an_operator_has_stopped() {
    let mut canary = Canary::new();
    let pid = Pid::from_raw(canary.pid());
    let stopped = || states(pid.as_raw()).iter().all(|state| state.starts_with('T'));
    let rain = Rain::on(pid.as_raw(), Duration::from_millis(2));
    kill(pid, Signal::SIGSTOP).unwrap();
    until("it is stopped", stopped);
    for which in 0..number() {
        let seen = burst(pid.as_raw(), &some(which));
        assert_eq!(tracer(pid.as_raw()), 0, "{seen:?}");
        until("it is stopped as before", stopped);
    }
    kill(pid, Signal::SIGCONT).unwrap();
    let mut before = canary.ask();
    canary.goes_on(&mut before);
    let counted = canary.end(Some(rain));
    println!(
        "PROOF {} bursts at a stopped program: stopped after each, went on when it was told to, 0 of {} signals lost",
        number(),
        counted.signals
    );
}

#[test]
fn a_target_that_somebody_else_traces() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: a target that is traced already was not tried");
    }
    let canary = Canary::new();
    let pid = canary.pid().to_string();
    let mut strace = start({
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid]);
        command
    });
    let theirs = await_tracer(canary.pid());
    let all = || of_threads(canary.pid(), "TracerPid").iter().all(|pid| *pid == theirs.to_string());
    until("all threads are traced", all);
    for which in 0..number() {
        let refused = try_burst(canary.pid(), &some(which));
        // Of threads that sleep nothing was wanted, so nothing was refused.
        let nothing = refused.as_ref().is_ok_and(|seen| seen.stops == 0 && seen.end == End::NothingLeft);
        assert!(
            nothing || refused.as_ref().is_err_and(|e| *e == NoBurst::Refused(Errno::EPERM)),
            "{refused:?}"
        );
        assert_eq!(tracer(canary.pid()), theirs.as_raw(), "strace goes on");
    }
    let ran = run(&["trace", &pid]);
    assert!(ran.code == 3 && ran.stderr.contains("somebody traces it already"), "{ran:?}");
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    until("the target is free", || tracer(canary.pid()) == 0);
    canary.end(None);
    println!("PROOF {} bursts at a program that strace traces: refused, strace went on", number());
}
