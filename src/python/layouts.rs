//! The layouts themselves: data, one row per minor version, each written as what changed since the one before.
//!
//! The numbers are `offsetof` of the released headers (x86-64, little endian, with the interpreter lock), checked against
//! live interpreters by the tests. Free-threaded builds have rows of their own. From 3.13 on an interpreter carries its own
//! table, which wins (see [`super::own_table`]): micro releases of one minor have been known to differ.

use super::layout::{
    CollectingAt, Copies, Exceptions, FrameKind, FrameUse, GilAt, HandledAt, Instruction, Layout, LineFormat,
    Lock, Particulars, Text,
};

const V2_7: Layout = Layout {
    interpreters_head: 0,
    interpreter_next: 0,
    threads_head: 8,
    thread_next: 0,
    thread_interpreter: 8,
    thread_id: 144,
    native_thread_id: None,
    frames: FrameKind::Object { thread_frame: 16 },
    frame_bytes: 128,
    frame_locals: 376,
    frame_previous: 24,
    frame_code: 32,
    reference_mask: !0,
    instruction: Instruction::Index { at: 120, unit: 1 },
    frame_owner: None,
    internal_owner: u8::MAX,
    frame_use: FrameUse::Silent,
    code_filename: 80,
    code_name: 88,
    code_flags: Some(28),
    code_first_line: 96,
    code_lines: 104,
    line_format: LineFormat::Ascending,
    text: Text::Bytes,
    bytes: 36,
    gil: GilAt::Exported,
    lock: Lock { enabled: None, holder: 8, locked: 16, size: 208 },
    longer_head: 0,
    copies: None,
    particulars: P2_7,
};
const V3_6: Layout = Layout {
    thread_next: 8,
    thread_interpreter: 16,
    thread_id: 152,
    frames: FrameKind::Object { thread_frame: 24 },
    frame_bytes: 136,
    frame_use: FrameUse::State { at: 132, active: [1, 1] },
    code_filename: 96,
    code_name: 104,
    code_flags: Some(32),
    code_first_line: 36,
    code_lines: 112,
    line_format: LineFormat::Lnotab,
    text: Text::Unicode { ascii: 48, other: 72, packing: 2 },
    bytes: 32,
    particulars: P3_6,
    ..V2_7
};
const V3_7: Layout = Layout {
    interpreters_head: 24,
    thread_id: 176,
    frame_bytes: 120,
    frame_locals: 360,
    instruction: Instruction::Index { at: 104, unit: 1 },
    frame_use: FrameUse::State { at: 116, active: [1, 1] },
    gil: GilAt::Runtime(1480),
    particulars: P3_7,
    ..V3_6
};
const V3_8: Layout = Layout {
    interpreters_head: 32,
    code_filename: 104,
    code_name: 112,
    code_flags: Some(36),
    code_first_line: 40,
    code_lines: 120,
    gil: GilAt::Runtime(1368),
    particulars: P3_8,
    ..V3_7
};
const V3_9: Layout = Layout { gil: GilAt::Runtime(568), particulars: P3_9, ..V3_8 };
const V3_10: Layout = Layout {
    frame_bytes: 112,
    frame_locals: 352,
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
    frame_bytes: 72,
    frame_locals: 72,
    frame_previous: 48,
    frame_code: 32,
    instruction: Instruction::Pointer { at: 56, code: 184 },
    frame_owner: Some(69),
    internal_owner: 3,
    frame_use: FrameUse::StackTop { at: 64, entry: Some(68) },
    code_filename: 112,
    code_name: 128,
    // Its frames tell.
    code_flags: None,
    code_first_line: 72,
    code_lines: 136,
    line_format: LineFormat::Locations,
    gil: GilAt::Runtime(576),
    particulars: P3_11,
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
    text: Text::Unicode { ascii: 40, other: 56, packing: 2 },
    gil: GilAt::Interpreter(384),
    particulars: P3_12,
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
    particulars: P3_13,
    ..V3_12
};
const V3_14: Layout = Layout {
    interpreters_head: 808,
    interpreter_next: 7272,
    frame_bytes: 80,
    frame_locals: 80,
    reference_mask: !3,
    instruction: Instruction::Pointer { at: 56, code: 208 },
    frame_owner: Some(74),
    frame_use: FrameUse::StackPointer { at: 64 },
    particulars: P3_14,
    ..V3_13
};
const V3_15: Layout = Layout {
    interpreters_head: 936,
    interpreter_next: 7264,
    threads_head: 7336,
    thread_id: 176,
    native_thread_id: Some(184),
    particulars: P3_15,
    ..V3_14
};

/// Free-threaded builds: every object has a longer head.
const V3_13T: Layout = Layout {
    code_filename: 128,
    code_name: 144,
    code_first_line: 84,
    code_lines: 152,
    instruction: Instruction::Pointer { at: 56, code: 216 },
    text: Text::Unicode { ascii: 56, other: 72, packing: 2 },
    bytes: 48,
    lock: Lock { enabled: Some(0), holder: 16, locked: 24, size: 216 },
    particulars: Particulars { modules: 7664, ..P3_13 },
    longer_head: 16,
    ..V3_13
};
const V3_14T: Layout = Layout {
    code_filename: V3_13T.code_filename,
    code_name: V3_13T.code_name,
    code_first_line: V3_13T.code_first_line,
    code_lines: V3_13T.code_lines,
    instruction: Instruction::Pointer { at: 56, code: 232 },
    frame_owner: Some(78),
    text: Text::Unicode { ascii: 56, other: 72, packing: 8 },
    bytes: V3_13T.bytes,
    lock: V3_13T.lock,
    longer_head: V3_13T.longer_head,
    copies: Some(Copies { index: 72, array: 224 }),
    particulars: Particulars { modules: 7712, ..P3_14 },
    ..V3_14
};
const V3_15T: Layout = Layout {
    interpreter_next: V3_15.interpreter_next,
    interpreters_head: V3_15.interpreters_head,
    threads_head: V3_15.threads_head,
    thread_id: V3_15.thread_id,
    native_thread_id: V3_15.native_thread_id,
    particulars: P3_15,
    ..V3_14T
};

/// The layout of a minor version's free-threaded build, from its headers.
#[must_use]
pub const fn free_threaded(major: u8, minor: u8) -> Option<Layout> {
    Some(match (major, minor) {
        (3, 13) => V3_13T,
        (3, 14) => V3_14T,
        (3, 15) => V3_15T,
        _ => return None,
    })
}

const P2_7: Particulars = Particulars {
    modules: 16,
    id: None,
    collecting: None,
    last_used: None,
    exceptions: Exceptions { raised: 72, raised_value: false, handled: None },
};
const P3_6: Particulars = Particulars {
    exceptions: Exceptions { raised: 80, raised_value: false, handled: Some(HandledAt::Type(104)) },
    ..P2_7
};
const P3_7: Particulars = Particulars {
    modules: 40,
    id: Some(16),
    collecting: Some(CollectingAt::Runtime(632)),
    exceptions: Exceptions {
        raised: 88,
        raised_value: false,
        handled: Some(HandledAt::Items { at: 144, previous: 24, value: false }),
    },
    ..P3_6
};
const P3_8: Particulars = Particulars { modules: 56, collecting: Some(CollectingAt::Runtime(544)), ..P3_7 };
const P3_9: Particulars =
    Particulars { modules: 856, id: Some(24), collecting: Some(CollectingAt::Interpreter(816)), ..P3_8 };
const P3_11: Particulars = Particulars {
    modules: 888,
    id: Some(48),
    collecting: Some(CollectingAt::Interpreter(848)),
    exceptions: Exceptions {
        raised: 96,
        raised_value: false,
        handled: Some(HandledAt::Items { at: 120, previous: 8, value: true }),
    },
    ..P3_9
};
const P3_12: Particulars = Particulars {
    modules: 944,
    id: Some(8),
    collecting: Some(CollectingAt::Interpreter(312)),
    last_used: Some((24, 1 << 3)),
    exceptions: Exceptions {
        raised: 96,
        raised_value: true,
        handled: Some(HandledAt::Items { at: 104, previous: 8, value: true }),
    },
};
const P3_13: Particulars = Particulars {
    modules: 7656,
    id: Some(7272),
    collecting: Some(CollectingAt::Interpreter(7600)),
    last_used: Some((32, 1 << 3)),
    exceptions: Exceptions {
        raised: 112,
        handled: Some(HandledAt::Items { at: 120, previous: 8, value: true }),
        ..P3_12.exceptions
    },
};
const P3_14: Particulars = Particulars { modules: 7688, id: Some(7280), ..P3_13 };
const P3_15: Particulars = Particulars {
    modules: 7592,
    id: Some(7272),
    collecting: Some(CollectingAt::Interpreter(7512)),
    exceptions: Exceptions {
        raised: 136,
        handled: Some(HandledAt::Items { at: 144, previous: 8, value: true }),
        ..P3_14.exceptions
    },
    ..P3_14
};

/// The layout of a minor version, from its headers.
#[must_use]
pub const fn known(major: u8, minor: u8) -> Option<Layout> {
    Some(match (major, minor) {
        (2, 7) => V2_7,
        (3, 6) => V3_6,
        (3, 7) => V3_7,
        (3, 8) => V3_8,
        (3, 9) => V3_9,
        (3, 10) => V3_10,
        (3, 11) => V3_11,
        (3, 12) => V3_12,
        (3, 13) => V3_13,
        (3, 14) => V3_14,
        (3, 15) => V3_15,
        _ => return None,
    })
}

/// The newest minor version whose layout is known.
pub const NEWEST: u8 = 15;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_inside_what_is_read() {
        for (major, minor) in std::iter::once((2, 7)).chain((6..=NEWEST).map(|minor| (3, minor))) {
            assert!(known(major, minor).unwrap().fits(), "{major}.{minor}");
        }
        for minor in 13..=NEWEST {
            assert!(free_threaded(3, minor).unwrap().fits(), "3.{minor}t");
        }
    }

    #[test]
    fn a_version_that_nobody_knows_has_no_layout() {
        for (major, minor) in [(2, 6), (3, 5), (3, NEWEST + 1), (3, 99), (4, 7)] {
            assert_eq!(known(major, minor), None, "{major}.{minor}");
            assert_eq!(free_threaded(major, minor), None, "{major}.{minor}t");
        }
    }
}
