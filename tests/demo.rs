//! The demonstration where there is no network, and where somebody has seen enough: nothing is left behind.

mod tool;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use tool::{finish, skipped, start, tool, until};

/// The processes that live in a namespace or carry a variable: what a demonstration can have left.
fn processes(belongs: impl Fn(&Path) -> bool) -> BTreeSet<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| Some((e.file_name().to_str()?.parse::<i32>().ok()?, e.path())));
    pids.filter(|(_, path)| belongs(path)).map(|(pid, _)| pid).collect()
}

/// Those whose environment holds a line, zombies left out.
fn with_variable(line: &str) -> BTreeSet<i32> {
    processes(|path| {
        let environ = std::fs::read(path.join("environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|entry| entry == line.as_bytes())
    })
}

#[test]
fn without_a_network_it_falls_back() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("only root can take the network away");
    }
    let folder = tempfile::tempdir().unwrap();
    let (home, temporary) = (folder.path().join("home"), folder.path().join("tmp"));
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&temporary).unwrap();
    let script = "readlink /proc/self/ns/net > \"$0\" && ip link set lo up || exit 99; exec \"$@\"";
    let mut command = Command::new("unshare");
    let namespace = folder.path().join("namespace");
    command
        .args(["--net", "sh", "-c", script])
        .arg(&namespace)
        .args([env!("CARGO_BIN_EXE_stallscope"), "demo"]);
    // An interpreter is still found: only what was installed for earlier demonstrations is out of reach.
    let pyenv = std::env::var("HOME").unwrap_or_default() + "/.pyenv";
    command.env("PYENV_ROOT", pyenv).env("HOME", &home).env("XDG_CACHE_HOME", home.join("cache"));
    command.env("TMPDIR", &temporary).env("NO_COLOR", "1").env_remove("PIP_INDEX_URL");
    let ran = finish(start(command));
    if ran.code == 99 || ran.stderr.contains("unshare:") {
        return skipped("no network namespace can be made, or ip is not installed");
    }
    assert!(ran.stderr.contains("falling back to the small built-in server"), "{ran:?}");
    assert!(ran.stderr.contains("cannot be installed") || ran.stderr.contains("was found"), "{ran:?}");
    assert!(ran.stdout.contains("hot_spin") && ran.stdout.contains("ready_fd_undrained"), "{ran:?}");
    assert_eq!(ran.code, 0, "the fault was found: {ran:?}");
    let namespace = std::fs::read_to_string(namespace).unwrap();
    let inside = processes(|path| {
        std::fs::read_link(path.join("ns/net")).is_ok_and(|link| link.to_str() == Some(namespace.trim()))
    });
    assert!(inside.is_empty(), "left running: {inside:?}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "files were left");
}

/// Interrupts a demonstration once it has said a line, and once more at once; gives what it has said.
fn interrupted(signal: Signal, line: &str, cache: Option<&Path>) {
    let temporary = tempfile::tempdir().unwrap();
    let mark = format!("DEMO_UNDER_TEST={}-{}", std::process::id(), temporary.path().display());
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = tool(&["demo"]);
    command.env("TMPDIR", temporary.path()).env(name, value);
    match cache {
        Some(cache) => drop(command.env("XDG_CACHE_HOME", cache)),
        None => drop(command.args(["--stack", "builtin"])),
    }
    let mut child = start(command);
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(line) {
        assert!(errors.read_line(&mut said).unwrap() > 0, "it never said {line:?}: {said}");
    }
    let began = Instant::now();
    for _ in 0..2 {
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    }
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        errors.read_to_string(&mut rest).map(|_| rest)
    });
    let ran = finish(child);
    said += &rest.join().unwrap().unwrap();
    assert_eq!(ran.code, 128 + signal as i32, "{line:?} {signal}: {said}");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{line:?} {signal}: it took {:?}: {said}",
        began.elapsed()
    );
    assert!(said.contains("interrupted by"), "{line:?} {signal}: {said}");
    // The kernel may need a moment to bury them.
    until("nobody is left", || with_variable(&mark).is_empty());
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "{line:?} {signal}: files were left");
}

#[test]
fn interrupted_at_any_moment_it_cleans_up() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        for line in
            ["bringing up the portal", "its head is process", "demo: stallscope ", "taking the portal down"]
        {
            interrupted(signal, line, None);
        }
    }
}

#[test]
fn interrupted_while_it_installs_it_cleans_up() {
    let cache = tempfile::tempdir().unwrap();
    interrupted(Signal::SIGTERM, "building a virtual environment", Some(cache.path()));
}
