//! What `doctor` found as a document: who asks, what the machine permits, what may be read of a process and what not.
//!
//! Plain data; [`crate::commands::doctor`] fills it from facts, [`text`] shows it, [`super::schema`] describes it.

pub mod text;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Exit, Host, Tool};
use crate::diagnose::model::Code;

/// What may be read here, what not, and why.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Doctor {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who looked.
    pub tool: Tool,
    /// The machine.
    pub host: Host,
    /// Who asks, and from where.
    pub you: You,
    /// What the machine permits and measures.
    pub machine: Vec<Check>,
    /// The servers that could be looked at; `null` when one process was named.
    pub servers: Option<Vec<ServerSeen>>,
    /// The process that was named; `null` when none was.
    pub target: Option<TargetSeen>,
    /// The exit code and its reason.
    pub exit: Exit,
}

/// Who asks, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct You {
    /// Effective user.
    pub uid: u32,
    /// Its name.
    pub user: Option<String>,
    /// Effective group.
    pub gid: u32,
    /// Where the tool runs: the machine itself, or a container of some kind.
    pub place: String,
    /// Those capabilities that count here.
    pub capabilities: Vec<String>,
    /// Whether `sudo` and file capabilities are without effect.
    pub no_new_privs: bool,
}

/// A property of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether it limits nothing for this user.
    pub ok: bool,
    /// What it means here.
    pub meaning: String,
}

/// How much may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// A full diagnosis is possible.
    Full,
    /// A diagnosis is possible from what everybody may read.
    Degraded,
    /// None is possible.
    None,
}

/// The gate that is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GateSeen {
    /// Which: `uid`, `yama`, `capability`, `not_dumpable`, `hidepid`, …
    pub name: String,
    /// Why it is closed.
    pub cause: String,
    /// The value that shows it.
    pub value: Option<String>,
    /// What opens it, the least privilege first.
    pub remedies: Vec<String>,
    /// What works without.
    pub without: Option<String>,
}

/// A server that could be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServerSeen {
    /// Its head.
    pub pid: i32,
    /// `gunicorn`, `uvicorn`, or the name of its program.
    pub name: String,
    /// How many other processes it has.
    pub workers: u64,
    /// Ports that it listens on, as far as that may be seen.
    pub ports: Vec<u16>,
    /// How much may be read of the process of it of which least may be.
    pub access: Access,
    /// The gate that is closed, if one is.
    pub gate: Option<GateSeen>,
}

/// What may be read of one process.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TargetSeen {
    /// Its pid.
    pub pid: i32,
    /// Its pid in its own innermost namespace.
    pub ns_pid: i32,
    /// Its name; empty when it cannot be read.
    pub name: String,
    /// Its effective user.
    pub uid: Option<u32>,
    /// The name of that user.
    pub user: Option<String>,
    /// State letter.
    pub state: Option<char>,
    /// Its interpreter, or why none can be read.
    pub python: Option<String>,
    /// How much may be read.
    pub access: Access,
    /// Each source, as tried.
    pub sources: Vec<SourceSeen>,
    /// The one gate that is closed, if one is.
    pub gate: Option<GateSeen>,
    /// What keeps a burst of stops from it, if anything does; it was not tried.
    pub burst: Option<GateSeen>,
    /// The other processes of its server.
    pub others: Vec<OtherSeen>,
}

/// A source, as tried.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SourceSeen {
    /// `proc.stat`, `memory.file`, …
    pub name: String,
    /// Whether it answered.
    pub obtained: bool,
    /// What was seen, or why nothing was.
    pub seen: String,
    /// What it is for.
    pub serves: String,
    /// Verdicts that are not given, or with less confidence, while it is missing.
    pub costs: Vec<Code>,
}

/// Another process of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OtherSeen {
    /// Its pid.
    pub pid: i32,
    /// `arbiter`, `worker` or `process`.
    pub role: crate::capture::model::Role,
    /// How much may be read.
    pub access: Access,
    /// The gate that is closed, if one is.
    pub gate: Option<GateSeen>,
}
