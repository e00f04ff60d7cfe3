//! Something that goes wrong for every connection is said once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(10);

/// When it was last said.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    last: Mutex<Option<Instant>>,
}

impl Complaint {
    /// Whether it is time to say it; then it counts as said.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() > PAUSE);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
