//! Tables of how callers are found, out of a program's file: for functions of which none is mapped.
//!
//! A compiler can be told to leave the mapped table out; with debugging information there is `.debug_frame` then, which may
//! be packed, and may lie in the file beside. A program without the index of its mapped table is looked up here, too. The
//! file is foreign: what makes no sense is left out.

use gimli::{BaseAddresses, CieOrFde, DebugFrame, EhFrame, LittleEndian, UnwindSection};
use object::read::{Object, ObjectSection, ReadRef};

use super::cfi::{Bytes, NoCaller, Rule, VENDOR};
use super::symbols::section_bytes;

/// Longest table that is read, unpacked.
const MAX_TABLE: u64 = 64 << 20;
/// Most functions of a table.
const MAX_FUNCTIONS: usize = 1 << 20;

/// A table with its functions in order.
pub struct FileTable {
    section: Section,
    bytes: Bytes,
    bases: BaseAddresses,
    /// Begin and end of each function, as the file counts, and where its entry is.
    functions: Vec<(u64, u64, usize)>,
}

enum Section {
    Debug(DebugFrame<Bytes>),
    Mapped(EhFrame<Bytes>),
}

impl FileTable {
    /// Those of a file that cannot be found in memory.
    #[must_use]
    pub fn all<'data, R: ReadRef<'data>>(object: &object::File<'data, R>) -> Vec<Self> {
        let data =
            |name| section_bytes(object, name, MAX_TABLE).map(|bytes| Bytes::new(bytes.into(), LittleEndian));
        let debug = data(".debug_frame").map(|bytes| {
            let mut section = DebugFrame::from(bytes.clone());
            section.set_address_size(8);
            section.set_vendor(VENDOR);
            let bases = BaseAddresses::default();
            Self { functions: functions(&section, &bases), section: Section::Debug(section), bytes, bases }
        });
        let no_index = object.section_by_name(".eh_frame_hdr").is_none();
        let mapped = object.section_by_name(".eh_frame").filter(|_| no_index).and_then(|found| {
            let bytes = data(".eh_frame")?;
            let mut section = EhFrame::from(bytes.clone());
            section.set_address_size(8);
            section.set_vendor(VENDOR);
            let bases = BaseAddresses::default().set_eh_frame(found.address());
            Some(Self {
                functions: functions(&section, &bases),
                section: Section::Mapped(section),
                bytes,
                bases,
            })
        });
        debug.into_iter().chain(mapped).filter(|table| !table.functions.is_empty()).collect()
    }

    /// The rule for an address in memory, where the file's addresses are less by a bias. `None` when no function is there.
    #[must_use]
    pub fn rule(&self, address: u64, bias: u64) -> Option<Result<Rule, NoCaller>> {
        let inside = address.wrapping_sub(bias);
        let behind = self.functions.partition_point(|(start, ..)| *start <= inside);
        let (_, end, at) = self.functions.get(behind.checked_sub(1)?)?;
        (inside < *end).then(|| match &self.section {
            Section::Debug(section) => self.of_entry(section, *at, address, bias),
            Section::Mapped(section) => self.of_entry(section, *at, address, bias),
        })
    }

    fn of_entry<S: UnwindSection<Bytes>>(
        &self,
        section: &S,
        at: usize,
        address: u64,
        bias: u64,
    ) -> Result<Rule, NoCaller> {
        let function = section.fde_from_offset(&self.bases, at.into(), S::cie_from_offset);
        let function = function.map_err(|_| NoCaller::BadRule(address))?;
        Rule::of(section, self.bytes.clone(), &self.bases, &function, address, bias)
    }
}

/// The functions of a table, sorted; up to the first entry that makes no sense.
fn functions<S: UnwindSection<Bytes>>(section: &S, bases: &BaseAddresses) -> Vec<(u64, u64, usize)> {
    let mut functions = Vec::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(function) = partial.parse(S::cie_from_offset) else { continue };
        let (start, end) = (function.initial_address(), function.end_address());
        // What the linker has thrown away is said to be at address 0.
        if start != 0 && start < end && functions.len() < MAX_FUNCTIONS {
            functions.push((start, end, function.offset()));
        }
    }
    functions.sort_unstable();
    functions
}
