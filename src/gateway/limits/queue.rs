//! Those who wait for a place: in the order in which they came within a tenant, fairly among tenants.

use std::collections::VecDeque;

use crate::domain::ids::TenantDigest;

/// Names one who waits.
pub(super) type Ticket = u64;

/// A line for each tenant of whom somebody waits.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// The tenant that was served last is the last.
    lines: VecDeque<Line<T>>,
    len: usize,
}

#[derive(Debug)]
struct Line<T> {
    tenant: TenantDigest,
    waiting: VecDeque<(Ticket, T)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lines: VecDeque::new(), len: 0 }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One more waits, behind those of its tenant.
    pub(super) fn push(&mut self, tenant: TenantDigest, ticket: Ticket, waiter: T) {
        self.len += 1;
        match self.lines.iter_mut().find(|line| line.tenant == tenant) {
            Some(line) => line.waiting.push_back((ticket, waiter)),
            None => self.lines.push_back(Line { tenant, waiting: [(ticket, waiter)].into() }),
        }
    }

    /// The one whose turn it is: of the tenants that have fewer than `most` in flight, the one that has the fewest; of
    /// equals, the one that was not served for longest.
    pub(super) fn next(
        &mut self,
        most: usize,
        in_flight: impl Fn(TenantDigest) -> usize,
    ) -> Option<(TenantDigest, T)> {
        let places = self.lines.iter().map(|line| in_flight(line.tenant)).enumerate();
        let (place, _) = places.filter(|(_, has)| *has < most).min_by_key(|(_, has)| *has)?;
        let mut line = self.lines.remove(place)?;
        let (_, waiter) = line.waiting.pop_front()?;
        self.len -= 1;
        let tenant = line.tenant;
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        Some((tenant, waiter))
    }

    /// Makes room for one of `tenant` where the queue is full: the first of the longest line goes, if that stays no shorter
    /// than the line of `tenant` becomes, so a tenant that asks for much takes nobody's place; else the first of its own.
    ///
    /// Not the last one: where more come than can be served, as many are refused either way, and those who are served have
    /// waited for the shortest time.
    pub(super) fn give_way(&mut self, tenant: TenantDigest) -> Option<T> {
        let own = self.lines.iter().find(|line| line.tenant == tenant);
        let own = own.map_or(0, |line| line.waiting.len());
        let longest = self.lines.iter().max_by_key(|line| line.waiting.len())?;
        let gives = if longest.waiting.len() < own + 2 { tenant } else { longest.tenant };
        let at = self.lines.iter().position(|line| line.tenant == gives)?;
        let line = &mut self.lines[at];
        let (_, waiter) = line.waiting.pop_front()?;
        if line.waiting.is_empty() {
            self.lines.remove(at);
        }
        self.len -= 1;
        Some(waiter)
    }

    /// One does not wait any more.
    pub(super) fn leave(&mut self, tenant: TenantDigest, ticket: Ticket) {
        let Some(at) = self.lines.iter().position(|line| line.tenant == tenant) else { return };
        let waiting = &mut self.lines[at].waiting;
        let Some(place) = waiting.iter().position(|(its, _)| *its == ticket) else { return };
        waiting.remove(place);
        self.len -= 1;
        if waiting.is_empty() {
            self.lines.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::limits::tests::tenant;

    fn queue(waiting: &[(&str, u64)]) -> Queue<u64> {
        let mut queue = Queue::default();
        for (name, number) in waiting {
            queue.push(tenant(name), *number, *number);
        }
        queue
    }

    fn order(mut queue: Queue<u64>, in_flight: impl Fn(TenantDigest) -> usize) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(10, &in_flight)).map(|(_, number)| number).collect()
    }

    #[test]
    fn tenants_take_turns_and_each_keeps_its_order() {
        let waiting = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)];
        assert_eq!(order(queue(&waiting), |_| 0), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn whoever_has_less_in_flight_is_first() {
        let waiting = [("a", 1), ("a", 2), ("b", 3), ("full", 4)];
        let has = |it| match it {
            it if it == tenant("a") => 3,
            it if it == tenant("full") => 10,
            _ => 1,
        };
        assert_eq!(order(queue(&waiting), has), [3, 1, 2], "and the full one waits on");
    }

    #[test]
    fn the_longest_line_gives_way_else_its_own_and_nobody_elses() {
        let waiting = [("a", 1), ("a", 2), ("b", 3)];
        let gives = |name| queue(&waiting).give_way(tenant(name));
        assert_eq!(gives("a"), Some(1), "its own, the first that came");
        assert_eq!(gives("b"), Some(3), "its own: it would be as long as the longest");
        assert_eq!(gives("c"), Some(1), "the longest");
        let mut queue = queue(&waiting[1..]);
        assert_eq!(queue.give_way(tenant("c")), None, "each has one");
        assert_eq!(queue.give_way(tenant("b")), Some(3));
        assert_eq!(queue.len(), 1);
        assert_eq!(order(queue, |_| 0), [2], "a line that nobody is in is none");
    }

    #[test]
    fn whoever_leaves_is_not_served() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("b", 3)]);
        queue.leave(tenant("a"), 1);
        queue.leave(tenant("b"), 3);
        queue.leave(tenant("b"), 3);
        assert_eq!(queue.len(), 1);
        assert_eq!(order(queue, |_| 0), [2]);
    }
}
