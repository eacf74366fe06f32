//! What the kernel thinks of the tool itself: user, capabilities, filters, label, namespaces.
//!
//! Reads `/proc/self` only, gives plain data. Whether that suffices for a target is for
//! [`crate::target::access`] to say.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

use nix::sys::stat::stat;

use super::kernel_file::read_path;
use super::parse::{decimal, hexadecimal, lines, words};

/// Inodes of the namespaces that a machine has from its start; the kernel numbers them by hand.
const FIRST_PID_NS: u64 = 0xEFFF_FFFC;
const FIRST_UTS_NS: u64 = 0xEFFF_FFFE;
const FIRST_IPC_NS: u64 = 0xEFFF_FFFF;
const FIRST_CGROUP_NS: u64 = 0xEFFF_FFFB;
const FIRST_USER_NS: u64 = 0xEFFF_FFFD;

/// The tool's own credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Capabilities that can ever be had.
    pub bounding: u64,
    /// Whether `sudo` and file capabilities are without effect.
    pub no_new_privs: bool,
    /// 0: no filter of system calls, 1: strict, 2: a filter.
    pub seccomp: u64,
    /// Label of the security module, as `docker-default (enforce)`.
    pub label: Option<String>,
    /// How user ids are translated outwards.
    pub uid_map: String,
    /// Whether the user namespace is the machine's own.
    pub first_user_ns: bool,
    /// Whether pid, host name, ipc and control group namespaces are all the machine's own: in no container.
    pub first_namespaces: bool,
}

/// Reads them. What is missing reads as "no right" and "no container".
#[must_use]
pub fn own() -> Own {
    let text = read_path(Path::new("/proc/self/status"), 16 * 1024).unwrap_or_default();
    let number = |key: &str| field(&text, key).and_then(|value| words(value).next().and_then(decimal));
    let set = |key: &str| field(&text, key).and_then(|value| hexadecimal(value.trim_ascii())).unwrap_or(0);
    let is = |name: &str, first: u64| {
        stat(format!("/proc/self/ns/{name}").as_str()).is_ok_and(|seen| seen.st_ino == first)
    };
    let read = |path: &str| {
        let bytes = read_path(Path::new(path), 4096).ok()?;
        Some(String::from_utf8_lossy(bytes.trim_ascii()).trim_end_matches('\0').to_owned())
    };
    Own {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        capabilities: set("CapEff"),
        bounding: set("CapBnd"),
        no_new_privs: number("NoNewPrivs") == Some(1),
        seccomp: number("Seccomp").unwrap_or(0),
        label: read("/proc/self/attr/current").filter(|label| !label.is_empty()),
        uid_map: read("/proc/self/uid_map").unwrap_or_default(),
        first_user_ns: is("user", FIRST_USER_NS),
        first_namespaces: is("pid", FIRST_PID_NS)
            && is("uts", FIRST_UTS_NS)
            && is("ipc", FIRST_IPC_NS)
            && is("cgroup", FIRST_CGROUP_NS),
    }
}

/// A field of a `status` file. The kernel escapes newlines of the name in it, so nobody can forge a line.
#[must_use]
pub fn field<'t>(text: &'t [u8], key: &str) -> Option<&'t [u8]> {
    lines(text).find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))
}

/// The numbers of a field of a `status` file.
#[must_use]
pub fn numbers(text: &[u8], key: &str) -> Vec<u64> {
    field(text, key).map(|value| words(value).map_while(decimal).collect()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = b"Name:\tCapEff: 1\\nSeccomp:\nCapEff:\t00000000000000ff\nSeccomp:\t2\nSeccomp_filters:\t1\nUid:\t1\t2\t3\t4\n";
        assert_eq!(field(text, "CapEff"), Some(&b"\t00000000000000ff"[..]));
        assert_eq!(numbers(text, "Seccomp"), [2]);
        assert_eq!(numbers(text, "Uid"), [1, 2, 3, 4]);
        assert_eq!(numbers(text, "Gid"), Vec::<u64>::new());
    }

    #[test]
    fn ourselves() {
        let own = own();
        assert_eq!(own.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(own.capabilities & !own.bounding, 0, "{own:?}");
        assert!(!own.uid_map.is_empty());
    }
}
