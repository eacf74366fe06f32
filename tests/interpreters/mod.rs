//! Every `CPython` on the machine, and programs that run on one until their input ends: shared by the tests of the reader.
#![allow(dead_code, reason = "each test program uses its share of this")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use stallscope::observe::kernel_file::{FileBudget, ProcDir};
use stallscope::observe::memory::Memory;
use stallscope::python::StackReader;
use stallscope::python::locate::locate;
use stallscope::target::maps::{self, Mapping};

const VERSIONS: [&str; 9] =
    ["2.7.18", "3.6.15", "3.7.16", "3.8.18", "3.9.18", "3.10.13", "3.11.7", "3.12.1", "3.13.0"];
/// A Debian of its own, made by `tests/run`: newer interpreters, another C library, another root.
pub const SID: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/sid");

/// Free-threaded builds, which no distribution packages: those that pyenv or uv have made, or `tests/run`.
const FREE_THREADED: [&str; 3] = ["3.13t", "3.14t", "3.15t"];

/// Where a free-threaded build may be.
fn free_threaded(version: &str, home: &Path) -> PathBuf {
    let program = format!("python{version}");
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/free-threaded/bin")).join(&program);
    let made = [home.join(".pyenv/versions"), home.join(".local/share/uv/python")]
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path().join("bin")))
        .chain(["/usr/local/bin".into(), "/usr/bin".into()]);
    let mut all = std::iter::once(own.clone()).chain(made.map(|folder| folder.join(&program)));
    all.find(|path| path.exists()).unwrap_or(own)
}

/// An interpreter and how to run it.
pub struct Python {
    pub name: String,
    pub program: Vec<String>,
    pub root: Option<&'static str>,
    /// Folder of packages, as the interpreter sees it.
    pub packages: Option<String>,
}

/// The interpreters that are here; those that are not are named.
pub fn interpreters() -> Vec<Python> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let plain = |name: &str, path: PathBuf| {
        (
            path.clone(),
            Python {
                name: name.to_owned(),
                program: vec![path.display().to_string()],
                root: None,
                packages: None,
            },
        )
    };
    let mut all: Vec<(PathBuf, Python)> =
        VERSIONS.iter().map(|v| plain(v, home.join(".pyenv/versions").join(v).join("bin/python"))).collect();
    all.push(plain("Debian's 3.11", "/usr/bin/python3.11".into()));
    for minor in ["3.13", "3.14", "3.15"] {
        let inside = format!("/usr/bin/python{minor}");
        let program = vec!["chroot".to_owned(), SID.to_owned(), inside.clone()];
        all.push((
            PathBuf::from(format!("{SID}{inside}")),
            Python { name: format!("sid's {minor}"), program, root: Some(SID), packages: None },
        ));
    }
    all.extend(FREE_THREADED.map(|version| plain(version, free_threaded(version, &home))));
    all.retain(|(path, python)| {
        let here = path.exists();
        if !here {
            eprintln!("SKIPPED: Python {}: {} is not installed", python.name, path.display());
        }
        here
    });
    all.into_iter().map(|(_, python)| python).collect()
}

impl Python {
    /// Whether it is a free-threaded build.
    pub fn free_threaded(&self) -> bool {
        self.name.ends_with('t')
    }

    /// With its interpreter lock put to use, where that is not so anyway.
    pub fn with_lock(mut self) -> Self {
        if self.free_threaded() {
            self.program.extend(["-X", "gil=1"].map(str::to_owned));
        }
        self
    }
}

/// A Python program that says one line when it is ready and ends when its input does.
pub struct Program {
    pub child: Child,
    pub line: String,
    _dir: tempfile::TempDir,
}

impl Program {
    pub fn start(python: &Python, text: &str) -> Self {
        // In a root of its own the program lies below that.
        let above = python.root.map_or_else(std::env::temp_dir, |root| PathBuf::from(root).join("tmp"));
        let dir = tempfile::tempdir_in(above).unwrap();
        let path = dir.path().join("program.py");
        std::fs::write(&path, text).unwrap();
        let inside = python.root.map_or(path.as_path(), |root| path.strip_prefix(root).unwrap());
        let mut child = Command::new(&python.program[0])
            .args(&python.program[1..])
            .arg(Path::new("/").join(inside))
            .envs(python.packages.iter().map(|packages| ("PYTHONPATH", packages)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line, _dir: dir }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn mappings(&self) -> Vec<Mapping> {
        let dir = ProcDir::open(self.pid(), &FileBudget::new(16)).unwrap();
        maps::of(&dir).unwrap()
    }

    pub fn reader(&self) -> StackReader<Memory> {
        let dir = ProcDir::open(self.pid(), &FileBudget::new(16)).unwrap();
        let memory = Memory::open(&dir).unwrap();
        let interpreter = locate(&self.mappings(), &memory).unwrap();
        let mut reader = StackReader::new(interpreter, memory);
        reader.refresh_threads().unwrap();
        reader
    }

    /// Neither traced nor stopped.
    pub fn unharmed(&self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        assert!(status.contains("TracerPid:\t0"));
        assert!(!status.contains("State:\tT") && !status.contains("State:\tt"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
