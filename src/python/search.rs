//! Greenlets and tasks found by a search of memory: where the collector's lists cannot be followed.
//!
//! Takes the mappings as data. First types are looked for, as objects of the type `type`; then objects of those that are
//! greenlets or tasks. A word of the right value is only a candidate: what stands around it must be an object that lives
//! and that the collector knows, and a greenlet's own words must fit together. No link is followed, so nothing that the
//! target relinks meanwhile can lead astray. Bounded by bytes.

use foldhash::HashSet;

use super::attributes::Looking;
use super::census::MOST;
use super::census_model::{Found, FoundBy};
use super::greenlets::Words;
use super::kinds::{Kind, Kinds};
use super::locate::Version;
use super::memory::{PAGE, ReadError, word_at};
use super::tasks::Tasks;
use crate::target::maps::Mapping;

/// Most bytes that are searched.
const MOST_BYTES: u64 = 1 << 30;
/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Largest mapping of a file that is searched for types: a library's variables are smaller.
const LARGEST_FILE: u64 = 64 << 20;
/// What following lists may always copy.
const WALK_BYTES: u64 = 64 << 20;
/// How often memory is searched anew because a type was found late: one of a class with a metaclass.
const PASSES: usize = 3;
/// Longest chain of metaclasses.
const MAX_METACLASSES: usize = 8;
/// Most references that an object is believed to have.
const MOST_REFERENCES: u64 = 1 << 30;
/// Bits of the filter that stands before the exact comparison.
const FILTER_BITS: u64 = 4_096;

/// Memory that objects can be in.
fn holds_objects(mapping: &Mapping) -> bool {
    mapping.writable
        && (mapping.path.is_empty() || mapping.path == "[heap]" || mapping.path.starts_with("[anon"))
}

/// Memory that types can be in besides: the variables of libraries.
fn holds_types(mapping: &Mapping) -> bool {
    mapping.writable
        && mapping.path.starts_with('/')
        && !mapping.path.starts_with("/dev/")
        && mapping.end.saturating_sub(mapping.start) <= LARGEST_FILE
}

/// Bytes of the mappings that objects can be in.
fn bytes(mappings: &[Mapping]) -> u64 {
    mappings.iter().filter(|m| holds_objects(m)).map(|m| m.end.saturating_sub(m.start)).sum()
}

/// Bytes that following the collector's lists may copy before a search is the cheaper way: it reads each byte once.
#[must_use]
pub fn walk_bytes(mappings: &[Mapping]) -> u64 {
    3 * bytes(mappings) + WALK_BYTES
}

/// Searches the mappings. `type_type` is the address of the type `type`.
pub(super) fn search(
    looking: Looking<'_>,
    version: Version,
    type_type: u64,
    mappings: &[Mapping],
    kinds: &mut Kinds,
) -> Found {
    let mut searching = Searching { looking, buffer: vec![0; PIECE] };
    let (objects, files): (Vec<&Mapping>, Vec<&Mapping>) =
        mappings.iter().filter(|m| holds_objects(m) || holds_types(m)).partition(|m| holds_objects(m));
    let mut all = files;
    all.extend(&objects);
    let mut found = Found { complete: true, by: FoundBy::Search, ..Found::default() };
    found.complete &= searching.each(&all, &Wanted::new([type_type]), &mut |at| {
        kinds.of(looking, at.wrapping_sub(8));
    });
    for _ in 0..PASSES {
        let known: HashSet<u64> = kinds.wanted().map(|(address, _)| address).collect();
        if known.is_empty() {
            break;
        }
        let mut late: Vec<u64> = Vec::new();
        let whole = searching.each(&objects, &Wanted::new(known.iter().copied()), &mut |at| {
            let object = at.wrapping_sub(8);
            let Ok(of_type) = looking.memory.word(at) else { return };
            let kind = kinds.of(looking, of_type);
            if known.contains(&of_type)
                && lives(looking, version, type_type, object, of_type, kind) == Ok(true)
            {
                match kind {
                    Kind::Greenlet(kind) if found.greenlets.len() < MOST => {
                        found.greenlets.insert(object, (of_type, kind));
                    }
                    Kind::Task if found.tasks.len() < MOST => {
                        found.tasks.insert(object);
                    }
                    _ => {}
                }
            }
            // The base of a type?
            let derived = at.wrapping_sub(looking.objects.kind.base);
            if !known.contains(&derived) && is_type(looking, derived, type_type) {
                late.push(derived);
            }
        });
        found.complete &= whole;
        if late.is_empty() {
            return found;
        }
        for derived in late {
            kinds.of(looking, derived);
        }
        if kinds.wanted().count() == known.len() {
            return found;
        }
    }
    found
}

/// Whether an object lives: somebody refers to it, the collector knows it, and its own words fit together.
fn lives(
    looking: Looking<'_>,
    version: Version,
    type_type: u64,
    object: u64,
    of_type: u64,
    kind: Kind,
) -> Result<bool, ReadError> {
    let length = looking.objects.gc_head as usize + 16;
    let Some(head) = object.checked_sub(looking.objects.gc_head).filter(|at| at.is_multiple_of(4)) else {
        return Ok(false);
    };
    let mut bytes = [0; 48];
    looking.memory.read(head, bytes.get_mut(..length).ok_or(ReadError::Unmapped)?)?;
    let word = |at: usize| word_at(&bytes, at).ok_or(ReadError::Unmapped);
    // From 3.14 on flags stand in the highest 16 bits.
    let references = word(length - 16)? & if version.minor >= 14 { 0xffff_ffff_ffff } else { u64::MAX };
    let known = word(length - 8)? == of_type && (1..MOST_REFERENCES).contains(&references);
    if !known || !linked(looking, type_type, head, word(0)?, word(8)?) {
        return Ok(false);
    }
    match (kind, looking.objects.task) {
        (Kind::Greenlet(kind), _) => {
            let (now, words) = Words::read(looking.memory, version, kind, object)?;
            Ok(now == of_type && words.consistent())
        }
        (Kind::Task, Some(at)) => {
            Tasks::default().way(looking.memory, looking.layout, looking.objects, at, object).map(|_| true)
        }
        _ => Ok(false),
    }
}

/// Whether the collector knows an object by its header: a neighbour in its list points back. While it collects, from 3.8 on,
/// a count of references with a mark stands in place of the link backwards; then what comes next must be an object.
fn linked(looking: Looking<'_>, type_type: u64, head: u64, next: u64, previous: u64) -> bool {
    let points_back = |at: u64| looking.memory.word(at).is_ok_and(|link| link & !3 == head);
    let (link, marked) = (next & !3, looking.objects.gc_head == 16 && previous & 2 != 0);
    if link == 0 {
        return false;
    }
    points_back(link.wrapping_add(8)) || points_back(previous & !3) || {
        let of_type = looking.memory.word(link.wrapping_add(looking.objects.gc_head + 8));
        marked
            && previous >> 2 < MOST_REFERENCES
            && of_type.is_ok_and(|of_type| of_type != 0 && is_type(looking, of_type, type_type))
    }
}

/// Whether an object is a type: of the type `type`, or of one that is derived from it.
fn is_type(looking: Looking<'_>, object: u64, type_type: u64) -> bool {
    let Ok(mut metaclass) = looking.memory.word(object.wrapping_add(8)) else { return false };
    for _ in 0..MAX_METACLASSES {
        if metaclass == type_type {
            return true;
        }
        match looking.memory.word(metaclass.wrapping_add(looking.objects.kind.base)) {
            Ok(base) if base != 0 && base != metaclass => metaclass = base,
            _ => return false,
        }
    }
    false
}

/// Words that are looked for.
struct Wanted {
    filter: [u64; (FILTER_BITS / 64) as usize],
    words: Vec<u64>,
}

impl Wanted {
    fn new(words: impl IntoIterator<Item = u64>) -> Self {
        let mut wanted =
            Self { filter: [0; (FILTER_BITS / 64) as usize], words: words.into_iter().collect() };
        for word in &wanted.words {
            let bit = Self::bit(*word);
            if let Some(bits) = wanted.filter.get_mut((bit / 64) as usize) {
                *bits |= 1 << (bit % 64);
            }
        }
        wanted
    }

    const fn bit(word: u64) -> u64 {
        (word >> 4) % FILTER_BITS
    }

    fn has(&self, word: u64) -> bool {
        let bit = Self::bit(word);
        self.filter.get((bit / 64) as usize).is_some_and(|bits| bits >> (bit % 64) & 1 == 1)
            && self.words.contains(&word)
    }
}

struct Searching<'a> {
    looking: Looking<'a>,
    buffer: Vec<u8>,
}

impl Searching<'_> {
    /// Calls for the address of each word of the mappings that is wanted; `false` when not all were searched.
    fn each(&mut self, mappings: &[&Mapping], wanted: &Wanted, hit: &mut dyn FnMut(u64)) -> bool {
        let mut left = MOST_BYTES;
        for mapping in mappings {
            let mut at = mapping.start;
            while at < mapping.end {
                if left == 0 {
                    return false;
                }
                let length = (mapping.end - at).min(PIECE as u64).min(left);
                self.piece(at, length as usize, wanted, hit);
                at += length;
                left -= length;
            }
        }
        true
    }

    fn piece(&mut self, at: u64, length: usize, wanted: &Wanted, hit: &mut dyn FnMut(u64)) {
        let Some(room) = self.buffer.get_mut(..length) else { return };
        if self.looking.memory.read(at, room).is_ok() {
            let words =
                room.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
            for (n, word) in words.enumerate() {
                if wanted.has(word) {
                    hit(at + n as u64 * 8);
                }
            }
        } else if length as u64 > PAGE {
            // Part of it has gone since the mappings were read.
            for page in (0..length as u64).step_by(PAGE as usize) {
                self.piece(at + page, (length as u64 - page).min(PAGE) as usize, wanted, hit);
            }
        }
    }
}
