//! What replicas tell one another: changes that a client of any of them may listen for.
//!
//! Nothing depends on an event: whoever missed one is told so, and looks again.

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

use crate::domain::ids::{EnvironmentId, OwnerDigest};

/// Events that wait for a slow reader; then it has missed some.
const WAITING: usize = 1024;

/// The most changes that one event tells of.
pub const MAX_CHANGES: usize = 256;

/// What one replica tells at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEvent {
    /// The id of the replica that tells it.
    pub replica: String,
    /// What changed, at most [`MAX_CHANGES`].
    pub changes: Vec<Change>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A list has other entries than before.
    List {
        /// Which list.
        list: List,
        /// Who sees the difference.
        audience: Audience,
    },
    /// An environment is in another state than before, or was used.
    Environment {
        /// Which environment.
        environment: EnvironmentId,
        /// Whose it is; nobody else is to learn of it.
        owner: OwnerDigest,
    },
    /// More than can be told one by one: take it that everything did.
    Everything,
}

/// One of the lists that clients keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// Of tools.
    Tools,
    /// Of prompts.
    Prompts,
    /// Of resources and of their templates.
    Resources,
}

impl List {
    /// Every list.
    pub const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// Its name in messages between replicas.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
        }
    }
}

/// Whom a change is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Every client.
    Everybody,
    /// The clients of one owner.
    Owner(OwnerDigest),
}

/// What [`super::Directory::subscribe`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A replica told this.
    Event(DirectoryEvent),
    /// There may have been events that were not heard: take it that everything changed.
    Missed,
}

/// Events from now on, at most [`WAITING`] of them unread.
#[derive(Debug)]
pub struct Events(Receiver<Heard>);

impl Events {
    /// The next event; none when the directory is closed.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(heard) => Some(heard),
            Err(RecvError::Lagged(_)) => Some(Heard::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where a directory passes events on to its readers.
#[derive(Debug)]
pub(super) struct Readers(Sender<Heard>);

impl Default for Readers {
    fn default() -> Self {
        Self(broadcast::channel(WAITING).0)
    }
}

impl Readers {
    /// One more reader.
    pub(super) fn join(&self) -> Events {
        Events(self.0.subscribe())
    }

    /// Tells all readers; there may be none.
    pub(super) fn tell(&self, heard: Heard) {
        self.0.send(heard).ok();
    }
}
