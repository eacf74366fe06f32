//! Takes reports in, one after the other, and gives the summary.

use std::cmp::Reverse;
use std::net::SocketAddr;

use super::tally::{Seen, Tally, kept};
use super::{BlindSpots, Count, Fleet, Look, Missing, Shared, Version};
use crate::diagnose::culprit::with_service;
use crate::diagnose::model::{Culprit, Severity};
use crate::error::Error;
use crate::report::exit::FailOn;
use crate::report::model::{Exit, SCHEMA_VERSION, Tool};
use crate::report::received::{Received, ReceivedError, ReceivedProcess, severity};
use crate::report::word;
use crate::report::words::plural;

/// Hosts that are named where several blame the same.
const HOSTNAMES: usize = 5;

/// A verdict: role, code, severity.
type Verdict = (Option<String>, String, Option<Severity>);

/// Takes reports in and counts.
#[derive(Debug)]
pub struct Gatherer {
    fail_on: FailOn,
    hosts: Vec<(String, String)>,
    looks: Vec<Look>,
    workers: u64,
    unknown: u64,
    servers: Tally<Verdict>,
    processes: Tally<Verdict>,
    upstreams: Tally<String>,
    functions: Tally<String>,
    versions: Tally<(String, String)>,
    blind_spots: Tally<(String, String, String)>,
    missing: Vec<Missing>,
    found: Option<(Option<Severity>, String)>,
}

impl Gatherer {
    /// Nothing taken in yet; `fail_on` says what gives exit code 1.
    #[must_use]
    pub fn new(fail_on: FailOn) -> Self {
        Self {
            fail_on,
            hosts: Vec::new(),
            looks: Vec::new(),
            workers: 0,
            unknown: 0,
            servers: Tally::default(),
            processes: Tally::default(),
            upstreams: Tally::default(),
            functions: Tally::default(),
            versions: Tally::default(),
            blind_spots: Tally::default(),
            missing: Vec::new(),
            found: None,
        }
    }

    /// Takes in a report.
    pub fn add(&mut self, source: &str, report: &Received) {
        let host = self.host(source, report);
        let verdict = &report.server.verdict;
        self.servers.add((None, kept(&verdict.code), verdict.severity()), host, "");
        self.note(&report.host.hostname, &verdict.code, verdict.severity());
        let mut troubles = Tally::default();
        let mut workers = 0;
        for process in &report.processes {
            workers += u64::from(process.serves());
            self.process(process, host, report, &mut troubles);
        }
        let judged = |p: &&ReceivedProcess| p.serves() && p.verdict.code != "unknown";
        self.unknown += u64::from(report.processes.iter().find(judged).is_none());
        self.workers += workers;
        self.version("stallscope", &report.tool.version, host);
        self.version("rules", &report.tool.rules_version, host);
        self.version(&report.server.kind, report.server.version.as_deref().unwrap_or_default(), host);
        self.version("kernel", &report.host.kernel, host);
        for spot in &report.blind_spots {
            let what = without_numbers(&kept(&spot.what));
            self.blind_spots.add((what, kept(&spot.why), kept(&spot.remedy)), host, "");
        }
        self.looks.push(Look {
            source: kept(source),
            hostname: kept(&report.host.hostname),
            started_at: kept(&report.collection.started_at),
            kind: kept(&report.server.kind),
            worker_class: report.server.worker_class.as_deref().map(kept),
            code: kept(&verdict.code),
            severity: verdict.severity(),
            confidence: verdict.confidence,
            summary: kept(&verdict.summary),
            workers,
            troubles: counts(&troubles),
        });
    }

    /// Takes in what a look that failed said.
    pub fn failed(&mut self, source: &str, error: &ReceivedError) {
        let cause = format!("the look failed: {}: {}", error.message, error.cause);
        self.missing.push(Missing { source: kept(source), kind: kept(&error.kind), cause: kept(&cause) });
    }

    /// Takes in that a report could not be read.
    pub fn unread(&mut self, source: &str, error: &Error) {
        self.missing.push(Missing {
            source: kept(source),
            kind: word(&error.kind),
            cause: kept(&error.cause),
        });
    }

    /// Whether no report at all was taken in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.looks.is_empty()
    }

    /// The summary.
    #[must_use]
    pub fn finish(mut self) -> Fleet {
        self.looks.sort_by(|a, b| {
            let rank = |look: &Look| {
                let critical = look.troubles.iter().filter(|t| t.severity == Some(Severity::Critical));
                (badness(look.severity), critical.map(|t| t.count).sum::<u64>())
            };
            rank(b).cmp(&rank(a)).then_with(|| (&a.hostname, &a.source).cmp(&(&b.hostname, &b.source)))
        });
        let left_out = self.servers.left_out
            + self.processes.left_out
            + self.upstreams.left_out
            + self.functions.left_out
            + self.versions.left_out
            + self.blind_spots.left_out;
        Fleet {
            schema_version: SCHEMA_VERSION.into(),
            tool: Tool::own(),
            reports: self.looks.len() as u64,
            hosts: self.hosts.len() as u64,
            workers: self.workers,
            servers: counts(&self.servers),
            processes: counts(&self.processes),
            upstreams: self.shared(&self.upstreams),
            functions: self.shared(&self.functions),
            versions: versions(&self.versions),
            blind_spots: blind_spots(&self.blind_spots),
            left_out,
            exit: self.exit(),
            looks: self.looks,
            missing: self.missing,
        }
    }

    /// The number of a host. Pseudonyms are the same on every host, so that a redacted report is a host of its own.
    fn host(&mut self, source: &str, report: &Received) -> usize {
        let host = &report.host;
        let identity = if is_redacted(report) || host.boot_id.is_empty() {
            format!("{} {source}", host.boot_id)
        } else {
            host.boot_id.clone()
        };
        let known = self.hosts.iter().position(|(name, id)| *name == host.hostname && *id == identity);
        known.unwrap_or_else(|| {
            self.hosts.push((kept(&host.hostname), identity));
            self.hosts.len() - 1
        })
    }

    fn process(
        &mut self,
        process: &ReceivedProcess,
        host: usize,
        report: &Received,
        troubles: &mut Tally<Verdict>,
    ) {
        let verdict = &process.verdict;
        let severity_of = verdict.severity();
        let key = (Some(kept(&process.role)), kept(&verdict.code), severity_of);
        self.note(&report.host.hostname, &verdict.code, severity_of);
        for finding in &process.findings {
            self.note(&report.host.hostname, &finding.code, severity(finding.severity.as_deref()));
        }
        if severity_of != Some(Severity::Info) {
            troubles.add(key.clone(), host, "");
        }
        self.processes.add(key, host, "");
        if let Some(python) = &process.python {
            self.version(&python.implementation, &python.version, host);
        }
        let Some(culprit) = verdict.culprit.as_ref().filter(|_| severity_of > Some(Severity::Info)) else {
            return;
        };
        if let Some(peer) = culprit.peer.as_deref().filter(|peer| !is_redacted(report) && is_shared(peer)) {
            self.upstreams.add(with_service(&kept(peer)), host, &verdict.code);
        }
        if let Some(function) = function(culprit) {
            self.functions.add(function, host, &verdict.code);
        }
    }

    fn version(&mut self, of: &str, version: &str, host: usize) {
        if !of.is_empty() && !version.is_empty() {
            self.versions.add((kept(of), kept(version)), host, "");
        }
    }

    /// Remembers the worst that is to fail.
    fn note(&mut self, hostname: &str, code: &str, severity: Option<Severity>) {
        let worse = self.found.as_ref().is_none_or(|(worst, _)| severity > *worst);
        if worse && self.fail_on.counts(code, severity) {
            let how = severity.map_or_else(String::new, |s| format!(", which is {}", word(&s)));
            self.found = Some((severity, kept(&format!("{hostname} has {code}{how}"))));
        }
    }

    /// What more than one host blames.
    fn shared(&self, tally: &Tally<String>) -> Vec<Shared> {
        let several = tally.iter().filter(|(_, seen)| seen.hosts.len() > 1);
        let name = |host: &usize| self.hosts.get(*host).map(|(name, _)| name.clone());
        let mut shared: Vec<Shared> = several
            .map(|(what, seen)| Shared {
                what: what.clone(),
                processes: seen.count,
                hosts: seen.hosts.len() as u64,
                hostnames: seen.hosts.iter().filter_map(name).take(HOSTNAMES).collect(),
                codes: seen.codes.iter().cloned().collect(),
            })
            .collect();
        shared.sort_by(|a, b| (b.hosts, b.processes).cmp(&(a.hosts, a.processes)).then(a.what.cmp(&b.what)));
        shared
    }

    /// A finding first; then what is missing, because nobody knows what would have been found there.
    fn exit(&self) -> Exit {
        let exit = |code, reason: String| Exit { code, reason };
        if let Some((_, found)) = &self.found {
            return exit(1, found.clone());
        }
        if !self.missing.is_empty() {
            let missing = self.missing.len();
            let all = plural((self.looks.len() + missing) as u64, "report");
            return exit(
                3,
                format!("{missing} of {all} {} missing", if missing == 1 { "is" } else { "are" }),
            );
        }
        if self.unknown == self.looks.len() as u64 {
            return exit(4, "every verdict is unknown".into());
        }
        exit(0, "nothing that is to fail".into())
    }
}

/// Worst first; what is not known is worse than what is well.
const fn badness(severity: Option<Severity>) -> u8 {
    match severity {
        Some(Severity::Critical) => 3,
        Some(Severity::Warning) => 2,
        None => 1,
        Some(Severity::Info) => 0,
    }
}

fn counts(tally: &Tally<Verdict>) -> Vec<Count> {
    let count = |((role, code, severity), seen): (&Verdict, &Seen)| Count {
        role: role.clone(),
        code: code.clone(),
        severity: *severity,
        count: seen.count,
        hosts: seen.hosts.len() as u64,
    };
    let mut counts: Vec<Count> = tally.iter().map(count).collect();
    counts.sort_by_key(|c| {
        let arbiter = c.role.as_deref() == Some("arbiter") && c.severity == Some(Severity::Info);
        (arbiter, Reverse((badness(c.severity), c.count)))
    });
    counts
}

fn versions(tally: &Tally<(String, String)>) -> Vec<Version> {
    let version = |((of, version), seen): (&(String, String), &Seen)| Version {
        of: of.clone(),
        version: version.clone(),
        hosts: seen.hosts.len() as u64,
    };
    let mut versions: Vec<Version> = tally.iter().map(version).collect();
    versions.sort_by(|a, b| a.of.cmp(&b.of).then(b.hosts.cmp(&a.hosts)).then(a.version.cmp(&b.version)));
    versions
}

fn blind_spots(tally: &Tally<(String, String, String)>) -> Vec<BlindSpots> {
    let spot = |((what, why, remedy), seen): (&(String, String, String), &Seen)| BlindSpots {
        what: what.clone(),
        why: why.clone(),
        remedy: remedy.clone(),
        count: seen.count,
        hosts: seen.hosts.len() as u64,
    };
    let mut spots: Vec<BlindSpots> = tally.iter().map(spot).collect();
    spots.sort_by_key(|spot| Reverse((spot.hosts, spot.count)));
    spots
}

/// Whether names in a report are pseudonyms, which mean another on every host.
fn is_redacted(report: &Received) -> bool {
    report.host.boot_id.strip_prefix("boot-").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Whether an address means the same on every host: neither loopback nor a unix socket.
fn is_shared(peer: &str) -> bool {
    match peer.parse::<SocketAddr>() {
        Ok(address) => !address.ip().is_loopback() && !address.ip().is_unspecified(),
        Err(_) => !peer.is_empty() && !peer.starts_with(['/', '@']) && !peer.starts_with("unix:"),
    }
}

fn function(culprit: &Culprit) -> Option<String> {
    let function = culprit.function.as_deref()?;
    let place = culprit.file.as_deref().map_or_else(String::new, |file| format!(" ({file})"));
    Some(kept(&format!("{function}{place}")))
}

/// A sentence with the numbers of processes replaced, so that the same blind spot of two workers is one.
fn without_numbers(text: &str) -> String {
    let words = text.split(' ').scan(false, |numbered, word| {
        let digits = word.trim_end_matches([',', ';', ':', '.', ')']);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let replaced = *numbered && is_number;
        *numbered = matches!(word.trim_start_matches('('), "pid" | "process" | "tid" | "thread")
            || (replaced && word.ends_with(','));
        Some(if replaced { word.replacen(digits, "N", 1) } else { word.to_owned() })
    });
    let mut text = words.collect::<Vec<_>>().join(" ");
    while text.contains("N, N") {
        text = text.replace("N, N", "N");
    }
    text
}
