//! What the arguments of a call lead to, read from the target's memory while its thread is held: bounded, and by the kept-open
//! file, which cannot hang on a page that is never served.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::libc;

use super::shared::{MEMORY_BYTES, Record};
use crate::capture::calls::{self, LeadsTo};

/// Reads what the arguments lead to, as far as there is room.
pub fn read(memory: &File, record: &mut Record, (number, args): (i64, [u64; 6]), result: Option<i64>) {
    let Some((address, length)) = wanted(number, &args, result) else { return };
    let room = length.min(MEMORY_BYTES);
    let Some(buffer) = record.memory.get_mut(..room) else { return };
    // A name may end just before a page that is not there: then the rest of its own page must do.
    let page_rest = (4096 - (address % 4096) as usize).min(room);
    let read = memory
        .read_at(buffer, address)
        .or_else(|_| buffer.get_mut(..page_rest).map_or(Ok(0), |part| memory.read_at(part, address)));
    let mut length = read.unwrap_or(0);
    // What lies behind a name is none of our business.
    if matches!(calls::leads_to(std::env::consts::ARCH, number), Some(LeadsTo::Path(_))) {
        let text = record.memory.get(..length).unwrap_or_default();
        length = text.iter().position(|byte| *byte == 0).unwrap_or(length);
    }
    record.length = length as u64;
}

/// Address and length of what is worth reading, before a call or after it.
fn wanted(number: i64, args: &[u64; 6], result: Option<i64>) -> Option<(u64, usize)> {
    let arg = |place: usize| args.get(place).copied().unwrap_or(0);
    let span = match (calls::leads_to(std::env::consts::ARCH, number)?, result) {
        (LeadsTo::Path(path), None) => (arg(path), MEMORY_BYTES),
        (LeadsTo::Address(address, length), None) => (arg(address), arg(length) as usize),
        (LeadsTo::EpollEvents(list), Some(ready)) => {
            (arg(list), usize::try_from(ready).ok()?.saturating_mul(size_of::<libc::epoll_event>()))
        }
        (LeadsTo::PollFds(list, count), Some(1..)) => {
            (arg(list), (arg(count) as usize).saturating_mul(size_of::<libc::pollfd>()))
        }
        (LeadsTo::ReadSet(set, count), Some(1..)) => {
            (arg(set), (arg(count) as usize).div_ceil(64).saturating_mul(8))
        }
        _ => return None,
    };
    (span.0 != 0 && span.1 != 0).then_some(span)
}
