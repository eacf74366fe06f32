//! Patterns in a trace of system calls, as `strace` prints them.
//!
//! Takes the text, gives the pattern: the once-a-second round of a healthy arbiter, or a loop that spins on one
//! descriptor. Both were taken for something else in the incident that this tool was made for. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Most lines that are looked at.
const MAX_LINES: usize = 100_000;
/// Share of the polls that must return the same descriptor.
const SAME_DESCRIPTOR: f64 = 0.9;
/// Generation counter and descriptor share one word in libev.
const GENERATION_SHIFT: u32 = 32;

/// A system call in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Everything between the parentheses.
    pub arguments: String,
    /// What it returned, with the words behind it.
    pub result: String,
}

/// What a trace shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// A healthy arbiter looks at its workers' heartbeat files.
    ArbiterRound {
        /// Heartbeat files that were looked at.
        workers: usize,
        /// Those whose mode changed between two rounds: their workers were alive in between.
        beating: BTreeSet<i32>,
        /// Those that look the same in all rounds: two beats or none, which only the file's time of change can tell.
        inconclusive: BTreeSet<i32>,
    },
    /// A loop is woken again and again by a descriptor that nobody handles.
    HotSpin {
        /// The descriptor.
        fd: i32,
        /// How often libev had registered it anew, where the word tells.
        generation: Option<u32>,
        /// The ready events, as printed.
        events: String,
        /// Polls that returned it, of all polls.
        turns: (usize, usize),
        /// `getpid` once a turn: libev's check for a fork, normal by itself.
        libev: bool,
    },
    /// Neither.
    Nothing,
}

/// Reads a trace. Lines that are no calls are left out; prefixes of pid and time are allowed.
#[must_use]
pub fn parse(text: &str) -> Vec<Call> {
    text.lines().take(MAX_LINES).filter_map(line).collect()
}

fn line(text: &str) -> Option<Call> {
    let (head, result) = text.rsplit_once(" = ")?;
    let (before, rest) = head.split_once('(')?;
    let name = before.rsplit(|c: char| c.is_whitespace() || c == ']').next()?;
    let arguments = rest.trim_end().strip_suffix(')')?;
    let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    valid.then(|| Call { name: name.to_owned(), arguments: arguments.to_owned(), result: result.to_owned() })
}

/// The pattern of a trace.
#[must_use]
pub fn recognise(calls: &[Call]) -> Pattern {
    arbiter_round(calls).or_else(|| hot_spin(calls)).unwrap_or(Pattern::Nothing)
}

fn first_number(text: &str) -> Option<i32> {
    text.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

/// Timed waits that time out, each followed by one look at each of the same files.
fn arbiter_round(calls: &[Call]) -> Option<Pattern> {
    let waits = |c: &Call| {
        let timed = matches!(c.name.as_str(), "select" | "pselect6") && c.result.contains("Timeout");
        timed || c.name == "futex" && c.result.contains("ETIMEDOUT")
    };
    let looks = |c: &Call| matches!(c.name.as_str(), "fstat" | "newfstatat");
    if calls.is_empty() || !calls.iter().all(|c| waits(c) || looks(c)) {
        return None;
    }
    let mut modes: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
    for call in calls.iter().filter(|c| looks(c)) {
        let mode = call.arguments.split("st_mode=").nth(1)?.split([',', '}']).next()?;
        modes.entry(first_number(&call.arguments)?).or_default().insert(mode);
    }
    let rounds = calls.iter().filter(|c| waits(c)).count();
    if modes.is_empty() || rounds == 0 {
        return None;
    }
    let (beating, inconclusive) =
        modes.iter().map(|(fd, seen)| (*fd, seen.len() > 1)).partition::<Vec<_>, _>(|(_, b)| *b);
    let fds = |v: Vec<(i32, bool)>| v.into_iter().map(|(fd, _)| fd).collect();
    Some(Pattern::ArbiterRound {
        workers: modes.len(),
        beating: fds(beating),
        inconclusive: fds(inconclusive),
    })
}

fn hot_spin(calls: &[Call]) -> Option<Pattern> {
    let polls: Vec<&Call> =
        calls.iter().filter(|c| c.name.starts_with("epoll_") && c.name.contains("wait")).collect();
    let mut votes: BTreeMap<(i32, &str), (usize, Option<u32>)> = BTreeMap::new();
    for call in &polls {
        let Some((fd, generation, events)) = ready(&call.arguments) else { continue };
        votes.entry((fd, events)).or_insert((0, generation)).0 += 1;
    }
    let (&(fd, events), &(turns, generation)) = votes.iter().max_by_key(|(_, (n, _))| *n)?;
    let consumed = calls.iter().any(|c| {
        let consumes = matches!(
            c.name.as_str(),
            "read" | "recvfrom" | "recvmsg" | "accept" | "accept4" | "close" | "sendto" | "write"
        );
        consumes && first_number(&c.arguments) == Some(fd) && !c.result.starts_with('-')
    });
    if turns < 2 || (turns as f64) < polls.len() as f64 * SAME_DESCRIPTOR || consumed {
        return None;
    }
    let getpids = calls.iter().filter(|c| c.name == "getpid").count();
    let libev = getpids * 2 >= polls.len();
    Some(Pattern::HotSpin {
        fd,
        generation: generation.filter(|_| libev),
        events: events.to_owned(),
        turns: (turns, polls.len()),
        libev,
    })
}

/// The one descriptor that a poll returned: number, libev's generation, events.
fn ready(arguments: &str) -> Option<(i32, Option<u32>, &str)> {
    let inside = arguments.split_once('[')?.1;
    let events =
        inside.split(|c: char| !(c.is_ascii_uppercase() || c == '|')).find(|p| p.starts_with("EPOLL"))?;
    let number = |key: &str| {
        inside.split(key).nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let fd = number("u32=")?;
    let generation = number("u64=").map(|word| (word >> GENERATION_SHIFT) as u32);
    // Several ready descriptors at once are work, not a spin.
    (inside.matches("u32=").count() == 1).then_some((i32::try_from(fd).ok()?, generation, events))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARBITER: &str = include_str!("../../fixtures/traces/story-arbiter.strace");
    const WORKER: &str = include_str!("../../fixtures/traces/story-worker.strace");
    const ARBITER_NOW: &str = include_str!("../../fixtures/traces/arbiter-futex.strace");

    #[test]
    fn the_storys_first_trace_is_a_healthy_arbiter() {
        let expected =
            Pattern::ArbiterRound { workers: 4, beating: [8, 9, 10].into(), inconclusive: [11].into() };
        assert_eq!(recognise(&parse(ARBITER)), expected);
    }

    #[test]
    fn the_storys_second_trace_is_a_hot_spin_on_descriptor_16() {
        let expected = Pattern::HotSpin {
            fd: 16,
            generation: Some(3),
            events: "EPOLLIN".into(),
            turns: (2, 2),
            libev: true,
        };
        assert_eq!(recognise(&parse(WORKER)), expected);
    }

    #[test]
    fn an_arbiter_of_today_waits_in_a_futex() {
        assert!(matches!(recognise(&parse(ARBITER_NOW)), Pattern::ArbiterRound { workers: 2, .. }));
    }

    #[test]
    fn a_descriptor_that_is_read_does_not_spin() {
        let busy = format!("{WORKER}\nrecvfrom(16, \"GET\", 8192, 0, NULL, NULL) = 3\n");
        assert_eq!(recognise(&parse(&busy)), Pattern::Nothing);
    }

    #[test]
    fn an_idle_loop_does_not_spin() {
        let idle = "epoll_wait(9, [], 64, 1000) = 0\ngetpid() = 7\nepoll_wait(9, [], 64, 1000) = 0\n";
        assert_eq!(recognise(&parse(idle)), Pattern::Nothing);
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text: String) {
            let _ = recognise(&parse(&text));
        }
    }
}
