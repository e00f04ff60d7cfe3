//! How often something may happen: the decision of every limiter, whoever holds its state (GCRA).
//!
//! All that is known of a caller is how much of a rate is in use, told as the time after which nothing of it would be.
//! Counting one more makes that time longer by one interval; it never gets longer than the window.

use std::num::NonZeroU32;
use std::time::Duration;

/// How often something may happen: one more after each interval, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
}

/// One more would be too many before this time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedUp {
    /// How long until one more may happen.
    pub wait: Duration,
}

impl Rate {
    /// No interval is shorter.
    pub const SHORTEST_INTERVAL: Duration = Duration::from_micros(1);
    /// No window is longer, so that moments at its end are numbers that every store can hold.
    pub const LONGEST_WINDOW: Duration = Duration::from_hours(24 * 365 * 30);

    /// One more after each `interval`, `burst` at once. What is out of range becomes the nearest that is in range.
    pub fn new(interval: Duration, burst: NonZeroU32) -> Self {
        let interval = interval.clamp(Self::SHORTEST_INTERVAL, Self::LONGEST_WINDOW);
        let most = u32::try_from(times(Self::LONGEST_WINDOW, interval)).unwrap_or(u32::MAX);
        let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
        Self { interval, burst: burst.min(most) }
    }

    /// Time after which one more may happen.
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// How many may happen at once after a pause.
    pub fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// Time in which all comes back that can be used up.
    pub fn window(self) -> Duration {
        self.interval.saturating_mul(self.burst.get())
    }

    /// What one of so many equals may do. Windows stay as long as they are, so what was in use of one share stays, in
    /// proportion, in use of another.
    #[must_use]
    pub fn share(self, of: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(self.burst.get() / of).unwrap_or(NonZeroU32::MIN);
        Self::new(self.interval.saturating_mul(of.get()), burst)
    }

    /// Counts one more: how much is in use then.
    pub fn count(self, used: Duration) -> Result<Duration, UsedUp> {
        let with_one_more = used.min(self.window()) + self.interval;
        match with_one_more.checked_sub(self.window()) {
            Some(wait) if !wait.is_zero() => Err(UsedUp { wait }),
            _ => Ok(with_one_more),
        }
    }

    /// How many more may happen now.
    pub fn left(self, used: Duration) -> u32 {
        let free = times(self.window().saturating_sub(used), self.interval);
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    /// How long until there is one more left than now; nothing if there are all.
    pub fn until_one_more(self, used: Duration) -> Duration {
        let used = used.min(self.window());
        let then = self.interval.saturating_mul(self.left(used).saturating_add(1));
        (used + then).saturating_sub(self.window()).min(used)
    }
}

/// How many whole intervals there are in a time.
fn times(time: Duration, interval: Duration) -> u128 {
    time.as_nanos() / interval.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn a_second_each(burst: u32) -> Rate {
        Rate::new(Duration::from_secs(1), number(burst))
    }

    /// How many pass at once when so much is in use, and how much is in use then.
    fn at_once(rate: Rate, used: Duration) -> (u32, Duration) {
        let mut state = (0, used);
        while let Ok(used) = rate.count(state.1) {
            state = (state.0 + 1, used);
        }
        state
    }

    #[test]
    fn so_many_pass_at_once_and_then_one_each_interval() {
        let rate = a_second_each(3);
        let (passed, used) = at_once(rate, Duration::ZERO);
        assert_eq!((passed, used), (3, Duration::from_secs(3)));
        assert_eq!(rate.count(used), Err(UsedUp { wait: Duration::from_secs(1) }));
        let later = used - Duration::from_millis(999);
        assert_eq!(rate.count(later), Err(UsedUp { wait: Duration::from_millis(1) }));
        assert_eq!(at_once(rate, used - Duration::from_secs(1)).0, 1);
    }

    #[test]
    fn what_is_left_counts_down_and_comes_back() {
        let rate = a_second_each(3);
        let check = |used: f64, left: u32, until_one_more: f64| {
            let used = Duration::from_secs_f64(used);
            assert_eq!(rate.left(used), left, "{used:?}");
            assert_eq!(rate.until_one_more(used), Duration::from_secs_f64(until_one_more));
        };
        check(0.0, 3, 0.0);
        check(0.5, 2, 0.5);
        check(1.0, 2, 1.0);
        check(2.5, 0, 0.5);
        check(3.0, 0, 1.0);
        check(9.0, 0, 1.0);
    }

    #[test]
    fn what_was_used_up_stays_so_whatever_the_share() {
        let whole = a_second_each(9);
        for before in 1..=9 {
            let (_, used) = at_once(whole.share(number(before)), Duration::ZERO);
            for after in 1..=9 {
                let more = at_once(whole.share(number(after)), used).0;
                // Rounding of shares leaves less than one of each of the other replicas.
                assert!(more < before, "{more} more with {after} replicas after {before}");
            }
        }
        assert_eq!(at_once(a_second_each(1).share(number(5)), Duration::ZERO).0, 1);
    }

    #[test]
    fn a_rate_is_bounded_whatever_it_is_made_of() {
        let rate = Rate::new(Duration::ZERO, NonZeroU32::MAX);
        assert_eq!(rate.interval(), Rate::SHORTEST_INTERVAL);
        let rate = Rate::new(Duration::MAX, NonZeroU32::MAX);
        assert_eq!((rate.burst(), rate.window()), (NonZeroU32::MIN, Rate::LONGEST_WINDOW));
        assert!(rate.share(NonZeroU32::MAX).window() <= Rate::LONGEST_WINDOW);
    }

    proptest! {
        #[test]
        fn never_more_pass_than_the_burst_and_the_rate_allow(
            burst in 1..20u32,
            pauses in prop::collection::vec(0..3_000u64, 1..200),
        ) {
            let rate = a_second_each(burst);
            let (mut used, mut passed, mut elapsed) = (Duration::ZERO, 0, Duration::ZERO);
            for pause in pauses {
                let pause = Duration::from_millis(pause);
                elapsed += pause;
                used = used.saturating_sub(pause);
                if let Ok(more) = rate.count(used) {
                    (used, passed) = (more, passed + 1);
                }
                prop_assert!(passed <= u64::from(burst) + elapsed.as_secs());
            }
        }
    }
}
