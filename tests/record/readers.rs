//! What others read of a recording: speedscope's schema and its page, protobuf's compiler, and the rules of a trace.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::consumers::browser::Browser;
use super::consumers::{json_of_package, output, said};
use super::line_of;
use super::tool::skipped;

/// The package that carries speedscope and its schema, and its digest.
const SPEEDSCOPE: (&str, &str) = (
    "speedscope@1.25.0",
    "sha512-cpf9HWTZf1ijLXBJrk87Ve/54tnYx6rlf0gUThvn3ook6h63hLXVOQiMf44PT+XoV503cPfvfiT5gP5vojp6Ag==",
);
/// Where Debian's `golang-github-google-pprof-dev` has the description of pprof's format.
const PPROF: &str = "/usr/share/gocode/src/github.com/google/pprof/proto";

/// By the schema that speedscope publishes.
pub fn by_speedscopes_schema(file: &Path) {
    let schema =
        match json_of_package("speedscope", SPEEDSCOPE, "package/dist/release/file-format-schema.json") {
            Ok(schema) => schema,
            Err(why) => return skipped(&format!("the schema of speedscope cannot be had: {why}")),
        };
    let (mut known, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("speedscope.json", schema).unwrap();
    let index = compiler.compile("speedscope.json", &mut known).unwrap();
    let check = |document: &Value| known.validate(document, index).map_err(|error| error.to_string());
    let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(check(&document), Ok(()));
    // One for each worker that had something to do: who waits may share its worker with who blocks.
    let workers = document["profiles"].as_array().unwrap().len();
    assert!((2..=3).contains(&workers), "{document}");
    let mut wrong = document;
    wrong["profiles"][0]["unit"] = "fortnights".into();
    assert!(check(&wrong).is_err(), "the schema takes anything");
}

/// Opened as its page opens what is dropped onto it: recordings in its own form and in pprof's.
pub fn on_speedscopes_page(folder: &Path, files: &[(&Path, &str)]) {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("speedscope");
    let mut unpack = Command::new("tar");
    unpack.args(["-xzf", "speedscope-1.25.0.tgz"]).current_dir(&package);
    if !package.exists() || !output(&mut unpack).is_some_and(|done| done.status.success()) {
        return skipped("speedscope's page cannot be had");
    }
    let Some(browser) = Browser::find() else {
        return skipped("no Chromium is installed, so speedscope's page opens nothing");
    };
    let page = package.join("package/dist/release/index.html");
    for (file, shows) in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let script = folder.join(format!("{name}.js"));
        let bytes = STANDARD.encode(std::fs::read(file).unwrap());
        std::fs::write(&script, format!("speedscope.loadFileFromBase64({name:?}, {bytes:?})")).unwrap();
        let shown = browser.open(&page, &format!("#localProfilePath={}", script.display()));
        let page = &shown.page;
        assert!(page.contains("Left Heavy") && page.contains(shows), "{shows}: {page}");
        assert_eq!(shown.asked, 0, "{name}: it would be sent somewhere");
    }
}

/// Decoded by protobuf's own compiler from the description of the format.
pub fn by_protobuf(file: &Path) {
    let mut protoc = Command::new("protoc");
    protoc.args(["--decode", "perftools.profiles.Profile", "--proto_path", PPROF, "profile.proto"]);
    protoc.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !Path::new(PPROF).exists() {
        return skipped("golang-github-google-pprof-dev, which has profile.proto, is not installed");
    }
    let Ok(mut child) = protoc.spawn() else {
        return skipped("protoc is not installed, so nobody else decodes pprof's format");
    };
    let mut message = Vec::new();
    let packed = std::fs::File::open(file).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut message).unwrap();
    let mut input = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || std::io::Write::write_all(&mut input, &message));
    let done = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let decoded = String::from_utf8(done.stdout).unwrap();
    let unknown = |line: &str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
    assert!(!decoded.lines().any(unknown), "a field that the description does not have: {decoded}");
    let fields = |name: &str| decoded.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(fields("sample_type {"), 4);
    let strings: Vec<&str> = decoded.lines().filter_map(|line| line.strip_prefix("string_table: ")).collect();
    assert_eq!(strings[0], "\"\"");
    // Each sample has all values, each number a text.
    let values = decoded.lines().filter(|line| line.starts_with("  value: ")).count();
    assert_eq!(values, 4 * fields("sample {"));
    let number = |field: &str| {
        let line = decoded.lines().find(|line| line.starts_with(field)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(strings[number("default_sample_type: ")], "\"wall\"");
    assert_eq!(number("period: "), 10_000_000);
    for name in ["cpu_python", "block_sleep", "upstream_cooperative", "[parked]", "blocked"] {
        assert!(strings.contains(&format!("\"{name}\"").as_str()), "{name}: {strings:?}");
    }
    let line = line_of("faults.py", "original(\"time\", \"sleep\")(seconds)");
    assert!(decoded.contains(&format!("    line: {line}\n")), "the line that blocks");
}

/// Beginning, length and name.
type Slice<'t> = (f64, f64, &'t str);

/// A trace: each track in order, what begins inside something ends inside it, tracks and processes have names.
pub fn is_a_trace(file: &Path) {
    let trace: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut tracks: BTreeMap<(i64, i64), Vec<Slice<'_>>> = BTreeMap::new();
    let (mut processes, mut threads) = (Vec::new(), Vec::new());
    for event in events {
        let (pid, tid) = (event["pid"].as_i64().unwrap(), event["tid"].as_i64().unwrap());
        match (event["ph"].as_str(), event["name"].as_str()) {
            (Some("X"), Some(name)) => {
                let slice = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap(), name);
                tracks.entry((pid, tid)).or_default().push(slice);
            }
            (Some("M"), Some("process_name")) => {
                processes.push((pid, event["args"]["name"].as_str().unwrap()));
            }
            (Some("M"), Some("thread_name")) => threads.push((pid, tid)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(processes.len(), 3, "{processes:?}");
    assert!(processes.iter().all(|(_, name)| name.ends_with("(gevent)")), "{processes:?}");
    assert!(tracks.keys().all(|track| threads.contains(track)), "{threads:?}");
    for (track, slices) in &tracks {
        let mut open: Vec<f64> = Vec::new();
        let mut last = 0.0;
        for (ts, dur, name) in slices {
            assert!(*ts >= last && *dur > 0.0, "{track:?}: {name} at {ts} after {last}");
            last = *ts;
            // A nanosecond is the last digit.
            open.retain(|end| end - ts > 0.000_5);
            assert!(open.iter().all(|end| ts + dur <= end + 0.000_5), "{track:?}: {name} at {ts}");
            open.push(ts + dur);
        }
    }
    let has = |name: &str| tracks.values().flatten().any(|(.., found)| found.contains(name));
    assert!(has("running") && has("cpu_python") && has("blocked: ") && has("block_sleep"));
}
