//! The report as a page for a browser: one file that asks nobody for anything.
//!
//! What a process can be called stands in it twice: in a plain text that is escaped, for readers without scripts, and as
//! JSON that no tag can leave, from which our script makes the page by way of text nodes only. The policy in its head
//! permits this one script and this one style by their hashes and nothing else, so that even a mistake here could not
//! load or run what is not ours. Takes a finished document and its timeline; adds no judgement.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::model::Report;
use super::sanitize::{Charset, PROSE_COLUMNS, escape};
use super::style::Style;
use super::text::{self, Detail, TextOptions};
use super::words::{band, loud};
use super::{json, word};
use crate::diagnose::timeline::Timeline;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = concat!("\n", include_str!("style.css"));
const SCRIPT: &str = concat!(
    "\n",
    include_str!("dom.js"),
    include_str!("charts.js"),
    include_str!("flame.js"),
    include_str!("page.js")
);

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| hash(STYLE));
static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| hash(SCRIPT));

/// What the script reads.
#[derive(Debug, Serialize)]
struct Data<'r> {
    report: &'r Report,
    timeline: Option<&'r Timeline>,
}

/// The report as a page.
#[must_use]
pub fn render(report: &Report, timeline: Option<&Timeline>) -> String {
    let verdict = &report.server.verdict;
    let code = word(&verdict.code);
    fill(PAGE, |name| match name {
        "style_hash" => STYLE_HASH.clone(),
        "script_hash" => SCRIPT_HASH.clone(),
        "style" => STYLE.into(),
        "script" => SCRIPT.into(),
        "title" => harmless(&format!("{code} on {} - stallscope", report.host.hostname)),
        "severity" => verdict.severity.map_or_else(|| "unknown".into(), |severity| word(&severity)),
        "word" => loud(verdict.severity).into(),
        "code" => harmless(&code),
        "summary" => harmless(&verdict.summary),
        "facts" => harmless(&facts(report)),
        "plain" => escaped(&plain(report)),
        "data" => data(report, timeline),
        _ => String::new(),
    })
}

/// A template with its `{{names}}` replaced. What is put in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        page.push_str(before);
        page.push_str(&value(name));
        rest = behind;
    }
    page.push_str(rest);
    page
}

/// What a policy calls a script or a style.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn facts(report: &Report) -> String {
    let server = &report.server;
    let version = server.version.as_deref().unwrap_or_default();
    let mut facts = vec![format!("{} {version}", word(&server.kind)).trim_end().to_owned()];
    facts.extend(server.worker_class.map(|class| word(&class)));
    facts.extend(server.listen.iter().cloned());
    facts.push(format!("on {}", report.host.hostname));
    facts.push(report.collection.started_at.clone());
    let confidence = server.verdict.confidence;
    facts.push(format!("confidence {} ({confidence:.2})", band(confidence)));
    facts.join(" · ")
}

/// All of the report for a reader whose browser runs no script.
fn plain(report: &Report) -> String {
    text::render(report, TextOptions { style: Style::default(), detail: Detail::Verbose })
}

/// One line of JSON that no tag can be found in.
fn data(report: &Report, timeline: Option<&Timeline>) -> String {
    json::line(&Data { report, timeline }).replace('<', "\\u003c")
}

/// A foreign text as HTML shows it.
fn harmless(text: &str) -> String {
    escaped(&escape(text, Charset::Unicode, PROSE_COLUMNS))
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_once() {
        let value = |name: &str| format!("<{name} {{{{b}}}}>");
        assert_eq!(fill("x{{a}}y{{b}}z", value), "x<a {{b}}>y<b {{b}}>z");
        assert_eq!(fill("{{a", value), "<a {{b}}>");
    }

    #[test]
    fn a_hash_is_that_of_the_standard() {
        assert_eq!(hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn our_own_files_end_no_element_and_reach_for_nothing() {
        let script = SCRIPT.replace("'http://www.w3.org/2000/svg'", "the name of SVG");
        for (file, end) in [(STYLE, "</style"), (&script, "</script")] {
            assert!(!file.contains(end) && !file.contains("{{") && !file.contains("<!--"));
            for outside in
                ["http:", "https:", "//www", "url(", "@import", "src=", "fetch(", "XMLHttp", "import("]
            {
                assert!(!file.contains(outside), "{outside}");
            }
        }
        // Text becomes part of the page as text only.
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "Function(",
            "setAttribute('on",
            "DOMParser",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }
}
