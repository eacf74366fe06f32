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
fn a_disk_that_fills_up_during_the_look_keeps_what_it_has_and_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let [disk, kept, report] = ["disk", "kept.cap", "report.json"].map(|name| folder.path().join(name));
    std::fs::create_dir(&disk).unwrap();
    let target = Target::python("python3", "while True: sum(range(1000))", &[]);
    // Room for the beginning of a capture: one page of the two.
    let script = "mount -t tmpfs -o size=8k,mode=700 none \"$0\" || exit 99; kept=$1; shift; \
                  head -c 4096 /dev/zero > \"$0/filler\"; \"$@\" --save \"$0/file.cap\"; code=$?; \
                  cp \"$0/file.cap\" \"$kept\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, text(&disk), text(&kept)]);
    command.args([env!("CARGO_BIN_EXE_stallscope"), &target.pid().to_string(), "--format", "json"]);
    command.args([
        "-d",
        "2s",
        "--max-duration",
        "2s",
        "-r",
        "1000",
        "--fail-on",
        "never",
        "-o",
        text(&report),
    ]);
    let ran = finish(start(command));
    if ran.code == 99 || ran.stderr.contains("unshare:") {
        return skipped("no file system can be mounted here");
    }
    assert!([3, 4].contains(&ran.code), "a capture that is not whole is no success: {ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert!(ran.stderr.starts_with("error:") && ran.stderr.contains("No space left"), "{ran:?}");
    let document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(document["exit"]["code"], ran.code, "{document}");
    assert!(document["exit"]["reason"].as_str().unwrap().contains("the capture is incomplete"), "{document}");
    assert_eq!(document["processes"][0]["pid"], target.pid(), "the report is whole");
    assert!(document["collection"]["duration_ms"].as_u64().unwrap() >= 1_900, "the look went on");
    let again = run(&["--replay", text(&kept), "--format", "json"]);
    assert!([0, 1, 4].contains(&again.code), "what was kept can be read: {again:?}");
    assert!(crate::tool::blind_spots(&again.json()).contains("cut short"), "{again:?}");
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
