//! One thread that is followed: its two events, its ring, and what is known of its calls so far.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::records::{self, Record};
use super::sys::{Event, Ring, page_bytes};
use super::tracefs::Tracepoints;
use crate::capture::burst;
use crate::capture::model::Doing;

/// Part of a ring that is filled before its reader is woken.
const WAKE_PART: usize = 4;

/// Why a thread is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFollowed {
    /// It is gone.
    Gone,
    /// No descriptor or no memory is left for it.
    NoRoom(Errno),
    /// The kernel refuses.
    Refused(Errno),
}

/// A thread.
pub struct Thread {
    /// Its number.
    pub tid: i32,
    // In this order they are dropped: the ring first, then what writes into it.
    ring: Ring,
    leave: Event,
    enter: Event,
    /// What it was doing, and when it was known.
    doing: Option<(Doing, u64)>,
    /// The first call that was seen to begin or to come back.
    first: Option<Record>,
    last_ns: u64,
    lost_told: u64,
}

impl Thread {
    /// Opens its events. Nothing is recorded yet.
    pub fn open(tid: i32, tracepoints: &Tracepoints, ring_bytes: usize) -> Result<Self, NotFollowed> {
        let wake_at = (ring_bytes / WAKE_PART) as u32;
        let enter = Event::open(tid, tracepoints.enter.id, None, wake_at).map_err(not_opened)?;
        let ring = ring(&enter, ring_bytes).map_err(NotFollowed::NoRoom)?;
        let leave = Event::open(tid, tracepoints.leave.id, Some(&enter), wake_at).map_err(not_opened)?;
        leave.send_to(&enter).map_err(NotFollowed::Refused)?;
        Ok(Self { tid, ring, leave, enter, doing: None, first: None, last_ns: 0, lost_told: 0 })
    }

    /// From now on its calls are recorded.
    pub fn enable(&self) -> Result<(), Errno> {
        self.enter.enable()
    }

    /// None of its calls is recorded any more.
    pub fn disable(&self) {
        // One that is gone records nothing, and what is closed soon does neither.
        let _ = self.enter.disable();
    }

    /// What it was doing once its calls were recorded, known at a time.
    pub fn was_doing(&mut self, doing: Doing, at_ns: u64) {
        self.doing = Some((doing, at_ns));
    }

    /// Gives what was recorded since the last time.
    pub fn drain(&mut self, buffer: &mut Vec<u8>, tracepoints: &Tracepoints, mut with: impl FnMut(Record)) {
        buffer.clear();
        self.ring.drain(buffer);
        records::each(buffer, tracepoints, |mut record| {
            // The kernel's clock may be read in the middle of its being set.
            record.at_ns = record.at_ns.max(self.last_ns);
            self.last_ns = record.at_ns;
            match record.what {
                records::What::Lost(records) => self.lost_told += records,
                records::What::Enter(..) | records::What::Leave(..) if self.first.is_none() => {
                    self.first = Some(record);
                }
                _ => {}
            }
            with(record);
        });
    }

    /// The call that it was in already when its calls began to be recorded, if that is certain.
    pub fn began_within(&self) -> Option<burst::What> {
        let (Doing::Syscall(number, args), known_ns) = self.doing? else { return None };
        let goes_on = match self.first {
            None => true,
            Some(Record { at_ns, what: records::What::Leave(..) }) => at_ns > known_ns,
            Some(_) => false,
        };
        (goes_on && self.lost_told == 0).then_some(burst::What::Within { number, args })
    }

    /// How many of its records had no room.
    pub fn lost(&self) -> u64 {
        // The ring tells of them only where something was written behind them.
        let counted = self.enter.lost().zip(self.leave.lost()).map_or(0, |(enter, leave)| enter + leave);
        counted.max(self.lost_told)
    }
}

impl AsFd for Thread {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.enter.as_fd()
    }
}

/// A ring of that size, or a smaller one where no more memory may be locked.
fn ring(event: &Event, bytes: usize) -> Result<Ring, Errno> {
    let mut bytes = bytes;
    loop {
        match Ring::map(event, NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?) {
            Err(Errno::EPERM | Errno::ENOMEM) if bytes > page_bytes() => bytes /= 2,
            mapped => return mapped,
        }
    }
}

fn not_opened(errno: Errno) -> NotFollowed {
    match errno {
        Errno::ESRCH => NotFollowed::Gone,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => NotFollowed::NoRoom(errno),
        refused => NotFollowed::Refused(refused),
    }
}
