//! `--redact`: no name of the original is left in any form, and no verdict changes.

use serde_json::Value;
use stallscope::capture::model::{BlindSpot, Capture, Record, SocketFamily};
use stallscope::capture::reader;
use stallscope::capture::redact::Redactor;
use stallscope::diagnose::diagnose;
use stallscope::report::exit::{self, FailOn};
use stallscope::report::model::Report;
use stallscope::report::style::Style;
use stallscope::report::text::{Detail, TextOptions};
use stallscope::report::{Form, build, json, render};

use super::{captures, text};
use crate::tool::{Target, run, verdicts};

/// Names that nothing else in a report resembles.
const NAMES: [&str; 9] = [
    "zebrahost",
    "10.77.66.5",
    "10.77.66.6",
    "fd00:77::66",
    "/run/zebra/app.sock",
    "zebrauser",
    "zebra_app:make_app",
    "zebra.service",
    "0123456789abcdefzebra",
];

/// A capture as it would be of somebody with all of these names.
fn identifying(mut capture: Capture) -> Capture {
    let header = &mut capture.header;
    header.host.hostname = "zebrahost".into();
    header.host.boot_id = "zebra-boot".into();
    header.target.exe = Some("/home/zebrauser/venv/bin/python3".into());
    header.target.cgroup = Some("/system.slice/zebra.service/0123456789abcdefzebra".into());
    header.target.container_id = Some("0123456789abcdefzebra".into());
    header.target.selected_by = "name zebra_app:make_app".into();
    let arguments = ["/home/zebrauser/bin/gunicorn", "--bind=10.77.66.5:80", "zebra_app:make_app"];
    header.target.cmdline = arguments.map(String::from).to_vec();
    header.server.listen = vec!["10.77.66.5:80".into(), "unix:/run/zebra/app.sock".into()];
    for record in &mut capture.records {
        match record {
            Record::Process(process) => {
                process.cmdline = arguments.map(String::from).to_vec();
                process.listen = vec!["10.77.66.5:80".into()];
                process.cgroup = Some("/system.slice/zebra.service/0123456789abcdefzebra".into());
            }
            Record::Frame { frame, .. } if frame.file.starts_with('/') => {
                frame.file = format!("/home/zebrauser{}", frame.file);
            }
            Record::Sockets { sockets, .. } => {
                for socket in sockets {
                    if socket.family == SocketFamily::Unix {
                        if !socket.local.is_empty() {
                            socket.local = "/run/zebra/app.sock".into();
                        }
                    } else {
                        for (end, name) in
                            [(&mut socket.local, "10.77.66.5"), (&mut socket.remote, "10.77.66.6")]
                        {
                            *end = end.replace("127.0.0.1", name).replace("[::1]", "[fd00:77::66]");
                        }
                    }
                }
            }
            Record::Descriptors { fds, .. } => {
                for fd in fds.iter_mut().filter(|fd| fd.link.starts_with('/')) {
                    fd.link = format!("/home/zebrauser{}", fd.link);
                }
            }
            Record::Cgroup(sample) => {
                sample.path = "/system.slice/zebra.service/0123456789abcdefzebra".into();
            }
            _ => {}
        }
    }
    let before_the_end = capture.records.len() - 1;
    capture.records.insert(
        before_the_end,
        Record::Blind(BlindSpot {
            what: "the socket /run/zebra/app.sock of zebrahost".into(),
            why: "10.77.66.6:5432 (asked by zebrahost) refused, see /home/zebrauser/log".into(),
            remedy: "ask [fd00:77::66]:80, or look into container 0123456789abcdefzebra".into(),
        }),
    );
    capture
}

#[test]
fn no_name_is_left_and_no_verdict_changes() {
    let fail_on = FailOn::default();
    let mut named = [false; NAMES.len()];
    for (_, file) in captures() {
        let plain = identifying(reader::read(&file).unwrap());
        let mut redacted = plain.clone();
        Redactor::default().capture(&mut redacted);
        let report = |capture: &Capture| {
            let diagnosis = diagnose(capture);
            let decision = exit::decide(&diagnosis, &fail_on, None);
            build(capture, &diagnosis, decision)
        };
        let (plain, redacted) = (report(&plain), report(&redacted));
        let told = json::render(&plain);
        for (name, seen) in NAMES.iter().zip(&mut named) {
            *seen |= told.contains(name);
        }
        let text_options = TextOptions { style: Style::default(), detail: Detail::Verbose };
        for form in [
            Form::Text(text_options),
            Form::Json,
            Form::Ndjson,
            Form::Markdown,
            Form::Github { root: None },
            Form::Junit { fail_on: &fail_on, root: None },
            Form::Sarif { root: None },
        ] {
            let shown = render(&redacted, form);
            for name in NAMES.iter().chain(&["zebra"]) {
                assert!(!shown.contains(name), "{form:?} of {} says {name}: {shown}", file.display());
            }
        }
        // The verdicts, the numbers and the shape are the same; only texts differ.
        let document = |report: &Report| serde_json::to_value(report).unwrap();
        let (plain, redacted) = (document(&plain), document(&redacted));
        assert_eq!(verdicts(&redacted), verdicts(&plain), "{}", file.display());
        assert_same_shape(&plain, &redacted, "");
    }
    // What the plain reports never said would be no proof.
    assert_eq!(named, [true; NAMES.len()], "{NAMES:?}");
}

/// That only texts differ.
fn assert_same_shape(one: &Value, other: &Value, path: &str) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{path}");
            for (key, value) in one {
                assert_same_shape(value, &other[key], &format!("{path}/{key}"));
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{path}");
            one.iter().zip(other).for_each(|(one, other)| assert_same_shape(one, other, path));
        }
        (Value::String(_), Value::String(_)) => {}
        _ => assert_eq!(one, other, "{path}"),
    }
}

#[test]
fn a_saved_capture_is_redacted_too_and_replays_to_the_same_document() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("look.cap");
    let target =
        Target::python("python3", "time.sleep(60)", &["--tenant", "zebracorp", "--password", "hunter2"]);
    let pid = target.pid().to_string();
    let short = ["-d", "500ms", "--max-duration", "500ms", "--format", "json", "--redact"];
    let live = run(&[&[pid.as_str(), "--save", text(&place)], &short[..]].concat());
    assert!(live.stdout.contains("--tenant") && live.stdout.contains("arg-1"), "{live:?}");
    let kept = serde_json::to_string(&reader::read(&place).unwrap()).unwrap();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for text in [&live.stdout, &kept] {
        for name in ["zebracorp", "hunter2", boot.trim(), &format!("\"{}\"", hostname.trim())] {
            assert!(!text.contains(name), "{name} is left: {text}");
        }
    }
    for more in [&[][..], &["--redact"]] {
        let again = run(&[&["--replay", text(&place), "--format", "json"], more].concat());
        assert_eq!(again.stdout, live.stdout, "{more:?}");
    }
}
