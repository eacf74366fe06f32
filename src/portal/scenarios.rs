//! The labelled scenario matrix: what is brought up, what goes wrong, and the verdict that it must get.
//!
//! `fixtures/portal/scenarios*.toml` are data and nothing else; this file reads them into types and refuses what makes no
//! sense. A label is a claim: the oracle in the application ([`super::oracle`]) says in each run whether it was true.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::{self, Fault};
use super::{Stack, failed};
use crate::diagnose::model::Code;
use crate::error::Result;

/// The matrix: the first two sets, and the third.
const TEXTS: [&str; 2] = [
    include_str!("../../fixtures/portal/scenarios.toml"),
    include_str!("../../fixtures/portal/scenarios_third.toml"),
];

/// What the portal is asked for meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Nothing.
    #[default]
    None,
    /// A few requests a second.
    Light,
    /// Most of what one worker can do.
    Knee,
    /// More than one worker can do.
    Overload,
    /// Many connections that are kept open and seldom used.
    Keepalive,
    /// Requests that wait on purpose and are asked again.
    Longpoll,
    /// A health check twice a second, each on a connection of its own.
    Health,
    /// Pages of a megabyte, which are read.
    Large,
}

/// What holds the portal back from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Nothing.
    #[default]
    None,
    /// A control group with a fifth of a processor.
    Throttle,
    /// Other work on every processor.
    Starve,
}

/// What a fault does, as the oracle sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The loop stands still, or no slot is free.
    Blocked,
    /// Something is done again and again while the loop turns.
    Spin,
    /// Requests wait while the loop turns.
    Waiting,
    /// Several go on, in turns.
    Contended,
    /// The work goes on at less than half its pace.
    Starved,
    /// A visitor gets no answer. The runner sees this itself: the application cannot tell.
    Unanswered,
    /// No fault; with load, requests are answered.
    None,
}

/// What a scenario is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// The rules were made with it in sight.
    Tune,
    /// A second, independent implementation of a fault, held out from the making of the rules; used to mend them since.
    HeldOut,
    /// Written and labelled before any rule was tried on it, when the second had been used. Its first run is the figure
    /// of what the tool had never seen.
    Third,
}

impl Set {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tune, Self::HeldOut, Self::Third];
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tune => "tune",
            Self::HeldOut => "held_out",
            Self::Third => "third",
        })
    }
}

/// Faults that are not a request to the application: the runner brings them about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// The application takes its time to load.
    BootSlow,
    /// The worker is stopped by a signal.
    Stopped,
    /// Clients that send half a request, one for each slot.
    SilentClients,
}

/// One row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name; also the beginning of the name of its captures.
    pub id: String,
    /// Worker class.
    pub class: String,
    /// Software.
    pub stack: Stack,
    /// Number of workers.
    #[serde(default = "one")]
    pub workers: u32,
    /// Threads of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Fault, `none` for a control.
    pub fault: String,
    /// Requests that the fault takes to show, where it is not in the list of faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Whether the fault goes on after its request was answered, where it is not in the list of faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<bool>,
    /// Load.
    #[serde(default)]
    pub load: Load,
    /// Limit.
    #[serde(default)]
    pub limit: Limit,
    /// Right verdicts; the first is the label.
    pub expected: Vec<Code>,
    /// Right subcauses; none when it does not matter.
    #[serde(default)]
    pub subcause: Vec<String>,
    /// Text that must occur in the culprit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culprit: Option<String>,
    /// Whether nobody may be named, too; never somebody else.
    #[serde(default)]
    pub culprit_optional: bool,
    /// What must be seen for the label to be true.
    pub effect: Effect,
    /// Kind of fault: its implementations have it in common.
    pub family: String,
    /// What it is for.
    pub set: Set,
    /// Whether `--quick` runs it.
    #[serde(default)]
    pub quick: bool,
    /// Whether nothing is wrong.
    #[serde(default)]
    pub control: bool,
}

const fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

/// The matrix that is part of the binary.
pub fn all() -> Result<Vec<Scenario>> {
    parse(&TEXTS.join("\n"))
}

/// Reads a matrix.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let file: File = toml::from_str(text).map_err(|e| failed("the scenarios cannot be read", &e))?;
    for (place, scenario) in file.scenario.iter().enumerate() {
        if let Some(wrong) = scenario.wrong() {
            return Err(failed(&format!("scenario {} makes no sense", scenario.id), &wrong));
        }
        if file.scenario.iter().take(place).any(|other| other.id == scenario.id) {
            return Err(failed("the scenarios cannot be read", &format!("{} is there twice", scenario.id)));
        }
    }
    Ok(file.scenario)
}

impl Scenario {
    /// Where it contradicts itself.
    fn wrong(&self) -> Option<&'static str> {
        let no_fault = self.fault == "none" || self.listed().is_some_and(|f| f.set == faults::Set::Control);
        let healthy = no_fault && self.limit == Limit::None;
        let checks = [
            (self.id.is_empty() || self.id.contains(['.', '/']), "its id cannot begin a file name"),
            (self.expected.is_empty(), "no verdict is expected"),
            (self.expected.contains(&Code::Unknown), "unknown is never right"),
            (self.workers == 0 || self.workers > 16, "a portal has 1 to 16 workers"),
            (self.control != healthy, "a control is what has neither fault nor limit"),
            (self.control != (self.effect == Effect::None), "its effect does not fit its fault"),
            (self.culprit_optional && self.culprit.is_none(), "no culprit is given"),
            (
                self.fault != "none"
                    && self.outside().is_none()
                    && self.listed().is_none()
                    && self.requests.is_none(),
                "its fault is not in the list, so its number of requests must be given",
            ),
        ];
        checks.into_iter().find_map(|(wrong, why)| wrong.then_some(why))
    }

    fn listed(&self) -> Option<&'static Fault> {
        faults::by_name(&self.fault)
    }

    /// The fault, where the runner itself brings it about.
    #[must_use]
    pub fn outside(&self) -> Option<Outside> {
        match self.fault.as_str() {
            "boot_slow" => Some(Outside::BootSlow),
            "stopped" => Some(Outside::Stopped),
            "silent_clients" => Some(Outside::SilentClients),
            _ => None,
        }
    }

    /// The address that triggers the fault; `None` where no request does.
    #[must_use]
    pub fn path(&self, seconds: u32) -> Option<String> {
        if self.fault == "none" || self.outside().is_some() {
            return None;
        }
        let own = || format!("/fault/{}?seconds={seconds}", self.fault);
        Some(self.listed().map_or_else(own, |fault| fault.path(seconds)))
    }

    /// Requests at once that the fault takes to show.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests.or_else(|| self.listed().map(|f| f.requests)).unwrap_or(1)
    }

    /// Whether the fault goes on after its request was answered.
    #[must_use]
    pub fn background(&self) -> bool {
        self.background.or_else(|| self.listed().map(|f| f.background)).unwrap_or(false)
    }

    /// What the client of the fault does, where it is more than to ask.
    #[must_use]
    pub fn client(&self) -> Option<faults::Client> {
        self.listed().map(|f| f.client).filter(|client| *client != faults::Client::Asks)
    }

    /// Request slots of a worker; 0 where a loop serves.
    #[must_use]
    pub fn slots(&self) -> u64 {
        match self.class.as_str() {
            "sync" => 1,
            "gthread" => u64::from(self.threads.unwrap_or(4)),
            _ => 0,
        }
    }

    /// The id that the name of a kept capture begins with.
    #[must_use]
    pub fn id_of(file_name: &str) -> &str {
        file_name.split_once('.').map_or(file_name, |(id, _)| id)
    }
}

#[cfg(test)]
#[path = "scenarios_tests.rs"]
mod tests;
