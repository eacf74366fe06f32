//! Live runs: a scenario is set up, its fault is awaited, the tool itself looks at it, and everything is taken down.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::progress::Progress;
use super::reading::said;
use super::stage::{Kind, Stage, Stamps, Visitor, answered};
use crate::capture::model::Level;
use crate::capture::reader;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::signals;
use crate::portal::oracle::{Shown, Stamp, Story, effect_shown};
use crate::portal::scenarios::{Effect, Limit, Load, Outside, Scenario};
use crate::report::model::Report;
use crate::report::words::word;
use crate::validate::run::{Beside, Outcome, Run};

/// What all live runs have in common.
#[derive(Debug)]
pub struct Runner {
    level: Level,
    keep: Option<PathBuf>,
    folder: PathBuf,
    stage: Option<Stage>,
    portals: u32,
    /// Software that cannot be had here, and why: it is not tried again.
    missing: Vec<(String, String)>,
}

/// What was seen around a look.
struct Around {
    before: (Stamps, Stamps),
    during: Stamps,
    after: Stamps,
    worker: Option<i32>,
    visitor: Option<Visitor>,
}

impl Runner {
    /// A runner that puts its portals below a folder, and captures into another.
    #[must_use]
    pub const fn new(level: Level, keep: Option<PathBuf>, folder: PathBuf) -> Self {
        Self { level, keep, folder, stage: None, portals: 0, missing: Vec::new() }
    }

    /// One run. `None` when somebody asked the tool to stop meanwhile: then nothing can be said of it.
    pub fn run(&mut self, scenario: &Scenario, repeat: u32, progress: &mut Progress) -> Option<Run> {
        let capture = self.folder.join("look.cap");
        let _ = std::fs::remove_file(&capture);
        let outcome = self.try_run(scenario, repeat, &capture, progress);
        // A portal is used again only after a control; what failed half-way is not trusted.
        let again = outcome.is_ok() && self.stage.as_mut().is_some_and(|stage| stage.clear(scenario));
        if !again {
            self.down();
        }
        if outcome.is_err() && signals::caught().is_some() {
            return None;
        }
        Some(outcome.unwrap_or_else(|error| {
            let why = format!("{}: {}", error.message, error.cause);
            let outcome = if cannot_be_had(&error) { Outcome::Skipped } else { Outcome::Failed };
            if outcome == Outcome::Skipped && scenario.limit == Limit::None {
                self.missing.push((software(scenario), why.clone()));
            }
            Run::not_looked_at(scenario, repeat, outcome, Some(why))
        }))
    }

    /// Takes down what is up.
    pub fn down(&mut self) {
        self.stage = None;
    }

    fn try_run(
        &mut self,
        scenario: &Scenario,
        repeat: u32,
        capture: &Path,
        progress: &mut Progress,
    ) -> Result<Run> {
        let software = software(scenario);
        if let Some((_, why)) = self.missing.iter().find(|(missing, _)| *missing == software) {
            return Ok(Run::not_looked_at(scenario, repeat, Outcome::Skipped, Some(why.clone())));
        }
        let level = self.level;
        let stage = self.stage_of(scenario, progress)?;
        progress.now(&format!("{}: the fault", scenario.id));
        let mut around = prepare(stage, scenario)?;
        progress.now(&format!("{}: looking", scenario.id));
        let report = look(stage.portal.arbiter_pid, level, capture)?;
        if let Some(signal) = signals::caught() {
            // Half a look would be judged as a whole one.
            return Err(Error::new(
                ErrorKind::Portal,
                "the look does not count",
                format!("interrupted by {signal}"),
            ));
        }
        around.after = stage.stamps();
        let (outcome, why) = proof(scenario, &around);
        let said = said(&report, around.worker)
            .ok_or_else(|| Error::new(ErrorKind::Portal, "nothing was judged", "the report has no worker"))?;
        let beside = reader::read(capture).map(|c| Beside::of(&c, said.pid)).unwrap_or_default();
        if let Some(keep) = &self.keep {
            put_away(capture, keep, &format!("{}.{repeat}.{}.cap", scenario.id, outcome.word()))?;
        }
        Ok(Run::looked_at(scenario, repeat, outcome, why, said, beside))
    }

    /// The portal of a scenario: the one that is up where it fits, else a new one.
    fn stage_of(&mut self, scenario: &Scenario, progress: &Progress) -> Result<&mut Stage> {
        if self.stage.as_ref().is_none_or(|stage| stage.kind != Kind::of(scenario)) {
            self.stage = None;
            self.portals += 1;
            progress.now(&format!("{}: bringing it up", scenario.id));
            let dir = self.folder.join(format!("portal-{}", self.portals));
            self.stage = Some(Stage::up(scenario, &dir, &mut |line| progress.now(line))?);
        }
        self.stage.as_mut().ok_or_else(|| Error::new(ErrorKind::Portal, "no portal is up", "it has ended"))
    }
}

/// The software that a scenario needs.
fn software(scenario: &Scenario) -> String {
    let kind = if scenario.class == "eventlet" { "eventlet" } else { "others" };
    format!("{} {kind}", word(&scenario.stack))
}

/// Whether it is the machine that lacks something.
fn cannot_be_had(error: &Error) -> bool {
    ["was found", "cannot be installed", "control group"].iter().any(|lack| error.message.contains(lack))
}

/// Load, limit and fault, each awaited.
fn prepare(stage: &mut Stage, scenario: &Scenario) -> Result<Around> {
    stage.load(scenario.load)?;
    let before = match scenario.effect {
        Effect::Starved => stage.pace()?,
        _ => (stage.stamps(), stage.stamps()),
    };
    stage.limit(scenario.limit)?;
    let mut worker = stage.fault(scenario, &before.1)?;
    if worker.is_none() && scenario.workers == 1 {
        worker = stage.workers().first().map(|w| w.pid);
    }
    let visitor = (scenario.effect == Effect::Unanswered).then(|| stage.visitor());
    Ok(Around { before, during: stage.stamps(), after: Vec::new(), worker, visitor })
}

/// Whether the effect was there, and if not or unknown, why.
fn proof(scenario: &Scenario, around: &Around) -> (Outcome, Option<String>) {
    if let Some(visitor) = &around.visitor {
        return if visitor.was_answered() {
            (Outcome::NoEffect, Some("a visitor was answered".to_owned()))
        } else {
            (Outcome::Proven, None)
        };
    }
    let unknown = |why: &str| (Outcome::Unproven, Some(why.to_owned()));
    if around.during.is_empty() || around.after.is_empty() {
        return unknown("its workers have no oracle");
    }
    let Some(story) = story(around) else { return unknown("the worker in question has no oracle") };
    match effect_shown(scenario.effect, &story, scenario.slots(), scenario.load != Load::None) {
        Shown::Yes => (Outcome::Proven, None),
        Shown::No(why) => (Outcome::NoEffect, Some(why)),
    }
}

/// What the worker in question said; where none is in question, all of them together.
fn story(around: &Around) -> Option<Story> {
    let pick = |stamps: &Stamps| match around.worker {
        Some(pid) => stamps.iter().find(|(p, _)| *p == pid).map(|(_, stamp)| *stamp),
        None => Some(together(stamps)),
    };
    Some(Story {
        first: pick(&around.before.0)?,
        before: pick(&around.before.1)?,
        during: pick(&around.during)?,
        after: pick(&around.after)?,
    })
}

/// All workers as one: counters add up, and the loop is that of the worst.
fn together(stamps: &Stamps) -> Stamp {
    let sum = |of: fn(&Stamp) -> u64| stamps.iter().map(|(_, s)| of(s)).sum();
    Stamp {
        at_ns: stamps.iter().map(|(_, s)| s.at_ns).max().unwrap_or(0),
        loop_stamp_ns: stamps.iter().map(|(_, s)| s.loop_stamp_ns).min().unwrap_or(0),
        requests_started: sum(|s| s.requests_started),
        requests_done: answered(stamps),
        fault_steps: sum(|s| s.fault_steps),
        fault_waiting: sum(|s| s.fault_waiting),
        loop_late_max_ns: stamps.iter().map(|(_, s)| s.loop_late_max_ns).max().unwrap_or(0),
        ..Stamp::default()
    }
}

/// The real tool looks; a signal for us ends its look, too.
pub fn look(pid: i32, level: Level, capture: &Path) -> Result<Report> {
    let cannot = |cause: String| Error::new(ErrorKind::Portal, "the portal cannot be looked at", cause);
    let program = std::env::current_exe().map_err(|e| cannot(e.to_string()))?;
    let mut command = Command::new(program);
    command.args([&pid.to_string(), "--format", "json", "--level", &word(&level), "--save"]).arg(capture);
    // A group of its own: Ctrl-C reaches us, and we end it when we have to.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(|e| cannot(e.to_string()))?;
    let own = Pid::from_raw(child.id() as i32);
    let (told, ended) = mpsc::channel();
    let waiter = std::thread::spawn(move || drop(told.send(child.wait_with_output())));
    let mut asked = false;
    let output = loop {
        match ended.recv_timeout(Duration::from_millis(50)) {
            Ok(output) => break output,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if signals::caught().is_some() && !asked {
                    asked = true;
                    // It has not been waited for, or its end would have been told: the number is still its own.
                    let _ = kill(own, Signal::SIGTERM);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(cannot("its end was not told".to_owned()));
            }
        }
    };
    let _ = waiter.join();
    let output = output.map_err(|e| cannot(e.to_string()))?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |key: &str| document["error"][key].as_str().unwrap_or_default().to_owned();
        let told = format!("{}: {}", text("message"), text("cause"));
        cannot(if document["error"].is_object() { told } else { error.to_string() })
    })
}

/// Moves a capture to where it is kept; a file that is there already is not touched.
fn put_away(capture: &Path, folder: &Path, name: &str) -> Result<()> {
    let place = folder.join(name);
    let cannot = |e: &std::io::Error| {
        Error::new(ErrorKind::Io, format!("{} cannot be kept", place.display()), e.to_string())
    };
    let mut from = std::fs::File::open(capture).map_err(|e| cannot(&e))?;
    let mut to = crate::capture::private_file::create(&place)?;
    std::io::copy(&mut from, &mut to).map(drop).map_err(|e| cannot(&e))
}

/// Scenarios in an order in which portals can be used again: those alike together, controls first.
#[must_use]
pub fn in_order(mut scenarios: Vec<Scenario>) -> Vec<Scenario> {
    let boots = |s: &Scenario| s.outside() == Some(Outside::BootSlow);
    scenarios.sort_by_cached_key(|s| {
        (word(&s.stack), s.class.clone(), s.workers, s.threads, boots(s), !s.control)
    });
    scenarios
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::scenarios::all;

    #[test]
    fn scenarios_that_can_share_a_portal_follow_each_other() {
        let ordered = in_order(all().unwrap());
        let mut kinds: Vec<Kind> = ordered.iter().map(Kind::of).collect();
        kinds.dedup();
        for (place, kind) in kinds.iter().enumerate() {
            assert!(!kinds[place + 1..].contains(kind), "{kind:?} comes again");
        }
        for pair in ordered.windows(2).filter(|pair| Kind::of(&pair[0]) == Kind::of(&pair[1])) {
            assert!(pair[0].control || !pair[1].control, "{} before {}", pair[0].id, pair[1].id);
        }
    }

    fn around(worker: Option<i32>, after: Stamps) -> Around {
        let quiet: Stamps = after.iter().map(|(pid, _)| (*pid, Stamp::default())).collect();
        Around { before: (quiet.clone(), quiet.clone()), during: quiet, after, worker, visitor: None }
    }

    #[test]
    fn without_an_oracle_nothing_is_proven() {
        let scenario = all().unwrap().into_iter().find(|s| s.fault == "spin_watcher").unwrap();
        assert_eq!(proof(&scenario, &around(Some(7), Vec::new())).0, Outcome::Unproven);
        let other = vec![(8, Stamp::default())];
        assert_eq!(proof(&scenario, &around(Some(7), other)).0, Outcome::Unproven);
    }

    #[test]
    fn the_worker_in_question_proves_it_and_all_prove_a_control() {
        let spin = all().unwrap().into_iter().find(|s| s.fault == "spin_watcher").unwrap();
        let stamp = |steps| Stamp { at_ns: 1_000_000_000, fault_steps: steps, ..Stamp::default() };
        let both = vec![(7, stamp(5_000)), (8, stamp(0))];
        assert_eq!(proof(&spin, &around(Some(7), both.clone())).0, Outcome::Proven);
        let (outcome, why) = proof(&spin, &around(Some(8), both.clone()));
        assert_eq!(outcome, Outcome::NoEffect);
        assert!(why.unwrap().contains("0 times a second"));
        let control = all().unwrap().into_iter().find(|s| s.control && s.load == Load::None).unwrap();
        assert_eq!(proof(&control, &around(None, both)).0, Outcome::Proven);
        let waiting = Stamp { fault_waiting: 1, ..Stamp::default() };
        assert_eq!(proof(&control, &around(None, vec![(7, waiting)])).0, Outcome::NoEffect);
    }
}
