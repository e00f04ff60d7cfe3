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

    /// One more waits where the queue is full, in the place of another, who is returned: the first of the longest line, if
    /// that stays no shorter than the line of `tenant` becomes, so a tenant that asks for much takes nobody's place; else
    /// the first of its own. Where there is neither, the newcomer itself is returned.
    ///
    /// Not the last of a line: where more come than can be served, as many are refused either way, and those who are served
    /// have waited for the shortest time.
    pub(super) fn displace(&mut self, tenant: TenantDigest, ticket: Ticket, waiter: T) -> T {
        let own = self.lines.iter().find(|line| line.tenant == tenant);
        let has = own.map_or(0, |line| line.waiting.len());
        let longest = self.lines.iter().map(|line| line.waiting.len()).max().unwrap_or(0);
        if longest < has + 2 {
            let own = self.lines.iter_mut().find(|line| line.tenant == tenant);
            let Some(line) = own else { return waiter };
            // Its line keeps its turn, though nobody else is in it.
            line.waiting.push_back((ticket, waiter));
            return line.waiting.pop_front().expect("one was pushed").1;
        }
        let line = self.lines.iter_mut().max_by_key(|line| line.waiting.len());
        let (_, displaced) = line.and_then(|it| it.waiting.pop_front()).expect("it has two");
        self.len -= 1;
        self.push(tenant, ticket, waiter);
        displaced
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
        let after = |waiting: &[(&str, u64)], name| {
            let mut queue = queue(waiting);
            let displaced = queue.displace(tenant(name), 9, 9);
            assert_eq!(queue.len(), waiting.len());
            (displaced, order(queue, |_| 0))
        };
        let waiting = [("a", 1), ("a", 2), ("b", 3)];
        assert_eq!(after(&waiting, "a"), (1, vec![2, 3, 9]), "its own, the first that came");
        assert_eq!(after(&waiting, "b"), (3, vec![1, 9, 2]), "it would be as long as the longest");
        assert_eq!(after(&waiting, "c"), (1, vec![2, 3, 9]), "the longest");
        assert_eq!(after(&waiting[1..], "c"), (9, vec![2, 3]), "each has one");
        assert_eq!(after(&waiting[1..], "a"), (2, vec![9, 3]), "its turn comes when it would have");
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
