//! What the person who waits is told: a line for each run, and on a terminal what is going on meanwhile.

use std::io::{IsTerminal, Write};

use crate::report::sanitize::{Charset, escape};
use crate::report::words::word;
use crate::validate::run::{Outcome, Run};

/// Widest line of what is going on.
const COLUMNS: usize = 78;

/// Standard error, as far as somebody watches it.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    done: usize,
    all: usize,
}

impl Progress {
    /// Nothing done yet.
    #[must_use]
    pub fn new(all: usize) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), done: 0, all }
    }

    /// What is going on; written over by what comes next.
    pub fn now(&self, what: &str) {
        if self.terminal {
            let what = escape(what, Charset::Ascii, COLUMNS);
            let _ = write!(std::io::stderr(), "\r\x1b[K  {what}");
        }
    }

    /// A run is done.
    pub fn done(&mut self, run: &Run) {
        self.done += 1;
        self.clear();
        let line = escape(&line(run), Charset::Ascii, 200);
        let _ = writeln!(std::io::stderr(), "  [{}/{}] {line}", self.done, self.all);
    }

    /// Leaves the terminal clean.
    pub fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(run: &Run) -> String {
    let name = format!("{} #{}", run.scenario, run.repeat);
    let why = run.why.as_deref().unwrap_or("no reason is known");
    let Some(said) = &run.said else { return format!("{name}: {}: {why}", run.outcome.word()) };
    let subcause = said.subcause.as_ref().map(|s| format!("/{s}")).unwrap_or_default();
    let verdict = format!("{name}: {}{subcause} {:.2}", word(&said.code), said.confidence);
    match (run.outcome, run.right) {
        (Outcome::NoEffect, _) => format!("{verdict}: does not count, no effect: {why}"),
        (_, Some(false)) => {
            format!("{verdict}: WRONG, expected {}", run.expected.first().map(word).unwrap_or_default())
        }
        (Outcome::Unproven, _) => format!("{verdict}: right (effect unproven)"),
        _ => format!("{verdict}: right"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::model::Code;
    use crate::portal::scenarios::all;
    use crate::validate::run::{Beside, Said};

    #[test]
    fn a_line_says_what_became_of_a_run() {
        let scenario = all().unwrap().remove(0);
        let said = |code: Code| Said {
            pid: 1,
            code,
            subcause: None,
            severity: code.severity(),
            confidence: 0.9,
            culprit: None,
            sub_windows_agree: "3/3".into(),
            after_ms: 3_000,
            bystanders_critical: 0,
        };
        let label = scenario.expected[0];
        let told = |outcome, code| {
            line(&Run::looked_at(&scenario, 2, outcome, Some("x".into()), said(code), Beside::default()))
        };
        assert!(told(Outcome::Proven, label).ends_with(": right"));
        assert!(told(Outcome::Unproven, label).ends_with("right (effect unproven)"));
        assert!(told(Outcome::Proven, Code::Unknown).contains("WRONG, expected"));
        assert!(told(Outcome::NoEffect, label).ends_with("does not count, no effect: x"));
        let skipped = Run::not_looked_at(&scenario, 2, Outcome::Skipped, Some("x".into()));
        assert!(line(&skipped).ends_with("#2: skipped: x"));
    }
}
