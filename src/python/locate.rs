//! Finds the interpreter of a process: where its state is and which version it is.
//!
//! Takes the mappings and the memory, opens no file. Libraries are tried before the program, as a program linked with
//! `libpython` holds no state of its own.

use super::elf::{Image, Symbol};
use super::layout::{GilAt, Layout};
use super::layouts::{self, NEWEST};
use super::memory::{MemoryReader, ReadError, half_at, word_at};
use super::own_table::{self, COOKIE};
use super::task_lists::TaskLists;
use crate::target::maps::Mapping;

/// Most of a mapped file's writable part that is searched for an interpreter without symbols.
const MAX_SEARCH: u64 = 8 << 20;
/// Size that is assumed for the state when no symbol tells it.
const ASSUMED_SIZE: u64 = 64 << 10;

/// Glibc's thread structure is some 2 KiB long.
const MAX_TID_OFFSET: u64 = 8 << 10;

/// A version of `CPython`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3.
    pub major: u8,
    /// 13.
    pub minor: u8,
    /// 0; `None` when only the minor version could be told.
    pub micro: Option<u8>,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.micro.map_or(Ok(()), |micro| write!(f, ".{micro}"))
    }
}

/// What cannot be found in an interpreter: a free-threaded one keeps no lists of its objects, and of one that is newer than
/// is known only what its own table tells is sure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Greenlets.
    pub greenlets: bool,
    /// Tasks of asyncio.
    pub tasks: bool,
}

impl Unseen {
    fn of(
        mappings: &[Mapping],
        version: Version,
        free_threaded: bool,
        task_lists: Option<TaskLists>,
    ) -> Self {
        let loaded = |module: &str| {
            let name = |m: &Mapping| m.path.rsplit('/').next().is_some_and(|name| name.starts_with(module));
            mappings.iter().any(name)
        };
        if version.minor > NEWEST {
            return Self { greenlets: true, tasks: true };
        }
        if !free_threaded {
            return Self::default();
        }
        Self {
            greenlets: loaded("_greenlet."),
            // Where asyncio is built into the program only its table shows whether it is there, and 3.13 has none.
            tasks: task_lists.is_none() && (version.minor == 13 || loaded("_asyncio.")),
        }
    }
}

impl Interpreter {
    /// Its version as people write it: that of a free-threaded build ends in `t`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.version, if self.free_threaded { "t" } else { "" })
    }

    /// Whether it is of a newer minor version than is known.
    #[must_use]
    pub const fn newer_than_known(&self) -> bool {
        self.version.minor > NEWEST
    }
}

/// Where it is told who holds the interpreter lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gil {
    /// At this address is the state of the thread that holds it.
    Holder(u64),
    /// The interpreter state has, at this offset, a pointer to the lock.
    OfInterpreter(u64),
    /// Nowhere that could be found.
    Unknown,
}

/// An interpreter that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interpreter {
    /// Its version.
    pub version: Version,
    /// Whether it is built to run without an interpreter lock. It may have one in use all the same.
    pub free_threaded: bool,
    /// What of its objects no list leads to.
    pub unseen: Unseen,
    /// asyncio's own lists of its tasks, where there are no others.
    pub task_lists: Option<TaskLists>,
    /// Where its static state begins: a futex between here and the end is the interpreter lock's.
    pub runtime_start: u64,
    /// Where that ends.
    pub runtime_end: u64,
    /// Where the pointer to the first interpreter state is.
    pub interpreters_at: u64,
    /// Where the holder of the interpreter lock is told.
    pub gil: Gil,
    /// Where its fields are.
    pub layout: Layout,
    /// The first list of the garbage collector, where that is told by a pointer of its own (before 3.7).
    pub gc_generations: Option<u64>,
    /// Where the C library keeps the kernel's id in its thread structure, as far as the library tells.
    pub pthread_tid_offset: Option<u64>,
}

/// Why there is no interpreter that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoInterpreter {
    /// Nothing mapped looks like Python.
    #[error("no Python is mapped")]
    NotPython,
    /// A Python of a version that is not known.
    #[error("Python {0} is not supported yet")]
    Unsupported(Version),
    /// A newer Python than is known, whose own table does not fit.
    #[error("Python {0} is newer than this tool, and its own table of offsets is not understood")]
    TooNew(Version),
    /// A free-threaded Python whose own table does not fit.
    #[error("Python {0} is a free-threaded build, and its own table of offsets is not understood")]
    FreeThreaded(Version),
    /// It looks like Python, but its state was not found.
    #[error("{0} exports nothing that leads to its state")]
    NoState(String),
    /// The memory could not be read.
    #[error("its memory cannot be read: {0}")]
    Unreadable(#[from] ReadError),
}

/// Finds the interpreter.
pub fn locate(mappings: &[Mapping], memory: &dyn MemoryReader) -> Result<Interpreter, NoInterpreter> {
    let mut candidates: Vec<(&str, bool)> = Vec::new();
    for mapping in mappings.iter().filter(|m| m.path.starts_with('/')) {
        let name = mapping.path.rsplit('/').next().unwrap_or_default();
        let library = name.starts_with("libpython");
        if (library || name.starts_with("python"))
            && !candidates.iter().any(|(path, _)| *path == mapping.path)
        {
            candidates.push((&mapping.path, library));
        }
    }
    // A program that embeds a static Python has any name: the first mapped file may be one.
    if let Some(first) = mappings.iter().find(|m| m.path.starts_with('/')).filter(|_| candidates.is_empty()) {
        candidates.push((&first.path, false));
    }
    candidates.sort_by_key(|(_, library)| !library);
    let mut found = NoInterpreter::NotPython;
    for (path, _) in candidates {
        let looks_like = version_in_path(path).is_some();
        match one(path, mappings, memory) {
            Ok(interpreter) => return Ok(interpreter),
            Err(NoInterpreter::NoState(_)) if !looks_like => {}
            // A program that only calls the library holds no state; what the library is says more.
            Err(NoInterpreter::NoState(_)) if found != NoInterpreter::NotPython => {}
            Err(why) => found = why,
        }
    }
    Err(found)
}

fn one(path: &str, mappings: &[Mapping], memory: &dyn MemoryReader) -> Result<Interpreter, NoInterpreter> {
    let mine: Vec<&Mapping> = mappings.iter().filter(|m| m.path == path).collect();
    let base = mine.iter().map(|m| m.start).min().ok_or(NoInterpreter::NotPython)?;
    let image = Image::open(memory, base)?;
    let symbol = |name: &str| match &image {
        Some(image) => image.symbol(memory, name),
        None => Ok(None),
    };
    let Some(runtime) = symbol("_PyRuntime")?.or_else(|| by_cookie(&mine, memory)) else {
        return match version_in_path(path) {
            Some(version) if (version.major, version.minor) < (3, 7) => {
                before_runtime(version, &mine, mappings, memory, &symbol)?
                    .ok_or_else(|| NoInterpreter::NoState(path.to_owned()))
            }
            _ => Err(NoInterpreter::NoState(path.to_owned())),
        };
    };
    let table = own_table::head(memory, runtime.address);
    let version = match (symbol("Py_Version")?, table) {
        (Some(at), _) => from_hex(memory.word(at.address)?),
        (None, Some(table)) => from_hex(table.version_hex),
        (None, None) => version_in_path(path).ok_or_else(|| NoInterpreter::NoState(path.to_owned()))?,
    };
    let free_threaded = table.is_some_and(|table| table.free_threaded);
    let own = own_table::layout(memory, runtime.address, version.minor);
    // Every free-threaded build has a table: one that does not fit is no reason to guess.
    let known = || if free_threaded { None } else { layouts::known(version.major, version.minor) };
    let layout = own.or_else(known).ok_or(match version.minor {
        minor if minor > NEWEST => NoInterpreter::TooNew(version),
        _ if free_threaded => NoInterpreter::FreeThreaded(version),
        _ => NoInterpreter::Unsupported(version),
    })?;
    let task_lists = own_table::interpreter_size(memory, runtime.address)
        .filter(|_| free_threaded && (14..=NEWEST).contains(&version.minor))
        .and_then(|size| TaskLists::find(memory, mappings, path, size));
    let size = if runtime.size == 0 { ASSUMED_SIZE } else { runtime.size };
    Ok(Interpreter {
        version,
        free_threaded,
        unseen: Unseen::of(mappings, version, free_threaded, task_lists),
        task_lists,
        runtime_start: runtime.address,
        runtime_end: runtime.address.saturating_add(size),
        interpreters_at: runtime.address.saturating_add(layout.interpreters_head),
        gil: match layout.gil {
            GilAt::Runtime(at) => Gil::Holder(runtime.address.saturating_add(at)),
            GilAt::Interpreter(at) => Gil::OfInterpreter(at),
            GilAt::Exported => Gil::Unknown,
        },
        layout,
        gc_generations: None,
        // Later versions keep the kernel's id themselves.
        pthread_tid_offset: layout
            .native_thread_id
            .map_or_else(|| pthread_tid_offset(mappings, memory), |_| None),
    })
}

/// Before 3.7 there was no structure that holds all. The list of interpreters is a variable that is not exported, but a
/// function that returns it is: its code, `mov rax, [rip + d]; ret`, tells where. 3.6 keeps the lock's futexes in static
/// variables of the same file; 2.7 allocates the lock, and another function's code tells where the pointer to it is.
fn before_runtime(
    version: Version,
    mine: &[&Mapping],
    mappings: &[Mapping],
    memory: &dyn MemoryReader,
    symbol: &dyn Fn(&str) -> Result<Option<Symbol>, ReadError>,
) -> Result<Option<Interpreter>, NoInterpreter> {
    let layout = layouts::known(version.major, version.minor).ok_or(NoInterpreter::Unsupported(version))?;
    let in_code = |name: &str, opcode: &[u8], tail: u64| -> Result<Option<u64>, ReadError> {
        let Some(function) = symbol(name)? else { return Ok(None) };
        let code = memory.bytes(function.address, 24, 24)?;
        Ok(operand(function.address, &code, opcode, tail))
    };
    let Some(interpreters_at) = in_code("PyInterpreterState_Head", &[0x48, 0x8b, 0x05], 0)? else {
        return Ok(None);
    };
    let holder = symbol("_PyThreadState_Current")?;
    let gc_generations = symbol("_PyGC_generation0")?.and_then(|at| memory.word(at.address).ok());
    let (runtime_start, runtime_end) = if version.major == 2 {
        // `cmp qword [rip + d], 0`: a byte follows the operand. A semaphore is some 32 bytes long.
        match in_code("PyEval_ThreadsInitialized", &[0x48, 0x83, 0x3d], 1)?.map(|at| memory.word(at)) {
            Some(Ok(lock)) if lock != 0 => (lock, lock.saturating_add(32)),
            _ => (interpreters_at, interpreters_at),
        }
    } else {
        // The variables without initial values follow the file's own pages in a mapping without a name.
        let end = mine.iter().filter(|m| m.writable).map(|m| m.end).max().unwrap_or(interpreters_at);
        let behind = mappings.iter().find(|m| m.start == end && m.path.is_empty()).map_or(end, |m| m.end);
        let start = mine.iter().filter(|m| m.writable).map(|m| m.start).min().unwrap_or(interpreters_at);
        (start, behind)
    };
    Ok(Some(Interpreter {
        version,
        free_threaded: false,
        unseen: Unseen::default(),
        task_lists: None,
        runtime_start,
        runtime_end,
        interpreters_at,
        gil: holder.map_or(Gil::Unknown, |holder| Gil::Holder(holder.address)),
        layout,
        gc_generations,
        pthread_tid_offset: pthread_tid_offset(mappings, memory),
    }))
}

/// The address that an instruction with an operand relative to the next one refers to, looked for among the first bytes
/// of a function. `tail` bytes of the instruction follow the operand.
fn operand(function: u64, code: &[u8], opcode: &[u8], tail: u64) -> Option<u64> {
    let at = code.windows(opcode.len()).position(|w| w == opcode)? + opcode.len();
    let displacement = half_at(code, at)? as i32;
    let next = function.wrapping_add(at as u64 + 4 + tail);
    Some(next.wrapping_add_signed(i64::from(displacement)))
}

/// What glibc exports for debuggers: {bits, count, offset} of the kernel's id in its thread structure. Before 2.34 that
/// is in a library of its own.
fn pthread_tid_offset(mappings: &[Mapping], memory: &dyn MemoryReader) -> Option<u64> {
    let mut tried = "";
    for mapping in mappings.iter().filter(|m| m.path.starts_with('/') && m.offset == 0) {
        let name = mapping.path.rsplit('/').next().unwrap_or_default();
        let libc = ["libc.so", "libc-", "libpthread"].iter().any(|start| name.starts_with(start));
        if !libc || mapping.path == tried {
            continue;
        }
        tried = &mapping.path;
        let Ok(Some(image)) = Image::open(memory, mapping.start) else { continue };
        let Ok(Some(symbol)) = image.symbol(memory, "_thread_db_pthread_tid") else { continue };
        let mut body = [0; 12];
        if memory.read(symbol.address, &mut body).is_ok()
            && (half_at(&body, 0), half_at(&body, 4)) == (Some(32), Some(1))
        {
            return half_at(&body, 8).map(u64::from).filter(|at| at % 4 == 0 && *at < MAX_TID_OFFSET);
        }
    }
    None
}

/// From 3.13 on the state begins with a cookie, which a stripped program has as well.
fn by_cookie(mappings: &[&Mapping], memory: &dyn MemoryReader) -> Option<Symbol> {
    for mapping in mappings.iter().filter(|m| m.writable) {
        let length = (mapping.end - mapping.start).min(MAX_SEARCH);
        let Ok(bytes) = memory.bytes(mapping.start, length, MAX_SEARCH as usize) else { continue };
        if let Some(at) = (0..bytes.len()).step_by(8).find(|at| word_at(&bytes, *at) == Some(COOKIE)) {
            let size = word_at(&bytes, at + 24).filter(|s| *s < 16 << 20).unwrap_or(ASSUMED_SIZE);
            return Some(Symbol { address: mapping.start + at as u64, size });
        }
    }
    None
}

/// `PY_VERSION_HEX`.
const fn from_hex(hex: u64) -> Version {
    Version { major: (hex >> 24) as u8, minor: (hex >> 16) as u8, micro: Some((hex >> 8) as u8) }
}

/// The version in `libpython3.10.so.1.0`, `/usr/bin/python3.11` or `…/versions/3.10.13/bin/…`.
fn version_in_path(path: &str) -> Option<Version> {
    let minor_of = |text: &str| {
        let rest =
            text.strip_prefix("3.").map(|r| (3, r)).or_else(|| text.strip_prefix("2.").map(|r| (2, r)))?;
        let digits: String = rest.1.chars().take_while(char::is_ascii_digit).collect();
        Some((rest.0, digits.parse::<u8>().ok()?, rest.1.get(digits.len()..).unwrap_or_default().to_owned()))
    };
    let name = path.rsplit('/').next()?;
    let at = name.find("python")?;
    let (major, minor, _) = minor_of(name.get(at + 6..)?)?;
    let micro = path.split('/').find_map(|part| {
        let (ma, mi, rest) = minor_of(part)?;
        let micro = rest.strip_prefix('.')?;
        (ma == major && mi == minor).then(|| micro.parse().ok()).flatten()
    });
    Some(Version { major, minor, micro })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn version(path: &str) -> Option<String> {
        version_in_path(path).map(|v| v.to_string())
    }

    #[test]
    fn versions_in_paths() {
        assert_eq!(version("/usr/bin/python3.11").as_deref(), Some("3.11"));
        assert_eq!(
            version("/root/.pyenv/versions/3.10.13/lib/libpython3.10.so.1.0").as_deref(),
            Some("3.10.13")
        );
        assert_eq!(version("/usr/lib/libpython2.7.so.1.0").as_deref(), Some("2.7"));
        assert_eq!(version("/usr/bin/node"), None);
        assert_eq!(version("/usr/bin/python"), None);
    }

    #[test]
    fn operands_are_relative_to_the_next_instruction() {
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0xc3];
        assert_eq!(operand(0x1000, &code, &[0x48, 0x8b, 0x05], 0), Some(0x1000 + 11 + 0x10));
        let backwards = [0x31, 0xc0, 0x48, 0x83, 0x3d, 0xf0, 0xff, 0xff, 0xff, 0];
        assert_eq!(operand(0x1000, &backwards, &[0x48, 0x83, 0x3d], 1), Some(0x1000 + 10 - 0x10));
        assert_eq!(operand(0x1000, &code[..9], &[0x48, 0x8b, 0x05], 0), None, "cut off");
        assert_eq!(operand(0x1000, &[0x90; 24], &[0x48, 0x8b, 0x05], 0), None);
    }

    #[test]
    fn a_hexadecimal_version() {
        assert_eq!(from_hex(0x030d_00f0).to_string(), "3.13.0");
    }
}
