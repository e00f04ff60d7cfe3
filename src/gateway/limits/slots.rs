//! Places in flight: how many calls this replica works on at once, in all and for one tenant.
//!
//! Every call takes one of the same places, but each [`Class`] only while fewer are taken than it may fill, so that what is
//! shed last always finds one. Whoever finds none waits as long as the [`Pace`] of its class says, in a fair [`Queue`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::Refusal;
use super::class::Class;
use super::pace::Pace;
use super::queue::{Queue, Ticket};
use crate::domain::digest_map::DigestMap;
use crate::domain::ids::TenantDigest;

/// How much may be in flight on this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Calls in all.
    pub calls: usize,
    /// Calls of one tenant.
    pub calls_per_tenant: usize,
}

/// A place in flight; given back when dropped.
#[derive(Debug)]
pub(in crate::gateway) struct Slot {
    places: Arc<Places>,
    class: Class,
    tenant: TenantDigest,
    /// Since when, if it met no crowd.
    alone_since: Option<Instant>,
}

/// The places of one replica.
#[derive(Debug)]
pub(super) struct Slots(Arc<Places>);

#[derive(Debug)]
struct Places {
    in_flight: InFlight,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Of those who have any.
    tenants: DigestMap<TenantDigest, usize>,
    lanes: [Lane; Class::COUNT],
    tickets: Ticket,
}

/// What is known of one class.
#[derive(Debug, Default)]
struct Lane {
    pace: Pace,
    queue: Queue<oneshot::Sender<Slot>>,
}

/// What comes of asking for a place.
enum Asked {
    Given(Slot),
    Waits(Waiting, Duration),
}

/// A place in a queue; left when dropped.
struct Waiting {
    places: Arc<Places>,
    class: Class,
    tenant: TenantDigest,
    ticket: Ticket,
    turn: oneshot::Receiver<Slot>,
}

impl Slots {
    /// So many, all of them free.
    pub(super) fn new(in_flight: InFlight) -> Self {
        Self(Arc::new(Places { in_flight, state: Mutex::default() }))
    }

    /// Takes one, waiting for it a short while.
    pub(super) async fn take(&self, class: Class, tenant: TenantDigest) -> Result<Slot, Refusal> {
        match self.0.ask(class, tenant) {
            Asked::Given(slot) => Ok(slot),
            Asked::Waits(mut waiting, patience) => match timeout(patience, &mut waiting.turn).await
            {
                Ok(Ok(slot)) => Ok(slot),
                // Too long; or it had to give way.
                Err(_) | Ok(Err(_)) => Err(Refusal::Busy),
            },
        }
    }
}

impl Places {
    fn ask(self: &Arc<Self>, class: Class, tenant: TenantDigest) -> Asked {
        let mut state = self.state();
        // Whoever waits could not go in at the last change either, so nobody is overtaken.
        if state.taken < class.most(self.in_flight.calls)
            && state.of(tenant) < class.most(self.in_flight.calls_per_tenant)
        {
            return Asked::Given(self.give(&mut state, class, tenant));
        }
        state.tickets += 1;
        let State { lanes, tickets, .. } = &mut *state;
        let lane = &mut lanes[class as usize];
        let patience = lane.pace.patience();
        let (turn, granted) = oneshot::channel();
        let ticket = *tickets;
        if lane.queue.len() < lane.pace.queue(class.most(self.in_flight.calls)) {
            lane.queue.push(tenant, ticket, turn);
        } else {
            // Whoever gives way hears it by this; the newcomer too, where that is nobody else.
            drop(lane.queue.displace(tenant, ticket, turn));
        }
        let waiting = Waiting { places: Arc::clone(self), class, tenant, ticket, turn: granted };
        Asked::Waits(waiting, patience)
    }

    fn give(self: &Arc<Self>, state: &mut State, class: Class, tenant: TenantDigest) -> Slot {
        state.taken += 1;
        *state.tenants.entry(tenant).or_default() += 1;
        let crowd = class.most(self.in_flight.calls).div_ceil(2);
        let alone_since = (state.taken <= crowd).then(Instant::now);
        Slot { places: Arc::clone(self), class, tenant, alone_since }
    }

    /// Gives a place that has become free to whoever's turn it is, and returns what is to be sent where.
    fn pass_on(self: &Arc<Self>, state: &mut State) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let InFlight { calls, calls_per_tenant } = self.in_flight;
        for class in Class::FIRST_SERVED {
            if state.taken >= class.most(calls) {
                return None; // those that follow may fill fewer
            }
            let State { tenants, lanes, .. } = &mut *state;
            let in_flight = |tenant| tenants.get(&tenant).copied().unwrap_or(0);
            let next = lanes[class as usize].queue.next(class.most(calls_per_tenant), in_flight);
            if let Some((tenant, turn)) = next {
                let mut slot = self.give(state, class, tenant);
                slot.alone_since = None; // it waited, so there is a crowd
                return Some((turn, slot));
            }
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&self, tenant: TenantDigest) -> usize {
        self.tenants.get(&tenant).copied().unwrap_or(0)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.taken -= 1;
        if let Some(count) = state.tenants.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                state.tenants.remove(&self.tenant);
            }
        }
        if let Some(since) = self.alone_since {
            state.lanes[self.class as usize].pace.note(since.elapsed());
        }
        let next = self.places.pass_on(&mut state);
        // One that nobody takes any more comes back here.
        drop(state);
        if let Some((turn, slot)) = next {
            turn.send(slot).ok();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.lanes[self.class as usize].queue.leave(self.tenant, self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::gateway::limits::tests::tenant;

    fn slots(calls: usize, calls_per_tenant: usize) -> Slots {
        Slots::new(InFlight { calls, calls_per_tenant })
    }

    impl Slots {
        async fn many(&self, count: usize, class: Class, name: &str) -> Vec<Slot> {
            let mut taken = Vec::new();
            for _ in 0..count {
                taken.push(self.take(class, tenant(name)).await.unwrap());
            }
            taken
        }

        async fn takes(&self, class: Class, name: &str) -> bool {
            self.take(class, tenant(name)).await.is_ok()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_its_places_in_flight() {
        let slots = slots(2, 1);
        let first = slots.take(Class::Execute, tenant("a")).await.unwrap();
        assert!(!slots.takes(Class::Execute, "a").await);
        let _other = slots.take(Class::Execute, tenant("b")).await.unwrap();
        assert!(!slots.takes(Class::Execute, "c").await, "the replica is full");
        drop(first);
        assert!(slots.takes(Class::Execute, "a").await);
    }

    #[tokio::test(start_paused = true)]
    async fn creates_are_shed_first_then_lists_then_executions_and_closing_last() {
        let slots = slots(4, 4);
        let check = async |may: [bool; 4]| {
            let classes = [Class::Create, Class::List, Class::Execute, Class::Finish];
            for (class, may) in classes.into_iter().zip(may) {
                assert_eq!(slots.takes(class, "a").await, may, "{class:?}");
            }
        };
        let mut busy = slots.many(1, Class::Execute, "a").await;
        check([true, true, true, true]).await;
        busy.extend(slots.many(1, Class::Execute, "a").await);
        check([false, true, true, true]).await;
        busy.extend(slots.many(1, Class::Execute, "a").await);
        check([false, false, true, true]).await;
        busy.extend(slots.many(1, Class::Execute, "a").await);
        check([false, false, false, true]).await;
        busy.extend(slots.many(1, Class::Finish, "a").await);
        check([false, false, false, false]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_place_goes_to_what_is_shed_last_whoever_came_first() {
        let slots = Arc::new(slots(1, 1));
        let busy = slots.many(1, Class::Execute, "a").await;
        let waits = async |class| {
            slots.take(class, tenant("b")).await.map(|slot| (class, slot)).map_err(|_| class)
        };
        let mut waiting = Box::pin(futures_util::future::select_all([
            Box::pin(waits(Class::Create)),
            Box::pin(waits(Class::Execute)),
        ]));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(busy);
        let (first, _, _) = waiting.await;
        assert_eq!(first.unwrap().0, Class::Execute);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_call_takes_that_meets_no_crowd() {
        let slots = slots(4, 4);
        let waited = async || {
            let _busy = slots.many(4, Class::Execute, "a").await;
            let since = Instant::now();
            assert!(!slots.takes(Class::Execute, "b").await);
            since.elapsed().as_millis()
        };
        assert_eq!(waited().await, 250, "nothing is known yet");
        for _ in 0..1000 {
            let _alone = slots.take(Class::Execute, tenant("a")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let waited = waited().await;
        assert!((15..=21).contains(&waited), "{waited} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_in_a_full_queue_is_refused_at_once_for_who_comes() {
        let slots = slots(2, 2);
        let _busy = slots.many(2, Class::Execute, "a").await;
        let since = Instant::now();
        let mut waiting = Vec::new();
        for name in ["a", "a", "a", "b", "b"] {
            let mut more = Box::pin(slots.take(Class::Execute, tenant(name)));
            assert!(futures_util::poll!(&mut more).is_pending());
            waiting.push(more);
        }
        for (mut it, waits) in waiting.into_iter().zip([false, false, true, false, true]) {
            match futures_util::poll!(&mut it) {
                Poll::Ready(taken) => assert!(!waits && taken.is_err()),
                Poll::Pending => assert!(waits),
            }
        }
        assert_eq!(since.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_left_the_queue_takes_no_place() {
        let slots = slots(2, 2);
        let busy = slots.many(2, Class::Execute, "a").await;
        let mut left = Box::pin(slots.take(Class::Execute, tenant("b")));
        let mut granted = Box::pin(slots.take(Class::Execute, tenant("c")));
        assert!(futures_util::poll!(&mut left).is_pending());
        assert!(futures_util::poll!(&mut granted).is_pending());
        drop(left);
        drop(busy);
        // It has its place, and nobody to take it: that is given back too.
        drop(granted);
        let state = slots.0.state();
        assert_eq!((state.taken, state.tenants.len()), (0, 0));
        assert!(state.lanes.iter().all(|lane| lane.queue.len() == 0));
    }
}
