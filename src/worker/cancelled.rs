//! What was cancelled a moment ago: a cancel comes on a connection of its own, and may overtake its call.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::ids::{ExecutionId, Timestamp};

/// How long a call may come after its cancel.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many are remembered; the oldest go first.
const CAPACITY: usize = 1024;

/// Executions, and callers of those with a key, whose cancel came: oldest first.
#[derive(Debug, Default)]
pub(super) struct Cancelled(VecDeque<(Timestamp, ExecutionId)>);

impl Cancelled {
    /// Adds one.
    pub(super) fn add(&mut self, id: ExecutionId, now: Timestamp) {
        if self.0.len() >= CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back((now, id));
    }

    /// Whether this one was cancelled lately.
    pub(super) fn has(&mut self, id: ExecutionId, now: Timestamp) -> bool {
        self.0.retain(|(since, _)| now.since(*since) < REMEMBERED);
        self.0.iter().any(|(_, it)| *it == id)
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
}
