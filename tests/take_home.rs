//! Reports that are taken home: two side by side, many as one summary, one as a page; and the story before and after.

mod consumers;
mod tool;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use consumers::browser::{Browser, gallery, size_of};
use serde_json::Value;
use tool::{Ran, assert_error, finish, run, skipped, start, tool};

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures");

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A committed capture by the beginning of its name.
fn capture(name: &str) -> PathBuf {
    let mut files = std::fs::read_dir(CAPTURES).unwrap().map(|entry| entry.unwrap().path());
    files.find(|file| file.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
}

/// The report of a committed capture, in a file.
fn report(name: &str, folder: &Path) -> PathBuf {
    let place = folder.join(format!("{name}.json"));
    let ran = run(&["--replay", text(&capture(name)), "--format", "json", "-o", text(&place)]);
    assert!(ran.code < 2, "{ran:?}");
    place
}

/// That a document obeys the schema that is published for it.
fn assert_obeys(schema: &str, document: &Value) {
    let path = format!("{}/schema/{schema}", env!("CARGO_MANIFEST_DIR"));
    let published: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut known, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource(schema, published).unwrap();
    let index = compiler.compile(schema, &mut known).unwrap();
    let valid = known.validate(document, index).map_err(|error| error.to_string());
    assert_eq!(valid, Ok(()), "{schema}: {document:#}");
}

/// Runs the tool with an input.
fn fed(args: &[&str], input: &[u8]) -> Ran {
    let mut command = tool(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child)
}

#[test]
fn the_fault_before_and_its_cure_after() {
    let folder = tempfile::tempdir().unwrap();
    let (spin, idle) =
        (report("modern-gevent-spin_watcher", folder.path()), report("modern-gevent-none", folder.path()));
    let worse = run(&["diff", text(&idle), text(&spin)]);
    assert_eq!((worse.code, worse.stderr.as_str()), (1, ""), "{worse:?}");
    assert!(
        worse.stdout.starts_with("WORSE  the server was idle (info) and is one_bad_worker (critical)"),
        "{worse:?}"
    );
    let better = run(&["diff", text(&spin), text(&idle), "--format", "json"]);
    let document = better.json();
    assert_obeys("diff-v1.json", &document);
    assert_eq!((better.code, &document["change"]), (0, &"better".into()));
    assert_eq!(document["gone"][0]["code"], "hot_spin");
    assert_eq!(document["new"].as_array().unwrap().len(), 0);
    let same = run(&["diff", text(&spin), text(&spin), "--format", "markdown"]);
    assert_eq!(same.code, 0, "{same:?}");
    assert!(same.stdout.starts_with("### ⚪ SAME: "), "{same:?}");

    // A capture is judged on the way, and a report may come from a pipe, packed or not.
    let judged = run(&["diff", text(&capture("modern-gevent-none")), text(&spin), "--format", "json"]).json();
    let whole = run(&["diff", text(&idle), text(&spin), "--format", "json"]).json();
    for key in ["change", "because", "verdicts", "time_budget", "measures", "new", "gone"] {
        assert_eq!(judged[key], whole[key], "{key}");
    }
    let plain = std::fs::read(&spin).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    for input in
        [plain, packed.finish().unwrap(), std::fs::read(capture("modern-gevent-spin_watcher")).unwrap()]
    {
        let piped = fed(&["diff", text(&idle), "-"], &input);
        assert_eq!(piped.code, 1, "{piped:?}");
        // Lines break elsewhere.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&piped.stdout), words(&worse.stdout.replace(text(&spin), "standard input")));
    }
}

#[test]
fn what_is_no_report_is_told_with_its_one_cause() {
    let folder = tempfile::tempdir().unwrap();
    let good = report("modern-gevent-none", folder.path());
    let whole = std::fs::read_to_string(&good).unwrap();
    let file = |name: &str, content: &str| {
        let place = folder.path().join(name);
        std::fs::write(&place, content).unwrap();
        place
    };
    let lines = run(&["--replay", text(&capture("modern-gevent-none")), "--format", "ndjson"]).stdout;
    for (name, content, cause) in [
        ("empty", "", "it is empty"),
        ("letter", "dear reader\n", "it is neither JSON nor a capture"),
        ("cut", &whole[..whole.len() / 2], "it ends in the middle"),
        ("foreign", "{\"verdict\": \"guilty\"}", "it is no report of stallscope"),
        ("newer", &whole.replacen("\"1.0\"", "\"2.0\"", 1), "written by a newer version"),
        ("lines", &lines, "the lines of a report"),
        ("two", &format!("{whole}{whole}"), "more than one document"),
    ] {
        let bad = file(name, content);
        for sides in [[&bad, &good], [&good, &bad]] {
            assert_error(&["diff", text(sides[0]), text(sides[1])], "bad_report", cause);
        }
    }
    assert_error(&["diff", "/no/such/file", text(&good)], "io", "No such file");
    assert_error(&["merge", "/no/such/*.json"], "io", "no file fits this pattern");
    assert_error(&["diff", "-", "-"], "usage", "a report ends where the input ends");
    assert_error(&["merge", text(&file("letter", "dear reader\n"))], "bad_report", "it is neither JSON");
    // A newer minor version with fields and codes that nobody here has heard of is a report.
    let newer = whole.replacen("\"1.0\"", "\"1.9\"", 1).replace("\"idle\"", "\"dreaming\"").replacen(
        '{',
        "{\"mood\": [1],",
        1,
    );
    let ran = run(&["diff", text(&good), text(&file("minor", &newer)), "--format", "json"]);
    assert_eq!((ran.code, &ran.json()["after"]["code"]), (0, &"dreaming".into()), "{ran:?}");
}

#[test]
fn many_reports_are_one_summary() {
    let folder = tempfile::tempdir().unwrap();
    // Each on a host of its own, as a fleet would send them.
    let names = [
        "modern-gevent-upstream_cooperative",
        "modern-gthread-upstream_slots",
        "modern-gevent-spin_watcher",
        "modern-gevent-none",
    ];
    let mut files = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let file = report(name, folder.path());
        let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        document["host"]["hostname"] = format!("web-{number}").into();
        document["host"]["boot_id"] = format!("boot of {number}").into();
        for process in document["processes"].as_array_mut().unwrap() {
            if process["verdict"]["culprit"]["peer"].is_string() {
                process["verdict"]["culprit"]["peer"] = "10.0.0.5:5432".into();
            }
        }
        std::fs::write(&file, document.to_string()).unwrap();
        files.push(file);
    }
    let args: Vec<&str> = std::iter::once("merge").chain(files.iter().map(|file| text(file))).collect();
    let ran = run(&[&args[..], &["--format", "json"]].concat());
    let fleet = ran.json();
    assert_obeys("merge-v1.json", &fleet);
    assert_eq!((ran.code, &fleet["reports"], &fleet["hosts"]), (1, &4.into(), &4.into()));
    assert_eq!(fleet["looks"][0]["hostname"], "web-2", "the one that is critical");
    assert_eq!(fleet["upstreams"][0]["what"], "10.0.0.5:5432 (PostgreSQL)");
    assert_eq!(fleet["upstreams"][0]["hostnames"], serde_json::json!(["web-0", "web-1"]));
    assert!(
        !fleet["versions"].as_array().unwrap().is_empty()
            && !fleet["blind_spots"].as_array().unwrap().is_empty()
    );
    let page = run(&args).stdout;
    assert!(page.starts_with("CRITICAL  1 critical, 2 warned of, 1 well of 4 servers\n"), "{page}");
    let comment = run(&[&args[..], &["--format", "markdown", "--fail-on", "never"]].concat());
    assert!(comment.code == 0 && comment.stdout.contains("`web-2`"), "{comment:?}");

    // Through a pipe, with one that was cut short: what is left is summed up, and it is no success.
    let stream: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let piped =
        fed(&["merge", "-", "--fail-on", "deadlock", "--format", "json"], &stream[..stream.len() - 9]);
    let fleet = piped.json();
    assert_eq!((piped.code, &fleet["reports"]), (3, &3.into()), "{piped:?}");
    assert_eq!(fleet["missing"][0]["kind"], "bad_report");
    // What a failed look said is a host that is missing.
    let failed = run(&["2147483646", "--format", "json"]).stdout;
    let piped = fed(&["merge", "-", text(&files[3]), "--format", "json"], failed.as_bytes());
    assert_eq!((piped.code, &piped.json()["missing"][0]["kind"]), (3, &"not_found".into()), "{piped:?}");
}

/// A committed capture with a name in it replaced, as plain lines.
fn renamed(name: &str, from: &str, to: &str, folder: &Path) -> PathBuf {
    let packed = std::fs::read(capture(name)).unwrap();
    let mut lines = String::new();
    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_string(&mut lines).unwrap();
    let quoted = serde_json::to_string(to).unwrap();
    assert!(lines.contains(from), "{from} is not in {name}");
    let place = folder.join("renamed.cap");
    std::fs::write(&place, lines.replace(from, quoted.trim_matches('"'))).unwrap();
    place
}

#[test]
fn a_report_is_one_page_that_asks_nobody_for_anything() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("report.html");
    let spin = capture("modern-gevent-spin_watcher");
    let args = ["--replay", text(&spin), "--format", "html"];
    let ran = run(&[&args[..], &["-o", text(&place)]].concat());
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (1, "", ""));
    let page = std::fs::read_to_string(&place).unwrap();
    assert_eq!(page, run(&args).stdout, "the same capture gives the same page");
    // What matters can be read without a script, and before anything else.
    let head = page.split_once("<main>").unwrap().0.split_once("<header").unwrap().1;
    for words in ["CRITICAL", "one_bad_worker", "its only worker: hot_spin", "gunicorn 27.0.1"] {
        assert!(head.contains(words), "{words}: {head}");
    }
    let plain = page.split_once("<pre id=\"plain\">").unwrap().1.split_once("</pre>").unwrap().0;
    assert!(plain.contains("What to do") && plain.contains("find who registered"), "{plain}");
    // Nothing in it points outside: neither an address nor an element that would load one.
    let own = page.replace("'http://www.w3.org/2000/svg'", "");
    for outside in ["http://", "https://", "<link", "<img", "<iframe", "src=", "@import", "url("] {
        assert!(!own.contains(outside), "{outside}");
    }
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let document = run(&["--replay", text(&spin), "--format", "json"]).json();
    assert_eq!(data["report"], document, "the page holds the report");
    let lanes = data["timeline"]["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), document["processes"].as_array().unwrap().len());
    let worker = &document["processes"][1];
    let lane = lanes.iter().find(|lane| lane["pid"] == worker["pid"]).unwrap();
    let busy = lane["slices"].as_array().unwrap().iter().filter(|slice| slice[0].as_u64() > Some(900));
    assert!(busy.count() > 40, "it spins all the time: {lane}");
}

/// Would like to be a script, to change the page and to tell somebody.
const ATTACK: &str = "</script><script>document.title='owned';new Image().src='http://owned.invalid/'</script>\
                      <img src=x onerror=\"document.title='owned'\"><b>";

/// A real browser makes the page, with a name in it that would like to be a script.
#[test]
fn a_browser_shows_the_page_and_runs_nothing_of_others() {
    let Some(browser) = Browser::find() else {
        return skipped("no Chromium is installed: the page was not shown by a browser");
    };
    let folder = tempfile::tempdir().unwrap();
    let hostile = renamed("modern-gevent-cpu_python", "cpu_python", ATTACK, folder.path());
    let place = folder.path().join("report.html");
    let ran = run(&["--replay", text(&hostile), "--format", "html", "-o", text(&place)]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let shown = browser.open(&place, "");
    // Neither an error of ours nor anything that the policy had to refuse.
    assert_eq!((shown.complaints.as_slice(), shown.asked), (&[] as &[String], 0));
    let page = shown.page.split_once("<script").unwrap().0;
    assert!(page.contains("<title>all_blocked on "), "{page}");
    for built in [
        "class=\"card trouble critical\"",
        "class=\"lane\"",
        "class=\"frame f",
        "id=\"process-",
        "What to do",
    ] {
        assert!(page.contains(built), "{built} is missing: {page}");
    }
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;"), "the name is shown: {page}");
    assert!(!page.contains("<img") && !page.contains("<b></b>"), "{page}");
    assert!(page.contains("<pre id=\"plain\" hidden="), "the plain text makes room: {page}");
}

/// That the test above would notice: a page that lets the name act.
#[test]
fn a_page_that_asks_somebody_is_noticed() {
    let Some(browser) = Browser::find() else {
        return skipped("no Chromium is installed: the counting of what a page asks for was not tried");
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("careless.html");
    std::fs::write(&place, format!("<!doctype html><title>x</title><script>{ATTACK}")).unwrap();
    let shown = browser.open(&place, "");
    assert!(shown.page.contains("<title>owned") && shown.asked > 0, "{shown:?}");
}

/// Light and dark, wide and narrow, on the screen and on paper.
#[test]
fn the_page_has_pictures() {
    let Some(browser) = Browser::find() else {
        return skipped("no Chromium is installed: no picture was made of the page");
    };
    let folder = tempfile::tempdir().unwrap();
    for name in ["modern-gevent-cpu_python", "modern-gevent-none"] {
        let page = folder.path().join("report.html");
        run(&["--replay", text(&capture(name)), "--format", "html", "-o", text(&page)]);
        let [light, dark, paper] =
            ["light.png", "dark.png", "pdf"].map(|end| gallery(folder.path(), &format!("{name}.{end}")));
        let (wide, narrow) = ((1280, 1600), (500, 1600));
        for shown in [
            browser.picture(&page, wide, false, &light),
            browser.picture(&page, narrow, true, &dark),
            browser.print(&page, &paper),
        ] {
            assert_eq!((shown.complaints.as_slice(), shown.asked), (&[] as &[String], 0));
        }
        assert_eq!((size_of(&light), size_of(&dark)), (wide, narrow));
        // An empty page of that size is packed into some thousand bytes.
        for picture in [light, dark] {
            assert!(std::fs::metadata(&picture).unwrap().len() > 20_000, "{}", picture.display());
        }
        let paper = std::fs::read(paper).unwrap();
        assert!(paper.starts_with(b"%PDF-") && paper.len() > 10_000, "{name}: {} bytes", paper.len());
    }
}

#[test]
fn the_licences_of_others_are_those_of_what_is_linked() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/packaging/third-party"));
    let printed = command.arg("--offline").current_dir(root).output().unwrap();
    let said = String::from_utf8_lossy(&printed.stderr);
    if said.contains("python3") && printed.status.code() == Some(127) {
        return skipped("python3 is not installed: the licences of others were not compared");
    }
    assert!(printed.status.success(), "{said}");
    let kept = std::fs::read(format!("{root}/THIRD-PARTY.txt")).unwrap();
    assert!(printed.stdout == kept, "packaging/third-party > THIRD-PARTY.txt");
}

/// A loop that a driver blocks answers nobody; the same code with threads does. Neither needs a quiet machine to show.
#[test]
fn the_story_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tool(&["portal", "compare", "block_upstream", "--format", "json"]);
    command.env("TMPDIR", folder.path());
    let ran = finish(start(command));
    if ran.code == 3 && ran.stdout.contains("cannot be installed") {
        return skipped("the portal's software cannot be installed: the story was not compared");
    }
    let document = ran.json();
    assert_obeys("diff-v1.json", &document);
    assert_eq!((ran.code, &document["change"]), (0, &"better".into()), "{ran:?}");
    assert_eq!(
        [&document["before"]["worker_class"], &document["after"]["worker_class"]],
        ["gevent", "gthread"]
    );
    assert_eq!(document["gone"][0]["code"], "loop_blocked_off_cpu", "{document:#}");
    let load = &document["load"];
    assert_eq!((&load["before"]["answers"], &load["before"]["p50_ms"]), (&0.into(), &Value::Null), "{load}");
    assert!(load["after"]["answers"].as_u64() > Some(0) && load["after"]["p99_ms"].is_number(), "{load}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files were left");
    assert!(!running(folder.path()), "a server was left");
}

/// Whether a process works in a folder or below it.
fn running(folder: &Path) -> bool {
    let places = std::fs::read_dir("/proc").unwrap().flatten();
    places
        .filter_map(|place| std::fs::read_link(place.path().join("cwd")).ok())
        .any(|cwd| cwd.starts_with(folder))
}
