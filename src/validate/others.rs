//! How much of the machine went to somebody else during a look: neither to the server nor to the tool.
//!
//! Other work changes verdicts, and rightly so: a worker that gets no processor is starved, whatever else is wrong with
//! it. A run like that is scored like any other; how many there were stands beside the scores. Pure: from the capture.

use crate::capture::model::{Capture, SelfCost};
use crate::diagnose::view::View;

/// Share of all processors from which a look counts as disturbed. The clients that put load on are below it.
pub const DISTURBED: f64 = 0.25;

/// The share of all processors that went to others, as far as the capture tells.
#[must_use]
pub fn share(capture: &Capture) -> Option<f64> {
    let view = View::new(capture);
    let (first, last) = (view.host.first()?, view.host.last()?);
    let total = last.total_ticks.checked_sub(first.total_ticks).filter(|ticks| *ticks > 0)?;
    let idle = last.idle_ticks.saturating_sub(first.idle_ticks);
    let ticks_per_s = capture.header.host.ticks_per_s.max(1) as f64;
    let busy_s = total.saturating_sub(idle) as f64 / ticks_per_s;
    let server_ns: u64 = view.processes.values().filter_map(super::baselines::on_cpu_ns).sum();
    let tool_ns = view.end.map_or(0, |cost: &SelfCost| cost.cpu_ns);
    let ours_s = (server_ns + tool_ns) as f64 / 1e9;
    Some(((busy_s - ours_s).max(0.0) / (total as f64 / ticks_per_s)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::model::Record;

    fn capture() -> Capture {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/captures/modern-gevent-cpu_python.loop_blocked_on_cpu.cap"
        );
        crate::capture::reader::read(file.as_ref()).unwrap()
    }

    /// What is taken from the machine's idle time was used by somebody; if it is not in the server's counters, by others.
    #[test]
    fn what_neither_the_server_nor_the_tool_used_went_to_others() {
        let mut capture = capture();
        let calm = share(&capture).unwrap();
        assert!(calm < DISTURBED, "{calm}");
        let hosts = capture.records.iter_mut().filter_map(|record| match record {
            Record::Host(host) => Some(host),
            _ => None,
        });
        let mut hosts: Vec<_> = hosts.collect();
        let start = (hosts[0].idle_ticks, hosts[0].total_ticks);
        for host in &mut hosts {
            // Nobody idle at all: what the worker leaves of two processors, others have.
            host.idle_ticks = start.0;
        }
        let busy = share(&capture).unwrap();
        assert!((0.3..0.6).contains(&busy), "{busy}");
    }

    #[test]
    fn a_capture_without_the_machine_tells_nothing() {
        let mut capture = capture();
        capture.records.retain(|record| !matches!(record, Record::Host(_)));
        assert_eq!(share(&capture), None);
    }
}
