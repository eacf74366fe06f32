//! What a report complains about, as one flat list: what the formats for pipelines have in common.
//!
//! Takes a finished document and borrows from it. The same trouble in several processes is one complaint; a
//! verdict, a finding beside it and a verdict of the server that no process explains are all complaints.
//! It judges nothing: severities and codes are those of the document.

use super::model::{Process, Report};
use super::word;
use crate::diagnose::model::{Advice, Culprit, Evidence, Severity};

/// One thing that is not fine, or not known.
#[derive(Debug, Clone)]
pub(super) struct Complaint<'r> {
    /// The verdict or the finding.
    pub code: String,
    /// The kind of cause.
    pub subcause: Option<&'r str>,
    /// How bad it is; `None` for `unknown`.
    pub severity: Option<Severity>,
    /// One sentence.
    pub summary: &'r str,
    /// Who or what is to blame.
    pub culprit: Option<&'r Culprit>,
    /// The processes; none where it is the server as a whole.
    pub who: Vec<&'r Process>,
    /// Whether it is the verdict of its processes, with evidence and advice.
    pub is_verdict: bool,
}

impl<'r> Complaint<'r> {
    /// The processes in words.
    pub fn whose(&self) -> String {
        let pids: Vec<String> = self.who.iter().map(|process| pid(process)).collect();
        if pids.is_empty() { "the server".into() } else { format!("pid {}", pids.join(", ")) }
    }

    /// The verdict with its kind of cause.
    pub fn name(&self) -> String {
        match self.subcause {
            Some(subcause) => format!("{}, {subcause}", self.code),
            None => self.code.clone(),
        }
    }

    /// What the verdict rests on, in the first of its processes.
    pub fn evidence(&self) -> &'r [Evidence] {
        self.first().map_or(&[], |process| &process.evidence)
    }

    /// What to do about it.
    pub fn advice(&self) -> &'r [Advice] {
        self.first().map_or(&[], |process| &process.advice)
    }

    /// The first process that it is the verdict of.
    pub fn first(&self) -> Option<&'r Process> {
        self.who.first().copied().filter(|_| self.is_verdict)
    }
}

/// All complaints, the worst first; what is not known stands last.
pub(super) fn complaints(report: &Report) -> Vec<Complaint<'_>> {
    let mut all: Vec<Complaint<'_>> = troubles(&report.processes).into_iter().filter_map(verdict).collect();
    let server = &report.server.verdict;
    let worst = all.iter().filter_map(|complaint| complaint.severity).max();
    if server.severity > Some(Severity::Info) && server.severity > worst {
        all.push(Complaint {
            code: word(&server.code),
            subcause: None,
            severity: server.severity,
            summary: &server.summary,
            culprit: None,
            who: Vec::new(),
            is_verdict: false,
        });
    }
    let verdicts = all.len();
    for process in &report.processes {
        for finding in process.findings.iter().filter(|finding| finding.severity > Severity::Info) {
            let known = all.iter_mut().skip(verdicts);
            match known.into_iter().find(|c| c.code == finding.code && c.summary == finding.text) {
                Some(complaint) => complaint.who.push(process),
                None => all.push(Complaint {
                    code: finding.code.clone(),
                    subcause: None,
                    severity: Some(finding.severity),
                    summary: &finding.text,
                    culprit: None,
                    who: vec![process],
                    is_verdict: false,
                }),
            }
        }
    }
    all.sort_by_key(|complaint| std::cmp::Reverse(complaint.severity));
    all
}

fn verdict(group: Vec<&Process>) -> Option<Complaint<'_>> {
    let verdict = &group.first()?.verdict;
    Some(Complaint {
        code: word(&verdict.code),
        subcause: verdict.subcause.as_deref(),
        severity: verdict.severity,
        summary: &verdict.summary,
        culprit: verdict.culprit.as_ref(),
        who: group,
        is_verdict: true,
    })
}

/// The processes that are not fine, those with the same trouble together, the worst first.
pub(super) fn troubles(processes: &[Process]) -> Vec<Vec<&Process>> {
    let mut groups: Vec<Vec<&Process>> = Vec::new();
    for process in processes.iter().filter(|process| process.verdict.severity != Some(Severity::Info)) {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| same_trouble(first, process)))
        {
            Some(group) => group.push(process),
            None => groups.push(vec![process]),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.first().and_then(|first| first.verdict.severity)));
    groups
}

fn same_trouble(one: &Process, other: &Process) -> bool {
    let (one, other) = (&one.verdict, &other.verdict);
    one.code == other.code && one.subcause == other.subcause && one.culprit == other.culprit
}

/// A pid as both sides know it: logs inside a container name another number than the host.
pub(super) fn pid(process: &Process) -> String {
    if process.ns_pid == process.pid {
        process.pid.to_string()
    } else {
        format!("{} (in its container {})", process.pid, process.ns_pid)
    }
}

/// The file of a culprit's function, as a path below the root of the sources, with its line.
///
/// A path that is relative already is taken as it is. A file that is waited for is no place in the sources.
pub(super) fn source(culprit: &Culprit, root: Option<&str>) -> Option<(String, Option<u32>)> {
    let line = culprit.line.filter(|line| *line > 0);
    let file = culprit.file.as_deref().filter(|_| culprit.function.is_some() || line.is_some())?;
    let below = if file.starts_with('/') {
        let root = root?.trim_end_matches('/');
        file.strip_prefix(root)?.strip_prefix('/')?.trim_start_matches('/')
    } else {
        file.trim_start_matches("./")
    };
    // `<string>` and `<frozen …>` are what the interpreter calls code without a file.
    let inside = !below.is_empty() && !below.starts_with('<') && below.split('/').all(|part| part != "..");
    inside.then(|| (below.to_owned(), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, root: Option<&str>) -> Option<String> {
        let culprit = Culprit {
            function: Some("f".into()),
            file: Some(file.into()),
            line: Some(3),
            ..Culprit::default()
        };
        source(&culprit, root).map(|(file, line)| format!("{file}:{}", line.unwrap()))
    }

    #[test]
    fn a_file_is_named_from_the_root_of_the_sources() {
        for root in ["/builds/app", "/builds/app/"] {
            assert_eq!(at("/builds/app/views/a.py", Some(root)).as_deref(), Some("views/a.py:3"));
            assert_eq!(at("/builds/apple/a.py", Some(root)), None);
            assert_eq!(at("/builds/app", Some(root)), None);
        }
        assert_eq!(at("/srv/a.py", Some("/")).as_deref(), Some("srv/a.py:3"));
        assert_eq!(at("/srv/a.py", None), None);
        assert_eq!(at("./views/a.py", None).as_deref(), Some("views/a.py:3"));
    }

    #[test]
    fn what_is_no_file_below_the_root_is_no_place() {
        assert_eq!(at("<string>", Some("/")), None);
        assert_eq!(at("/builds/../etc/passwd", Some("/builds")), None);
        assert_eq!(at("../../etc/passwd", None), None);
        let waited_for =
            Culprit { kind: "file".into(), file: Some("/builds/data.db".into()), ..Culprit::default() };
        assert_eq!(source(&waited_for, Some("/builds")), None);
    }
}
