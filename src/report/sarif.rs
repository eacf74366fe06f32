//! The report as SARIF 2.1.0, for code scanning and for whatever else reads it.
//!
//! A rule for each verdict and finding of the catalogue that occurs, a result for each complaint, with the line of
//! the culprit where it lies in the sources, and a fingerprint that is the same from run to run: it is made of the
//! verdict and the place, never of pids, descriptors or ports. What is not known is an open result, not a failure.
//! Takes a finished document and the root of the sources, gives text.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::catalogue;
use super::complaints::{Complaint, complaints, source};
use super::json;
use super::model::Report;
use super::word;
use super::words::{Paths, culprit, number};
use crate::diagnose::model::{Culprit, Severity};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// What the root of the sources is called in a result, as code scanning expects it.
const ROOT: &str = "%SRCROOT%";

/// The report as SARIF. `root` is the folder of the checked-out sources.
#[must_use]
pub fn render(report: &Report, root: Option<&str>) -> String {
    let all = complaints(report);
    let mut codes: Vec<&str> = all.iter().map(|complaint| complaint.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let results: Vec<Value> = all.iter().map(|complaint| result(complaint, &codes, root)).collect();
    let rules: Vec<Value> = codes.iter().map(|code| rule(code, &all)).collect();
    let verdict = &report.server.verdict;
    json::render(&json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": report.tool.name,
                "version": report.tool.version,
                "rules": rules,
                "properties": {"rules_version": report.tool.rules_version},
            }},
            "automationDetails": {"id": format!("stallscope/{}/", word(&report.server.kind))},
            "invocations": [{
                "executionSuccessful": report.exit.code < 2 || report.exit.code == 4,
                "exitCode": report.exit.code,
                "exitCodeDescription": report.exit.reason,
                "startTimeUtc": report.collection.started_at,
                "machine": report.host.hostname,
                "toolExecutionNotifications": report.blind_spots.iter().map(|spot| json!({
                    "level": "note",
                    "message": {"text": format!("not seen: {}: {}. What helps: {}.", spot.what, spot.why, spot.remedy)},
                })).collect::<Vec<_>>(),
            }],
            "columnKind": "unicodeCodePoints",
            "properties": {
                "server": word(&verdict.code),
                "summary": verdict.summary,
                "confidence": verdict.confidence,
            },
            "results": results,
        }],
    }))
}

fn rule(code: &str, all: &[Complaint<'_>]) -> Value {
    let worst = all.iter().filter(|complaint| complaint.code == code).filter_map(|c| c.severity).max();
    let (title, help) = catalogue::of(code).map_or((code, code), |entry| (entry.title, entry.help));
    json!({
        "id": code,
        "name": code,
        "shortDescription": {"text": title},
        "fullDescription": {"text": format!("{title}. {help}")},
        "help": {"text": help},
        "defaultConfiguration": {"level": level(worst)},
        "properties": {"tags": ["performance", "reliability"]},
    })
}

fn result(complaint: &Complaint<'_>, codes: &[&str], root: Option<&str>) -> Value {
    let mut result = json!({
        "ruleId": complaint.code,
        "ruleIndex": codes.iter().position(|code| *code == complaint.code),
        // What is not known is neither a failure nor a success.
        "kind": if complaint.severity.is_some() { "fail" } else { "open" },
        "level": level(complaint.severity),
        "message": {"text": message(complaint)},
        "occurrenceCount": complaint.who.len().max(1),
        "partialFingerprints": {"verdictAndPlace/v1": fingerprint(complaint, root)},
        "properties": {
            "pids": complaint.who.iter().map(|process| process.pid).collect::<Vec<_>>(),
            "subcause": complaint.subcause,
            "confidence": complaint.first().map(|process| process.verdict.confidence),
        },
    });
    if let (Some(location), Some(fields)) =
        (complaint.culprit.and_then(|culprit| location(culprit, root)), result.as_object_mut())
    {
        fields.insert("locations".into(), json!([location]));
    }
    result
}

const fn level(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "error",
        Some(Severity::Warning) => "warning",
        Some(Severity::Info) => "note",
        None => "none",
    }
}

/// What a person reads: the case, the evidence, the advice.
fn message(complaint: &Complaint<'_>) -> String {
    let mut lines = vec![format!("{}: {}", complaint.whose(), complaint.summary)];
    lines.extend(complaint.culprit.map(|found| format!("in {}", culprit(found, Paths::Whole))));
    for item in complaint.evidence() {
        let measured = match (item.value, &item.op, item.threshold) {
            (Some(value), Some(op), Some(threshold)) => {
                format!(" ({} {op} {})", number(value), number(threshold))
            }
            _ => String::new(),
        };
        lines.push(format!("{} {}: {}{measured}", item.id, item.source, item.observed));
    }
    lines.extend(
        complaint.advice().iter().map(|advice| format!("What to do, {}: {}", advice.id, advice.change)),
    );
    lines.join("\n")
}

fn location(culprit: &Culprit, root: Option<&str>) -> Option<Value> {
    let line = culprit.line.filter(|line| *line > 0);
    let artifact = match (source(culprit, root), culprit.file.as_deref()) {
        (Some((below, _)), _) => Some(json!({"uri": address(&below), "uriBaseId": ROOT})),
        (None, Some(file)) if file.starts_with('/') => {
            Some(json!({"uri": format!("file://{}", address(file))}))
        }
        _ => None,
    };
    let mut location = serde_json::Map::new();
    if let Some(artifact) = artifact {
        let mut place = json!({"artifactLocation": artifact});
        if let (Some(line), Some(fields)) = (line, place.as_object_mut()) {
            fields.insert("region".into(), json!({"startLine": line}));
        }
        location.insert("physicalLocation".into(), place);
    }
    if let Some(function) = &culprit.function {
        let name = json!({"fullyQualifiedName": function, "kind": "function"});
        location.insert("logicalLocations".into(), json!([name]));
    }
    (!location.is_empty()).then(|| location.into())
}

/// A path as the path of a URI reference (RFC 3986): what is not plainly allowed there is given in per cent.
fn address(path: &str) -> String {
    let mut address = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

/// The same for the same trouble at the same place, whatever the run. Lines move with every edit and are left out.
fn fingerprint(complaint: &Complaint<'_>, root: Option<&str>) -> String {
    let found = complaint.culprit;
    let file = found
        .and_then(|culprit| source(culprit, root).map(|(file, _)| file).or_else(|| culprit.file.clone()));
    let function = found.and_then(|culprit| culprit.function.clone());
    // A backend has a fixed address; what a descriptor is tells its own port, which changes.
    let peer = found.filter(|_| function.is_none()).and_then(|culprit| culprit.peer.clone());
    let role = complaint.who.first().map(|process| word(&process.role));
    let parts = [
        Some(complaint.code.clone()),
        complaint.subcause.map(str::to_owned),
        role,
        found.map(|culprit| culprit.kind.clone()),
        function,
        file,
        peer,
    ];
    format!("{:016x}", fnv1a(&parts.map(Option::unwrap_or_default).join("\0")))
}

/// FNV-1a: short, fixed for ever, and not meant to resist anybody.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_path_becomes_an_address() {
        assert_eq!(address("/srv/a b/ü%#?.py"), "/srv/a%20b/%C3%BC%25%23%3F.py");
        assert_eq!(address("a:b/..//c"), "a%3Ab/..//c");
    }
}
