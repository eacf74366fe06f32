//! A recording made by hand, as real ones are, for the tests of the forms.

use crate::capture::model::{Doing, Frame, Role, ThreadSample};
use crate::capture::profile::{ParkedGroup, Profile, ProfileHeader, Stack, Who};
use crate::capture::samples::{capture, process};
use crate::diagnose::times;

use super::{By, Mode, ProfileForm, Selection};

/// Its workers.
pub const WORKERS: [i32; 2] = [4241, 4242];
/// The looks of each worker, ten milliseconds apart.
const LOOKS: u64 = 40;
const MS: u64 = 1_000_000;
const EPOLL_WAIT: i64 = 232;
const RECVFROM: i64 = 45;
const FUTEX: i64 = 202;

/// All that may be selected.
pub const EVERYTHING: Selection = Selection { mode: Mode::Wall, idle: true, by: By::Server };

/// A recording of two gevent workers: computing, blocked in a call, waiting for the lock, idle, greenlets parked.
pub fn recording() -> Profile {
    recording_of("compute", "/srv/app/views.py")
}

/// The same with other names.
pub fn recording_of(function: &str, file: &str) -> Profile {
    let frame =
        |function: &str, file: &str, line| Frame { function: function.into(), file: file.into(), line };
    let header = ProfileHeader {
        tool_version: "0.1.0".into(),
        started_realtime_ns: 1_772_334_764_000_000_000,
        rate_hz: 100,
        arch: "x86_64".into(),
        server: Some(capture(2).header.server),
        max_stacks: 20_000,
    };
    let mut profile = Profile::new(header, true);
    profile.process(&process(4240), 0);
    profile.frames = vec![
        frame(function, file, 12),
        frame("view", "/srv/app/views.py", 30),
        frame("Hub.run", "/srv/venv/lib/python3.11/site-packages/gevent/hub.py", 647),
        frame("SocketMixin.recv", "/srv/venv/lib/python3.11/site-packages/gevent/_socketcommon.py", 657),
        frame("wait", file, 0),
    ];
    profile.stacks = vec![(vec![0, 1], true), (vec![2], true), (vec![3, 1], true), (vec![4, 0, 1], false)];
    for pid in WORKERS {
        profile.process(&process(pid), 0);
        profile.name_threads([(pid, "MainThread".to_owned()), (pid + 1_000, function.to_owned())]);
    }
    for look in 1..=LOOKS {
        profile.tick(look * 10 * MS);
        for pid in WORKERS {
            let (doing, stack) = match look % 8 {
                0..=3 => (Doing::Running, Some(0)),
                4 | 5 => (Doing::Syscall(RECVFROM, [7, 0, 0, 0, 0, 0]), Some(3)),
                6 => (Doing::Syscall(EPOLL_WAIT, [5, 0, 0, 0, 0, 0]), Some(1)),
                _ => (Doing::Running, None),
            };
            profile.thread(&sample(pid, pid, look, doing, stack), false, false);
            let lock = Doing::Syscall(FUTEX, [64, 0, 0, 0, 0, 0]);
            profile.thread(&sample(pid, pid + 1_000, look, lock, Some(0)), true, false);
        }
    }
    for pid in WORKERS {
        let group = ParkedGroup { who: Who::Greenlets, ready: false, stack: Stack::Kept(2), count: 3 };
        profile.parked(pid, LOOKS * 10 * MS, Some(&[group]));
    }
    profile
}

fn sample(pid: i32, tid: i32, look: u64, doing: Doing, stack: Option<u32>) -> ThreadSample {
    ThreadSample {
        run_ns: look * 8 * MS,
        delay_ns: look * 2 * MS,
        slices: look,
        state: (doing != Doing::Running).then_some('S'),
        stack,
        ..ThreadSample::of(pid, tid, doing)
    }
}

/// The recording in a form.
pub fn bytes(profile: &Profile, selection: Selection, form: ProfileForm) -> Vec<u8> {
    assert!(profile.processes.iter().any(|process| process.facts.role == Role::Worker));
    super::render(profile, &times::meanings(profile), selection, form)
}

/// The same as text.
pub fn text(profile: &Profile, selection: Selection, form: ProfileForm) -> String {
    String::from_utf8(bytes(profile, selection, form)).unwrap()
}
