//! The kept captures of the scenario matrix, judged by today's rules: the goals hold on them. What was measured while they
//! were made (the time to a verdict) is not judged here.

use std::process::Command;

use serde_json::Value;

/// What the validation says of the kept captures at a level.
fn validated(level: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/matrix");
    let out = Command::new(env!("CARGO_BIN_EXE_stallscope"))
        .args(["portal", "validate", "--format", "json", "--level", level, "--replay", folder])
        .output()
        .unwrap();
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// Where memory may not be read, by kernel files alone.
#[test]
fn without_memory_most_of_it_is_told_and_nothing_is_alarmed() {
    let json = validated("proc");
    let score = |set: &str| {
        let sets = json["sets"].as_array().unwrap();
        sets.iter().find(|s| s["set"] == set).map(|s| s["score"].clone()).unwrap()
    };
    for (set, least) in [("tune", 0.85), ("held_out", 0.80), ("third", 0.75)] {
        let score = score(set);
        assert!(score["macro_f1"].as_f64().unwrap() >= least, "{set}: {score:#}");
        assert_eq!(score["false_alarms"]["k"], 0, "{set}");
        assert_eq!(score["confident"]["k"], score["confident"]["of"], "{set}: sure and wrong");
    }
}

#[test]
fn the_goals_hold_on_the_kept_matrix() {
    let json = validated("memory");
    let runs = json["runs"].as_array().unwrap();
    assert!(runs.len() >= 239, "{} runs", runs.len());
    assert_eq!(json["sets"].as_array().unwrap().len(), 3, "{:#}", json["sets"]);
    let goals = json["goals"].as_array().unwrap();
    let name = |goal: &Value| goal["id"].as_str().unwrap().to_owned();
    let failed: Vec<&Value> =
        goals.iter().filter(|goal| goal["holds"] == false && !name(goal).starts_with("time")).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{:#}", json["sets"]);
    for wanted in ["macro_f1", "coverage", "control_alarms", "culprit", "confident"] {
        assert!(
            goals.iter().any(|goal| name(goal) == wanted && goal["holds"] == true),
            "{wanted}: {goals:#?}"
        );
    }
}
