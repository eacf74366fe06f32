//! Where objects are and what is in them, by version: what the search for greenlets and tasks needs beyond frames.
//!
//! Data, one row per minor version, each written as what changed since the one before; `offsetof` of the released headers
//! (x86-64, with the interpreter lock) and, for tasks, of the released extension modules. Where a micro release is known
//! to differ, the reader calibrates instead of trusting the number.

/// Where the lists of the garbage collector begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcAt {
    /// Behind the exported pointer `_PyGC_generation0` (2.7, 3.6).
    Exported,
    /// In `_PyRuntime` (3.7, 3.8).
    Runtime {
        /// First list.
        generations: u64,
        /// The list of what is never collected (`gc.freeze()`).
        permanent: u64,
    },
    /// In the interpreter (3.9 and later).
    Interpreter {
        /// First list.
        generations: u64,
        /// The list of what is never collected (`gc.freeze()`).
        permanent: u64,
    },
}

/// How a generator or coroutine keeps its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratorFrame {
    /// A pointer to a `PyFrameObject` (up to 3.10).
    Pointer(u64),
    /// The frame itself.
    Inline {
        /// Offset of the frame in the object.
        at: u64,
        /// Offset of its state (i8).
        state: u64,
        /// The numbers of its states.
        states: States,
    },
}

/// What the state of a generator means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States {
    /// Not begun.
    pub created: i8,
    /// Waits, by `yield` or by `await`.
    pub suspended: [i8; 3],
    /// Those of them in which it waits by `await`, as far as they are told apart.
    pub awaiting: [i8; 2],
    /// Executes.
    pub executing: i8,
}

/// Where a suspended frame keeps what it awaits: the top of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopValue {
    /// A pointer behind it, null while the frame executes (3.6 to 3.9).
    Stacktop {
        /// Offset of the pointer.
        at: u64,
        /// Offset of the pointer to the first value.
        first: u64,
    },
    /// An array and its depth (3.10).
    Depth {
        /// Offset of the pointer to the array.
        array: u64,
        /// Offset of the depth (i32).
        depth: u64,
    },
    /// An index (i32) into the locals (3.11 to 3.13).
    Index {
        /// Offset of the index.
        at: u64,
        /// Offset of the locals.
        locals: u64,
    },
    /// A pointer behind it, so many bytes away (3.14 and later).
    Pointer {
        /// Offset of the pointer.
        at: u64,
        /// How far below it the value lies.
        below: u64,
    },
}

/// Fields of a C `_asyncio.Task`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskAt {
    /// The future it waits for.
    pub waiter: u64,
    /// Its coroutine.
    pub coroutine: u64,
    /// Its name; none before 3.8.
    pub name: Option<u64>,
}

/// What instances keep their attributes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// A dictionary at the type's own offset (up to 3.10).
    Dictionary,
    /// Before the object: a pointer to values at -32, or a dictionary at -24 (3.11).
    ValuesOrDictionary,
    /// One word at -24: odd, values; even, a dictionary (3.12).
    Tagged,
    /// A dictionary at -24, else values behind the object (3.13 and later).
    Inline,
}

/// Where greenlet (3.0.3 and later) puts the caller of a frame aside while it is suspended: the frame's own pointer then
/// passes over those that mark calls, as they lie on the machine's stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptCaller {
    /// Frame to its `PyFrameObject`.
    pub object: u64,
    /// `PyFrameObject` to the word that it has no other use for: `_f_frame_data`.
    pub caller: u64,
}

/// Offsets of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// The lists of the garbage collector.
    pub gc: GcAt,
    /// From one list's head to the next one's.
    pub gc_stride: u64,
    /// Bytes of the collector's header before each object.
    pub gc_head: u64,
    /// `PyFrameObject` to the interpreter's own frame, where those are two things.
    pub frame_of_object: Option<u64>,
    /// The caller of a suspended greenlet's frame (3.12 and later).
    pub kept_caller: Option<KeptCaller>,
    /// The frame of a generator.
    pub generator: GeneratorFrame,
    /// The value that a suspended frame waits for.
    pub top: Option<TopValue>,
    /// A task of asyncio.
    pub task: Option<TaskAt>,
    /// Attributes of instances.
    pub attributes: Attributes,
    /// Type to the keys that its instances share.
    pub cached_keys: u64,
    /// Type to its name, size of instances, flags, base and the offset of a dictionary in its instances.
    pub kind: TypeAt,
    /// Function to its code.
    pub function_code: u64,
    /// Whether dictionaries are those of 2.7, of 3.6 to 3.10, or of 3.11 and later.
    pub dictionaries: Dictionaries,
    /// Code to the names of its variables.
    pub variables: VariablesAt,
    /// Tuple to its first item.
    pub tuple_items: u64,
    /// Integers.
    pub integers: Integers,
}

/// Where a code object keeps the names of its variables: those of the slots of its frames, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariablesAt {
    /// Three tuples: local variables, variables that inner functions share, and those of outer functions; the latter two
    /// lie in cells (up to 3.10).
    Tuples {
        /// Local variables.
        locals: u64,
        /// Shared with inner functions.
        cells: u64,
        /// Of outer functions.
        free: u64,
    },
    /// One tuple, and bytes that tell the kind of each (3.11 and later).
    Slots {
        /// Names.
        names: u64,
        /// Kinds.
        kinds: u64,
    },
}

/// Generations of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integers {
    /// A machine word, and long ones with a signed count of digits (2.7).
    Words,
    /// A signed count of digits (3.6 to 3.11).
    Counted,
    /// A tag of sign and count (3.12 and later).
    Tagged,
}

/// Fields of a type object; the same in all versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeAt {
    /// Pointer to the name.
    pub name: u64,
    /// Size of instances.
    pub basic_size: u64,
    /// Flags.
    pub flags: u64,
    /// The base type.
    pub base: u64,
    /// Offset of the dictionary in instances.
    pub dict_offset: u64,
}

/// Generations of dictionaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dictionaries {
    /// An open table of entries (2.7).
    Table,
    /// Indices and entries, sizes in words (3.6 to 3.10).
    Compact,
    /// Indices and entries, sizes as logarithms (3.11 and later).
    Logarithmic,
}

const TYPE: TypeAt = TypeAt { name: 24, basic_size: 32, flags: 168, base: 256, dict_offset: 288 };

const STATES_3_11: States = States { created: -2, suspended: [-1; 3], awaiting: [-1; 2], executing: 0 };
const STATES_3_13: States = States { created: -3, suspended: [-2, -1, -1], awaiting: [-1; 2], executing: 0 };
const STATES_3_15: States = States { created: 0, suspended: [1, 2, 3], awaiting: [2, 3], executing: 4 };

const V2_7: Objects = Objects {
    gc: GcAt::Exported,
    gc_stride: 40,
    gc_head: 32,
    frame_of_object: None,
    kept_caller: None,
    generator: GeneratorFrame::Pointer(16),
    top: None,
    task: None,
    attributes: Attributes::Dictionary,
    cached_keys: 0,
    kind: TYPE,
    function_code: 16,
    dictionaries: Dictionaries::Table,
    variables: VariablesAt::Tuples { locals: 56, cells: 72, free: 64 },
    tuple_items: 24,
    integers: Integers::Words,
};
const V3_6: Objects = Objects {
    gc_stride: 48,
    top: Some(TopValue::Stacktop { at: 72, first: 64 }),
    task: Some(TaskAt { waiter: 88, coroutine: 96, name: None }),
    cached_keys: 856,
    dictionaries: Dictionaries::Compact,
    variables: VariablesAt::Tuples { locals: 64, cells: 80, free: 72 },
    integers: Integers::Counted,
    ..V2_7
};
const V3_7: Objects = Objects {
    gc: GcAt::Runtime { generations: 352, permanent: 512 },
    task: Some(TaskAt { waiter: 104, coroutine: 112, name: None }),
    ..V3_6
};
const V3_8: Objects = Objects {
    gc: GcAt::Runtime { generations: 368, permanent: 448 },
    gc_stride: 24,
    gc_head: 16,
    task: Some(TaskAt { waiter: 104, coroutine: 112, name: Some(120) }),
    cached_keys: 872,
    variables: VariablesAt::Tuples { locals: 72, cells: 88, free: 80 },
    ..V3_7
};
const V3_9: Objects = Objects {
    gc: GcAt::Interpreter { generations: 640, permanent: 720 },
    task: Some(TaskAt { waiter: 144, coroutine: 152, name: Some(160) }),
    cached_keys: 864,
    ..V3_8
};
const V3_10: Objects = Objects {
    top: Some(TopValue::Depth { array: 64, depth: 80 }),
    task: Some(TaskAt { waiter: 152, coroutine: 160, name: Some(168) }),
    cached_keys: 872,
    function_code: 48,
    ..V3_9
};
const V3_11: Objects = Objects {
    gc: GcAt::Interpreter { generations: 672, permanent: 752 },
    frame_of_object: Some(24),
    generator: GeneratorFrame::Inline { at: 80, state: 75, states: STATES_3_11 },
    top: Some(TopValue::Index { at: 64, locals: 72 }),
    task: Some(TaskAt { waiter: 128, coroutine: 136, name: Some(144) }),
    attributes: Attributes::ValuesOrDictionary,
    dictionaries: Dictionaries::Logarithmic,
    variables: VariablesAt::Slots { names: 96, kinds: 104 },
    ..V3_10
};
const V3_12: Objects = Objects {
    gc: GcAt::Interpreter { generations: 136, permanent: 216 },
    kept_caller: Some(KeptCaller { object: 48, caller: 48 }),
    generator: GeneratorFrame::Inline { at: 72, state: 67, states: STATES_3_11 },
    attributes: Attributes::Tagged,
    cached_keys: 880,
    integers: Integers::Tagged,
    ..V3_11
};
const V3_13: Objects = Objects {
    gc: GcAt::Interpreter { generations: 7424, permanent: 7504 },
    kept_caller: Some(KeptCaller { object: 48, caller: 64 }),
    generator: GeneratorFrame::Inline { at: 72, state: 67, states: STATES_3_13 },
    task: Some(TaskAt { waiter: 112, coroutine: 120, name: Some(128) }),
    attributes: Attributes::Inline,
    ..V3_12
};
const V3_14: Objects = Objects {
    gc: GcAt::Interpreter { generations: 7432, permanent: 7504 },
    kept_caller: Some(KeptCaller { object: 48, caller: 72 }),
    top: Some(TopValue::Pointer { at: 64, below: 8 }),
    task: Some(TaskAt { waiter: 120, coroutine: 128, name: Some(136) }),
    tuple_items: 32,
    ..V3_13
};
const V3_15: Objects = Objects {
    gc: GcAt::Interpreter { generations: 7408, permanent: 7480 },
    generator: GeneratorFrame::Inline { at: 72, state: 67, states: STATES_3_15 },
    top: Some(TopValue::Pointer { at: 64, below: 16 }),
    cached_keys: 888,
    ..V3_14
};

impl Objects {
    /// The same where the head of every object is so many bytes longer.
    const fn behind(mut self, head: u64) -> Self {
        if let Some(at) = self.frame_of_object {
            self.frame_of_object = Some(at + head);
        }
        if let Some(KeptCaller { object, caller }) = self.kept_caller {
            self.kept_caller = Some(KeptCaller { object, caller: caller + head });
        }
        if let GeneratorFrame::Inline { at, state, states } = self.generator {
            self.generator = GeneratorFrame::Inline { at: at + head, state: state + head, states };
        }
        if let Some(TaskAt { waiter, coroutine, name: Some(name) }) = self.task {
            let name = Some(name + head);
            self.task = Some(TaskAt { waiter: waiter + head, coroutine: coroutine + head, name });
        }
        if let VariablesAt::Slots { names, kinds } = self.variables {
            self.variables = VariablesAt::Slots { names: names + head, kinds: kinds + head };
        }
        self.tuple_items += head;
        self.cached_keys += head;
        self.function_code += head;
        self.kind = TypeAt {
            name: self.kind.name + head,
            basic_size: self.kind.basic_size + head,
            flags: self.kind.flags + head,
            base: self.kind.base + head,
            dict_offset: self.kind.dict_offset + head,
        };
        self
    }
}

/// The objects of a minor version; a newer one than is known is taken to be like the newest known. `longer_head` is
/// [`Layout::longer_head`](super::layout::Layout::longer_head).
#[must_use]
pub const fn of(major: u8, minor: u8, longer_head: u64) -> Objects {
    let usual = match (major, minor) {
        (2, _) => V2_7,
        (_, ..=6) => V3_6,
        (_, 7) => V3_7,
        (_, 8) => V3_8,
        (_, 9) => V3_9,
        (_, 10) => V3_10,
        (_, 11) => V3_11,
        (_, 12) => V3_12,
        (_, 13) => V3_13,
        (_, 14) => V3_14,
        _ => V3_15,
    };
    usual.behind(longer_head)
}
