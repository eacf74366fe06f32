//! Who is watched: workers as they are met, as they grow up, and as they end.

use super::denied::Part;
use super::facts;
use super::packages;
use super::python::{NoPython, Python};
use super::watched::Watched;
use super::{Record, Recorder};
use crate::capture::model::{BlindSpot, Level, Role, ServerKind};
use crate::observe::exit::ExitWatch;
use crate::observe::kernel_file::{ProcDir, Unseen};
use crate::target::{maps, recognise};

impl Recorder<'_> {
    /// Begins to watch a member.
    pub(super) fn watch(&mut self, pid: i32, at_ns: u64) {
        let Some(member) = self.server.members.get(&pid) else { return };
        let maps = maps::of(&member.dir);
        let mapped = facts::mapped_files(maps.as_deref().unwrap_or_default());
        let mut python: Option<Python> = None;
        if self.options.level != Level::Proc {
            match Python::attach(&member.dir, &maps) {
                Ok(found) => {
                    self.records.extend(found.unseen(pid).map(Record::Blind));
                    python = Some(found);
                }
                Err(NoPython::Denied) => self.denied.add(&member.dir, &[Part::Stacks]),
                Err(why) => self.records.extend(why.blind_spot(pid).map(Record::Blind)),
            }
        }
        if calls_refused(&member.dir) {
            self.denied.add(&member.dir, &[Part::Calls]);
        }
        let files = python.as_mut().map(|p| p.main_thread_files(member.snapshot.ns_pid)).unwrap_or_default();
        if recognise::is_dirty(&files) && self.server.kind == ServerKind::Gunicorn {
            if pid != self.server.head {
                return self.server.leave_out(pid);
            }
            self.server.kind = ServerKind::Loop;
            self.header.server.kind = ServerKind::Loop;
        }
        if pid == self.server.head
            && self.server.kind == ServerKind::Gunicorn
            && let Some(member) = self.server.members.get(&pid)
            && let Some(held) = python.as_mut().and_then(|p| p.gunicorn_settings(member.snapshot.ns_pid))
        {
            self.server.settings.learn(&held);
            facts::settings(&mut self.header.server, &self.server);
        }
        let Some(member) = self.server.members.get(&pid) else { return };
        let known = python.as_ref().map(Python::facts);
        let facts = facts::process(&self.server, member, known, &files, &self.header, &mapped, at_ns);
        let mut watched = Watched::new(member, facts, python);
        watched.packages = packages::mapped(&mapped);
        self.watched.insert(pid, watched);
    }

    /// Children of the head that are servers of their own.
    pub(super) fn say_who_is_left_out(&mut self) {
        let spots = self.server.others.iter().map(|pid| {
            Record::Blind(BlindSpot {
                what: format!("process {pid}, a child of the arbiter"),
                why: "it is no worker of this server: an upgrade's new arbiter, or gunicorn's dirty arbiter"
                    .into(),
                remedy: format!("stallscope {pid}"),
            })
        });
        self.records.extend(spots);
    }

    pub(super) fn births_and_deaths(&mut self, at_ns: u64) {
        let (born, gone) = self.server.refresh();
        for pid in gone {
            self.leave(pid, at_ns);
        }
        for pid in born {
            self.watch(pid, at_ns);
            if let Some(watched) = self.watched.get(&pid) {
                self.records.push(Record::Process(Box::new(watched.facts.clone())));
            }
        }
    }

    /// A worker that was booting when first seen shows its class once it serves.
    pub(super) fn recognise_late(&mut self) {
        for watched in self.watched.values_mut() {
            if self.server.kind != ServerKind::Gunicorn || watched.facts.worker_class.is_some() {
                continue;
            }
            let ns_pid = watched.facts.ns_pid;
            let Some(python) = watched.python.as_mut().filter(|_| watched.facts.role == Role::Worker) else {
                continue;
            };
            let files = python.main_thread_files(ns_pid);
            if facts::recognise_late(&mut watched.facts, &self.server, &files) {
                self.records.push(Record::Process(Box::new(watched.facts.clone())));
            }
        }
    }

    pub(super) fn leave(&mut self, pid: i32, at_ns: u64) {
        if let Some(watched) = self.watched.remove(&pid) {
            self.slow.forget(pid);
            let status = watched.exit.as_ref().and_then(ExitWatch::status);
            self.records.push(Record::Gone { at_ns, pid, status });
        }
    }
}

/// Whether what the main thread does may not be read.
pub(super) fn calls_refused(process: &ProcDir) -> bool {
    process.read("syscall", 256) == Err(Unseen::Denied)
}
