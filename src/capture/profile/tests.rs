//! What is added up, turn by turn.

use super::*;

fn sample(tid: i32, doing: Doing, stack: Option<u32>, run_ns: u64, delay_ns: u64) -> ThreadSample {
    ThreadSample {
        run_ns,
        delay_ns,
        slices: 1,
        state: (doing != Doing::Running).then_some('S'),
        stack,
        ..ThreadSample::of(1, tid, doing)
    }
}

/// One of a hundred looks a second: ten milliseconds apart.
fn profile() -> Profile {
    Profile::new(ProfileHeader { rate_hz: 100, arch: "x86_64".into(), ..ProfileHeader::default() }, false)
}

const MS: u64 = 1_000_000;

fn entry(profile: &Profile, stack: Stack, call: Call) -> Entry {
    let of = |e: &&Entry| e.key.stack == stack && e.key.call == call;
    *profile.entries.iter().find(of).unwrap_or_else(|| panic!("{:?}", profile.entries))
}

#[test]
fn a_look_stands_for_the_time_since_the_one_before() {
    let mut profile = profile();
    let asleep = Doing::Syscall(0, [0; 6]);
    for at_ms in [10, 21, 29, 40] {
        profile.tick(at_ms * MS);
        profile.thread(&sample(1, asleep, Some(3), 0, 0), false, false);
    }
    let read = entry(&profile, Stack::Kept(3), Call::Syscall(0));
    assert_eq!((read.samples, read.wall_ns, read.cpu_ns), (4, 40 * MS, 0));
    assert_eq!(profile.totals.samples, 4);
}

#[test]
fn a_thread_whose_turn_came_late_stands_for_all_of_the_time() {
    let mut profile = profile();
    for turn in 1..=6 {
        profile.tick(turn * 10 * MS);
        if turn % 3 == 0 {
            profile.thread(&sample(1, Doing::Elsewhere, None, 0, 0), false, false);
        }
    }
    let seen = entry(&profile, Stack::Missing, Call::Unknown);
    assert_eq!((seen.samples, seen.wall_ns), (2, 40 * MS), "a new one stands for one period");
}

#[test]
fn who_slept_all_the_while_is_known_also_where_nobody_looked() {
    let mut profile = profile();
    for at_ms in [10, 20, 500] {
        profile.tick(at_ms * MS);
        profile.thread(&sample(1, Doing::Syscall(0, [0; 6]), Some(0), 7, 0), false, false);
        profile.thread(&sample(2, Doing::Syscall(1, [0; 6]), Some(1), at_ms, 0), false, false);
    }
    assert_eq!(entry(&profile, Stack::Kept(0), Call::Syscall(0)).wall_ns, 500 * MS);
    // The other one has run in between: of that time nothing is known.
    assert_eq!(entry(&profile, Stack::Kept(1), Call::Syscall(1)).wall_ns, 30 * MS);
    assert_eq!(profile.totals.unseen_ns, 470 * MS);
}

#[test]
fn the_counters_divide_running_time_into_processor_and_queue() {
    let mut profile = profile();
    for (at, run, delay) in [(10, 100, 0), (20, 106, 2), (30, 106, 2)] {
        profile.tick(at * MS);
        profile.thread(&sample(1, Doing::Running, Some(0), run * MS, delay * MS), false, false);
    }
    let running = entry(&profile, Stack::Kept(0), Call::Running);
    assert_eq!(running.wall_ns, 30 * MS);
    // The first look knows no division; in the second 6 of 8; in the third it never left its processor.
    assert_eq!(running.cpu_ns, 10 * MS + 10 * MS * 6 / 8 + 10 * MS);
}

#[test]
fn what_it_sleeps_in_is_told_apart() {
    let mut profile = profile();
    profile.tick(10 * MS);
    let futex = Doing::Syscall(202, [64, 0, 0, 0, 0, 0]);
    profile.thread(&sample(1, futex, Some(0), 0, 0), true, false);
    profile.thread(&sample(2, futex, Some(0), 0, 0), false, false);
    profile.thread(&ThreadSample { state: Some('D'), ..sample(3, futex, Some(0), 0, 0) }, false, false);
    profile.thread(&ThreadSample { state: Some('T'), ..sample(4, futex, Some(0), 0, 0) }, false, false);
    let calls: Vec<Call> = profile.entries.iter().map(|e| e.key.call).collect();
    assert_eq!(calls, [Call::Gil, Call::Syscall(202), Call::Disk(Some(202)), Call::Stopped]);
}

#[test]
fn parked_greenlets_stand_for_the_time_since_they_were_counted() {
    let mut profile = profile();
    let facts = crate::capture::samples::process(1);
    profile.process(&facts, 500 * MS);
    let group = |count| ParkedGroup { who: Who::Greenlets, ready: false, stack: Stack::Kept(0), count };
    profile.parked(1, 1_000 * MS, Some(&[group(3)]));
    profile.parked(1, 1_400 * MS, None);
    assert!(profile.processes[0].uncounted);
    profile.parked(1, 2_000 * MS, Some(&[group(2)]));
    let parked = entry(&profile, Stack::Kept(0), Call::Parked);
    // What could not be counted in between is made up for by the next count.
    assert_eq!((parked.samples, parked.wall_ns), (5, (3 * 500 + 2 * 1_000) * MS));
    assert_eq!((profile.processes[0].counts, profile.processes[0].uncounted), (2, false));
}

#[test]
fn who_was_not_counted_for_longest_comes_first() {
    let mut profile = profile();
    for pid in 1..=3 {
        profile.process(&crate::capture::samples::process(pid), 0);
    }
    profile.parked(1, 20, Some(&[]));
    profile.parked(3, 10, Some(&[]));
    profile.parked(2, 30, None);
    assert_eq!(profile.longest_uncounted(&[1, 2, 3, 4]), [(2, false), (3, true), (1, true)]);
}

#[test]
fn memory_is_bounded_however_many_stacks_there_are() {
    let mut profile = profile();
    profile.tick(10 * MS);
    for stack in 0..MAX_ENTRIES as u32 + 5_000 {
        profile.thread(&sample(1, Doing::Running, Some(stack), 0, 0), false, false);
    }
    assert!(profile.entries.len() <= MAX_ENTRIES + 1);
    let other = entry(&profile, Stack::Other, Call::Running);
    assert_eq!((other.samples, profile.totals.other), (5_000, 5_000));
    let all: u64 = profile.entries.iter().map(|e| e.samples).sum();
    assert_eq!(all, profile.totals.samples, "nothing is lost");
}

#[test]
fn threads_without_number_that_have_ended_are_one() {
    let header = ProfileHeader { rate_hz: 100, arch: "x86_64".into(), ..ProfileHeader::default() };
    let mut profile = Profile::new(header, true);
    for tid in 1..=FOLD_FROM as i32 {
        profile.tick(tid as u64 * 10 * MS);
        profile.thread(&sample(tid, Doing::Running, Some(tid as u32 % 3), 0, 0), false, false);
    }
    let alive = FOLD_FROM as i32;
    profile.forget_threads(|tid| tid == alive);
    let all: u64 = profile.entries.iter().map(|e| e.samples).sum();
    assert_eq!((profile.entries.len(), all), (4, FOLD_FROM as u64));
    assert_eq!(profile.entries.iter().filter(|e| e.key.who == Who::Thread(0)).count(), 3);
    for slice in profile.timeline.sorted() {
        let key = profile.entries[slice.entry as usize].key;
        assert_eq!(key.stack, Stack::Kept(slice.tid as u32 % 3), "{slice:?}");
        assert_eq!(key.who == Who::Thread(alive), slice.tid == alive);
    }
    // It goes on where it was.
    profile.thread(&sample(alive, Doing::Running, Some(alive as u32 % 3), 0, 0), false, false);
    assert_eq!(profile.entries.len(), 4);
}

#[test]
fn a_stack_beyond_those_that_are_kept_is_another_one() {
    let mut profile = profile();
    profile.tick(10 * MS);
    profile.thread(&sample(1, Doing::Running, None, 0, 0), false, true);
    assert_eq!(entry(&profile, Stack::Other, Call::Running).samples, 1);
}

#[test]
fn a_worker_that_takes_a_number_again_is_another_one() {
    let mut profile = profile();
    let facts = crate::capture::samples::process(1);
    profile.process(&facts, 0);
    profile.process(&facts, 10);
    profile.process(&ProcessFacts { start_time_ticks: facts.start_time_ticks + 1, ..facts }, 20);
    assert_eq!(profile.processes.iter().map(|p| p.joined_ns).collect::<Vec<_>>(), [0, 20]);
}

#[test]
fn an_hour_takes_no_more_room_than_a_minute() {
    let header = ProfileHeader { rate_hz: 100, arch: "x86_64".into(), ..ProfileHeader::default() };
    let mut profile = Profile::new(header, true);
    let facts = crate::capture::samples::process(1);
    profile.process(&facts, 0);
    let room = |profile: &Profile| {
        (profile.entries.len(), profile.entries.capacity(), profile.index.capacity(), profile.last.len())
    };
    let mut after_a_minute = None;
    for turn in 1..=60 * 60 * 100_u64 {
        profile.tick(turn * 10 * MS);
        // What each does is something else at every turn, so that no slice goes on.
        for tid in [1, 2] {
            profile.thread(&sample(tid, Doing::Running, Some((turn % 7) as u32), turn, 0), false, false);
        }
        if turn % 25 == 0 {
            profile.name_threads([(1, "MainThread".into()), (2, "two".into())]);
            profile.process(&facts, turn * 10 * MS);
            profile.forget_threads(|tid| tid < 3);
        }
        if turn == 6_000 {
            after_a_minute = Some(room(&profile));
        }
    }
    assert_eq!(Some(room(&profile)), after_a_minute);
    assert_eq!((profile.entries.len(), profile.processes.len(), profile.thread_names.len()), (2 * 7, 1, 2));
    let seen: u64 = profile.entries.iter().map(|entry| entry.wall_ns).sum();
    assert_eq!(seen, 2 * 3_600 * 1_000 * MS, "all of the time stands in it");
    // What came after what is kept of the last while only.
    assert!(profile.timeline.sorted().len() <= timeline::MAX_SLICES && profile.timeline.begins_ns() > 0);
}
