//! The one burst of stops that a look may make, where its user has allowed it: at a thread that is on a processor.
//!
//! Nothing asleep is stopped, so nothing is interrupted. What names and addresses the calls led to is not kept: the judge
//! does not need it, and it is nobody's business.

use super::{Record, Recorder};
use crate::capture::burst::{End, What};
use crate::capture::model::{BlindSpot, Level};
use crate::observe::burst::{self, Bounds, Choice, NoBurst};

impl Recorder<'_> {
    /// Makes a burst at the first of these processes that has a thread on a processor, unless the level forbids it.
    pub fn burst(&mut self, order: &[i32]) {
        if self.options.level != Level::Burst {
            return;
        }
        let bounds = Bounds { choice: Choice::Running, ..Bounds::default() };
        for pid in order {
            let Some(watched) = self.watched.get(pid) else { continue };
            match burst::take(&watched.dir, &bounds) {
                Ok(seen) if seen.end == End::NothingLeft && seen.stops == 0 => {}
                Ok(mut seen) => {
                    for event in &mut seen.events {
                        if let What::Enter { memory, .. } = &mut event.what {
                            memory.clear();
                        }
                    }
                    let at_ns = self.clock.elapsed_ns();
                    self.records
                        .push(Record::Burst { at_ns, burst: Box::new(seen.since(self.clock.start_ns())) });
                    return;
                }
                Err(NoBurst::Gone) => {}
                Err(why) => self.records.push(Record::Blind(BlindSpot {
                    what: format!("a burst of system calls of process {pid}"),
                    why: why.to_string(),
                    remedy: format!("stallscope doctor {pid}"),
                })),
            }
        }
    }
}
