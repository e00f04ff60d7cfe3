//! What clients have, and show each other: handles, and calls with a key that are done.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton::domain::ids::EnvironmentId;
use serde_json::Value;

/// A handle, and whose it is.
#[derive(Clone, Debug)]
pub struct Handle {
    pub token: String,
    pub environment: EnvironmentId,
    pub owner: &'static str,
}

/// A call with a key that has a result, as it was made.
#[derive(Clone, Debug)]
pub struct Keyed {
    pub call: u64,
    pub key: String,
    pub tool: &'static str,
    pub arguments: Value,
    pub environment: EnvironmentId,
    pub owner: &'static str,
}

/// Every handle that was given out and that nobody asked to close, and every call with a key that is done. Clones share
/// them.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Things>>);

#[derive(Debug, Default)]
struct Things {
    handles: Vec<Handle>,
    done: Vec<Keyed>,
}

impl Shelf {
    /// All handles that are there.
    pub fn all(&self) -> Vec<Handle> {
        self.things().handles.clone()
    }

    pub fn put(&self, handle: Handle) {
        self.things().handles.push(handle);
    }

    pub fn take_away(&self, environment: EnvironmentId) {
        self.things().handles.retain(|it| it.environment != environment);
    }

    /// All calls with a key that are done.
    pub fn done(&self) -> Vec<Keyed> {
        self.things().done.clone()
    }

    pub fn is_done(&self, call: Keyed) {
        self.things().done.push(call);
    }

    fn things(&self) -> MutexGuard<'_, Things> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
