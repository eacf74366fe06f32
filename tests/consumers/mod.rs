//! What reads our documents and comes from the registries: shared by the tests of the forms.
#![allow(dead_code, reason = "each test program uses its share of this")]

pub mod browser;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs a program; `None` where there is no such program.
pub fn output(command: &mut Command) -> Option<Output> {
    command.output().ok()
}

/// What it said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A JSON file out of a package of npm, known by its digest, or why it cannot be had.
pub fn json_of_package(name: &str, (package, integrity): (&str, &str), file: &str) -> Result<Value, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut pack = Command::new("npm");
    pack.args(["pack", "--json", "--loglevel=error", package]).current_dir(&folder);
    let done = output(&mut pack).ok_or("no npm was found")?;
    if !done.status.success() {
        return Err(said(&done).lines().next().unwrap_or("npm failed silently").to_owned());
    }
    let packed: Value = serde_json::from_slice(&done.stdout).map_err(|error| error.to_string())?;
    assert_eq!(packed[0]["integrity"], integrity, "another package came");
    let mut unpack = Command::new("tar");
    unpack.args(["-xzOf", packed[0]["filename"].as_str().unwrap(), file]);
    let document = output(unpack.current_dir(&folder)).ok_or("no tar was found")?;
    Ok(serde_json::from_slice(&document.stdout).unwrap())
}
