//! The table of its own fields that an interpreter carries since 3.13 (`_Py_DebugOffsets`, at the start of `_PyRuntime`).
//!
//! It is made for readers like this one and wins over the static rows, as micro releases differ. It is also bytes of the
//! target: an untrusted input. It is read once, every value is checked (aligned, inside its structure, inside our
//! buffers), and only the checked result leaves this file. The order of its words is that of a minor version; a newer
//! one than is known is tried in the newest known order and refused if anything does not fit.

use super::layout::{
    CollectingAt, Copies, Exceptions, FrameKind, FrameUse, GilAt, Instruction, LOCK_BYTES, Layout, Lock,
    Particulars, Text,
};
use super::layouts::{self, NEWEST};
use super::memory::{MemoryReader, word_at};

/// First word of an interpreter that carries a table: `xdebugpy`.
pub const COOKIE: u64 = 0x7970_6775_6265_6478;

/// More than any known table is long.
const TABLE_BYTES: usize = 896;
/// An interpreter state is the largest structure; nothing lies further inside one.
const MAX_OFFSET: u64 = 1 << 20;

/// What the head of a table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// `PY_VERSION_HEX`.
    pub version_hex: u64,
    /// Whether it is built without an interpreter lock.
    pub free_threaded: bool,
    /// Size of `_PyRuntime`.
    pub runtime_size: u64,
}

/// The head of the table at an address; `None` when there is none.
#[must_use]
pub fn head(memory: &dyn MemoryReader, runtime: u64) -> Option<Head> {
    let mut bytes = [0; 32];
    memory.read(runtime, &mut bytes).ok()?;
    let word = |at| word_at(&bytes, at);
    (word(0)? == COOKIE).then_some(())?;
    Some(Head { version_hex: word(8)?, free_threaded: word(16)? != 0, runtime_size: word(24)? })
}

/// Where the words of the table are, by minor version.
struct Order {
    interpreters_head: usize,
    interpreter_next: usize,
    threads_head: usize,
    ceval_gil: usize,
    gil_state: usize,
    gil_enabled: usize,
    gil_locked: usize,
    gil_holder: usize,
    interpreter_id: usize,
    modules: usize,
    gc: usize,
    gc_size: usize,
    collecting: usize,
    raised: Option<usize>,
    interpreter_size: usize,
    thread_size: usize,
    thread_next: usize,
    thread_interpreter: usize,
    current_frame: usize,
    thread_id: usize,
    native_thread_id: usize,
    frame_size: usize,
    previous: usize,
    executable: usize,
    instr_ptr: usize,
    owner: usize,
    stackpointer: Option<usize>,
    /// In a frame and in a code object.
    copies: Option<(usize, usize)>,
    code_size: usize,
    filename: usize,
    qualname: usize,
    linetable: usize,
    first_line: usize,
    code_adaptive: usize,
    /// Words that say what the rows hold as well: the head of an object, that of a string made of ASCII, a frame's first
    /// variable, the name of a type, the contents of a bytes object, length and state of a string.
    object_size: usize,
    object_type: usize,
    ascii_size: usize,
    locals: usize,
    type_name: usize,
    bytes: usize,
    text_length: usize,
    text_state: usize,
}

const V3_13: Order = Order {
    interpreters_head: 40,
    interpreter_size: 48,
    interpreter_next: 64,
    threads_head: 72,
    ceval_gil: 112,
    gil_state: 120,
    gil_enabled: 128,
    gil_locked: 136,
    gil_holder: 144,
    interpreter_id: 56,
    modules: 88,
    gc: 80,
    gc_size: 568,
    collecting: 576,
    raised: None,
    thread_size: 152,
    thread_next: 168,
    thread_interpreter: 176,
    current_frame: 184,
    thread_id: 192,
    native_thread_id: 200,
    frame_size: 224,
    previous: 232,
    executable: 240,
    instr_ptr: 248,
    owner: 264,
    stackpointer: None,
    copies: None,
    code_size: 272,
    filename: 280,
    qualname: 296,
    linetable: 304,
    first_line: 312,
    code_adaptive: 344,
    object_size: 352,
    object_type: 360,
    ascii_size: 560,
    locals: 256,
    type_name: 376,
    bytes: 528,
    text_length: 552,
    text_state: 544,
};
const V3_14: Order = Order {
    ceval_gil: 120,
    gil_state: 128,
    gil_enabled: 136,
    gil_locked: 144,
    gil_holder: 152,
    modules: 96,
    gc: 88,
    gc_size: 648,
    collecting: 656,
    thread_size: 176,
    thread_next: 192,
    thread_interpreter: 200,
    current_frame: 208,
    thread_id: 216,
    native_thread_id: 224,
    frame_size: 248,
    previous: 256,
    executable: 264,
    instr_ptr: 272,
    owner: 288,
    stackpointer: Some(296),
    copies: Some((304, 392)),
    code_size: 312,
    filename: 320,
    qualname: 336,
    linetable: 344,
    first_line: 352,
    code_adaptive: 384,
    object_size: 400,
    object_type: 408,
    ascii_size: 640,
    locals: 280,
    type_name: 424,
    bytes: 608,
    text_length: 632,
    text_state: 624,
    ..V3_13
};
const V3_15: Order = Order {
    gc_size: 752,
    collecting: 760,
    raised: Some(288),
    thread_id: 240,
    native_thread_id: 248,
    frame_size: 312,
    previous: 320,
    executable: 328,
    instr_ptr: 336,
    owner: 352,
    stackpointer: Some(360),
    copies: Some((368, 456)),
    code_size: 376,
    filename: 384,
    qualname: 400,
    linetable: 408,
    first_line: 416,
    code_adaptive: 448,
    object_size: 464,
    object_type: 472,
    ascii_size: 736,
    locals: 344,
    type_name: 488,
    bytes: 704,
    text_length: 728,
    text_state: 720,
    ..V3_14
};

/// The layout of an interpreter by its own table. `None` when it has none or the table makes no sense.
#[must_use]
pub fn layout(memory: &dyn MemoryReader, runtime: u64, minor: u8) -> Option<Layout> {
    let order = match minor {
        0..=12 => return None,
        13 => V3_13,
        14 => V3_14,
        _ => V3_15,
    };
    let mut table = [0; TABLE_BYTES];
    memory.read(runtime, &mut table).ok()?;
    let head = head(memory, runtime)?;
    let row = if head.free_threaded { layouts::free_threaded } else { layouts::known };
    let base = row(3, minor.min(NEWEST))?;
    checked(&Table(&table), &order, &base, head.runtime_size)
}

/// The size of an interpreter's state by the table at an address.
#[must_use]
pub fn interpreter_size(memory: &dyn MemoryReader, runtime: u64) -> Option<u64> {
    head(memory, runtime)?;
    // Here in every known order.
    memory.word(runtime.wrapping_add(V3_13.interpreter_size as u64)).ok().filter(|size| *size < MAX_OFFSET)
}

/// The words of a table, each with a bound.
struct Table<'t>(&'t [u8]);

impl Table<'_> {
    /// An offset inside a structure of a size, of a field of a width that is aligned to it.
    fn field(&self, at: usize, size: u64, width: u64) -> Option<u64> {
        let offset = word_at(self.0, at)?;
        (offset < MAX_OFFSET && offset.is_multiple_of(width) && offset.checked_add(width)? <= size)
            .then_some(offset)
    }

    /// The size of a structure.
    fn size(&self, at: usize) -> Option<u64> {
        word_at(self.0, at).filter(|size| (8..MAX_OFFSET).contains(size))
    }
}

fn checked(table: &Table<'_>, order: &Order, base: &Layout, runtime_size: u64) -> Option<Layout> {
    let interpreter = table.size(order.interpreter_size)?;
    let thread = table.size(order.thread_size)?;
    let frame = table.size(order.frame_size)?;
    let code = table.size(order.code_size)?;
    let near = |at: usize, size: u64, width: u64| usize::try_from(table.field(at, size, width)?).ok();
    let Text::Unicode { ascii, .. } = base.text else { return None };
    // What the rows hold and the table says too must be the same: a version that moves these has moved more.
    let agreed = [
        (order.object_size, base.behind_head()),
        (order.object_type, base.object_type()),
        (order.type_name, base.behind_head() + 8),
        (order.text_length, base.behind_head()),
        (order.text_state, base.behind_head() + 16),
        (order.ascii_size, ascii),
        (order.bytes, base.bytes),
        (order.locals, base.frame_locals),
    ];
    if agreed.into_iter().any(|(at, known)| word_at(table.0, at) != Some(known)) {
        return None;
    }
    let lock = table.field(order.gil_state, interpreter, 8)?;
    let in_lock =
        |at: usize, width: u64| usize::try_from(table.field(at, interpreter, width)?.checked_sub(lock)?).ok();
    let collector_size = table.size(order.gc_size)?;
    // The collector's part of the interpreter is packed to four bytes in some.
    let collector = table.field(order.gc, interpreter, 4)?;
    let collecting = table.field(order.collecting, collector_size, 4)?;
    if collector.checked_add(collecting)?.checked_add(4)? > interpreter {
        return None;
    }
    let layout = Layout {
        interpreters_head: table.field(order.interpreters_head, runtime_size.min(MAX_OFFSET), 8)?,
        interpreter_next: table.field(order.interpreter_next, interpreter, 8)?,
        threads_head: table.field(order.threads_head, interpreter, 8)?,
        gil: GilAt::Interpreter(table.field(order.ceval_gil, interpreter, 8)?),
        thread_next: table.field(order.thread_next, thread, 8)?,
        thread_interpreter: table.field(order.thread_interpreter, thread, 8)?,
        frames: FrameKind::Direct { thread_frame: table.field(order.current_frame, thread, 8)? },
        thread_id: table.field(order.thread_id, thread, 8)?,
        native_thread_id: Some(table.field(order.native_thread_id, thread, 8)?),
        frame_previous: near(order.previous, frame, 8)?,
        frame_code: near(order.executable, frame, 8)?,
        instruction: Instruction::Pointer {
            at: near(order.instr_ptr, frame, 8)?,
            code: table.field(order.code_adaptive, code, 8)?,
        },
        frame_owner: Some(near(order.owner, frame, 1)?),
        frame_use: match order.stackpointer {
            Some(at) => FrameUse::StackPointer { at: near(at, frame, 8)? },
            None => base.frame_use,
        },
        code_filename: near(order.filename, code, 8)?,
        code_name: near(order.qualname, code, 8)?,
        code_lines: near(order.linetable, code, 8)?,
        code_first_line: near(order.first_line, code, 4)?,
        lock: Lock {
            enabled: match base.lock.enabled {
                Some(_) => Some(near(order.gil_enabled, LOCK_BYTES as u64, 4)?),
                None => None,
            },
            holder: in_lock(order.gil_holder, 8)?,
            locked: in_lock(order.gil_locked, 4)?,
            size: base.lock.size,
        },
        copies: match (base.copies, order.copies) {
            (Some(_), Some((index, array))) => {
                Some(Copies { index: near(index, frame, 4)?, array: table.field(array, code, 8)? })
            }
            _ => None,
        },
        particulars: Particulars {
            modules: table.field(order.modules, interpreter, 8)?,
            id: Some(table.field(order.interpreter_id, interpreter, 8)?),
            collecting: Some(CollectingAt::Interpreter(collector.checked_add(collecting)?)),
            exceptions: Exceptions {
                raised: match order.raised {
                    Some(at) => table.field(at, thread, 8)?,
                    None => base.particulars.exceptions.raised,
                },
                ..base.particulars.exceptions
            },
            ..base.particulars
        },
        ..*base
    };
    layout.fits().then_some(layout)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::python::memory::ReadError;
    use proptest::prelude::*;

    struct Image(Vec<u8>);

    impl MemoryReader for Image {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            let from = usize::try_from(address).map_err(|_| ReadError::Unmapped)?;
            let bytes = self.0.get(from..from.saturating_add(buffer.len())).ok_or(ReadError::Unmapped)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        }
    }

    /// The tables of real interpreters, as far as they are read: position and value.
    const REAL_3_15: &[(usize, u64)] = &[
        (8, 0x30f_02f0),
        (24, 346_568),
        (40, 936),
        (48, 226_240),
        (56, 7_272),
        (64, 7_264),
        (72, 7_336),
        (88, 7_400),
        (96, 7_592),
        (120, 16),
        (128, 7_736),
        (144, 7_752),
        (152, 7_744),
        (176, 888),
        (192, 8),
        (200, 16),
        (208, 72),
        (240, 176),
        (248, 184),
        (288, 136),
        (312, 88),
        (320, 8),
        (328, 0),
        (336, 56),
        (352, 74),
        (360, 64),
        (376, 216),
        (384, 112),
        (400, 128),
        (408, 136),
        (416, 68),
        (448, 208),
        (344, 80),
        (464, 16),
        (472, 8),
        (488, 24),
        (704, 32),
        (720, 32),
        (728, 16),
        (736, 40),
        (752, 176),
        (760, 112),
    ];

    fn image(words: &[(usize, u64)]) -> Image {
        let mut bytes = vec![0; TABLE_BYTES];
        for (at, value) in std::iter::once(&(0, COOKIE)).chain(words) {
            bytes[*at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        Image(bytes)
    }

    #[test]
    fn a_real_table_gives_the_layout_of_its_headers() {
        assert_eq!(layout(&image(REAL_3_15), 0, 15), layouts::known(3, 15));
    }

    #[test]
    fn a_version_of_the_future_with_a_sound_table_is_read() {
        assert!(layout(&image(REAL_3_15), 0, 16).is_some());
    }

    #[test]
    fn every_wrong_word_is_refused() {
        for (at, _) in REAL_3_15.iter().filter(|(at, _)| *at > 24) {
            for wrong in [u64::MAX, MAX_OFFSET, 1 << 63] {
                let mut table = image(REAL_3_15);
                table.0[*at..at + 8].copy_from_slice(&wrong.to_le_bytes());
                assert_eq!(layout(&table, 0, 15), None, "word at {at} = {wrong:#x}");
            }
        }
        let mut free_threaded = image(REAL_3_15);
        free_threaded.0[16] = 1;
        assert_eq!(layout(&free_threaded, 0, 15), None);
        assert_eq!(layout(&Image(vec![0; TABLE_BYTES]), 0, 15), None, "no cookie");
    }

    proptest! {
        #[test]
        fn no_table_can_hurt(mut bytes in proptest::collection::vec(any::<u8>(), TABLE_BYTES..=TABLE_BYTES), minor in 13_u8..20) {
            bytes[..8].copy_from_slice(&COOKIE.to_le_bytes());
            if let Some(layout) = layout(&Image(bytes), 0, minor) {
                prop_assert!(layout.fits());
            }
        }
    }
}
