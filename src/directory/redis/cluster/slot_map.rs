//! Who serves which slot, as far as is known.

use super::super::slot::{SLOTS, Slot};
use super::super::trouble::MAX_NODES;
use super::super::url::Address;
use super::view::View;

/// Who serves which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    masters: Vec<Address>,
    /// The index of each slot's master.
    owners: Vec<Option<u16>>,
}

impl SlotMap {
    /// The map that a node's view makes.
    pub(super) fn of(view: &View) -> Self {
        let mut map = Self { masters: Vec::new(), owners: vec![None; usize::from(SLOTS)] };
        for range in &view.ranges {
            let master = map.index(&range.master);
            for slot in range.slots.clone() {
                map.owners[usize::from(slot)] = Some(master);
            }
        }
        map
    }

    /// Notes that a slot has moved. A node that names ever new masters is not followed: the next view tells.
    pub(super) fn moved(&mut self, slot: Slot, to: &Address) {
        if self.masters.len() >= MAX_NODES && !self.masters.contains(to) {
            return;
        }
        let master = self.index(to);
        self.owners[usize::from(slot.number())] = Some(master);
    }

    /// Who serves a slot.
    pub(super) fn owner(&self, slot: Slot) -> Option<&Address> {
        let master = self.owners[usize::from(slot.number())]?;
        self.masters.get(usize::from(master))
    }

    /// All that serve any.
    pub(super) fn masters(&self) -> &[Address] {
        &self.masters
    }

    /// How many slots nobody serves.
    pub(super) fn unserved(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }

    fn index(&mut self, master: &Address) -> u16 {
        let known = self.masters.iter().position(|it| it == master).unwrap_or_else(|| {
            self.masters.push(master.clone());
            self.masters.len() - 1
        });
        u16::try_from(known).expect("there are fewer masters than slots, and each was told of one")
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Range;
    use super::*;

    fn at(host: &str) -> Address {
        Address { host: host.into(), port: 1 }
    }

    fn slot(number: u16) -> Slot {
        Slot::numbered(number).unwrap()
    }

    #[test]
    fn a_slot_has_the_owner_that_was_told_last() {
        let range = |slots, host| Range { slots, master: at(host), replicas: 0 };
        let ranges = vec![range(0..=9, "a"), range(10..=16_000, "b"), range(16_382..=16_382, "a")];
        let mut map = SlotMap::of(&View { ranges, ..View::default() });
        assert_eq!((map.masters().len(), map.unserved()), (2, 382));
        for (number, owner) in [(9, Some("a")), (10, Some("b")), (16_383, None)] {
            assert_eq!(map.owner(slot(number)), owner.map(at).as_ref());
        }
        map.moved(slot(9), &at("c"));
        map.moved(slot(16_383), &at("b"));
        assert_eq!((map.owner(slot(9)), map.owner(slot(8))), (Some(&at("c")), Some(&at("a"))));
        assert_eq!((map.masters().len(), map.unserved()), (3, 381));
    }

    #[test]
    fn ever_new_masters_are_not_followed() {
        let mut map = SlotMap::of(&View::default());
        for number in 0..=MAX_NODES {
            map.moved(slot(0), &at(&number.to_string()));
        }
        assert_eq!(map.masters().len(), MAX_NODES);
        map.moved(slot(0), &at("1"));
        assert_eq!(map.owner(slot(0)), Some(&at("1")), "those that are known are");
    }
}
