//! The trace event format of Chrome, which Perfetto reads: a track for each thread, its frames as nested slices, above
//! them what it was in.
//!
//! Frames that a look has in common with the one before are one slice. Parked greenlets and tasks are on no thread and
//! have no track.

use std::fmt::Write as _;

use foldhash::HashMap;

use super::lines::{Line, Told};
use crate::capture::profile::Slice;
use crate::diagnose::times::State;
use crate::report::words;

/// Most slices that are written; more make no viewer happy. The newest are.
const MAX_EVENTS: usize = 1_500_000;

/// A slice: what it is, since when, until when where it has ended, inside how many others.
struct Shown {
    what: What,
    from_ns: u64,
    to_ns: u64,
    depth: usize,
}

/// What a slice shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// A frame, by its number.
    Frame(u32),
    /// What stands in the place of frames.
    Root(&'static str),
    /// What it was in, by its entry.
    Leaf(u32),
}

/// Writes events one behind the other.
struct Writer<'t, 'p> {
    told: &'t Told<'p>,
    text: String,
    /// Names as JSON, by frame.
    names: HashMap<u32, String>,
}

/// Writes it.
pub(super) fn render(told: &Told<'_>) -> Vec<u8> {
    let mut writer = Writer { told, text: String::new(), names: HashMap::default() };
    let slices = told.profile.timeline.sorted();
    let begins_ns = first_told(told, &slices).max(told.profile.timeline.begins_ns());
    let about = serde_json::json!({
        "tool": format!("stallscope {}", told.profile.header.tool_version),
        "title": told.title(),
        "started_realtime_ns": told.profile.header.started_realtime_ns,
        "begins_ns": begins_ns,
    });
    let _ = write!(writer.text, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{about},\"traceEvents\":[");
    let mut named = Vec::new();
    // A number that another process has taken over is another thread.
    let pid = |slice: &Slice| told.profile.entries.get(slice.entry as usize).map(|entry| entry.key.pid);
    for of_thread in slices.chunk_by(|a, b| a.tid == b.tid && pid(a) == pid(b)) {
        writer.thread(of_thread, begins_ns, &mut named);
    }
    // Parked greenlets alone have no track. Every event ends in a comma, the last one in none.
    if named.is_empty() {
        return Vec::new();
    }
    writer.text.truncate(writer.text.len() - 2);
    writer.text.push_str("]}\n");
    writer.text.into_bytes()
}

/// The time from which on slices are told, so that they are not too many.
fn first_told(told: &Told<'_>, slices: &[Slice]) -> u64 {
    let mut ends: Vec<(u64, usize)> = slices
        .iter()
        .filter_map(|slice| {
            let line = told.line(slice.entry)?;
            Some((slice.to_ns, told.frames(&line).count() + 2))
        })
        .collect();
    ends.sort_unstable();
    let mut events = 0;
    for (to_ns, more) in ends.into_iter().rev() {
        events += more;
        if events > MAX_EVENTS {
            return to_ns;
        }
    }
    0
}

impl<'p> Writer<'_, 'p> {
    /// The track of a thread. `named` are the processes that bear their names already.
    fn thread(&mut self, slices: &[Slice], begins_ns: u64, named: &mut Vec<i32>) {
        let (mut open, mut ended): (Vec<Shown>, Vec<Shown>) = (Vec::new(), Vec::new());
        let mut until_ns = 0;
        let mut track = None;
        for slice in slices.iter().filter(|slice| slice.to_ns > begins_ns) {
            let Some(line) = self.told.line(slice.entry) else { continue };
            let key = line.entry.key;
            track.get_or_insert((key.pid, slice.tid));
            // Neighbours share their bound; what is measured apart must not overlap.
            let from_ns = slice.from_ns.max(until_ns);
            if slice.to_ns <= from_ns {
                continue;
            }
            let whats = self.whats(&line, slice.entry);
            let same = if from_ns == until_ns {
                open.iter().zip(&whats).take_while(|(open, what)| open.what == **what).count()
            } else {
                0
            };
            ended.extend(open.drain(same..).map(|shown| Shown { to_ns: until_ns, ..shown }));
            let begun = whats.into_iter().enumerate().skip(same);
            open.extend(begun.map(|(depth, what)| Shown { what, from_ns, to_ns: 0, depth }));
            until_ns = slice.to_ns;
        }
        let Some((pid, tid)) = track else { return };
        ended.extend(open.into_iter().map(|shown| Shown { to_ns: until_ns, ..shown }));
        // Of two that begin together the outer one comes first: that is how viewers know it.
        ended.sort_by_key(|shown| (shown.from_ns, shown.depth));
        for shown in &ended {
            self.slice(shown, (pid, tid));
        }
        if !named.contains(&pid) {
            named.push(pid);
            self.name("process_name", pid, pid, &self.told.process_name(pid));
        }
        let who = self.told.who(crate::capture::profile::Who::Thread(tid));
        self.name("thread_name", pid, tid, &who);
    }

    /// What a line shows, outermost first.
    fn whats(&self, line: &Line<'p>, entry: u32) -> Vec<What> {
        // Who waits for work shows nothing but that.
        if line.state == State::Idle {
            return vec![What::Leaf(entry)];
        }
        let mut whats: Vec<What> = self.told.root(line).map(What::Root).into_iter().collect();
        whats.extend(self.told.frames(line).rev().map(|(id, _)| What::Frame(id)));
        whats.push(What::Leaf(entry));
        whats
    }

    fn slice(&mut self, slice: &Shown, (pid, tid): (i32, i32)) {
        let name = match slice.what {
            What::Frame(id) => self.frame_name(id),
            What::Root(root) => quoted(root),
            What::Leaf(entry) => self.leaf(entry),
        };
        let (from_ns, lasted_ns) = (slice.from_ns, slice.to_ns.saturating_sub(slice.from_ns));
        let _ = writeln!(
            self.text,
            "{{\"ph\":\"X\",\"pid\":{pid},\"tid\":{tid},\"ts\":{},\"dur\":{},\"name\":{name}}},",
            micros(from_ns),
            micros(lasted_ns)
        );
    }

    /// The name of a frame, and where it is, as the rest of an event.
    fn frame_name(&mut self, id: u32) -> String {
        let told = self.told;
        let known = self.names.entry(id).or_insert_with(|| {
            let Some(frame) = told.profile.frames.get(id as usize) else { return quoted("?") };
            let (function, file) = (quoted(&words::name(&frame.function)), quoted(&words::name(&frame.file)));
            format!("{function},\"cat\":\"python\",\"args\":{{\"file\":{file},\"line\":{}}}", frame.line)
        });
        known.clone()
    }

    /// What a thread was in: its state is the colour, the call the name.
    fn leaf(&self, entry: u32) -> String {
        let Some(line) = self.told.line(entry) else { return quoted("?") };
        let (state, colour) = match line.state {
            State::Running => ("running", "thread_state_running"),
            State::Blocked => ("blocked", "terrible"),
            State::Idle => ("idle", "thread_state_sleeping"),
            State::Parked => ("parked", "thread_state_sleeping"),
        };
        let call = self.told.call(&line);
        let name = call.as_ref().map_or_else(|| state.to_owned(), |call| format!("{state}: {call}"));
        let call = call.map_or_else(|| "null".into(), |call| quoted(&call));
        format!(
            "{},\"cat\":\"state\",\"cname\":\"{colour}\",\"args\":{{\"state\":\"{state}\",\"in\":{call}}}",
            quoted(&name)
        )
    }

    fn name(&mut self, what: &str, pid: i32, tid: i32, name: &str) {
        let _ = writeln!(
            self.text,
            "{{\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{pid},\"tid\":{tid},\"args\":{{\"name\":{}}}}},",
            quoted(name)
        );
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Nanoseconds as the microseconds of the format, without loss.
fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000, ns % 1_000)
}
