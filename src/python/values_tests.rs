//! Values out of memory that lies, contains itself or moves.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::*;
use crate::capture::mask;
use crate::python::layouts;
use crate::python::memory::MemoryReader;
use crate::python::objects;

/// Memory of a small interpreter: words by address, and one address that changes whenever it is read.
#[derive(Default)]
struct Fake {
    words: RefCell<HashMap<u64, u64>>,
    next: Cell<u64>,
    restless: Cell<u64>,
}

impl MemoryReader for Fake {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        for (byte, at) in buffer.iter_mut().zip(address..) {
            let words = self.words.borrow();
            // What was given is mapped, with what lies a little behind it.
            let mapped = words.contains_key(&(at / 0x1000 * 0x1000));
            *byte = match words.get(&(at / 8 * 8)) {
                Some(word) => word.to_le_bytes()[(at % 8) as usize],
                None if mapped => 0,
                None => return Err(ReadError::Unmapped),
            };
        }
        let at = self.restless.get();
        if at != 0 && (address..address + buffer.len() as u64).contains(&at) {
            *self.words.borrow_mut().entry(at).or_default() ^= 0x40;
        }
        Ok(())
    }
}

impl Fake {
    fn put(&self, address: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((address..).step_by(8)) {
            self.words.borrow_mut().insert(at / 0x1000 * 0x1000, 0);
            self.words.borrow_mut().insert(at, *word);
        }
    }

    /// A page of its own for each object; its first word stays empty.
    fn page(&self) -> u64 {
        self.next.set(self.next.get() + 0x10_000);
        self.next.get() + 16
    }

    fn kind(&self, name: &str, flags: u64) -> u64 {
        let (meta, kind, text) = (self.page(), self.page(), self.page());
        self.put(meta + 168, &[1 << 31]);
        self.put(kind + 8, &[meta]);
        self.put(kind + 24, &[text]);
        self.put(kind + 168, &[flags]);
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(name.len() / 8 * 8 + 8, 0);
        let words = bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap()));
        self.put(text, &words.collect::<Vec<_>>());
        kind
    }

    fn object(&self, kind: u64, words: &[u64]) -> u64 {
        let object = self.page();
        self.put(object + 8, &[kind]);
        self.put(object + 16, words);
        object
    }

    fn list(&self, kind: u64, items: &[u64]) -> u64 {
        let room = self.page();
        self.put(room, items);
        self.object(kind, &[items.len() as u64, room])
    }

    fn text(&self, object: u64) -> Result<String, ReadError> {
        let (layout, objects) = (layouts::known(3, 12).unwrap(), objects::of(3, 12, 0));
        let looking = Looking { memory: self, layout: &layout, objects: &objects };
        Values { looking, types: &mut Types::default(), discretion: &mask::Values::Masked }.text(object)
    }
}

#[test]
fn what_contains_itself_ends() {
    let fake = Fake::default();
    let kind = fake.kind("list", types::LIST);
    let list = fake.list(kind, &[0, 0]);
    let room = fake.word(list + 24).unwrap();
    fake.put(room, &[list, list]);
    assert_eq!(fake.text(list).unwrap(), "[[[… 2], [… 2]], [[… 2], [… 2]]]");
}

#[test]
fn no_length_is_believed() {
    let fake = Fake::default();
    for (name, flag) in [("list", types::LIST), ("tuple", types::TUPLE), ("int", types::LONG)] {
        let kind = fake.kind(name, flag);
        for length in [u64::MAX, 1 << 63, i64::MAX as u64] {
            let text = fake.text(fake.object(kind, &[length, 0xdead_0000_0000, 0]));
            assert!(text.is_err() || text.unwrap().starts_with("<int at"), "{name} {length:#x}");
        }
    }
    let (string, bytes) = (fake.kind("str", types::UNICODE), fake.kind("bytes", types::BYTES));
    // A compact one of one byte for each character.
    let text = fake.object(string, &[i64::MAX as u64, 0, 0x64]);
    for object in [text, fake.object(bytes, &[u64::MAX, 0])] {
        let text = fake.text(object).unwrap();
        assert!(text.ends_with('…') && text.chars().count() == MAX_VALUE + 1, "{text}");
    }
}

#[test]
fn a_type_must_be_one() {
    let fake = Fake::default();
    let kind = fake.kind("Thing", 0);
    assert!(fake.text(fake.object(kind, &[0])).unwrap().starts_with("<Thing at 0x"));
    // Its own type is not a type of types; its name is none that a type can have.
    assert!(fake.text(fake.object(fake.object(0, &[]), &[0])).is_err());
    assert!(fake.text(fake.object(fake.kind("\x1b[31m", 0), &[0])).is_err());
    assert!(fake.text(fake.object(fake.kind("", 0), &[0])).is_err());
    // What is derived from a list may mean something else.
    let derived = fake.kind("list", types::LIST | types::HEAP);
    assert!(fake.text(fake.list(derived, &[])).unwrap().starts_with("<list at 0x"));
}

#[test]
fn what_changes_while_it_is_read_is_not_shown() {
    let fake = Fake::default();
    let (lists, numbers) = (fake.kind("list", types::LIST), fake.kind("int", types::LONG));
    let number = fake.object(numbers, &[1 << 3, 7]);
    let list = fake.list(lists, &[number, number]);
    assert_eq!(fake.text(list).unwrap(), "[7, 7]");
    for at in [fake.word(list + 24).unwrap() + 8, list + 16] {
        fake.restless.set(at);
        assert!(fake.text(list).is_err(), "{at:#x}");
    }
}

#[test]
fn numbers_are_written_as_python_does() {
    let expected = [
        (1.5, "1.5"),
        (3.0, "3.0"),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (1.5e300, "1.5e+300"),
        (2.5e-7, "2.5e-07"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ];
    for (number, text) in expected {
        assert_eq!(float(number), text);
    }
}

#[test]
fn a_long_text_is_cut_between_characters() {
    assert_eq!(shortened("größer", 3), "grö…");
    assert_eq!(shortened("größer", 6), "größer");
}
