//! A busy child in a control group with a fifth of a processor.

use std::fs;
use std::path::PathBuf;

use stallscope::observe::cgroup::CpuGroup;
use stallscope::observe::cgroup_paths::{lineage, membership_for, memberships, mounts};

use crate::support::{Target, eventually, skipped};

/// A group below our own that is removed on drop.
struct Group {
    dir: PathBuf,
    version: u8,
}

impl Group {
    fn create(controller: &str) -> Result<Self, String> {
        let groups = memberships(&fs::read("/proc/self/cgroup").unwrap());
        let own = membership_for(&groups, controller).ok_or("no control group")?;
        let mounts = mounts(&fs::read("/proc/self/mountinfo").unwrap());
        let found = lineage(own, &mounts).ok_or("its hierarchy is not mounted")?;
        let name = format!("stallscope-test-{controller}-{}", std::process::id());
        let dir = PathBuf::from(format!("{}{}", found.point, found.below[0])).join(name);
        fs::create_dir(&dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
        Ok(Self { dir, version: own.version })
    }

    fn limit_to_a_fifth(&self) -> Result<(), String> {
        if self.version == 2 {
            return self.write("cpu.max", "20000 100000");
        }
        self.write("cpu.cfs_quota_us", "20000")?;
        self.write("cpu.cfs_period_us", "100000")
    }

    fn freeze(&self) -> Result<Frozen<'_>, String> {
        let state = if self.version == 2 { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
        self.write(state.0, state.1).map(|()| Frozen(self))
    }

    fn admit(&self, target: &Target) -> Result<(), String> {
        self.write("cgroup.procs", &target.pid().to_string())
    }

    fn name(&self) -> &str {
        self.dir.file_name().unwrap().to_str().unwrap()
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let path = self.dir.join(file);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

/// A frozen group, thawed on drop: a frozen process could not be ended.
struct Frozen<'a>(&'a Group);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let state = if self.0.version == 2 { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        self.0.write(state.0, state.1).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A killed process leaves its group a moment after it was waited for.
        let removed = (0..10_000).any(|_| {
            std::thread::yield_now();
            fs::remove_dir(&self.dir).is_ok()
        });
        assert!(removed || std::thread::panicking(), "cannot remove {}", self.dir.display());
    }
}

#[test]
fn throttling_shows_and_rises() {
    // Dropped after the child, which is declared later.
    let group;
    let mut target;
    match Group::create("cpu") {
        Ok(created) => group = created,
        Err(why) => return skipped("a control group with a quota", &why),
    }
    target = Target::python("sys.stdin.readline(); say(0)\nwhile True: pass");
    if let Err(why) = group.limit_to_a_fifth().and_then(|()| group.admit(&target)) {
        return skipped("a control group with a quota", &why);
    }
    let files = CpuGroup::open(&target.proc_dir()).unwrap();
    assert!(files.path().ends_with(group.name()));
    let pid = target.pid();
    let look = || files.sample(3, &[pid]).unwrap().remove(0);
    let first = look();
    assert!(first.path.ends_with(group.name()));
    assert_eq!((first.quota_us, first.period_us, first.frozen), (Some(20_000), 100_000, false));
    assert_eq!((first.at_ns, first.pids.as_slice()), (3, [pid].as_slice()));
    target.tell("spin");
    target.numbers();
    let throttled = eventually("three throttled periods", || {
        Some(look()).filter(|seen| seen.nr_throttled >= first.nr_throttled + 3)
    });
    assert!(throttled.nr_periods >= throttled.nr_throttled);
    assert!(throttled.throttled_ns > first.throttled_ns);
}

#[test]
fn a_frozen_group_shows_even_without_a_quota() {
    let group;
    let mut target;
    match Group::create("freezer") {
        Ok(created) => group = created,
        Err(why) => return skipped("a frozen control group", &why),
    }
    target = Target::python("say(0); sys.stdin.readline()");
    target.numbers();
    let frozen = match group.admit(&target).and_then(|()| group.freeze()) {
        Ok(frozen) => frozen,
        Err(why) => return skipped("a frozen control group", &why),
    };
    let files = CpuGroup::open(&target.proc_dir()).unwrap();
    let own = |frozen: bool| {
        let samples = files.sample(0, &[]).unwrap();
        let own = samples.into_iter().find(|sample| sample.path == files.path());
        (own.as_ref().is_some_and(|sample| sample.frozen) == frozen).then_some(own)
    };
    let seen = eventually("frozen", || own(true)).unwrap();
    assert_eq!(seen.quota_us, None);
    drop(frozen);
    eventually("thawed", || own(false));
}
