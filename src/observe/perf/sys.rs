//! `perf_event_open` and the ring that the kernel writes into: the only unsafe code of this engine.
//!
//! An event is a descriptor and a ring is a mapping; both are gone when they are dropped, and with the last of them all
//! that the kernel does for us. Nothing here touches the thread that is followed.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// `struct perf_event_attr` as far as Linux 4.1 knows it.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_watermark: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

const _: () = assert!(size_of::<Attributes>() == 112);

const TYPE_TRACEPOINT: u32 = 2;
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_RAW: u64 = 1 << 10;
/// How many records had no room, since Linux 6.0.
const FORMAT_LOST: u64 = 1 << 4;
const DISABLED: u64 = 1;
const COMM: u64 = 1 << 9;
const TASK: u64 = 1 << 13;
const WATERMARK: u64 = 1 << 14;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCKID: u64 = 1 << 25;
const CONTEXT_SWITCH: u64 = 1 << 26;
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;

const ENABLE: libc::c_ulong = 0x2400;
const DISABLE: libc::c_ulong = 0x2401;
const SET_OUTPUT: libc::c_ulong = 0x2405;
/// The whole group.
const GROUP: libc::c_int = 1;

/// Where the kernel's end and ours of what is in a ring stand in its first page.
const HEAD_AT: usize = 1024;
const TAIL_AT: usize = 1032;

/// An event of one thread.
#[derive(Debug)]
pub struct Event {
    file: File,
    counts_lost: bool,
}

impl Event {
    /// Every passage of a thread through a tracepoint, which is not recorded before [`Event::enable`]. The first of a
    /// thread also tells when it leaves its processor and gets one, has children, begins another program and ends.
    pub fn open(tid: i32, tracepoint: u64, first: Option<&Self>, wake_at_bytes: u32) -> Result<Self, Errno> {
        let mut flags = WATERMARK | SAMPLE_ID_ALL | USE_CLOCKID;
        if first.is_none() {
            flags |= DISABLED | COMM | COMM_EXEC | TASK | CONTEXT_SWITCH;
        }
        let mut attributes = Attributes {
            kind: TYPE_TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: tracepoint,
            sample_period: 1,
            sample_type: SAMPLE_TIME | SAMPLE_RAW,
            read_format: FORMAT_LOST,
            flags,
            wakeup_watermark: wake_at_bytes,
            clockid: libc::CLOCK_MONOTONIC,
            ..Attributes::default()
        };
        let group = first.map_or(-1, |event| event.file.as_raw_fd());
        match open(&attributes, tid, group) {
            Err(Errno::EINVAL) => {
                attributes.read_format = 0;
                open(&attributes, tid, group).map(|file| Self { file, counts_lost: false })
            }
            opened => opened.map(|file| Self { file, counts_lost: true }),
        }
    }

    /// From now on it is recorded, and so are those that were opened behind it.
    pub fn enable(&self) -> Result<(), Errno> {
        self.control(ENABLE, GROUP)
    }

    /// Nothing is recorded any more.
    pub fn disable(&self) -> Result<(), Errno> {
        self.control(DISABLE, GROUP)
    }

    /// Its records go into the ring of another event.
    pub fn send_to(&self, other: &Self) -> Result<(), Errno> {
        self.control(SET_OUTPUT, other.file.as_raw_fd())
    }

    fn control(&self, what: libc::c_ulong, argument: libc::c_int) -> Result<(), Errno> {
        // SAFETY: these requests take a number and write nothing.
        Errno::result(unsafe { libc::ioctl(self.file.as_raw_fd(), what as _, argument) }).map(drop)
    }

    /// How many of its records had no room so far; `None` where the kernel does not count them.
    pub fn lost(&self) -> Option<u64> {
        // The count of passages, and behind it that of the lost.
        let mut words = [0; 16];
        let read = (&self.file).read(&mut words).ok()?;
        let lost = words.last_chunk().copied().map(u64::from_ne_bytes);
        lost.filter(|_| self.counts_lost && read == words.len())
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open(attributes: &Attributes, tid: i32, group: libc::c_int) -> Result<File, Errno> {
    const ANY_CPU: libc::c_int = -1;
    // SAFETY: the kernel reads as many bytes as the structure says that it has; the rest are numbers.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const *attributes, tid, ANY_CPU, group, CLOSE_ON_EXEC)
    };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
}

/// The ring of an event: the kernel writes, we read.
#[derive(Debug)]
pub struct Ring {
    start: NonNull<u8>,
    page_bytes: usize,
    data_bytes: NonZeroUsize,
}

impl Ring {
    /// A ring of so many bytes, which must be a power of two of pages.
    pub fn map(event: &Event, data_bytes: NonZeroUsize) -> Result<Self, Errno> {
        let page_bytes = page_bytes();
        let length = data_bytes.checked_add(page_bytes).ok_or(Errno::EOVERFLOW)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice replaces nothing.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, event, 0) }?;
        Ok(Self { start: start.cast(), page_bytes, data_bytes })
    }

    /// Appends what is new, and gives its room back to the kernel.
    pub fn drain(&mut self, into: &mut Vec<u8>) {
        let size = self.data_bytes.get();
        let tail = self.position(TAIL_AT).load(Ordering::Relaxed);
        // What the kernel has written before it moved its end is seen with it.
        let head = self.position(HEAD_AT).load(Ordering::Acquire);
        let length = (head.wrapping_sub(tail) as usize).min(size);
        let from = tail as usize % size;
        let before_the_edge = length.min(size - from);
        self.copy(from, before_the_edge, into);
        self.copy(0, length - before_the_edge, into);
        // Only now may it be overwritten.
        self.position(TAIL_AT).store(head, Ordering::Release);
    }

    fn position(&self, at: usize) -> &AtomicU64 {
        // SAFETY: both positions are aligned words in the first page, which stays mapped as long as `self` lives; the
        // kernel changes them as whole words.
        unsafe { AtomicU64::from_ptr(self.start.add(at).as_ptr().cast()) }
    }

    fn copy(&self, from: usize, length: usize, into: &mut Vec<u8>) {
        into.reserve(length);
        let end = into.len();
        // SAFETY: callers name a part of the data, which lies behind the first page; the kernel does not write there
        // before our end has moved. There is room behind the vector's end for as much, and it is initialised by the copy.
        unsafe {
            let source = self.start.add(self.page_bytes + from).as_ptr();
            std::ptr::copy_nonoverlapping(source, into.as_mut_ptr().add(end), length);
            into.set_len(end + length);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.data_bytes.get() + self.page_bytes) };
    }
}

/// Bytes of a page.
pub fn page_bytes() -> usize {
    // SAFETY: takes a number and gives one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}
