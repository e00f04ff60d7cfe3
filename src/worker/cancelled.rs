//! What was cancelled a moment ago: a cancel comes on a connection of its own, and may overtake its call.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::ids::{ExecutionId, Timestamp};

/// How long a call may come after its cancel.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many are remembered; the oldest go first.
const CAPACITY: usize = 1024;

/// Executions, and callers of those with a key, whose cancel came: each call looks for itself, so they are found by id.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    since: HashMap<ExecutionId, Timestamp>,
    /// Oldest first. One that was cancelled again is here again.
    by_age: VecDeque<(Timestamp, ExecutionId)>,
}

impl Cancelled {
    /// Adds one.
    pub(super) fn add(&mut self, id: ExecutionId, now: Timestamp) {
        let is_old = |since| now.since(since) >= REMEMBERED;
        while let Some(&(since, oldest)) = self.by_age.front()
            && (is_old(since) || self.by_age.len() >= CAPACITY)
        {
            self.by_age.pop_front();
            if self.since.get(&oldest) == Some(&since) {
                self.since.remove(&oldest);
            }
        }
        self.by_age.push_back((now, id));
        self.since.insert(id, now);
    }

    /// Whether this one was cancelled lately.
    pub(super) fn has(&self, id: ExecutionId, now: Timestamp) -> bool {
        self.since.get(&id).is_some_and(|since| now.since(*since) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_is_remembered_for_a_while_and_the_oldest_make_room() {
        let now = Timestamp::from_millis(1_000_000);
        let id = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            ExecutionId::from_bytes(bytes)
        };
        let mut cancelled = Cancelled::default();
        for number in 0..=CAPACITY {
            cancelled.add(id(number), now);
        }
        assert!(!cancelled.has(id(0), now) && cancelled.has(id(1), now));
        assert!(!cancelled.has(id(1), now.after(REMEMBERED)));
    }

    #[test]
    fn one_that_is_cancelled_again_is_remembered_from_then_on() {
        let (start, id) = (Timestamp::from_millis(1_000_000), ExecutionId::from_bytes([1; 16]));
        let mut cancelled = Cancelled::default();
        cancelled.add(id, start);
        cancelled.add(id, start.after(REMEMBERED / 2));
        cancelled.add(ExecutionId::from_bytes([2; 16]), start.after(REMEMBERED));
        assert!(cancelled.has(id, start.after(REMEMBERED)), "only the first of the two is old");
    }
}
