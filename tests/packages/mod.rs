//! Interpreters with the pinned packages of `fixtures/greenlets/`, which are fetched once.
#![allow(dead_code, reason = "each test program uses its share of this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::interpreters::{Python, SID};

/// A pinned set of packages: its file, the interpreter it is for, and the tags under which wheels are published.
pub const PAIRINGS: [(&str, &str, &str, &str); 13] = [
    ("py27", "2.7.18", "2.7", "cp27mu"),
    ("py36", "3.6.15", "3.6", "cp36m"),
    ("py37", "3.7.16", "3.7", "cp37m"),
    ("py38", "3.8.18", "3.8", "cp38"),
    ("py39", "3.9.18", "3.9", "cp39"),
    ("py310", "3.10.13", "3.10", "cp310"),
    ("py311", "3.11.7", "3.11", "cp311"),
    ("py311-late", "3.11.7", "3.11", "cp311"),
    ("py312", "3.12.1", "3.12", "cp312"),
    ("py312-late", "3.12.1", "3.12", "cp312"),
    ("py313", "3.13.0", "3.13", "cp313"),
    ("py314", "sid's 3.14", "3.14", "cp314"),
    ("py315", "sid's 3.15", "3.15", "cp315"),
];
const PLATFORMS: [&str; 6] = [
    "manylinux1_x86_64",
    "manylinux2010_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux_2_24_x86_64",
    "manylinux_2_28_x86_64",
];

/// An interpreter with the packages of a pairing; `None` where one of the two is not here.
pub fn with_packages(
    all: &[Python],
    (file, interpreter, version, abi): (&str, &str, &str, &str),
) -> Option<Python> {
    let python = all.iter().find(|p| p.name == interpreter)?;
    let folder = packages(file, version, abi, python.root)?.display().to_string();
    let packages = Some(folder.strip_prefix(SID).map_or(folder.clone(), str::to_owned));
    Some(Python { packages, name: file.into(), program: python.program.clone(), root: python.root })
}

/// Puts a pinned set of wheels into a folder, once; `None`, said loudly, where they cannot be had.
fn packages(file: &str, version: &str, abi: &str, root: Option<&str>) -> Option<PathBuf> {
    let above =
        root.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), |root| Path::new(root).join("opt"));
    let folder = above.join(format!("greenlets-{file}"));
    let done = folder.join("complete");
    if done.exists() {
        return Some(folder);
    }
    let requirements = format!("{}/fixtures/greenlets/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--require-hashes",
    ]);
    pip.args(["--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version", version]);
    pip.args([
        "--abi",
        abi,
        "--abi",
        "abi3",
        "--abi",
        "none",
        "--platform",
        "any",
        "--root-user-action",
        "ignore",
    ]);
    pip.args(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]));
    pip.arg("--target").arg(&folder).arg("--requirement").arg(&requirements).stdin(Stdio::null());
    match pip.output() {
        Ok(out) if out.status.success() => {
            std::fs::write(&done, "").unwrap();
            Some(folder)
        }
        other => {
            let why =
                other.map_or_else(|e| e.to_string(), |out| String::from_utf8_lossy(&out.stderr).into_owned());
            eprintln!("SKIPPED: greenlets of {file}: {}", why.lines().last().unwrap_or_default());
            None
        }
    }
}
