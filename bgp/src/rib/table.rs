//! The table of one family: prefix to dense number, number to destination.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;

use super::destination::{DestId, Destination};
use super::family::Af;

/// Every destination of a family.
///
/// Prefixes lie in their destinations alone: the index has eight octets for each, whatever the family, and since the hash is
/// among them it looks at no destination when it grows, and nearly always at the right one only when something is looked up.
#[derive(Debug)]
pub(super) struct Table<A: Af> {
    index: HashTable<Place>,
    slots: Slab<Destination<A::Prefix>>,
    /// Seeded: the keys are chosen by peers.
    hasher: RandomState,
}

/// Where a prefix of this hash has its destination.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: Hash,
    id: DestId,
}

/// Half of a prefix's hash: what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hash(u32);

impl Hash {
    /// As the index wants it, which reads both ends of 64 bits.
    fn wide(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

impl<A: Af> Default for Table<A> {
    fn default() -> Self {
        Table { index: HashTable::new(), slots: Slab::new(), hasher: RandomState::new() }
    }
}

impl<A: Af> Table<A> {
    fn hash(&self, prefix: A::Prefix) -> Hash {
        Hash(self.hasher.hash_one(prefix) as u32)
    }

    pub(super) fn find(&self, prefix: A::Prefix) -> Option<DestId> {
        let hash = self.hash(prefix);
        let found = self.index.find(hash.wide(), |place| place.hash == hash && self.is_of(place.id, prefix));
        found.map(|place| place.id)
    }

    pub(super) fn find_or_insert(&mut self, prefix: A::Prefix) -> DestId {
        let hash = self.hash(prefix);
        let slots = &mut self.slots;
        let is_it = |place: &Place| {
            place.hash == hash && slots.get(place.id.index()).is_some_and(|slot| slot.prefix == prefix)
        };
        match self.index.entry(hash.wide(), is_it, |place| place.hash.wide()) {
            Entry::Occupied(entry) => entry.get().id,
            Entry::Vacant(entry) => {
                let id = DestId(slots.insert(Destination::new(prefix)) as u32);
                entry.insert(Place { hash, id });
                id
            }
        }
    }

    fn is_of(&self, id: DestId, prefix: A::Prefix) -> bool {
        self.slots.get(id.index()).is_some_and(|slot| slot.prefix == prefix)
    }

    pub(super) fn get(&self, id: DestId) -> Option<&Destination<A::Prefix>> {
        self.slots.get(id.index())
    }

    pub(super) fn get_mut(&mut self, id: DestId) -> Option<&mut Destination<A::Prefix>> {
        self.slots.get_mut(id.index())
    }

    /// Gives the place free when no path and no consumer needs it any more.
    pub(super) fn remove_unused(&mut self, id: DestId) {
        if self.slots.get(id.index()).is_some_and(Destination::is_unused) {
            let gone = self.slots.remove(id.index());
            if let Ok(place) = self.index.find_entry(self.hash(gone.prefix).wide(), |place| place.id == id) {
                place.remove();
            }
        }
    }

    /// One more than the highest number that may be in use: where a walk over all numbers ends.
    pub(super) fn end(&self) -> u32 {
        self.slots.capacity() as u32
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::family::V6;
    use super::*;
    use crate::wire::nlri::Ipv6Prefix;

    fn prefix(number: u32) -> Ipv6Prefix {
        Ipv6Prefix::new(Ipv6Addr::from_bits(u128::from(number) << 64), 64).unwrap()
    }

    /// So many that some have the same half of a hash (five pairs, on average): they are told apart all the same.
    #[test]
    fn prefixes_are_told_apart_whatever_their_hashes() {
        const COUNT: u32 = 200_000;
        let mut table = Table::<V6>::default();
        let ids: Vec<DestId> = (0..COUNT).map(|number| table.find_or_insert(prefix(number))).collect();
        assert_eq!(table.len(), COUNT as usize);
        for (number, id) in (0..COUNT).zip(&ids) {
            assert_eq!(table.find(prefix(number)), Some(*id));
            assert_eq!(table.find_or_insert(prefix(number)), *id);
        }
        for id in ids.iter().step_by(2) {
            table.remove_unused(*id);
        }
        for (number, id) in (0..COUNT).zip(&ids) {
            assert_eq!(table.find(prefix(number)), (number % 2 == 1).then_some(*id));
        }
        assert_eq!(table.index.len(), COUNT as usize / 2);
    }

    #[test]
    fn what_lies_in_the_table_stays_small() {
        assert_eq!(size_of::<Place>(), 8);
        assert_eq!(size_of::<Ipv6Prefix>(), 20);
        let destination = size_of::<Destination<Ipv6Prefix>>();
        assert!(destination <= 72, "a destination takes {destination} octets");
    }
}
