//! Known faults of released versions: data only.
//!
//! A row applies where its package is loaded in such a version and the worker works in such a way. It is a hint beside
//! any verdict, and part of the advice where the verdict is what the fault leads to. Sources: the projects' own issues.

use super::model::Code;
use crate::capture::model::{Package, ServerFacts, ServerKind, WorkerClass};

/// A known fault of released versions.
#[derive(Debug)]
pub struct Bug {
    /// The packages that have it, in the same versions.
    packages: &'static [&'static str],
    /// First version that has it.
    from: &'static [u32],
    /// First version that has it no more.
    until: &'static [u32],
    applies: fn(&ServerFacts, Option<WorkerClass>) -> bool,
    /// Verdicts that it leads to.
    pub leads_to: &'static [Code],
    /// What happens.
    pub what: &'static str,
    /// The issue.
    pub issue: &'static str,
}

const fn cooperative(_: &ServerFacts, class: Option<WorkerClass>) -> bool {
    matches!(class, Some(WorkerClass::Gevent | WorkerClass::Eventlet))
}

const BUGS: &[Bug] = &[
    Bug {
        packages: &["psycopg-c", "psycopg-binary"],
        from: &[3, 1, 5],
        until: &[3, 1, 14],
        applies: cooperative,
        leads_to: &[Code::LoopBlockedOffCpu],
        what: "waits for the database inside C, where no greenlet can give way",
        issue: "psycopg/psycopg#527",
    },
    Bug {
        packages: &["gunicorn"],
        from: &[21],
        until: &[24],
        applies: |_, class| matches!(class, Some(WorkerClass::Gthread)),
        leads_to: &[Code::HotSpin],
        what: "a gthread worker whose connections are all taken turns without polling",
        issue: "benoitc/gunicorn#3146",
    },
    Bug {
        packages: &["gunicorn"],
        from: &[25, 1],
        until: &[25, 2],
        applies: |_, _| true,
        leads_to: &[Code::Booting, Code::Deadlock, Code::LoopBlockedOffCpu],
        what: "a worker inherits locks that the arbiter's control socket held at the fork, and hangs at its first log line (--no-control-socket avoids it)",
        issue: "benoitc/gunicorn#3509",
    },
    Bug {
        packages: &["gevent"],
        from: &[0],
        until: &[26, 8],
        applies: |_, class| matches!(class, Some(WorkerClass::Gevent)),
        leads_to: &[Code::StalledInProcess, Code::Deadlock],
        what: "a semaphore that another thread releases does not wake the greenlets that wait for it",
        issue: "gevent/gevent#2013",
    },
    Bug {
        packages: &["uvicorn"],
        from: &[0, 30],
        until: &[0, 37],
        applies: |server, _| server.kind == ServerKind::Uvicorn && server.workers_configured.unwrap_or(1) > 1,
        leads_to: &[Code::LoopBlockedOnCpu, Code::Booting, Code::NotRunning],
        what: "the supervisor kills a worker that does not answer its ping within 5 s, and that cannot be changed",
        issue: "encode/uvicorn#2506",
    },
];

/// Loaded packages that watch the application from inside: their threads and wrappers are part of what is measured.
pub const AGENTS: &[&str] =
    &["newrelic", "ddtrace", "elastic-apm", "scout-apm", "appoptics-apm", "instana", "opentelemetry-sdk"];

/// The known faults of what a server has loaded.
pub fn of(
    server: &ServerFacts,
    class: Option<WorkerClass>,
) -> impl Iterator<Item = (&'static Bug, &Package)> {
    server.packages.iter().flat_map(move |package| {
        let has = move |bug: &&Bug| {
            bug.packages.contains(&package.name.as_str())
                && numbers(&package.version).is_some_and(|v| *bug.from <= *v && *v < *bug.until)
                && (bug.applies)(server, class)
        };
        BUGS.iter().filter(has).map(move |bug| (bug, package))
    })
}

impl Bug {
    /// The first version without it.
    #[must_use]
    pub fn fixed_in(&self) -> String {
        let mut numbers: Vec<String> = self.until.iter().map(ToString::to_string).collect();
        numbers.resize(numbers.len().max(2), "0".into());
        numbers.join(".")
    }
}

/// The numbers of a version; `None` for what does not begin with one. A pre-release counts as its release.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let leading = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let numbers: Vec<u32> = version.split('.').map_while(leading).collect();
    (!numbers.is_empty()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::samples;

    fn known(package: &str, version: &str, class: WorkerClass) -> Vec<&'static str> {
        let mut server = samples::capture(1).header.server;
        server.packages = vec![Package { name: package.into(), version: version.into() }];
        of(&server, Some(class)).map(|(bug, _)| bug.issue).collect()
    }

    #[test]
    fn a_version_in_the_range_and_a_class_that_it_matters_to() {
        assert_eq!(known("gevent", "21.12.0", WorkerClass::Gevent), ["gevent/gevent#2013"]);
        assert_eq!(known("gevent", "26.8.0", WorkerClass::Gevent), [""; 0]);
        assert_eq!(known("gevent", "21.12.0", WorkerClass::Gthread), [""; 0]);
        assert_eq!(known("gunicorn", "23.0.0", WorkerClass::Gthread), ["benoitc/gunicorn#3146"]);
        assert_eq!(known("gunicorn", "20.1.0", WorkerClass::Gthread), [""; 0]);
        assert_eq!(known("gunicorn", "25.1.0", WorkerClass::Sync), ["benoitc/gunicorn#3509"]);
        assert_eq!(known("gunicorn", "25.0.3", WorkerClass::Sync), [""; 0]);
        assert_eq!(known("gunicorn", "25.2.0", WorkerClass::Gevent), [""; 0]);
        assert_eq!(known("psycopg-binary", "3.1.13", WorkerClass::Gevent), ["psycopg/psycopg#527"]);
        assert_eq!(known("psycopg-binary", "3.1.14", WorkerClass::Gevent), [""; 0]);
    }

    #[test]
    fn versions_are_compared_by_number_and_nonsense_is_none() {
        assert!(numbers("21.12.0") < numbers("21.12.1") && numbers("9.0") < numbers("10.0"));
        assert_eq!(numbers("3.1.13rc1"), Some(vec![3, 1, 13]));
        assert_eq!(numbers("unknown"), None);
    }
}
