//! The report as one JSON object for each line, for `jq`, log shippers and databases.
//!
//! The parts of the document in its order: `meta`, `server`, a `process` for each process, a `blind_spot` for each,
//! `end`. Each line has the version of the document and says by `type` what it is; a reader must accept types that
//! it does not know. An error is a line of type `error`. Control characters are escaped as in [`super::json`].

use schemars::JsonSchema;
use serde::Serialize;

use super::json;
use super::model::{Collection, Exit, Host, Process, Report, SCHEMA_VERSION, Server, Tool};
use crate::capture::model::{BlindSpot, TargetFacts};
use crate::error::Error;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Line {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// What the line says.
    #[serde(flatten)]
    pub body: Body,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// Who looked at whom and how; the first line.
    Meta(Box<Meta>),
    /// The server and its verdict.
    Server(Server),
    /// A process and its verdict.
    Process(Box<Process>),
    /// Something that was not seen.
    BlindSpot(BlindSpot),
    /// The exit code and its reason; the last line. A document without it was cut short.
    End(Exit),
    /// Why there is no report.
    Error(Error),
}

/// Who looked at whom and how.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Meta {
    /// Who looked and judged.
    pub tool: Tool,
    /// The machine.
    pub host: Host,
    /// What the user pointed at.
    pub target: TargetFacts,
    /// How the look went.
    pub collection: Collection,
}

/// The report as lines.
#[must_use]
pub fn render(report: &Report) -> String {
    let meta = Meta {
        tool: report.tool.clone(),
        host: report.host.clone(),
        target: report.target.clone(),
        collection: report.collection.clone(),
    };
    let processes = report.processes.iter().map(|process| Body::Process(Box::new(process.clone())));
    let blind_spots = report.blind_spots.iter().map(|spot| Body::BlindSpot(spot.clone()));
    [Body::Meta(Box::new(meta)), Body::Server(report.server.clone())]
        .into_iter()
        .chain(processes)
        .chain(blind_spots)
        .chain([Body::End(report.exit.clone())])
        .map(line)
        .collect()
}

/// An error as a line.
#[must_use]
pub fn error(error: &Error) -> String {
    line(Body::Error(error.clone()))
}

fn line(body: Body) -> String {
    json::line(&Line { schema_version: SCHEMA_VERSION.into(), body })
}
