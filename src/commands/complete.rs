//! Answers a shell that completes a command line: the servers of this machine, their processes, their ports.
//!
//! Not a verb that people type, so it stands in no help: the completion scripts call `stallscope __complete WHAT`. It
//! answers within a moment, is silent about errors, and prints only characters that no shell acts on: a process may
//! have chosen its name to be found here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::report::output::write_quietly;
use crate::target::candidates::{Candidate, candidates};

/// The word that stands in the place of a verb.
pub const WORD: &str = "__complete";

/// A person who pressed a key does not wait longer. On an idle machine the answer takes a tenth of it.
const PATIENCE: Duration = Duration::from_millis(300);

/// Longest name that is shown.
const MAX_NAME: usize = 40;

/// Answers, if the command line asks for completions.
pub fn answer(mut args: impl Iterator<Item = String>) -> Option<u8> {
    if args.nth(1)? != WORD {
        return None;
    }
    let found = candidates(Instant::now() + PATIENCE);
    let text = match args.next().as_deref() {
        Some("pids") => pids(&found),
        Some("members") => members(&found),
        Some("ports") => ports(&found),
        _ => return Some(2),
    };
    let _ = write_quietly(&mut std::io::stdout(), &text);
    Some(0)
}

fn pids(found: &[Candidate]) -> String {
    found.iter().fold(String::new(), |mut text, server| {
        let _ = writeln!(text, "{}\t{}", server.pid, label(server));
        text
    })
}

fn members(found: &[Candidate]) -> String {
    found.iter().fold(pids(found), |mut text, server| {
        for worker in &server.workers {
            let _ = writeln!(text, "{worker}\tof {} ({})", server.pid, harmless(&server.name));
        }
        text
    })
}

fn ports(found: &[Candidate]) -> String {
    let by_port: BTreeMap<u16, &Candidate> =
        found.iter().flat_map(|server| server.ports.iter().map(move |port| (*port, server))).collect();
    by_port.into_iter().fold(String::new(), |mut text, (port, server)| {
        let _ = writeln!(text, "{port}\t{} (process {})", harmless(&server.name), server.pid);
        text
    })
}

fn label(server: &Candidate) -> String {
    let mut label = harmless(&server.name);
    match server.workers.len() {
        0 => {}
        1 => label.push_str(", 1 worker"),
        more => drop(write!(label, ", {more} workers")),
    }
    for (number, port) in server.ports.iter().take(3).enumerate() {
        let _ = write!(label, "{}{port}", if number == 0 { ", port " } else { " " });
    }
    label
}

/// Only what is text to every shell; anything else could be a quote, a variable, an escape or the end of a line.
fn harmless(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | '/' | '+' | '@');
    name.chars().take(MAX_NAME).map(|c| if plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Vec<Candidate> {
        vec![
            Candidate { pid: 10, name: "gunicorn".into(), workers: vec![11, 12], ports: vec![8000] },
            Candidate {
                pid: 20,
                name: "$(rm -rf ~)`x`\n';\x1b[2J".into(),
                workers: vec![],
                ports: vec![80, 8000],
            },
        ]
    }

    #[test]
    fn lines_are_a_number_a_tab_and_a_label() {
        assert_eq!(pids(&servers()).lines().next(), Some("10\tgunicorn, 2 workers, port 8000"));
        assert_eq!(members(&servers()).lines().count(), 4);
        assert_eq!(members(&servers()).lines().last(), Some("12\tof 10 (gunicorn)"));
        assert_eq!(
            ports(&servers()).lines().map(|l| l.split('\t').next().unwrap()).collect::<Vec<_>>(),
            ["80", "8000"]
        );
    }

    #[test]
    fn nothing_that_a_shell_acts_on_is_printed() {
        for text in [pids(&servers()), members(&servers()), ports(&servers())] {
            assert!(!text.contains(['$', '`', '\'', '"', ';', '\x1b', '\\', '|', '&', '~', '*']), "{text:?}");
            assert!(text.lines().all(|line| line.matches('\t').count() == 1), "{text:?}");
        }
    }

    #[test]
    fn only_its_own_word_is_answered() {
        let args = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>().into_iter();
        assert_eq!(answer(args(&["stallscope"])), None);
        assert_eq!(answer(args(&["stallscope", "doctor"])), None);
        assert_eq!(answer(args(&["stallscope", WORD, "nonsense"])), Some(2));
    }
}
