//! A capture gives the report again, to the byte, and holds no secret.

mod tool;

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tool::{Target, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Looks for a second and keeps the capture.
fn record(target: &Target, capture: &Path, report: &Path, more: &[&str]) -> i32 {
    let pid = target.pid().to_string();
    let args = [&pid, "-d", "1s", "--max-duration", "1s", "--save", text(capture), "-o", text(report)];
    let ran = run(&[&args[..], more].concat());
    assert!([0, 1, 4].contains(&ran.code), "{ran:?}");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    ran.code
}

fn assert_replays(format: &[&str]) {
    for program in ["while True: sum(range(1000))", "time.sleep(60)"] {
        let folder = tempfile::tempdir().unwrap();
        let [capture, live] = ["look.cap", "live"].map(|name| folder.path().join(name));
        let target = Target::python("python3", program, &[]);
        let code = record(&target, &capture, &live, format);
        drop(target);
        let live = std::fs::read_to_string(live).unwrap();
        assert!(!live.is_empty());
        for round in 1..=2 {
            let again = folder.path().join(format!("again-{round}"));
            let ran = run(&[&["--replay", text(&capture), "-o", text(&again)], format].concat());
            assert_eq!(ran.code, code, "{ran:?}");
            assert_eq!(std::fs::read_to_string(again).unwrap(), live, "{program}, round {round}");
        }
        // Standard output that is no terminal gets the same text as a file.
        assert_eq!(run(&[&["--replay", text(&capture)], format].concat()).stdout, live, "{program}");
    }
}

#[test]
fn the_document_is_the_same_to_the_byte() {
    assert_replays(&["--format", "json"]);
}

#[test]
fn the_text_is_the_same_to_the_byte() {
    assert_replays(&["-v"]);
}

#[test]
fn a_capture_is_private_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let [capture, report] = ["look.cap", "report"].map(|name| folder.path().join(name));
    let secrets = ["--password", "hunter2", "--api-key=hunter3", "postgres://app:hunter4@db/app"];
    let target = Target::python("python3", "time.sleep(60)", &secrets);
    record(&target, &capture, &report, &["--format", "json"]);
    for file in [&capture, &report] {
        assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o7777, 0o600, "{}", file.display());
    }
    let packed = std::fs::read(&capture).unwrap();
    let mut content = String::new();
    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_string(&mut content).unwrap();
    let replayed = run(&["--replay", text(&capture), "--format", "json", "--show-values"]).stdout;
    for text in [&content, &replayed, &std::fs::read_to_string(&report).unwrap()] {
        assert!(text.contains("--password"), "the command line is not there: {text}");
        for secret in ["hunter2", "hunter3", "hunter4"] {
            assert!(!text.contains(secret), "{secret} was kept");
        }
    }
    let ran = run(&[
        &target.pid().to_string(),
        "-d",
        "300ms",
        "--max-duration",
        "300ms",
        "--show-values",
        "--format",
        "json",
    ]);
    assert!(ran.stdout.contains("hunter2"), "--show-values shows nothing: {ran:?}");
}
