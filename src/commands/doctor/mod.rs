//! `stallscope doctor`: what may be read here or of a process, what not, why, and what opens it.

mod build;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::{DoctorArgs, DoctorFormat};
use crate::error::Result;
use crate::observe::kernel_file::{FileBudget, ProcDir, Unseen};
use crate::observe::memory::Memory;
use crate::observe::{host, probe};
use crate::python::NoInterpreter;
use crate::python::locate::locate;
use crate::report::doctor::{Access, Doctor, OtherSeen, ServerSeen, TargetSeen, text};
use crate::report::json;
use crate::report::output::Output;
use crate::report::style::{Place, Style};
use crate::target::access::{Facts, Gate, Here, Want, decide};
use crate::target::candidates::{Candidate, candidates};
use crate::target::{Server, maps};

/// How long servers are looked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks and reports. Gives the exit code.
pub fn run(args: &DoctorArgs) -> Result<u8> {
    let output = Output::open(None)?;
    let host = host::facts()?;
    let here = Here::gather();
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(here.us.uid)).ok().flatten();
    let target = args.pid.map(|pid| examine(pid, &here));
    let mut doctor = build::machine(&here, &host, user.map(|user| user.name), build::exit(target.as_ref()));
    if target.is_none() {
        doctor.servers =
            Some(candidates(Instant::now() + PATIENCE).iter().map(|c| server(c, &here)).collect());
    }
    doctor.target = target;
    output.write(&render(&doctor, args))?;
    Ok(doctor.exit.code)
}

fn render(doctor: &Doctor, args: &DoctorArgs) -> String {
    match args.format {
        DoctorFormat::Json => json::render(doctor),
        DoctorFormat::Text => text::render(doctor, Style::choose(args.color.into(), &Place::stdout())),
    }
}

/// Tries everything on one process, and asks of the rest of its server whether it may be read.
fn examine(pid: i32, here: &Here) -> TargetSeen {
    let budget = FileBudget::from_limit();
    let Ok(dir) = ProcDir::open(pid, &budget).map(Arc::new) else {
        return build::target(&Facts::gather_absent(pid, here), &[], None);
    };
    let refused = probe::memory_refused(&dir);
    let facts = Facts::gather(&dir, Some(refused), here);
    if decide(&facts, Want::Read).is_some_and(|gate| gate.shuts_all()) {
        return build::target(&facts, &[], None);
    }
    let mut found = build::target(&facts, &probe::try_all(&dir), python(&dir));
    let server = Server::find(pid, None, &budget).ok();
    for member in server.iter().flat_map(|server| server.members.values()).filter(|m| m.snapshot.pid != pid) {
        let (facts, gate) = ask(&member.dir, here);
        found.others.push(OtherSeen {
            pid: member.snapshot.pid,
            role: member.role,
            access: build::access(gate.as_ref()),
            gate: gate.map(|gate| build::gate(&gate, &facts)),
        });
    }
    found
}

fn ask(dir: &ProcDir, here: &Here) -> (Facts, Option<Gate>) {
    let facts = Facts::gather(dir, Some(probe::memory_refused(dir)), here);
    let gate = decide(&facts, Want::Read);
    (facts, gate)
}

/// The interpreter in words, where its memory may be read.
fn python(dir: &ProcDir) -> Option<String> {
    let mappings = maps::of(dir).ok()?;
    let memory = Memory::open(dir).ok()?;
    Some(match locate(&mappings, &memory) {
        Ok(interpreter) => format!("CPython {}: its stacks can be read", interpreter.name()),
        Err(NoInterpreter::NotPython) => "none: it runs no Python".into(),
        Err(why) => format!("cannot be read: {why}"),
    })
}

fn server(candidate: &Candidate, here: &Here) -> ServerSeen {
    let budget = FileBudget::new(0);
    // The process of which least may be read decides: a root arbiter's workers may be more open or less than it.
    let mut worst: (Access, Option<(Gate, Facts)>) = (Access::Full, None);
    for pid in std::iter::once(candidate.pid).chain(candidate.workers.iter().copied()) {
        let (facts, gate) = match ProcDir::open(pid, &budget) {
            Ok(dir) => ask(&dir, here),
            Err(Unseen::Gone | Unseen::Absent) => continue,
            Err(_) => {
                let facts = Facts::gather_absent(pid, here);
                let gate = decide(&facts, Want::Read);
                (facts, gate)
            }
        };
        let access = build::access(gate.as_ref());
        if let Some(gate) = gate
            && (worst.1.is_none() || access == Access::None && worst.0 != Access::None)
        {
            worst = (access, Some((gate, facts)));
        }
    }
    ServerSeen {
        pid: candidate.pid,
        name: candidate.name.clone(),
        workers: candidate.workers.len() as u64,
        ports: candidate.ports.clone(),
        access: worst.0,
        gate: worst.1.map(|(gate, facts)| build::gate(&gate, &facts)),
    }
}
