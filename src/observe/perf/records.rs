//! What the kernel has written into a thread's ring, record by record.
//!
//! Pure. The layout is that of events that are opened by [`super::sys`]: samples carry a time and the tracepoint's own
//! bytes, everything else ends with a time. What makes no sense is left out, and nothing is read past its end.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::format::Layout;
use super::tracefs::Tracepoints;
use crate::observe::bytes::{u16_at, u32_at, u64_at};

/// Types of records, and what their flags say.
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const SWITCH: u32 = 14;
const BY_EXEC: u16 = 1 << 13;
const OUT: u16 = 1 << 13;

/// Type, flags and size.
const HEADER_BYTES: usize = 8;

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub at_ns: u64,
    /// What it says.
    pub what: What,
}

/// What a record says of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It begins a call: number and arguments.
    Enter(i64, [u64; 6]),
    /// A call has come back: number and result.
    Leave(i64, i64),
    /// It leaves its processor.
    Out,
    /// It gets one.
    In,
    /// So many records had no room before this one.
    Lost(u64),
    /// It has made another thread or process: the process and the thread.
    Born(i32, i32),
    /// It has ended.
    Ended,
    /// It has begun another program.
    Exec,
}

/// Goes through records.
pub fn each(mut bytes: &[u8], tracepoints: &Tracepoints, mut with: impl FnMut(Record)) {
    while let Some(size) = u16_at(bytes, 6).map(usize::from) {
        let (Some(record), Some(rest)) = (bytes.get(..size), bytes.get(size..)) else { return };
        if size < HEADER_BYTES {
            return;
        }
        if let Some(record) = one(record, tracepoints) {
            with(record);
        }
        bytes = rest;
    }
}

fn one(record: &[u8], tracepoints: &Tracepoints) -> Option<Record> {
    let flags = u16_at(record, 4)?;
    let kind = u32_at(record, 0)?;
    if kind == SAMPLE {
        return sample(record, tracepoints);
    }
    let what = match kind {
        LOST => What::Lost(u64_at(record, HEADER_BYTES + 8)?),
        COMM if flags & BY_EXEC != 0 => What::Exec,
        EXIT => What::Ended,
        FORK => What::Born(u32_at(record, HEADER_BYTES)? as i32, u32_at(record, HEADER_BYTES + 8)? as i32),
        SWITCH if flags & OUT != 0 => What::Out,
        SWITCH => What::In,
        _ => return None,
    };
    Some(Record { at_ns: u64_at(record, record.len().checked_sub(8)?)?, what })
}

fn sample(record: &[u8], tracepoints: &Tracepoints) -> Option<Record> {
    const RAW_AT: usize = HEADER_BYTES + 8;
    let length = u32_at(record, RAW_AT)? as usize;
    let raw = record.get(RAW_AT + 4..)?.get(..length)?;
    let is = |layout: &Layout, id: u64| {
        layout.kind.of(raw).and_then(|kind| u16_at(kind, 0)).map(u64::from) == Some(id)
    };
    let (enter, leave) = (&tracepoints.enter, &tracepoints.leave);
    let what = if is(&enter.layout, enter.id) {
        let mut args = [0; 6];
        for (arg, bytes) in args.iter_mut().zip(enter.layout.values.of(raw)?.chunks_exact(8)) {
            *arg = u64::from_ne_bytes(bytes.try_into().ok()?);
        }
        What::Enter(enter.layout.number.word(raw)? as i64, args)
    } else if is(&leave.layout, leave.id) {
        What::Leave(leave.layout.number.word(raw)? as i64, leave.layout.values.word(raw)? as i64)
    } else {
        return None;
    };
    Some(Record { at_ns: u64_at(record, HEADER_BYTES)?, what })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::format::{self, tests as formats};
    use super::super::tracefs::Tracepoint;
    use super::*;
    use proptest::prelude::*;

    fn tracepoints() -> Tracepoints {
        Tracepoints {
            enter: Tracepoint { id: 350, layout: format::enter(formats::ENTER).unwrap() },
            leave: Tracepoint { id: 349, layout: format::leave(formats::LEAVE).unwrap() },
        }
    }

    /// A record: type, flags, and words behind the header.
    fn record(kind: u32, flags: u16, words: &[u64]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(((HEADER_BYTES + 8 * words.len()) as u16).to_ne_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    /// A sample of a tracepoint, as the kernel lays it out: time, length, the tracepoint's own bytes, padding.
    fn sampled(at_ns: u64, id: u16, words: &[u64]) -> Vec<u8> {
        let mut raw = id.to_ne_bytes().to_vec();
        raw.extend([0; 6]);
        raw.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        raw.extend([0; 4]);
        let mut body = (raw.len() as u32).to_ne_bytes().to_vec();
        body.extend(raw);
        let words: Vec<u64> = std::iter::once(at_ns)
            .chain(body.chunks_exact(8).map(|b| u64::from_ne_bytes(b.try_into().unwrap())))
            .collect();
        record(SAMPLE, 2, &words)
    }

    fn read(bytes: &[u8]) -> Vec<(u64, What)> {
        let mut found = Vec::new();
        each(bytes, &tracepoints(), |record| found.push((record.at_ns, record.what)));
        found
    }

    #[test]
    fn a_call_a_sleep_and_the_end() {
        let pids = u64::from(7u32) | u64::from(1u32) << 32;
        let stream = [
            sampled(10, 350, &[232, 9, 0x1000, 64, 395, 0, 0]),
            record(SWITCH, OUT, &[11]),
            record(SWITCH, 0, &[12]),
            sampled(13, 349, &[232, (-4i64) as u64]),
            record(FORK, 0, &[pids, u64::from(8u32), 14, 15]),
            record(LOST, 0, &[77, 5, 16]),
            record(COMM, 0, &[pids, 0, 17]),
            record(COMM, BY_EXEC, &[pids, 0, 18]),
            record(EXIT, 0, &[pids, pids, 19, 20]),
        ];
        assert_eq!(
            read(&stream.concat()),
            [
                (10, What::Enter(232, [9, 0x1000, 64, 395, 0, 0])),
                (11, What::Out),
                (12, What::In),
                (13, What::Leave(232, -4)),
                (15, What::Born(7, 8)),
                (16, What::Lost(5)),
                (18, What::Exec),
                (20, What::Ended),
            ]
        );
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_left_out() {
        let whole = sampled(10, 349, &[39, 7]);
        assert_eq!(read(&whole[..whole.len() - 1]), []);
        assert_eq!(read(&[sampled(1, 351, &[39, 7]), record(99, 0, &[1]), whole].concat()).len(), 1);
        // A record that has no length would be read for ever.
        let mut endless = record(SWITCH, 0, &[1]);
        endless[6..8].copy_from_slice(&0u16.to_ne_bytes());
        assert_eq!(read(&endless), []);
        // The tracepoint's bytes reach past their record.
        let mut long = sampled(10, 349, &[39, 7]);
        long[16..20].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(read(&long), []);
    }

    proptest! {
        #[test]
        fn no_bytes_can_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u32..16, size: u16) {
            let mut header = kind.to_ne_bytes().to_vec();
            header.extend([0, 0x20]);
            header.extend(size.to_ne_bytes());
            let _ = (read(&bytes), read(&[header, bytes].concat()));
        }
    }
}
