//! What other replicas are to be told: gathered for a moment, so that busy environments cost the directory little.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::directory::{Change, MAX_CHANGES};

/// More than this is told as [`Change::Everything`].
const MAX_WAITING: usize = 4096;

/// Changes that wait to be told, none of them twice.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    changes: HashSet<Change>,
    /// Somebody takes them, until nothing is left.
    is_taken: bool,
}

/// Whether somebody has to begin to take changes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// Nobody does.
    First,
    /// Somebody does already.
    Waits,
}

impl Outbox {
    /// Adds a change.
    pub(super) fn put(&self, change: Change) -> Put {
        let mut waiting = self.waiting();
        if !waiting.changes.contains(&Change::Everything) {
            waiting.changes.insert(change);
        }
        if change == Change::Everything || waiting.changes.len() > MAX_WAITING {
            waiting.changes = HashSet::from([Change::Everything]);
        }
        if std::mem::replace(&mut waiting.is_taken, true) { Put::Waits } else { Put::First }
    }

    /// Takes out as many as one event may tell; with none left, the next one is a [`Put::First`] again.
    pub(super) fn take(&self) -> Option<Vec<Change>> {
        let mut waiting = self.waiting();
        let taken: Vec<_> = waiting.changes.iter().take(MAX_CHANGES).copied().collect();
        for change in &taken {
            waiting.changes.remove(change);
        }
        waiting.is_taken = !taken.is_empty();
        (!taken.is_empty()).then_some(taken)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{EnvironmentId, OwnerDigest};

    fn change(number: usize) -> Change {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let owner = OwnerDigest::from_bytes([0; 16]);
        Change::Environment { environment: EnvironmentId::from_bytes(id), owner }
    }

    #[test]
    fn a_change_waits_once_and_somebody_is_asked_once_to_take_it() {
        let outbox = Outbox::default();
        assert_eq!(outbox.put(change(1)), Put::First);
        assert_eq!(outbox.put(change(1)), Put::Waits);
        assert_eq!(outbox.take(), Some(vec![change(1)]));
        assert_eq!(outbox.put(change(1)), Put::Waits, "it is still being taken");
        assert_eq!(outbox.take(), Some(vec![change(1)]));
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.put(change(1)), Put::First);
    }

    #[test]
    fn an_event_has_its_size_and_too_much_is_everything() {
        let outbox = Outbox::default();
        for number in 0..MAX_WAITING {
            outbox.put(change(number));
        }
        let taken: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
        assert!(taken.iter().all(|changes| changes.len() <= MAX_CHANGES));
        assert_eq!(taken.concat().len(), MAX_WAITING);
        for number in 0..MAX_WAITING + 5 {
            outbox.put(change(number));
        }
        assert_eq!(outbox.take(), Some(vec![Change::Everything]));
        assert_eq!(outbox.take(), None);
    }
}
