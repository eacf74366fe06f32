//! Foreign names that would like to be more than names, in every form of a recording: each test is named by the attack.

use std::io::Read;

use serde_json::Value;

use super::ProfileForm;
use super::samples::{EVERYTHING, bytes, recording, recording_of, text};
use super::{By, Selection};
use crate::report::sanitize::is_harmful;

const FORMS: [ProfileForm; 5] = [
    ProfileForm::Collapsed,
    ProfileForm::Flamegraph,
    ProfileForm::Speedscope,
    ProfileForm::Pprof,
    ProfileForm::Chrome,
];

const ALL: Selection = Selection { by: By::Thread, ..EVERYTHING };

/// What a form says to whoever reads it; a compressed one is unpacked.
fn said(attack: &str, form: ProfileForm) -> String {
    let written = bytes(&recording_of(attack, attack), ALL, form);
    let plain = if form == ProfileForm::Pprof {
        let mut message = Vec::new();
        flate2::read::GzDecoder::new(written.as_slice()).read_to_end(&mut message).unwrap();
        message
    } else {
        written
    };
    assert!(!plain.is_empty(), "{form:?}");
    String::from_utf8_lossy(&plain).into_owned()
}

/// The lines of the folded form: stack and number.
fn lines(attack: &str) -> Vec<(Vec<String>, u64)> {
    let text = said(attack, ProfileForm::Collapsed);
    let line = |line: &str| {
        let (stack, weight) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        (stack.split(';').map(str::to_owned).collect(), weight.parse().unwrap_or_else(|_| panic!("{line:?}")))
    };
    text.lines().map(line).collect()
}

/// That the stacks have as many frames and the weights that they have with harmless names.
fn assert_same_stacks(attack: &str) {
    let shape = |attack: &str| {
        let mut shape: Vec<(usize, u64)> = lines(attack).iter().map(|(s, w)| (s.len(), *w)).collect();
        shape.sort_unstable();
        shape
    };
    assert_eq!(shape(attack), shape("harmless"), "{attack:?}");
}

#[test]
fn terminals_and_viewers_see_no_control_characters() {
    for attack in ["\x1b]0;pwned\x07", "a\u{202e}b", "a\0b", "x\u{9b}2J", "a\u{2028}b"] {
        for form in FORMS.into_iter().filter(|form| *form != ProfileForm::Pprof) {
            let text = said(attack, form);
            let harmful: String = text.chars().filter(|c| *c != '\n' && is_harmful(*c)).collect();
            // The script of the picture has tabs of its own.
            assert_eq!(harmful.trim_matches('\t'), "", "{form:?} {attack:?}");
        }
        assert!(!said(attack, ProfileForm::Pprof).contains(attack), "{attack:?}");
    }
}

#[test]
fn a_semicolon_would_be_another_frame() {
    assert_same_stacks("a;b;c");
    assert!(lines("a;b").iter().any(|(stack, _)| stack.iter().any(|frame| frame.starts_with("a\\x3bb "))));
}

#[test]
fn a_line_end_would_be_another_stack() {
    assert_same_stacks("a 1\nb 2\r\nc 3");
}

#[test]
fn a_number_would_be_another_weight() {
    for attack in ["f 100", "f 100 200", "  5", "9", "f (x) 7"] {
        assert_same_stacks(attack);
        // inferno takes two numbers at the end of a line for two weights.
        for line in said(attack, ProfileForm::Collapsed).lines() {
            let stack = line.rsplit_once(' ').unwrap().0;
            assert!(stack.ends_with([')', ']']), "{line:?}");
        }
    }
}

#[test]
fn a_comment_would_be_no_stack() {
    assert_same_stacks("# no line");
    assert!(!said("# no line", ProfileForm::Collapsed).lines().any(|line| line.starts_with('#')));
}

#[test]
fn svg_scripts_and_elements() {
    let elements = |attack: &str| {
        let svg = said(attack, ProfileForm::Flamegraph);
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        let document = roxmltree::Document::parse_with_options(&svg, options).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            *counts.entry(node.tag_name().name().to_owned()).or_insert(0) += 1;
            assert!(!node.attributes().any(|a| a.name().starts_with("on") && a.value().contains("alert")));
        }
        counts
    };
    for attack in [
        "</text><script>alert(1)</script>",
        "\"><image href='x' onerror='alert(1)'/>",
        "]]><script>alert(1)</script><![CDATA[",
        "<!--",
        "&lt;script&gt;",
        "</title><a href='javascript:alert(1)'>x</a>",
    ] {
        assert_eq!(elements(attack), elements("harmless"), "{attack}");
    }
}

#[test]
fn json_string_end() {
    let attack = "\"},{\"ph\":\"X\"\\";
    for form in [ProfileForm::Speedscope, ProfileForm::Chrome] {
        let document: Value = serde_json::from_str(&said(attack, form)).unwrap();
        let harmless: Value = serde_json::from_str(&said("harmless", form)).unwrap();
        let size = |document: &Value| match form {
            ProfileForm::Chrome => document["traceEvents"].as_array().unwrap().len(),
            _ => document["shared"]["frames"].as_array().unwrap().len(),
        };
        assert_eq!(size(&document), size(&harmless));
    }
}

#[test]
fn flood() {
    let name = "x".repeat(100_000);
    for form in FORMS {
        assert!(said(&name, form).len() < 200_000, "{form:?}");
    }
}

#[test]
fn names_of_threads_are_foreign_too() {
    let text = text(&recording_of("a;b\n9 9", "x"), ALL, ProfileForm::Collapsed);
    assert!(text.contains("a\\x3bb\\x0a9 9 (5241);"), "{text}");
    assert_eq!(text.lines().count(), text_of_harmless().lines().count());
}

fn text_of_harmless() -> String {
    text(&recording(), ALL, ProfileForm::Collapsed)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn any_name(name in proptest::prelude::any::<String>()) {
        assert_same_stacks(&name);
        serde_json::from_str::<Value>(&said(&name, ProfileForm::Speedscope)).unwrap();
        serde_json::from_str::<Value>(&said(&name, ProfileForm::Chrome)).unwrap();
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        roxmltree::Document::parse_with_options(&said(&name, ProfileForm::Flamegraph), options).unwrap();
    }
}
