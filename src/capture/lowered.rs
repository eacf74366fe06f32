//! A capture as a look at a lower level would have been: without what only the target's memory tells.
//!
//! So that captures of one level can be judged at another, where a second look at the same trouble is not to be had. What a
//! lower level would have done instead, with the time that it saves, is not made up.

use super::model::{Capture, Level, Record};

/// The same capture with kernel files alone; itself where it was made of nothing else.
#[must_use]
pub fn to_kernel_files(mut capture: Capture) -> Capture {
    if capture.header.level == Level::Proc {
        return capture;
    }
    capture.header.level = Level::Proc;
    capture.records.retain(|record| {
        !matches!(
            record,
            Record::Frame { .. }
                | Record::Stack { .. }
                | Record::Readiness { .. }
                | Record::LoopClock { .. }
                | Record::Tasks(_)
                | Record::Below(_)
                | Record::Burst { .. }
        )
    });
    for record in &mut capture.records {
        match record {
            Record::Process(facts) => facts.python = None,
            Record::Tick(tick) => {
                for sample in &mut tick.samples {
                    (sample.stack, sample.holds_gil, sample.still, sample.collecting) =
                        (None, None, None, None);
                    // The list that `poll` was given lies in memory.
                    sample.fds.clear();
                }
            }
            _ => {}
        }
    }
    capture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::reader;

    #[test]
    fn nothing_of_the_memory_is_left_and_the_rest_as_it_was() {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/modern-gevent-spin_watcher.hot_spin.cap");
        let before = reader::read(file.as_ref()).unwrap();
        let after = to_kernel_files(before.clone());
        assert_eq!(after.header.level, Level::Proc);
        let ticks = |capture: &Capture| -> Vec<(u64, usize, u64)> {
            let tick = |r: &Record| match r {
                Record::Tick(t) => Some((t.at_ns, t.samples.len(), t.samples.iter().map(|s| s.run_ns).sum())),
                _ => None,
            };
            capture.records.iter().filter_map(tick).collect()
        };
        assert!(ticks(&before).len() > 100);
        assert_eq!(ticks(&before), ticks(&after));
        let text = serde_json::to_string(&after.records).unwrap();
        assert!(!text.contains("\"stack\":0") && !text.contains("hub.py") && !text.contains("\"readiness\""));
        assert!(serde_json::to_string(&before.records).unwrap().contains("hub.py"));
        assert_eq!(to_kernel_files(after.clone()), after);
    }
}
