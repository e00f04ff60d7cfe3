//! What others than the hub tell one listener: upstreams of theirs, and whoever watches tasks.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::gateway::upstream::Told;
use crate::mcp::{ListenFilter, Task};

/// Notifications for one listener that somebody else makes.
#[derive(Debug)]
pub(super) struct ExtraEvents {
    /// The part of the client's filter that they are for; it is acknowledged with the rest.
    pub honoured: ListenFilter,
    /// The notifications. Where its sender is dropped before the client leaves, because the source broke off or the
    /// client reads too slowly, the stream ends, so that the client begins anew and looks at what it may have missed.
    pub events: mpsc::Receiver<ExtraEvent>,
    /// Whoever makes them, until the client leaves.
    _making: JoinSet<()>,
}

/// One notification; the subscription's id is added on the way.
#[derive(Debug)]
pub(super) enum ExtraEvent {
    /// An upstream's.
    Upstream(Told),
    /// A task of ours is so now.
    Task(Box<Task>),
}

impl ExtraEvents {
    /// What these tasks make; they are aborted with it.
    pub(super) fn new(
        honoured: ListenFilter,
        events: mpsc::Receiver<ExtraEvent>,
        making: JoinSet<()>,
    ) -> Self {
        Self { honoured, events, _making: making }
    }

    /// Adds what these events are for to what is honoured otherwise.
    pub(super) fn extend(&self, honoured: &mut ListenFilter) {
        fn add<T: PartialEq + Clone>(all: &mut Vec<T>, more: &[T]) {
            let new: Vec<_> = more.iter().filter(|it| !all.contains(it)).cloned().collect();
            all.extend(new);
        }
        add(&mut honoured.lists, &self.honoured.lists);
        add(&mut honoured.resources, &self.honoured.resources);
        add(&mut honoured.tasks, &self.honoured.tasks);
    }
}
