//! Documents as JSON text that is harmless even when it lands on a terminal or in the log of a pipeline.
//!
//! JSON lets most control characters through unescaped; a terminal acts on them. GitHub's and Azure's runners act on
//! `##[…]` anywhere in a line of a log. Both can only stand inside strings, so replacing them by `\u` escapes changes
//! how a document looks and not what it says.

use std::fmt::Write as _;

use serde::Serialize;

use super::sanitize::is_harmful;

/// A document as indented JSON with a newline at its end.
///
/// # Panics
/// Never for the documents of this crate: they have string keys and no foreign serializers.
#[must_use]
pub fn render<T: Serialize>(document: &T) -> String {
    harmless(&serde_json::to_string_pretty(document).expect("a document of plain data serializes"))
}

/// A document as one line of JSON.
///
/// # Panics
/// Never for the documents of this crate: they have string keys and no foreign serializers.
#[must_use]
pub fn line<T: Serialize>(document: &T) -> String {
    harmless(&serde_json::to_string(document).expect("a document of plain data serializes"))
}

fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    let mut before = '\0';
    for c in text.chars() {
        if (c != '\n' && is_harmful(c)) || (c == '#' && before == '#') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
        before = c;
    }
    safe.push('\n');
    safe
}
