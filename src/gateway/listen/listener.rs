//! One client that listens: what it asked for, and what it has not been told yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::directory::{Change, List};
use crate::domain::ids::EnvironmentId;

/// What one client is told of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Lists whose changes it is told of.
    pub lists: Lists,
    /// Environments whose changes it is told of, each under the URI that it gave.
    pub environments: Vec<Watched>,
}

/// An environment, and the URI under which a client knows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// The environment.
    pub environment: EnvironmentId,
    /// Its URI, as the client wrote it.
    pub uri: String,
}

/// Some of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists(u8);

impl Lists {
    fn has(self, list: List) -> bool {
        self.0 & 1 << list as u8 != 0
    }

    fn take_first(&mut self) -> Option<List> {
        let first = List::ALL.into_iter().find(|list| self.has(*list))?;
        self.0 &= !(1 << first as u8);
        Some(first)
    }
}

impl FromIterator<List> for Lists {
    fn from_iter<I: IntoIterator<Item = List>>(lists: I) -> Self {
        Self(lists.into_iter().fold(0, |all, list| all | 1 << list as u8))
    }
}

/// What a listener learns next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// A list changed.
    ListChanged(List),
    /// The resource with this URI changed.
    ResourceUpdated(&'a str),
    /// Nothing more will be told here.
    Ended,
}

/// What a client has not been told yet. What waits already does not wait twice, so it is never more than the client
/// asked for.
#[derive(Debug)]
pub(super) struct Listener {
    interest: Interest,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    lists: Lists,
    /// Places in the interest's environments, in the order in which they changed.
    updated: Vec<usize>,
    ended: bool,
    reader: Option<Waker>,
}

impl Listener {
    /// A listener to whom nothing has been told.
    pub(super) fn new(interest: Interest) -> Self {
        Self { interest, waiting: Mutex::default() }
    }

    /// Tells it of a change, if that is among what it asked for.
    pub(super) fn tell(&self, change: &Change) {
        let mut waiting = self.waiting();
        match change {
            Change::List { list, .. } if self.interest.lists.has(*list) => {
                waiting.lists.0 |= 1 << *list as u8;
            }
            Change::List { .. } => {}
            Change::Environment { environment, .. } => {
                let watched = self.interest.environments.iter().enumerate();
                for (place, _) in watched.filter(|(_, it)| it.environment == *environment) {
                    waiting.update(place);
                }
            }
            Change::Everything => {
                waiting.lists = self.interest.lists;
                (0..self.interest.environments.len()).for_each(|place| waiting.update(place));
            }
        }
        waiting.wake();
    }

    /// Ends it, once it has read what waits.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.wake();
    }

    /// What it learns next; without anything, its reader is woken when there is.
    pub(super) fn poll_told(&self, context: &mut Context<'_>) -> Poll<Told<'_>> {
        let mut waiting = self.waiting();
        if let Some(list) = waiting.lists.take_first() {
            return Poll::Ready(Told::ListChanged(list));
        }
        if !waiting.updated.is_empty() {
            let place = waiting.updated.remove(0);
            return Poll::Ready(Told::ResourceUpdated(&self.interest.environments[place].uri));
        }
        if waiting.ended {
            return Poll::Ready(Told::Ended);
        }
        waiting.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn update(&mut self, place: usize) {
        if !self.updated.contains(&place) {
            self.updated.push(place);
        }
    }

    /// Wakes the reader if there is anything to read.
    fn wake(&mut self) {
        if self.ended || self.lists != Lists::default() || !self.updated.is_empty() {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;
    use crate::directory::Audience;
    use crate::domain::ids::OwnerDigest;

    fn environment(id: u8) -> EnvironmentId {
        EnvironmentId::from_bytes([id; 16])
    }

    fn listener(lists: &[List], environments: &[(u8, &str)]) -> Listener {
        let watched =
            |(id, uri): &(u8, &str)| Watched { environment: environment(*id), uri: (*uri).into() };
        Listener::new(Interest {
            lists: lists.iter().copied().collect(),
            environments: environments.iter().map(watched).collect(),
        })
    }

    fn list(list: List) -> Change {
        Change::List { list, audience: Audience::Everybody }
    }

    fn used(id: u8) -> Change {
        let owner = OwnerDigest::from_bytes([0; 16]);
        Change::Environment { environment: environment(id), owner }
    }

    /// Everything that can be read now.
    fn read(listener: &Listener) -> Vec<Told<'_>> {
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let next = || match listener.poll_told(&mut context) {
            Poll::Ready(Told::Ended) | Poll::Pending => None,
            Poll::Ready(told) => Some(told),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let listener = listener(&[List::Tools], &[(1, "a")]);
        for change in [list(List::Prompts), list(List::Resources), used(2)] {
            listener.tell(&change);
        }
        assert_eq!(read(&listener), []);
        listener.tell(&list(List::Tools));
        listener.tell(&used(1));
        let both = [Told::ListChanged(List::Tools), Told::ResourceUpdated("a")];
        assert_eq!(read(&listener), both);
    }

    #[test]
    fn what_waits_does_not_wait_twice() {
        let listener = listener(&List::ALL, &[(1, "a"), (2, "b"), (1, "another-handle")]);
        for _ in 0..3 {
            listener.tell(&list(List::Resources));
            listener.tell(&used(2));
            listener.tell(&used(1));
        }
        let once = [
            Told::ListChanged(List::Resources),
            Told::ResourceUpdated("b"),
            Told::ResourceUpdated("a"),
            Told::ResourceUpdated("another-handle"),
        ];
        assert_eq!(read(&listener), once);
        listener.tell(&used(2));
        assert_eq!(read(&listener), [Told::ResourceUpdated("b")], "what was read waits again");
    }

    #[test]
    fn what_was_missed_may_be_all_that_was_asked_for() {
        let listener = listener(&[List::Prompts], &[(1, "a")]);
        listener.tell(&Change::Everything);
        let all = [Told::ListChanged(List::Prompts), Told::ResourceUpdated("a")];
        assert_eq!(read(&listener), all);
    }

    #[test]
    fn an_ended_listener_reads_what_waits_first() {
        let listener = listener(&[List::Tools], &[]);
        listener.tell(&list(List::Tools));
        listener.end();
        assert_eq!(read(&listener), [Told::ListChanged(List::Tools)]);
        let waker = noop_waker();
        let last = listener.poll_told(&mut Context::from_waker(&waker));
        assert_eq!(last, Poll::Ready(Told::Ended));
    }
}
