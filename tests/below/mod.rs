//! Native stacks as `dump` tells them, and as gdb does: shared by the tests of native frames.
#![allow(dead_code, reason = "each test program uses its share of this")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::tool;

/// How long a state outside may take to come.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const EVALUATION: &str = "_PyEval_EvalFrameDefault";

/// Whether every interpreter is to be tried, which takes minutes, or only those that differ most.
pub fn every_python() -> bool {
    std::env::var_os("STALLSCOPE_EVERY_PYTHON").is_some()
}

/// One process with its native frames.
pub fn dump(pid: i32) -> Value {
    dump_with(pid, &[])
}

/// The same with more options.
pub fn dump_with(pid: i32, more: &[&str]) -> Value {
    let pid = pid.to_string();
    let ran = tool::run(&[&["dump", &pid, "--only", &pid, "--native", "--format", "json"], more].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()["processes"][0].clone()
}

pub fn threads(process: &Value) -> &Vec<Value> {
    process["threads"].as_array().unwrap()
}

pub fn frames<'a>(thread: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    thread["frames"].as_array().unwrap().iter().filter(move |frame| frame["kind"] == kind)
}

pub fn functions(thread: &Value, kind: &str) -> Vec<String> {
    frames(thread, kind).map(|frame| frame["function"].as_str().unwrap().to_owned()).collect()
}

pub fn places(thread: &Value) -> Vec<(String, u64)> {
    let place = |f: &Value| (f["file"].as_str().unwrap().to_owned(), f["line"].as_u64().unwrap());
    frames(thread, "python").map(place).collect()
}

/// The frames of all threads as gdb sees them; `None`, said loudly, without gdb.
pub fn gdb(pid: i32, root: Option<&str>) -> Option<BTreeMap<String, Vec<String>>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/native/frames.py");
    let mut command = Command::new("gdb");
    command
        .args(["-nx", "-batch"])
        .args(root.iter().flat_map(|root| ["-ex".into(), format!("set sysroot {root}")]));
    let out = command.args(["-p", &pid.to_string(), "-x", script]).stdin(Stdio::null()).output();
    let Ok(out) = out else {
        eprintln!("SKIPPED: native frames beside those of gdb: gdb is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("FRAMES ")) else {
        eprintln!("SKIPPED: native frames beside those of gdb: {}", String::from_utf8_lossy(&out.stderr));
        return None;
    };
    Some(serde_json::from_str(line).unwrap())
}

/// A function without what tells its aliases apart: which of them is shown depends on what debugging information is there.
pub fn plain(function: &str) -> String {
    let name = function.split('(').next().unwrap();
    if name.contains("+0x") {
        return String::new();
    }
    name.trim_start_matches("__GI_").trim_start_matches("__libc_").trim_start_matches('_').to_owned()
}

/// The frames of gdb without those that evaluate Python code, which ours has as Python frames.
pub fn beside(theirs: &[String]) -> Vec<String> {
    theirs.iter().filter(|name| !name.starts_with(EVALUATION)).map(|name| plain(name)).collect()
}
