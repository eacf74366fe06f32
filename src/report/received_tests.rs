//! Reports of others: what is read, what is passed over, what is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::report::exit::{FailOn, decide};
use crate::report::{build, json, samples};

fn sample() -> Report {
    let (capture, diagnosis) = samples::hot_spin();
    let exit = decide(&diagnosis, &FailOn::default(), None);
    build(&capture, &diagnosis, exit)
}

fn cause(text: &str) -> String {
    let error = parse_one(text.as_bytes(), "x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadReport);
    error.cause
}

#[test]
fn our_own_report_is_read_as_it_was_written() {
    let report = sample();
    let text = json::render(&report);
    let received = parse_one(text.as_bytes(), "x").unwrap();
    assert_eq!(received, own(&report).unwrap());
    assert_eq!((received.processes.len(), received.server.verdict.code.as_str()), (5, "one_bad_worker"));
    assert_eq!(received.server.verdict.severity(), Some(Severity::Critical));
    assert!((received.processes[1].time_budget["on_cpu"].share - 0.972).abs() < 1e-9);
}

#[test]
fn unknown_codes_fields_and_minor_versions_are_accepted() {
    let text = r#"{"schema_version":"1.7","new":[1],"server":{"kind":"lighthouse","verdict":{"code":"haunted","severity":"eerie"}},
        "processes":[{"pid":1,"role":"ghost","verdict":{"code":"haunting","mood":"x"},"time_budget":{"in_limbo":{"share":0.5,"method":"guess"}}}]}"#;
    let received = parse_one(text.as_bytes(), "x").unwrap();
    assert_eq!(
        (received.server.verdict.code.as_str(), received.server.verdict.severity()),
        ("haunted", None)
    );
    assert!(received.processes[0].serves());
    assert!((received.processes[0].time_budget["in_limbo"].share - 0.5).abs() < 1e-9);
}

#[test]
fn what_is_no_report_is_refused_for_one_reason() {
    assert_eq!(cause(""), "it is empty");
    assert_eq!(cause("  \n"), "it is empty");
    assert_eq!(cause("dear reader"), "it is neither JSON nor a capture");
    for text in [
        "[]",
        "7",
        "{}",
        r#"{"schema_version":1}"#,
        r#"{"schema_version":"x"}"#,
        r#"{"schema_version":"0.9"}"#,
    ] {
        assert_eq!(cause(text), "it is no report of stallscope", "{text}");
    }
    assert!(cause(r#"{"schema_version":"2.0"}"#).starts_with("it was written by a newer version"));
    assert!(cause(r#"{"schema_version":"1.0","type":"end"}"#).starts_with("these are the lines"));
    let wrong = r#"{"schema_version":"1.0","server":{"verdict":{"code":"idle"}},"processes":[7]}"#;
    assert_eq!(cause(wrong), "it is no report of stallscope");
}

#[test]
fn wherever_it_was_cut_it_was_cut_short() {
    let text = json::render(&sample());
    let end = text.trim_end().len();
    for at in (1..end).step_by(97) {
        assert_eq!(cause(&text[..at]), "it ends in the middle: it was cut short", "{at}");
    }
}

#[test]
fn several_documents_may_follow_each_other_and_a_failed_look_is_one() {
    let report = json::render(&sample());
    let error = r#"{"schema_version":"1.0","error":{"kind":"not_permitted","message":"m","cause":"c","value":null,"remedies":[]}}"#;
    let newer = r#"{"schema_version":"2.0"}"#;
    let stream = format!("{report}{error}\n{newer}{report}{{");
    let documents: Vec<_> = documents(stream.as_bytes(), "x").collect();
    assert!(matches!(
        &documents[..],
        [Ok(Document::Report(_)), Ok(Document::Error(e)), Err(_), Ok(Document::Report(_)), Err(_)] if e.kind == "not_permitted"
    ));
    assert!(
        parse_one(format!("{report}{report}").as_bytes(), "x").unwrap_err().cause.contains("more than one")
    );
    assert!(parse_one(error.as_bytes(), "x").unwrap_err().cause.contains("the look failed"));
}

#[test]
fn a_document_is_bounded_and_their_number_is_not() {
    const MOST: u64 = 20_000;
    let short = r#"{"schema_version":"1.0","error":{"kind":"gone","message":"m","cause":"c"}}"#;
    let many = 2 * MOST as usize / short.len();
    let stream = format!("{}\"{}\"", short.repeat(many), "x".repeat(2 * MOST as usize));
    let mut documents: Vec<_> = documents_within(MOST, stream.as_bytes(), "x").collect();
    let last = documents.pop().unwrap().unwrap_err();
    assert!(last.kind == ErrorKind::BadReport && last.cause.contains("longer than"), "{last:?}");
    assert!(documents.len() == many && documents.iter().all(Result::is_ok), "{}", documents.len());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_report_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let documents: Vec<_> = documents(bytes.as_slice(), "x").collect();
        proptest::prop_assert!(documents.iter().all(Result::is_err));
    }
}
