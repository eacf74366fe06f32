//! Short scripts that connect the rooms, one per verb.

pub mod diagnose;

use std::process::ExitCode;

/// Runs the verb that was typed.
#[must_use]
pub fn main() -> ExitCode {
    let pid: i32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let look = diagnose::Look { selector: crate::target::Selector::Pid(pid), only: false, duration: std::time::Duration::from_secs(3), max_duration: std::time::Duration::from_secs(10), rate_hz: 100, level: crate::capture::model::Level::Memory };
    match diagnose::look(&look, &mut |_, _| {}, None) {
        Err(e) => { eprintln!("{e:#?}"); ExitCode::from(3) }
        Ok((capture, d)) => {
            if std::env::var("DUMP").is_ok() { println!("{}", serde_json::to_string(&capture).unwrap()); }
            println!("{:?}", d.server.verdict);
            println!("{:?} {:?}", capture.header.server, d.server.accept_queue);
            for p in &d.processes {
                println!("== {} {:#?}", p.pid, p.verdict);
                println!("budget {:?}", p.time_budget);
                for e in &p.evidence { println!("  {} {} {:?}", e.id, e.observed, e.value); }
                for e in &p.counter_evidence { println!("  against {} {} {:?}", e.id, e.observed, e.value); }
                println!("  runner {:?}", p.runner_up);
                println!("  loop {:?} hb {:?}", p.event_loop, p.heartbeat);
                for f in &p.findings { println!("  finding {:?}", f); }
                for t in &p.threads { println!("  {:?}", t); }
                for s in p.stacks.iter().take(2) { println!("  stack {} {} {:?}", s.state, s.share, s.frames.iter().map(|f| format!("{}:{}", f.function, f.line)).collect::<Vec<_>>()); }
            }
            if let Some(crate::capture::model::Record::End(c)) = capture.records.last() { println!("{c:?}"); }
            for b in &d.blind_spots { println!("{b:?}"); }
            ExitCode::SUCCESS
        }
    }
}
