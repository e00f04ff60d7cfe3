//! How long calls take while there is no crowd: what a wait for a place is measured by.

use std::time::Duration;

/// The longest that anybody waits for a place, and how long while nothing is known: one wait too long costs less than
/// calls that were shed although a place was about to be free.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// The shortest: what timers tell apart.
const SHORTEST_WAIT: Duration = Duration::from_nanos(STEPS[0]);
/// Fewer calls have no p99: it would be the slowest of them.
const ENOUGH: u32 = 100;
/// After so many, the older ones count half: deployments change.
const MANY: u32 = 4096;
/// Steps of the histogram from the shortest wait to its double, in nanoseconds, each a fifth longer than the one before:
/// that is its error.
const STEPS: [u64; 4] = [1_000_000, 1_189_207, 1_414_214, 1_681_793];
/// From the shortest wait to beyond the longest, in eight doublings.
const BUCKETS: usize = 8 * STEPS.len() + 1;
/// At most so many wait for each place, however quick calls are.
const MOST_FOR_EACH: u128 = 16;

/// How long calls of one class took that met no crowd. Its size is fixed.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    counts: [u32; BUCKETS],
    calls: u32,
    total: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], calls: 0, total: Duration::ZERO }
    }
}

impl Pace {
    /// One call took so long.
    pub(super) fn note(&mut self, took: Duration) {
        if self.calls >= MANY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.calls = self.counts.iter().sum();
            self.total /= 2;
        }
        self.counts[bucket(took)] += 1;
        self.calls += 1;
        self.total += took;
    }

    /// How long one may wait for a place: as long as the slowest of a hundred calls takes, and no longer than
    /// [`LONGEST_WAIT`]. So nobody waits longer than the call itself may take.
    pub(super) fn patience(&self) -> Duration {
        if self.calls < ENOUGH {
            return LONGEST_WAIT;
        }
        let mut slower = self.calls / 100;
        for (place, count) in self.counts.iter().enumerate().rev() {
            if *count > slower {
                return lower_bound(place).min(LONGEST_WAIT);
            }
            slower -= count;
        }
        SHORTEST_WAIT
    }

    /// How many may wait for so many places: those who get one before their patience ends.
    pub(super) fn queue(&self, places: usize) -> usize {
        let mean = match self.calls {
            0 => self.patience(),
            calls => self.total / calls,
        };
        let rounds_in_all = self.patience().as_micros() * places as u128 / mean.as_micros().max(1);
        let most = MOST_FOR_EACH * places as u128;
        usize::try_from(rounds_in_all.clamp(1, most)).unwrap_or(places)
    }
}

/// Which step a time is on.
fn bucket(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let Some(doublings) = (nanos / STEPS[0]).checked_ilog2() else { return 0 };
    let scaled = nanos >> doublings;
    let step = STEPS.iter().rposition(|bound| *bound <= scaled).unwrap_or(0);
    (doublings as usize * STEPS.len() + step).min(BUCKETS - 1)
}

fn lower_bound(place: usize) -> Duration {
    Duration::from_nanos(STEPS[place % STEPS.len()] << (place / STEPS.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(calls: &[(u32, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (count, millis) in calls {
            (0..*count).for_each(|_| pace.note(Duration::from_millis(*millis)));
        }
        pace
    }

    #[test]
    fn one_waits_as_long_as_the_slowest_of_a_hundred_calls_takes() {
        let check = |calls: &[(u32, u64)], least: u64, most: u64| {
            let patience = pace(calls).patience().as_millis();
            let bounds = u128::from(least)..=u128::from(most);
            assert!(bounds.contains(&patience), "{calls:?}: {patience} ms");
        };
        check(&[], 250, 250);
        check(&[(99, 10)], 250, 250);
        check(&[(100, 10)], 8, 10);
        check(&[(100, 0)], 1, 1);
        check(&[(990, 10), (10, 100)], 8, 10);
        check(&[(980, 10), (20, 100)], 80, 100);
        check(&[(980, 10), (20, 30_000)], 250, 250);
    }

    #[test]
    fn a_time_is_on_the_last_step_that_it_reaches() {
        let by_nano = |nanos: u64| bucket(Duration::from_nanos(nanos));
        for place in 0..BUCKETS {
            let bound = u64::try_from(lower_bound(place).as_nanos()).unwrap();
            assert_eq!((by_nano(bound), by_nano(bound - 1)), (place, place.saturating_sub(1)));
        }
        assert_eq!((by_nano(0), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut pace = pace(&[(20_000, 200)]);
        assert!(pace.calls <= MANY);
        (0..40_000).for_each(|_| pace.note(Duration::from_millis(10)));
        assert!((8..=10).contains(&pace.patience().as_millis()));
        assert!(pace.total / pace.calls < Duration::from_millis(11));
    }

    #[test]
    fn as_many_wait_as_get_a_place_in_time() {
        let check =
            |calls: &[(u32, u64)], queue| assert_eq!(pace(calls).queue(8), queue, "{calls:?}");
        check(&[], 8);
        check(&[(1000, 0)], 128);
        // Each place ends one of these every 30 s, and one waits 250 ms.
        check(&[(1000, 30_000)], 1);
        assert!((6..=8).contains(&pace(&[(1000, 10)]).queue(8)));
    }
}
