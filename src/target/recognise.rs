//! What a process is, from what its kernel files and its stacks show.
//!
//! Pure: takes names of mapped files, a command line and the files of Python frames, gives roles and classes.

use crate::capture::model::{LoopKind, WorkerClass};

/// A worker class and what it was recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The class.
    pub class: WorkerClass,
    /// In words.
    pub by: String,
}

/// Path ends of modules on a stack that only one worker class has, the more telling first.
const BY_FRAME: &[(&str, WorkerClass)] = &[
    ("gunicorn/workers/gthread.py", WorkerClass::Gthread),
    ("gunicorn/workers/ggevent.py", WorkerClass::Gevent),
    ("gunicorn/workers/geventlet.py", WorkerClass::Eventlet),
    ("gunicorn/workers/gtornado.py", WorkerClass::Tornado),
    ("gunicorn/workers/gasgi.py", WorkerClass::Asgi),
    ("gunicorn/workers/sync.py", WorkerClass::Sync),
    ("uvicorn/workers.py", WorkerClass::Uvicorn),
    ("uvicorn_worker/_workers.py", WorkerClass::Uvicorn),
    ("gevent/hub.py", WorkerClass::Gevent),
    ("eventlet/hubs/hub.py", WorkerClass::Eventlet),
];

/// Path parts of mapped files by which a class is guessed when nothing better is known.
const BY_MAPPING: &[(&str, WorkerClass)] = &[
    ("/gevent/_gevent_c", WorkerClass::Gevent),
    ("/gevent/libev/", WorkerClass::Gevent),
    ("/uvloop/loop", WorkerClass::Uvicorn),
];

/// Files of gunicorn's second arbiter and its workers, for long work that no request waits in (25 and later).
const DIRTY: &str = "gunicorn/dirty/";

/// Whether the files on the stack of a main thread are those of gunicorn's dirty arbiter or of one of its workers.
#[must_use]
pub fn is_dirty(frame_files: &[String]) -> bool {
    frame_files.iter().any(|file| file.contains(DIRTY))
}

/// The worker class of a gunicorn worker. The command line decides where it speaks; then the stack; then what is mapped.
/// A typed `sync` says little: gunicorn makes gthread of it where a configuration file asks for threads.
#[must_use]
pub fn gunicorn_class(
    typed: Option<WorkerClass>,
    frame_files: &[String],
    mapped: &[String],
) -> Option<Recognised> {
    let has = |end: &str| frame_files.iter().any(|file| file.ends_with(end));
    if let Some(class) = typed
        && !(class == WorkerClass::Sync && has("gunicorn/workers/gthread.py"))
    {
        return Some(Recognised { class, by: "command line".into() });
    }
    let by_frame = BY_FRAME.iter().find(|(end, _)| has(end));
    if let Some((end, class)) = by_frame {
        return Some(Recognised { class: *class, by: format!("stack ({end})") });
    }
    let by_mapping = BY_MAPPING.iter().find(|(part, _)| mapped.iter().any(|m| m.contains(part)));
    by_mapping.map(|(part, class)| Recognised {
        class: *class,
        by: format!("mapped file ({})", part.trim_matches('/')),
    })
}

/// The event-loop library of a process.
#[must_use]
pub fn loop_kind(class: Option<WorkerClass>, mapped: &[String], has_epoll: bool) -> LoopKind {
    let maps = |part: &str| mapped.iter().any(|m| m.contains(part));
    match class {
        Some(WorkerClass::Gevent) if maps("/gevent/libuv/") && !maps("/gevent/libev/") => LoopKind::Libuv,
        Some(WorkerClass::Gevent) => LoopKind::Libev,
        Some(WorkerClass::Uvicorn | WorkerClass::Asyncio | WorkerClass::Asgi) if maps("/uvloop/loop") => {
            LoopKind::Libuv
        }
        Some(WorkerClass::Uvicorn | WorkerClass::Asyncio | WorkerClass::Asgi | WorkerClass::Tornado) => {
            LoopKind::Asyncio
        }
        Some(WorkerClass::Sync | WorkerClass::Gthread | WorkerClass::Eventlet) => LoopKind::Selectors,
        None if maps("libuv") => LoopKind::Libuv,
        None if has_epoll => LoopKind::Selectors,
        None => LoopKind::None,
    }
}

/// Whether a command line is uvicorn's own.
#[must_use]
pub fn is_uvicorn(cmdline: &[String]) -> bool {
    let base = |arg: &String| arg.rsplit('/').next().unwrap_or_default() == "uvicorn";
    cmdline.iter().take(3).any(base) || cmdline.windows(2).any(|w| w[0] == "-m" && w[1] == "uvicorn")
}

/// Servers whose head does nothing but start workers with Python's `multiprocessing` and wait for them.
const SPAWNING: &[&str] = &["hypercorn", "granian"];

/// Whether a command line is the head of such a server.
#[must_use]
pub fn spawns_workers(cmdline: &[String]) -> bool {
    let known = |arg: &str| SPAWNING.contains(&arg.rsplit('/').next().unwrap_or_default());
    cmdline.iter().take(2).any(|arg| known(arg)) || cmdline.windows(2).any(|w| w[0] == "-m" && known(&w[1]))
}

/// Whether a command line is a child made by Python's `multiprocessing`.
#[must_use]
pub fn is_spawned(cmdline: &[String]) -> bool {
    cmdline.iter().any(|arg| arg.contains("multiprocessing.spawn"))
}

/// The container a control group path belongs to: its 64 hexadecimal digits.
#[must_use]
pub fn container_id(cgroup: &str) -> Option<String> {
    cgroup
        .split(['/', '-', '.', ':'])
        .rfind(|part| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
}

/// The version in the name of an installed distribution's folder: `gunicorn-20.1.0.dist-info`.
#[must_use]
pub fn distribution_version(folder: &str, name: &str) -> Option<String> {
    let rest = folder.strip_suffix(".dist-info").or_else(|| folder.strip_suffix(".egg-info"))?;
    let version = rest.strip_prefix(name)?.strip_prefix('-')?;
    let version = version.split("-py").next().unwrap_or(version);
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn the_command_line_beats_the_stack_and_the_stack_beats_the_mappings() {
        let frames = texts(&["/x/gunicorn/workers/gthread.py"]);
        let mapped = texts(&["/x/gevent/_gevent_c_hub_local.so"]);
        let class = |typed, frames: &[String]| gunicorn_class(typed, frames, &mapped).map(|r| r.class);
        assert_eq!(class(Some(WorkerClass::Tornado), &frames), Some(WorkerClass::Tornado));
        assert_eq!(class(Some(WorkerClass::Sync), &[]), Some(WorkerClass::Sync));
        assert_eq!(class(Some(WorkerClass::Sync), &frames), Some(WorkerClass::Gthread));
        assert_eq!(class(None, &frames), Some(WorkerClass::Gthread));
        assert_eq!(class(None, &[]), Some(WorkerClass::Gevent));
        assert_eq!(gunicorn_class(None, &[], &[]), None);
    }

    #[test]
    fn heads_that_spawn_are_known_by_script_and_module() {
        for line in [&["/v/bin/python", "/v/bin/hypercorn", "a:b"][..], &["python", "-m", "hypercorn", "a:b"]]
        {
            assert!(spawns_workers(&texts(line)), "{line:?}");
        }
        assert!(!spawns_workers(&texts(&["python", "app.py", "hypercorn"])));
    }

    #[test]
    fn containers_are_found_in_both_namings() {
        let id = "a".repeat(64);
        assert_eq!(container_id(&format!("/docker/{id}")), Some(id.clone()));
        assert_eq!(container_id(&format!("/kubepods.slice/cri-containerd-{id}.scope")), Some(id));
        assert_eq!(container_id("/system.slice/nginx.service"), None);
    }

    #[test]
    fn a_distribution_folder_tells_its_version() {
        assert_eq!(distribution_version("gunicorn-20.1.0.dist-info", "gunicorn").as_deref(), Some("20.1.0"));
        assert_eq!(
            distribution_version("gunicorn-19.10.0-py2.7.egg-info", "gunicorn").as_deref(),
            Some("19.10.0")
        );
        assert_eq!(distribution_version("gunicorn_x-1.dist-info", "gunicorn"), None);
    }
}
