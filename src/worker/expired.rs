//! The environments whose time was over a moment ago: every gateway hears of them, and tells whoever watches.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::ids::Timestamp;
use crate::rpc::wire::Claim;

/// For how long it is said that an environment has expired: a gateway misses that if it hears no report for so long.
const SAID_FOR: Duration = Duration::from_secs(30);
/// How many are said at once; the oldest go first.
const CAPACITY: usize = 256;

/// Those that expired, oldest first.
#[derive(Debug, Default)]
pub(super) struct Expired(VecDeque<(Timestamp, Claim)>);

impl Expired {
    /// Adds one.
    pub(super) fn add(&mut self, claim: Claim, now: Timestamp) {
        if self.0.len() >= CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back((now, claim));
    }

    /// Those that are to be told of now.
    pub(super) fn lately(&mut self, now: Timestamp) -> Vec<Claim> {
        self.0.retain(|(since, _)| now.since(*since) < SAID_FOR);
        self.0.iter().map(|(_, claim)| claim.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(number: usize) -> Claim {
        Claim {
            environment: number.to_string(),
            tenant: String::new(),
            owner: String::new(),
            epoch: 1,
            not_after_ms: 0,
            ticket: String::new(),
        }
    }

    #[test]
    fn what_expired_is_said_for_a_while_and_the_oldest_make_room() {
        let now = Timestamp::from_millis(1_000_000);
        let mut expired = Expired::default();
        for number in 0..=CAPACITY {
            expired.add(claim(number), now);
        }
        let last = now.after(Duration::from_millis(29_999));
        let said = expired.lately(last);
        assert_eq!((said.len(), &said[0]), (CAPACITY, &claim(1)));
        assert_eq!(expired.lately(now.after(SAID_FOR)), []);
        assert_eq!(expired.lately(last), [], "it was forgotten");
    }
}
