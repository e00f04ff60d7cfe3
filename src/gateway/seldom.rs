//! What goes wrong with every request for a while, and is logged now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long nothing more is said.
const PAUSE: Duration = Duration::from_secs(30);

/// Lets the same thing be said once in a while.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Whether it is to be said now; and how often it happened, unsaid, since it was said last.
    pub(super) fn say(&self) -> Option<u64> {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_once_in_a_while_and_counted_meanwhile() {
        let seldom = Seldom::default();
        assert_eq!(seldom.say(), Some(0));
        for _ in 0..9 {
            assert_eq!(seldom.say(), None);
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!((seldom.say(), seldom.say()), (Some(9), None));
    }
}
