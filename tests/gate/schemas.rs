//! Every document that is emitted obeys the schema that is published for it.

use serde_json::Value;

use super::{captures, text};
use crate::schema::Schema;
use crate::tool::{Target, run};

#[test]
fn reports_and_their_lines() {
    let (report, lines) = (Schema::of("report-v1.json"), Schema::of("ndjson-v1.json"));
    for (_, file) in captures() {
        for more in [&[][..], &["--redact"]] {
            let with = |form| run(&[&["--replay", text(&file), "--format", form], more].concat());
            let document = with("json").json();
            assert_eq!(report.check(&document), Ok(()), "{}", file.display());
            let told: Vec<Value> =
                with("ndjson").stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for line in &told {
                assert_eq!(lines.check(line), Ok(()));
                assert_eq!(line["schema_version"], document["schema_version"]);
            }
            // Together the lines say what the document says.
            let of_kind = |kind: &str| told.iter().filter(|line| line["type"] == kind).count();
            assert_eq!(of_kind("process"), document["processes"].as_array().unwrap().len());
            assert_eq!(of_kind("blind_spot"), document["blind_spots"].as_array().unwrap().len());
            let mut end = told.last().unwrap().clone();
            for key in ["schema_version", "type"] {
                end.as_object_mut().unwrap().remove(key);
            }
            assert_eq!(end, document["exit"]);
        }
    }
}

/// The committed captures are of scenarios of the matrix, and get the verdicts of its labels.
#[test]
fn validations() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures");
    let ran = run(&["portal", "validate", "--replay", folder, "--format", "json"]);
    let document = ran.json();
    assert_eq!(Schema::of("validate-v1.json").check(&document), Ok(()));
    assert_eq!(document["exit"]["code"], ran.code, "{ran:?}");
    let runs = document["runs"].as_array().unwrap();
    assert_eq!(runs.len(), captures().len());
    for run in runs {
        assert_eq!(run["right"], true, "{run}");
        assert_ne!(run["culprit_right"], false, "{run}");
        assert_eq!(run["baselines"].as_array().unwrap().len(), 4, "{run}");
    }
    let score = &document["sets"][0]["score"];
    assert_eq!(score["macro_f1"], 1.0);
    assert_eq!(score["false_alarms"]["k"], 0);
    // Nobody has seen the effect of these faults: that is said, and it is no success.
    assert_eq!(score["counts"]["unproven"], runs.len());
    assert_eq!(ran.code, 1);
    assert_eq!(document["exit"]["reason"], "goals that fail: unproven (tune)");
    // What a simple method cannot see is where this tool is for.
    for baseline in document["sets"][0]["baselines"].as_array().unwrap() {
        assert!(baseline["macro_f1"].as_f64().unwrap() < 0.5, "{baseline}");
    }
    let none = tempfile::tempdir().unwrap();
    let ran = run(&["portal", "validate", "--replay", text(none.path()), "--format", "json"]);
    assert_eq!((ran.code, ran.json()["sets"].as_array().unwrap().len()), (3, 0));
}

#[test]
fn traces() {
    let (document, lines) = (Schema::of("trace-v1.json"), Schema::of("trace-ndjson-v1.json"));
    let target = Target::python("python3", "while True: os.getppid(), os.stat('/')", &[]);
    let pid = target.pid().to_string();
    // Its stops end it, unless the machine has no time for the target.
    let traced = run(&["trace", &pid, "-d", "5s", "--format", "json"]).json();
    assert_eq!(document.check(&traced), Ok(()));
    assert!(!traced["processes"][0]["calls"].as_array().unwrap().is_empty(), "{traced}");
    let told = run(&["trace", &pid, "-d", "5s", "--format", "ndjson"]).stdout;
    assert!(told.lines().count() > 3, "{told}");
    for line in told.lines() {
        assert_eq!(lines.check(&serde_json::from_str(line).unwrap()), Ok(()));
    }
}

#[test]
fn a_schema_refuses_what_it_does_not_describe() {
    let lines = Schema::of("ndjson-v1.json");
    for line in [
        r#"{"schema_version": "1.0"}"#,
        r#"{"schema_version": "1.0", "type": "end"}"#,
        r#"{"type": "end", "code": 0, "reason": "x"}"#,
        r#"{"schema_version": "1.0", "type": "end", "code": "0", "reason": "x"}"#,
    ] {
        assert!(lines.check(&serde_json::from_str(line).unwrap()).is_err(), "{line}");
    }
}

/// Each way in which a look can fail that can be had without rights and luck.
#[test]
fn errors() {
    let (errors, lines) = (Schema::of("error-v1.json"), Schema::of("ndjson-v1.json"));
    let folder = tempfile::tempdir().unwrap();
    let no_capture = folder.path().join("letter");
    std::fs::write(&no_capture, "dear reader\n").unwrap();
    let target = Target::waiting();
    let pid = target.pid().to_string();
    for (kind, args) in [
        ("usage", &["--port", "0"][..]),
        ("usage", &[&pid, "--fail-on", "hotspin"]),
        ("not_found", &["2147483646"]),
        ("not_found", &["--name", "no-such-server-anywhere"]),
        ("bad_capture", &["--replay", text(&no_capture)]),
        ("io", &["--replay", "/no/such/file"]),
        ("io", &[&pid, "-o", "/no/such/folder/file"]),
        ("io", &[&pid, "--save", text(&no_capture)]),
    ] {
        let with = |form| run(&[args, &["--format", form]].concat());
        let json = with("json");
        let document = json.json();
        assert_eq!(errors.check(&document), Ok(()));
        assert_eq!((&document["error"]["kind"], json.stderr.as_str()), (&kind.into(), ""), "{args:?}");
        let line = with("ndjson");
        let told: Value = serde_json::from_str(&line.stdout).unwrap();
        assert_eq!(lines.check(&told), Ok(()));
        assert_eq!((&told["type"], &told["kind"]), (&"error".into(), &kind.into()), "{args:?}");
        let annotation = with("github");
        assert!(annotation.stdout.starts_with("::error title=stallscope%3A no verdict::"), "{annotation:?}");
        assert_eq!(annotation.stdout.lines().count(), 1, "{annotation:?}");
        // Where no machine waits for an answer, a person does.
        for form in ["text", "junit", "sarif", "markdown"] {
            let ran = with(form);
            assert_eq!(ran.stdout, "", "{form} {args:?}");
            assert!(ran.stderr.starts_with("error:"), "{form} {args:?}: {ran:?}");
        }
        let code = if kind == "usage" { 2 } else { 3 };
        assert_eq!([json.code, line.code, annotation.code], [code; 3], "{args:?}");
    }
}
