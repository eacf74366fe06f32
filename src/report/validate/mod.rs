//! What `portal validate` found as a document: each run, the scores of each set, the baselines, the goals.
//!
//! The scores' own types stand in it unchanged ([`crate::validate`]); [`crate::commands::validate`] fills it, [`text`]
//! shows it, [`super::schema`] describes it.

pub mod text;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Exit, Host, Tool};
use crate::capture::model::Level;
use crate::portal::scenarios::Set;
use crate::validate::baselines::BaselineScore;
use crate::validate::goals::Goal;
use crate::validate::run::Run;
use crate::validate::tally::Tally;

/// How good the tool is on labelled scenarios.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Validation {
    /// Version of the document. Minor: fields were added. Major: anything else.
    pub schema_version: String,
    /// Who looked and judged.
    pub tool: Tool,
    /// The machine.
    pub host: Host,
    /// What was run.
    pub selection: Selection,
    /// The scores, a set each.
    pub sets: Vec<SetScore>,
    /// The goals, for each set that has runs.
    pub goals: Vec<Goal>,
    /// Each run.
    pub runs: Vec<Run>,
    /// The exit code and its reason.
    pub exit: Exit,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Selection {
    /// Scenarios that were chosen.
    pub scenarios: u64,
    /// Repeats of each.
    pub repeats: u32,
    /// The most that a look was allowed to do.
    pub level: Level,
    /// Whether the small matrix was chosen.
    pub quick: bool,
    /// Text that the ids had to contain.
    pub only: Option<String>,
    /// The only set that was chosen.
    pub set: Option<Set>,
    /// Whether captures were judged in the place of processes.
    pub replayed: bool,
    /// Captures that belong to no scenario that was chosen, or could not be read.
    pub captures_left_out: u64,
}

/// The scores of a set.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SetScore {
    /// Which set.
    pub set: Set,
    /// What the tool did.
    pub score: Tally,
    /// What simpler methods did on the same captures.
    pub baselines: Vec<BaselineScore>,
}
