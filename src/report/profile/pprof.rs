//! pprof's format: a compressed message of the structure that google/pprof describes in `proto/profile.proto`.
//!
//! The messages stand here as far as they are used, with the numbers of that description; nothing is generated. Each
//! sample has all four values, whatever time was asked for, and labels that say who it was and in what.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use foldhash::HashMap;
use prost::Message;

use super::Mode;
use super::lines::{Line, Told};
use crate::capture::model::Frame;
use crate::capture::profile::Who;
use crate::diagnose::times::State;
use crate::report::words;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
    #[prost(int64, tag = "3")]
    number: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Place>,
}

#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Gives numbers to what samples name.
struct Tables {
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    frames: HashMap<u32, u64>,
    others: HashMap<String, u64>,
    out: Profile,
}

impl Tables {
    fn new() -> Self {
        let mut tables = Self {
            strings: HashMap::default(),
            functions: HashMap::default(),
            frames: HashMap::default(),
            others: HashMap::default(),
            out: Profile::default(),
        };
        // The first text must be the empty one.
        tables.text("");
        tables
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = self.out.string_table.len() as i64;
        self.out.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    fn value(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.text(kind), unit: self.text(unit) }
    }

    fn location(&mut self, function: &str, file: &str, line: u32) -> u64 {
        let (name, filename) = (self.text(function), self.text(file));
        let next = self.out.function.len() as u64 + 1;
        let function_id = *self.functions.entry((name, filename)).or_insert(next);
        if function_id == next {
            // A name that is that of the system as well would be taken for a mangled one: `<module>` for a template.
            self.out.function.push(Function { id: next, name, system_name: 0, filename });
        }
        let id = self.out.location.len() as u64 + 1;
        self.out.location.push(Location { id, line: vec![Place { function_id, line: line.into() }] });
        id
    }

    fn frame(&mut self, id: u32, frame: &Frame) -> u64 {
        if let Some(known) = self.frames.get(&id) {
            return *known;
        }
        let location = self.location(&words::name(&frame.function), &words::name(&frame.file), frame.line);
        self.frames.insert(id, location);
        location
    }

    fn other(&mut self, name: &str) -> u64 {
        if let Some(known) = self.others.get(name) {
            return *known;
        }
        let location = self.location(name, "", 0);
        self.others.insert(name.to_owned(), location);
        location
    }

    fn label(&mut self, key: &str, text: &str) -> Label {
        Label { key: self.text(key), text: self.text(text), number: 0 }
    }

    fn number(&mut self, key: &str, number: i32) -> Label {
        Label { key: self.text(key), text: 0, number: number.into() }
    }
}

/// Writes it.
pub(super) fn render(told: &Told<'_>) -> Vec<u8> {
    let header = &told.profile.header;
    let mut tables = Tables::new();
    let kinds =
        [("samples", "count"), ("cpu", "nanoseconds"), ("wall", "nanoseconds"), ("blocked", "nanoseconds")];
    for (kind, unit) in kinds {
        let value = tables.value(kind, unit);
        tables.out.sample_type.push(value);
    }
    for line in &told.lines {
        let sample = sample(told, line, &mut tables);
        tables.out.sample.push(sample);
    }
    let default = match told.selection.mode {
        Mode::Wall => "wall",
        Mode::Cpu => "cpu",
        Mode::Blocked => "blocked",
    };
    tables.out.default_sample_type = tables.text(default);
    tables.out.time_nanos = header.started_realtime_ns as i64;
    tables.out.duration_nanos = told.profile.totals.at_ns as i64;
    tables.out.period_type = Some(tables.value("wall", "nanoseconds"));
    tables.out.period = 1_000_000_000 / i64::from(header.rate_hz.max(1));
    let comment = tables.text(&format!("{}, by stallscope {}", told.title(), header.tool_version));
    tables.out.comment.push(comment);
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory cannot fail.
    let _ = packed.write_all(&tables.out.encode_to_vec());
    packed.finish().unwrap_or_default()
}

fn sample(told: &Told<'_>, line: &Line<'_>, tables: &mut Tables) -> Sample {
    let key = &line.entry.key;
    // Innermost first. What it was in is a frame as well: viewers show frames and hide labels.
    let mut location_id: Vec<u64> = told.leaf(line).map(|leaf| tables.other(&leaf)).into_iter().collect();
    location_id.extend(told.frames(line).map(|(id, frame)| tables.frame(id, frame)));
    location_id.extend(told.root(line).map(|root| tables.other(root)));
    let blocked_ns = if line.state == State::Blocked { line.entry.wall_ns } else { 0 };
    let state = match line.state {
        State::Running => "running",
        State::Blocked => "blocked",
        State::Idle => "idle",
        State::Parked => "parked",
    };
    let mut label = vec![
        tables.number("pid", key.pid),
        tables.label("process", &told.process_name(key.pid)),
        tables.label("thread", &told.who(key.who)),
        tables.label("state", state),
    ];
    if let Who::Thread(tid) = key.who {
        label.push(tables.number("tid", tid));
    }
    if let Some(call) = told.call(line) {
        label.push(tables.label("in", &call));
    }
    Sample {
        location_id,
        value: vec![
            line.entry.samples as i64,
            line.entry.cpu_ns as i64,
            line.entry.wall_ns as i64,
            blocked_ns as i64,
        ],
        label,
    }
}
