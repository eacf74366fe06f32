//! The machine: its fixed facts, its processors and its pressure.
//!
//! [`HostFiles`] keeps `/proc/stat` and `/proc/pressure/*` open. What is in them is the whole machine's, also inside
//! a container (unless something like lxcfs stands in for them).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::kernel_file::{Seen, Unseen, read_path};
use super::parse::{decimal, lines, words};
use crate::capture::model::{HostFacts, HostSample};
use crate::error::{Error, ErrorKind, Result};

/// The fixed facts of this machine. Without them nothing can be measured: an error for people.
pub fn facts() -> Result<HostFacts> {
    read_facts()
        .map_err(|why| Error::new(ErrorKind::Io, "this machine's /proc cannot be read", why.to_string()))
}

fn read_facts() -> Seen<HostFacts> {
    let names = uname()?;
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    let boot_id = read_path(Path::new("/proc/sys/kernel/random/boot_id"), 64).unwrap_or_default();
    let configured = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
    Ok(HostFacts {
        hostname: text(names.nodename()),
        kernel: text(names.release()),
        arch: text(names.machine()),
        cpus: configured(SysconfVar::_NPROCESSORS_ONLN).unwrap_or(1) as u32,
        boot_id: String::from_utf8_lossy(boot_id.trim_ascii()).into_owned(),
        ticks_per_s: configured(SysconfVar::CLK_TCK).ok_or(Unseen::Absent)?,
    })
}

/// Time that `CLOCK_MONOTONIC` did not count because the machine was suspended.
pub fn suspended_ns() -> Seen<u64> {
    let now = |clock| -> Seen<i128> {
        let time = clock_gettime(clock)?;
        Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
    };
    // Read in this order, the time between the two readings can only make the difference smaller.
    let (boot, monotonic) = (now(ClockId::CLOCK_BOOTTIME)?, now(ClockId::CLOCK_MONOTONIC)?);
    Ok(u64::try_from(boot - monotonic).unwrap_or(0))
}

/// The files of the machine, kept open. Those this kernel does not have are left out.
#[derive(Debug)]
pub struct HostFiles {
    stat: File,
    psi_cpu: Option<File>,
    psi_io: Option<File>,
}

impl HostFiles {
    /// Opens them.
    pub fn open() -> Seen<Self> {
        Ok(Self {
            stat: File::open("/proc/stat")?,
            psi_cpu: File::open("/proc/pressure/cpu").ok(),
            psi_io: File::open("/proc/pressure/io").ok(),
        })
    }

    /// Reads them.
    pub fn sample(&self, at_ns: u64) -> Seen<HostSample> {
        let mut buffer = [0; 512];
        let length = self.stat.read_at(&mut buffer, 0)?;
        let cpu = parse_cpu(buffer.get(..length).unwrap_or_default()).ok_or(Unseen::Garbled)?;
        let mut pressure = |file: &Option<File>| {
            let length = file.as_ref()?.read_at(&mut buffer, 0).ok()?;
            parse_pressure(buffer.get(..length)?)
        };
        Ok(HostSample {
            at_ns,
            idle_ticks: cpu.idle_ticks,
            total_ticks: cpu.total_ticks,
            steal_ticks: cpu.steal_ticks,
            psi_cpu_some_us: pressure(&self.psi_cpu),
            psi_io_some_us: pressure(&self.psi_io),
            suspended_ns: suspended_ns()?,
        })
    }
}

/// Time of all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    /// Idle and waiting for I/O.
    pub idle_ticks: u64,
    /// Everything.
    pub total_ticks: u64,
    /// Stolen by the hypervisor.
    pub steal_ticks: u64,
}

/// Decodes the first line of `/proc/stat`: user nice system idle iowait irq softirq steal guest guest-nice, where
/// the last two are already in the first two.
#[must_use]
pub fn parse_cpu(text: &[u8]) -> Option<CpuTimes> {
    let mut words = words(lines(text).next()?.strip_prefix(b"cpu ")?).take(8);
    let mut next = || words.next().and_then(decimal);
    let busy = [next()?, next()?, next()?];
    let idle = [next()?, next()?];
    let interrupts = [next().unwrap_or(0), next().unwrap_or(0)];
    let steal_ticks = next().unwrap_or(0);
    let sum = |times: &[u64]| times.iter().try_fold(0_u64, |sum, &time| sum.checked_add(time));
    let idle_ticks = sum(&idle)?;
    Some(CpuTimes {
        idle_ticks,
        total_ticks: sum(&[sum(&busy)?, idle_ticks, sum(&interrupts)?, steal_ticks])?,
        steal_ticks,
    })
}

/// Decodes the total of the line `some avg10=0.00 … total=123` of a pressure file.
#[must_use]
pub fn parse_pressure(text: &[u8]) -> Option<u64> {
    let some = lines(text).find_map(|line| line.strip_prefix(b"some "))?;
    words(some).find_map(|word| word.strip_prefix(b"total=")).and_then(decimal)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine() {
        let facts = facts().unwrap();
        assert!(facts.cpus >= 1 && facts.ticks_per_s >= 1);
        assert_eq!(facts.boot_id.len(), 36);
        assert_eq!(facts.arch, std::env::consts::ARCH);
        let sample = HostFiles::open().unwrap().sample(7).unwrap();
        assert_eq!(sample.at_ns, 7);
        assert!(sample.total_ticks >= sample.idle_ticks + sample.steal_ticks && sample.total_ticks > 0);
    }

    #[test]
    fn guest_time_is_not_counted_twice() {
        let times = parse_cpu(b"cpu  10 1 5 100 20 2 3 4 50 60\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(times, CpuTimes { idle_ticks: 120, total_ticks: 145, steal_ticks: 4 });
        assert_eq!(parse_cpu(b"intr 5"), None);
    }

    #[test]
    fn pressure() {
        let text = b"some avg10=0.00 avg60=0.01 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(parse_pressure(text), Some(4711));
        assert_eq!(parse_pressure(b"full total=9"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), rest in "( [0-9]{1,21}){0,12}") {
            let _ = (parse_cpu(&bytes), parse_pressure(&bytes), parse_cpu(format!("cpu {rest}").as_bytes()));
        }
    }
}
