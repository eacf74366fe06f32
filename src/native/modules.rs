//! The programs and libraries that a process has mapped, and their tables.
//!
//! Takes the mappings; gives for an address the module it lies in. Each table is read once, when it is first asked for.

use std::cell::OnceCell;

use super::cfi::{NoCaller, Rule, Table};
use crate::python::elf::Segments;
use crate::python::memory::MemoryReader;
use crate::target::maps::Mapping;

/// Most modules of a process.
const MAX_MODULES: usize = 8_192;

/// A mapped program or library.
#[derive(Debug)]
pub struct Module {
    /// Its path as the kernel shows it; `[vdso]` for the kernel's own.
    pub path: String,
    /// Where its first page is mapped.
    pub start: u64,
    /// The first address behind its last mapping.
    pub end: u64,
    /// The first address behind its first mapping.
    pub first_end: u64,
    own: OnceCell<Option<Own>>,
}

/// What the memory of a module tells.
#[derive(Debug)]
struct Own {
    segments: Segments,
    table: Option<Table>,
}

impl Module {
    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// What is added to an address in its file; `None` where its first page is that of no program or library.
    pub fn bias(&self, memory: &dyn MemoryReader) -> Option<u64> {
        self.own(memory).map(|own| own.segments.bias)
    }

    fn own(&self, memory: &dyn MemoryReader) -> Option<&Own> {
        let read = || {
            let segments = Segments::read(memory, self.start).ok()??;
            let table = segments.frame_index.and_then(|(at, length)| Table::read(memory, at, length));
            Some(Own { segments, table })
        };
        self.own.get_or_init(read).as_ref()
    }

    /// How the caller of a function is found.
    pub fn rule(&self, memory: &dyn MemoryReader, address: u64) -> Result<Rule, NoCaller> {
        let table = self.own(memory).and_then(|own| own.table.as_ref());
        table.ok_or(NoCaller::NoRule(address))?.rule(memory, address)
    }
}

/// The modules of a process, by address.
#[derive(Debug, Default)]
pub struct Modules(Vec<Module>);

impl Modules {
    /// Those in a list of mappings.
    #[must_use]
    pub fn of(mappings: &[Mapping]) -> Self {
        let mut modules: Vec<Module> = Vec::new();
        for mapping in mappings.iter().filter(|m| m.path.starts_with('/') || m.path == "[vdso]") {
            let known = modules.len();
            match modules.last_mut().filter(|last| last.path == mapping.path && mapping.offset > 0) {
                Some(last) => last.end = mapping.end,
                None if known < MAX_MODULES => modules.push(Module {
                    path: mapping.path.clone(),
                    start: mapping.start,
                    end: mapping.end,
                    first_end: mapping.end,
                    own: OnceCell::new(),
                }),
                None => {}
            }
        }
        Self(modules)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.0.iter()
    }

    /// The module that an address lies in.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&Module> {
        let behind = self.0.partition_point(|module| module.start <= address);
        self.0.get(behind.checked_sub(1)?).filter(|module| address < module.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::maps;

    #[test]
    fn mappings_of_a_file_are_one_module() {
        let text = "\
            1000-2000 r--p 00000000 fe:00 1    /lib/a.so\n\
            2000-3000 r-xp 00001000 fe:00 1    /lib/a.so\n\
            3000-4000 rw-p 00000000 00:00 0 \n\
            5000-6000 r--p 00000000 fe:00 1    /lib/a.so\n\
            7000-8000 r-xp 00000000 00:00 0    [vdso]\n\
            9000-a000 rw-p 00000000 00:00 0    [stack]\n";
        let modules = Modules::of(&maps::parse(text));
        let range = |address| modules.at(address).map(|m| (m.start, m.end, m.name().to_owned()));
        assert_eq!(range(0x2fff), Some((0x1000, 0x3000, "a.so".into())));
        assert_eq!(range(0x3000), None, "its data without a file are no code");
        assert_eq!(range(0x5000), Some((0x5000, 0x6000, "a.so".into())), "mapped twice");
        assert_eq!(range(0x7fff), Some((0x7000, 0x8000, "[vdso]".into())));
        assert_eq!(range(0x9000), None);
        assert_eq!(range(0xfff), None);
    }
}
