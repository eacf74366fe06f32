//! What this machine lets anybody see: the gates of the kernel and of its security modules, and what it measures.
//!
//! Reads a dozen small files once, gives plain data. A file that is not there is a gate that is not there.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

use super::kernel_file::{FileBudget, ProcDir, read_path};
use super::parse::{lines, schedstat, words};

/// Longest list of mounts that is read.
const MAX_MOUNTINFO_BYTES: u64 = 4 << 20;

/// The gates of a machine.
#[allow(clippy::struct_excessive_bools, reason = "each is something that is there or not")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    /// Yama's `ptrace_scope`, where there is a Yama.
    pub yama_scope: Option<u8>,
    /// Whether `SELinux` enforces its policy.
    pub selinux_enforcing: bool,
    /// `SELinux`'s boolean `deny_ptrace`.
    pub selinux_deny_ptrace: bool,
    /// Whether `AppArmor` is on.
    pub apparmor: bool,
    /// How `/proc` is mounted where that hides processes: `hidepid=2`.
    pub hidepid: Option<String>,
    /// The group that sees hidden processes.
    pub hidepid_gid: Option<u32>,
    /// Whether the kernel is gVisor's.
    pub gvisor: bool,
    /// What the kernel is locked down for, where it is: `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// `perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// Whether threads have a filled `schedstat`.
    pub schedstat: bool,
    /// Whether there is `/proc/pressure`.
    pub pressure: bool,
    /// Version of the control groups that the `cpu` controller is in.
    pub cgroup_version: Option<u8>,
}

/// Reads them.
#[must_use]
pub fn gates() -> Gates {
    let read = |path: &str| read_path(Path::new(path), 4096).ok();
    let text = |path: &str| Some(String::from_utf8_lossy(read(path)?.trim_ascii()).into_owned());
    let (hidepid, hidepid_gid) =
        hidepid(&read_path(Path::new("/proc/self/mountinfo"), MAX_MOUNTINFO_BYTES).unwrap_or_default());
    let is_one = |path: &str| text(path).is_some_and(|value| value.starts_with('1'));
    Gates {
        yama_scope: text("/proc/sys/kernel/yama/ptrace_scope").and_then(|value| value.parse().ok()),
        selinux_enforcing: is_one("/sys/fs/selinux/enforce"),
        selinux_deny_ptrace: is_one("/sys/fs/selinux/booleans/deny_ptrace"),
        apparmor: text("/sys/module/apparmor/parameters/enabled").is_some_and(|value| value == "Y"),
        hidepid,
        hidepid_gid,
        gvisor: text("/proc/version").is_some_and(|version| version.contains("gVisor")),
        lockdown: text("/sys/kernel/security/lockdown").and_then(|value| chosen(&value)),
        perf_event_paranoid: text("/proc/sys/kernel/perf_event_paranoid")
            .and_then(|value| value.parse().ok()),
        schedstat: read("/proc/thread-self/schedstat")
            .and_then(|text| schedstat(&text))
            .is_some_and(|s| s.slices > 0),
        pressure: Path::new("/proc/pressure/cpu").exists(),
        cgroup_version: ProcDir::open(std::process::id() as i32, &FileBudget::new(0))
            .and_then(|me| me.read("cgroup", 64 * 1024))
            .ok()
            .and_then(|text| {
                super::cgroup_paths::membership_for(&super::cgroup_paths::memberships(&text), "cpu")
                    .map(|group| group.version)
            }),
    }
}

/// The word in brackets, unless that is `none`.
fn chosen(value: &str) -> Option<String> {
    let (word, _) = value.split_once('[')?.1.split_once(']')?;
    (word != "none").then(|| word.to_owned())
}

/// Whether and how the mount of `/proc` hides processes, and the group that is exempt. The last mount on a place is
/// the one that is seen.
fn hidepid(mountinfo: &[u8]) -> (Option<String>, Option<u32>) {
    let proc_mount = lines(mountinfo).filter(|line| words(line).nth(4) == Some(b"/proc")).last();
    let options = proc_mount.and_then(|line| words(line).last()).unwrap_or_default();
    let options = String::from_utf8_lossy(options);
    let option =
        |name: &str| options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    let hides = option("hidepid").filter(|value| !matches!(*value, "0" | "off"));
    (
        hides.map(|value| format!("hidepid={value}")),
        option("gid").and_then(|gid| gid.parse().ok()).filter(|_| hides.is_some()),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_of_proc_counts() {
        let plain = "21 1 0:20 / /proc rw,relatime - proc proc rw\n";
        assert_eq!(hidepid(plain.as_bytes()), (None, None));
        let over = format!(
            "{plain}90 21 0:55 / /proc rw - proc proc rw,gid=27,hidepid=invisible\n91 1 0:56 / /procx rw - proc proc rw,hidepid=1\n"
        );
        assert_eq!(hidepid(over.as_bytes()), (Some("hidepid=invisible".into()), Some(27)));
        assert_eq!(hidepid(b"90 21 0:55 / /proc rw - proc proc rw,hidepid=off\n"), (None, None));
        assert_eq!(hidepid(b""), (None, None));
    }

    #[test]
    fn what_the_kernel_is_locked_down_for() {
        assert_eq!(chosen("none integrity [confidentiality]"), Some("confidentiality".into()));
        assert_eq!(
            [chosen("[none] integrity confidentiality"), chosen("none"), chosen("][")],
            [None, None, None]
        );
    }

    #[test]
    fn this_machine() {
        let gates = gates();
        assert_eq!(gates.pressure, Path::new("/proc/pressure/cpu").exists());
        assert_eq!(gates.yama_scope.is_some(), Path::new("/proc/sys/kernel/yama").exists());
    }
}
