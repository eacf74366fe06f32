//! Finds the control groups of a process in the file system, from the text of `/proc/PID/cgroup` and `mountinfo`.
//!
//! Pure: takes text, gives paths. Hosts may have version 1, version 2 or both, a container may see only a part of a
//! hierarchy, and the paths in both files are shown from the reader's control group namespace: so a group can be
//! reached through any mount whose root is a prefix of its path, and the shortest such root shows most ancestors.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::parse::lines;

/// The group of a process in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// 1 or 2.
    pub version: u8,
    /// Controllers of the hierarchy; empty for version 2, which does not say.
    pub controllers: Vec<String>,
    /// Path of the group, from the reader's namespace.
    pub path: String,
}

/// A mounted hierarchy, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// 1 or 2.
    pub version: u8,
    /// Options of the hierarchy, its controllers among them.
    pub options: Vec<String>,
    /// The group that is mounted, from the reader's namespace.
    pub root: String,
    /// Where.
    pub point: String,
}

/// Decodes `/proc/PID/cgroup`: `3:cpu,cpuacct:/path`, or `0::/path` for version 2.
#[must_use]
pub fn memberships(text: &[u8]) -> Vec<Membership> {
    lines(text)
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let mut parts = line.splitn(3, ':');
            let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Membership {
                version: if hierarchy == "0" { 2 } else { 1 },
                controllers: list(controllers),
                path: path.strip_suffix(" (deleted)").unwrap_or(path).to_owned(),
            })
        })
        .collect()
}

/// Decodes `mountinfo`: `32 31 0:29 ROOT POINT OPTIONS [TAGS…] - TYPE SOURCE OPTIONS`; other file systems are left out.
#[must_use]
pub fn mounts(text: &[u8]) -> Vec<Mount> {
    lines(text)
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let (place, kind) = line.split_once(" - ")?;
            let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
            let version = match kind.next()? {
                "cgroup" => 1,
                "cgroup2" => 2,
                _ => return None,
            };
            let options = list(kind.nth(1)?);
            Some(Mount { version, options, root: unescape(place.next()?), point: unescape(place.next()?) })
        })
        .collect()
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Undoes the octal escapes of lists of mounts (`\040` for a space).
pub(crate) fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = escaped.filter(u8::is_ascii) {
            plain.push(char::from(byte));
            plain.push_str(part.get(3..).unwrap_or_default());
        } else {
            plain.push('\\');
            plain.push_str(part);
        }
    }
    plain
}

/// The membership that counts for a controller: its own hierarchy of version 1, else version 2.
#[must_use]
pub fn membership_for<'a>(memberships: &'a [Membership], controller: &str) -> Option<&'a Membership> {
    let named =
        memberships.iter().find(|one| one.version == 1 && one.controllers.iter().any(|c| c == controller));
    named.or_else(|| memberships.iter().find(|one| one.version == 2))
}

/// A group and its ancestors, as far as a mount shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// Mount point.
    pub point: String,
    /// Paths below the mount point, the group itself first, the mounted group last as an empty path.
    pub below: Vec<String>,
    /// The same groups by their full paths.
    pub paths: Vec<String>,
}

/// Most ancestors that are looked at.
const MAX_LEVELS: usize = 64;

/// Where a group and its ancestors are mounted.
#[must_use]
pub fn lineage(membership: &Membership, mounts: &[Mount]) -> Option<Lineage> {
    let reachable = mounts.iter().filter_map(|mount| {
        let same = mount.version == membership.version
            && membership.controllers.iter().all(|controller| mount.options.contains(controller));
        let below = membership.path.strip_prefix(mount.root.trim_end_matches('/'))?;
        let inside = below.is_empty() || below.starts_with('/');
        let climbs = below.split('/').any(|part| part == "..");
        (same && inside && !climbs).then_some((mount, below.trim_end_matches('/')))
    });
    let (mount, mut below) = reachable.min_by_key(|(mount, _)| mount.root.len())?;
    let root = mount.root.trim_end_matches('/');
    let mut lineage = Lineage { point: mount.point.clone(), below: Vec::new(), paths: Vec::new() };
    while lineage.below.len() < MAX_LEVELS {
        let path = format!("{root}{below}");
        lineage.below.push(below.to_owned());
        lineage.paths.push(if path.is_empty() { "/".to_owned() } else { path });
        let Some((parent, _)) = below.rsplit_once('/') else { break };
        below = parent;
    }
    Some(lineage)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n\
        36 31 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn find(groups: &[u8], mountinfo: &[u8], controller: &str) -> Option<(u8, Lineage)> {
        let groups = memberships(groups);
        let group = membership_for(&groups, controller)?;
        Some((group.version, lineage(group, &mounts(mountinfo))?))
    }

    #[test]
    fn a_hybrid_host_has_the_controller_in_version_1() {
        let groups = b"6:freezer:/\n1:cpu,cpuacct:/system.slice/web:1.service\n0::/unified/x\n";
        let (version, found) = find(groups, HYBRID, "cpu").unwrap();
        assert_eq!((version, found.point.as_str()), (1, "/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.below, ["/system.slice/web:1.service", "/system.slice", ""]);
        assert_eq!(found.paths, ["/system.slice/web:1.service", "/system.slice", "/"]);
        assert_eq!(find(groups, HYBRID, "freezer").unwrap().1.below, [""]);
        assert_eq!(find(b"0::/unified/x\n", HYBRID, "cpu").unwrap().0, 2);
    }

    #[test]
    fn a_container_that_sees_only_its_own_group() {
        let mountinfo = b"700 1 0:29 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n";
        let (_, found) = find(b"0::/docker/abc/inner\n", mountinfo, "cpu").unwrap();
        assert_eq!(found.below, ["/inner", ""]);
        assert_eq!(found.paths, ["/docker/abc/inner", "/docker/abc"]);
        assert_eq!(find(b"0::/docker/abcdef\n", mountinfo, "cpu"), None, "a name is not a prefix of another");
    }

    #[test]
    fn a_neighbour_seen_from_another_container() {
        let ours = b"700 1 0:29 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let theirs = b"800 1 0:29 /../web /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(find(b"0::/../web/app\n", ours, "cpu"), None, "outside our namespace");
        assert_eq!(find(b"0::/../web/app\n", theirs, "cpu").unwrap().1.below, ["/app", ""]);
    }

    #[test]
    fn the_mount_that_shows_most_ancestors_wins() {
        let mountinfo =
            b"1 1 0:1 /a/b /inner rw - cgroup2 c rw\n2 1 0:1 / /whole\\040tree rw - cgroup2 c rw\n";
        assert_eq!(find(b"0::/a/b/c\n", mountinfo, "cpu").unwrap().1.point, "/whole tree");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(groups in "([0-9]{0,2}:?[a-z,]{0,5}:?(/[a-z.]{0,3}){0,5}\n){0,5}",
                                       mountinfo in "([0-9]{0,2} [0-9] [0-9]:[0-9] (/[a-z.\\\\047]{0,9}){0,3} /[a-z]* rw -? ?cgroup2? c rw\n){0,5}") {
            for controller in ["cpu", "freezer"] {
                if let Some((_, found)) = find(groups.as_bytes(), mountinfo.as_bytes(), controller) {
                    prop_assert_eq!(found.below.last().map(String::as_str), Some(""));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = find(&bytes, &bytes, "cpu");
        }
    }
}
