//! Names of functions that were compiled at run time, as runtimes write them for `perf`: `/tmp/perf-PID.map`.
//!
//! Takes the text, names addresses. Pure.

/// Longest map that is read.
pub const MAX_BYTES: u64 = 32 << 20;

/// The functions in a map.
#[derive(Debug, Default)]
pub struct PerfMap(Vec<(u64, u64, String)>);

impl PerfMap {
    /// Parses a map: start, size and name in each line. Lines that make no sense are left out; of two that begin at one
    /// address the later one counts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut fields = line.trim_end().splitn(3, ' ');
            let mut number = || {
                let field = fields.next()?;
                u64::from_str_radix(field.strip_prefix("0x").unwrap_or(field), 16).ok()
            };
            let (start, size) = (number()?, number()?);
            Some((start, size, fields.next()?.to_owned()))
        };
        let mut functions: Vec<_> = text.lines().filter_map(line).collect();
        functions.reverse();
        functions.sort_by_key(|(start, ..)| *start);
        functions.dedup_by_key(|(start, ..)| *start);
        Self(functions)
    }

    /// The function at an address.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&str> {
        let behind = self.0.partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = self.0.get(behind.checked_sub(1)?)?;
        (address - start < *size).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn functions_are_found_by_their_addresses() {
        let map = PerfMap::parse("20 10 old\nnonsense\n10 8 py::a b:/x.py\n0x20 0x10 new\n");
        assert_eq!(map.at(0x17), Some("py::a b:/x.py"));
        assert_eq!(map.at(0x18), None);
        assert_eq!(map.at(0x2f), Some("new"));
        assert_eq!(map.at(0), None);
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text: String, address: u64) {
            let _ = PerfMap::parse(&text).at(address);
        }
    }
}
