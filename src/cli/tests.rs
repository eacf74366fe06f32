//! What can be typed, what cannot, and whether the help fits a screen.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::*;
use crate::diagnose::model::Severity;
use crate::report::exit::FailOn;

/// Lines of the smallest screen that a help text must fit.
const SCREEN_LINES: usize = 50;

fn typed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn diagnose(line: &str) -> DiagnoseArgs {
    let cli = typed(line).unwrap();
    match cli.verb {
        Some(Verb::Diagnose(args)) => args,
        None => cli.diagnose,
        Some(other) => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> ErrorKind {
    let error = typed(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error.kind()
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_pid_alone_means_diagnose() {
    for line in
        ["stallscope 4242", "stallscope diagnose 4242", "stallscope -d 3s 4242", "stallscope 4242 -d 3s"]
    {
        let args = diagnose(line);
        assert_eq!(args.target.pid, Some(4_242), "{line}");
        assert_eq!(args.duration, Duration::from_secs(3), "{line}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let args = diagnose("stallscope 1");
    assert_eq!((args.duration, args.max_duration), (Duration::from_secs(3), Duration::from_secs(10)));
    assert_eq!((args.rate, args.level, args.format), (100, DiagnoseLevel::Memory, ReportFormat::Text));
    assert_eq!((args.fail_on, args.color), (FailOn::Severity(Severity::Critical), ColorArg::Auto));
    assert!(!args.show_values && !args.redact && !args.quiet && !args.verbose);
}

#[test]
fn there_is_exactly_one_target() {
    assert_eq!(diagnose("stallscope --port 8000").target.port, Some(8_000));
    assert_eq!(diagnose("stallscope diagnose --name gunicorn").target.name.as_deref(), Some("gunicorn"));
    assert_eq!(diagnose("stallscope --replay a.cap -v").target.replay, Some(PathBuf::from("a.cap")));
    assert_eq!(refused("stallscope 42 --port 8000"), ErrorKind::ArgumentConflict);
    assert_eq!(refused("stallscope diagnose --name a --replay b"), ErrorKind::ArgumentConflict);
    assert_eq!(refused("stallscope diagnose -q"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("stallscope -q"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("stallscope"), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
    assert_eq!(refused("stallscope diagnose"), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

#[test]
fn nonsense_is_refused() {
    for line in [
        "stallscope 0",
        "stallscope -1",
        "stallscope daignose",
        "stallscope 42 --port 0",
        "stallscope 42 -d 3",
        "stallscope 42 -r 0",
        "stallscope 42 -r 1001",
        "stallscope 42 --level force",
        "stallscope 42 --format xml",
        "stallscope 42 --fail-on hotspin",
        "stallscope 42 -q -v",
        "stallscope --replay a --save b",
        "stallscope demo a b",
        "stallscope generate man",
        "stallscope portal up --workers 0",
        "stallscope portal validate --repeats 0",
        "stallscope portal validate --quick --repeats 5",
        "stallscope portal validate --set second",
        "stallscope portal validate --replay a --keep b",
        "stallscope portal validate --replay a --list",
        "stallscope portal validate 42",
    ] {
        refused(line);
    }
}

#[test]
fn other_verbs_need_no_target() {
    assert!(matches!(typed("stallscope demo").unwrap().verb, Some(Verb::Demo(_))));
    let Some(Verb::Portal { action: PortalAction::Up(up) }) =
        typed("stallscope portal up --stack period --workers 2 --threads 4 --fault hot_spin").unwrap().verb
    else {
        panic!("not portal up");
    };
    assert_eq!((up.stack, up.workers, up.threads), (StackArg::Period, 2, Some(4)));
    assert_eq!(up.fault.as_deref(), Some("hot_spin"));
    let Some(Verb::Portal { action: PortalAction::Validate(validate) }) =
        typed("stallscope portal validate --set held-out --repeats 5 --level proc --keep a").unwrap().verb
    else {
        panic!("not portal validate");
    };
    assert_eq!((validate.set, validate.repeats, validate.level), (SetArg::HeldOut, 5, LevelArg::Proc));
    assert_eq!((validate.quick, validate.keep), (false, Some(PathBuf::from("a"))));
    let Some(Verb::Generate(generate)) = typed("stallscope generate schema out").unwrap().verb else {
        panic!("not generate");
    };
    assert_eq!((generate.what, generate.dir), (Generated::Schema, PathBuf::from("out")));
}

#[test]
fn the_live_view_takes_the_same_targets_and_its_own_options() {
    let top = |line: &str| match typed(line).unwrap().verb {
        Some(Verb::Top(args)) => args,
        other => panic!("{other:?}"),
    };
    let args = top("stallscope top 4242");
    assert_eq!((args.target.pid, args.rate, args.fps), (Some(4_242), 50, 5));
    assert_eq!((args.window, args.level), (Duration::from_secs(3), LevelArg::Memory));
    assert_eq!(top("stallscope top --port 8000 --only 9 --ascii").only, Some(9));
    let args = top("stallscope top --replay a.cap --picture a.svg --size 80x24");
    assert_eq!((args.size, args.picture), ((80, 24), Some(PathBuf::from("a.svg"))));
    for line in [
        "stallscope top",
        "stallscope top 42 --port 8000",
        "stallscope top 42 --fps 0",
        "stallscope top 42 --fps 31",
        "stallscope top 42 --rate 9",
        "stallscope top 42 --picture a.svg",
        "stallscope top --replay a --picture b --size 80",
        "stallscope top --replay a --picture b --size 0x24",
        "stallscope top --replay a --picture b --size 80x201",
        "stallscope top 42 --format json",
    ] {
        refused(line);
    }
}

#[test]
fn reports_are_compared_in_pairs_and_summed_up_in_any_number() {
    let Some(Verb::Diff(diff)) = typed("stallscope diff a.json - --format markdown").unwrap().verb else {
        panic!("not diff");
    };
    assert_eq!((diff.before, diff.after), (PathBuf::from("a.json"), PathBuf::from("-")));
    assert_eq!(diff.format, SummaryFormat::Markdown);
    let Some(Verb::Merge(merge)) = typed("stallscope merge a b c --fail-on never").unwrap().verb else {
        panic!("not merge");
    };
    assert_eq!((merge.reports.len(), merge.fail_on), (3, FailOn::Never));
    for line in [
        "stallscope diff a.json",
        "stallscope diff a b c",
        "stallscope diff a b --format html",
        "stallscope merge",
        "stallscope merge --format json",
        "stallscope merge a --fail-on hotspin",
    ] {
        refused(line);
    }
}

#[test]
fn every_help_fits_one_screen_and_shows_examples() {
    let verbs = [
        "",
        "diagnose",
        "dump",
        "record",
        "trace",
        "top",
        "doctor",
        "diff",
        "merge",
        "portal",
        "portal up",
        "portal down",
        "portal faults",
        "portal compare",
        "portal validate",
        "demo",
        "generate",
    ];
    for verb in verbs {
        for flag in ["-h", "--help"] {
            let error = typed(&format!("stallscope {verb} {flag}")).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::DisplayHelp, 0), "{verb}");
            let help = error.render().to_string();
            assert!(help.lines().count() <= SCREEN_LINES, "{verb}: {} lines", help.lines().count());
            assert!(help.contains("Examples:\n  stallscope "), "{verb}: {help}");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{verb}: {help}");
        }
    }
}

#[test]
fn the_examples_can_be_typed() {
    fn examples(command: &clap::Command, lines: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        lines.extend(help.lines().filter_map(|line| line.strip_prefix("  stallscope ")).map(String::from));
        command.get_subcommands().for_each(|verb| examples(verb, lines));
    }
    let mut lines = Vec::new();
    examples(&Cli::command(), &mut lines);
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        let typed_part = line.split("  ").next().unwrap_or_default().split(['|']).next().unwrap_or_default();
        match typed(&format!("stallscope {typed_part}")) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{line}: {error}"),
        }
    }
}
