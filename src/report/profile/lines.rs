//! What is told of a recording: the entries that were selected, with their weight in the time that was asked for.
//!
//! All forms are written from these, so that they cannot tell different things.

use crate::capture::model::{Frame, Role};
use crate::capture::profile::{Call, Entry, Process, Profile, Stack, Who};
use crate::capture::syscalls::describe;
use crate::diagnose::times::{Meaning, State};
use crate::report::words::{self, word};

use super::{By, Mode, Selection};

/// What is told.
pub struct Told<'p> {
    /// Where it comes from.
    pub profile: &'p Profile,
    /// What was asked for.
    pub selection: Selection,
    /// The entries in the order of their keys.
    pub lines: Vec<Line<'p>>,
    /// What each entry means.
    meanings: &'p [Meaning],
}

/// An entry that is told.
#[derive(Debug, Clone, Copy)]
pub struct Line<'p> {
    /// What was added up.
    pub entry: &'p Entry,
    /// What its time was.
    pub state: State,
    /// Its time, of the kind that was asked for.
    pub weight_ns: u64,
    /// Its own frames, innermost first.
    own: usize,
}

impl<'p> Told<'p> {
    /// Chooses.
    #[must_use]
    pub fn new(profile: &'p Profile, meanings: &'p [Meaning], selection: Selection) -> Self {
        let mut told = Self { profile, selection, lines: Vec::new(), meanings };
        told.lines = (0..profile.entries.len() as u32).filter_map(|place| told.line(place)).collect();
        told.lines.sort_by_key(|line| line.entry.key);
        told
    }

    /// An entry by its place, if it is told.
    #[must_use]
    pub fn line(&self, place: u32) -> Option<Line<'p>> {
        let entry = self.profile.entries.get(place as usize)?;
        let meaning = self.meanings.get(place as usize)?;
        let told = match self.selection.mode {
            Mode::Wall => self.selection.idle || meaning.state != State::Idle,
            Mode::Cpu => meaning.state == State::Running,
            Mode::Blocked => meaning.state == State::Blocked,
        };
        let weight_ns = if self.selection.mode == Mode::Cpu { entry.cpu_ns } else { entry.wall_ns };
        let line = Line { entry, state: meaning.state, weight_ns, own: meaning.own };
        (told && weight_ns > 0).then_some(line)
    }

    /// All of the time that is told.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(line.weight_ns))
    }

    /// The frames that a line shows, innermost first.
    #[must_use]
    pub fn frames(&self, line: &Line<'p>) -> impl DoubleEndedIterator<Item = (u32, &'p Frame)> + use<'p> {
        let profile = self.profile;
        let stack: &[u32] = match line.entry.key.stack {
            Stack::Kept(id) => profile.stacks.get(id as usize).map_or(&[], |(frames, _)| frames.as_slice()),
            Stack::Missing | Stack::Other => &[],
        };
        let own = stack.get(..line.own).unwrap_or(stack);
        own.iter().filter_map(move |id| Some((*id, profile.frames.get(*id as usize)?)))
    }

    /// What stands in the place of frames that are not there: below all others.
    #[must_use]
    pub fn root(&self, line: &Line<'p>) -> Option<&'static str> {
        match line.entry.key.stack {
            Stack::Missing => Some("[no Python stack]"),
            Stack::Other => Some("[other stacks]"),
            Stack::Kept(id) => {
                let whole = self.profile.stacks.get(id as usize).is_none_or(|(_, whole)| *whole);
                (!whole).then_some("[cut off]")
            }
        }
    }

    /// What a line was in, to stand above its frames; nothing for one that ran.
    #[must_use]
    pub fn leaf(&self, line: &Line<'p>) -> Option<String> {
        let call = self.call(line)?;
        Some(if line.state == State::Idle { format!("[idle: {call}]") } else { format!("[{call}]") })
    }

    /// The same without brackets.
    #[must_use]
    pub fn call(&self, line: &Line<'p>) -> Option<String> {
        let named = |number: i64| {
            let call = describe(&self.profile.header.arch, number);
            call.map_or_else(|| format!("call {number}"), |call| call.name.to_owned())
        };
        Some(match line.entry.key.call {
            Call::Running => return None,
            Call::Syscall(number) => named(number),
            Call::Gil => "waits for the GIL".into(),
            Call::Disk(Some(number)) => format!("disk: {}", named(number)),
            Call::Disk(None) => "disk".into(),
            Call::Stopped => "stopped".into(),
            Call::Unknown => "asleep".into(),
            Call::Parked => "parked".into(),
            Call::Ready => "ready".into(),
        })
    }

    /// What stands below a line's frames so that it is told apart.
    #[must_use]
    pub fn origin(&self, line: &Line<'p>) -> Vec<String> {
        let key = &line.entry.key;
        match self.selection.by {
            By::Server => Vec::new(),
            By::Worker => vec![self.process_name(key.pid)],
            By::Thread => vec![self.process_name(key.pid), self.who(key.who)],
        }
    }

    /// A process as a viewer names it.
    #[must_use]
    pub fn process_name(&self, pid: i32) -> String {
        let Some(process) = self.process(pid) else { return format!("process {pid}") };
        let facts = &process.facts;
        let role = match facts.role {
            Role::Arbiter => "arbiter",
            Role::Worker => "worker",
            Role::Process => "process",
        };
        let class = facts.worker_class.map_or_else(String::new, |class| format!(" ({})", word(&class)));
        format!("{role} {pid}{class}")
    }

    /// The process of a pid.
    #[must_use]
    pub fn process(&self, pid: i32) -> Option<&'p Process> {
        self.profile.processes.iter().rev().find(|process| process.facts.pid == pid)
    }

    /// A thread as a viewer names it, and what stands for parked ones.
    #[must_use]
    pub fn who(&self, who: Who) -> String {
        match who {
            Who::Greenlets => "greenlets".into(),
            Who::Tasks => "tasks".into(),
            Who::Thread(0) => "threads that ended".into(),
            Who::Thread(tid) => match self.profile.thread_names.get(&tid) {
                Some(name) => format!("{} ({tid})", words::name(name)),
                None => format!("thread {tid}"),
            },
        }
    }

    /// The server and the time that is told, in a few words.
    #[must_use]
    pub fn title(&self) -> String {
        let server = self.profile.header.server.as_ref();
        let kind = server.map_or_else(|| "process".into(), |server| word(&server.kind));
        let version = server.and_then(|server| server.version.as_deref()).map(words::name);
        let class = server.and_then(|server| server.worker_class).map(|class| word(&class));
        let parts: Vec<String> = [Some(kind), version].into_iter().flatten().collect();
        let name = [Some(parts.join(" ")), class].into_iter().flatten().collect::<Vec<_>>().join(", ");
        format!("{name}: {}", self.kind())
    }

    /// Which time it is.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.selection.mode {
            Mode::Wall => "wall time",
            Mode::Cpu => "time on a processor",
            Mode::Blocked => "blocked time",
        }
    }
}

/// A frame as the forms name it that have a single text for it.
#[must_use]
pub fn frame_name(frame: &Frame) -> String {
    let (function, file) = (words::name(&frame.function), words::name(short_file(&frame.file)));
    match frame.line {
        0 => format!("{function} ({file})"),
        line => format!("{function} ({file}:{line})"),
    }
}

/// A file without the folder that its library is installed in.
fn short_file(file: &str) -> &str {
    let installed = ["/site-packages/", "/dist-packages/"];
    if let Some(at) = installed.iter().filter_map(|part| Some(file.rfind(part)? + part.len())).max() {
        return file.get(at..).unwrap_or(file);
    }
    // The standard library: behind `lib/python3.11/`.
    let behind = file.rsplit_once("/lib/python").and_then(|(_, behind)| behind.split_once('/'));
    match behind {
        Some((version, rest)) if version.chars().all(|c| c.is_ascii_digit() || c == '.' || c == 't') => rest,
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_where_their_library_is() {
        for (file, short) in [
            ("/srv/venv/lib/python3.11/site-packages/gevent/hub.py", "gevent/hub.py"),
            ("/usr/lib/python3/dist-packages/yaml/nodes.py", "yaml/nodes.py"),
            ("/usr/lib/python3.13/threading.py", "threading.py"),
            ("/opt/lib/python3.13t/json/decoder.py", "json/decoder.py"),
            ("/srv/lib/pythonic/app.py", "/srv/lib/pythonic/app.py"),
            ("/srv/app.py", "/srv/app.py"),
            ("<string>", "<string>"),
        ] {
            assert_eq!(short_file(file), short);
        }
    }
}
