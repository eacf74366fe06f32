//! Places that a report or a capture cannot be written to: known before the look, and nothing is overwritten.

use std::path::Path;
use std::process::Command;

use crate::tool::{Ran, Target, assert_error, finish, run, skipped, start};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_capture_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("precious");
    std::fs::write(&place, "precious").unwrap();
    let target = Target::waiting();
    assert_error(&[&target.pid().to_string(), "--save", text(&place)], "io", "exists");
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "precious");
}

#[test]
fn places_that_are_not_there_are_known_before_the_look() {
    let target = Target::waiting();
    let pid = target.pid().to_string();
    for option in ["-o", "--save"] {
        let ran = run(&[&pid, option, "/no/such/folder/file", "-d", "30s"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.took.as_secs() < 5, "it looked first: {:?}", ran.took);
        assert_error(&[&pid, option, "/no/such/folder/file"], "io", "No such file");
    }
    assert_error(&[&pid, "-o", "/proc/report.json"], "io", "/proc/report.json");
}

/// Runs the tool where a small file system is full.
fn on_a_full_disk(folder: &Path, args: &[&str]) -> Option<Ran> {
    let fill = "mount -t tmpfs -o size=8k,mode=700 none \"$0\" || exit 99; \
                cat /dev/zero > \"$0/filler\" 2>/dev/null; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", fill, text(folder), env!("CARGO_BIN_EXE_stallscope")]).args(args);
    let ran = finish(start(command));
    (ran.code != 99 && !ran.stderr.contains("unshare:")).then_some(ran)
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::waiting();
    let (pid, place) = (target.pid().to_string(), folder.path().join("file"));
    for option in ["-o", "--save"] {
        let args = [&pid, "-d", "300ms", "--max-duration", "300ms", "--format", "json", option, text(&place)];
        let Some(ran) = on_a_full_disk(folder.path(), &args) else {
            return skipped("no file system can be mounted here");
        };
        assert_eq!(ran.code, 3, "{option}: {ran:?}");
        let document = ran.json();
        assert_eq!(document["error"]["kind"], "io", "{option}: {document}");
        assert!(document["error"]["cause"].as_str().unwrap().contains("No space left"), "{document}");
    }
}

#[test]
fn a_folder_that_may_not_be_written_to() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("only root can become somebody else");
    }
    // Even root writes nothing into a file system that is mounted read-only.
    let folder = tempfile::tempdir().unwrap();
    let target = Target::waiting();
    let script = "mount -t tmpfs -o ro none \"$0\" || exit 99; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, text(folder.path()), env!("CARGO_BIN_EXE_stallscope")]);
    command.args([&target.pid().to_string(), "--format", "json", "-o"]).arg(folder.path().join("file"));
    let ran = finish(start(command));
    if ran.code == 99 || ran.stderr.contains("unshare:") {
        return skipped("no file system can be mounted here");
    }
    assert_eq!((ran.code, &ran.json()["error"]["kind"]), (3, &"io".into()), "{ran:?}");
    assert!(ran.stdout.contains("Read-only"), "{ran:?}");
}
