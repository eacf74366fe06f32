//! What others make of our documents: the official schema of SARIF, a parser of lists of tests, GitHub's own renderer of
//! Markdown, a second validator of JSON Schema, the schemas of the two CI systems; and the worked example of
//! `fixtures/ci/`, run as far as it runs here.
//!
//! The software comes from the registries, pinned by hash, into a folder of its own; without a network these tests
//! say so and end.

#[path = "../consumers/mod.rs"]
mod consumers;
mod example;
mod markdown;
#[path = "../tool/mod.rs"]
mod tool;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use consumers::{json_of_package, output, said};
use tool::{run, skipped};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The package that carries the schema of the standard, and its digest.
const SARIF_SCHEMA: (&str, &str) = (
    "@microsoft/jest-sarif@1.0.0-beta.0",
    "sha512-A1fOhPd6Ic5iDk4F9YPw1qNB4XF+7+IviR7xl8r2F6QzQkx5cpY9LsGk2rExiFIEcBbjpVnSmwWGBukASkiQ9A==",
);

fn captures() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(ROOT).join("fixtures/captures")).unwrap();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "cap"));
    files.sort();
    assert!(files.len() >= 12, "the captures are missing");
    files
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A report of a capture, written to a file as a pipeline would.
fn report(capture: &Path, form: &str, folder: &Path) -> PathBuf {
    let place = folder.join(format!("{}.{form}", capture.file_stem().unwrap().to_str().unwrap()));
    let ran = run(&["--replay", text(capture), "--format", form, "-o", text(&place)]);
    assert!([0, 1].contains(&ran.code) && ran.stderr.is_empty(), "{ran:?}");
    place
}

/// The Python that has the packages of `fixtures/ci/requirements.txt`, or why there is none.
fn python() -> Result<&'static Path, &'static str> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = PYTHON.get_or_init(|| {
        let requirements = Path::new(ROOT).join("fixtures/ci/requirements.txt");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("consumers");
        let (interpreter, marker) = (folder.join("bin/python"), folder.join("complete"));
        let wanted = std::fs::read_to_string(&requirements).unwrap();
        if std::fs::read_to_string(&marker).is_ok_and(|there| there == wanted) {
            return Ok(interpreter);
        }
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&folder);
        let mut install = Command::new(&interpreter);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
        ]);
        install.arg(&requirements);
        for step in [&mut venv, &mut install] {
            match output(step) {
                Some(done) if done.status.success() => {}
                Some(done) => {
                    return Err(said(&done).lines().last().unwrap_or("it failed silently").to_owned());
                }
                None => return Err("no python3 was found".into()),
            }
        }
        std::fs::write(&marker, &wanted).unwrap();
        Ok(interpreter)
    });
    built.as_deref().map_err(String::as_str)
}

/// The schema of SARIF 2.1.0 as its committee published it, or why it cannot be had.
fn sarif_schema() -> Result<Value, String> {
    json_of_package("sarif", SARIF_SCHEMA, "package/lib/schemas/sarif-2.1.0-rtm.5.json")
}

#[test]
fn sarif_obeys_the_schema_of_the_standard() {
    let schema = match sarif_schema() {
        Ok(schema) => schema,
        Err(why) => return skipped(&format!("the schema of SARIF cannot be had: {why}")),
    };
    let (mut known, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("sarif.json", schema).unwrap();
    let index = compiler.compile("sarif.json", &mut known).unwrap();
    let check = |document: &Value| known.validate(document, index).map_err(|error| error.to_string());
    for capture in captures() {
        for more in [&[][..], &["--redact"]] {
            let document = run(&[&["--replay", text(&capture), "--format", "sarif"], more].concat()).json();
            assert_eq!(check(&document), Ok(()), "{}: {document:#}", capture.display());
            let mut wrong = document;
            wrong["runs"][0]["tool"]["driver"]["name"] = 7.into();
            assert!(check(&wrong).is_err(), "the schema takes anything");
        }
    }
}

/// What `junitparser` finds in a report: tests, failures, skipped; then class, name and result of each case.
const READ_JUNIT: &str = r"
import json, sys
from junitparser import Failure, JUnitXml, Skipped
told = []
for place in sys.argv[1:]:
    suites = list(JUnitXml.fromfile(place))
    suite, cases = suites[0], list(suites[0])
    results = [type(case.result[0]).__name__ if case.result else 'Passed' for case in cases]
    assert len(suites) == 1 and suite.tests == len(cases)
    assert suite.failures == results.count('Failure') and suite.skipped == results.count('Skipped')
    told.append([[case.classname, case.name, result, case.system_out] for case, result in zip(cases, results)])
print(json.dumps(told))
";

#[test]
fn junit_reports_are_read_by_others() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skipped(&format!("junitparser cannot be had: {why}")),
    };
    let folder = tempfile::tempdir().unwrap();
    let captures = captures();
    let reports: Vec<PathBuf> = captures.iter().map(|file| report(file, "junit", folder.path())).collect();
    let done = output(Command::new(python).args(["-c", READ_JUNIT]).args(&reports)).unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    for (capture, cases) in captures.iter().zip(told.as_array().unwrap()) {
        let verdict = capture.file_stem().unwrap().to_str().unwrap().split_once('.').unwrap().1;
        let critical = !["idle", "waiting_upstream", "gil_contention"].contains(&verdict);
        let worker =
            cases.as_array().unwrap().iter().find(|case| case[0] == "worker 1" && case[1] == verdict);
        let worker = worker.unwrap_or_else(|| panic!("{}: {cases}", capture.display()));
        assert_eq!(worker[2], if critical { "Failure" } else { "Passed" }, "{worker}");
        assert!(worker[3].as_str().unwrap().contains("Evidence E1"), "{worker}");
    }
}

#[test]
fn another_validator_agrees_with_the_schemas() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skipped(&format!("check-jsonschema cannot be had: {why}")),
    };
    let validate = |args: &[&str], files: &[PathBuf]| {
        let mut command = Command::new(python);
        command.args(["-m", "check_jsonschema"]).args(args).args(files);
        let done = output(&mut command).unwrap();
        (done.status.success(), said(&done))
    };
    let schemas = ["report-v1.json", "ndjson-v1.json", "error-v1.json"]
        .map(|name| Path::new(ROOT).join("schema").join(name));
    assert!(validate(&["--check-metaschema"], &schemas).0);
    let folder = tempfile::tempdir().unwrap();
    let reports: Vec<PathBuf> = captures().iter().map(|file| report(file, "json", folder.path())).collect();
    let (valid, why) = validate(&["--schemafile", text(&schemas[0])], &reports);
    assert!(valid, "{why}");
    let mut lines = Vec::new();
    for (number, line) in
        std::fs::read_to_string(report(&captures()[0], "ndjson", folder.path())).unwrap().lines().enumerate()
    {
        lines.push(folder.path().join(format!("line-{number}.json")));
        std::fs::write(&lines[number], line).unwrap();
    }
    let (valid, why) = validate(&["--schemafile", text(&schemas[1])], &lines);
    assert!(valid, "{why}");
    assert!(!validate(&["--schemafile", text(&schemas[0])], &lines).0, "a line is no report");
    for (schema, example) in
        [("vendor.github-workflows", "github-actions.yml"), ("vendor.gitlab-ci", "gitlab-ci.yml")]
    {
        let example = Path::new(ROOT).join("fixtures/ci").join(example);
        let (valid, why) = validate(&["--builtin-schema", schema], &[example]);
        assert!(valid, "{schema}: {why}");
    }
}
