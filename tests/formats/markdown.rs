//! Markdown of a hostile target, rendered by the library that renders it at GitHub, with raw HTML let through: whatever
//! stands in a name, the page has the same tags as with a harmless one, and refers to nobody.

use std::path::Path;
use std::process::Command;

use stallscope::capture::mask::Values;
use stallscope::capture::model::{BlindSpot, Record};
use stallscope::capture::reader;
use stallscope::capture::writer::CaptureFile;

use super::tool::{run, skipped};
use super::{captures, output, python, said, text};

const ATTACKS: [&str; 25] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details></td></table><h1>all well</h1>",
    "<!-- --><b>bold</b><!--",
    "a | b | c",
    "a \\| b \\",
    "| x |\n|---|\n| y |",
    "`<b>`<i>`",
    "``` x",
    "*a* _b_ __c__ **d** ~~e~~ ~f~",
    "[click](http://evil.example) ![x](http://evil.example/p.png)",
    "[a]: http://evil.example \"t\"",
    "http://evil.example https://evil.example ftp://evil.example",
    "www.evil.example WWW.EVIL.EXAMPLE",
    "mailto:root@evil.example root@evil.example xmpp:root@evil.example",
    "@everyone #1 !2 gh#3 $x$ :rocket:",
    "# title\n- item\n> quote\n\n    code",
    "&lt;b&gt; &#60;b&#62; &copy; &#64;everyone",
    "<http://evil.example> <root@evil.example>",
    "1. one",
    "12) twelve",
    "+ plus",
    "=== ---",
    "        code",
    "- [ ] task\n---\n***",
];

/// Prints, for each page, its tags in their order; fails where text outside of code refers to somebody.
const RENDER: &str = r#"
import json, re, sys
from html.parser import HTMLParser
import cmarkgfm
from cmarkgfm.cmark import Options

class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.code, self.refers = [], 0, []
    def handle_starttag(self, tag, attributes):
        self.tags.append([tag, attributes])
        self.code += tag == "code"
    def handle_endtag(self, tag):
        self.tags.append(["/" + tag, []])
        self.code -= tag == "code"
    def handle_data(self, text):
        if not self.code and re.search(r"@\w|#\d|://|www\.\w|\$\w|:[a-z]+:", text, re.I):
            self.refers.append(text)

pages = []
for place in sys.argv[1:]:
    page = Page()
    page.feed(cmarkgfm.github_flavored_markdown_to_html(open(place).read(), options=Options.CMARK_OPT_UNSAFE))
    page.close()
    assert not page.refers, (place, page.refers)
    pages.append(page.tags)
print(json.dumps(pages))
"#;

/// A capture of a blocked worker whose names are all this text.
fn attacked(name: &str, place: &Path) {
    let file = captures().into_iter().find(|file| text(file).contains("gevent-cpu_python")).unwrap();
    let mut capture = reader::read(&file).unwrap();
    capture.header.host.hostname = name.into();
    capture.header.server.version = Some(name.into());
    capture.header.server.listen = vec![name.into()];
    for record in &mut capture.records {
        if let Record::Frame { frame, .. } = record
            && frame.file.contains("/app/")
        {
            frame.function = name.into();
            frame.file = format!("/srv/app/{name}");
        }
    }
    let spot = BlindSpot { what: name.into(), why: name.into(), remedy: name.into() };
    let end = capture.records.len() - 1;
    capture.records.insert(end, Record::Blind(spot));
    let mut writer = CaptureFile::create(place).unwrap().begin(&capture.header, Values::Masked).unwrap();
    capture.records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
}

#[test]
fn a_hostile_name_changes_nothing_but_text() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skipped(&format!("cmarkgfm cannot be had: {why}")),
    };
    let folder = tempfile::tempdir().unwrap();
    let pages: Vec<_> = ["harmless"]
        .iter()
        .chain(&ATTACKS)
        .enumerate()
        .map(|(number, name)| {
            let [capture, page] = ["cap", "md"].map(|end| folder.path().join(format!("{number}.{end}")));
            attacked(name, &capture);
            let ran = run(&["--replay", text(&capture), "--format", "markdown", "-o", text(&page)]);
            assert_eq!(ran.code, 1, "{ran:?}");
            page
        })
        .collect();
    let done = output(Command::new(python).args(["-c", RENDER]).args(&pages)).unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let tags: Vec<serde_json::Value> = serde_json::from_slice(&done.stdout).unwrap();
    assert!(tags[0].to_string().matches("\"td\"").count() >= 10, "the page has no table: {}", tags[0]);
    for (attack, tags_of) in ATTACKS.iter().zip(&tags[1..]) {
        assert_eq!(tags_of, &tags[0], "{attack:?}");
    }
}
