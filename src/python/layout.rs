//! Where the fields of a `CPython` are: the vocabulary in which [`super::layouts`] and [`super::own_table`] describe one.

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
    /// Nothing (2.7).
    Silent,
    /// A byte that has one of these values while its function runs (3.6 to 3.10).
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
    /// A pointer to the top of its values, null while the frame itself executes (3.14 and later).
    StackPointer {
        /// Offset in the frame.
        at: usize,
    },
}

/// Where threads have instructions of their own: each executes a copy of a function's, so that it may be made faster there
/// without a lock (free-threaded builds since 3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// Frame to the number of the copy (i32); 0 is the code object's own.
    pub index: usize,
    /// Code object to the array of copies: its length, then a pointer to each.
    pub array: u64,
}

/// Fields of an interpreter's lock (3.12 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whether it is in use at all (i32), where a build can do without it.
    pub enabled: Option<usize>,
    /// The state of the thread that had it last.
    pub holder: usize,
    /// Whether that one still has it (i32).
    pub locked: usize,
    /// Its length: a thread that waits for it sleeps on a word inside.
    pub size: u64,
}

/// How addresses become lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// Pairs of unsigned address and unsigned line steps (2.7).
    Ascending,
    /// Pairs of unsigned address and signed line steps (3.6 to 3.9).
    Lnotab,
    /// Pairs with -128 for "no line" (3.10).
    Pairs,
    /// The location table of PEP 657 (3.11 and later).
    Locations,
}

/// Who holds the interpreter lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GilAt {
    /// A thread state pointer that is exported by itself, `_PyThreadState_Current` (2.7, 3.6).
    Exported,
    /// A thread state pointer in the runtime (3.7 to 3.11).
    Runtime(u64),
    /// The interpreter points to a lock structure (3.12 and later); [`Layout::lock`] says what is in it.
    Interpreter(u64),
}

/// Where it is told whether the garbage collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectingAt {
    /// In `_PyRuntime` (3.7, 3.8).
    Runtime(u64),
    /// In the interpreter (3.9 and later).
    Interpreter(u64),
}

/// Where the exception is told that a thread handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandledAt {
    /// Its type, in the thread's state (3.6).
    Type(u64),
    /// A chain of items: a pointer in the thread's state to the innermost one, which begins with the exception's type
    /// (3.7 to 3.10) or with the exception itself (3.11 and later).
    Items {
        /// Offset of the pointer.
        at: u64,
        /// Item to the one around it.
        previous: u64,
        /// Whether an item begins with the exception itself.
        value: bool,
    },
}

/// What a thread's state tells of exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceptions {
    /// Offset of the one that is being raised.
    pub raised: u64,
    /// Whether that is the exception itself (3.12 and later) or its type.
    pub raised_value: bool,
    /// The one that is handled. 2.7 keeps the last one until its function returns, which tells nothing.
    pub handled: Option<HandledAt>,
}

/// Where the states of interpreters and threads tell what stacks do not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Particulars {
    /// Interpreter to the dictionary of its modules.
    pub modules: u64,
    /// Interpreter to its number (3.7 and later).
    pub id: Option<u64>,
    /// Whether the garbage collector runs (i32).
    pub collecting: Option<CollectingAt>,
    /// Thread to a byte, and the bit in it that says that of all states which the same thread has in several
    /// interpreters it used this one last: `bound_gilstate` (3.12 and later).
    pub last_used: Option<(usize, u8)>,
    /// Exceptions.
    pub exceptions: Exceptions,
}

/// What names and file names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Byte strings (2.7).
    Bytes,
    /// `PyUnicodeObject`: where its characters are when they are ASCII, and when they are not.
    Unicode {
        /// Offset of ASCII characters.
        ascii: u64,
        /// Offset of others.
        other: u64,
        /// The bit of their state at which the width of a character begins.
        packing: u32,
    },
}

/// Offsets of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// `_PyRuntime` to the first interpreter; 0 where there is no `_PyRuntime` but only that pointer.
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
    /// Bytes of a frame that are looked at.
    pub frame_bytes: usize,
    /// Frame to its first local variable.
    pub frame_locals: u64,
    /// Frame to its caller.
    pub frame_previous: usize,
    /// Frame to its code object.
    pub frame_code: usize,
    /// Bits of a reference that belong to the address: the lowest two are tags since 3.14.
    pub reference_mask: u64,
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
    /// Code object to its flags (u32), where a frame does not tell whether it is a generator's.
    pub code_flags: Option<usize>,
    /// Code object to its first line.
    pub code_first_line: usize,
    /// Code object to its line table.
    pub code_lines: usize,
    /// How that is read.
    pub line_format: LineFormat,
    /// Names.
    pub text: Text,
    /// Bytes object to its bytes.
    pub bytes: u64,
    /// The interpreter lock.
    pub gil: GilAt,
    /// What is in that lock.
    pub lock: Lock,
    /// Bytes by which the head of every object is longer than usual: free-threaded builds count references twice and keep
    /// a lock in each.
    pub longer_head: u64,
    /// Copies of instructions that belong to threads.
    pub copies: Option<Copies>,
    /// What else is told of interpreters and threads.
    pub particulars: Particulars,
}

/// Bytes of a frame that are looked at: the header of the largest kind.
pub const FRAME_BYTES: usize = 136;
/// Bytes of a thread's state that are looked at.
pub const STATE_BYTES: usize = 192;
/// Bytes of an interpreter's lock that are looked at.
pub const LOCK_BYTES: usize = 32;
/// Bytes of a code object that are looked at.
pub const CODE_BYTES: usize = 160;

impl Layout {
    /// Code object to the instruction (i32, in units) at which a frame begins to be one of its own, where there is such a
    /// field: it stands before the instructions.
    #[must_use]
    pub const fn code_first_traceable(&self) -> Option<u64> {
        match self.instruction {
            Instruction::Index { .. } => None,
            // Behind it stand a pointer for others' use and, where there is one, the array of copies.
            Instruction::Pointer { code, .. } => {
                code.checked_sub(if self.copies.is_some() { 24 } else { 16 })
            }
        }
    }

    /// Object to its type.
    #[must_use]
    pub const fn object_type(&self) -> u64 {
        8 + self.longer_head
    }

    /// Object of variable size to its size, and whatever else stands first behind the head of an object.
    #[must_use]
    pub const fn behind_head(&self) -> u64 {
        16 + self.longer_head
    }

    /// Whether every field that is read lies inside the bytes that are read.
    #[must_use]
    pub fn fits(&self) -> bool {
        let at = match self.instruction {
            Instruction::Index { at, .. } | Instruction::Pointer { at, .. } => at,
        };
        let used = match self.frame_use {
            FrameUse::Silent => 0,
            FrameUse::State { at, .. } => at + 1,
            FrameUse::StackTop { at, entry } => (at + 4).max(entry.map_or(0, |e| e + 1)),
            FrameUse::StackPointer { at } => at + 8,
        };
        let frame = [self.frame_previous + 8, self.frame_code + 8, at + 8, used]
            .into_iter()
            .chain(self.frame_owner.map(|owner| owner + 1))
            .chain(self.copies.map(|copies| copies.index + 4))
            .all(|end| end <= self.frame_bytes);
        let frame_of_thread = match self.frames {
            FrameKind::Object { thread_frame } | FrameKind::Direct { thread_frame } => thread_frame,
            FrameKind::Indirect { thread_cframe, .. } => thread_cframe,
        };
        let state = [self.thread_interpreter, self.thread_next, self.thread_id, frame_of_thread]
            .into_iter()
            .chain(self.native_thread_id)
            .chain(self.particulars.last_used.map(|(at, _)| at as u64));
        let code = [self.code_filename, self.code_name, self.code_first_line, self.code_lines];
        let lock = [self.lock.holder + 8, self.lock.locked + 4].into_iter();
        let lock = lock.chain(self.lock.enabled.map(|at| at + 4));
        frame
            && lock.into_iter().all(|end| end <= LOCK_BYTES)
            && self.frame_bytes <= FRAME_BYTES
            && state.into_iter().all(|at| at + 8 <= STATE_BYTES as u64)
            && code.into_iter().all(|at| at + 8 <= CODE_BYTES)
    }
}
