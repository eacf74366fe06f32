//! `stallscope portal validate`: labelled scenarios, a look at each, and how good what is said of them is.

mod live;
mod progress;
mod reading;
mod replay;
mod stage;

use std::fmt::Write as _;
use std::io::Write as _;

use super::folder::Folder;
use live::Runner;
pub(super) use live::look;
use progress::Progress;

use crate::capture::model::Level;
use crate::cli::{Format, PortalValidateArgs, SetArg};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{host, signals};
use crate::portal::scenarios::{Scenario, Set, all};
use crate::report::json;
use crate::report::model::{Exit, SCHEMA_VERSION, Tool};
use crate::report::output::{Output, write_quietly};
use crate::report::style::{ColorWhen, Style};
use crate::report::validate::{Selection, SetScore, Validation, text};
use crate::report::words::word;
use crate::validate::goals::{Goal, goals};
use crate::validate::run::Run;
use crate::validate::{baselines, tally};

/// Runs or replays, scores, reports. Gives the exit code.
pub fn run(args: &PortalValidateArgs) -> Result<u8> {
    let scenarios = choose(all()?, args);
    if scenarios.is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            "no scenario was chosen",
            "none is left by --only, --set and --quick",
        )
        .remedy("stallscope portal validate --list"));
    }
    if args.list {
        return list(&scenarios, args.format);
    }
    let output = Output::open(args.output.as_deref())?;
    let level: Level = args.level.into();
    let (runs, left_out) = match &args.replay {
        Some(folder) => replay::runs(folder, &scenarios, level)?,
        None => (live(&scenarios, args, level)?, 0),
    };
    let validation = document(args, &scenarios, runs, left_out)?;
    let told = match args.format {
        Format::Json => json::render(&validation),
        Format::Text => text::render(&validation, Style::choose(ColorWhen::Auto, &output.place())),
    };
    output.write(&told)?;
    Ok(validation.exit.code)
}

/// The scenarios that were asked for.
fn choose(mut scenarios: Vec<Scenario>, args: &PortalValidateArgs) -> Vec<Scenario> {
    let set = chosen_set(args.set);
    scenarios.retain(|s| {
        args.only.as_deref().is_none_or(|pattern| matches(pattern, &s.id))
            && set.is_none_or(|set| s.set == set)
            && (!args.quick || s.quick)
    });
    scenarios
}

const fn chosen_set(set: SetArg) -> Option<Set> {
    match set {
        SetArg::Tune => Some(Set::Tune),
        SetArg::HeldOut => Some(Set::HeldOut),
        SetArg::Third => Some(Set::Third),
        SetArg::All => None,
    }
}

/// Whether the parts of a pattern between its `*` occur in a text one after the other.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

fn list(scenarios: &[Scenario], format: Format) -> Result<u8> {
    let told = match format {
        Format::Json => json::render(&scenarios),
        Format::Text => {
            let mut told = String::new();
            for s in scenarios {
                let expected: Vec<String> = s.expected.iter().map(word).collect();
                let quick = if s.quick { "  quick" } else { "" };
                let _ = writeln!(told, "{:<46} {:<9} {}{quick}", s.id, s.set, expected.join(" or "));
            }
            told
        }
    };
    write_quietly(&mut std::io::stdout(), &told)?;
    Ok(0)
}

/// All repeats of all scenarios, until somebody asks us to stop. Nothing is left behind.
fn live(scenarios: &[Scenario], args: &PortalValidateArgs, level: Level) -> Result<Vec<Run>> {
    signals::hold();
    let keep = args.keep.clone();
    if let Some(keep) = &keep {
        prepare_folder(keep)?;
    }
    let folder = Folder::of("validate")?;
    let mut runner = Runner::new(level, keep, folder.path().to_owned());
    let scenarios = live::in_order(scenarios.to_vec());
    let mut progress = Progress::new(scenarios.len() * args.repeats as usize);
    let mut runs = Vec::new();
    // Repeats of a scenario lie apart in time: what disturbs one of them does not disturb all.
    'all: for repeat in 1..=args.repeats {
        for scenario in &scenarios {
            let Some(run) = runner.run(scenario, repeat, &mut progress) else { break 'all };
            progress.done(&run);
            runs.push(run);
        }
    }
    progress.now("taking the last portal down");
    runner.down();
    progress.clear();
    if let Some(signal) = signals::caught() {
        let _ = writeln!(
            std::io::stderr(),
            "  interrupted by {signal}; everything that was started has been ended, {} runs are scored",
            runs.len()
        );
    }
    Ok(runs)
}

/// The folder for captures: a new or an empty one, so that no two validations mix.
fn prepare_folder(folder: &std::path::Path) -> Result<()> {
    let cannot = |cause: String| {
        Error::new(ErrorKind::Io, format!("captures cannot be kept in {}", folder.display()), cause)
            .remedy("name a new folder")
    };
    std::fs::create_dir_all(folder).map_err(|e| cannot(e.to_string()))?;
    let mut inside = std::fs::read_dir(folder).map_err(|e| cannot(e.to_string()))?;
    if inside.next().is_some() { Err(cannot("it is not empty".to_owned())) } else { Ok(()) }
}

fn document(
    args: &PortalValidateArgs,
    scenarios: &[Scenario],
    runs: Vec<Run>,
    captures_left_out: u64,
) -> Result<Validation> {
    let host = host::facts()?;
    let level: Level = args.level.into();
    let (mut sets, mut promised) = (Vec::new(), Vec::new());
    for set in Set::ALL {
        let of_set = || runs.iter().filter(move |run| run.set == set);
        if of_set().next().is_none() {
            continue;
        }
        let score = tally::tally(of_set());
        promised.extend(goals(set, &score, level));
        sets.push(SetScore { set, score, baselines: baselines::scores(of_set()) });
    }
    let scored = sets.iter().map(|set| set.score.counts.scored).sum();
    Ok(Validation {
        schema_version: SCHEMA_VERSION.into(),
        tool: Tool::own(),
        host: (&host).into(),
        selection: Selection {
            scenarios: scenarios.len() as u64,
            repeats: args.repeats,
            level,
            quick: args.quick,
            only: args.only.clone(),
            set: chosen_set(args.set),
            replayed: args.replay.is_some(),
            captures_left_out,
        },
        exit: exit(&promised, scored, signals::caught().map(|signal| signal as i32)),
        sets,
        goals: promised,
        runs,
    })
}

fn exit(goals: &[Goal], scored: u64, signal: Option<i32>) -> Exit {
    let failing: Vec<String> = goals
        .iter()
        .filter(|goal| goal.holds == Some(false))
        .map(|goal| format!("{} ({})", goal.id, goal.set))
        .collect();
    let (code, reason) = match signal {
        Some(signal) => (128 + signal as u8, "interrupted; what was measured is scored".to_owned()),
        None if scored == 0 => (3, "nothing could be run".to_owned()),
        None if failing.is_empty() => (0, "the goals hold".to_owned()),
        None => (1, format!("goals that fail: {}", failing.join(", "))),
    };
    Exit { code, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_part_or_parts_in_order() {
        for (pattern, holds) in [
            ("gevent", true),
            ("gevent-spin", true),
            ("modern*watcher", true),
            ("*", true),
            ("watcher*modern", false),
            ("uvicorn", false),
        ] {
            assert_eq!(matches(pattern, "modern-gevent-spin_watcher"), holds, "{pattern}");
        }
    }

    #[test]
    fn the_exit_code_follows_the_goals() {
        let goal = |holds| Goal {
            id: "coverage".into(),
            set: Set::Tune,
            what: String::new(),
            value: None,
            op: ">=".into(),
            threshold: 0.0,
            holds,
        };
        let code = |goals: &[Goal], scored, signal| exit(goals, scored, signal).code;
        assert_eq!(code(&[goal(Some(true)), goal(None)], 3, None), 0);
        assert_eq!(code(&[goal(Some(true)), goal(Some(false))], 3, None), 1);
        assert!(exit(&[goal(Some(false))], 3, None).reason.contains("coverage (tune)"));
        assert_eq!(code(&[], 0, None), 3);
        assert_eq!(code(&[goal(Some(false))], 3, Some(2)), 130);
        assert_eq!(code(&[], 0, Some(15)), 143);
    }

    #[test]
    fn captures_go_into_an_empty_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new/below");
        prepare_folder(&new).unwrap();
        prepare_folder(&new).unwrap();
        std::fs::write(new.join("a.cap"), "").unwrap();
        assert!(prepare_folder(&new).unwrap_err().cause.contains("not empty"));
    }
}
