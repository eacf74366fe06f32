//! What carries no meaning may be changed, and nothing of the verdict changes: pids, names, ports, the order of things.

use serde_json::Value;
use stallscope::capture::model::{Capture, Record};
use stallscope::diagnose::diagnose;

use super::captures;

/// All that a verdict says, but for the names in it; in no order.
fn said(capture: &Capture) -> Vec<String> {
    let diagnosis = diagnose(capture);
    let verdicts = diagnosis.processes.iter().map(|p| {
        let v = &p.verdict;
        let culprit = v.culprit.as_ref().map(|c| (&c.kind, c.fd, c.line));
        let advice: Vec<_> = p.advice.iter().map(|a| &a.id).collect();
        let findings: Vec<_> = p.findings.iter().map(|f| (&f.code, f.severity)).collect();
        format!(
            "{:?} {:?} {:.3} {culprit:?} {} {advice:?} {findings:?}",
            v.code, v.subcause, v.confidence, v.sub_windows_agree
        )
    });
    let mut said: Vec<String> = verdicts.chain([format!("{:?}", diagnosis.server.verdict.code)]).collect();
    said.sort();
    said
}

fn unchanged(what: &str, change: impl Fn(&mut Capture)) {
    for kept in captures() {
        let mut changed = kept.capture.clone();
        change(&mut changed);
        assert_ne!(changed, kept.capture, "{what} changes nothing in {}", kept.name);
        assert_eq!(said(&changed), said(&kept.capture), "{what} changes the verdict of {}", kept.name);
    }
}

/// Every field of these names, anywhere in a capture.
fn each_field(value: &mut Value, change: &dyn Fn(&str, &mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_field(item, change)),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                change(key, field);
                each_field(field, change);
            }
        }
        _ => {}
    }
}

fn in_fields(capture: &mut Capture, change: &dyn Fn(&str, &mut Value)) {
    let mut value = serde_json::to_value(&*capture).unwrap();
    each_field(&mut value, change);
    *capture = serde_json::from_value(value).unwrap();
}

#[test]
fn process_and_thread_ids() {
    unchanged("other pids", |capture| {
        in_fields(capture, &|key, field| match key {
            "pid" | "tid" | "loop_tid" | "ppid" if field.is_i64() => {
                *field = (field.as_i64().unwrap() + 100_000).into();
            }
            "pids" => {
                for pid in field.as_array_mut().into_iter().flatten() {
                    *pid = (pid.as_i64().unwrap() + 100_000).into();
                }
            }
            _ => {}
        });
    });
}

#[test]
fn names_of_the_application() {
    unchanged("other names of functions and files", |capture| {
        for record in &mut capture.records {
            if let Record::Frame { frame, .. } = record
                && frame.file.contains("/app/")
            {
                // Names in brackets are the interpreter's, for what has none.
                if !frame.function.contains('<') {
                    frame.function =
                        format!("z{}", frame.function.bytes().rev().map(char::from).collect::<String>());
                }
                frame.file = frame.file.replace("/app/", "/srv/other/");
            }
        }
        // A look at a server without a request has no frame of it.
        capture.header.host.hostname.push_str("-2");
    });
}

#[test]
fn ports() {
    // But name servers are known by theirs.
    let other = |port: u64| if port == 0 || port == 53 { port } else { 1 + (port + 11_111) % 65_535 };
    let text = move |address: &str| match address.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => format!("{host}:{}", other(port)),
        _ => address.to_owned(),
    };
    unchanged("other ports", move |capture| {
        in_fields(capture, &|key, field| match key {
            "local_port" | "remote_port" => *field = other(field.as_u64().unwrap()).into(),
            "listen" => {
                for address in field.as_array_mut().into_iter().flatten() {
                    *address = text(address.as_str().unwrap()).into();
                }
            }
            _ => {}
        });
    });
}

#[test]
fn the_order_of_workers_threads_descriptors_and_sockets() {
    unchanged("another order", |capture| {
        let at: Vec<usize> = capture
            .records
            .iter()
            .enumerate()
            .filter_map(|(at, record)| matches!(record, Record::Process(_)).then_some(at))
            .collect();
        for (one, other) in at.iter().zip(at.iter().rev()).take(at.len() / 2) {
            capture.records.swap(*one, *other);
        }
        for record in &mut capture.records {
            match record {
                Record::Tick(tick) => tick.samples.reverse(),
                Record::Threads { threads, .. } => threads.reverse(),
                Record::Descriptors { fds, .. } => fds.reverse(),
                Record::EpollSet { entries, .. } => entries.reverse(),
                Record::Sockets { sockets, .. } => sockets.reverse(),
                _ => {}
            }
        }
    });
}
