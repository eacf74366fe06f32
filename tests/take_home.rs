//! Reports that are taken home: two side by side, many as one summary, one as a page; and the story before and after.

mod tool;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tool::{Ran, assert_error, finish, run, tool};

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures");

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A committed capture by the beginning of its name.
fn capture(name: &str) -> PathBuf {
    let mut files = std::fs::read_dir(CAPTURES).unwrap().map(|entry| entry.unwrap().path());
    files.find(|file| file.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
}

/// The report of a committed capture, in a file.
fn report(name: &str, folder: &Path) -> PathBuf {
    let place = folder.join(format!("{name}.json"));
    let ran = run(&["--replay", text(&capture(name)), "--format", "json", "-o", text(&place)]);
    assert!(ran.code < 2, "{ran:?}");
    place
}

/// That a document obeys the schema that is published for it.
fn assert_obeys(schema: &str, document: &Value) {
    let path = format!("{}/schema/{schema}", env!("CARGO_MANIFEST_DIR"));
    let published: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut known, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource(schema, published).unwrap();
    let index = compiler.compile(schema, &mut known).unwrap();
    let valid = known.validate(document, index).map_err(|error| error.to_string());
    assert_eq!(valid, Ok(()), "{schema}: {document:#}");
}

/// Runs the tool with an input.
fn fed(args: &[&str], input: &[u8]) -> Ran {
    let mut command = tool(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child)
}

#[test]
fn the_fault_before_and_its_cure_after() {
    let folder = tempfile::tempdir().unwrap();
    let (spin, idle) =
        (report("modern-gevent-spin_watcher", folder.path()), report("modern-gevent-none", folder.path()));
    let worse = run(&["diff", text(&idle), text(&spin)]);
    assert_eq!((worse.code, worse.stderr.as_str()), (1, ""), "{worse:?}");
    assert!(
        worse.stdout.starts_with("WORSE  the server was idle (info) and is one_bad_worker (critical)"),
        "{worse:?}"
    );
    let better = run(&["diff", text(&spin), text(&idle), "--format", "json"]);
    let document = better.json();
    assert_obeys("diff-v1.json", &document);
    assert_eq!((better.code, &document["change"]), (0, &"better".into()));
    assert_eq!(document["gone"][0]["code"], "hot_spin");
    assert_eq!(document["new"].as_array().unwrap().len(), 0);
    let same = run(&["diff", text(&spin), text(&spin), "--format", "markdown"]);
    assert_eq!(same.code, 0, "{same:?}");
    assert!(same.stdout.starts_with("### ⚪ SAME: "), "{same:?}");

    // A capture is judged on the way, and a report may come from a pipe, packed or not.
    let judged = run(&["diff", text(&capture("modern-gevent-none")), text(&spin), "--format", "json"]).json();
    let whole = run(&["diff", text(&idle), text(&spin), "--format", "json"]).json();
    for key in ["change", "because", "verdicts", "time_budget", "measures", "new", "gone"] {
        assert_eq!(judged[key], whole[key], "{key}");
    }
    let plain = std::fs::read(&spin).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    for input in
        [plain, packed.finish().unwrap(), std::fs::read(capture("modern-gevent-spin_watcher")).unwrap()]
    {
        let piped = fed(&["diff", text(&idle), "-"], &input);
        assert_eq!(piped.code, 1, "{piped:?}");
        // Lines break elsewhere.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&piped.stdout), words(&worse.stdout.replace(text(&spin), "standard input")));
    }
}

#[test]
fn what_is_no_report_is_told_with_its_one_cause() {
    let folder = tempfile::tempdir().unwrap();
    let good = report("modern-gevent-none", folder.path());
    let whole = std::fs::read_to_string(&good).unwrap();
    let file = |name: &str, content: &str| {
        let place = folder.path().join(name);
        std::fs::write(&place, content).unwrap();
        place
    };
    let lines = run(&["--replay", text(&capture("modern-gevent-none")), "--format", "ndjson"]).stdout;
    for (name, content, cause) in [
        ("empty", "", "it is empty"),
        ("letter", "dear reader\n", "it is neither JSON nor a capture"),
        ("cut", &whole[..whole.len() / 2], "it ends in the middle"),
        ("foreign", "{\"verdict\": \"guilty\"}", "it is no report of stallscope"),
        ("newer", &whole.replacen("\"1.0\"", "\"2.0\"", 1), "written by a newer version"),
        ("lines", &lines, "the lines of a report"),
        ("two", &format!("{whole}{whole}"), "more than one document"),
    ] {
        let bad = file(name, content);
        for sides in [[&bad, &good], [&good, &bad]] {
            assert_error(&["diff", text(sides[0]), text(sides[1])], "bad_report", cause);
        }
    }
    assert_error(&["diff", "/no/such/file", text(&good)], "io", "No such file");
    assert_error(&["diff", "-", "-"], "usage", "a report ends where the input ends");
    assert_error(&["merge", text(&file("letter", "dear reader\n"))], "bad_report", "it is neither JSON");
    // A newer minor version with fields and codes that nobody here has heard of is a report.
    let newer = whole.replacen("\"1.0\"", "\"1.9\"", 1).replace("\"idle\"", "\"dreaming\"").replacen(
        '{',
        "{\"mood\": [1],",
        1,
    );
    let ran = run(&["diff", text(&good), text(&file("minor", &newer)), "--format", "json"]);
    assert_eq!((ran.code, &ran.json()["after"]["code"]), (0, &"dreaming".into()), "{ran:?}");
}

#[test]
fn many_reports_are_one_summary() {
    let folder = tempfile::tempdir().unwrap();
    // Each on a host of its own, as a fleet would send them.
    let names = [
        "modern-gevent-upstream_cooperative",
        "modern-gthread-upstream_slots",
        "modern-gevent-spin_watcher",
        "modern-gevent-none",
    ];
    let mut files = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let file = report(name, folder.path());
        let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        document["host"]["hostname"] = format!("web-{number}").into();
        document["host"]["boot_id"] = format!("boot of {number}").into();
        for process in document["processes"].as_array_mut().unwrap() {
            if process["verdict"]["culprit"]["peer"].is_string() {
                process["verdict"]["culprit"]["peer"] = "10.0.0.5:5432".into();
            }
        }
        std::fs::write(&file, document.to_string()).unwrap();
        files.push(file);
    }
    let args: Vec<&str> = std::iter::once("merge").chain(files.iter().map(|file| text(file))).collect();
    let ran = run(&[&args[..], &["--format", "json"]].concat());
    let fleet = ran.json();
    assert_obeys("merge-v1.json", &fleet);
    assert_eq!((ran.code, &fleet["reports"], &fleet["hosts"]), (1, &4.into(), &4.into()));
    assert_eq!(fleet["looks"][0]["hostname"], "web-2", "the one that is critical");
    assert_eq!(fleet["upstreams"][0]["what"], "10.0.0.5:5432 (PostgreSQL)");
    assert_eq!(fleet["upstreams"][0]["hostnames"], serde_json::json!(["web-0", "web-1"]));
    assert!(
        !fleet["versions"].as_array().unwrap().is_empty()
            && !fleet["blind_spots"].as_array().unwrap().is_empty()
    );
    let page = run(&args).stdout;
    assert!(page.starts_with("CRITICAL  1 critical, 2 warned of, 1 well of 4 servers\n"), "{page}");
    let comment = run(&[&args[..], &["--format", "markdown", "--fail-on", "never"]].concat());
    assert!(comment.code == 0 && comment.stdout.contains("`web-2`"), "{comment:?}");

    // Through a pipe, with one that was cut short: what is left is summed up, and it is no success.
    let stream: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let piped =
        fed(&["merge", "-", "--fail-on", "deadlock", "--format", "json"], &stream[..stream.len() - 9]);
    let fleet = piped.json();
    assert_eq!((piped.code, &fleet["reports"]), (3, &3.into()), "{piped:?}");
    assert_eq!(fleet["missing"][0]["kind"], "bad_report");
    // What a failed look said is a host that is missing.
    let failed = run(&["2147483646", "--format", "json"]).stdout;
    let piped = fed(&["merge", "-", text(&files[3]), "--format", "json"], failed.as_bytes());
    assert_eq!((piped.code, &piped.json()["missing"][0]["kind"]), (3, &"not_found".into()), "{piped:?}");
}
