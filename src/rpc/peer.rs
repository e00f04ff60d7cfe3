//! A worker as a gateway knows it: where it is, which start of it, and the key that it has, or may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::ids::{Incarnation, WorkerId};
use crate::domain::keyring::WorkerKey;

/// A worker as a gateway knows it from its reports. Clones share what calls learn of its key.
#[derive(Clone, Debug)]
pub struct Peer {
    url: Arc<str>,
    keys: Arc<Keys>,
    incarnation: Incarnation,
}

impl Peer {
    /// The worker that has this key, at this address. A call meant for an earlier start of it is refused.
    pub fn new(url: String, key: WorkerKey, incarnation: Incarnation) -> Self {
        Self { url: url.into(), keys: Arc::new(Keys::new(key)), incarnation }
    }

    /// The same, where it may have another of these keys: while its root rotates, nobody can be sure before it has
    /// spoken.
    #[must_use]
    pub fn or_keys(self, others: impl IntoIterator<Item = WorkerKey>) -> Self {
        let all = std::iter::once(self.keys.present().clone()).chain(others).collect();
        Self { keys: Arc::new(Keys { all, present: AtomicUsize::new(0) }), ..self }
    }

    /// Which worker.
    pub fn worker(&self) -> &WorkerId {
        self.keys.present().worker()
    }

    /// Which start of it.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Where its rpc is reached.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }
}

/// The keys that one start of a worker may have. It has one of them for all its life.
#[derive(Debug)]
pub(super) struct Keys {
    all: Vec<WorkerKey>,
    /// The place of the one that it is taken to have.
    present: AtomicUsize,
}

impl Keys {
    /// One key, for sure.
    pub(super) fn new(key: WorkerKey) -> Self {
        Self { all: vec![key], present: AtomicUsize::new(0) }
    }

    /// The key that calls are sealed with now.
    pub(super) fn present(&self) -> &WorkerKey {
        &self.all[self.present.load(Ordering::Relaxed)]
    }

    /// How many there are: at least one.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// The place of the key that passes this check.
    pub(super) fn find(&self, is_it: impl FnMut(&WorkerKey) -> bool) -> Option<usize> {
        self.all.iter().position(is_it)
    }

    /// Seals calls with the key at that place from here on.
    pub(super) fn turn_to(&self, place: usize) {
        self.present.store(place, Ordering::Relaxed);
    }
}
