//! The kept captures of the scenario matrix, judged by today's rules: the goals hold on them. What was measured while they
//! were made (the time to a verdict) is not judged here.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_goals_hold_on_the_kept_matrix() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/matrix");
    let out = Command::new(env!("CARGO_BIN_EXE_stallscope"))
        .args(["portal", "validate", "--format", "json", "--replay", folder])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    let runs = json["runs"].as_array().unwrap();
    assert!(runs.len() >= 238, "{} runs", runs.len());
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
