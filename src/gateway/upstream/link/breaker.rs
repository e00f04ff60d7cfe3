//! Whether an endpoint is worth asking: a state, and what each answer or silence makes of it.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open it.
const FAILURES_TO_OPEN: u32 = 5;
/// How long it is open at first. Each probe that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long it is open at most, a quarter more with jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After this a probe whose end nobody told, or that is a long call, is no reason to hold back another.
const PROBE_TERM: Duration = Duration::from_secs(10);

/// The breaker of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Asked as usual; so many calls in a row have failed.
    Closed { failures: u32 },
    /// Not asked until then.
    Open { until: Instant, pause: Duration },
    /// One call probes it; the others wait for what comes of that, but no longer than this.
    HalfOpen { until: Instant, pause: Duration },
}

/// In what capacity a call goes to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// As any other.
    Usual,
    /// To find out whether it answers again.
    Probe,
}

/// What came of a call, as far as it tells of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The head of an answer, whatever it says.
    Answered,
    /// No connection, or no answer in time.
    Failed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// What a call may be to it now, and the state if it is made; else for how long none may be made.
    pub(super) fn admit(self, now: Instant) -> Result<(Turn, Self), Duration> {
        match self {
            Self::Closed { .. } => Ok((Turn::Usual, self)),
            Self::Open { until, .. } | Self::HalfOpen { until, .. } if now < until => {
                Err(until - now)
            }
            Self::Open { pause, .. } | Self::HalfOpen { pause, .. } => {
                Ok((Turn::Probe, Self::HalfOpen { until: now + PROBE_TERM, pause }))
            }
        }
    }

    /// The state after a call that was admitted. `chance` spreads the probes of many replicas over time.
    #[must_use]
    pub(super) fn after(self, turn: Turn, outcome: Outcome, now: Instant, chance: u8) -> Self {
        match (self, turn, outcome) {
            (Self::Closed { .. }, _, Outcome::Answered) | (_, Turn::Probe, Outcome::Answered) => {
                Self::default()
            }
            (Self::Closed { failures }, _, Outcome::Failed) if failures + 1 < FAILURES_TO_OPEN => {
                Self::Closed { failures: failures + 1 }
            }
            (Self::Closed { .. }, _, Outcome::Failed) => Self::open(FIRST_PAUSE, now, chance),
            (Self::HalfOpen { pause, .. }, Turn::Probe, Outcome::Failed) => {
                Self::open((pause * 2).min(LONGEST_PAUSE), now, chance)
            }
            // Calls from before it opened tell nothing new.
            (Self::Open { .. } | Self::HalfOpen { .. }, _, _) => self,
        }
    }

    /// For a time between three and five quarters of the pause.
    fn open(pause: Duration, now: Instant, chance: u8) -> Self {
        let jittered = pause * 3 / 4 + pause / 2 * u32::from(chance) / u32::from(u8::MAX);
        Self::Open { until: now + jittered, pause }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWERED: Outcome = Outcome::Answered;
    const FAILED: Outcome = Outcome::Failed;

    fn opened(now: Instant, chance: u8) -> Breaker {
        let fail = |breaker: Breaker, _| breaker.after(Turn::Usual, FAILED, now, chance);
        (0..FAILURES_TO_OPEN).fold(Breaker::default(), fail)
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..FAILURES_TO_OPEN {
                breaker = breaker.after(Turn::Usual, FAILED, now, 0);
                assert_eq!(breaker.admit(now), Ok((Turn::Usual, breaker)));
            }
            breaker = breaker.after(Turn::Usual, ANSWERED, now, 0);
        }
        assert!(opened(now, 0).admit(now).is_err());
    }

    #[test]
    fn one_probe_goes_after_the_pause_and_decides() {
        let now = Instant::now();
        let breaker = opened(now, 0);
        let then = now + breaker.admit(now).unwrap_err();
        let (turn, probed) = breaker.admit(then).unwrap();
        assert_eq!(turn, Turn::Probe);
        assert_eq!(probed.admit(then), Err(PROBE_TERM), "a second waits");
        assert_eq!(probed.after(Turn::Probe, ANSWERED, then, 0), Breaker::default());
        let again = probed.after(Turn::Probe, FAILED, then, 0).admit(then).unwrap_err();
        assert_eq!(again, (then - now) * 2);
    }

    #[test]
    fn a_probe_of_which_nobody_hears_makes_room_for_another() {
        let now = Instant::now();
        let (_, probed) = opened(now, 0).admit(now + LONGEST_PAUSE).unwrap();
        let later = now + LONGEST_PAUSE + PROBE_TERM;
        assert!(matches!(probed.admit(later), Ok((Turn::Probe, _))));
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing() {
        let now = Instant::now();
        let open = opened(now, 0);
        let (_, probed) = open.admit(now + LONGEST_PAUSE).unwrap();
        for breaker in [open, probed] {
            for outcome in [ANSWERED, FAILED] {
                assert_eq!(breaker.after(Turn::Usual, outcome, now, 9), breaker);
            }
        }
    }

    #[test]
    fn the_pause_grows_to_its_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now, u8::MAX);
        for _ in 0..20 {
            let pause = breaker.admit(now).unwrap_err();
            assert!(pause <= LONGEST_PAUSE * 5 / 4, "{pause:?}");
            now += pause;
            breaker = breaker.admit(now).unwrap().1.after(Turn::Probe, FAILED, now, u8::MAX);
        }
        assert_eq!(breaker.admit(now), Err(LONGEST_PAUSE * 5 / 4));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_asked_again_within_a_bound(
            steps in prop::collection::vec((0_u64..60_000, any::<bool>(), any::<bool>(), any::<u8>()), 0..80),
        ) {
            let mut now = Instant::now();
            let (mut breaker, mut probing) = (Breaker::default(), 0);
            for (wait, answers, reports, chance) in steps {
                now += Duration::from_millis(wait);
                match breaker.admit(now) {
                    Err(pause) => {
                        prop_assert!(!pause.is_zero() && pause <= LONGEST_PAUSE * 5 / 4);
                        prop_assert!(breaker.admit(now + pause).is_ok());
                    }
                    Ok((turn, next)) => {
                        breaker = next;
                        probing += usize::from(turn == Turn::Probe);
                        if reports {
                            let outcome = if answers { ANSWERED } else { FAILED };
                            breaker = breaker.after(turn, outcome, now, chance);
                        }
                        let closed = matches!(breaker, Breaker::Closed { .. });
                        prop_assert!(turn == Turn::Usual || closed == (reports && answers));
                    }
                }
            }
            prop_assert!(probing <= 80);
        }
    }
}
