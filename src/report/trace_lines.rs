//! A trace as one JSON object for each line, for `jq`, log shippers and databases.
//!
//! `meta`, a `call` for each call with its process and what its descriptor is, a `process` for each process with its
//! cost and counts, a `blind_spot` for each, `end`. A reader must accept types that it does not know. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::json;
use super::model::{SCHEMA_VERSION, Tool};
use super::trace::{BurstCost, DescriptorUse, TraceDocument, TraceProcess};
use crate::capture::model::{BlindSpot, Role, TargetFacts};
use crate::trace::calls::Call;
use crate::trace::fold::Pattern;
use crate::trace::summary::NameSummary;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TraceLine {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// What the line says.
    #[serde(flatten)]
    pub body: TraceBody,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TraceBody {
    /// Who looked at whom; the first line.
    Meta {
        /// Who looked.
        tool: Tool,
        /// What the user pointed at.
        target: Box<TargetFacts>,
    },
    /// A call.
    Call(Box<CallLine>),
    /// A process: behind its calls.
    Process(Box<ProcessLine>),
    /// Something that was not seen.
    BlindSpot(BlindSpot),
    /// The last line. A document without it was cut short.
    End {
        /// Processes that were traced.
        processes: u64,
    },
}

/// A call of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CallLine {
    /// Process id in the tool's namespace.
    pub pid: i32,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// What its descriptor is.
    pub what: Option<String>,
    /// Who is at the other end of that.
    pub peer: Option<String>,
}

/// A process without its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProcessLine {
    /// Process id in the tool's namespace.
    pub pid: i32,
    /// What the process is for.
    pub role: Role,
    /// What the burst did to it.
    pub burst: BurstCost,
    /// Its calls by name, those that took longest first.
    pub calls: Vec<NameSummary>,
    /// The descriptors that they were about.
    pub descriptors: Vec<DescriptorUse>,
    /// What its threads did again and again.
    pub patterns: Vec<ThreadPattern>,
}

/// What a thread did again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ThreadPattern {
    /// Thread id in the tool's namespace.
    pub tid: i32,
    /// What it did.
    #[serde(flatten)]
    pub pattern: Pattern,
}

/// The document as lines.
#[must_use]
pub fn render(document: &TraceDocument) -> String {
    let meta = TraceBody::Meta { tool: document.tool.clone(), target: Box::new(document.target.clone()) };
    let end = TraceBody::End { processes: document.processes.len() as u64 };
    std::iter::once(meta)
        .chain(document.processes.iter().flat_map(of_process))
        .chain(document.blind_spots.iter().cloned().map(TraceBody::BlindSpot))
        .chain([end])
        .map(|body| json::line(&TraceLine { schema_version: SCHEMA_VERSION.into(), body }))
        .collect()
}

fn of_process(process: &TraceProcess) -> Vec<TraceBody> {
    let mut calls: Vec<&Call> = process.threads.iter().flat_map(|thread| &thread.calls).collect();
    calls.sort_by_key(|call| (call.at_ns, call.tid));
    let line = |call: &Call| {
        let behind = process.descriptors.iter().find(|d| Some(d.fd) == call.fd);
        TraceBody::Call(Box::new(CallLine {
            pid: process.pid,
            call: call.clone(),
            what: behind.map(|d| d.what.clone()),
            peer: behind.and_then(|d| d.peer.clone()),
        }))
    };
    let patterns = process.threads.iter().flat_map(|thread| {
        let of_thread = |pattern: &Pattern| ThreadPattern { tid: thread.tid, pattern: pattern.clone() };
        thread.patterns.iter().map(of_thread)
    });
    let summary = ProcessLine {
        pid: process.pid,
        role: process.role,
        burst: process.burst,
        calls: process.calls.clone(),
        descriptors: process.descriptors.clone(),
        patterns: patterns.collect(),
    };
    calls.into_iter().map(line).chain([TraceBody::Process(Box::new(summary))]).collect()
}
