//! The portal's pinned software: a virtual environment in the user's cache, built once.
//!
//! Every package is pinned by hash. A lock file keeps two builds apart, a marker says that one was finished.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Stack, failed, interrupted};
use crate::error::{Error, ErrorKind, Result};

const MODERN: &str = include_str!("../../fixtures/portal/requirements-modern.txt");
const PERIOD: &str = include_str!("../../fixtures/portal/requirements-period.txt");
const EVENTLET: &str = include_str!("../../fixtures/portal/requirements-eventlet.txt");
const EVENTLET_PERIOD: &str = include_str!("../../fixtures/portal/requirements-eventlet-period.txt");

/// A virtual environment to build: which packages, for which Python, and where it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'e> {
    /// Its name among others in the same cache.
    pub name: &'e str,
    /// Every package, pinned by hash, as pip reads it.
    pub requirements: &'e str,
    /// Minor version of `CPython` 3.
    pub minor: u8,
    /// Folder that holds it and its lock.
    pub cache: &'e Path,
}

/// The Python of a stack with the portal's software, built if it is not there yet.
pub fn python(stack: Stack, worker_class: &str, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    // eventlet's class was removed in gunicorn 26, and the story's gunicorn wants an older eventlet than its Python.
    let eventlet = worker_class == "eventlet";
    let (requirements, minor, name) = match stack {
        Stack::Modern if eventlet => (EVENTLET, 13, "eventlet"),
        Stack::Period if eventlet => (EVENTLET_PERIOD, 9, "eventlet-period"),
        Stack::Modern => (MODERN, 13, "modern"),
        Stack::Period => (PERIOD, 10, "period"),
        Stack::Builtin => return find_python(None),
    };
    build(&Environment { name, requirements, minor, cache: &cache_folder() }, progress)
}

/// The Python of an environment, built if it is not there yet.
pub fn build(environment: &Environment<'_>, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let Environment { name, requirements, minor, cache } = *environment;
    std::fs::create_dir_all(cache).map_err(|e| failed(&format!("{} cannot be made", cache.display()), &e))?;
    let folder = cache.join(format!("portal-{name}-{:016x}", fnv(requirements)));
    let (interpreter, marker) = (folder.join("bin/python"), folder.join("complete"));
    let lock = std::fs::File::create(cache.join(format!("{name}.lock")))
        .map_err(|e| failed("the cache cannot be locked", &e))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, e)| failed("the cache cannot be locked", &e))?;
    if marker.exists() {
        return Ok(interpreter);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let base = find_python(Some(minor))?;
    progress(&format!("building a virtual environment for the {name} stack with {}", base.display()));
    run(
        Command::new(&base).args(["-m", "venv"]).arg(&folder),
        "a virtual environment cannot be made",
        progress,
    )?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, requirements).map_err(|e| failed("the list of packages cannot be written", &e))?;
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--require-hashes", "-r"])
        .arg(&list);
    run(&mut pip, "the portal's packages cannot be installed", progress)?;
    std::fs::write(&marker, "").map_err(|e| failed("the cache cannot be written", &e))?;
    Ok(interpreter)
}

/// Runs a program and passes on what it says, a line at a time. Whoever asks the tool to stop ends the program, too.
fn run(command: &mut Command, message: &str, progress: &mut dyn FnMut(&str)) -> Result<()> {
    interrupted()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|e| failed(message, &e))?;
    let (told, lines) = mpsc::channel();
    let output = child.stdout.take().map(|out| each_line(out, move |line| drop(told.send(line))));
    // What it complains about is short.
    let complaints = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&complaints);
    let errors = child.stderr.take().map(|out| {
        each_line(out, move |line| kept.lock().unwrap_or_else(PoisonError::into_inner).push(line))
    });
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) if ["Collecting", "Installing", "Building"].iter().any(|w| line.starts_with(w)) => {
                progress(line.split_once(" (from").map_or(line.as_str(), |(head, _)| head));
            }
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Err(stop) = interrupted() {
                    // It and its helpers are a group of their own, which lives as long as it is not waited for.
                    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
                    let _ = child.wait();
                    return Err(stop);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(|e| failed(message, &e))?;
    for thread in [output, errors].into_iter().flatten() {
        let _ = thread.join();
    }
    if status.success() {
        return Ok(());
    }
    let errors = complaints.lock().unwrap_or_else(PoisonError::into_inner);
    let cause = errors.iter().rev().find(|l| l.starts_with("ERROR")).or(errors.last()).cloned();
    Err(failed(message, &cause.unwrap_or_else(|| status.to_string()))
        .remedy("stallscope demo --stack builtin (needs neither network nor pip)")
        .remedy("check that PyPI can be reached: pip download flask"))
}

/// Hands on each line of a stream from a thread of its own.
fn each_line(
    stream: impl Read + Send + 'static,
    mut on_line: impl FnMut(String) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        BufReader::new(stream).lines().map_while(std::result::Result::ok).for_each(&mut on_line);
    })
}

/// A Python of a minor version, on the path or under pyenv; any that the built-in server runs on if none is asked for.
fn find_python(minor: Option<u8>) -> Result<PathBuf> {
    let names: Vec<String> = match minor {
        Some(minor) => vec![format!("python3.{minor}")],
        None => vec!["python3".into(), "python3.13".into(), "python3.12".into(), "python3.11".into()],
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let pyenv =
        std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from).join("versions");
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir(pyenv).into_iter().flatten().flatten().map(|e| e.path().join("bin")).collect();
    versions.sort();
    // A version manager's shims only pretend: what they lead to may not be installed.
    folders.retain(|f| !f.ends_with("shims"));
    folders.extend(versions.into_iter().rev());
    let found = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|p| runs(p));
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::Portal,
            format!("no {} was found", names[0]),
            "neither on PATH nor under ~/.pyenv/versions",
        )
        .remedy(format!("install {}, or use another stack: --stack builtin", names[0]))
    })
}

fn runs(python: &Path) -> bool {
    let asked = || {
        Command::new(python)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    python.exists() && asked().is_ok_and(|s| s.success())
}

fn cache_folder() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|h| h.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("stallscope")
}

/// FNV-1a: names a list of packages by its content.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_by_hash() {
        for list in [MODERN, PERIOD, EVENTLET, EVENTLET_PERIOD] {
            let packages = list.lines().filter(|l| l.contains("==")).count();
            assert!(packages > 8);
            assert!(list.matches("--hash=sha256:").count() >= packages);
        }
    }

    #[test]
    fn fnv_is_the_published_one() {
        assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
