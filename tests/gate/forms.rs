//! Every form of the report over every committed capture, and what pipelines find in them.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use serde_json::Value;

use super::{capture, captures, text};
use crate::tool::{finish, run, start, tool};

/// All forms.
pub const FORMS: [&str; 7] = ["text", "json", "ndjson", "markdown", "github", "junit", "sarif"];

/// That a report is whole in its form.
pub fn assert_whole(form: &str, report: &str) {
    assert!(report.ends_with('\n'), "{form}: {report}");
    match form {
        "json" | "sarif" => drop(serde_json::from_str::<Value>(report).unwrap()),
        "ndjson" => {
            let lines: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.first().unwrap()["type"], "meta");
            assert_eq!(lines.last().unwrap()["type"], "end");
        }
        "junit" => drop(roxmltree::Document::parse(report).unwrap()),
        "github" => {
            let notice = report.lines().last().unwrap();
            assert!(notice.starts_with("::notice title=stallscope%3A "), "{notice}");
        }
        "markdown" => assert!(report.starts_with("### ") && report.contains("</sub>"), "{report}"),
        "text" => assert!(report.contains("exit code "), "{report}"),
        other => panic!("{other}"),
    }
}

#[test]
fn every_capture_in_every_form() {
    for (verdict, file) in captures() {
        for form in FORMS {
            let ran = run(&["--replay", text(&file), "--format", form]);
            assert!([0, 1].contains(&ran.code), "{form} {}: {ran:?}", file.display());
            assert_eq!(ran.stderr, "", "{form}");
            assert_whole(form, &ran.stdout);
            let named = ran.stdout.contains(&verdict) || ran.stdout.contains(&verdict.replace('_', "\\_"));
            // SARIF tells of what is wrong only.
            let silent = form == "sarif" && verdict == "idle";
            assert!(named || silent, "{form} of {} does not say {verdict}", file.display());
        }
    }
}

#[test]
fn every_form_is_the_same_to_the_byte() {
    let file = capture("hot_spin");
    for form in FORMS {
        let report = || run(&["--replay", &file, "--format", form]).stdout;
        assert_eq!(report(), report(), "{form}");
    }
}

fn sarif(file: &str, root: Option<&str>) -> Value {
    let mut command = tool(&["--replay", file, "--format", "sarif"]);
    command.env_remove("GITHUB_WORKSPACE").env_remove("CI_PROJECT_DIR");
    if let Some(root) = root {
        command.env("GITHUB_WORKSPACE", root);
    }
    finish(start(command)).json()
}

#[test]
fn sarif_names_rules_levels_and_places() {
    let mut places = 0;
    for (verdict, file) in captures() {
        let run = &sarif(text(&file), None)["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        for result in run["results"].as_array().unwrap() {
            let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(!rule["help"]["text"].as_str().unwrap().is_empty());
            assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()), "{result}");
            for location in result["locations"].as_array().into_iter().flatten() {
                let physical = &location["physicalLocation"];
                if physical.is_object() {
                    places += 1;
                    assert!(physical["region"]["startLine"].as_u64().unwrap() > 0, "{location}");
                }
                assert_eq!(location["logicalLocations"][0]["kind"], "function", "{location}");
            }
        }
        let ids: BTreeSet<&str> =
            run["results"].as_array().unwrap().iter().map(|r| r["ruleId"].as_str().unwrap()).collect();
        assert_eq!(ids.contains(verdict.as_str()), verdict != "idle", "{ids:?}");
    }
    assert!(places >= 3, "hardly any culprit has a place: {places}");
}

#[test]
fn a_place_below_the_sources_is_named_from_their_root() {
    let file = capture("loop_blocked_on_cpu");
    let absolute = sarif(&file, None);
    let place = |document: &Value| {
        document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"].clone()
    };
    let uri = place(&absolute)["uri"].as_str().unwrap().to_owned();
    let path = uri.strip_prefix("file://").unwrap_or_else(|| panic!("{uri}"));
    let (root, name) = path.rsplit_once('/').unwrap();
    let below = sarif(&file, Some(root));
    assert_eq!(place(&below), serde_json::json!({"uri": name, "uriBaseId": "%SRCROOT%"}));

    let mut command = tool(&["--replay", &file, "--format", "github"]);
    command.env("GITHUB_WORKSPACE", root).env_remove("GITHUB_STEP_SUMMARY");
    let annotations = finish(start(command)).stdout;
    assert!(annotations.starts_with(&format!("::error file={name},line=")), "{annotations}");
}

#[test]
fn fingerprints_outlive_pids_and_tell_places_apart() {
    let prints = |file: &str| -> Vec<String> {
        let document = sarif(file, None);
        let results = document["runs"][0]["results"].as_array().unwrap().clone();
        let print = |r: &Value| r["partialFingerprints"]["verdictAndPlace/v1"].as_str().unwrap().to_owned();
        results.iter().map(print).collect()
    };
    let mut all = BTreeSet::new();
    for (_, file) in captures() {
        // The same run as if every process had another number.
        let capture = stallscope::capture::reader::read(&file).unwrap();
        let mut value = serde_json::to_value(&capture).unwrap();
        renumber(&mut value);
        let other: stallscope::capture::model::Capture = serde_json::from_value(value).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let renumbered = folder.path().join("other.cap");
        let mut writer = stallscope::capture::writer::CaptureFile::create(&renumbered)
            .unwrap()
            .begin(&other.header, stallscope::capture::mask::Values::Masked)
            .unwrap();
        other.records.iter().for_each(|record| writer.write(record).unwrap());
        writer.finish().unwrap();
        let of_file = prints(text(&file));
        assert_eq!(prints(text(&renumbered)), of_file, "{}", file.display());
        all.extend(of_file);
    }
    assert!(all.len() >= 6, "different troubles have the same fingerprint: {all:?}");
}

fn renumber(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(renumber),
        Value::Object(fields) => {
            for (key, field) in fields {
                match key.as_str() {
                    "pid" | "tid" | "loop_tid" | "ppid" | "ns_pid" if field.is_i64() => {
                        *field = (field.as_i64().unwrap() + 100_000).into();
                    }
                    "pids" => {
                        for pid in field.as_array_mut().into_iter().flatten() {
                            *pid = (pid.as_i64().unwrap() + 100_000).into();
                        }
                    }
                    _ => renumber(field),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn a_step_gets_a_summary_where_it_has_a_place_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let [summary, link, victim] = ["summary.md", "link", "victim"].map(|name| folder.path().join(name));
    std::fs::write(&summary, "before\n").unwrap();
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, &link).unwrap();
    let file = capture("hot_spin");
    let with = |place: &str| {
        let mut command = tool(&["--replay", &file, "--format", "github"]);
        command.env("GITHUB_STEP_SUMMARY", place);
        finish(start(command))
    };
    let markdown = run(&["--replay", &file, "--format", "markdown"]).stdout;
    assert_eq!(with(text(&summary)).code, 1);
    assert_eq!(std::fs::read_to_string(&summary).unwrap(), format!("before\n{markdown}"));
    // Never a reason to fail or to speak, and never anything but the file that the runner made.
    for place in [text(&link), "/no/such/folder/file", text(folder.path()), "/dev/full", ""] {
        let ran = with(place);
        assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{place}: {ran:?}");
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    std::fs::write(&summary, vec![b'x'; (1 << 20) - 100]).unwrap();
    with(text(&summary));
    assert_eq!(std::fs::metadata(&summary).unwrap().len(), (1 << 20) - 100, "too long is refused as a whole");
}

#[test]
fn annotations_are_at_most_ten_of_a_kind() {
    use stallscope::diagnose::diagnose;
    use stallscope::diagnose::model::{Finding, Severity};
    use stallscope::report::{build, exit, github};
    let capture = stallscope::capture::reader::read(capture("hot_spin").as_ref()).unwrap();
    let mut diagnosis = diagnose(&capture);
    for (findings, expected) in [(9, 9), (10, 10), (11, 10), (25, 10)] {
        let worker = diagnosis.processes.last_mut().unwrap();
        worker.findings = (0..findings)
            .map(|number| Finding {
                code: format!("finding_{number}"),
                severity: Severity::Warning,
                text: format!("number {number}"),
            })
            .collect();
        let decision = exit::decide(&diagnosis, &exit::FailOn::default(), None);
        let commands = github::render(&build(&capture, &diagnosis, decision), None);
        assert_eq!(commands.matches("::warning ").count(), expected, "{findings}");
        for number in 0..findings {
            assert!(commands.contains(&format!("finding_{number}")), "{number} of {findings} is not told");
        }
    }
}
