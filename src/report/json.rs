//! Documents as JSON text that is harmless even when it lands on a terminal.
//!
//! JSON lets most control characters through unescaped; a terminal acts on them. They can only stand inside
//! strings, so replacing them by `\u` escapes changes how a document looks and not what it says.

use std::fmt::Write as _;

use serde::Serialize;

use super::sanitize::is_harmful;

/// A document as indented JSON with a newline at its end.
///
/// # Panics
/// Never for the documents of this crate: they have string keys and no foreign serializers.
#[must_use]
pub fn render<T: Serialize>(document: &T) -> String {
    let text = serde_json::to_string_pretty(document).expect("a document of plain data serializes");
    let mut safe = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    safe
}
