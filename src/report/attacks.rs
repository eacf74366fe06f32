//! Foreign texts that would like to do something, in every form of the report: each test is named by the attack.
//!
//! The text stands wherever a capture can bring one: in names, sentences, evidence, advice and blind spots.

use super::exit::{FailOn, decide};
use super::model::Report;
use super::sanitize::is_harmful;
use super::style::Style;
use super::text::{Detail, TextOptions};
use super::{Form, build, render, samples};
use crate::capture::model::BlindSpot;
use crate::diagnose::model::{Advice, Culprit, Finding, Severity, ThreadShare};

/// A report in which every foreign text is this one.
fn attacked(text: &str) -> Report {
    let (mut capture, mut diagnosis) = samples::hot_spin();
    let text = || text.to_owned();
    capture.header.host.hostname = text();
    capture.header.target.cmdline = vec![text()];
    capture.header.target.exe = Some(text());
    capture.header.target.selected_by = text();
    capture.header.server.version = Some(text());
    capture.header.server.listen = vec![text()];
    diagnosis.server.verdict.summary = text();
    diagnosis.blind_spots.push(BlindSpot { what: text(), why: text(), remedy: text() });
    for process in &mut diagnosis.processes {
        process.verdict.summary = text();
        if process.verdict.severity == Some(Severity::Critical) {
            process.verdict.culprit = Some(Culprit {
                kind: "function".into(),
                function: Some(text()),
                file: Some(format!("/srv/{}", text())),
                line: Some(7),
                fd: Some(3),
                what: Some(text()),
                peer: Some(text()),
            });
            process.verdict.subcause = Some(text());
            process.threads = vec![ThreadShare {
                tid: 1,
                name: text(),
                state: "S".into(),
                on_cpu_share: None,
                run_queue_share: None,
                gil: None,
                sleeping_in: Some(text()),
            }];
        }
        for item in process.evidence.iter_mut().chain(&mut process.counter_evidence) {
            (item.source, item.observed) = (text(), text());
        }
        process.findings = vec![Finding { code: "traced".into(), severity: Severity::Warning, text: text() }];
        process.advice = vec![Advice {
            id: "A1".into(),
            change: text(),
            why: vec!["E1".into()],
            risk: text(),
            expected_effect: text(),
        }];
        process.what_would_change = vec![text()];
    }
    let exit = decide(&diagnosis, &FailOn::default(), None);
    build(&capture, &diagnosis, exit)
}

const FORMS: [&str; 8] = ["text", "json", "ndjson", "markdown", "github", "junit", "sarif", "html"];

fn shown(text: &str, form: &str) -> String {
    let fail_on = FailOn::default();
    let root = Some("/srv");
    let form = match form {
        "text" => Form::Text(TextOptions { style: Style::default(), detail: Detail::Verbose }),
        "json" => Form::Json,
        "ndjson" => Form::Ndjson,
        "markdown" => Form::Markdown,
        "github" => Form::Github { root },
        "junit" => Form::Junit { fail_on: &fail_on, root },
        "sarif" => Form::Sarif { root },
        "html" => Form::Html { timeline: None },
        other => panic!("{other}"),
    };
    render(&attacked(text), form)
}

/// That no form lets a character through that a terminal acts on, and that all still say something.
fn assert_harmless(text: &str) {
    for form in FORMS {
        let shown = shown(text, form);
        let harmful: String = shown.chars().filter(|c| *c != '\n' && is_harmful(*c)).collect();
        assert!(harmful.is_empty(), "{form}: {harmful:?}");
        assert!(shown.contains("hot_spin") || shown.contains("hot\\_spin"), "{form}");
    }
}

/// The lines of a report with and without a text that tries to add some.
fn assert_adds_no_line(text: &str) {
    for form in FORMS {
        let lines = |text: &str| shown(text, form).lines().count();
        // As long a word without line ends: text for people wraps.
        let plain: String = text.chars().map(|c| if c.is_control() { '\u{1}' } else { c }).collect();
        assert_eq!(lines(text), lines(&plain), "{form}");
    }
}

#[test]
fn osc_title() {
    assert_harmless("f\x1b]0;pwned\x07()");
}

#[test]
fn osc52_clipboard() {
    assert_harmless("\x1b]52;c;cm0gLXJmIC8=\x07");
}

#[test]
fn csi() {
    assert_harmless("\x1b[2J\x1b[31m\u{9b}1A");
}

#[test]
fn bidi() {
    assert_harmless("a\u{202e}yp.live\u{2066}\u{200f}");
}

#[test]
fn newline() {
    assert_harmless("ok\r\n\u{2028}\u{85}all well");
    assert_adds_no_line("ok\r\nserver: healthy\n");
}

#[test]
fn nul_and_what_xml_cannot_say() {
    assert_harmless("a\0b\x0b");
    for c in ['\0', '\x0b', '\x1b', '\u{fffe}', '\u{ffff}'] {
        let xml = shown(&format!("x{c}y"), "junit");
        assert!(!xml.contains(c), "{c:?}");
        roxmltree::Document::parse(&xml).unwrap();
    }
}

#[test]
fn cdata_end() {
    let attack = r#"]]></system-out></testcase><testcase name="x"><failure/>"#;
    let (plain, xml) = (shown("harmless", "junit"), shown(attack, "junit"));
    assert!(!xml.contains("]]>"));
    let tags = |xml: &str| {
        let document = roxmltree::Document::parse(xml).unwrap();
        let names = document.descendants().filter(roxmltree::Node::is_element);
        names.map(|node| node.tag_name().name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tags(&xml), tags(&plain));
    let document = roxmltree::Document::parse(&xml).unwrap();
    let said = document.descendants().find(|node| node.has_tag_name("system-out")).unwrap();
    assert!(said.text().unwrap().contains(attack), "it is still readable");
}

#[test]
fn attribute_end() {
    let attack = "x\" tests=\"0\" failures='0' <&lt;";
    let xml = shown(attack, "junit");
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!(suite.attribute("hostname"), Some(attack));
    assert_ne!(suite.attribute("failures"), Some("0"));
}

/// The commands that GitHub's runner finds in a text, as its source reads them: `::name …::` at the beginning of a
/// line behind white space, else `##[name …]` anywhere.
fn commands(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some((info, data)) = trimmed.strip_prefix("::").and_then(|rest| rest.split_once("::")) {
            found.push((info, data));
        } else if let Some((info, data)) = line.split_once("##[").and_then(|(_, rest)| rest.split_once(']')) {
            found.push((info, data));
        }
    }
    found
}

const COMMANDS: [&str; 6] = [
    "::error::pwned",
    "\n::stop-commands::token\n::add-mask::e",
    "x ::set-env name=PATH::/tmp ::error file=a,line=1::b",
    "##[error]pwned ##[add-mask]e ##vso[task.setvariable]x",
    "a,file=/etc/passwd,title=b::c",
    "%0A::error::pwned%25 ####[error]x",
];

#[test]
fn github_commands_of_others() {
    for attack in COMMANDS {
        // Long enough that a line breaks at every place of it once.
        for stretched in [attack.to_owned(), format!("{attack} ").repeat(40), attack.repeat(40)] {
            for form in FORMS.into_iter().filter(|form| *form != "github") {
                let shown = shown(&stretched, form);
                assert_eq!(commands(&shown), [], "{form}: {attack:?}");
                assert!(!shown.contains("##vso["), "{form}");
            }
        }
    }
}

#[test]
fn github_commands_of_our_own() {
    let names = |text: &str| {
        let shown = shown(text, "github");
        let found = commands(&shown);
        let first = |info: &str| info.split(' ').next().unwrap_or_default().to_owned();
        assert_eq!(found.len(), shown.lines().count());
        found.iter().map(|(info, _)| first(info)).collect::<Vec<_>>()
    };
    assert_eq!(names("harmless"), ["error", "warning", "notice"]);
    for attack in COMMANDS {
        assert_eq!(names(attack), names("harmless"), "{attack:?}");
        for (info, data) in commands(&shown(attack, "github")) {
            let (_, properties) = info.split_once(' ').unwrap();
            let keys: Vec<&str> =
                properties.split(',').map(|property| property.split_once('=').unwrap().0).collect();
            assert!([&["title"][..], &["file", "line", "title"]].contains(&&keys[..]), "{keys:?}");
            assert!(!info.contains(['\r', '\n']) && !data.contains(['\r', '\n']));
        }
    }
}

#[test]
fn github_property_that_would_be_another() {
    let shown = shown("a,file=/etc/passwd,title=b::c", "github");
    let (info, _) = commands(&shown)[0];
    assert!(info.contains("file=a%2Cfile=/etc/passwd%2Ctitle=b%3A%3Ac,line=7,"), "{info}");
}

/// What Markdown would make of a text outside of code spans, line by line.
fn outside_of_code(markdown: &str) -> String {
    let mut outside = String::new();
    for line in markdown.lines() {
        let mut rest = line;
        while let Some(at) = rest.find('`') {
            let (before, behind) = rest.split_at(at);
            let fence = behind.len() - behind.trim_start_matches('`').len();
            if before.ends_with('\\') {
                outside.push_str(before);
                rest = &behind[1..];
                continue;
            }
            outside.push_str(before);
            let (fence, inside) = behind.split_at(fence);
            // The end is the next run of backticks of the same length.
            let mut end = 0;
            loop {
                let run_at = inside[end..].find('`').unwrap_or_else(|| panic!("an open span: {line}")) + end;
                let run = inside[run_at..].len() - inside[run_at..].trim_start_matches('`').len();
                end = run_at + run;
                if run == fence.len() {
                    break;
                }
            }
            rest = &inside[end..];
        }
        outside.push_str(rest);
        outside.push('\n');
    }
    outside
}

#[test]
fn markdown_table_cells() {
    for attack in ["a | b | c", "a \\| b", "| |\n|---|", "`|`", "a``|``b|"] {
        let markdown = shown(attack, "markdown");
        let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(rows.len(), 6, "{attack:?}: {rows:?}");
        for row in rows {
            assert_eq!(row.matches('|').count(), 6, "{attack:?}: {row}");
        }
    }
}

#[test]
fn markdown_html() {
    for attack in ["<script>alert(1)</script>", "<img src=x onerror=y>", "</details><h1>", "&lt;b&#62;"] {
        let outside = outside_of_code(&shown(attack, "markdown"));
        let known =
            ["<details>", "</details>", "<summary>", "</summary>", "<br>", "<sub>", "</sub>", "<!-- -->"];
        let rest = known.iter().fold(outside, |text, tag| text.replace(tag, ""));
        assert!(!rest.contains(['<', '>']), "{attack}: {rest}");
        assert!(
            !rest.contains("&#62;") && !rest.contains("&lt;b&#"),
            "{attack}: an entity of others: {rest}"
        );
    }
}

#[test]
fn markdown_links_and_pictures() {
    for attack in
        ["[click](http://evil.example)", "![x](http://evil.example/p.png)", "[a]: http://evil.example"]
    {
        let outside = outside_of_code(&shown(attack, "markdown"));
        assert!(!outside.contains("://"), "{attack}: {outside}");
        assert!(outside.matches('[').count() == outside.matches("\\[").count(), "{outside}");
    }
    let outside = outside_of_code(&shown("see www.evil.example or http://evil.example", "markdown"));
    assert!(!outside.contains("www.evil") && !outside.contains("://"), "{outside}");
}

#[test]
fn markdown_mentions_and_references() {
    let outside = outside_of_code(&shown("@everyone fix #1 and !2, $x$ mail a@b.example", "markdown"));
    let bytes = outside.as_bytes();
    for (at, _) in outside.match_indices(['@', '!', '$']) {
        assert!(outside[at + 1..].starts_with("<!-- -->") || bytes[at - 1] == b'<', "{}", &outside[at..]);
    }
    assert!(!outside.contains("#1"), "{outside}");
}

#[test]
fn markdown_code_span_end() {
    for attack in ["`", "``", "a`b``c```d", "` <b> `", "\\`"] {
        let outside = outside_of_code(&shown(attack, "markdown"));
        assert!(!outside.contains("<b>"), "{attack}: {outside}");
    }
}

/// The tags of a page as a browser's tokenizer sees them: a script and a style end at their own end tag only.
fn tags(html: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, behind)) = rest.split_once('<') {
        let end = behind.find('>').unwrap_or(behind.len());
        let tag = &behind[..end];
        tags.push(tag);
        rest = &behind[end..];
        let name = tag.split_whitespace().next().unwrap_or_default();
        if ["script", "style"].contains(&name) {
            let end = rest.find(&format!("</{name}")).unwrap_or_else(|| panic!("{name} never ends"));
            assert!(!rest[..end].contains("<!--"), "a script in a comment ends elsewhere");
            rest = &rest[end..];
        }
    }
    tags
}

/// The data of a page, as its script reads it.
fn data(html: &str) -> serde_json::Value {
    let (_, behind) = html.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(behind.split_once("</script>").unwrap().0).unwrap()
}

/// How many tags a page of ours has, whatever its texts are.
static HTML_TAGS: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| tags(&shown("x", "html")).len());

const HTML: [&str; 8] = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "</style></title></pre><img src=x onerror=alert(1)>",
    "\" onload=\"alert(1)",
    "' autofocus onfocus='x",
    "{{script}}{{data}}{{style_hash}}",
    "&lt;script&gt;&#60;b>",
    "]]><svg/onload=alert(1)>\u{2028}</SCRIPT >",
];

#[test]
fn html_tags() {
    let harmless = shown("harmless", "html");
    for attack in HTML {
        let html = shown(attack, "html");
        assert_eq!(tags(&html), tags(&harmless), "{attack}");
        assert_eq!(data(&html)["report"]["host"]["hostname"], attack, "it is still readable");
        assert!(html.contains("&lt;/script&gt;") || !attack.starts_with("</script"), "{attack}");
    }
}

#[test]
fn html_policy() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let sha = |text: &str| {
        let digest = sha2::Sha256::digest(text.as_bytes());
        format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(digest))
    };
    for attack in HTML {
        let html = shown(attack, "html");
        let between = |start: &str, end: &str| {
            assert_eq!(html.matches(start).count(), 1, "{attack}: {start}");
            html.split_once(start).unwrap().1.split_once(end).unwrap().0.to_owned()
        };
        let policy = between("<meta http-equiv=\"Content-Security-Policy\" content=\"", "\">");
        let (style, script) = (between("<style>", "</style>"), between("<script>", "</script>"));
        // Nothing is permitted but what we have written ourselves, to the byte.
        let wanted = format!(
            "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
            sha(&style),
            sha(&script)
        );
        assert_eq!(policy, wanted);
        assert!(html.find("Content-Security-Policy") < html.find("<style>"), "the policy comes first");
    }
}

#[test]
fn json_string_end() {
    let attack = "\"},{\"level\":\"none\"\\";
    for form in ["json", "sarif"] {
        let document: serde_json::Value = serde_json::from_str(&shown(attack, form)).unwrap();
        assert!(document.to_string().contains("level"), "{form}");
    }
    let sarif: serde_json::Value = serde_json::from_str(&shown(attack, "sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 2);
    assert_eq!(sarif["runs"][0]["invocations"][0]["machine"], attack);
    let lines = shown(attack, "ndjson");
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn sarif_addresses() {
    let sarif: serde_json::Value =
        serde_json::from_str(&shown("../../etc/%2e/a b:?#\n.py", "sarif")).unwrap();
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!(place["uri"], "file:///srv/../../etc/%252e/a%20b%3A%3F%23%0A.py");
    assert_eq!(place["uriBaseId"], serde_json::Value::Null, "what leaves the sources is not below them");
}

#[test]
fn flood() {
    let flood = "漢\u{1b}".repeat(20_000);
    for form in ["text", "markdown", "github", "junit"] {
        assert!(shown(&flood, form).len() < 400_000, "{form}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn any_text(text in proptest::prelude::any::<String>()) {
        roxmltree::Document::parse(&shown(&text, "junit")).unwrap();
        serde_json::from_str::<serde_json::Value>(&shown(&text, "sarif")).unwrap();
        for line in shown(&text, "ndjson").lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        proptest::prop_assert_eq!(shown(&text, "github").lines().count(), 3);
        let page = shown(&text, "html");
        proptest::prop_assert_eq!(tags(&page).len(), *HTML_TAGS);
        proptest::prop_assert_eq!(&data(&page)["report"]["host"]["hostname"], &serde_json::Value::from(text.as_str()));
        for form in FORMS {
            let harmful = shown(&text, form).chars().any(|c| c != '\n' && is_harmful(c));
            proptest::prop_assert!(!harmful, "{}", form);
        }
        for row in shown(&text, "markdown").lines().filter(|line| line.starts_with("| ")) {
            proptest::prop_assert_eq!(row.matches('|').count(), 6);
        }
    }
}
