//! The forms of a recording tell the same, each in its way.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use super::samples::{EVERYTHING, WORKERS, bytes, recording, text};
use super::{By, Mode, ProfileForm, Selection};

fn collapsed(selection: Selection) -> BTreeMap<String, u64> {
    let text = text(&recording(), selection, ProfileForm::Collapsed);
    let line = |line: &str| {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), weight.parse().unwrap())
    };
    text.lines().map(line).collect()
}

const COMPUTING: &str = "view (/srv/app/views.py:30);compute (/srv/app/views.py:12)";
const RECEIVING: &str = "[cut off];view (/srv/app/views.py:30);compute (/srv/app/views.py:12);wait (/srv/app/views.py);[recvfrom]";

#[test]
fn each_mode_has_its_time() {
    let of = |mode| collapsed(Selection { mode, idle: false, by: By::Server });
    let waiting = format!("{COMPUTING};[waits for the GIL]");
    let parked = "view (/srv/app/views.py:30);SocketMixin.recv (gevent/_socketcommon.py:657);[parked]";
    let wall: BTreeMap<String, u64> = [
        // 20 of 40 looks in each of two workers; of each 10 ms, 8 on a processor.
        (COMPUTING.to_owned(), 400_000),
        (RECEIVING.to_owned(), 200_000),
        (waiting.clone(), 800_000),
        (parked.to_owned(), 2_400_000),
        ("[no Python stack]".to_owned(), 100_000),
    ]
    .into();
    assert_eq!(of(Mode::Wall), wall);
    // The first look at a thread knows nothing of how its time was divided.
    let cpu = [(COMPUTING.to_owned(), 324_000), ("[no Python stack]".to_owned(), 80_000)];
    assert_eq!(of(Mode::Cpu), cpu.into());
    assert_eq!(of(Mode::Blocked), [(RECEIVING.to_owned(), 200_000), (waiting, 800_000)].into());
}

#[test]
fn who_waits_for_work_is_told_when_asked_for() {
    let idle = "Hub.run (gevent/hub.py:647);[idle: epoll_wait]";
    assert_eq!(collapsed(EVERYTHING)[idle], 100_000);
    assert!(!collapsed(Selection { idle: false, ..EVERYTHING }).contains_key(idle));
}

#[test]
fn stacks_are_told_apart_as_asked_for() {
    let by_worker = collapsed(Selection { by: By::Worker, ..EVERYTHING });
    assert_eq!(by_worker[&format!("worker 4241 (gevent);{COMPUTING}")], 200_000);
    let by_thread = collapsed(Selection { by: By::Thread, ..EVERYTHING });
    assert_eq!(by_thread[&format!("worker 4242 (gevent);MainThread (4242);{COMPUTING}")], 200_000);
    assert!(by_thread.keys().any(|stack| stack.starts_with("worker 4241 (gevent);greenlets;view ")));
    assert_eq!(by_thread.values().sum::<u64>(), collapsed(EVERYTHING).values().sum::<u64>());
}

#[test]
fn nothing_selected_is_nothing() {
    let mut profile = recording();
    profile.entries.clear();
    for form in [
        ProfileForm::Collapsed,
        ProfileForm::Flamegraph,
        ProfileForm::Speedscope,
        ProfileForm::Pprof,
        ProfileForm::Chrome,
    ] {
        assert!(bytes(&profile, EVERYTHING, form).is_empty(), "{form:?}");
    }
}

#[test]
fn speedscope_has_a_profile_for_each_worker() {
    let file: Value = serde_json::from_str(&text(&recording(), EVERYTHING, ProfileForm::Speedscope)).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap();
    let profiles = file["profiles"].as_array().unwrap();
    assert_eq!(
        profiles.iter().map(|p| p["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["worker 4241 (gevent)", "worker 4242 (gevent)"]
    );
    let mut total = 0;
    for profile in profiles {
        let weights: Vec<u64> =
            profile["weights"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap()).collect();
        let samples = profile["samples"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        for number in samples.iter().flat_map(|sample| sample.as_array().unwrap()) {
            assert!((number.as_u64().unwrap() as usize) < frames.len());
        }
        assert_eq!(profile["endValue"].as_u64().unwrap(), weights.iter().sum::<u64>());
        total += weights.iter().sum::<u64>();
    }
    assert_eq!(total / 1_000, collapsed(EVERYTHING).values().sum::<u64>());
    let names: Vec<&str> = profiles[0]["samples"][0]
        .as_array()
        .unwrap()
        .iter()
        .map(|number| frames[number.as_u64().unwrap() as usize]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["view", "compute"], "outermost first");
    assert_eq!(frames[0]["file"], "/srv/app/views.py");
}

#[test]
fn pprof_is_compressed_and_holds_its_names() {
    let packed = bytes(&recording(), EVERYTHING, ProfileForm::Pprof);
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut message).unwrap();
    for name in ["samples", "cpu", "wall", "blocked", "nanoseconds", "compute", "worker 4241 (gevent)"] {
        assert!(message.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
}

/// The slices of a trace: pid, tid, name, beginning and end in nanoseconds.
fn slices(text: &str) -> Vec<(i64, i64, String, u64, u64)> {
    let trace: Value = serde_json::from_str(text).unwrap();
    let ns = |value: &Value| (value.as_f64().unwrap() * 1_000.0).round() as u64;
    let events = trace["traceEvents"].as_array().unwrap();
    let slices = events.iter().filter(|event| event["ph"] == "X");
    slices
        .map(|event| {
            let from = ns(&event["ts"]);
            let (pid, tid) = (event["pid"].as_i64().unwrap(), event["tid"].as_i64().unwrap());
            (pid, tid, event["name"].as_str().unwrap().to_owned(), from, from + ns(&event["dur"]))
        })
        .collect()
}

#[test]
fn a_trace_is_nested_and_in_order_and_names_its_tracks() {
    let text = text(&recording(), EVERYTHING, ProfileForm::Chrome);
    let slices = slices(&text);
    let mut open: Vec<(i64, u64)> = Vec::new();
    let mut last = (0, 0);
    for (_, tid, name, from, to) in &slices {
        assert!(from < to, "{name}");
        assert!((*tid, *from) >= last || *tid != last.0, "in order");
        last = (*tid, *from);
        open.retain(|(of, end)| of == tid && end > from);
        // One that begins inside another one ends inside it.
        assert!(open.iter().all(|(_, end)| to <= end), "{name} ends outside of what it began in");
        open.push((*tid, *to));
    }
    // What goes on from one look to the next is one slice.
    let runs = slices.iter().filter(|(_, tid, name, ..)| *tid == 4241 && name == "running").count();
    assert_eq!(runs, 11, "{slices:?}");
    let lock: Vec<_> = slices.iter().filter(|(_, tid, ..)| *tid == 5241).collect();
    assert_eq!(lock.len(), 3, "two frames and what it waits for, from the first look to the last: {lock:?}");
    assert_eq!((lock[0].3, lock[0].4), (0, 400_000_000));
    let trace: Value = serde_json::from_str(&text).unwrap();
    let names = |kind: &str| -> Vec<(i64, String)> {
        let events = trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["name"] == kind);
        events.map(|e| (e["tid"].as_i64().unwrap(), e["args"]["name"].as_str().unwrap().into())).collect()
    };
    assert_eq!(names("process_name").len(), WORKERS.len());
    assert!(names("thread_name").contains(&(4241, "MainThread (4241)".into())));
    assert!(slices.iter().any(|(.., name, _, _)| name == "blocked: recvfrom"));
}

#[test]
fn a_flame_graph_is_a_picture_with_its_frames() {
    let svg = text(&recording(), EVERYTHING, ProfileForm::Flamegraph);
    // It names its type as SVG 1.1 does; nothing is fetched for that.
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(&svg, options).unwrap();
    let titles: Vec<&str> = document
        .descendants()
        .filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "title")))
        .filter_map(|n| n.text())
        .collect();
    let computing = titles.iter().find(|title| title.starts_with("compute (/srv/app/views.py:12)"));
    assert!(computing.is_some_and(|title| title.contains(" ms, ")), "{titles:?}");
    assert!(svg.contains(", gevent: wall time"), "it says what it is");
    let address = |value: &str| value.contains("//") && !value.starts_with("http://www.w3.org/");
    for node in document.descendants() {
        let fetched = node.attributes().find(|a| ["href", "src"].contains(&a.name()) && address(a.value()));
        assert!(fetched.is_none(), "nothing is fetched: {fetched:?}");
    }
    assert_eq!(svg, text(&recording(), EVERYTHING, ProfileForm::Flamegraph), "the same is the same");
}

#[test]
fn inferno_reads_the_folded_stacks() {
    let folded = text(&recording(), EVERYTHING, ProfileForm::Collapsed);
    let mut options = inferno::flamegraph::Options::default();
    let mut picture = Vec::new();
    inferno::flamegraph::from_lines(&mut options, folded.lines(), &mut picture).unwrap();
    let picture = String::from_utf8(picture).unwrap();
    let total: u64 = collapsed(EVERYTHING).values().sum();
    let thousands = total
        .to_string()
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|c| std::str::from_utf8(c).unwrap())
        .collect::<Vec<_>>()
        .join(",");
    assert!(picture.contains(&format!("all ({thousands} samples, 100%)")), "{thousands}: {folded}");
}
