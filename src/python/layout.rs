//! Where the fields of each `CPython` are: data, one row per minor version.
//!
//! The numbers are `offsetof` of the released headers (x86-64, little endian), checked against live interpreters by the
//! tests. From 3.13 on an interpreter carries its own table, which wins after it was validated: micro releases of one
//! minor have been known to differ.

use super::memory::{MemoryReader, word_at};

/// How a thread's innermost frame is found, and what a frame looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// `PyFrameObject` on the heap, straight from the thread (up to 3.10).
    Object {
        /// Thread state to frame.
        thread_frame: u64,
    },
    /// `_PyInterpreterFrame` behind a `_PyCFrame` (3.11, 3.12).
    Indirect {
        /// Thread state to `_PyCFrame`.
        thread_cframe: u64,
        /// `_PyCFrame` to the frame.
        current: u64,
    },
    /// `_PyInterpreterFrame` straight from the thread (3.13 and later).
    Direct {
        /// Thread state to frame.
        thread_frame: u64,
    },
}

/// Where the last instruction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// An index (i32) in units of so many bytes.
    Index {
        /// Offset in the frame.
        at: usize,
        /// Bytes per unit.
        unit: i64,
    },
    /// A pointer into the code object's own instructions.
    Pointer {
        /// Offset in the frame.
        at: usize,
        /// Offset of the instructions in the code object.
        code: u64,
    },
}

/// What a frame tells of its being in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameUse {
    /// A byte that has one of these values while its function runs (up to 3.10).
    State {
        /// Offset in the frame.
        at: usize,
        /// Running, and being unwound by an exception where that is told apart.
        active: [u8; 2],
    },
    /// The top of its values (i32) is kept elsewhere, and this one negative, while the frame itself executes or calls C;
    /// while it waits for a function in Python it is not negative (3.11 to 3.13).
    StackTop {
        /// Offset in the frame.
        at: usize,
        /// Offset of a byte that says that it was called out of C. Later versions put a frame of their own in between.
        entry: Option<usize>,
    },
}

/// How addresses become lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// Pairs of unsigned address and signed line steps (up to 3.9).
    Lnotab,
    /// Pairs with -128 for "no line" (3.10).
    Pairs,
    /// The location table of PEP 657 (3.11 and later).
    Locations,
}

/// Who holds the interpreter lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GilAt {
    /// A thread state pointer in the runtime (up to 3.11).
    Runtime(u64),
    /// A lock structure that the interpreter points to: `last_holder` at 8, `locked` at 16 (3.12 and later).
    Interpreter(u64),
}

/// Offsets of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// `_PyRuntime` to the first interpreter.
    pub interpreters_head: u64,
    /// Interpreter to the next one.
    pub interpreter_next: u64,
    /// Interpreter to its first thread.
    pub threads_head: u64,
    /// Thread to the next one.
    pub thread_next: u64,
    /// Thread to its interpreter.
    pub thread_interpreter: u64,
    /// Thread to its `pthread_t`.
    pub thread_id: u64,
    /// Thread to the kernel's thread id (3.11 and later).
    pub native_thread_id: Option<u64>,
    /// How frames are found.
    pub frames: FrameKind,
    /// Frame to its caller.
    pub frame_previous: usize,
    /// Frame to its code object.
    pub frame_code: usize,
    /// Where execution stands.
    pub instruction: Instruction,
    /// Frame to its owner byte, where it has one.
    pub frame_owner: Option<usize>,
    /// The first owner whose frames are the interpreter's own.
    pub internal_owner: u8,
    /// What a frame tells of its being in use.
    pub frame_use: FrameUse,
    /// Code object to its file name.
    pub code_filename: usize,
    /// Code object to its name: the qualified one where there is one.
    pub code_name: usize,
    /// Code object to its first line.
    pub code_first_line: usize,
    /// Code object to its line table.
    pub code_lines: usize,
    /// How that is read.
    pub line_format: LineFormat,
    /// String object to its characters: ASCII, other.
    pub text: (u64, u64),
    /// The interpreter lock.
    pub gil: GilAt,
}

/// Bytes of a frame that are looked at: the header of the largest kind.
pub const FRAME_BYTES: usize = 120;
/// The same where it lies on the thread's own stack: nothing of the locals behind it.
const SHORT_FRAME_BYTES: usize = 72;
/// Bytes of a thread's state that are looked at.
pub const STATE_BYTES: usize = 192;
/// Bytes of a code object that are looked at.
pub const CODE_BYTES: usize = 160;

impl Layout {
    /// Bytes of a frame that are looked at.
    #[must_use]
    pub const fn frame_header(&self) -> usize {
        match self.frames {
            FrameKind::Object { .. } => FRAME_BYTES,
            FrameKind::Indirect { .. } | FrameKind::Direct { .. } => SHORT_FRAME_BYTES,
        }
    }

    /// Code object to the instruction (i32, in units) at which a frame begins to be one of its own, where there is such a
    /// field: it stands before the instructions.
    #[must_use]
    pub const fn code_first_traceable(&self) -> Option<u64> {
        match self.instruction {
            Instruction::Index { .. } => None,
            Instruction::Pointer { code, .. } => code.checked_sub(16),
        }
    }
}

const V3_8: Layout = Layout {
    interpreters_head: 32,
    interpreter_next: 0,
    threads_head: 8,
    thread_next: 8,
    thread_interpreter: 16,
    thread_id: 176,
    native_thread_id: None,
    frames: FrameKind::Object { thread_frame: 24 },
    frame_previous: 24,
    frame_code: 32,
    instruction: Instruction::Index { at: 104, unit: 1 },
    frame_owner: None,
    internal_owner: u8::MAX,
    frame_use: FrameUse::State { at: 116, active: [1, 1] },
    code_filename: 104,
    code_name: 112,
    code_first_line: 40,
    code_lines: 120,
    line_format: LineFormat::Lnotab,
    text: (48, 72),
    gil: GilAt::Runtime(1368),
};
const V3_9: Layout = Layout { gil: GilAt::Runtime(568), ..V3_8 };
const V3_10: Layout = Layout {
    instruction: Instruction::Index { at: 96, unit: 2 },
    frame_use: FrameUse::State { at: 108, active: [0, 2] },
    line_format: LineFormat::Pairs,
    ..V3_9
};
const V3_11: Layout = Layout {
    interpreters_head: 40,
    threads_head: 16,
    thread_id: 152,
    native_thread_id: Some(160),
    frames: FrameKind::Indirect { thread_cframe: 56, current: 8 },
    frame_previous: 48,
    frame_code: 32,
    instruction: Instruction::Pointer { at: 56, code: 184 },
    frame_owner: Some(69),
    internal_owner: 3,
    frame_use: FrameUse::StackTop { at: 64, entry: Some(68) },
    code_filename: 112,
    code_name: 128,
    code_first_line: 72,
    code_lines: 136,
    line_format: LineFormat::Locations,
    gil: GilAt::Runtime(576),
    ..V3_10
};
const V3_12: Layout = Layout {
    threads_head: 72,
    thread_id: 136,
    native_thread_id: Some(144),
    frames: FrameKind::Indirect { thread_cframe: 56, current: 0 },
    frame_previous: 8,
    frame_code: 0,
    instruction: Instruction::Pointer { at: 56, code: 192 },
    frame_owner: Some(70),
    frame_use: FrameUse::StackTop { at: 64, entry: None },
    code_first_line: 68,
    text: (40, 56),
    gil: GilAt::Interpreter(384),
    ..V3_11
};
const V3_13: Layout = Layout {
    interpreters_head: 632,
    interpreter_next: 7264,
    threads_head: 7344,
    thread_id: 152,
    native_thread_id: Some(160),
    frames: FrameKind::Direct { thread_frame: 72 },
    instruction: Instruction::Pointer { at: 56, code: 200 },
    gil: GilAt::Interpreter(16),
    ..V3_12
};

/// The layout of a minor version of Python 3, from its headers.
#[must_use]
pub const fn known(minor: u8) -> Option<Layout> {
    Some(match minor {
        8 => V3_8,
        9 => V3_9,
        10 => V3_10,
        11 => V3_11,
        12 => V3_12,
        13 => V3_13,
        _ => return None,
    })
}

/// First word of an interpreter that carries its own table: `xdebugpy`.
pub const COOKIE: u64 = 0x7970_6775_6265_6478;
const TABLE_BYTES: usize = 576;
/// An interpreter state is the largest structure; nothing lies further inside one.
const MAX_OFFSET: u64 = 1 << 20;

/// The layout of a 3.13 interpreter by its own table. `None` when the table makes no sense.
#[must_use]
pub fn own_table_3_13(memory: &dyn MemoryReader, runtime: u64) -> Option<Layout> {
    let mut table = [0; TABLE_BYTES];
    memory.read(runtime, &mut table).ok()?;
    let word = |at: usize| word_at(&table, at).filter(|v| *v < MAX_OFFSET);
    let pointer = |at: usize| word(at).filter(|v| v % 8 == 0);
    let small =
        |at: usize, room: usize| word(at).and_then(|v| usize::try_from(v).ok()).filter(|v| v + 8 <= room);
    if word_at(&table, 0)? != COOKIE || word(16)? != 0 {
        return None;
    }
    Some(Layout {
        interpreters_head: pointer(40)?,
        interpreter_next: pointer(64)?,
        threads_head: pointer(72)?,
        gil: GilAt::Interpreter(pointer(112)?),
        thread_next: pointer(168)?,
        thread_interpreter: pointer(176)?,
        frames: FrameKind::Direct { thread_frame: pointer(184)? },
        thread_id: pointer(192)?,
        native_thread_id: Some(pointer(200)?),
        frame_previous: small(232, SHORT_FRAME_BYTES)?,
        frame_code: small(240, SHORT_FRAME_BYTES)?,
        instruction: Instruction::Pointer { at: small(248, SHORT_FRAME_BYTES)?, code: word(344)? },
        frame_owner: Some(small(264, SHORT_FRAME_BYTES + 7)?),
        code_filename: small(280, CODE_BYTES)?,
        code_name: small(296, CODE_BYTES)?,
        code_lines: small(304, CODE_BYTES)?,
        code_first_line: small(312, CODE_BYTES)?,
        text: (word(560)?, word(560)? + 16),
        ..V3_13
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_inside_what_is_read() {
        for minor in 8..=13 {
            let l = known(minor).unwrap();
            let at = match l.instruction {
                Instruction::Index { at, .. } | Instruction::Pointer { at, .. } => at,
            };
            let header = l.frame_header();
            assert!(header <= FRAME_BYTES);
            assert!([l.frame_previous, l.frame_code, at].iter().all(|o| o + 8 <= header), "3.{minor}");
            assert!(l.frame_owner.is_none_or(|owner| owner < header), "3.{minor}");
            let (FrameUse::State { at, .. } | FrameUse::StackTop { at, .. }) = l.frame_use;
            assert!(at + 4 <= header, "3.{minor}");
            assert!(
                [Some(l.thread_interpreter), Some(l.thread_next), Some(l.thread_id), l.native_thread_id]
                    .iter()
                    .flatten()
                    .all(|o| *o + 8 <= STATE_BYTES as u64),
                "3.{minor}"
            );
            assert!(
                [l.code_filename, l.code_name, l.code_first_line, l.code_lines]
                    .iter()
                    .all(|o| o + 8 <= CODE_BYTES)
            );
        }
        assert_eq!(known(7), None);
        assert_eq!(known(99), None);
    }
}
