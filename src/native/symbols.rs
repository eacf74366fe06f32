//! Names of the functions in a program or library: from its symbol tables, and with inlined functions and lines where it
//! or a file beside it has debugging information.
//!
//! Takes an opened file, gives names for addresses as the file counts them. The file is foreign: no more of it is read than
//! a bound says, and what makes no sense names nothing.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use addr2line::{Context, demangle_auto};
use gimli::{Dwarf, LittleEndian};
use object::read::{Object, ObjectSection, ObjectSymbol, ReadCache, ReadRef};
use object::{CompressionFormat, SymbolKind};

use super::cfi::{Bytes, NoCaller, Rule};
use super::file_tables::FileTable;
use crate::observe::target_file::RegularFile;

/// Most bytes that are read of a file and its debugging information, unpacked.
const MAX_BYTES: u64 = 384 << 20;
/// Longest file that is read as a whole: of others, only what is needed.
const MAX_WHOLE: u64 = 64 << 20;
/// Most symbols of a file.
const MAX_SYMBOLS: usize = 1 << 20;
/// Longest name.
const MAX_NAME: usize = 512;
/// Most functions that are inlined into each other at one address.
const MAX_INLINED: usize = 64;

/// A function at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub function: String,
    /// The file and line of its source, where known.
    pub source: Option<(String, u32)>,
}

/// What leads to the file that has the debugging information of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebugLinks {
    /// What identifies the build.
    pub build_id: Option<Vec<u8>>,
    /// The name of the other file, and its checksum.
    pub link: Option<(String, u32)>,
    /// Whether the information is already here.
    pub own: bool,
}

/// The functions of one program or library.
#[derive(Default)]
pub struct Symbols {
    table: Vec<Function>,
    context: Option<Context<Bytes>>,
    /// How callers are found where the memory does not tell.
    tables: Vec<FileTable>,
    /// What leads to the file with its debugging information.
    pub links: DebugLinks,
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    start: u64,
    size: u64,
    name: String,
}

/// A file that gives only so many bytes.
struct Bounded<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(std::io::ErrorKind::QuotaExceeded)?;
        Ok(read)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

impl Symbols {
    /// Those of a file. `lines` says whether its debugging information is wanted, too.
    #[must_use]
    pub fn of_file(file: &RegularFile, lines: bool) -> Option<Self> {
        let RegularFile { file, bytes, .. } = file;
        if *bytes <= MAX_WHOLE {
            let mut whole = Vec::with_capacity(usize::try_from(*bytes).ok()?);
            let mut from = file;
            from.rewind().ok()?;
            from.take(MAX_WHOLE).read_to_end(&mut whole).ok()?;
            return Self::parse(whole.as_slice(), lines);
        }
        let cache = ReadCache::new(Bounded { file, left: MAX_BYTES });
        Self::parse(&cache, lines)
    }

    /// Those of the bytes of a file.
    #[must_use]
    pub fn of_bytes(bytes: &[u8], lines: bool) -> Option<Self> {
        Self::parse(bytes, lines)
    }

    /// Those that a program or library exports, by their addresses as its file counts them.
    #[must_use]
    pub fn exported(functions: impl Iterator<Item = (String, u64, u64)>) -> Self {
        let mut table: Vec<Function> =
            functions.map(|(name, start, size)| Function { start, size, name }).collect();
        sort(&mut table);
        Self { table, ..Self::default() }
    }

    fn parse<'data, R: ReadRef<'data>>(data: R, lines: bool) -> Option<Self> {
        let object = object::File::parse(data).ok()?;
        if !object.is_64() || !object.is_little_endian() {
            return None;
        }
        let mut table = Vec::new();
        for symbol in object.symbols().chain(object.dynamic_symbols()).take(MAX_SYMBOLS) {
            let code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown);
            if !code || !symbol.is_definition() || symbol.size() == 0 {
                continue;
            }
            if let Some(name) = symbol.name().ok().filter(|name| !name.is_empty() && name.len() <= MAX_NAME) {
                let (start, size) = (symbol.address(), symbol.size());
                table.push(Function { start, size, name: name.to_owned() });
            }
        }
        sort(&mut table);
        let beside = DebugLinks {
            build_id: object.build_id().ok().flatten().map(<[u8]>::to_vec),
            link: object
                .gnu_debuglink()
                .ok()
                .flatten()
                .and_then(|(name, sum)| Some((std::str::from_utf8(name).ok()?.to_owned(), sum))),
            own: object.section_by_name(".debug_info").is_some(),
        };
        let context = if lines && beside.own { context(&object) } else { None };
        Some(Self { table, context, tables: FileTable::all(&object), links: beside })
    }

    /// Takes over what the file with the debugging information knows.
    pub fn add(&mut self, other: Self) {
        self.table.extend(other.table);
        sort(&mut self.table);
        self.context = other.context.or(self.context.take());
        self.tables.extend(other.tables);
    }

    /// How the caller of a function is found, by the file; `None` where that does not tell.
    #[must_use]
    pub fn rule(&self, address: u64, bias: u64) -> Option<Result<Rule, NoCaller>> {
        self.tables.iter().find_map(|table| table.rule(address, bias))
    }

    /// The functions at an address, the innermost first: those before the last one are inlined. None when it has no name.
    #[must_use]
    pub fn at(&self, address: u64) -> Vec<Named> {
        let mut named = self.with_lines(address).unwrap_or_default();
        if let Some(last) = named.last_mut().filter(|last| last.function.is_empty()) {
            last.function = self.in_table(address).unwrap_or_default();
        } else if named.is_empty() {
            named.extend(self.in_table(address).map(|function| Named { function, source: None }));
        }
        named.retain(|n| !n.function.is_empty());
        named
    }

    /// Where a function is, and its size.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Option<(u64, u64)> {
        self.table
            .iter()
            .find(|function| function.name == name)
            .map(|function| (function.start, function.size))
    }

    fn in_table(&self, address: u64) -> Option<String> {
        let behind = self.table.partition_point(|function| function.start <= address);
        let function = self.table.get(behind.checked_sub(1)?)?;
        (address - function.start < function.size).then(|| demangled(&function.name))
    }

    fn with_lines(&self, address: u64) -> Option<Vec<Named>> {
        let mut frames = self.context.as_ref()?.find_frames(address).skip_all_loads().ok()?;
        let mut named = Vec::new();
        while let Some(frame) = frames.next().ok()?.filter(|_| named.len() < MAX_INLINED) {
            let function = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
            let source = frame.location.and_then(|at| Some((at.file?.to_owned(), at.line.unwrap_or(0))));
            named.push(Named { function: shortened(function.unwrap_or_default()), source });
        }
        Some(named)
    }
}

/// The bytes of a section, unpacked: at most so many. None when there is no such section, or it is longer.
pub(super) fn section_bytes<'data, R: ReadRef<'data>>(
    object: &object::File<'data, R>,
    name: &str,
    most: u64,
) -> Option<Vec<u8>> {
    let section = object.section_by_name(name)?;
    // How long it is unpacked stands in the file, and may be any number.
    let range = section.compressed_file_range().ok()?;
    let packed = range.format != CompressionFormat::None;
    // Nothing is packed tighter than a thousand to one.
    if range.uncompressed_size > most || (packed && range.uncompressed_size / 1_100 > range.compressed_size) {
        return None;
    }
    section.uncompressed_data().ok().map(Cow::into_owned)
}

/// The debugging information of a file.
fn context<'data, R: ReadRef<'data>>(object: &object::File<'data, R>) -> Option<Context<Bytes>> {
    let mut left = MAX_BYTES;
    let mut section = |id: gimli::SectionId| -> Option<Bytes> {
        if object.section_by_name(id.name()).is_none() {
            return Some(Bytes::new(Vec::new().into(), LittleEndian));
        }
        let data = section_bytes(object, id.name(), left)?;
        left = left.saturating_sub(data.len() as u64);
        Some(Bytes::new(data.into(), LittleEndian))
    };
    let mut dwarf = Dwarf::load(|id| section(id).ok_or(())).ok()?;
    dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
    Context::from_dwarf(dwarf).ok()
}

/// Sorts functions by address; where several are the same, the one that people know stays.
fn sort(table: &mut Vec<Function>) {
    let hidden =
        |name: &str| name.len() - name.trim_start_matches('_').len() + usize::from(name.starts_with("__GI_"));
    table.sort_by(|a, b| {
        let order = |f: &Function| (f.start, std::cmp::Reverse(f.size), hidden(&f.name), f.name.len());
        order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name))
    });
    table.dedup_by_key(|function| function.start);
}

fn demangled(name: &str) -> String {
    shortened(demangle_auto(Cow::Borrowed(name), None).into_owned())
}

/// A name that is not endless: those of templates can be.
fn shortened(mut name: String) -> String {
    if name.len() > MAX_NAME {
        let cut = (0..=MAX_NAME).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        name.truncate(cut);
        name.push('…');
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn function(start: u64, size: u64, name: &str) -> Function {
        Function { start, size, name: name.into() }
    }

    #[test]
    fn of_several_names_the_one_that_people_know_stays() {
        let mut table = vec![
            function(16, 8, "__GI___poll"),
            function(16, 8, "__poll"),
            function(16, 8, "poll"),
            function(0, 8, "_ZN3foo3barEv"),
        ];
        sort(&mut table);
        let symbols = Symbols { table, ..Symbols::default() };
        let name = |address| symbols.at(address).first().map(|n| n.function.clone());
        assert_eq!(name(23).as_deref(), Some("poll"));
        assert_eq!(name(24), None, "behind its end it is another's");
        assert_eq!(name(12), None);
        assert_eq!(name(3).as_deref(), Some("foo::bar()"));
    }

    #[test]
    fn this_program_names_its_own_functions() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let symbols = Symbols::of_bytes(&program, true).unwrap();
        let object = object::File::parse(&*program).unwrap();
        let own = object.symbols().find(|s| s.name() == Ok("main")).unwrap();
        assert_eq!(symbols.at(own.address())[0].function, "main");
        let here = object
            .symbols()
            .find(|s| {
                s.name()
                    .is_ok_and(|name| name.contains("this_program_names_its_own_functions") && s.size() > 64)
            })
            .unwrap();
        let named = symbols.at(here.address() + 8);
        if object.section_by_name(".debug_line").is_none() {
            // Built without it, as for a run of all tests from scratch: the lines of C programs are compared with gdb's.
            return println!("SKIPPED: no debugging information in this program, so no lines in it");
        }
        assert!(
            named.iter().any(|n| n.source.as_ref().is_some_and(|(file, _)| file.ends_with("symbols.rs"))),
            "{named:?}"
        );
    }

    #[test]
    fn long_names_are_cut() {
        let name = shortened("ä".repeat(MAX_NAME));
        assert!(name.len() <= MAX_NAME + 3 && name.ends_with('…'));
    }
}
