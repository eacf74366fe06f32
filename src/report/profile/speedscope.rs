//! speedscope's file format: a profile for each process, its stacks with their time in nanoseconds.

use foldhash::HashMap;
use serde::Serialize;

use super::lines::{Line, Told};
use crate::report::words;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    exporter: String,
    active_profile_index: usize,
    shared: Shared,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// Numbers of frames in the file.
#[derive(Default)]
struct Frames {
    all: Vec<Frame>,
    python: HashMap<u32, usize>,
    others: HashMap<String, usize>,
}

impl Frames {
    fn python(&mut self, id: u32, frame: &crate::capture::model::Frame) -> usize {
        *self.python.entry(id).or_insert_with(|| {
            self.all.push(Frame {
                name: words::name(&frame.function),
                file: Some(words::name(&frame.file)),
                line: (frame.line > 0).then_some(frame.line),
            });
            self.all.len() - 1
        })
    }

    fn other(&mut self, name: &str) -> usize {
        if let Some(number) = self.others.get(name) {
            return *number;
        }
        self.all.push(Frame { name: name.to_owned(), file: None, line: None });
        self.others.insert(name.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }
}

/// Writes it.
pub(super) fn render(told: &Told<'_>) -> Vec<u8> {
    let mut frames = Frames::default();
    // The lines are in the order of their processes.
    let of_one = told.lines.chunk_by(|a, b| a.entry.key.pid == b.entry.key.pid);
    let profiles: Vec<Profile> = of_one.map(|lines| profile(told, lines, &mut frames)).collect();
    let heaviest = profiles.iter().enumerate().max_by_key(|(_, profile)| profile.end_value);
    let file = File {
        schema: SCHEMA,
        name: told.title(),
        exporter: format!("stallscope {}", told.profile.header.tool_version),
        active_profile_index: heaviest.map_or(0, |(place, _)| place),
        shared: Shared { frames: frames.all },
        profiles,
    };
    // Texts and numbers always have a form.
    let mut bytes = serde_json::to_vec(&file).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn profile(told: &Told<'_>, lines: &[Line<'_>], frames: &mut Frames) -> Profile {
    let pid = lines.first().map_or(0, |line| line.entry.key.pid);
    let mut profile = Profile {
        kind: "sampled",
        name: told.process_name(pid),
        unit: "nanoseconds",
        start_value: 0,
        end_value: 0,
        samples: Vec::with_capacity(lines.len()),
        weights: Vec::with_capacity(lines.len()),
    };
    for line in lines {
        // Its profiles are the processes.
        let origin = told.origin(line);
        let mut sample: Vec<usize> = origin.iter().skip(1).map(|name| frames.other(name)).collect();
        sample.extend(told.root(line).map(|root| frames.other(root)));
        sample.extend(told.frames(line).rev().map(|(id, frame)| frames.python(id, frame)));
        sample.extend(told.leaf(line).map(|leaf| frames.other(&leaf)));
        profile.samples.push(sample);
        profile.weights.push(line.weight_ns);
        profile.end_value = profile.end_value.saturating_add(line.weight_ns);
    }
    profile
}
