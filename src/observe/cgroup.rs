//! Bandwidth control of a process's control group and of all its ancestors: quota, periods, throttling, freezing.
//!
//! Takes a process directory, keeps the files of every level open, gives one [`CgroupSample`] per level that has a
//! quota. The tool's own mounts are tried first, because they need no right and show most; then those of the
//! target, through `/proc/PID/root`. A directory found there is used only if it lies on a control group file system:
//! whatever a container puts in that place is never opened. Must never write (that would create or move groups).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};

use super::cgroup_paths::{Lineage, lineage, membership_for, memberships, mounts};
use super::kernel_file::{ProcDir, Seen, Unseen, read_path};
use super::parse::{decimal, lines, words};
use crate::capture::model::CgroupSample;

/// `cpu.stat` and its like are a few hundred bytes.
const FILE_BYTES: usize = 2048;

/// A host with thousands of mounts has a long `mountinfo`.
const MAX_MOUNTINFO_BYTES: u64 = 4 * 1024 * 1024;

/// The control group of a process and its ancestors.
#[derive(Debug)]
pub struct CpuGroup {
    version: u8,
    path: String,
    levels: Vec<Level>,
    freezers: Vec<File>,
}

#[derive(Debug)]
struct Level {
    path: String,
    quota: Quota,
    stat: File,
}

#[derive(Debug)]
enum Quota {
    V1 { quota: File, period: File },
    V2(File),
}

impl CpuGroup {
    /// Opens the files of the group of the `cpu` controller and of its ancestors, and those that tell of freezing.
    pub fn open(process: &ProcDir) -> Seen<Self> {
        let groups = memberships(&process.read("cgroup", FILE_BYTES as u64 * 16)?);
        let group = membership_for(&groups, "cpu").ok_or(Unseen::Absent)?;
        let view = View::new(process);
        let mut levels = Vec::new();
        if let Some((lineage, root)) = view.find(|mounted| lineage(group, mounted)) {
            for (below, path) in lineage.below.iter().zip(&lineage.paths) {
                let Ok(dir) = group_dir(&root, &lineage.point, below) else { continue };
                levels.extend(Level::open(&dir, path.clone()));
            }
        }
        // On a host with both versions, either may freeze.
        let freezing = groups.iter().find(|group| group.controllers.iter().any(|name| name == "freezer"));
        let unified = groups.iter().find(|group| group.version == 2);
        let freezers = [(freezing, "freezer.state"), (unified, "cgroup.events")]
            .into_iter()
            .filter_map(|(group, file)| {
                let (lineage, root) = view.find(|mounted| lineage(group?, mounted))?;
                open_in(&group_dir(&root, &lineage.point, lineage.below.first()?).ok()?, file).ok()
            })
            .collect();
        Ok(Self { version: group.version, path: group.path.clone(), levels, freezers })
    }

    /// Full path of the group, as it looks from the tool's control group namespace. Processes with the same path share
    /// everything that [`CpuGroup::sample`] tells.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads every level that has a quota, the innermost first; and the group itself while it is frozen.
    pub fn sample(&self, at_ns: u64, pids: &[i32]) -> Seen<Vec<CgroupSample>> {
        let mut samples = Vec::new();
        for level in &self.levels {
            let sample = level.sample(at_ns, self.version, pids)?;
            if sample.quota_us.is_some() {
                samples.push(sample);
            }
        }
        if self.freezers.iter().any(is_frozen) {
            if samples.first().is_none_or(|innermost| innermost.path != self.path) {
                samples.insert(0, empty(at_ns, self.version, &self.path, pids));
            }
            if let Some(own) = samples.first_mut() {
                own.frozen = true;
            }
        }
        Ok(samples)
    }
}

fn empty(at_ns: u64, version: u8, path: &str, pids: &[i32]) -> CgroupSample {
    CgroupSample {
        at_ns,
        path: path.to_owned(),
        version,
        pids: pids.to_vec(),
        quota_us: None,
        period_us: 0,
        nr_periods: 0,
        nr_throttled: 0,
        throttled_ns: 0,
        frozen: false,
    }
}

impl Level {
    /// `None` where the controller is not switched on, as at the root of version 2.
    fn open(dir: &OwnedFd, path: String) -> Option<Self> {
        let quota = match open_in(dir, "cpu.max") {
            Ok(file) => Quota::V2(file),
            Err(_) => Quota::V1 {
                quota: open_in(dir, "cpu.cfs_quota_us").ok()?,
                period: open_in(dir, "cpu.cfs_period_us").ok()?,
            },
        };
        Some(Self { path, quota, stat: open_in(dir, "cpu.stat").ok()? })
    }

    fn sample(&self, at_ns: u64, version: u8, pids: &[i32]) -> Seen<CgroupSample> {
        let mut buffer = [0; FILE_BYTES];
        let (quota_us, period_us) = match &self.quota {
            Quota::V2(file) => parse_cpu_max(read(file, &mut buffer)?).ok_or(Unseen::Garbled)?,
            Quota::V1 { quota, period } => {
                // -1 stands for no quota.
                let quota_us = decimal(read(quota, &mut buffer)?.trim_ascii());
                (quota_us, decimal(read(period, &mut buffer)?.trim_ascii()).ok_or(Unseen::Garbled)?)
            }
        };
        let stat = parse_cpu_stat(read(&self.stat, &mut buffer)?);
        Ok(CgroupSample {
            quota_us,
            period_us,
            nr_periods: stat.nr_periods,
            nr_throttled: stat.nr_throttled,
            throttled_ns: stat.throttled_ns,
            ..empty(at_ns, version, &self.path, pids)
        })
    }
}

/// Through whose eyes mounts are looked at.
struct View<'a> {
    process: &'a ProcDir,
    ours: Vec<super::cgroup_paths::Mount>,
    theirs: Vec<super::cgroup_paths::Mount>,
}

/// The directory that mount points are below: ours, or the target's root.
enum Root<'a> {
    Ours,
    Of(&'a ProcDir),
}

impl<'a> View<'a> {
    fn new(process: &'a ProcDir) -> Self {
        let ours = read_path(Path::new("/proc/self/mountinfo"), MAX_MOUNTINFO_BYTES).unwrap_or_default();
        let theirs = process.read("mountinfo", MAX_MOUNTINFO_BYTES).unwrap_or_default();
        Self { process, ours: mounts(&ours), theirs: mounts(&theirs) }
    }

    fn find(
        &self,
        lineage_in: impl Fn(&[super::cgroup_paths::Mount]) -> Option<Lineage>,
    ) -> Option<(Lineage, Root<'a>)> {
        let ours = lineage_in(&self.ours).map(|found| (found, Root::Ours));
        let reachable = |(found, root): &(Lineage, Root<'_>)| {
            found.below.first().is_some_and(|own| group_dir(root, &found.point, own).is_ok())
        };
        ours.filter(reachable).or_else(|| {
            lineage_in(&self.theirs).map(|found| (found, Root::Of(self.process))).filter(reachable)
        })
    }
}

/// Opens the directory of a group and makes sure that it is one.
fn group_dir(root: &Root<'_>, point: &str, below: &str) -> Seen<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = match root {
        Root::Ours => openat(AT_FDCWD, format!("{point}{below}").as_str(), flags, Mode::empty())?,
        Root::Of(process) => {
            openat(process.as_fd(), format!("root{point}{below}").as_str(), flags, Mode::empty())?
        }
    };
    let kind = fstatfs(&dir)?.filesystem_type();
    if kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC { Ok(dir) } else { Err(Unseen::Absent) }
}

fn open_in(dir: &OwnedFd, name: &str) -> Seen<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(File::from(openat(dir, name, flags, Mode::empty())?))
}

fn read<'b>(file: &File, buffer: &'b mut [u8]) -> Seen<&'b [u8]> {
    match file.read_at(buffer, 0) {
        Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
        // The group was removed, which it can only be after its last process has left it.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Err(Unseen::Gone),
        Err(error) => Err(error.into()),
    }
}

/// `freezer.state` says `FROZEN` (or `FREEZING`) also for what an ancestor freezes, `cgroup.events` says `frozen 1`.
fn is_frozen(file: &File) -> bool {
    let mut buffer = [0; FILE_BYTES];
    read(file, &mut buffer).is_ok_and(|text| lines(text).any(|line| line == b"FROZEN" || line == b"frozen 1"))
}

/// Decodes `cpu.max`: `max 100000` or `20000 100000`.
fn parse_cpu_max(text: &[u8]) -> Option<(Option<u64>, u64)> {
    let mut words = words(text);
    let quota_us = match words.next()? {
        b"max" => None,
        number => Some(decimal(number)?),
    };
    Some((quota_us, decimal(words.next()?)?))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct CpuStat {
    nr_periods: u64,
    nr_throttled: u64,
    throttled_ns: u64,
}

/// Decodes `cpu.stat` of either version. Counters that are not there are 0.
fn parse_cpu_stat(text: &[u8]) -> CpuStat {
    let mut stat = CpuStat::default();
    for line in lines(text) {
        let mut words = words(line);
        let (Some(key), Some(value)) = (words.next(), words.next().and_then(decimal)) else { continue };
        match key {
            b"nr_periods" => stat.nr_periods = value,
            b"nr_throttled" => stat.nr_throttled = value,
            b"throttled_time" => stat.throttled_ns = value,
            b"throttled_usec" => stat.throttled_ns = value.saturating_mul(1000),
            _ => {}
        }
    }
    stat
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn both_versions_of_the_files() {
        assert_eq!(parse_cpu_max(b"max 100000\n"), Some((None, 100_000)));
        assert_eq!(parse_cpu_max(b"20000 100000\n"), Some((Some(20_000), 100_000)));
        assert_eq!(parse_cpu_max(b"20000"), None);
        let expected = CpuStat { nr_periods: 10, nr_throttled: 9, throttled_ns: 845_000 };
        assert_eq!(parse_cpu_stat(b"nr_periods 10\nnr_throttled 9\nthrottled_time 845000\n"), expected);
        assert_eq!(
            parse_cpu_stat(b"usage_usec 7\nnr_periods 10\nnr_throttled 9\nthrottled_usec 845\n"),
            expected
        );
    }

    #[test]
    fn our_own_group_can_be_found_and_read() {
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap();
        let group = CpuGroup::open(&me).unwrap();
        assert!(group.path().starts_with('/'));
        assert!(group.sample(1, &[me.pid()]).unwrap().iter().all(|level| level.quota_us.is_some()));
    }

    #[test]
    fn what_is_not_a_control_group_is_not_used() {
        assert_eq!(group_dir(&Root::Ours, "/tmp", "").unwrap_err(), Unseen::Absent);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse_cpu_max(&bytes), parse_cpu_stat(&bytes));
        }

        #[test]
        fn cpu_stat_round_trip(nr_periods: u64, nr_throttled: u64, throttled_ns: u64) {
            let text = format!("nr_periods {nr_periods}\nnr_throttled {nr_throttled}\nthrottled_time {throttled_ns}\nnr_bursts 0\n");
            prop_assert_eq!(parse_cpu_stat(text.as_bytes()), CpuStat { nr_periods, nr_throttled, throttled_ns });
        }
    }
}
