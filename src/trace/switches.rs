//! When the threads of a burst were on no processor, as far as its engine sees that.
//!
//! Pure. A thread that gets a processor before anything else was seen of it had none from the beginning; one that was not
//! seen to get one again has none up to the end.

use std::collections::HashMap;

use crate::capture::burst::{Burst, Engine, What};

/// The times at which a thread was on no processor, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffCpu(Vec<(u64, u64)>);

/// A thread while its events are gone through.
struct Thread {
    since_ns: Option<u64>,
    times: OffCpu,
}

impl OffCpu {
    /// Those of each thread; `None` where the engine does not see them.
    #[must_use]
    pub fn of(burst: &Burst) -> Option<HashMap<i32, Self>> {
        if burst.engine != Engine::Perf {
            return None;
        }
        let end_ns = burst.ended_ns.unwrap_or(burst.over_ns);
        let from_the_start = |tid: i32| burst.threads.iter().any(|thread| thread.tid == tid);
        let mut threads: HashMap<i32, Thread> = HashMap::new();
        for event in &burst.events {
            let first = !threads.contains_key(&event.tid);
            let thread =
                threads.entry(event.tid).or_insert_with(|| Thread { since_ns: None, times: Self::default() });
            match event.what {
                What::Within { .. } => thread.since_ns = Some(burst.began_ns),
                What::OnCpu if first && from_the_start(event.tid) => {
                    thread.times.0.push((burst.began_ns, event.at_ns));
                }
                What::OnCpu => {
                    thread.times.0.extend(thread.since_ns.take().map(|since| (since, event.at_ns)));
                }
                What::OffCpu => thread.since_ns = Some(event.at_ns),
                // It runs, and when it came to that is among what was lost.
                What::Enter { .. } | What::Leave { .. } | What::Lost(_) | What::Ended => {
                    thread.since_ns = None;
                }
                _ => {}
            }
        }
        let closed = threads.into_iter().map(|(tid, mut thread)| {
            thread.times.0.extend(thread.since_ns.map(|since| (since, end_ns)));
            (tid, thread.times)
        });
        Some(closed.collect())
    }

    /// How much of a span that was.
    #[must_use]
    pub fn within(&self, from_ns: u64, to_ns: u64) -> u64 {
        let first = self.0.partition_point(|(_, end)| *end <= from_ns);
        let times = self.0.iter().skip(first).take_while(|(start, _)| *start < to_ns);
        times.map(|(start, end)| (*end).min(to_ns).saturating_sub((*start).max(from_ns))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::tests::{enter, event, leave, spin, unstopped};
    use super::*;
    use crate::capture::burst::{Event, FollowedThread, Woken};
    use crate::capture::model::Doing;

    fn times(from_the_start: bool, events: Vec<Event>) -> Vec<(u64, u64)> {
        let thread = FollowedThread { tid: 7, doing: Doing::Running, woken: Woken::No };
        let burst = unstopped(from_the_start.then_some(thread).into_iter().collect(), events).burst;
        OffCpu::of(&burst).unwrap().remove(&7).unwrap_or_default().0
    }

    #[test]
    fn the_beginning_and_the_end_count() {
        let (off, on) = (|at| event(at, What::OffCpu), |at| event(at, What::OnCpu));
        assert_eq!(times(true, vec![on(2_000), off(3_000), on(4_000)]), [(1_000, 2_000), (3_000, 4_000)]);
        assert_eq!(times(false, vec![on(2_000), off(3_000)]), [(3_000, 50_000_000)], "born when it got one");
        assert_eq!(times(true, vec![off(3_000), event(9_000, What::Ended)]), []);
        let within = What::Within { number: 232, args: [0; 6] };
        assert_eq!(times(true, vec![event(1_000, within)]), [(1_000, 50_000_000)], "never woken");
        assert_eq!(times(true, Vec::new()), []);
        assert_eq!(OffCpu::of(&spin(2).burst), None, "stops do not tell");
    }

    #[test]
    fn what_was_lost_is_not_made_up() {
        let lost = event(4_000, What::Lost(9));
        let events = vec![
            event(3_000, What::OffCpu),
            lost,
            event(5_000, What::OnCpu),
            event(6_000, What::OffCpu),
            enter(7_000, 39, [0; 6]),
            leave(8_000, 7),
        ];
        assert_eq!(times(true, events), []);
    }

    #[test]
    fn of_a_span_only_what_is_in_it() {
        let times = OffCpu(vec![(10, 20), (30, 40), (50, 60)]);
        assert_eq!((times.within(0, 100), times.within(0, u64::MAX)), (30, 30));
        assert_eq!(times.within(15, 35), 10);
        assert_eq!((times.within(20, 30), times.within(32, 34), times.within(60, 5)), (0, 2, 0));
    }
}
