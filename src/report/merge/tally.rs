//! Counts by name and by host, bounded whatever the names are.

use std::collections::{BTreeMap, BTreeSet};

/// Most names that are counted apart.
const MOST_NAMES: usize = 4_096;

/// Longest name that is kept.
const NAME_CHARACTERS: usize = 400;

/// How often, and on which hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub count: u64,
    pub hosts: BTreeSet<usize>,
    pub codes: BTreeSet<String>,
}

/// Names with their counts.
#[derive(Debug)]
pub(super) struct Tally<K> {
    names: BTreeMap<K, Seen>,
    pub left_out: u64,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { names: BTreeMap::new(), left_out: 0 }
    }
}

impl<K: Ord> Tally<K> {
    /// Counts a name once more; one too many is only counted as left out.
    pub fn add(&mut self, name: K, host: usize, code: &str) {
        if self.names.len() >= MOST_NAMES && !self.names.contains_key(&name) {
            self.left_out += 1;
            return;
        }
        let seen = self.names.entry(name).or_default();
        seen.count += 1;
        seen.hosts.insert(host);
        if !code.is_empty() && !seen.codes.contains(code) {
            seen.codes.insert(kept(code));
        }
    }

    /// The names in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Seen)> {
        self.names.iter()
    }
}

/// As much of a foreign text as is kept.
pub(super) fn kept(text: &str) -> String {
    text.chars().take(NAME_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_names_are_counted_and_not_kept() {
        let mut tally = Tally::default();
        for number in 0..MOST_NAMES + 10 {
            tally.add(number, 0, "");
        }
        tally.add(3, 1, "idle");
        assert_eq!((tally.iter().count(), tally.left_out), (MOST_NAMES, 10));
        let (_, seen) = tally.iter().nth(3).unwrap();
        assert_eq!((seen.count, seen.hosts.len(), seen.codes.len()), (2, 2, 1));
        assert_eq!(kept(&"é".repeat(1_000)).chars().count(), NAME_CHARACTERS);
    }
}
