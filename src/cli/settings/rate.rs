//! Rates: so many per second.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::domain::ids::Name;

use super::problem::Wrong;

/// So many per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `N` per second, or 0 for no limit; fractions are fine. The burst is what one second allows, at least 1.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Wrong> {
        let per_second: f64 = text.parse().map_err(|_| Self::wrong())?;
        if per_second == 0.0 {
            return Ok(None);
        }
        if !(1e-5..=1e6).contains(&per_second) {
            return Err(Self::wrong());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 1,000,000"
        )]
        let burst = NonZeroU32::new(per_second as u32).unwrap_or(NonZeroU32::MIN);
        Ok(Some(Self { interval: Duration::from_secs_f64(1.0 / per_second), burst }))
    }

    #[must_use]
    pub(super) fn with_burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }

    /// Time after which one more is allowed.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How many at once after a pause.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    fn wrong() -> Wrong {
        Wrong::new(
            "is not a rate",
            "write requests per second, such as 10 or 0.5, or 0 for no limit",
        )
    }
}

/// A rate for one method or tool.
pub(super) fn named_rate(text: &str) -> Result<(String, Option<Rate>), Wrong> {
    let wrong = || Wrong::new("is not NAME=N", "write it like tools/list=10");
    // Names hold no `=`, numbers neither.
    let (name, number) = text.rsplit_once('=').ok_or_else(wrong)?;
    let name = Name::parse(name).map_err(|_| wrong())?;
    Ok((name.as_str().to_owned(), Rate::parse(number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_may_be_fractions_and_zero_is_none() {
        let rate = Rate::parse("0.5").unwrap().unwrap();
        assert_eq!((rate.interval(), rate.burst().get()), (Duration::from_secs(2), 1));
        let rate = Rate::parse("100").unwrap().unwrap();
        assert_eq!((rate.interval(), rate.burst().get()), (Duration::from_millis(10), 100));
        assert_eq!(Rate::parse("0"), Ok(None));
        for bad in ["", "-1", "NaN", "inf", "ten", "1e9"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(named_rate("tools/list=0").unwrap(), ("tools/list".into(), None));
        assert!(named_rate("tools/list").is_err() && named_rate("=1").is_err());
    }
}
