//! The two traces of the story, folded: what took two hosts and three tools to see.

use std::collections::BTreeSet;

use super::fold::{Step, patterns, taken_in};
use crate::diagnose::calls::{Call, parse};

const ARBITER: &str = include_str!("../../fixtures/traces/story-arbiter.strace");
const WORKER: &str = include_str!("../../fixtures/traces/story-worker.strace");

/// A line of `strace` as a step.
fn step(call: &Call) -> Step {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find(|p| !p.is_empty())?.parse().ok();
    let ready = call.arguments.split("u32=").skip(1).filter_map(number).collect::<Vec<i32>>();
    let outcome = if call.result.contains("Timeout") {
        Some("timeout".to_owned())
    } else {
        (!ready.is_empty()).then(|| "readable".to_owned())
    };
    let fd = matches!(call.name.as_str(), "epoll_wait" | "fstat").then(|| number(&call.arguments)).flatten();
    Step { name: call.name.clone(), fd, ready, outcome }
}

fn steps(text: &str) -> Vec<Step> {
    parse(text).iter().map(step).collect()
}

#[test]
fn the_first_trace_is_a_round_over_the_workers() {
    let found = patterns(&steps(ARBITER), &BTreeSet::new());
    assert_eq!(found.len(), 1, "{found:?}");
    let words: Vec<String> = found[0].steps.iter().map(Step::words).collect();
    assert_eq!(words, ["select → timeout", "fstat(8)", "fstat(9)", "fstat(10)", "fstat(11)"]);
    assert_eq!((found[0].times, found[0].never_taken_in.len()), (2, 0));
}

#[test]
fn the_second_trace_is_a_spin_on_descriptor_16_that_nobody_reads() {
    let calls = parse(WORKER);
    let taken =
        taken_in(calls.iter().map(|call| (call.name.as_str(), step(call).fd, call.result.starts_with('-'))));
    let found = patterns(&steps(WORKER), &taken);
    assert_eq!(found.len(), 1, "{found:?}");
    let words: Vec<String> = found[0].steps.iter().map(Step::words).collect();
    assert_eq!(words, ["epoll_wait(9) → fd 16 readable", "getpid"]);
    assert_eq!((found[0].times, found[0].never_taken_in.as_slice()), (2, &[16][..]));
}

#[test]
fn a_descriptor_that_is_read_is_taken_in() {
    let text = format!("{WORKER}\nread(16, \"x\", 1) = 1\n");
    let calls = parse(&text);
    let fd = |call: &Call| call.arguments.split(',').next().and_then(|fd| fd.parse().ok());
    let taken = taken_in(calls.iter().map(|call| (call.name.as_str(), fd(call), false)));
    assert!(patterns(&steps(&text), &taken)[0].never_taken_in.is_empty());
}
