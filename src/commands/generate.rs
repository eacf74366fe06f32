//! `generate`: man pages, completions and schemas into a folder.
//!
//! Everything is made from the definitions that the program itself uses. The results are committed; a test
//! renders them again, so they cannot fall behind. Nothing in them varies with the day or the machine.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, GenerateArgs, Generated};
use crate::error::{Error, ErrorKind, Result};
use crate::report::schema;
use crate::tui::keys::KEYS;

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its name inside the folder.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// Writes what was asked for into the folder.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let failed = |path: &Path, error: &io::Error| {
        Error::new(ErrorKind::Io, format!("cannot write {}", path.display()), error.to_string())
            .remedy("choose a folder that you can write to")
    };
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    for file in render(args.what) {
        let path = args.dir.join(file.name);
        fs::write(&path, file.bytes).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// The files, without writing them.
#[must_use]
pub fn render(what: Generated) -> Vec<GeneratedFile> {
    match what {
        Generated::Man => man_pages(),
        Generated::Completions => super::completions::scripts(),
        Generated::Schema => schema::all()
            .into_iter()
            .map(|file| GeneratedFile { name: file.name.into(), bytes: file.text.into_bytes() })
            .collect(),
    }
}

/// One page for the program and one for each verb.
fn man_pages() -> Vec<GeneratedFile> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = vec![page(&root, "stallscope")];
    add_verbs(&root, "stallscope", &mut pages);
    pages
}

fn add_verbs(command: &Command, name: &str, pages: &mut Vec<GeneratedFile>) {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("{name}-{}", verb.get_name());
        pages.push(page(verb, &name));
        add_verbs(verb, &name, pages);
    }
}

fn page(command: &Command, name: &str) -> GeneratedFile {
    let mut bytes = Vec::new();
    // Writing into memory cannot fail.
    let _ = write_page(command, name, &mut bytes);
    GeneratedFile { name: format!("{name}.1"), bytes }
}

fn write_page(command: &Command, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone());
    title(name).to_writer(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    if command.get_name() == "top" {
        keys().to_writer(out)?;
    }
    our_sections(name, &examples).to_writer(out)
}

/// The title line, without a date: a page must not change from one day to the next.
fn title(name: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [name.to_uppercase().as_str(), "1", "\"\"", "stallscope", "User Commands"]);
    page
}

/// What the definitions do not know.
fn our_sections(name: &str, examples: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    let codes: &[(&str, &str)] = match name {
        "stallscope-doctor" => &DOCTOR_EXIT_STATUS,
        "stallscope-diff" | "stallscope-portal-compare" => &DIFF_EXIT_STATUS,
        "stallscope-merge" => &MERGE_EXIT_STATUS,
        "stallscope-record" => &RECORD_EXIT_STATUS,
        "stallscope-trace" => &TRACE_EXIT_STATUS,
        "stallscope-portal-validate" => &VALIDATE_EXIT_STATUS,
        _ => &EXIT_STATUS,
    };
    for (code, meaning) in codes {
        entry(&mut page, code, meaning);
    }
    page.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in examples.lines().skip_while(|line| !line.starts_with("Examples:")).skip(1) {
        if line.is_empty() {
            break;
        }
        page.text([roman(line.trim_start())]);
    }
    page.control("fi", []).control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        entry(&mut page, name, meaning);
    }
    page.control("SH", ["FILES"]);
    for (name, meaning) in FILES {
        entry(&mut page, name, meaning);
    }
    page
}

/// The keys of the live view, from the table that it acts on itself.
fn keys() -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["KEYS"]);
    for binding in KEYS {
        entry(&mut page, binding.shown, binding.long);
    }
    page
}

fn entry(page: &mut Roff, name: &str, meaning: &str) {
    page.control("TP", []).text([bold(name)]).text([roman(meaning)]);
}

const EXIT_STATUS: [(&str, &str); 6] = [
    ("0", "Looked, and nothing at or above --fail-on."),
    ("1", "A finding at or above --fail-on."),
    ("2", "Wrong usage."),
    (
        "3",
        "No verdict: the target is gone or not found, looking is not permitted, or nothing could be sampled. \
         Also where nothing was found but the capture (--save) could not be written to its end.",
    ),
    ("4", "Every verdict is unknown: the evidence is insufficient or conflicting."),
    ("130, 143", "Interrupted by SIGINT or SIGTERM; what was gathered is still reported."),
];

const DOCTOR_EXIT_STATUS: [(&str, &str); 3] = [
    (
        "0",
        "A diagnosis is possible. Where it is not a full one, the report says what is missing and what that costs. \
         Without a PID always.",
    ),
    ("2", "Wrong usage."),
    (
        "3",
        "No diagnosis is possible: the process is gone, dead, hidden or the kernel's own. The report says which.",
    ),
];

const DIFF_EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "It did not become worse. Where a verdict is not known, as far as is known."),
    ("1", "It became worse: the verdict of the server is more severe, or more workers are critical."),
    ("2", "Wrong usage."),
    ("3", "A report is missing: it cannot be read, or the look that should have given it failed."),
];

const MERGE_EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "All reports were read, and nothing in them is at or above --fail-on."),
    ("1", "A finding at or above --fail-on in one of them."),
    ("2", "Wrong usage."),
    (
        "3",
        "Nothing was found, but a report could not be read or its look had failed. The summary says which.",
    ),
    ("4", "Every verdict is unknown."),
];

const RECORD_EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Recorded and written. Ctrl-C (SIGINT) is the usual end of a recording without -d."),
    ("2", "Wrong usage, among it a file name whose ending says no form."),
    (
        "3",
        "Nothing could be recorded: the target is gone or not found, looking is not permitted, or nothing was of the \
         kind that was asked for. Or the recording could not be written to its end; the last whole version of the file \
         stays in its place.",
    ),
    ("143", "Ended by SIGTERM; what was recorded is written."),
];

const TRACE_EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Traced and shown, also where a thread made no call in that time."),
    ("2", "Wrong usage."),
    (
        "3",
        "No process could be traced: gone or not found, not permitted, or traced by somebody else. The error says which.",
    ),
    ("130, 143", "Interrupted by SIGINT or SIGTERM; what was traced by then is shown."),
];

const VALIDATE_EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "The goals hold, as far as something was measured for them. The report lists them."),
    ("1", "A goal fails, or the effect of a run that is scored was not proven."),
    ("2", "Wrong usage."),
    ("3", "Nothing could be run: the portal's software is missing, or no capture belongs to a scenario."),
    (
        "130, 143",
        "Interrupted by SIGINT or SIGTERM; what was measured is scored, what was started has been ended.",
    ),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    ("NO_COLOR", "If set and not empty, --color auto does not colour."),
    ("TERM", "If it is dumb, --color auto does not colour."),
    ("LC_ALL, LC_CTYPE, LANG", "The first that is set decides: if it names no UTF-8, the text is ASCII."),
    (
        "GITHUB_WORKSPACE, CI_PROJECT_DIR",
        "Root of the sources: --format github, junit and sarif name files below it from there.",
    ),
    (
        "GITHUB_STEP_SUMMARY",
        "With --format github the report is also appended to this file as Markdown, if it is there.",
    ),
    ("SUDO_UID, SUDO_GID", "Under sudo, files that are written belong to this user."),
];

const FILES: [(&str, &str); 3] = [
    ("/proc/PID", "Where the target is observed."),
    (
        "CAPTURE (--save)",
        "What was seen: gzip of one JSON object per line, mode 0600. Never overwrites a file.",
    ),
    ("FILE (-o)", "The report, mode 0600. Replaces a regular file in one step, and nothing else."),
];

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const ALL: [(Generated, &str); 3] =
        [(Generated::Man, "man"), (Generated::Completions, "completions"), (Generated::Schema, "schema")];

    #[test]
    fn what_is_committed_is_what_the_definitions_give() {
        for (what, folder) in ALL {
            let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
            let mut names: Vec<String> = Vec::new();
            for file in render(what) {
                let there = fs::read(committed.join(&file.name)).unwrap_or_default();
                assert!(
                    there == file.bytes,
                    "{folder}/{} is behind: cargo run -- generate {folder} {folder}",
                    file.name
                );
                names.push(file.name);
            }
            for entry in fs::read_dir(&committed).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(names.contains(&name), "{folder}/{name} is no longer generated");
            }
        }
    }

    #[test]
    fn every_man_page_has_its_sections() {
        let pages = render(Generated::Man);
        assert!(pages.len() >= 8, "{}", pages.len());
        for page in pages {
            let text = String::from_utf8(page.bytes).unwrap();
            for section in
                ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "ENVIRONMENT", "FILES"]
            {
                let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
                assert!(
                    heading.iter().any(|heading| text.contains(heading)),
                    "{}: {section}\n{text}",
                    page.name
                );
            }
            assert!(text.contains("\nstallscope "), "{}: no example\n{text}", page.name);
        }
    }

    #[test]
    fn files_are_written_into_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let args = GenerateArgs { what: Generated::Schema, dir: folder.path().join("new") };
        run(&args).unwrap();
        assert!(args.dir.join("report-v1.json").is_file());
        let args = GenerateArgs { what: Generated::Schema, dir: args.dir.join("report-v1.json") };
        assert_eq!(run(&args).unwrap_err().kind, ErrorKind::Io);
    }
}
