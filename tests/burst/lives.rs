//! Targets live on, and get `EINTR` only where that was announced.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::capture::burst::{End, What, Woken};
use stallscope::capture::calls::name;
use stallscope::observe::burst::{Bounds, Choice};

use crate::rig::{
    announced, assert_free, await_tracer, burst, last_words, left_open, long, of_ms, share, states,
    status_of_task, target, try_burst,
};
use crate::tool::{Target, run, status, until};

#[test]
fn busy_and_idle_python_goes_on() {
    let busy = Target::python("python3", "while True: os.getppid(), os.stat('/')", &[]);
    // Its stops end it, unless the machine has no time for the target.
    let seen = burst(busy.pid(), &of_ms(5_000));
    assert!(seen.stops <= 201 && seen.stops > 1, "{seen:?}");
    assert!(matches!(seen.end, End::Stops | End::Stopped | End::Time), "{:?}", seen.end);
    let called = |wanted: &str| {
        let is = |what: &What| matches!(what, What::Enter { number, .. } if name(std::env::consts::ARCH, *number) == Some(wanted));
        seen.events.iter().any(|event| is(&event.what))
    };
    assert!(called("getppid"), "{:?}", seen.events);
    assert_eq!(seen.lost, 0);
    assert_free(busy.pid());

    let idle = Target::waiting();
    until("it sleeps", || status(idle.pid(), "State").is_some_and(|state| state.starts_with('S')));
    let seen = burst(idle.pid(), &of_ms(20));
    // On a machine that has no time for the helper, the kernel is the one who ends it.
    assert!(matches!(seen.end, End::Time | End::Timer), "{seen:?}");
    assert_eq!(seen.threads[0].woken, Woken::No);
    assert_free(idle.pid());
    let seen = burst(idle.pid(), &Bounds { choice: Choice::Running, ..of_ms(20) });
    assert_eq!((seen.end, seen.stops, seen.left_out.asleep), (End::NothingLeft, 0, 1));
}

/// The program counts what the report announces: each call that got `EINTR`, and no other.
#[test]
fn nobody_gets_eintr_but_who_was_announced() {
    let mut waits = target("waits");
    let pid = waits.pid();
    let asleep = || states(pid).iter().filter(|state| state.starts_with('S')).count();
    until("all threads sleep", || asleep() == 11);
    let spared = burst(pid, &Bounds { choice: Choice::Undisturbed, ..of_ms(20) });
    assert_eq!(spared.left_out.spared, 5, "{spared:?}");
    assert!(spared.threads.iter().all(|thread| thread.woken == Woken::No));
    until("all threads sleep", || asleep() == 11);
    // Long enough that all are asleep again when it ends, also on a machine that has no time for them.
    let seen = burst(pid, &of_ms(300));
    assert!(matches!(seen.end, End::Time | End::Timer), "{seen:?}");
    assert_eq!(seen.threads.len(), 11);
    let woken: BTreeMap<i32, Woken> = seen.threads.iter().map(|t| (t.tid, t.woken)).collect();
    for line in last_words(&mut waits).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (tid, count): (i32, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        match woken[&tid] {
            Woken::No => assert_eq!(count, 0, "{line}"),
            Woken::Interrupted => assert_eq!(count, 1, "{line}"),
            Woken::PerhapsInterrupted => panic!("{line}: it was not seen to stop"),
        }
    }
    assert_eq!(woken.values().filter(|woken| **woken == Woken::Interrupted).count(), 4);
}

/// The end of a burst interrupts nobody: not even a thread that begins a call at that very moment.
#[test]
fn a_loop_that_turns_gets_eintr_once_a_burst_and_only_when_it_slept() {
    let mut turns = target("turns");
    let (mut told, mut open) = (0, 0);
    let bursts = share(1_000, 40);
    for _ in 0..bursts {
        let seen = burst(turns.pid(), &of_ms(15));
        told += announced(&seen);
        open += left_open(&seen);
    }
    let interrupted: u64 = last_words(&mut turns).trim().parse().unwrap();
    assert!(told > 0, "it never slept");
    // On a machine that has no time for either it may be on its way to the next call when the burst ends.
    let allowed = told..=told + open;
    assert!(allowed.contains(&interrupted), "{interrupted} of {allowed:?}");
    println!(
        "PROOF {bursts} bursts at a loop that polls with a limit: {interrupted} EINTR, {told} announced and {open} left open"
    );
}

#[test]
fn of_many_threads_those_that_work_are_followed() {
    let program = "import threading\nfor _ in range(150): threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
                   def work():\n  while True: os.getppid(), time.sleep(0.0005)\n\
                   threading.Thread(target=work, daemon=True).start()\ntime.sleep(3600)";
    let many = Target::python("python3", program, &[]);
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", many.pid())).unwrap().count();
    until("all threads are there", || tasks() == 152);
    // The working one is the last that came, and has used more than the others soon.
    let switches = || {
        let last = std::fs::read_dir(format!("/proc/{}/task", many.pid())).unwrap().flatten();
        let last = last.filter_map(|t| t.file_name().to_str()?.parse::<i32>().ok()).max().unwrap();
        let count = status_of_task(many.pid(), &last.to_string(), "voluntary_ctxt_switches");
        (last, count.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0))
    };
    until("one of them works", || switches().1 > 200);
    let seen = burst(many.pid(), &of_ms(5_000));
    assert!(seen.stops <= 202 && seen.threads.len() <= 50, "{seen:?}");
    assert_eq!(seen.left_out.no_room + seen.threads.len() as u64, 152);
    let worker = switches().0;
    let calls =
        seen.events.iter().filter(|e| e.tid == worker && matches!(e.what, What::Enter { .. })).count();
    assert!(calls > 1, "{seen:?}");
    assert_free(many.pid());
}

#[test]
fn a_process_that_is_stopped_stays_so_and_goes_on_when_it_is_told_to() {
    let target = Target::python("python3", "while True: os.getppid()", &[]);
    let pid = Pid::from_raw(target.pid());
    let stopped = || status(target.pid(), "State").is_some_and(|state| state.starts_with('T'));
    kill(pid, Signal::SIGSTOP).unwrap();
    until("it is stopped", stopped);
    let seen = burst(target.pid(), &of_ms(20));
    assert!(seen.events.iter().any(|e| matches!(e.what, What::JobControl(_))), "{seen:?}");
    until("it is stopped as before", stopped);
    kill(pid, Signal::SIGCONT).unwrap();
    until("it runs", || status(target.pid(), "State").is_some_and(|state| state.starts_with('R')));

    // Stopped and continued while it is followed.
    let seen = std::thread::scope(|scope| {
        let burst = scope.spawn(|| burst(target.pid(), &long(5_000)));
        await_tracer(target.pid());
        kill(pid, Signal::SIGSTOP).unwrap();
        // A thread that is followed shows as traced while job control has stopped it.
        until("it does not run", || status(target.pid(), "State").is_some_and(|s| s.starts_with(['t', 'T'])));
        kill(pid, Signal::SIGCONT).unwrap();
        burst.join().unwrap()
    });
    assert_free(target.pid());
    assert_eq!(seen.lost, 0);
}

#[test]
fn a_process_that_dies_meanwhile_is_its_parents_at_once() {
    let mut target = Target::waiting();
    let pid = target.pid();
    let seen = std::thread::scope(|scope| {
        let burst = scope.spawn(move || try_burst(pid, &long(10_000)).unwrap());
        await_tracer(pid);
        target.child.kill().unwrap();
        // Its parent hears of it while the burst has seconds to go.
        target.child.wait().unwrap();
        burst.join().unwrap()
    });
    assert_eq!(seen.end, End::NothingLeft);
    assert!(matches!(seen.events.last().unwrap().what, What::Ended));
}

#[test]
fn a_sleeper_is_warned_of_and_can_be_left_alone() {
    let program = "import select\np = select.epoll()\nwhile True: p.poll(3600)";
    let sleeper = Target::python("python3", program, &[]);
    let pid = sleeper.pid();
    let asleep = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        text.split(' ')
            .next()
            .and_then(|n| name(std::env::consts::ARCH, n.parse().ok()?))
            .is_some_and(|n| n.starts_with("epoll"))
    };
    until("it sleeps in its poll", asleep);
    let spared = run(&["trace", &pid.to_string(), "--undisturbed", "--format", "json"]);
    let burst = &spared.json()["processes"][0]["burst"];
    assert_eq!((&burst["left_out"]["spared"], &burst["stops"]), (&1.into(), &0.into()));
    assert!(!spared.stderr.contains("EINTR"), "{spared:?}");
    let warned = run(&["trace", &pid.to_string(), "--format", "json"]);
    assert!(warned.stderr.starts_with("warning: a thread of process"), "{warned:?}");
    let burst = &warned.json()["processes"][0]["burst"];
    assert_eq!((&burst["interrupted"], &burst["detached"]), (&1.into(), &true.into()));
    assert_free(pid);
}
