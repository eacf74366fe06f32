//! What threads do, what descriptors they hold, whether they are alive.

use std::collections::HashSet;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::capture::model::{Doing, Record};
use stallscope::capture::syscalls::{Wait, describe};
use stallscope::observe::descriptors::{FdInfo, info, list};
use stallscope::observe::heartbeat::{HeartbeatFile, find};
use stallscope::observe::kernel_file::{FileBudget, ProcDir, READ_BUFFER_BYTES, Unseen};
use stallscope::observe::process::snapshot;
use stallscope::observe::readiness::{NotAsked, Readiness, Ready};
use stallscope::observe::thread_files::{ThreadFiles, list_threads};

use crate::support::{Target, eventually};

/// Waits until the main thread of a program sleeps in a call of the wanted kind, and compares its descriptor with the
/// first number that the program printed.
fn sleeps_in(program: &str, wanted: &[Wait]) {
    let mut target = Target::python(program);
    let numbers = target.numbers();
    let mut thread = target.main_thread();
    let mut buffer = [0; READ_BUFFER_BYTES];
    let (call, arguments) = eventually(program, || match thread.syscall(&mut buffer).unwrap() {
        Doing::Syscall(number, arguments) => describe(std::env::consts::ARCH, number)
            .filter(|call| wanted.contains(&call.wait))
            .map(|call| (call, arguments)),
        _ => None,
    });
    if let (Some(argument), Some(&fd)) = (call.fd_arg, numbers.first()) {
        assert_eq!(arguments[usize::from(argument)] as i32, fd as i32, "{program}: {}", call.name);
    }
    assert_eq!(thread.stat(&mut buffer).unwrap().state, 'S', "{program}");
    let wchan = thread.wchan(&mut buffer).unwrap().map(str::to_owned);
    assert!(wchan.is_some(), "{program}: {} sleeps somewhere in the kernel", call.name);
}

#[test]
fn sleeping_threads_are_seen_in_their_calls() {
    sleeps_in("e = select.epoll(); say(e.fileno()); e.poll()", &[Wait::Epoll]);
    sleeps_in("p = select.poll(); r, w = os.pipe(); p.register(r, 1); say(r); p.poll()", &[Wait::Poll]);
    sleeps_in("r, w = os.pipe(); say(r); select.select([r], [], [])", &[Wait::Select]);
    sleeps_in("a, b = socket.socketpair(); say(a.fileno()); a.recv(1)", &[Wait::Recv]);
    sleeps_in("r, w = os.pipe(); say(r); os.read(r, 1)", &[Wait::Read]);
    sleeps_in("r, w = os.pipe(); say(w); os.write(w, bytes(1 << 20))", &[Wait::Write]);
    sleeps_in("l = socket.create_server(('127.0.0.1', 0)); say(l.fileno()); l.accept()", &[Wait::Accept]);
    sleeps_in("k = threading.Lock(); k.acquire(); say(0); k.acquire()", &[Wait::Futex]);
    // Before 3.11, Python slept in select.
    sleeps_in("say(0); time.sleep(1000)", &[Wait::Sleep, Wait::Select]);
    // The grandchild ends with the test, when its input does.
    sleeps_in("p = os.fork() or os._exit(len(sys.stdin.read())); say(p); os.wait()", &[Wait::Child]);
    sleeps_in(
        "import tempfile; f, name = tempfile.mkstemp(); g = os.open(name, os.O_RDONLY); os.unlink(name)\n\
         fcntl.flock(f, fcntl.LOCK_EX); say(g); fcntl.flock(g, fcntl.LOCK_EX)",
        &[Wait::FileLock],
    );
}

#[test]
fn a_spinning_thread_runs_and_a_stopped_one_is_nowhere() {
    let mut target = Target::python("say(0)\nwhile True: pass");
    target.numbers();
    let mut thread = target.main_thread();
    let mut buffer = [0; READ_BUFFER_BYTES];
    eventually("running", || (thread.syscall(&mut buffer).unwrap() == Doing::Running).then_some(()));
    let before = thread.schedstat(&mut buffer).unwrap();
    eventually("time on a processor", || {
        (thread.schedstat(&mut buffer).unwrap().run_ns > before.run_ns + 1_000_000).then_some(())
    });
    kill(Pid::from_raw(target.pid()), Signal::SIGSTOP).unwrap();
    eventually("stopped", || (thread.stat(&mut buffer).unwrap().state == 'T').then_some(()));
    assert_eq!(thread.syscall(&mut buffer).unwrap(), Doing::Elsewhere);
}

#[test]
fn a_hostile_name_does_not_hide_the_state() {
    let mut target =
        Target::python("open('/proc/self/comm', 'wb').write(b'x) R 1\\n(y'); say(0); sys.stdin.readline()");
    target.numbers();
    let mut buffer = [0; READ_BUFFER_BYTES];
    let counters = eventually("asleep", || {
        target.main_thread().counters(&mut buffer).ok().filter(|seen| seen.state == 'S')
    });
    assert_eq!(counters.name, "x) R 1\n(y");
    let seen = snapshot(&target.proc_dir()).unwrap();
    assert_eq!((seen.name.as_str(), seen.ppid), ("x) R 1\n(y", std::process::id() as i32));
}

#[test]
fn many_threads_do_not_exhaust_our_descriptors() {
    const THREADS: usize = 300;
    const BUDGET: u64 = 100;
    let mut target = Target::python(
        "threading.stack_size(65536); k = threading.Lock(); k.acquire()\n\
         for _ in range(299): threading.Thread(target=k.acquire, daemon=True).start()\n\
         say(0); sys.stdin.readline()",
    );
    target.numbers();
    let budget = FileBudget::new(BUDGET);
    let process = Arc::new(ProcDir::open(target.pid(), &budget).unwrap());
    let tids = list_threads(&process).unwrap();
    assert_eq!((tids.len(), tids[0]), (THREADS, target.pid()));
    let mut threads: Vec<_> = tids.iter().map(|&tid| ThreadFiles::new(Arc::clone(&process), tid)).collect();
    let mut buffer = [0; READ_BUFFER_BYTES];
    for round in 0..2 {
        for thread in &mut threads {
            assert_eq!(thread.counters(&mut buffer).unwrap().tid, thread.tid(), "round {round}");
            thread.syscall(&mut buffer).unwrap();
        }
        assert_eq!(budget.left(), 0);
    }
    drop(threads);
    assert_eq!(budget.left(), BUDGET);
}

#[test]
fn an_epoll_set_tells_what_it_watches_and_readiness_what_is_ready() {
    let mut target = Target::python(
        "a, b = socket.socketpair(); e = select.epoll(); e.register(a, select.EPOLLIN)\n\
         b.send(b'unread'); say(e.fileno(), a.fileno()); sys.stdin.readline(); say(len(a.recv(99)))",
    );
    let numbers = target.numbers();
    let (epfd, fd) = (numbers[0] as i32, numbers[1] as i32);
    let process = target.proc_dir();
    let listing = list(&process).unwrap();
    assert!(!listing.truncated);
    let socket = listing.fds.iter().find(|seen| seen.fd == fd).unwrap();
    let FdInfo::Epoll { entries, truncated: false } = info(&process, epfd).unwrap() else { panic!() };
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].fd, entries[0].inode), (fd, socket.inode));
    assert_eq!(entries[0].data as u32, fd as u32, "Python registers the descriptor itself");

    let readiness = Readiness::open(Arc::clone(&process)).unwrap();
    let ready = readiness.ask(socket, entries[0].events).unwrap();
    assert_eq!(ready, Ready { revents: nix::libc::POLLIN, queued_bytes: Some(6) });
    let epoll = listing.fds.iter().find(|seen| seen.fd == epfd).unwrap();
    assert_eq!(readiness.ask(epoll, 1), Err(NotAsked::Refused));
    target.tell("read it now");
    assert_eq!(target.numbers(), [6], "asking has consumed nothing");
}

#[test]
fn event_counters_and_timers_tell_their_value() {
    // Python has os.eventfd since 3.10 and timers later still, so the C library is called.
    let mut target = Target::python(
        "import ctypes; c = ctypes.CDLL(None); e = c.eventfd(31, 0); t = c.timerfd_create(1, 0)\n\
         c.timerfd_settime(t, 0, (ctypes.c_long * 4)(0, 0, 0, 1), None)\n\
         select.select([t], [], []); say(e, t); sys.stdin.readline()",
    );
    let numbers = target.numbers();
    let process = target.proc_dir();
    assert_eq!(info(&process, numbers[0] as i32).unwrap(), FdInfo::Event { count: 31 });
    assert_eq!(info(&process, numbers[1] as i32).unwrap(), FdInfo::Timer { ticks: 1 });
    assert_eq!(info(&process, 0).unwrap(), FdInfo::Other);
    assert_eq!(info(&process, 12_345), Err(Unseen::Absent));
}

#[test]
fn heartbeats_of_both_generations() {
    let mut target = Target::python(
        "import tempfile; f, name = tempfile.mkstemp(prefix='wgunicorn-'); os.unlink(name); say(f)\n\
         for line in sys.stdin:\n\
         \u{20}os.fchmod(f, 1) if line == 'old\\n' else os.utime(f, ns=(7_000_000_001, 7_000_000_002))\n\
         \u{20}say(0)",
    );
    let fd = target.numbers()[0] as i32;
    let process = target.proc_dir();
    let fds = list(&process).unwrap().fds;
    assert_eq!(find(&fds).map(|seen| seen.fd).collect::<Vec<_>>(), [fd]);
    let heart = HeartbeatFile::open(&process, fd).unwrap();
    let pid = target.pid();
    let look = || match heart.read(&process, pid, 5, 6).unwrap() {
        Record::Heartbeat { ctime_ns, mtime_ns, mode, .. } => (ctime_ns, mtime_ns, mode),
        other => panic!("{other:?}"),
    };
    let first = look();
    assert_eq!(first.2, 0o600);
    target.tell("old");
    target.numbers();
    let old = look();
    assert!(old.0 >= first.0);
    assert_eq!((old.1, old.2), (first.1, 0o001));
    target.tell("new");
    target.numbers();
    assert_eq!((look().1, look().2), (7_000_000_002, 0o001));
}

#[test]
fn a_zombie_and_a_dead_process() {
    let mut target = Target::python("say(0); sys.stdin.readline()");
    target.numbers();
    let process = target.proc_dir();
    let mut thread = ThreadFiles::new(Arc::clone(&process), target.pid());
    let mut buffer = [0; READ_BUFFER_BYTES];
    thread.counters(&mut buffer).unwrap();
    target.close_input();
    eventually("a zombie", || (thread.stat(&mut buffer).unwrap().state == 'Z').then_some(()));
    let seen = snapshot(&process).unwrap();
    assert_eq!((seen.state, seen.ppid), ('Z', std::process::id() as i32));
    assert!(seen.cmdline.is_empty() && seen.exe.is_none());
    assert!(list(&process).map_or_else(|_| true, |listing| listing.fds.is_empty()));
    assert_ne!(thread.syscall(&mut buffer), Ok(Doing::Running));

    target.child.wait().unwrap();
    assert_eq!(thread.counters(&mut buffer).unwrap_err(), Unseen::Gone);
    assert_eq!(snapshot(&process).unwrap_err(), Unseen::Gone);
    assert_eq!(list(&process).unwrap_err(), Unseen::Gone);
    assert_eq!(Readiness::open(Arc::clone(&process)).unwrap_err(), Unseen::Gone);
    assert!(!process.exists());
}

#[test]
fn descriptors_are_listed_with_what_they_lead_to() {
    let mut target = Target::python("s = socket.socket(); say(s.fileno()); sys.stdin.readline()");
    let fd = target.numbers()[0] as i32;
    let fds = list(&target.proc_dir()).unwrap().fds;
    let numbers: HashSet<i32> = fds.iter().map(|seen| seen.fd).collect();
    assert!(numbers.is_superset(&[0, 1, 2, fd].into()));
    let socket = fds.iter().find(|seen| seen.fd == fd).unwrap();
    assert_eq!(socket.link, format!("socket:[{}]", socket.inode.unwrap()));
    let input = fds.iter().find(|seen| seen.fd == 0).unwrap();
    assert!(input.link.starts_with("pipe:[") && input.inode.is_some());
}
