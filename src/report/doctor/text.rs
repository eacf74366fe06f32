//! What `doctor` found, for people.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::{Access, Doctor, GateSeen, OtherSeen, ServerSeen, SourceSeen, TargetSeen};
use crate::report::page::{Cell, Fit, Page};
use crate::report::style::{Style, Tone};
use crate::report::words::word;

/// Column of values.
const NAME_COLUMNS: usize = 19;
/// Column of what was seen.
const SEEN_COLUMNS: usize = 24;

/// The document as a page.
#[must_use]
pub fn render(doctor: &Doctor, style: Style) -> String {
    let mut page = Page::new(style);
    match &doctor.target {
        Some(found) => target(&mut page, found),
        None => machine(&mut page, doctor),
    }
    if let Some(servers) = &doctor.servers {
        list(&mut page, servers);
    }
    page.gap();
    page.line(0, Tone::Faint, &format!("exit code {}: {}", doctor.exit.code, doctor.exit.reason));
    page.finish()
}

fn who(name: Option<&str>, uid: u32) -> String {
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

fn machine(page: &mut Page, doctor: &Doctor) {
    let you = &doctor.you;
    let host = &doctor.host;
    page.line(
        0,
        Tone::Strong,
        &format!(
            "You are {} on {} (Linux {}, {}): {}",
            who(you.user.as_deref(), you.uid),
            host.hostname,
            host.kernel,
            host.arch,
            you.place
        ),
    );
    let rights = if you.capabilities.is_empty() {
        "no capability that counts here".into()
    } else {
        you.capabilities.join(" ")
    };
    page.item(2, Tone::Plain, "rights", 6, &rights);
    if you.no_new_privs {
        page.item(
            2,
            Tone::Warning,
            "NOTE",
            6,
            "sudo and file capabilities have no effect here (no_new_privs)",
        );
    }
    page.gap();
    page.line(0, Tone::Strong, "What this machine permits and measures");
    for check in &doctor.machine {
        mark(page, check.ok, &check.name, &check.value, &check.meaning);
    }
}

fn mark(page: &mut Page, ok: bool, name: &str, value: &str, meaning: &str) {
    let (tone, word) = if ok { (Tone::Fine, "ok") } else { (Tone::Warning, "NO") };
    let cells = [
        Cell { tone, text: word, columns: 2 },
        Cell { tone: Tone::Strong, text: name, columns: NAME_COLUMNS },
        Cell { tone: Tone::Plain, text: value, columns: SEEN_COLUMNS },
    ];
    page.row(2, &cells, Tone::Plain, meaning, Fit::Wrap);
}

const fn tone(access: Access) -> Tone {
    match access {
        Access::Full => Tone::Fine,
        Access::Degraded => Tone::Warning,
        Access::None => Tone::Critical,
    }
}

fn list(page: &mut Page, servers: &[ServerSeen]) {
    page.gap();
    page.line(0, Tone::Strong, "Servers that could be looked at");
    if servers.is_empty() {
        page.line(
            2,
            Tone::Plain,
            "none was found: no gunicorn, no uvicorn, and nobody whose listening socket may be seen",
        );
    }
    let mut told: Vec<(&str, &Option<String>)> = Vec::new();
    for server in servers {
        let mut what = server.name.clone();
        match server.workers {
            0 => {}
            1 => what.push_str(", 1 more process"),
            more => drop(write!(what, ", {more} more processes")),
        }
        if !server.ports.is_empty() {
            let ports: Vec<String> = server.ports.iter().map(u16::to_string).collect();
            let _ = write!(what, ", port {}", ports.join(" "));
        }
        let pid = server.pid.to_string();
        let cells = [
            Cell { tone: tone(server.access), text: &word(&server.access), columns: 8 },
            Cell { tone: Tone::Strong, text: &pid, columns: 7 },
        ];
        page.row(2, &cells, Tone::Plain, &what, Fit::Wrap);
        // A gate that closes many servers in the same way is explained once.
        if let Some(gate) = &server.gate
            && !told.contains(&(&gate.cause, &gate.value))
        {
            told.push((&gate.cause, &gate.value));
            explain(page, gate);
        }
    }
}

fn target(page: &mut Page, found: &TargetSeen) {
    let mut first = format!("process {}", found.pid);
    if !found.name.is_empty() {
        let _ = write!(first, " ({})", found.name);
    }
    if found.ns_pid != found.pid {
        let _ = write!(first, ", in its container {}", found.ns_pid);
    }
    if let Some(uid) = found.uid {
        let _ = write!(first, ", of {}", who(found.user.as_deref(), uid));
    }
    let cells = [Cell { tone: tone(found.access), text: &word(&found.access), columns: 8 }];
    page.row(0, &cells, Tone::Strong, &first, Fit::Wrap);
    if let Some(python) = &found.python {
        page.item(10, Tone::Plain, "Python", 6, python);
    }
    if let Some(gate) = &found.gate {
        page.gap();
        page.line(0, Tone::Strong, "The gate that is closed");
        explain(page, gate);
    }
    if !found.sources.is_empty() {
        page.gap();
        page.line(0, Tone::Strong, "What may be read of it, as tried");
        found.sources.iter().for_each(|source| tried(page, source));
        burst(page, found);
        costs(page, &found.sources);
    }
    if !found.others.is_empty() {
        page.gap();
        page.line(0, Tone::Strong, "The rest of its server");
        others(page, found);
    }
}

fn explain(page: &mut Page, gate: &GateSeen) {
    let shown = gate.value.as_ref().map_or_else(String::new, |value| format!(" ({value})"));
    page.item(4, Tone::Strong, "cause:", 6, &format!("{}{shown}", gate.cause));
    for (number, remedy) in gate.remedies.iter().enumerate() {
        page.item(4, Tone::Strong, if number == 0 { "  fix:" } else { "   or:" }, 6, remedy);
    }
    if let Some(without) = &gate.without {
        page.item(4, Tone::Strong, " else:", 6, without);
    }
}

fn tried(page: &mut Page, source: &SourceSeen) {
    match source.seen.as_str() {
        "" => mark(page, source.obtained, &source.name, "yes", &source.serves),
        // What has no room in its column stands behind.
        seen if seen.width() > SEEN_COLUMNS => {
            let shown = if source.obtained { "yes" } else { "see right" };
            mark(page, source.obtained, &source.name, shown, &format!("{}: {seen}", source.serves));
        }
        seen => mark(page, source.obtained, &source.name, seen, &source.serves),
    }
}

fn burst(page: &mut Page, found: &TargetSeen) {
    match &found.burst {
        None => mark(page, true, "burst", "not tried", "nothing known forbids to stop it for a moment"),
        Some(gate) => {
            let value = gate.value.as_deref().unwrap_or(&gate.name);
            mark(page, false, "burst", value, "it could not be stopped for a moment, which no verdict needs");
        }
    }
}

/// The verdicts that are lost, each once.
fn costs(page: &mut Page, sources: &[SourceSeen]) {
    let mut codes: Vec<String> = Vec::new();
    for code in sources.iter().filter(|source| !source.obtained).flat_map(|source| &source.costs) {
        let code = word(code);
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    if !codes.is_empty() {
        page.gap();
        page.line(0, Tone::Strong, "Without the missing ones these are not given, or are less sure");
        page.line(2, Tone::Plain, &codes.join(" "));
    }
}

/// Those that are alike share a line.
fn others(page: &mut Page, found: &TargetSeen) {
    let mut told: Vec<(&str, &Option<String>)> =
        found.gate.iter().map(|g| (g.cause.as_str(), &g.value)).collect();
    let mut rest: Vec<&OtherSeen> = found.others.iter().collect();
    while let Some(first) = rest.first().copied() {
        let cause =
            |other: &OtherSeen| other.gate.as_ref().map(|gate| (gate.cause.clone(), gate.value.clone()));
        let same = |other: &OtherSeen| {
            (other.role, other.access) == (first.role, first.access) && cause(other) == cause(first)
        };
        let pids: Vec<String> = rest.iter().filter(|o| same(o)).map(|o| o.pid.to_string()).collect();
        rest.retain(|other| !same(other));
        let mut what = word(&first.role);
        if pids.len() > 1 {
            what.push('s');
        }
        let _ = write!(what, " {}", pids.join(" "));
        if let Some(gate) = &first.gate {
            let _ = write!(what, ": {}", gate.cause);
        }
        let cells = [Cell { tone: tone(first.access), text: &word(&first.access), columns: 8 }];
        page.row(2, &cells, Tone::Plain, &what, Fit::Wrap);
        if let Some(gate) = &first.gate
            && !told.contains(&(&gate.cause, &gate.value))
        {
            told.push((&gate.cause, &gate.value));
            explain(page, gate);
        }
    }
}
