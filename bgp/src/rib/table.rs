//! The table of one family: prefix to dense number, number to destination.

use std::collections::HashMap;

use ahash::RandomState;
use slab::Slab;

use super::destination::{DestId, Destination};
use super::family::Af;

/// Every destination of a family. The hasher is seeded: the keys are chosen by peers.
#[derive(Debug)]
pub(super) struct Table<A: Af> {
    index: HashMap<A::Prefix, DestId, RandomState>,
    slots: Slab<Destination<A::Prefix>>,
}

impl<A: Af> Default for Table<A> {
    fn default() -> Self {
        Table { index: HashMap::default(), slots: Slab::new() }
    }
}

impl<A: Af> Table<A> {
    pub(super) fn find(&self, prefix: A::Prefix) -> Option<DestId> {
        self.index.get(&prefix).copied()
    }

    pub(super) fn find_or_insert(&mut self, prefix: A::Prefix) -> DestId {
        let slots = &mut self.slots;
        *self.index.entry(prefix).or_insert_with(|| DestId(slots.insert(Destination::new(prefix)) as u32))
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
            self.index.remove(&gone.prefix);
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
