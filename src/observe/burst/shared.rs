//! The memory that a burst's child shares with the tool: a request in, records out.
//!
//! The child only ever appends, the tool reads when the child is dead. A record that has no room is counted, never
//! waited for. Nothing here can fail once the memory is mapped: whoever holds a thread must not meet an error.

use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::observe::registers::MOST_WORDS;

/// Bytes of the target's memory that go with a record: a path, an address, a list of ready descriptors.
pub const MEMORY_BYTES: usize = 256;

/// Most of a stack that is copied while a thread is held.
pub const STACK_BYTES: usize = 64 << 10;

/// Words of memory that are read along with a stack.
pub const WORDS: usize = 2;

/// Tells our memory from anything else that may be on the descriptor.
const MAGIC: u64 = u64::from_le_bytes(*b"stlburs2");

/// What the child is to do.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Orders {
    /// Process to follow.
    pub pid: i32,
    /// Who started the child.
    pub parent: i32,
    /// Start time of the process, which no other process of that number has.
    pub start_time_ticks: u64,
    /// The longest it may take.
    pub limit_ns: u64,
    /// The most stops it may make.
    pub max_stops: u64,
    /// Which threads: a [`super::Choice`] as a number.
    pub choice: u32,
    /// Records that there is room for.
    pub room: u32,
    /// Stacks that there is room for. With any, those are copied, and calls are not followed.
    pub stacks: u32,
    /// Nothing: no byte of the head is undefined.
    pub unused: u32,
}

/// The registers and the stack of a thread at one instant.
#[repr(C)]
pub struct Copied {
    /// Its general registers.
    pub registers: [u64; MOST_WORDS],
    /// What stood at the addresses that were asked for.
    pub words: [u64; WORDS],
    /// Where the stack begins.
    pub start: u64,
    /// How many bytes of it count.
    pub length: u64,
    /// What lies on it.
    pub bytes: [u8; STACK_BYTES],
}

/// Something that was seen, as it lies in the shared memory.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// A [`kind`].
    pub kind: u32,
    /// Thread.
    pub tid: i32,
    /// When it was noticed.
    pub at_ns: u64,
    /// When the thread was let go; 0 while it is held.
    pub resumed_ns: u64,
    /// Number of the call, of the signal, or of the error.
    pub number: i64,
    /// What the call returned.
    pub value: i64,
    /// Arguments of the call.
    pub args: [u64; 6],
    /// How many bytes of `memory` count.
    pub length: u64,
    /// What the arguments led to.
    pub memory: [u8; MEMORY_BYTES],
}

impl Record {
    /// A record that says nothing but who, what and when.
    pub const fn new(kind: u32, tid: i32, at_ns: u64) -> Self {
        let (args, memory) = ([0; 6], [0; MEMORY_BYTES]);
        Self { kind, tid, at_ns, resumed_ns: 0, number: 0, value: 0, args, length: 0, memory }
    }
}

/// What a record says.
pub mod kind {
    /// A thread before it is held: on a processor.
    pub const RUNNING: u32 = 1;
    /// A thread before it is held: in the call `number` with `args`.
    pub const ASLEEP: u32 = 2;
    /// A thread before it is held: stopped, or blocked outside any call.
    pub const ELSEWHERE: u32 = 3;
    /// A thread of which it cannot be told.
    pub const UNREADABLE: u32 = 4;
    /// Begins the call `number`.
    pub const ENTER: u32 = 6;
    /// Comes back from it with `value`.
    pub const LEAVE: u32 = 7;
    /// Gets the signal `number`.
    pub const SIGNAL: u32 = 8;
    /// Is stopped by job control.
    pub const JOB_CONTROL: u32 = 9;
    /// Held for the first time.
    pub const HELD: u32 = 10;
    /// Ended.
    pub const ENDED: u32 = 11;
    /// A child or another program.
    pub const OTHER: u32 = 12;
    /// The tool's own wish: a copy of this thread's stack, and of the words at the first arguments.
    pub const WISH: u32 = 13;
    /// Held once, with its stack as copy `value`.
    pub const STACK: u32 = 14;
}

/// How far the child has come, and why it ended.
pub mod phase {
    /// It has not held anything yet.
    pub const PREPARING: u32 = 0;
    /// It holds threads.
    pub const TRACING: u32 = 1;
    /// Ended: see [`crate::capture::burst::End`].
    pub const TIME: u32 = 2;
    /// Ended: stops.
    pub const STOPS: u32 = 3;
    /// Ended: nothing left.
    pub const NOTHING_LEFT: u32 = 4;
    /// Ended: exec.
    pub const EXEC: u32 = 5;
    /// Ended: the kernel is too old.
    pub const OLD_KERNEL: u32 = 6;
    /// Nothing was held: the process is not the one that was meant.
    pub const GONE: u32 = 7;
    /// Ended: a thread was held for long enough.
    pub const STOPPED: u32 = 8;
}

#[repr(C)]
struct Head {
    magic: u64,
    orders: Orders,
    state: State,
}

/// What the child tells beside its records.
#[derive(Debug, Default)]
#[repr(C)]
pub struct State {
    /// A [`phase`].
    pub phase: AtomicU32,
    /// Whether its memory is locked.
    pub locked: AtomicU32,
    /// Just before the first thread was held.
    pub began_ns: AtomicU64,
    /// How long it had waited for a processor by then.
    pub waited_ns: AtomicU64,
    /// When it began to let threads go for good.
    pub letting_go_ns: AtomicU64,
    /// When it had begun to exit.
    pub ended_ns: AtomicU64,
    /// Threads that it has seized.
    pub seized: AtomicU64,
    /// Stops so far.
    pub stops: AtomicU64,
    /// Together, from noticing to letting go.
    pub stopped_ns_total: AtomicU64,
    /// The longest of them.
    pub stopped_ns_max: AtomicU64,
    /// Records without room.
    pub lost: AtomicU64,
    /// Threads that were left out because they sleep in a call that must not be interrupted.
    pub spared: AtomicU64,
    /// Because they were not on a processor.
    pub asleep: AtomicU64,
    /// Because there were more threads than stops.
    pub no_room: AtomicU64,
    /// Because the kernel said no.
    pub refused: AtomicU64,
    /// Its last error.
    pub error: AtomicI32,
    /// Records written.
    written: AtomicU64,
}

/// Where the records begin: a page of its own for what stands before them, whatever the size of a page.
const RECORDS_AT: usize = 64 << 10;
const _: () = assert!(size_of::<Head>() <= RECORDS_AT && RECORDS_AT.is_multiple_of(align_of::<Record>()));

/// The mapped memory.
#[derive(Debug)]
pub struct Shared {
    head: NonNull<Head>,
    records: Option<NonNull<Record>>,
    room: u32,
    stacks: u32,
}

impl Shared {
    /// New memory with orders, and the descriptor by which the child finds it.
    pub fn create(orders: Orders) -> Result<(Self, OwnedFd), Errno> {
        let file = memfd_create("stallscope-burst", MFdFlags::MFD_CLOEXEC)?;
        let bytes = i64::try_from(RECORDS_AT + size(orders.room, orders.stacks).get());
        let bytes = bytes.map_err(|_| Errno::EOVERFLOW)?;
        // Now, so that nobody has to find memory for a record while a thread is held.
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        let head: NonNull<Head> = map(&file, HEAD_BYTES, 0)?;
        let whole = Head { magic: MAGIC, orders, state: State::default() };
        // SAFETY: the mapping is at least as large and as aligned as the head, writable, and nobody else knows it yet.
        unsafe { head.write(whole) };
        let mut shared = Self { head, records: None, room: orders.room, stacks: orders.stacks };
        shared.map_records(&file)?;
        Ok((shared, file))
    }

    /// The memory that the tool has made, as the child gets it: without its records.
    pub fn open(file: &impl AsFd) -> Result<Self, Errno> {
        let there = nix::sys::stat::fstat(file)?;
        let bytes = usize::try_from(there.st_size).map_err(|_| Errno::EINVAL)?;
        if bytes < RECORDS_AT {
            return Err(Errno::EINVAL);
        }
        let mut shared = Self { head: map(file, HEAD_BYTES, 0)?, records: None, room: 0, stacks: 0 };
        let Orders { room, stacks, .. } = shared.orders();
        if shared.head().magic != MAGIC || RECORDS_AT + size(room, stacks).get() != bytes {
            return Err(Errno::EINVAL);
        }
        (shared.room, shared.stacks) = (room, stacks);
        Ok(shared)
    }

    /// Finds room for the records and stacks.
    pub fn map_records(&mut self, file: &impl AsFd) -> Result<(), Errno> {
        self.records = Some(map(file, size(self.room, self.stacks), RECORDS_AT)?);
        Ok(())
    }

    fn head(&self) -> &Head {
        // SAFETY: mapped for as long as `self` lives and initialised by `create` before the child exists; what both
        // processes change are atomics.
        unsafe { self.head.as_ref() }
    }

    /// What is to be done.
    pub fn orders(&self) -> Orders {
        self.head().orders
    }

    /// What the child tells beside its records.
    pub fn state(&self) -> &State {
        &self.head().state
    }

    /// The place of a record, if there is room for it.
    fn place(&self, number: u64) -> Option<*mut Record> {
        let records = self.records.filter(|_| number < u64::from(self.room))?;
        // SAFETY: `number` is below `room`, for which the mapping is large enough.
        Some(unsafe { records.as_ptr().add(number as usize) })
    }

    /// Appends a record. Gives its number, unless there is no room: then it is counted as lost.
    pub fn append(&self, record: &Record) -> Option<u64> {
        let state = self.state();
        let number = state.written.load(Ordering::Relaxed);
        let Some(place) = self.place(number) else {
            state.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // SAFETY: only the child writes, and nobody reads a record before it counts.
        unsafe { place.write(*record) };
        state.written.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// Appends a record of a thread that was let go just before. That it was gone by then is no error.
    pub fn append_after(&self, _let_go: Result<(), Errno>, record: &Record) -> Option<u64> {
        self.append(record)
    }

    /// Notes when the thread of a record was let go.
    pub fn resumed(&self, number: Option<u64>, at_ns: u64) {
        if let Some(place) = number.and_then(|number| self.place(number)) {
            // SAFETY: a whole record is there, and the tool reads only when the child is dead.
            unsafe { (*place).resumed_ns = at_ns };
        }
    }

    /// Lets something be done with the place of a stack; nothing where there is no room for so many. One at a time, and only
    /// the child's while it lives: the tool asks when it is dead.
    pub fn stack<T>(&self, number: u64, with: impl FnOnce(&mut Copied) -> T) -> Option<T> {
        let records = self.records.filter(|_| number < u64::from(self.stacks))?;
        let offset = stacks_at(self.room) + number as usize * size_of::<Copied>();
        // SAFETY: see below.
        let place: *mut Copied = unsafe { records.as_ptr().cast::<u8>().add(offset).cast() };
        // SAFETY: `number` is below `stacks`, for which `size` has made room behind the records, at a multiple of their
        // alignment; any bytes are a `Copied`. `Shared` is not `Sync`, and one process asks at a time.
        Some(with(unsafe { &mut *place }))
    }

    /// The records of a child that is dead.
    pub fn records(&self) -> Vec<Record> {
        let written = self.state().written.load(Ordering::Acquire);
        // SAFETY: records below `written` are whole, and nobody writes any more.
        (0..written).map_while(|number| self.place(number)).map(|place| unsafe { place.read() }).collect()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with these lengths, and nothing borrowed from it outlives `self`.
        unsafe {
            let _ = munmap(self.head.cast(), HEAD_BYTES.get());
            let _ = self.records.map(|records| munmap(records.cast(), size(self.room, self.stacks).get()));
        }
    }
}

const HEAD_BYTES: NonZeroUsize = NonZeroUsize::new(size_of::<Head>()).unwrap();

/// Where the stacks begin, behind the records.
const fn stacks_at(room: u32) -> usize {
    (room as usize * size_of::<Record>()).next_multiple_of(align_of::<Copied>())
}

fn size(room: u32, stacks: u32) -> NonZeroUsize {
    let bytes = stacks_at(room) + stacks as usize * size_of::<Copied>();
    NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN)
}

fn map<T>(file: &impl AsFd, bytes: NonZeroUsize, at: usize) -> Result<NonNull<T>, Errno> {
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let at = libc::off_t::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: a new mapping at a place of the kernel's choice replaces nothing.
    unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, file, at) }.map(NonNull::cast)
}

#[cfg(test)]
mod tests {
    use nix::unistd::ftruncate;

    use super::*;

    fn orders(room: u32) -> Orders {
        Orders {
            pid: 7,
            parent: 8,
            start_time_ticks: 9,
            limit_ns: 10,
            max_stops: 11,
            choice: 0,
            room,
            stacks: 2,
            unused: 0,
        }
    }

    #[test]
    fn each_stack_has_a_place_of_its_own() {
        let (tool, file) = Shared::create(orders(3)).unwrap();
        let mut child = Shared::open(&file).unwrap();
        child.map_records(&file).unwrap();
        for number in 0..2 {
            let wrote = child.stack(number, |copied| {
                copied.length = number + 1;
                copied.bytes.fill(number as u8 + 1);
            });
            assert_eq!(wrote, Some(()));
        }
        let seen = |number| tool.stack(number, |copied| (copied.length, copied.bytes[STACK_BYTES - 1]));
        assert_eq!([seen(0), seen(1), seen(2)], [Some((1, 1)), Some((2, 2)), None]);
        assert_eq!(tool.records().len(), 0);
    }

    #[test]
    fn what_the_child_writes_the_tool_reads_and_what_has_no_room_is_counted() {
        let (tool, file) = Shared::create(orders(2)).unwrap();
        let mut child = Shared::open(&file).unwrap();
        child.map_records(&file).unwrap();
        assert_eq!((child.orders().pid, child.orders().max_stops), (7, 11));
        let mut record = Record::new(kind::ENTER, 42, 5);
        record.memory[0] = b'x';
        let first = child.append(&record);
        child.resumed(first, 6);
        assert_eq!(child.append(&Record::new(kind::LEAVE, 42, 7)), Some(1));
        let third = child.append(&Record::new(kind::ENDED, 42, 8));
        child.resumed(third, 9);
        let seen = tool.records();
        assert_eq!(
            seen.iter().map(|r| (r.kind, r.at_ns, r.resumed_ns)).collect::<Vec<_>>(),
            [(kind::ENTER, 5, 6), (kind::LEAVE, 7, 0)]
        );
        assert_eq!((seen[0].memory[0], tool.state().lost.load(Ordering::Relaxed)), (b'x', 1));
    }

    #[test]
    fn other_memory_is_refused() {
        let file = memfd_create("x", MFdFlags::MFD_CLOEXEC).unwrap();
        assert_eq!(Shared::open(&file).unwrap_err(), Errno::EINVAL);
        ftruncate(&file, 1 << 20).unwrap();
        assert_eq!(Shared::open(&file).unwrap_err(), Errno::EINVAL);
    }
}
