//! How fast connections may follow one another.

use std::time::Duration;

use tokio::time::Instant;

use super::link::PROBE_EVERY;

/// What more than one connection may be ahead of the pace: one that breaks is replaced before anybody waits, unless so
/// many have broken already.
const AHEAD: Duration = PROBE_EVERY.saturating_mul(7);

/// Lets eight connections be made at once, and then one each [`PROBE_EVERY`].
#[derive(Debug)]
pub(super) struct Pace {
    /// When all that were made would have been, one each [`PROBE_EVERY`].
    even: Instant,
}

impl Pace {
    /// A pace at which none has been made.
    pub(super) fn new(now: Instant) -> Self {
        Self { even: now }
    }

    /// Counts a connection: when the next one may be made.
    pub(super) fn count(&mut self, now: Instant) -> Instant {
        self.even = self.even.max(now) + PROBE_EVERY;
        now + self.even.duration_since(now).saturating_sub(AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_eight_at_once_connections_take_turns_until_it_was_quiet() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for _ in 0..7 {
            assert_eq!(pace.count(begun), begun);
        }
        let mut now = begun;
        for _ in 0..20 {
            let turn = pace.count(now);
            assert_eq!(turn, now + PROBE_EVERY);
            now = turn;
        }
        now += PROBE_EVERY * 3;
        for _ in 0..3 {
            assert_eq!(pace.count(now), now);
        }
        assert_eq!(pace.count(now), now + PROBE_EVERY);
    }
}
