//! From records to what is shown: the window rolls on, the numbers are read often, the verdict is made anew every
//! second, or less often where judging takes long.

use std::sync::Arc;
use std::time::Instant;

use crate::capture::mask::{self, Values};
use crate::capture::model::{Header, Record};
use crate::capture::rolling::Rolling;
use crate::diagnose;
use crate::report::exit::{self, FailOn};
use crate::report::model::Report;
use crate::tui::app::Snapshot;

/// Time between two verdicts.
const EVERY_NS: u64 = 1_000_000_000;
/// A verdict's own time may be this part of all time: judging a hundred workers must not eat up a processor.
const SPARE: u64 = 100;

/// What has been seen, and the newest judgement of it.
pub struct Judge {
    rolling: Rolling,
    values: Values,
    report: Option<Arc<Report>>,
    next_ns: u64,
    spare: u64,
}

impl Judge {
    /// For a look at a live server: a verdict takes time, which is kept small.
    pub const fn live(header: Header, window_ns: u64, values: Values) -> Self {
        Self::new(header, window_ns, values, SPARE)
    }

    /// For a capture: the same verdicts at the same places every time.
    pub const fn replayed(header: Header, window_ns: u64, values: Values) -> Self {
        Self::new(header, window_ns, values, 0)
    }

    const fn new(header: Header, window_ns: u64, values: Values, spare: u64) -> Self {
        Self { rolling: Rolling::new(header, window_ns), values, report: None, next_ns: EVERY_NS, spare }
    }

    /// Takes what was recorded since the last time and gives what is to be shown.
    pub fn take(&mut self, records: impl IntoIterator<Item = Record>) -> Snapshot {
        for mut record in records {
            if self.values == Values::Masked {
                mask::record(&mut record);
            }
            self.rolling.push(record);
        }
        self.rolling.forget_old();
        if self.rolling.now_ns() >= self.next_ns {
            self.judge();
        }
        Snapshot { live: self.rolling.live(), report: self.report.clone(), played: None }
    }

    fn judge(&mut self) {
        let began = Instant::now();
        let capture = self.rolling.capture();
        let diagnosis = diagnose::diagnose(&capture);
        let decision = exit::decide(&diagnosis, &FailOn::default(), None);
        let report = crate::report::build_with(&capture, &diagnosis, decision, self.values);
        self.report = Some(Arc::new(report));
        let took_ns = began.elapsed().as_nanos() as u64;
        self.next_ns = self.rolling.now_ns() + EVERY_NS.max(took_ns * self.spare);
    }

    /// Forgets the window; the next verdict comes when there is a second to judge again.
    pub fn reset(&mut self) {
        self.rolling.reset();
        self.report = None;
        self.next_ns = self.rolling.now_ns() + EVERY_NS;
    }
}
