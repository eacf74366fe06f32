//! Every stack now, as a page for people.
//!
//! Takes the document of [`super::dump`], gives text. Pure.

use std::collections::{HashMap, HashSet};

use super::dump::{
    DumpDocument, DumpException, DumpFrame, DumpGreenlet, DumpNative, DumpTask, DumpThread, Rejected,
};
use super::page::Page;
use super::sanitize::{Charset, escape};
use super::style::{Style, Tone};
use super::trace_text::time;
use super::word;
use super::words::{name, plural};
use crate::capture::dump::MAX_VALUE;
use crate::capture::dump::{Gil, GreenletState, NativeState, Stopped};

/// Most Python frames of one stack on a page, and most of all kinds; the document has all.
const FRAMES: usize = 40;
const ALL_FRAMES: usize = 200;

/// The document for people.
#[must_use]
pub fn text(document: &DumpDocument, style: Style) -> String {
    let mut page = Page::new(style);
    for (number, process) in document.processes.iter().enumerate() {
        if number > 0 {
            page.gap();
        }
        let python = process.python.as_ref().map_or_else(
            || "no Python that can be read".to_owned(),
            |python| format!("{} {}", python.implementation, python.version),
        );
        let tids: HashSet<i32> = process.threads.iter().map(|t| t.tid).collect();
        let greenlets: u64 = process.greenlets.iter().map(|g| g.count).sum();
        let tasks: u64 = process.asyncio_tasks.iter().map(|t| t.count).sum();
        let counts = [
            Some(format!("{} threads", tids.len())),
            (greenlets > 0).then(|| format!("{greenlets} greenlets")),
            (tasks > 0).then(|| format!("{tasks} asyncio tasks")),
        ];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let title = format!("{} {}, {python}: {}", word(&process.role), process.pid, counts.join(", "));
        page.line(0, Tone::Strong, &title);
        if process.gc_collecting == Some(true) {
            page.line(2, Tone::Plain, "its garbage collector is running");
        }
        if let Some(stopped) = &process.burst {
            stopped_text(&mut page, stopped);
        }
        for threads in at_one_place(&process.threads) {
            threads_text(&mut page, &threads);
        }
        for greenlet in &process.greenlets {
            greenlet_text(&mut page, greenlet);
        }
        for task in &process.asyncio_tasks {
            task_text(&mut page, task);
        }
        let Rejected { torn, unreadable } = process.rejected;
        if torn + unreadable > 0 {
            let text = format!(
                "not shown: {torn} that changed while they were read, {unreadable} that could not be read"
            );
            page.line(2, Tone::Faint, &text);
        }
    }
    page.not_seen(&document.blind_spots);
    page.finish()
}

/// Threads that share a stack together, where nothing but Python's frames is known of them.
fn at_one_place(threads: &[DumpThread]) -> Vec<Vec<&DumpThread>> {
    let mut groups: Vec<Vec<&DumpThread>> = Vec::new();
    let mut known: HashMap<*const DumpFrame, usize> = HashMap::new();
    for thread in threads {
        let shared = thread.native.is_none() && !thread.frames.is_empty();
        let alone = groups.len();
        let place = if shared { *known.entry(thread.frames.as_ptr()).or_insert(alone) } else { alone };
        match groups.get_mut(place) {
            Some(group) => group.push(thread),
            None => groups.push(vec![thread]),
        }
    }
    groups
}

fn threads_text(page: &mut Page, threads: &[&DumpThread]) {
    for thread in threads {
        heading(page, thread);
    }
    let Some(thread) = threads.first() else { return };
    frames_text(page, &thread.frames);
    native_text(page, thread.native.as_ref());
}

fn heading(page: &mut Page, thread: &DumpThread) {
    let daemon = if thread.daemon == Some(true) { " (daemon)" } else { "" };
    let mut facts = vec![format!("thread {} {}{daemon}", thread.tid, name(&thread.name))];
    let inner = thread.interpreter.filter(|id| *id != 0);
    facts.extend(inner.map(|id| format!("interpreter {id}")));
    facts.push(format!("state {}", thread.state));
    match thread.gil {
        Some(Gil::Holds) => facts.push("holds the GIL".into()),
        Some(Gil::Waits) => facts.push("waits for the GIL".into()),
        Some(Gil::None) | None => {}
    }
    facts.extend(thread.sleeping_in.as_ref().map(|call| format!("sleeps in {call}")));
    if let Some(DumpException { raising, handling }) = &thread.exception {
        facts.extend(raising.as_ref().map(|kind| format!("raising {}", name(kind))));
        facts.extend(handling.as_ref().map(|kind| format!("handling {}", name(kind))));
    }
    page.line(2, Tone::Strong, &facts.join(", "));
}

/// What became of a native stack, unless it stands among the frames.
fn native_text(page: &mut Page, native: Option<&DumpNative>) {
    let Some(native) = native else { return };
    let said = match native.state {
        NativeState::Merged => return,
        NativeState::Incomplete => "further out, native frames are not known",
        NativeState::Apart => "the native stack could not be joined with that of Python",
        NativeState::Running | NativeState::Moved | NativeState::Unreadable => "no native frames",
    };
    let why = native.why.as_ref().map_or_else(String::new, |why| format!(": {}", name(why)));
    page.line(4, Tone::Faint, &format!("{said}{why}"));
    frames_text(page, &native.frames);
}

/// What was done to threads that run.
fn stopped_text(page: &mut Page, stopped: &Stopped) {
    let mut parts = vec![format!("threads that run were stopped {}", plural(stopped.stops, "time"))];
    if stopped.stops > 0 {
        parts.push(format!("{} at most", time(stopped.stopped_ns_max)));
    }
    if stopped.interrupted > 0 {
        parts.push(format!("{} had just fallen asleep and got EINTR", plural(stopped.interrupted, "thread")));
    }
    parts.push(if stopped.detached { "detached".into() } else { "NOT detached".into() });
    let tone = if stopped.detached { Tone::Faint } else { Tone::Critical };
    page.line(2, tone, &parts.join(", "));
}

fn greenlet_text(page: &mut Page, greenlet: &DumpGreenlet) {
    let mut facts =
        vec![format!("{} {} {}", times(greenlet.count), word(&greenlet.state), name(&greenlet.kind))];
    facts.extend(greenlet.callable.as_ref().map(|callable| format!("runs {}", name(callable))));
    facts.extend(greenlet.thread.map(|tid| format!("thread {tid}")));
    facts.extend(greenlet.last_turn_ms.map(|ms| format!("its loop turned {ms} ms ago")));
    page.line(2, Tone::Strong, &facts.join(", "));
    // Those of a running one stand with its thread.
    if greenlet.state != GreenletState::Running {
        frames_text(page, &greenlet.frames);
        native_text(page, greenlet.native.as_ref());
    }
    if let Some(frame) = greenlet.spawned_at.first() {
        page.line(4, Tone::Faint, &format!("spawned by {}", place(frame)));
    }
}

fn task_text(page: &mut Page, task: &DumpTask) {
    let mut facts = vec![format!("{} {} task {}", times(task.count), word(&task.state), name(&task.name))];
    facts.extend(task.waits_for.as_ref().map(|what| format!("waits for {}", name(what))));
    if !task.awaited_by.is_empty() {
        let by: Vec<String> = task.awaited_by.iter().take(4).map(|n| name(n)).collect();
        facts.push(format!("awaited by {}", by.join(", ")));
    }
    page.line(2, Tone::Strong, &facts.join(", "));
    frames_text(page, &task.frames);
}

fn times(count: u64) -> String {
    format!("{count} x")
}

/// A frame on a line of its own. What stands before a package's own folders says nothing here; the document has it.
fn place(frame: &DumpFrame) -> String {
    match (frame.kind.as_str(), &frame.library) {
        ("kernel", _) => return format!("{}  kernel", name(&frame.function)),
        // The program or library says more than the folder in which somebody compiled it.
        ("native", Some(library)) => {
            let last = |path: &str| name(path.rsplit('/').next().unwrap_or_default());
            let source =
                if frame.line > 0 { format!(" {}:{}", last(&frame.file), frame.line) } else { String::new() };
            return format!("{}  {}{source}", name(&frame.function), last(library));
        }
        _ => {}
    }
    let file = ["/site-packages/", "/dist-packages/"]
        .iter()
        .find_map(|folder| frame.file.rsplit_once(folder))
        .map_or(frame.file.as_str(), |(_, inside)| inside);
    format!("{}  {}:{}", name(&frame.function), name(file), frame.line)
}

fn frames_text(page: &mut Page, frames: &[DumpFrame]) {
    let mut python = 0;
    for (number, frame) in frames.iter().enumerate() {
        let own = frame.kind == "python";
        python += usize::from(own);
        if python > FRAMES || number >= ALL_FRAMES {
            page.line(4, Tone::Faint, &format!("and {} frames further out", frames.len() - number));
            break;
        }
        page.line(4, if own { Tone::Plain } else { Tone::Faint }, &place(frame));
        for variable in frame.locals.iter().flatten() {
            page.line(8, Tone::Faint, &format!("{} = {}", name(&variable.name), value(&variable.value)));
        }
    }
}

/// A value is as long as one may be, unless its characters are made visible.
fn value(text: &str) -> String {
    escape(text, Charset::Unicode, 2 * MAX_VALUE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capture::dump::Variable;
    use crate::capture::dump::{About, NativeDump, ProcessDump, ThreadDump};
    use crate::capture::model::{Frame, Role, TargetFacts};
    use crate::native::merge::Place;
    use crate::native::stacks::NativeFrame;
    use crate::report::dump::document;

    fn thread(about: About, gil: Gil) -> ThreadDump {
        let variable = Variable { name: "n".into(), value: "'a\u{202e}b'".into() };
        ThreadDump {
            tid: 7,
            ns_tid: 7,
            comm: "gunicorn".into(),
            about,
            state: 'S',
            gil: Some(gil),
            sleeping_in: Some("futex".into()),
            frames: [Frame { function: "work".into(), file: "/app.py".into(), line: 3 }].into(),
            locals: Some(vec![vec![variable]]),
            native: None,
        }
    }

    #[test]
    fn native_and_kernel_frames_stand_where_they_belong() {
        let native = |function: Option<&str>, source: Option<(&str, u32)>| NativeFrame {
            function: function.map(str::to_owned),
            library: Some("/lib/libc.so.6".into()),
            offset: 0x1f,
            source: source.map(|(file, line)| (file.into(), line)),
        };
        let dump = NativeDump {
            state: NativeState::Incomplete,
            why: Some("the stack goes on outside \x1b".into()),
            kernel: vec!["do_sys_poll".into()],
            frames: vec![native(Some("poll"), Some(("../io/poll.c", 29))), native(None, None)],
            places: vec![Place::Native(0), Place::Python(0), Place::Native(1)],
        };
        let thread = ThreadDump { native: Some(dump.clone()), ..thread(About::default(), Gil::None) };
        let merged = page(thread.clone());
        let expected = "\
    do_sys_poll  kernel
    poll  libc.so.6 poll.c:29
    work  /app.py:3
        n = 'a\\u{202e}b'
    libc.so.6+0x1f  libc.so.6
    further out, native frames are not known: the stack goes on outside \\x1b
";
        assert!(merged.ends_with(expected), "{merged}");
        let dump = NativeDump { state: NativeState::Apart, places: Vec::new(), ..dump };
        let apart = page(ThreadDump { native: Some(dump), ..thread });
        let expected = "\
    do_sys_poll  kernel
    work  /app.py:3
        n = 'a\\u{202e}b'
    the native stack could not be joined with that of Python: the stack goes on outside \\x1b
    poll  libc.so.6 poll.c:29
    libc.so.6+0x1f  libc.so.6
";
        assert!(apart.ends_with(expected), "{apart}");
    }

    fn process() -> ProcessDump {
        ProcessDump {
            pid: 7,
            role: Role::Process,
            python: None,
            collecting: None,
            found_by: None,
            threads: Vec::new(),
            greenlets: Vec::new(),
            tasks: Vec::new(),
            torn: 0,
            unreadable: 0,
            blind: Vec::new(),
            denied: false,
            stopped: None,
        }
    }

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

    fn page(thread: ThreadDump) -> String {
        let process = ProcessDump { threads: vec![thread], ..process() };
        text(&document(target(), &[process]), Style { color: false, ascii: false })
    }

    #[test]
    fn threads_at_one_place_are_told_together() {
        let pool = ThreadDump { locals: None, ..thread(About::default(), Gil::None) };
        let other = ThreadDump { frames: Arc::new([]), ..pool.clone() };
        let threads = vec![pool.clone(), other, ThreadDump { tid: 9, ..pool }];
        let document = document(target(), &[ProcessDump { threads, ..process() }]);
        let page = text(&document, Style { color: false, ascii: false });
        let expected = "\
process 7, no Python that can be read: 2 threads
  thread 7 gunicorn, state S, sleeps in futex
  thread 9 gunicorn, state S, sleeps in futex
    work  /app.py:3
  thread 7 gunicorn, state S, sleeps in futex
";
        assert_eq!(page, expected);
    }

    #[test]
    fn a_thread_s_heading_says_who_it_is_and_what_it_is_at() {
        let inner = About {
            interpreter: Some(1),
            name: Some("worker \x1b[31m".into()),
            daemon: Some(true),
            raising: None,
            handling: Some("KeyError".into()),
        };
        let outer = About { interpreter: Some(0), daemon: Some(false), ..About::default() };
        let process = ProcessDump {
            collecting: Some(true),
            threads: vec![thread(inner, Gil::Waits), thread(outer, Gil::None)],
            ..process()
        };
        let document = document(target(), &[process]);
        let page = text(&document, Style { color: false, ascii: false });
        let expected = "\
process 7, no Python that can be read: 1 threads
  its garbage collector is running
  thread 7 worker \\x1b[31m (daemon), interpreter 1, state S, waits for the GIL, sleeps in futex,
  handling KeyError
    work  /app.py:3
        n = 'a\\u{202e}b'
  thread 7 gunicorn, state S, sleeps in futex
    work  /app.py:3
        n = 'a\\u{202e}b'
";
        assert_eq!(page, expected);
    }
}
