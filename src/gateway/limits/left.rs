//! What is left of a caller's rates, told with each answer (draft-ietf-httpapi-ratelimit-headers-11).

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limiter::Limiter;
use crate::domain::rate::Rate;

/// Section 3.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Section 4.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left of the rates in which one request was counted.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Left<'a>(Vec<Reading<'a>>);

#[derive(Debug)]
struct Reading<'a> {
    limiter: &'a Limiter,
    left: u32,
    until_one_more: Duration,
}

impl<'a> Left<'a> {
    /// Notes how much of a rate, or of this replica's share of it, is in use.
    pub(super) fn note(&mut self, limiter: &'a Limiter, rate: Rate, used: Duration) {
        let (left, until_one_more) = (rate.left(used), rate.until_one_more(used));
        self.0.push(Reading { limiter, left, until_one_more });
    }

    /// Tells it. Nothing is told where nothing limits.
    pub(in crate::gateway) fn tell(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        let (mut policies, mut limits) = (String::with_capacity(96), String::with_capacity(96));
        for Reading { limiter, left, until_one_more } in &self.0 {
            let comma = if policies.is_empty() { "" } else { ", " };
            policies.extend([comma, limiter.policy()]);
            // Section 4: within `t` seconds no more than `r` may be used. After them it is one more at least.
            let seconds = until_one_more.as_millis().div_ceil(1000);
            write!(limits, "{comma}{};r={left};t={seconds}", limiter.label())
                .expect("a String takes all text");
        }
        for (name, text) in [(POLICY, policies), (LIMIT, limits)] {
            headers.insert(name, HeaderValue::try_from(text).expect("names are printable ASCII"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::gateway::limits::limiter::Scope;
    use crate::gateway::limits::rates::RateLimit;

    #[test]
    fn every_rate_is_told_in_one_field_of_each_kind() {
        let rate = Rate::new(Duration::from_millis(500), NonZeroU32::new(9).unwrap());
        let of = |scope, name| Limiter::new(scope, name, RateLimit::shared(rate));
        let (tool, tenant) = (of(Scope::Tool, "whoami"), of(Scope::Tenant, ""));
        let mut left = Left::default();
        left.note(&tool, rate, Duration::from_millis(4500));
        left.note(&tenant, rate, Duration::from_millis(400));
        let mut headers = HeaderMap::new();
        left.tell(&mut headers);
        assert_eq!(headers[POLICY], r#""tool:whoami";q=9;w=5, "tenant";q=9;w=5"#);
        assert_eq!(headers[LIMIT], r#""tool:whoami";r=0;t=1, "tenant";r=8;t=1"#);
    }

    #[test]
    fn where_nothing_limits_nothing_is_told() {
        let mut headers = HeaderMap::new();
        Left::default().tell(&mut headers);
        assert!(headers.is_empty());
    }
}
