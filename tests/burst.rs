//! A burst of stops on real processes: harmless at every end, and right about what it saw.

mod tool;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stallscope::capture::burst::{Burst, End, What, Woken};
use stallscope::capture::calls::name;
use stallscope::observe::burst::{Bounds, Choice, NoBurst, take_with};
use stallscope::observe::kernel_file::{FileBudget, ProcDir};

use tool::{Target, assert_error, program, run, skipped, start, status, tool, until};

fn target(name: &str) -> Target {
    Target::announced(program(name, name, &["-O1"]))
}

/// What a target says when its input ends.
fn last_words(target: &mut Target) -> String {
    target.hang_up();
    let mut text = String::new();
    target.child.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn dir(pid: i32) -> ProcDir {
    ProcDir::open(pid, &FileBudget::new(0)).unwrap()
}

/// A burst whose helper is the real program.
fn try_burst(pid: i32, bounds: &Bounds) -> Result<Burst, NoBurst> {
    take_with(Path::new(env!("CARGO_BIN_EXE_stallscope")), &dir(pid), bounds)
}

fn burst(pid: i32, bounds: &Bounds) -> Burst {
    let seen = try_burst(pid, bounds).unwrap();
    assert!(seen.detached, "{seen:?}");
    seen
}

fn of_ms(limit: u64) -> Bounds {
    Bounds { limit: Duration::from_millis(limit), ..Bounds::default() }
}

/// A burst that only its time ends.
fn long(limit: u64) -> Bounds {
    Bounds { limit: Duration::from_millis(limit), max_stops: 20_000, choice: Choice::All }
}

/// That nobody traces any thread of a process, and none is stopped.
fn assert_free(pid: i32) {
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let tid = task.unwrap().file_name().into_string().unwrap();
        let field = |field: &str| status_of_task(pid, &tid, field);
        // One that has just ended is free.
        let Some(tracer) = field("TracerPid") else { continue };
        assert_eq!(tracer, "0", "thread {tid} is traced");
        let state = field("State").unwrap_or_default();
        assert!(!state.starts_with(['t', 'T']), "thread {tid} is stopped: {state}");
    }
}

fn status_of_task(pid: i32, tid: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|v| v.trim().to_owned()))
}

fn tracer(pid: i32) -> i32 {
    status(pid, "TracerPid").and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// Waits until a helper holds the process, and gives its number.
fn await_tracer(pid: i32) -> Pid {
    let mut found = 0;
    until("somebody traces the target", || {
        found = tracer(pid);
        found != 0
    });
    Pid::from_raw(found)
}

/// Some other number each time, below `below`.
fn any(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() % below
}

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
    let asleep = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let states = tasks.map(|t| status_of_task(pid, t.unwrap().file_name().to_str().unwrap(), "State"));
        states.filter(|state| state.as_ref().is_some_and(|state| state.starts_with('S'))).count()
    };
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
    let (mut announced, mut from_outside) = (0, 0);
    for _ in 0..60 {
        let seen = burst(turns.pid(), &of_ms(15));
        announced += seen.threads.iter().filter(|t| t.woken == Woken::Interrupted).count();
        from_outside += usize::from(matches!(seen.end, End::Timer | End::Killed));
    }
    let interrupted: usize = last_words(&mut turns).trim().parse().unwrap();
    assert!(announced > 0, "it never slept");
    // On a machine that has no time for the helper, the kernel's timer is its end, and that may interrupt once more.
    let allowed = announced..=announced + from_outside;
    assert!(allowed.contains(&interrupted), "{interrupted} of {allowed:?}");
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

/// Ends the rain of signals, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills helpers at random moments while signals rain on the target, and counts them.
fn killed_at_random(kills: u32) {
    let mut target = target("signals");
    let (pid, over, sent) = (target.pid(), AtomicBool::new(false), AtomicU64::new(0));
    let mut died = 0;
    std::thread::scope(|scope| {
        let ended = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
                // SAFETY: takes numbers only.
                let queued = unsafe { libc::sigqueue(pid, libc::SIGRTMIN() + 5, value) } == 0;
                sent.fetch_add(queued.into(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for _ in 0..kills {
            let burst = scope.spawn(move || try_burst(pid, &long(1_000)));
            while tracer(pid) == 0 && !burst.is_finished() {
                std::thread::yield_now();
            }
            let helper = tracer(pid);
            // A moment at random is what is wanted here, no event.
            std::thread::sleep(Duration::from_micros(any(10_000)));
            if helper != 0 {
                let _ = kill(Pid::from_raw(helper), Signal::SIGKILL);
            }
            let seen = burst.join().unwrap().unwrap();
            assert!(seen.detached, "{seen:?}");
            died += u32::from(seen.end == End::Killed);
            assert_free(pid);
        }
        drop(ended);
    });
    assert!(died > kills / 2, "only {died} of {kills} were killed before their end");
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let got: u64 = last_words(&mut target).trim().parse().unwrap();
    assert_eq!(got, sent.load(Ordering::Relaxed), "signals were lost");
    assert!(target.child.wait().unwrap().success());
}

#[test]
fn a_helper_that_is_killed_leaves_nothing_behind() {
    killed_at_random(200);
}

#[test]
#[ignore = "takes a minute"]
fn a_helper_that_is_killed_a_thousand_times_leaves_nothing_behind() {
    killed_at_random(1_000);
}

/// The tool as a whole is killed: its helper goes with it.
#[test]
fn a_tool_that_is_killed_leaves_nothing_behind() {
    let busy = Target::python("python3", "while True: os.getppid()", &[]);
    let pid = busy.pid().to_string();
    for _ in 0..5 {
        let mut traced = start(tool(&["trace", &pid, "-d", "10s", "--max-stops", "20000"]));
        await_tracer(busy.pid());
        traced.kill().unwrap();
        traced.wait().unwrap();
        until("the target is free", || tracer(busy.pid()) == 0);
        assert_free(busy.pid());
    }
}

#[test]
fn a_helper_that_hangs_is_ended_by_the_kernel() {
    let busy = Target::python("python3", "while True: os.getppid()", &[]);
    let pid = busy.pid();
    let seen = std::thread::scope(|scope| {
        let burst = scope.spawn(|| burst(pid, &long(300)));
        kill(await_tracer(pid), Signal::SIGSTOP).unwrap();
        until("the target is free", || tracer(pid) == 0);
        burst.join().unwrap()
    });
    // Where the machine was so slow that it ended before it was stopped, nothing was proven, and nothing is wrong.
    assert!(matches!(seen.end, End::Timer | End::Stopped), "{:?}", seen.end);
    assert_free(pid);
}

#[test]
fn a_thread_that_cannot_stop_does_not_freeze_the_others() {
    let mut target = target("vfork");
    let pid = target.pid();
    let stuck = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut states =
            tasks.map(|t| status_of_task(pid, t.unwrap().file_name().to_str().unwrap(), "State"));
        states.any(|state| state.is_some_and(|state| state.starts_with('D')))
    };
    until("a thread waits in vfork", stuck);
    let seen = burst(pid, &of_ms(300));
    assert!(stuck(), "it has come back, which proves nothing");
    assert_eq!(seen.threads.len(), 3);
    let calls = seen.events.iter().filter(|e| matches!(e.what, What::Leave { .. })).count();
    assert!(calls > 1, "the others made no calls: {seen:?}");
    assert_free(pid);
    let made: u64 = last_words(&mut target).trim().parse().unwrap();
    assert!(made > 0 && target.child.wait().unwrap().success());
}

#[test]
fn a_traced_process_is_left_to_who_traces_it() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: a target that is traced already was not tried");
    }
    let target = Target::waiting();
    let pid = target.pid().to_string();
    let mut strace = start({
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid]);
        command
    });
    await_tracer(target.pid());
    assert_eq!(try_burst(target.pid(), &of_ms(20)).unwrap_err(), NoBurst::Refused(nix::errno::Errno::EPERM));
    assert_error(&["trace", &pid], "not_permitted", "somebody traces it already");
    assert_ne!(tracer(target.pid()), 0, "strace goes on");
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    until("the target is free", || tracer(target.pid()) == 0);
    assert_free(target.pid());
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
fn storms_of_children_and_threads_pass() {
    let mut storm = target("storm");
    for _ in 0..40 {
        let seen = burst(storm.pid(), &of_ms(20));
        assert_ne!(seen.end, End::Killed);
        assert_free(storm.pid());
    }
    let words = last_words(&mut storm);
    let numbers: Vec<u64> = words.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(numbers[0] > 0, "{words}");
    assert_eq!(numbers[1], 0, "of {} children and threads some went wrong", numbers[0]);
}

/// A call as both tell it: name, descriptor, result or error.
type Told = (String, Option<i64>, String);

/// What strace says: `openat(AT_FDCWD, "/x", O_RDONLY) = -1 ENOENT (…)`.
fn of_strace(line: &str) -> Option<Told> {
    let (head, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = head.split_once('(')?;
    let fd = arguments.split([',', ')']).next()?.trim().parse().ok();
    let mut words = result.split_whitespace();
    let number = words.next()?;
    let result = if number == "-1" { words.next()? } else { number };
    Some((name.trim().to_owned(), fd, result.to_owned()))
}

fn of_trace(call: &Value) -> Option<Told> {
    let result = match (&call["error"], &call["result"]) {
        (Value::String(error), _) => error.clone(),
        (_, Value::Number(result)) => result.to_string(),
        _ => return None,
    };
    Some((call["name"].as_str()?.to_owned(), call["fd"].as_i64(), result))
}

/// One turn of a steady program, begun with the opening of its file.
fn turns(calls: Vec<Told>) -> Vec<Vec<Told>> {
    let mut turns: Vec<Vec<Told>> = Vec::new();
    for call in calls {
        if call.0 == "openat" && call.2 != "ENOENT" {
            turns.push(Vec::new());
        }
        if let Some(turn) = turns.last_mut() {
            turn.push(call);
        }
    }
    // The last one may be cut off.
    turns.pop();
    turns
}

#[test]
fn names_descriptors_and_results_are_those_of_strace() {
    if !Path::new("/usr/bin/strace").exists() {
        return skipped("strace is not installed: what trace says was not compared");
    }
    let steady = target("steady");
    let pid = steady.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut strace = start({
        let mut command = Command::new("strace");
        command.args(["-qq", "-o"]).arg(&log).args(["-p", &pid]);
        command
    });
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    until("strace has seen some turns", || lines().matches("getppid").count() > 20);
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    until("the target is free", || tracer(steady.pid()) == 0);
    let theirs = turns(lines().lines().filter_map(of_strace).collect());

    let ran = run(&["trace", &pid, "-d", "1s", "--max-stops", "400", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let document = ran.json();
    let thread = &document["processes"][0]["threads"][0];
    let ours = turns(thread["calls"].as_array().unwrap().iter().filter_map(of_trace).collect());
    assert!(theirs.len() > 2 && ours.len() > 2, "{theirs:?} {ours:?}");
    assert!(theirs.iter().all(|turn| *turn == theirs[0]), "the program is not steady: {theirs:?}");
    for turn in &ours {
        assert_eq!(*turn, theirs[0]);
    }
    // What strace does not know by itself: whose readiness a word in an epoll set is, and that it is one pattern.
    let poll = thread["calls"].as_array().unwrap().iter().find(|call| call["name"] == "epoll_pwait").unwrap();
    let read = thread["calls"].as_array().unwrap().iter().find(|call| call["name"] == "read").unwrap();
    assert_eq!(poll["ready"][0]["fd"], read["fd"]);
    assert_eq!(thread["patterns"].as_array().unwrap().len(), 1, "{}", thread["patterns"]);
    assert_eq!(thread["patterns"][0]["steps"].as_array().unwrap().len(), 9);
    assert_free(steady.pid());
}

/// The story's second trace, alive.
#[test]
fn a_spin_is_one_line_and_names_the_descriptor_that_nobody_reads() {
    let program = "import select\nr, w = os.pipe(); os.write(w, b'x')\np = select.epoll(); p.register(r, 1)\n\
                   sys.stderr.write(f'{r}\\n'); sys.stderr.flush()\nwhile True: p.poll(0.395, 64), os.getpid()";
    let mut command = Command::new("python3");
    let ready = "import os, sys\nprint('ready', flush=True)\n";
    command.args(["-c", &format!("{ready}{program}")]).stderr(std::process::Stdio::piped());
    let mut spin = Target::announced(command);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(spin.child.stderr.take().unwrap()), &mut line)
        .unwrap();
    let fd: i64 = line.trim().parse().unwrap();
    let pid = spin.pid().to_string();
    let more = ["-d", "1s", "--max-stops", "200"];
    let document = run(&[&["trace", &pid, "--format", "json"], &more[..]].concat()).json();
    let process = &document["processes"][0];
    assert_eq!(process["burst"]["detached"], true);
    let pattern = &process["threads"][0]["patterns"][0];
    assert_eq!(pattern["never_taken_in"], serde_json::json!([fd]), "{pattern}");
    assert!(pattern["times"].as_u64().unwrap() > 5, "{pattern}");
    assert_eq!(pattern["steps"][0]["ready"], serde_json::json!([fd]));

    let text = run(&[&["trace", &pid], &more[..]].concat());
    let poll = if std::env::consts::ARCH == "x86_64" { "epoll_wait" } else { "epoll_pwait" };
    assert!(text.stdout.contains(&format!("fd {fd} readable")), "{text:?}");
    assert!(text.stdout.contains(poll) && text.stdout.contains("never read"), "{text:?}");
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 100), "{}", text.stdout);

    let lines = run(&[&["trace", &pid, "--format", "ndjson"], &more[..]].concat());
    let told: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_kind = |kind: &str| told.iter().filter(|line| line["type"] == kind).count();
    assert_eq!((of_kind("meta"), of_kind("process"), of_kind("end")), (1, 1, 1));
    assert!(of_kind("call") > 5);
    assert_free(spin.pid());
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

/// A diagnosis may make one burst, at a thread that runs; what it saw is in the capture.
#[test]
fn a_diagnosis_makes_its_burst_only_when_it_may_and_replays_it() {
    let program = "import select\nr, w = os.pipe(); os.write(w, b'x')\np = select.epoll(); p.register(r, 1)\n\
                   while True: p.poll(0.395, 64), os.getpid()";
    let spin = Target::python("python3", program, &[]);
    let (pid, folder) = (spin.pid().to_string(), tempfile::tempdir().unwrap());
    let capture = folder.path().join("spin.cap");
    let capture = capture.to_str().unwrap();
    let look =
        |level| [pid.as_str(), "--level", level, "--format", "json", "-d", "1s", "--max-duration", "1s"];
    let ran = run(&[&look("burst")[..], &["--save", capture]].concat());
    let document = ran.json();
    let burst = &document["collection"]["burst"];
    // A machine that starves the target leaves it to another verdict, which no burst would change.
    let code = document["processes"][0]["verdict"]["code"].as_str().unwrap();
    let suspect = matches!(code, "hot_spin" | "loop_blocked_on_cpu" | "unknown");
    assert_eq!(burst["used"], suspect, "{code}: {burst}");
    assert_eq!((burst["stops"].as_u64().unwrap() > 0, &burst["detached"]), (suspect, &true.into()));
    assert_free(spin.pid());
    let again = run(&["--replay", capture, "--format", "json"]);
    assert_eq!(again.stdout, ran.stdout);
    let gentle = run(&look("memory")).json();
    assert_eq!(gentle["collection"]["burst"]["used"], false);
}
