//! Rates: so many per second, and who keeps count.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::domain::ids::Name;
use crate::domain::rate::Rate;
use crate::gateway::RateLimit;

use super::problem::Wrong;

/// What follows a number that all replicas hold together.
const GLOBAL: &str = "global";
/// No more than this may be global: each request is a round trip to Redis.
const MOST_GLOBAL: f64 = 10_000.0;

/// `N` per second, or 0 for no limit; fractions are fine. The burst is this one, or what one second allows and at least
/// 1. With `:global` behind it the directory keeps count for all replicas.
pub(super) fn rate(text: &str, burst: Option<NonZeroU32>) -> Result<Option<RateLimit>, Wrong> {
    let (number, is_global) = match text.split_once(':') {
        None => (text, false),
        Some((number, GLOBAL)) => (number, true),
        Some(_) => return Err(wrong()),
    };
    let per_second: f64 = number.parse().map_err(|_| wrong())?;
    if per_second == 0.0 {
        return Ok(None);
    }
    if !(1e-5..=1e6).contains(&per_second) {
        return Err(wrong());
    }
    if is_global && per_second > MOST_GLOBAL {
        let mend = format!("write at most {MOST_GLOBAL}:global, or leave out :global");
        return Err(Wrong::new("is more than Redis is asked for", mend));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1,000,000"
    )]
    let of_a_second = NonZeroU32::new(per_second as u32).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::from_secs_f64(1.0 / per_second);
    let rate = Rate::new(interval, burst.unwrap_or(of_a_second));
    Ok(Some(if is_global { RateLimit::global(rate) } else { RateLimit::shared(rate) }))
}

/// A rate for one method or tool.
pub(super) fn named_rate(text: &str) -> Result<(String, Option<RateLimit>), Wrong> {
    let wrong = || Wrong::new("is not NAME=N", "write it like tools/list=10");
    // Numbers hold no `=`.
    let (name, number) = text.rsplit_once('=').ok_or_else(wrong)?;
    let name = Name::parse(name).map_err(|_| wrong())?;
    Ok((name.as_str().to_owned(), rate(number, None)?))
}

fn wrong() -> Wrong {
    Wrong::new(
        "is not a rate",
        "write requests per second, such as 10, 0.5 or 10:global, or 0 for no limit",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_rate(interval: Duration, burst: u32) -> Rate {
        Rate::new(interval, NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn rates_may_be_fractions_and_zero_is_none() {
        let (slow, fast) = (Duration::from_secs(2), Duration::from_millis(10));
        let shared = |rate| Ok(Some(RateLimit::shared(rate)));
        assert_eq!(rate("0.5", None), shared(a_rate(slow, 1)));
        assert_eq!(rate("100", None), shared(a_rate(fast, 100)));
        assert_eq!(rate("100", NonZeroU32::new(7)), shared(a_rate(fast, 7)));
        for none in ["0", "0:global"] {
            assert_eq!(rate(none, None), Ok(None));
        }
        for bad in ["", "-1", "NaN", "inf", "ten", "1e9", "1:", ":global", "1:local", "1:global:"] {
            assert!(rate(bad, None).is_err(), "{bad}");
        }
        assert_eq!(named_rate("tools/list=0").unwrap(), ("tools/list".into(), None));
        assert!(named_rate("tools/list").is_err() && named_rate("=1").is_err());
    }

    #[test]
    fn a_rate_may_be_global_if_redis_can_bear_it() {
        let global = |text| rate(text, None).unwrap().unwrap();
        let tenth = a_rate(Duration::from_micros(100), 10_000);
        assert_eq!(global("10000:global"), RateLimit::global(tenth));
        assert!(rate("10001:global", None).unwrap_err().mend.contains("10000:global"));
        let (name, limit) = named_rate("up_say:x=0.5:global").unwrap();
        assert_eq!((&*name, limit), ("up_say:x", Some(global("0.5:global"))));
    }
}
