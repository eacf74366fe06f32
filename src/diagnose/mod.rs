//! JUDGE: a capture in, a diagnosis out. No clock, no file, no process.
//!
//! [`view`] sorts the capture by process, [`features`] measures each process in each sub-window, [`rules`] argue,
//! [`ladder`] decides, [`server`] sums up, and this file puts the answer together. [`times`] says what the time of a
//! recording was.

pub mod activity;
pub mod advice;
pub mod below;
pub mod budget;
pub mod bugs;
pub mod burst;
pub mod calls;
pub mod culprit;
pub mod ending;
pub mod features;
pub mod findings;
pub mod known;
pub mod ladder;
pub mod model;
pub mod parked;
pub mod rules;
pub mod server;
pub mod signs;
pub mod sockets;
pub mod stack;
pub mod summary;
pub mod thresholds;
pub mod timeline;
pub mod times;
pub mod view;
pub mod would_help;

use foldhash::HashMap;

pub use thresholds::RULES_VERSION;

use crate::capture::model::{BlindSpot, Capture, Record, Role};
use features::Features;
use model::{Diagnosis, ProcessDiagnosis};
use rules::Case;
use stack::Stack;
use view::{Span, View};

/// Number of parts into which the window is cut; two of three must agree.
pub const SUB_WINDOWS: u32 = 3;

/// Judges a capture.
#[must_use]
pub fn diagnose(capture: &Capture) -> Diagnosis {
    let view = View::new(capture);
    let stacks = stacks(&view);
    let accept_queue = server::accept_queue(&view);
    let whole: HashMap<i32, Features<'_, '_>> = view
        .processes
        .iter()
        .map(|(pid, p)| (*pid, Features::new(&view, p, &stacks, lifetime(&view, p))))
        .collect();
    let server_on_cpu = whole.values().map(|f| f.process_on_cpu).sum();
    let case = |features| Case {
        view: &view,
        features,
        accept_waiting: accept_queue.share_nonzero,
        server_on_cpu,
        stacks: &stacks,
    };
    let mut processes: Vec<(Role, ProcessDiagnosis)> = Vec::new();
    let mut open = Vec::new();
    for (pid, features) in whole {
        let process = &view.processes[&pid];
        let parts: Vec<Case<'_, '_>> = features
            .span
            .split(SUB_WINDOWS)
            .into_iter()
            .map(|span| case(Features::new(&view, process, &stacks, span)))
            .collect();
        let whole = case(features);
        let outcome = ladder::judge(&whole, &parts);
        open.extend(would_help::open(&whole, &outcome));
        processes.push((process.facts.role, summary::process(&whole, &outcome)));
    }
    open.sort_by_key(|open| open.pid);
    let suspects = processes.iter().filter(|(_, p)| would_help::is_suspect(p.verdict.code)).count();
    processes.sort_by_key(|(role, p)| (*role != Role::Arbiter, p.pid));
    let verdict = server::judge(&view, &processes, &accept_queue);
    Diagnosis {
        server: model::ServerDiagnosis { verdict, accept_queue },
        processes: processes.into_iter().map(|(_, p)| p).collect(),
        blind_spots: [blind_spots(capture), would_help::spots(&open, suspects)].concat(),
        sub_windows: SUB_WINDOWS,
    }
}

/// Every stack of a capture by its number, looked at.
fn stacks<'a>(view: &View<'a>) -> HashMap<u32, Stack<'a>> {
    let frames: Vec<_> = (0..view.stacks_len() as u32).map(|id| view.stack(id)).collect();
    (0..).zip(Stack::all(frames)).collect()
}

/// The part of the window in which a process lived.
fn lifetime(view: &View<'_>, process: &view::ProcessView<'_>) -> Span {
    Span {
        start_ns: process.facts.at_ns.max(view.window.start_ns),
        end_ns: process.gone_at_ns.unwrap_or(view.window.end_ns).min(view.window.end_ns),
    }
}

fn blind_spots(capture: &Capture) -> Vec<BlindSpot> {
    let mut spots: Vec<BlindSpot> = Vec::new();
    let seen =
        capture.records.iter().filter_map(|r| if let Record::Blind(spot) = r { Some(spot) } else { None });
    for spot in seen {
        if !spots.contains(spot) {
            spots.push(spot.clone());
        }
    }
    spots
}
