//! The calls of each thread: begun and come back, with descriptor, name, result and time.
//!
//! Pure. A call that was going on when the burst began is followed from there; one that had not come back at its end has
//! no result. The time in a call is from letting the thread go at its beginning to noticing its end, so that the stops
//! themselves do not count. Where events had no room, a call that was going on is left out: its end may be among them.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::memory;
use super::switches::OffCpu;
use crate::capture::burst::{Engine, Event, FollowedThread, What, Woken};
use crate::capture::calls::{
    Class, Disturbed, LeadsTo, class, disturbed, error_name, fd_argument, gives_descriptor, leads_to, name,
};
use crate::capture::model::Doing;
use crate::capture::syscalls::{Timeout, Wait, describe};
use crate::capture::traced::Traced;

/// Smallest result that is an error.
const MOST_ERRNO: i64 = 4095;

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Call {
    /// Thread.
    pub tid: i32,
    /// When it began, since the burst did.
    pub at_ns: u64,
    /// Time since the thread's last call came back: its own work, and its wait for a processor.
    pub since_last_ns: Option<u64>,
    /// How long it took; `null` when it had not come back at the end of the burst.
    pub took_ns: Option<u64>,
    /// How much of that, or of its time up to the end of the burst, the thread was on no processor: asleep, or waiting for
    /// one. `null` where the engine does not see that.
    pub off_cpu_ns: Option<u64>,
    /// Number on this architecture.
    pub number: i64,
    /// Name.
    pub name: String,
    /// What it is about.
    pub class: Class,
    /// Whether it had begun before the burst, and went on after its first stop.
    pub resumed: bool,
    /// The descriptor it is about.
    pub fd: Option<i32>,
    /// The file or address it names.
    pub path: Option<String>,
    /// How long it may wait; negative: for ever. `null` where that is in memory or there is none.
    pub timeout_ms: Option<i64>,
    /// What it returned; `null` when it had not come back, and for an error.
    pub result: Option<i64>,
    /// The error it returned.
    pub error: Option<String>,
    /// The descriptors that it reported as ready.
    pub ready: Vec<Ready>,
    /// The descriptor that it gave.
    pub gave_fd: Option<i32>,
}

/// A descriptor that a poll reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ready {
    /// The descriptor; `null` when the program does not say which.
    pub fd: Option<i32>,
    /// `readable`, `writable`, `hung up`, `in error` or `ready`.
    pub how: String,
}

/// What a thread is in, while its events are gone through.
struct Thread {
    began_as: Option<FollowedThread>,
    in_call: Option<Call>,
    args: [u64; 6],
    let_go_ns: Option<u64>,
    /// When it was on no processor.
    off_cpu: Option<OffCpu>,
}

impl Thread {
    /// How long it was on no processor since its call began.
    fn off_cpu_until(&self, at_ns: u64) -> Option<u64> {
        Some(self.off_cpu.as_ref()?.within(self.let_go_ns?, at_ns))
    }
}

/// The calls of a burst, in the order in which they began.
#[must_use]
pub fn calls(traced: &Traced) -> Vec<Call> {
    let burst = &traced.burst;
    let mut off_cpu = OffCpu::of(burst);
    let mut thread = |tid: i32, began_as: Option<FollowedThread>| Thread {
        began_as,
        in_call: None,
        args: [0; 6],
        let_go_ns: None,
        off_cpu: off_cpu.as_mut().map(|times| times.remove(&tid).unwrap_or_default()),
    };
    let mut threads: HashMap<i32, Thread> = HashMap::new();
    for followed in &burst.threads {
        // What is not stopped is seen to be within its call.
        let began_as = (burst.engine == Engine::Ptrace).then(|| followed.clone());
        threads.insert(followed.tid, thread(followed.tid, began_as));
    }
    let mut done: Vec<Call> = Vec::new();
    for event in &burst.events {
        let thread = threads.entry(event.tid).or_insert_with(|| thread(event.tid, None));
        match &event.what {
            What::Enter { number, args, memory } => {
                done.extend(thread.in_call.take());
                thread.args = *args;
                thread.in_call = Some(begun(traced, event, thread, *number, args, memory));
                thread.let_go_ns = event.resumed_ns;
            }
            What::Within { number, args } => {
                thread.args = *args;
                let call = begun(traced, event, thread, *number, args, &[]);
                thread.in_call = Some(Call { resumed: true, ..call });
                thread.let_go_ns = event.resumed_ns;
            }
            What::Leave { result, memory } => {
                if let Some(mut call) = thread.in_call.take() {
                    came_back(traced, event, thread, &mut call, *result, memory);
                    done.push(call);
                }
                thread.let_go_ns = event.resumed_ns;
            }
            What::Held(_) => thread.let_go_ns = event.resumed_ns,
            What::Lost(_) => (thread.in_call, thread.let_go_ns) = (None, None),
            What::Ended => done.extend(thread.in_call.take()),
            What::Signal(_) | What::JobControl(_) | What::OffCpu | What::OnCpu | What::Other => {}
        }
    }
    let end_ns = burst.ended_ns.unwrap_or(burst.over_ns);
    done.extend(threads.into_values().filter_map(|mut thread| {
        let off_cpu_ns = thread.off_cpu_until(end_ns);
        Some(Call { off_cpu_ns, ..thread.in_call.take()? })
    }));
    done.sort_by_key(|call| (call.at_ns, call.tid));
    done
}

fn begun(
    traced: &Traced,
    event: &Event,
    thread: &mut Thread,
    number: i64,
    args: &[u64; 6],
    bytes: &[u8],
) -> Call {
    let arch = traced.arch.as_str();
    // The call that the first stop has broken off goes on, under its own number or that of `restart_syscall`.
    let mut meant = (number, *args);
    let mut resumed = false;
    if let Some(FollowedThread { doing: Doing::Syscall(before, before_args), woken: Woken::No, .. }) =
        thread.began_as.take()
    {
        let restarts = describe(arch, number).is_some_and(|call| call.wait == Wait::Restart);
        // One that a stop would have ended came back by itself before it: this is the next one.
        let goes_on = disturbed(arch, before) != Disturbed::Always;
        resumed = goes_on && (restarts || (number, args.get(..2)) == (before, before_args.get(..2)));
        if restarts {
            meant = (before, before_args);
        }
    }
    let (number, args) = meant;
    let fd_at = fd_argument(arch, number);
    let argument = |place: usize| args.get(place).copied();
    let timeout_ms = describe(arch, number)
        .filter(|call| call.timeout == Timeout::Milliseconds)
        .and_then(|call| argument(call.timeout_arg?.into()))
        .map(|word| i64::from(word as u32 as i32));
    let path = match leads_to(arch, number) {
        Some(LeadsTo::Path(_)) => memory::path(bytes),
        Some(LeadsTo::Address(..)) => memory::address(bytes),
        _ => None,
    };
    Call {
        tid: event.tid,
        at_ns: event.at_ns.saturating_sub(traced.burst.began_ns),
        since_last_ns: thread.let_go_ns.map(|then| event.at_ns.saturating_sub(then)),
        took_ns: None,
        off_cpu_ns: None,
        number,
        name: name(arch, number).map_or_else(|| format!("call {number}"), str::to_owned),
        class: class(arch, number),
        resumed,
        // Descriptors are 32 bits wide, whatever stands above; a negative one is none (`AT_FDCWD`).
        fd: fd_at.and_then(argument).map(|word| word as u32 as i32).filter(|fd| *fd >= 0),
        path,
        timeout_ms,
        result: None,
        error: None,
        ready: Vec::new(),
        gave_fd: None,
    }
}

fn came_back(traced: &Traced, event: &Event, thread: &Thread, call: &mut Call, result: i64, bytes: &[u8]) {
    call.took_ns = thread.let_go_ns.map(|then| event.at_ns.saturating_sub(then));
    call.off_cpu_ns = thread.off_cpu_until(event.at_ns);
    if (-MOST_ERRNO..0).contains(&result) {
        call.error = Some(error_name(i32::try_from(-result).unwrap_or(0)));
        return;
    }
    call.result = Some(result);
    if gives_descriptor(&call.name) {
        call.gave_fd = i32::try_from(result).ok();
    }
    let arch = traced.arch.as_str();
    let open = |fd: i32| traced.descriptors.iter().any(|d| d.fd == fd);
    let reported = match leads_to(arch, call.number) {
        Some(LeadsTo::EpollEvents(_)) => {
            let set = call.fd.and_then(|fd| traced.epoll.get(&fd)).map(Vec::as_slice);
            memory::epoll_events(arch, bytes, set, open)
        }
        Some(LeadsTo::PollFds(..)) => memory::poll_fds(bytes),
        Some(LeadsTo::ReadSet(_, count)) => {
            memory::read_set(bytes, thread.args.get(count).copied().unwrap_or(0))
        }
        _ => Vec::new(),
    };
    call.ready =
        reported.iter().map(|r| Ready { fd: r.fd, how: memory::events_words(r.events).to_owned() }).collect();
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::capture::burst::{Burst, End, LeftOut};
    use crate::capture::model::{Descriptor, EpollEntry, Role};

    /// A burst at a process of one thread, 7, with these events.
    pub fn traced(threads: Vec<FollowedThread>, events: Vec<Event>) -> Traced {
        let descriptor = |fd, link: &str, inode| Descriptor { fd, link: link.to_owned(), inode };
        Traced {
            role: Role::Worker,
            arch: "x86_64".into(),
            burst: Burst {
                engine: Engine::Ptrace,
                pid: 7,
                began_ns: 1_000,
                ended_ns: Some(50_000_000),
                letting_go_ns: None,
                over_ns: 50_001_000,
                limit_ns: 50_000_000,
                max_stops: 200,
                max_events: 0,
                end: End::Time,
                threads,
                left_out: LeftOut::default(),
                stops: events.len() as u64,
                stopped_ns_total: 10 * events.len() as u64,
                stopped_ns_max: 10,
                helper_waited_ns: 0,
                lost: 0,
                late: 0,
                locked: true,
                detached: true,
                events,
            },
            names: BTreeMap::from([(7, "gunicorn".to_owned())]),
            descriptors: vec![
                descriptor(9, "anon_inode:[eventpoll]", None),
                descriptor(16, "pipe:[5]", Some(5)),
            ],
            epoll: BTreeMap::from([(
                9,
                vec![EpollEntry { fd: 16, events: 1, data: 3 << 32 | 16, inode: Some(5) }],
            )]),
            sockets: Vec::new(),
            pipes: Vec::new(),
            blind: Vec::new(),
        }
    }

    /// The same as seen without stops: each event is over at once.
    pub fn unstopped(threads: Vec<FollowedThread>, mut events: Vec<Event>) -> Traced {
        for event in &mut events {
            event.resumed_ns = Some(event.at_ns);
        }
        let mut traced = traced(threads, events);
        let burst = &mut traced.burst;
        (burst.engine, burst.max_events, burst.max_stops) = (Engine::Perf, 20_000, 0);
        (burst.stops, burst.stopped_ns_total, burst.stopped_ns_max) = (0, 0, 0);
        traced
    }

    pub fn event(at_ns: u64, what: What) -> Event {
        Event { tid: 7, at_ns, resumed_ns: Some(at_ns + 10), what }
    }

    pub fn enter(at_ns: u64, number: i64, args: [u64; 6]) -> Event {
        event(at_ns, What::Enter { number, args, memory: Vec::new() })
    }

    pub fn leave(at_ns: u64, result: i64) -> Event {
        event(at_ns, What::Leave { result, memory: Vec::new() })
    }

    /// The story's second trace: `turns` turns.
    pub fn spin(turns: u64) -> Traced {
        let mut ready = 1u32.to_ne_bytes().to_vec();
        ready.extend((3u64 << 32 | 16).to_ne_bytes());
        let mut events = vec![event(1_100, What::Held(None))];
        for turn in 0..turns {
            let at = 2_000 + turn * 1_000;
            events.push(enter(at, 232, [9, 0x1000, 64, 395, 0, 0]));
            events.push(event(at + 110, What::Leave { result: 1, memory: ready.clone() }));
            events.push(enter(at + 320, 39, [0; 6]));
            events.push(leave(at + 430, 1338));
        }
        let running = FollowedThread { tid: 7, doing: Doing::Running, woken: Woken::No };
        traced(vec![running], events)
    }

    #[test]
    fn a_poll_names_what_is_ready_and_stops_do_not_count() {
        let seen = calls(&spin(2));
        assert_eq!(seen.len(), 4);
        let poll = &seen[0];
        assert_eq!((poll.name.as_str(), poll.fd, poll.timeout_ms), ("epoll_wait", Some(9), Some(395)));
        assert_eq!(poll.ready, [Ready { fd: Some(16), how: "readable".into() }]);
        assert_eq!((poll.at_ns, poll.took_ns, poll.since_last_ns), (1_000, Some(100), Some(890)));
        assert_eq!((seen[1].name.as_str(), seen[1].result), ("getpid", Some(1338)));
    }

    #[test]
    fn a_wait_that_goes_on_keeps_its_name() {
        let asleep = Doing::Syscall(7, [0x2000, 1, 5_000, 0, 0, 0]);
        let thread = FollowedThread { tid: 7, doing: asleep, woken: Woken::No };
        let events = vec![event(1_100, What::Held(None)), enter(1_200, 219, [0; 6])];
        let seen = calls(&traced(vec![thread], events));
        assert_eq!((seen[0].name.as_str(), seen[0].resumed, seen[0].took_ns), ("poll", true, None));
        assert_eq!((seen[0].timeout_ms, seen[0].result), (Some(5_000), None));
    }

    #[test]
    fn an_interrupted_poll_is_a_new_one() {
        let asleep = Doing::Syscall(232, [9, 0, 64, 5_000, 0, 0]);
        let thread = FollowedThread { tid: 7, doing: asleep, woken: Woken::Interrupted };
        let events =
            vec![event(1_100, What::Held(None)), enter(1_200, 232, [9, 0, 64, 4_900, 0, 0]), leave(1_300, 0)];
        let seen = calls(&traced(vec![thread], events));
        assert_eq!((seen[0].resumed, seen[0].result), (false, Some(0)));
    }

    #[test]
    fn a_poll_that_came_back_just_before_the_stop_is_another_one() {
        let asleep = Doing::Syscall(232, [9, 0, 64, 5_000, 0, 0]);
        let thread = FollowedThread { tid: 7, doing: asleep, woken: Woken::No };
        let events =
            vec![event(1_100, What::Held(None)), enter(1_200, 232, [9, 0, 64, 0, 0, 0]), leave(1_300, 0)];
        assert!(!calls(&traced(vec![thread], events))[0].resumed);
    }

    #[test]
    fn errors_and_new_descriptors() {
        let path = b"/etc/hosts".to_vec();
        let cwd = 0xffff_ff9c;
        let events = vec![
            event(1_200, What::Enter { number: 257, args: [cwd, 0x10, 0, 0, 0, 0], memory: path }),
            leave(1_300, 5),
            enter(1_400, 0, [5, 0, 9, 0, 0, 0]),
            leave(1_500, -11),
            leave(1_600, 3),
        ];
        let seen = calls(&traced(Vec::new(), events));
        assert_eq!(seen.len(), 2, "an end without a beginning is left out");
        assert_eq!(
            (seen[0].path.as_deref(), seen[0].gave_fd, seen[0].fd),
            (Some("/etc/hosts"), Some(5), None)
        );
        assert_eq!((seen[1].error.as_deref(), seen[1].fd, seen[1].result), (Some("EAGAIN"), Some(5), None));
    }
    #[test]
    fn without_stops_a_sleep_goes_on_from_the_beginning_and_its_time_off_the_processor_is_known() {
        let asleep = Doing::Syscall(232, [9, 0, 64, 5_000, 0, 0]);
        let thread = FollowedThread { tid: 7, doing: asleep, woken: Woken::No };
        let within = What::Within { number: 232, args: [9, 0, 64, 5_000, 0, 0] };
        let events = vec![
            event(1_000, within),
            event(41_000, What::OnCpu),
            leave(42_000, 1),
            // The same call again is another one.
            enter(50_000, 232, [9, 0, 64, 5_000, 0, 0]),
            event(51_000, What::OffCpu),
        ];
        let seen = calls(&unstopped(vec![thread], events));
        assert_eq!(
            (seen[0].resumed, seen[0].took_ns, seen[0].off_cpu_ns),
            (true, Some(41_000), Some(40_000))
        );
        assert_eq!((seen[0].fd, seen[0].timeout_ms, seen[0].result), (Some(9), Some(5_000), Some(1)));
        let open = &seen[1];
        assert_eq!((open.resumed, open.took_ns, open.since_last_ns), (false, None, Some(8_000)));
        assert_eq!(open.off_cpu_ns, Some(50_000_000 - 51_000), "up to the end of the burst");
        assert_eq!(calls(&spin(1))[0].off_cpu_ns, None, "stops do not tell");
    }

    #[test]
    fn a_call_whose_end_may_be_lost_is_left_out() {
        let events = vec![
            enter(2_000, 0, [5, 0, 9, 0, 0, 0]),
            event(3_000, What::Lost(7)),
            leave(4_000, 1),
            enter(5_000, 39, [0; 6]),
            leave(6_000, 7),
        ];
        let seen = calls(&unstopped(Vec::new(), events));
        assert_eq!(seen.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["getpid"]);
    }
}
