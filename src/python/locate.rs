//! Finds the interpreter of a process: where its state is and which version it is.
//!
//! Takes the mappings and the memory, opens no file. Libraries are tried before the program, as a program linked with
//! `libpython` holds no state of its own.

use super::elf::{Image, Symbol};
use super::layout::{COOKIE, Layout, known, own_table_3_13};
use super::memory::{MemoryReader, ReadError, half_at, word_at};
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

/// An interpreter that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interpreter {
    /// Its version.
    pub version: Version,
    /// Where its static state begins.
    pub runtime_start: u64,
    /// Where that ends.
    pub runtime_end: u64,
    /// Where its fields are.
    pub layout: Layout,
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
    /// It looks like Python, but its state was not found.
    #[error("{0} exports no _PyRuntime")]
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
    let runtime = symbol("_PyRuntime")?.or_else(|| by_cookie(&mine, memory));
    let Some(runtime) = runtime else {
        return Err(match version_in_path(path) {
            Some(version) if version.minor < 7 || version.major < 3 => NoInterpreter::Unsupported(version),
            _ => NoInterpreter::NoState(path.to_owned()),
        });
    };
    let version = match symbol("Py_Version")? {
        Some(at) => from_hex(memory.word(at.address)?),
        None if memory.word(runtime.address)? == COOKIE => from_hex(memory.word(runtime.address + 8)?),
        None => version_in_path(path).ok_or_else(|| NoInterpreter::NoState(path.to_owned()))?,
    };
    let static_layout = if version.major == 3 { known(version.minor) } else { None };
    let layout = static_layout.ok_or(NoInterpreter::Unsupported(version))?;
    let own = if version.minor >= 13 { own_table_3_13(memory, runtime.address) } else { None };
    let size = if runtime.size == 0 { ASSUMED_SIZE } else { runtime.size };
    Ok(Interpreter {
        version,
        runtime_start: runtime.address,
        runtime_end: runtime.address.saturating_add(size),
        layout: own.unwrap_or(layout),
        // Later versions keep the kernel's id themselves.
        pthread_tid_offset: layout
            .native_thread_id
            .map_or_else(|| pthread_tid_offset(mappings, memory), |_| None),
    })
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
    fn a_hexadecimal_version() {
        assert_eq!(from_hex(0x030d_00f0).to_string(), "3.13.0");
    }
}
