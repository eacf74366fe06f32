//! A trace as a page for people: what repeats as one line, what each descriptor is, and what the trace cost.
//!
//! Takes the document of [`super::trace`], gives text. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::page::{Fit, Page};
use super::style::{Style, Tone};
use super::trace::{BurstCost, DescriptorUse, TraceDocument, TraceProcess, TraceThread};
use super::word;
use super::words::{count, name, number, plural};
use crate::capture::burst::{End, Engine, Woken};
use crate::trace::calls::Call;
use crate::trace::fold::{Run, Step, fold};
use crate::trace::summary::NameSummary;

/// Most lines of calls of one thread on a page; the document has all.
const LINES: usize = 30;
/// Most calls that a turn is written out with.
const TURN: usize = 12;
/// A wait of the helper for a processor that is worth a word.
const WAITED_NS: u64 = 1_000_000;
/// Most rows of the table of calls.
const ROWS: usize = 15;

/// The document for people.
#[must_use]
pub fn text(document: &TraceDocument, style: Style) -> String {
    let mut page = Page::new(style);
    for (place, process) in document.processes.iter().enumerate() {
        if place > 0 {
            page.gap();
        }
        process_text(&mut page, process);
    }
    page.not_seen(&document.blind_spots);
    page.finish()
}

fn process_text(page: &mut Page, process: &TraceProcess) {
    let calls: u64 = process.calls.iter().map(|name| name.calls).sum();
    let title = format!(
        "{} {}: {} in {}",
        word(&process.role),
        process.pid,
        plural(calls, "call"),
        time(process.burst.duration_ns)
    );
    page.line(0, Tone::Strong, &title);
    cost_text(page, &process.burst);
    for thread in process.threads.iter().filter(|thread| !is_quiet(thread)) {
        thread_text(page, thread);
    }
    quiet_text(page, &process.threads);
    descriptors_text(page, process);
    table(page, &process.calls);
}

/// What was done to the process, and that it is over.
fn cost_text(page: &mut Page, burst: &BurstCost) {
    let why = match burst.ended_by {
        End::Time => "its time was over",
        End::Stops => "it had made all its stops",
        End::Events => "it had all the events that it may keep",
        End::Stopped => "a thread had been stopped for a tenth of its time",
        End::NothingLeft => "nobody was left to follow",
        End::Exec => "the process began another program",
        End::Timer => "the kernel ended it at its limit",
        End::Killed => "it was ended before its time",
        End::OldKernel => "this kernel (before 5.3) does not tell what a stop is about",
    };
    let threads = plural(burst.threads, "thread");
    let stops = plural(burst.stops, "stop");
    let mut parts = match burst.engine {
        Engine::Ptrace => vec![
            format!(
                "{threads} made {stops}, {} stopped in all, {} at most; it ended because {why}",
                time(burst.stopped_ns_total),
                time(burst.stopped_ns_max),
            ),
            if burst.detached { "detached".into() } else { "NOT detached".into() },
        ],
        Engine::Perf => vec![format!(
            "{threads} followed by perf events: {stops}, {}; it ended because {why}",
            plural(burst.events, "event")
        )],
    };
    let no_room = match burst.engine {
        Engine::Ptrace => "more than there are stops for",
        Engine::Perf => "more than there is room for",
    };
    let left = burst.left_out;
    let left_out = [
        (left.spared, "spared, asleep in a call that a stop would end"),
        (left.asleep, "asleep"),
        (left.no_room, no_room),
        (left.refused, "refused by the kernel"),
    ];
    for (n, why) in left_out.into_iter().filter(|(n, _)| *n > 0) {
        parts.push(format!("{} left out: {why}", plural(n, "thread")));
    }
    if burst.lost > 0 {
        parts.push(format!("{} had no room and are lost", plural(burst.lost, "event")));
    } else if burst.engine == Engine::Perf {
        parts.push("no event was lost".into());
    }
    if burst.helper_waited_ns >= WAITED_NS {
        parts.push(format!(
            "the machine was busy: threads may have stood still for {} more, unnoticed",
            time(burst.helper_waited_ns)
        ));
    }
    let tone = if burst.detached { Tone::Faint } else { Tone::Critical };
    page.line(2, tone, &parts.join("; "));
    if burst.interrupted > 0 {
        let text = format!("{} got EINTR from the call it slept in", plural(burst.interrupted, "thread"));
        page.line(2, Tone::Warning, &text);
    }
    if burst.perhaps_interrupted > 0 {
        let who = plural(burst.perhaps_interrupted, "thread");
        let text = format!("{who} did not stop or was not let go in time: a call may have got EINTR");
        page.line(2, Tone::Warning, &text);
    }
}

/// A thread that did nothing but sleep.
fn is_quiet(thread: &TraceThread) -> bool {
    thread.signals == 0 && thread.calls.iter().all(|call| call.took_ns.is_none() && call.resumed)
}

fn thread_text(page: &mut Page, thread: &TraceThread) {
    let mut facts = vec![format!(
        "thread {} {}: {}",
        thread.tid,
        name(&thread.name),
        plural(thread.calls.len() as u64, "call")
    )];
    let spent = thread.spent;
    facts.push(format!("{} in calls{}", time(spent.in_calls_ns), off_cpu(spent.off_cpu_in_calls_ns)));
    let between = off_cpu(spent.off_cpu_between_calls_ns);
    facts.push(format!("{} between them{between}", time(spent.between_calls_ns)));
    if let Some(polls) = &thread.polls {
        let gap = polls.longest_gap_ns.map(|gap| format!(", {} apart at most", time(gap)));
        facts.push(format!("{}{}", plural(polls.polls, "poll"), gap.unwrap_or_default()));
    }
    if thread.signals > 0 {
        facts.push(plural(thread.signals, "signal"));
    }
    if thread.stopped_by_job_control {
        facts.push("stopped by job control".into());
    }
    if thread.woken == Some(Woken::Interrupted) {
        facts.extend(thread.asleep_in.as_ref().map(|call| format!("its {call} got EINTR")));
    }
    page.line(2, Tone::Strong, &facts.join(", "));
    let steps: Vec<Step> = thread.calls.iter().map(Step::of).collect();
    let runs = fold(&steps);
    for run in runs.iter().take(LINES) {
        run_text(page, *run, &thread.calls, &steps);
    }
    if runs.len() > LINES {
        let calls: usize = runs.iter().skip(LINES).map(|run| run.turn * run.times).sum();
        page.line(4, Tone::Faint, &format!("and {} after that", plural(calls as u64, "call")));
    }
}

/// How much of a time that was on no processor, where anything of it was.
fn off_cpu(ns: Option<u64>) -> String {
    ns.filter(|ns| *ns > 0).map_or_else(String::new, |ns| format!(" ({} off the processor)", time(ns)))
}

/// Calls that repeat as one line, a single one with its details.
fn run_text(page: &mut Page, run: Run, calls: &[Call], steps: &[Step]) {
    let (Some(first), Some(turn)) = (calls.get(run.start), steps.get(run.start..run.start + run.turn)) else {
        return;
    };
    if run.times == 1 {
        for call in calls.iter().skip(run.start).take(run.turn) {
            page.item(4, Tone::Faint, &at(call), 9, &call_words(call));
        }
        return;
    }
    let shown: Vec<String> = turn.iter().take(TURN).map(Step::words).collect();
    let more = turn.len().saturating_sub(TURN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let took: u64 =
        calls.iter().skip(run.start).take(run.turn * run.times).filter_map(|call| call.took_ns).sum();
    let each = time(took / run.times as u64);
    let text =
        format!("{} times: {}{more} ({each} in calls each)", count(run.times as u64), shown.join("; "));
    page.item(4, Tone::Faint, &at(first), 9, &text);
}

fn at(call: &Call) -> String {
    format!("+{:.2} ms", call.at_ns as f64 / 1e6)
}

/// A call with what is known of it.
fn call_words(call: &Call) -> String {
    let mut arguments: Vec<String> = Vec::new();
    arguments.extend(call.fd.map(|fd| fd.to_string()));
    arguments.extend(call.path.as_deref().map(name));
    match call.timeout_ms {
        Some(ms) if ms < 0 => arguments.push("no timeout".into()),
        Some(ms) => arguments.push(format!("{} ms", count(ms as u64))),
        None => {}
    }
    let mut text = format!("{}({})", call.name, arguments.join(", "));
    if call.resumed {
        text.push_str(", begun before");
    }
    let ready: Vec<String> = call
        .ready
        .iter()
        .map(|ready| match ready.fd {
            Some(fd) => format!("fd {fd} {}", ready.how),
            None => ready.how.clone(),
        })
        .collect();
    match (&call.error, call.gave_fd, call.result) {
        (Some(error), ..) => push(&mut text, format_args!(" = {error}")),
        (None, Some(fd), _) => push(&mut text, format_args!(" = fd {fd}")),
        (None, None, Some(_)) if !ready.is_empty() => {
            push(&mut text, format_args!(" → {}", ready.join(", ")));
        }
        (None, None, Some(result)) => push(&mut text, format_args!(" = {}", short(result))),
        (None, None, None) => text.push_str(" has not come back"),
    }
    if let Some(took) = call.took_ns {
        push(&mut text, format_args!("  {}{}", time(took), off_cpu(call.off_cpu_ns)));
    }
    text
}

/// A result: a number, or an address.
fn short(result: i64) -> String {
    if (-1..=1 << 40).contains(&result) { result.to_string() } else { format!("{result:#x}") }
}

/// Those that slept all the time, by what they slept in.
fn quiet_text(page: &mut Page, threads: &[TraceThread]) {
    let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
    for thread in threads.iter().filter(|thread| is_quiet(thread)) {
        let last = thread.calls.last().map(|call| call.name.as_str());
        *groups.entry(last.or(thread.asleep_in.as_deref()).unwrap_or("its own code")).or_default() += 1;
    }
    for (call, threads) in groups {
        let text = format!("{} without a call: in {call} all the time", plural(threads, "thread"));
        page.line(2, Tone::Plain, &text);
    }
}

fn descriptors_text(page: &mut Page, process: &TraceProcess) {
    if process.descriptors.is_empty() {
        return;
    }
    page.line(2, Tone::Strong, "descriptors");
    let mut shown: Vec<&DescriptorUse> = process.descriptors.iter().collect();
    shown.sort_by_key(|d| (std::cmp::Reverse(d.ready + d.calls), d.fd));
    for d in shown.iter().take(ROWS) {
        let peer = d.peer.as_ref().map_or_else(String::new, |peer| format!(", {}", name(peer)));
        let mut text = format!("{}{peer}: {}", name(&d.what), plural(d.calls, "call"));
        if d.ready > 0 {
            push(&mut text, format_args!(", ready {}", plural(d.ready, "time")));
        }
        let never = d.ready > 1 && d.taken_in == 0;
        if never {
            text.push_str(", never read, written, accepted from or closed");
        }
        let tone = if never { Tone::Warning } else { Tone::Plain };
        page.row(
            4,
            &[super::page::Cell { tone, text: &format!("fd {}", d.fd), columns: 6 }],
            tone,
            &text,
            Fit::Wrap,
        );
    }
    if shown.len() > ROWS {
        page.line(4, Tone::Faint, &format!("and {} more", shown.len() - ROWS));
    }
}

fn table(page: &mut Page, names: &[NameSummary]) {
    if names.is_empty() {
        return;
    }
    let row = |cells: [&str; 6], errors: &str| {
        let [name, calls, total, half, most, max] = cells;
        format!("{name:<20} {calls:>7} {total:>10} {half:>9} {most:>9} {max:>9}  {errors}")
    };
    page.row(
        2,
        &[],
        Tone::Strong,
        &row(["call", "calls", "in all", "p50", "p99", "longest"], "errors"),
        Fit::Cut,
    );
    for summary in names.iter().take(ROWS) {
        let of = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), time);
        let errors: Vec<String> = summary
            .errors
            .iter()
            .map(|(error, n)| format!("{} {error}", count(*n)))
            .chain((summary.unfinished > 0).then(|| format!("{} not back", count(summary.unfinished))))
            .collect();
        let took = &summary.took;
        let cells = [
            summary.name.as_str(),
            &count(summary.calls),
            &if took.n > 0 { time(took.total_ns) } else { "-".into() },
            &of(took.p50_ns),
            &of(took.p99_ns),
            &of(took.max_ns),
        ];
        page.row(2, &[], Tone::Plain, &row(cells, &errors.join(", ")), Fit::Cut);
    }
    if names.len() > ROWS {
        page.line(2, Tone::Faint, &format!("and {} more names", names.len() - ROWS));
    }
}

/// A time, as short as it can be told.
pub(super) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", number((ns as f64 / 1e2).round() / 10.0)),
        1_000_000..1_000_000_000 => format!("{} ms", number((ns as f64 / 1e4).round() / 100.0)),
        _ => format!("{} s", number((ns as f64 / 1e7).round() / 100.0)),
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    let _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::burst::{FollowedThread, What};
    use crate::capture::model::{Doing, TargetFacts};
    use crate::report::trace::document;
    use crate::trace::calls::tests::{enter, event, leave, spin, unstopped};

    fn target() -> TargetFacts {
        TargetFacts {
            pid: 7,
            start_time_ticks: 0,
            cmdline: Vec::new(),
            exe: None,
            cgroup: None,
            container_id: None,
            selected_by: String::new(),
        }
    }

    #[test]
    fn the_story_s_second_trace_is_a_line_and_a_descriptor_that_nobody_reads() {
        let mut traced = spin(8_345);
        traced.names.insert(7, "worker \x1b[31m".into());
        let page = text(&document(target(), &[traced], Vec::new()), Style { color: false, ascii: false });
        let expected = "\
worker 7: 16,690 calls in 50 ms
  1 thread made 33,381 stops, 333.8 µs stopped in all, 10 ns at most; it ended because its time was
  over; detached
  thread 7 worker \\x1b[31m: 16,690 calls, 1.67 ms in calls, 6.34 ms between them, 8,345 polls, 900
  ns apart at most
    +0.00 ms   8,345 times: epoll_wait(9) → fd 16 readable; getpid (200 ns in calls each)
  descriptors
    fd 9    epoll set that watches 1 descriptor: 8,345 calls
    fd 16   pipe: 0 calls, ready 8,345 times, never read, written, accepted from or closed
  call                   calls     in all       p50       p99   longest  errors
  epoll_wait             8,345   834.5 µs    100 ns    100 ns    100 ns
  getpid                 8,345   834.5 µs    100 ns    100 ns    100 ns
";
        assert_eq!(page, expected);
    }
    #[test]
    fn without_stops_the_page_says_so_and_what_of_a_call_was_sleep() {
        let within = What::Within { number: 232, args: [9, 0, 64, 5_000, 0, 0] };
        let thread = FollowedThread { tid: 7, doing: Doing::Running, woken: Woken::No };
        let events = vec![
            event(1_000, within),
            event(31_000, What::OnCpu),
            leave(32_000, 1),
            enter(50_000, 39, [0; 6]),
            leave(51_000, 7),
        ];
        let mut traced = unstopped(vec![thread], events);
        traced.burst.lost = 12;
        let page = text(&document(target(), &[traced], Vec::new()), Style { color: false, ascii: false });
        let expected = "\
worker 7: 2 calls in 50 ms
  1 thread followed by perf events: 0 stops, 5 events; it ended because its time was over; 12 events
  had no room and are lost
  thread 7 gunicorn: 2 calls, 32 µs in calls (30 µs off the processor), 18 µs between them, 1 poll
    +0.00 ms   epoll_wait(9, 5,000 ms), begun before = 1  31 µs (30 µs off the processor)
    +0.05 ms   getpid() = 7  1 µs
";
        assert!(page.starts_with(expected), "{page}");
    }
}
