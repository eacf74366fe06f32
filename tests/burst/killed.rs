//! The helper is killed, at every system call that it makes and at random moments; so is the tool. Nothing is left behind.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use stallscope::capture::burst::End;
use stallscope::capture::calls::name;
use stallscope::observe::burst::Bounds;

use crate::rig::{Canary, Counted, Rain, assert_free, await_tracer, burst_with, long, of_ms, share, tracer};
use crate::supervised::{Deed, Supervised};
use crate::tool::{Target, start, tool, until};

/// So many bursts in a row that ended by themselves end the search for one more call.
const LAST: u32 = 5;

/// So few stops that every call is reached in a time that a test may take.
fn short() -> Bounds {
    Bounds { max_stops: 24, ..of_ms(2_000) }
}

/// Death at every boundary between two of its system calls, from its first one to that by which it exits.
#[test]
fn killed_once_at_every_system_call() {
    let (mut canary, mut control) = (Canary::new(), Canary::control());
    let rain = Rain::on(canary.pid(), Duration::from_millis(1));
    let supervised = Supervised::new();
    let mut at: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut stood, mut control_stood, mut counted) = (Duration::ZERO, Duration::ZERO, Counted::default());
    control.ask();
    // How many calls there are differs a little each time, so the first burst that has fewer is not the end.
    let mut ended = 0;
    let step = share(1, 3) as usize;
    for deed in (1..).step_by(step).map(Deed::Kill) {
        let (seen, killed_at) = supervised.burst(canary.pid(), deed, &short());
        assert_free(canary.pid());
        canary.goes_on(&mut counted);
        (stood, control_stood) = (stood.max(counted.stood), control_stood.max(control.ask().stood));
        let Some(number) = killed_at else {
            let seen = seen.unwrap();
            assert!(seen.end != End::Killed && seen.detached, "{seen:?}");
            ended += 1;
            if ended == LAST {
                break;
            }
            continue;
        };
        ended = 0;
        // Before it holds anything there is no burst; what there is tells that it was killed.
        if let Ok(seen) = seen {
            assert!(seen.detached, "{seen:?}");
        }
        *at.entry(name(std::env::consts::ARCH, number).unwrap_or("?")).or_default() += 1;
    }
    // The last one, of which the number differs.
    let (_, last) = supervised.burst(canary.pid(), Deed::KillAt(nix::libc::SYS_exit_group), &short());
    assert_eq!(last, Some(nix::libc::SYS_exit_group));
    assert_free(canary.pid());
    at.entry("exit_group").or_insert(1);
    let kills: u32 = at.values().sum();
    assert!(
        at.contains_key("ptrace") && at.contains_key("waitid") && at.contains_key("exit_group"),
        "{at:?}"
    );
    let counted = canary.end(Some(rain));
    println!(
        "PROOF killed {kills} times, once at its first call and each {step} calls on ({} of them ptrace, {} waitid): 0 stopped, dead or traced, 0 of {} \
         signals lost, stood still for {stood:.1?} at most (control {control_stood:.1?})",
        at["ptrace"], at["waitid"], counted.signals
    );
}

/// Death at a moment at random, while signals rain.
#[test]
fn killed_at_random_moments() {
    let (kills, signals) = (share(1_000, 30), u64::from(share(100_000, 5_000)));
    let (mut canary, mut control) = (Canary::new(), Canary::control());
    let rain = Rain::on(canary.pid(), Duration::from_micros(100));
    let (mut stood, mut control_stood) = (Duration::ZERO, Duration::ZERO);
    let (mut tried, mut died) = (0, 0);
    control.ask();
    while died < kills || rain.sent() < signals {
        let seen = burst_with(canary.pid(), &long(1_000), Duration::from_millis(10), Signal::SIGKILL);
        assert_free(canary.pid());
        (stood, control_stood) = (stood.max(canary.ask().stood), control_stood.max(control.ask().stood));
        (tried, died) = (tried + 1, died + u32::from(seen.end == End::Killed));
        assert!(tried < 20 || died > tried / 2, "only {died} of {tried} were killed before their end");
    }
    let counted = canary.end(Some(rain));
    println!(
        "PROOF killed at {died} random moments: 0 stopped, dead or traced, 0 of {} signals lost, stood still for {stood:.1?} \
         at most (control {control_stood:.1?})",
        counted.signals
    );
}

/// The tool is killed at its calls, before, during and after its burst: its helper goes with it.
#[test]
fn the_tool_killed_once_at_its_system_calls() {
    let mut canary = Canary::new();
    let rain = Rain::on(canary.pid(), Duration::from_millis(1));
    let supervised = Supervised::new();
    let pid = canary.pid().to_string();
    let args = ["trace", &pid, "--max-stops", "24", "-d", "1s"];
    // The calls of the whole program are many.
    let step = share(1, 41);
    let (mut kills, mut counted) = (0, Counted::default());
    for which in (1..).step_by(step as usize) {
        let (status, killed_at) = supervised.run(&args, Deed::Kill(which));
        until("the target is free", || tracer(canary.pid()) == 0);
        assert_free(canary.pid());
        canary.goes_on(&mut counted);
        if killed_at.is_none() {
            assert!(status.success(), "{status}");
            break;
        }
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        kills += 1;
    }
    let counted = canary.end(Some(rain));
    println!(
        "PROOF the tool killed {kills} times, once at its first call and each {step} calls on: 0 stopped, dead or traced, 0 of {} signals lost",
        counted.signals
    );
}

/// The tool as a whole is killed while its helper holds a target.
#[test]
fn a_tool_that_is_killed_leaves_nothing_behind() {
    let busy = Target::python("python3", "while True: os.getppid()", &[]);
    let pid = busy.pid().to_string();
    let times = share(100, 5);
    for _ in 0..times {
        let mut traced = start(tool(&["trace", &pid, "-d", "10s", "--max-stops", "20000"]));
        await_tracer(busy.pid());
        traced.kill().unwrap();
        traced.wait().unwrap();
        until("the target is free", || tracer(busy.pid()) == 0);
        assert_free(busy.pid());
    }
    println!(
        "PROOF the tool killed {times} times while its helper held the target: 0 stopped, dead or traced"
    );
}
