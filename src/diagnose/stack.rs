//! What a Python stack says about its thread: the loop itself, a request, a free pool thread, an import.
//!
//! Takes frames, gives a [`Place`] and, over many stacks, the path they share. Pure.

use foldhash::{HashMap, HashSet};

use super::known;
use crate::capture::model::Frame;

/// Where a thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The loop itself: its poller or its own book-keeping.
    Loop,
    /// Something the loop called, or a greenlet.
    Callback,
    /// A pool thread that waits for work.
    FreeSlot,
    /// A pool thread at work.
    BusySlot,
    /// Loading the application.
    Boot,
    /// The supervisor's own loop.
    Arbiter,
    /// None of these.
    Other,
}

/// Functions of the application that are loops: they call the standard library's selector themselves.
#[derive(Debug, Default)]
pub struct Roots<'f>(HashSet<(&'f str, &'f str)>);

impl<'f> Roots<'f> {
    /// Finds them among all stacks. A library that polls on behalf of a call (a subprocess, a connection) is none.
    #[must_use]
    pub fn find<'s>(stacks: impl Iterator<Item = &'s [&'f Frame]>) -> Self
    where
        'f: 's,
    {
        let caller = |frames: &[&'f Frame]| {
            let (first, second) = (frames.first()?, frames.get(1)?);
            let polls = known::in_table(known::SELECTORS, &first.file, &first.function);
            (polls && is_application(second)).then_some((second.file.as_str(), second.function.as_str()))
        };
        Self(stacks.filter_map(caller).collect())
    }

    fn holds(&self, frame: &Frame) -> bool {
        self.0.contains(&(frame.file.as_str(), frame.function.as_str()))
    }
}

/// A stack that has been looked at once.
#[derive(Debug, Clone)]
pub struct Stack<'a> {
    /// Frames, innermost first.
    pub frames: Vec<&'a Frame>,
    /// Where it stands.
    pub place: Place,
    /// Frames above the loop or the pool's root: what the request did. All of them when there is no such root.
    pub above: usize,
}

impl<'a> Stack<'a> {
    /// Looks at a stack by itself.
    #[must_use]
    pub fn new(frames: Vec<&'a Frame>) -> Self {
        Self::with_roots(frames, &Roots::default())
    }

    /// Looks at all stacks of a capture or recording: together they show the loops that the application has written itself.
    #[must_use]
    pub fn all(stacks: Vec<Vec<&'a Frame>>) -> Vec<Self> {
        let roots = Roots::find(stacks.iter().map(Vec::as_slice));
        stacks.into_iter().map(|frames| Self::with_roots(frames, &roots)).collect()
    }

    /// Looks at a stack; `roots` are the loops that the application has written itself.
    #[must_use]
    pub fn with_roots(frames: Vec<&'a Frame>, roots: &Roots<'_>) -> Self {
        let is = |table, f: &Frame| known::in_table(table, &f.file, &f.function);
        let root = frames.iter().position(|f| is(known::LOOP_ROOTS, f) || roots.holds(f));
        let pool = frames.iter().position(|f| is(known::POOL_ROOTS, f));
        let boot = frames.iter().any(|f| is(known::BOOT, f));
        let (place, above) = match (root, pool) {
            (Some(root), pool) if pool.is_none_or(|pool| root < pool) => {
                let turning = frames.iter().take(root).all(|f| is(known::MACHINERY, f));
                (if turning { Place::Loop } else { Place::Callback }, root)
            }
            (_, Some(pool)) => {
                let waiting = frames.iter().take(pool).all(|f| is(known::POOL_WAITS, f));
                (if waiting { Place::FreeSlot } else { Place::BusySlot }, pool)
            }
            _ if boot => (Place::Boot, frames.len()),
            _ if frames.first().is_some_and(|f| is(known::ARBITER, f)) => (Place::Arbiter, 0),
            _ if frames.iter().any(|f| is(known::ARBITER, f)) && !is_worker(&frames) => (Place::Arbiter, 0),
            _ if frames.is_empty() => (Place::Other, 0),
            _ => (Place::Callback, frames.len()),
        };
        Self { frames, place, above }
    }

    /// Whether any frame is in a table.
    #[must_use]
    pub fn has(&self, table: &[known::Row]) -> bool {
        self.frames.iter().take(self.above).any(|f| known::in_table(table, &f.file, &f.function))
    }

    /// Whether it gives way to the loop: what goes on above the yield is the loop's own book-keeping.
    #[must_use]
    pub fn yields(&self) -> bool {
        let is = |table, f: &Frame| known::in_table(table, &f.file, &f.function);
        let frames = self.frames.iter().take(self.above);
        frames
            .map_while(|f| (is(known::YIELDS, f) || is(known::MACHINERY, f)).then(|| is(known::YIELDS, f)))
            .any(|yields| yields)
    }

    /// Whether the innermost frame is in a table.
    #[must_use]
    pub fn innermost_in(&self, table: &[known::Row]) -> bool {
        self.frames.first().is_some_and(|f| known::in_table(table, &f.file, &f.function))
    }
}

fn is_worker(frames: &[&Frame]) -> bool {
    frames.iter().any(|f| f.file.contains("gunicorn/workers/") || f.file.contains("uvicorn/workers"))
}

/// Whether a frame belongs to the application and not to an installed library.
#[must_use]
pub fn is_application(frame: &Frame) -> bool {
    // Code without a file was made at run time, by a library on behalf of its caller.
    !frame.file.starts_with('<') && !known::LIBRARY_PATHS.iter().any(|part| frame.file.contains(part))
}

/// The path from the root outwards that at least `share` of the stacks have in common (by function and file), outermost
/// first, each frame with its most frequent line.
///
/// Only the frames above the loop's root count: what is below is the same for every request.
#[must_use]
pub fn common_path(stacks: &[(&Stack<'_>, u64)], share: f64) -> Vec<Frame> {
    let total: u64 = stacks.iter().map(|(_, weight)| weight).sum();
    let need = (total as f64 * share).ceil().max(1.0) as u64;
    let mut remaining: Vec<(&[&Frame], u64)> =
        stacks.iter().map(|(s, weight)| (s.frames.get(..s.above).unwrap_or_default(), *weight)).collect();
    let mut path = Vec::new();
    loop {
        let mut votes: HashMap<(&str, &str), u64> = HashMap::default();
        for (frames, weight) in &remaining {
            if let Some(frame) = frames.last() {
                *votes.entry((&frame.file, &frame.function)).or_default() += weight;
            }
        }
        // Ties are broken by name, so that the same capture gives the same answer.
        let Some((&(file, function), &count)) = votes.iter().max_by_key(|(key, count)| (**count, **key))
        else {
            return path;
        };
        if count < need {
            return path;
        }
        remaining
            .retain(|(frames, _)| frames.last().is_some_and(|f| f.file == file && f.function == function));
        let line =
            modal_line(remaining.iter().filter_map(|(frames, weight)| Some((frames.last()?.line, *weight))));
        path.push(Frame { function: function.to_owned(), file: file.to_owned(), line });
        for (frames, _) in &mut remaining {
            *frames = frames.split_last().map_or(&[][..], |(_, rest)| rest);
        }
    }
}

fn modal_line(lines: impl Iterator<Item = (u32, u64)>) -> u32 {
    let mut votes: HashMap<u32, u64> = HashMap::default();
    for (line, weight) in lines {
        *votes.entry(line).or_default() += weight;
    }
    votes
        .into_iter()
        .max_by_key(|(line, count)| (*count, std::cmp::Reverse(*line)))
        .map_or(0, |(line, _)| line)
}

/// The frame to name: the innermost one of the application on a path (outermost first), else the innermost of all. An
/// expression without a name of its own is named by the function around it.
#[must_use]
pub fn culprit(path: &[Frame]) -> Option<&Frame> {
    let anonymous = |f: &Frame| known::plain_name(&f.function).starts_with('<');
    let mine: Vec<&Frame> = path.iter().rev().filter(|f| is_application(f)).collect();
    let named = mine.windows(2).find(|w| !(anonymous(w[0]) && w[0].file == w[1].file)).map(|w| w[0]);
    named.or(mine.last().copied()).or(path.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str, line: u32) -> Frame {
        Frame { function: function.into(), file: file.into(), line }
    }

    fn place(frames: &[Frame]) -> Place {
        Stack::new(frames.iter().collect()).place
    }

    #[test]
    fn who_is_about_to_sleep_gives_way() {
        let yields = |frames: &[Frame]| Stack::new(frames.iter().collect()).yields();
        let handler = frame("poll", "/srv/app.py", 7);
        let sleep = frame("sleep", "/s/eventlet/greenthread.py", 43);
        let schedule = frame("BaseHub.schedule_call_global", "/s/eventlet/hubs/hub.py", 448);
        let timer = frame("Timer.__init__", "/s/eventlet/hubs/timer.py", 30);
        assert!(yields(&[sleep.clone(), handler.clone()]));
        assert!(yields(&[timer, schedule.clone(), sleep.clone(), handler.clone()]));
        // Book-keeping on behalf of a request is no yield, nor is a callback that the loop's book-keeping has called.
        assert!(!yields(&[schedule, handler.clone()]));
        assert!(!yields(&[handler.clone(), sleep]));
        assert!(!yields(&[handler]));
    }

    #[test]
    fn a_hub_alone_is_the_loop() {
        assert_eq!(place(&[frame("Hub.run", "/s/gevent/hub.py", 647)]), Place::Loop);
    }

    #[test]
    fn a_select_inside_a_subprocess_call_on_the_loop_is_not_the_loop() {
        let stack = [
            frame("select", "/usr/lib/python3.11/selectors.py", 415),
            frame("_communicate", "/usr/lib/python3.11/subprocess.py", 2021),
            frame("view", "/app/views.py", 7),
            frame("_run_once", "/usr/lib/python3.11/asyncio/base_events.py", 1922),
        ];
        assert_eq!(place(&stack), Place::Callback);
    }

    #[test]
    fn a_pool_thread_is_free_or_busy() {
        let root = frame("_worker", "/usr/lib/python3.11/concurrent/futures/thread.py", 81);
        assert_eq!(place(std::slice::from_ref(&root)), Place::FreeSlot);
        assert_eq!(place(&[frame("view", "/app/a.py", 1), root]), Place::BusySlot);
    }

    #[test]
    fn a_sync_worker_in_a_request_is_a_callback() {
        let stack = [
            frame("view", "/app/a.py", 9),
            frame("handle", "/s/gunicorn/workers/sync.py", 135),
            frame("accept", "/s/gunicorn/workers/sync.py", 30),
            frame("run_for_one", "/s/gunicorn/workers/sync.py", 69),
        ];
        assert_eq!(place(&stack), Place::Callback);
        assert_eq!(place(&stack[2..]), Place::Loop);
    }

    #[test]
    fn a_loop_that_an_application_has_written_itself_is_found() {
        let select = frame("DefaultSelector.select", "/usr/lib/python3.11/selectors.py", 1);
        let own = frame("serve", "/app/server.py", 3);
        let callback = [frame("answer", "/app/server.py", 9), own.clone()];
        let polling = [&select, &own];
        let roots = Roots::find(std::iter::once(&polling[..]));
        let place = |frames: &[&Frame]| Stack::with_roots(frames.to_vec(), &roots).place;
        assert_eq!(place(&polling), Place::Loop);
        assert_eq!(place(&[&own]), Place::Loop);
        assert_eq!(place(&callback.iter().collect::<Vec<_>>()), Place::Callback);
        let library = frame("_communicate", "/usr/lib/python3.11/subprocess.py", 5);
        let none = Roots::find(std::iter::once(&[&select, &library][..]));
        assert_eq!(Stack::with_roots(vec![&select, &library], &none).place, Place::Callback);
    }

    #[test]
    fn the_common_path_ends_where_stacks_part_and_names_the_application() {
        let a = [
            frame("sha", "/usr/lib/python3/hashlib.py", 1),
            frame("digest", "/app/a.py", 12),
            frame("view", "/app/a.py", 5),
        ];
        let b = [
            frame("other", "/usr/lib/python3/x.py", 1),
            frame("digest", "/app/a.py", 13),
            frame("view", "/app/a.py", 5),
        ];
        let (a, b) = (Stack::new(a.iter().collect()), Stack::new(b.iter().collect()));
        let path = common_path(&[(&a, 3), (&b, 2)], 0.8);
        assert_eq!(path.iter().map(|f| f.function.as_str()).collect::<Vec<_>>(), ["view", "digest"]);
        assert_eq!(culprit(&path), Some(&frame("digest", "/app/a.py", 12)));
    }
}
