//! The messages that were accepted lately, so that none is accepted twice.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::auth::Nonce;
use crate::domain::ids::Timestamp;

/// How far a message's time may be from the receiver's.
pub const WINDOW: Duration = Duration::from_secs(30);

/// How much longer a message is remembered than [`WINDOW`]: within it, a copy is told from a late original.
pub const MEMORY: Duration = Duration::from_secs(40);

/// How many messages are remembered. Beyond it the window becomes shorter, never the memory forgetful.
const CAPACITY: usize = 1 << 17;

/// Accepted messages by their time.
#[derive(Debug)]
pub struct Replays {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: BTreeSet<(Timestamp, Nonce)>,
    /// Messages of this time or before were forgotten for want of room; none of them is accepted.
    forgotten: Option<Timestamp>,
}

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFresh {
    /// It was accepted before.
    Replayed,
    /// Its time is too far from the receiver's.
    Stale,
}

impl Default for Replays {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Replays {
    fn with_capacity(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    /// Accepts a message once, within its time. Only for messages whose MAC was right: nobody else may fill it.
    pub fn accept(&self, sent: Timestamp, nonce: Nonce, now: Timestamp) -> Result<(), NotFresh> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.seen.contains(&(sent, nonce)) {
            return Err(NotFresh::Replayed);
        }
        let apart = now.since(sent).max(sent.since(now));
        if apart > WINDOW || inner.forgotten.is_some_and(|until| sent <= until) {
            return Err(NotFresh::Stale);
        }
        inner.forget(now, self.capacity);
        inner.seen.insert((sent, nonce));
        Ok(())
    }
}

impl Inner {
    fn forget(&mut self, now: Timestamp, capacity: usize) {
        while let Some(&(oldest, _)) = self.seen.first() {
            let full = self.seen.len() >= capacity;
            if !full && oldest.after(MEMORY) >= now {
                return;
            }
            if full && oldest.after(WINDOW) >= now {
                self.forgotten = Some(oldest);
            }
            self.seen.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn nonce(byte: u8) -> Nonce {
        Nonce::from_bytes([byte; 16])
    }

    #[test]
    fn a_message_is_accepted_once() {
        let replays = Replays::default();
        assert_eq!(replays.accept(NOW, nonce(1), NOW), Ok(()));
        assert_eq!(replays.accept(NOW, nonce(1), NOW), Err(NotFresh::Replayed));
        assert_eq!(replays.accept(NOW, nonce(2), NOW), Ok(()));
        let later = NOW.after(MEMORY);
        assert_eq!(replays.accept(NOW, nonce(1), later), Err(NotFresh::Replayed), "not: stale");
    }

    #[test]
    fn a_message_from_another_time_is_stale() {
        let replays = Replays::default();
        let late = NOW.after(WINDOW + Duration::from_millis(1));
        assert_eq!(replays.accept(NOW, nonce(1), late), Err(NotFresh::Stale));
        assert_eq!(replays.accept(late, nonce(1), NOW), Err(NotFresh::Stale));
        assert_eq!(replays.accept(NOW, nonce(1), NOW.after(WINDOW)), Ok(()));
    }

    #[test]
    fn want_of_room_shortens_the_window_and_forgets_no_message() {
        let replays = Replays::with_capacity(2);
        let at = |second: u64| NOW.after(Duration::from_secs(second));
        for second in 0..3 {
            assert_eq!(replays.accept(at(second), nonce(1), at(second)), Ok(()));
        }
        assert_eq!(replays.accept(at(0), nonce(1), at(3)), Err(NotFresh::Stale), "forgotten");
        assert_eq!(replays.accept(at(1), nonce(1), at(3)), Err(NotFresh::Replayed));
        assert_eq!(replays.accept(at(3), nonce(1), at(3)), Ok(()));
        assert_eq!(replays.accept(at(100), nonce(1), at(100)), Ok(()), "the old ones made room");
    }
}
