//! Whoever holds threads does not go on, and neither do threads that cannot stop: the kernel ends the freeze at the limit.

use std::io::{Read, pipe};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, write};
use stallscope::capture::burst::{Burst, End, What};
use stallscope::observe::burst::DEFAULT_LIMIT;

use crate::rig::{
    Canary, Counted, Times, any, assert_free, await_tracer, burst, burst_with, long, share, tracer,
};
use crate::supervised::{Deed, Supervised};
use crate::tool::{start, tool, until};

/// What the limit may be late by.
const LATE: Duration = Duration::from_millis(5);
/// What one thread that cannot stop may cost the others.
const D_COSTS: Duration = Duration::from_millis(20);

fn limit() -> u64 {
    DEFAULT_LIMIT.as_millis() as u64
}

/// How long target and control stood still, since they were asked for the last time.
fn stood(canary: &mut Canary, control: &mut Canary) -> (Duration, Duration) {
    let [target, control] = [canary, control].map(|c| c.ask().stood);
    (target, control)
}

/// Does something to helpers until so many did not end by themselves. Each must free the target within the limit.
fn hangs(what: &str, full: u32, mut hang: impl FnMut(i32) -> Option<Burst>) {
    let (mut canary, mut control) = (Canary::new(), Canary::control());
    let (wanted, mut times, mut tries) = (share(full, 3), Times::promised(DEFAULT_LIMIT + LATE), 0);
    while times.len() < wanted as usize {
        tries += 1;
        assert!(tries < 20 + 4 * wanted, "of {tries} helpers only {} did hang", times.len());
        stood(&mut canary, &mut control);
        let seen = hang(canary.pid());
        assert_free(canary.pid());
        let took = stood(&mut canary, &mut control);
        if seen.is_some_and(|seen| seen.end == End::Timer) {
            times.add(took);
        }
    }
    canary.end(None);
    times.tell(&format!("{what}, the target stood still"));
}

#[test]
fn a_helper_that_is_stopped_is_ended_by_the_kernel() {
    hangs("helper stopped by SIGSTOP", 100, |pid| {
        Some(burst_with(pid, &long(limit()), Duration::from_millis(20), Signal::SIGSTOP))
    });
}

/// Does something to helpers at one of their calls.
fn hangs_at_a_call(what: &str, deed: fn(u32) -> Deed) {
    let supervised = Supervised::new();
    hangs(what, 100, |pid| {
        let (seen, at) = supervised.burst(pid, deed(1 + any(200) as u32), &long(limit()));
        seen.ok().filter(|_| at.is_some())
    });
}

/// As if the kernel did not come back from it.
#[test]
fn a_helper_that_hangs_in_a_call_is_ended_by_the_kernel() {
    hangs_at_a_call("helper hung in one of its calls", Deed::Hold);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_helper_that_spins_is_ended_by_the_kernel() {
    hangs_at_a_call("helper made an endless loop", Deed::Spin);
}

/// The tool is stopped, or cannot get rid of what it has to say: its helper ends all the same.
#[test]
fn a_tool_that_hangs_holds_nobody() {
    let (mut canary, mut control) = (Canary::new(), Canary::control());
    let pid = canary.pid().to_string();
    let number = share(50, 2);
    let args = ["trace", &pid, "--max-stops", "20000"];
    let [mut stopped, mut full] = [(); 2].map(|()| Times::promised(DEFAULT_LIMIT + LATE));
    for _ in 0..number {
        stood(&mut canary, &mut control);
        let mut traced = start(tool(&args));
        await_tracer(canary.pid());
        let us = Pid::from_raw(traced.id() as i32);
        kill(us, Signal::SIGSTOP).unwrap();
        until("the target is free", || tracer(canary.pid()) == 0);
        assert_free(canary.pid());
        stopped.add(stood(&mut canary, &mut control));
        kill(us, Signal::SIGCONT).unwrap();
        assert!(traced.wait().unwrap().success());

        // Nobody reads what it says.
        let (mut reader, writer) = pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while write(writer.as_fd(), &[b' '; 4096]).is_ok() {}
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let mut command = tool(&args);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        let mut traced = command.spawn().unwrap();
        drop(command);
        await_tracer(canary.pid());
        until("the target is free", || tracer(canary.pid()) == 0);
        assert_free(canary.pid());
        full.add(stood(&mut canary, &mut control));
        assert!(traced.try_wait().unwrap().is_none(), "it was not held up by its output");
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(said.contains("detached") && traced.wait().unwrap().success(), "{said}");
    }
    canary.end(None);
    stopped.tell("tool stopped by SIGSTOP during a burst, the target stood still");
    full.tell("tool before a full pipe, the target stood still");
}

#[test]
fn a_thread_that_cannot_stop_does_not_freeze_the_others() {
    let (mut canary, mut control) = (Canary::in_vfork(), Canary::control());
    let (number, mut times) = (share(200, 3), Times::promised(D_COSTS));
    let (mut counted, mut calls) = (Counted::default(), 0);
    for _ in 0..number {
        stood(&mut canary, &mut control);
        let seen = burst(canary.pid(), &long(limit()));
        times.add(stood(&mut canary, &mut control));
        assert!(canary.is_stuck(), "it has come back, which proves nothing");
        assert_eq!(seen.threads.len(), 5);
        calls += seen.events.iter().filter(|e| matches!(e.what, What::Leave { .. })).count();
        assert_free(canary.pid());
        canary.goes_on(&mut counted);
    }
    assert!(calls > number as usize, "the others made no calls");
    canary.end(None);
    times.tell("burst with a thread in D state, the others stood still");
}
