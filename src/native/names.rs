//! Finds the files that have names for addresses, each once for all processes that have it mapped.
//!
//! A library's own file comes first, then that with its debugging information, by its build id or its link, below the
//! target's root. Where no file is left, as after an upgrade for somebody who is not the superuser, what the library exports
//! is read from memory. After so much processor time no more debugging information is read.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::io::Read as _;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use flate2::Crc;
use foldhash::HashMap;
use nix::time::{ClockId, clock_gettime};

use super::cfi::{NoCaller, Rule};
use super::merge::EVALUATION;
use super::modules::Module;
use super::parts;
use super::symbols::{DebugLinks, Named, Symbols};
use crate::observe::kernel_file::{ProcDir, Unseen};
use crate::observe::target_file::{RegularFile, mapped, regular_below_root};
use crate::python::elf::Image;
use crate::python::memory::MemoryReader;

/// How much processor time debugging information may take, in all.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How much of the beginning of a library must be the same in its file.
const BEGIN: u64 = 1_024;
/// Longest function that evaluates Python code.
const MAX_EVALUATION: usize = 1 << 20;
/// Longest image that the kernel maps.
const MAX_VDSO: u64 = 256 << 10;
/// Longest build id that names a file.
const MAX_BUILD_ID: usize = 64;
/// Longest file whose checksum is made.
const MAX_SUMMED: u64 = 256 << 20;

type Identity = (u64, u64, i64, i64, i64);

/// The names of all files that were met.
#[derive(Default)]
pub struct KnownFiles {
    files: HashMap<Identity, Rc<Symbols>>,
    spent: Duration,
    /// Files whose debugging information was not looked for, as reading that of others has taken so long.
    pub left_out: u64,
}

/// What this thread has used of a processor: a busy machine must not cost anybody names.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The names in one module of a process.
pub struct Names {
    symbols: Rc<Symbols>,
    bias: u64,
    /// Why its file could not be read, if it could not: then only what it exports has names.
    pub no_file: Option<Unseen>,
    /// Where the jumps of the function that evaluates Python code lead.
    jumps: OnceCell<Vec<u64>>,
}

impl Names {
    /// The functions at an address, the innermost first; none when it has no name.
    #[must_use]
    pub fn at(&self, address: u64) -> Vec<Named> {
        self.symbols.at(address.wrapping_sub(self.bias))
    }

    /// How the caller of a function is found, by its file; `None` where that does not tell.
    #[must_use]
    pub fn rule(&self, address: u64) -> Option<Result<Rule, NoCaller>> {
        self.symbols.rule(address, self.bias)
    }

    /// Whether a piece of code without a name is a part of the function that evaluates Python code: of a stripped
    /// interpreter most of it has none.
    pub fn evaluates(&self, memory: &dyn MemoryReader, piece: &Range<u64>) -> bool {
        // Only the code of x86-64 is understood.
        if cfg!(not(target_arch = "x86_64")) {
            return false;
        }
        let jumps = self.jumps.get_or_init(|| {
            let Some((start, size)) = self.symbols.place_of(EVALUATION) else { return Vec::new() };
            let start = start.wrapping_add(self.bias);
            let code =
                memory.bytes(start, size.min(MAX_EVALUATION as u64), MAX_EVALUATION).unwrap_or_default();
            parts::targets(&code, start)
        });
        parts::is_part(jumps, piece)
    }
}

impl KnownFiles {
    /// Without inlined functions and lines, which take long.
    #[must_use]
    pub fn without_lines() -> Self {
        Self { spent: PATIENCE, ..Self::default() }
    }

    /// The names in a module.
    pub fn of(&mut self, dir: &ProcDir, module: &Module, memory: &dyn MemoryReader) -> Names {
        let bias = module.bias(memory).unwrap_or(0);
        if !module.path.starts_with('/') {
            let length = (module.end - module.start).min(MAX_VDSO);
            let bytes = memory.bytes(module.start, length, MAX_VDSO as usize).unwrap_or_default();
            let symbols = Symbols::of_bytes(&bytes, false).unwrap_or_default();
            return Names { symbols: Rc::new(symbols), bias, no_file: None, jumps: OnceCell::new() };
        }
        let length = (module.first_end - module.start).min(BEGIN);
        let begin = memory.bytes(module.start, length, BEGIN as usize).unwrap_or_default();
        let file = if begin.is_empty() {
            Err(Unseen::Garbled)
        } else {
            mapped(dir, module.start, module.first_end, &module.path, &begin)
        };
        match file {
            Ok(file) => Names {
                symbols: self.of_file(dir, &module.path, &file),
                bias,
                no_file: None,
                jumps: OnceCell::new(),
            },
            Err(why) => {
                let image = Image::open(memory, module.start).ok().flatten();
                let exported = image.and_then(|image| image.functions(memory).ok()).unwrap_or_default();
                let own =
                    exported.into_iter().map(|(name, at)| (name, at.address.wrapping_sub(bias), at.size));
                Names {
                    symbols: Rc::new(Symbols::exported(own)),
                    bias,
                    no_file: Some(why),
                    jumps: OnceCell::new(),
                }
            }
        }
    }

    fn of_file(&mut self, dir: &ProcDir, path: &str, file: &RegularFile) -> Rc<Symbols> {
        if let Some(known) = self.files.get(&file.identity) {
            return Rc::clone(known);
        }
        let began = processor_time();
        let patient = self.spent < PATIENCE;
        self.left_out += u64::from(!patient);
        let identity = file.identity;
        let mut symbols = Symbols::of_file(file, patient).unwrap_or_default();
        if patient
            && !symbols.links.own
            && let Some(other) = debug_file(dir, path, &symbols.links)
        {
            symbols.add(other);
        }
        let symbols = Rc::new(symbols);
        self.files.insert(identity, Rc::clone(&symbols));
        self.spent += processor_time().saturating_sub(began);
        symbols
    }
}

/// The file with the debugging information of another, if it is there and that of the same build.
fn debug_file(dir: &ProcDir, path: &str, links: &DebugLinks) -> Option<Symbols> {
    for place in debug_paths(path, links) {
        let Ok(mut file) = regular_below_root(dir, &place) else { continue };
        let same_sum = links.build_id.is_some()
            || links.link.as_ref().is_some_and(|(_, sum)| checksum(&mut file) == Some(*sum));
        if !same_sum {
            continue;
        }
        let Some(found) = Symbols::of_file(&file, true) else { continue };
        if links.build_id.is_none() || found.links.build_id == links.build_id {
            return Some(found);
        }
    }
    None
}

/// Where it may be.
fn debug_paths(path: &str, links: &DebugLinks) -> Vec<String> {
    let mut places = Vec::new();
    if let Some(id) = links.build_id.as_deref().filter(|id| !id.is_empty() && id.len() <= MAX_BUILD_ID) {
        let mut path = String::from("/usr/lib/debug/.build-id/");
        for (place, byte) in id.iter().enumerate() {
            let _ = write!(path, "{byte:02x}{}", if place == 0 { "/" } else { "" });
        }
        places.push(path + ".debug");
    }
    let name =
        links.link.as_ref().map(|(name, _)| name).filter(|name| !name.contains('/') && !name.is_empty());
    if let (Some(name), Some((folder, _))) = (name, path.rsplit_once('/')) {
        places.push(format!("{folder}/{name}"));
        places.push(format!("{folder}/.debug/{name}"));
        places.push(format!("/usr/lib/debug{folder}/{name}"));
    }
    places
}

/// The checksum by which a link knows its file.
fn checksum(file: &mut RegularFile) -> Option<u32> {
    use std::io::Seek as _;
    if file.bytes > MAX_SUMMED {
        return None;
    }
    let (mut sum, mut buffer) = (Crc::new(), vec![0; 1 << 16]);
    let mut left = file.bytes;
    while left > 0 {
        let read = file.file.read(&mut buffer).ok().filter(|read| *read > 0)?;
        sum.update(buffer.get(..read)?);
        left = left.saturating_sub(read as u64);
    }
    file.file.rewind().ok()?;
    Some(sum.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_debugging_information_may_be() {
        let links = DebugLinks {
            build_id: Some(vec![0x0a, 0xbc, 0xde]),
            link: Some(("x.debug".into(), 0)),
            own: false,
        };
        let places = debug_paths("/usr/lib/libx.so", &links);
        let expected = [
            "/usr/lib/debug/.build-id/0a/bcde.debug",
            "/usr/lib/x.debug",
            "/usr/lib/.debug/x.debug",
            "/usr/lib/debug/usr/lib/x.debug",
        ];
        assert_eq!(places, expected);
        let elsewhere = DebugLinks { link: Some(("../../etc/shadow".into(), 0)), ..DebugLinks::default() };
        assert_eq!(debug_paths("/usr/lib/libx.so", &elsewhere), [""; 0]);
    }
}
