//! Attribute sets, each kept once.
//!
//! Thousands of prefixes share few sets, so a path holds an [`AttrId`] and equality is a comparison of numbers. Sets
//! are counted and really removed when the last holder lets go. What the decision reads of a set is worked out once,
//! when the set is first seen, and lies beside it ([`Facts`]): comparing two paths follows no pointers.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use crate::wire::attribute::{AttributeSet, Community};

/// A set of attributes by its place in the interner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttrId(u32);

impl AttrId {
    /// No set: an empty cell of a column.
    pub const NONE: AttrId = AttrId(u32::MAX);
}

/// What the decision reads of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// LOCAL_PREF, if present.
    pub local_pref: Option<u32>,
    /// Length of AS_PATH, an AS_SET counting one (RFC 4271 §9.1.2.2 a).
    pub as_path_length: u32,
    /// ORIGIN as a number: IGP 0, EGP 1, INCOMPLETE 2.
    pub origin: u8,
    /// The AS the route was heard from, by which MEDs are grouped; `None` for an empty AS_PATH.
    pub neighbour_as: Option<u32>,
    /// MULTI_EXIT_DISC; absent counts as 0 (RFC 4271 §9.1.2.2 c).
    pub med: u32,
    /// ORIGINATOR_ID as a number.
    pub originator: Option<u32>,
    /// Length of CLUSTER_LIST.
    pub cluster_list_length: u32,
    /// It carries LLGR_STALE: somewhere it is kept for a speaker that has been away for long (RFC 9494 §4.3).
    pub long_lived_stale: bool,
}

impl Facts {
    fn of(set: &AttributeSet) -> Self {
        Facts {
            local_pref: set.local_pref,
            as_path_length: set.as_path.hops() as u32,
            origin: set.origin as u8,
            neighbour_as: set.as_path.neighbour().map(|asn| asn.0),
            med: set.med.unwrap_or(0),
            originator: set.originator_id.map(Ipv4Addr::to_bits),
            cluster_list_length: set.cluster_list.len() as u32,
            long_lived_stale: set.communities.contains(&Community::LLGR_STALE),
        }
    }
}

#[derive(Debug)]
struct Entry {
    set: Arc<AttributeSet>,
    facts: Facts,
    hash: u64,
    count: u32,
}

/// The sets in use.
///
/// The index keeps the hash of each set beside its place: when it grows it looks at no set again.
#[derive(Debug, Default)]
pub struct Attributes {
    index: HashTable<(u64, AttrId)>,
    /// Seeded: sets are chosen by peers.
    hasher: RandomState,
    entries: Slab<Entry>,
}

impl Attributes {
    /// The id of a set, counted once more. A set that is known costs no allocation.
    pub fn intern(&mut self, set: &AttributeSet) -> AttrId {
        let hash = self.hasher.hash_one(set);
        self.known(hash, set).unwrap_or_else(|| self.insert(hash, set.clone()))
    }

    /// The same, of a set that was made for this.
    pub fn intern_made(&mut self, set: AttributeSet) -> AttrId {
        let hash = self.hasher.hash_one(&set);
        self.known(hash, &set).unwrap_or_else(|| self.insert(hash, set))
    }

    /// The id of a set that is here, counted once more.
    fn known(&mut self, hash: u64, set: &AttributeSet) -> Option<AttrId> {
        let entries = &self.entries;
        let is_it = |(other, id): &(u64, AttrId)| {
            *other == hash && entries.get(id.0 as usize).is_some_and(|entry| *entry.set == *set)
        };
        let &(_, id) = self.index.find(hash, is_it)?;
        self.retain(id);
        Some(id)
    }

    fn insert(&mut self, hash: u64, set: AttributeSet) -> AttrId {
        let facts = Facts::of(&set);
        let id = AttrId(self.entries.insert(Entry { set: Arc::new(set), facts, hash, count: 1 }) as u32);
        self.index.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }

    /// Counts one more holder.
    pub fn retain(&mut self, id: AttrId) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.count += 1;
        }
    }

    /// Counts one holder less; the last one removes the set.
    pub fn release(&mut self, id: AttrId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize) else { return };
        entry.count -= 1;
        if entry.count == 0 {
            let gone = self.entries.remove(id.0 as usize);
            if let Ok(place) = self.index.find_entry(gone.hash, |(_, other)| *other == id) {
                place.remove();
            }
        }
    }

    /// The set. `None` only for an id that nobody holds.
    pub fn get(&self, id: AttrId) -> Option<&Arc<AttributeSet>> {
        self.entries.get(id.0 as usize).map(|entry| &entry.set)
    }

    /// What the decision reads of the set.
    pub fn facts(&self, id: AttrId) -> Option<&Facts> {
        self.entries.get(id.0 as usize).map(|entry| &entry.facts)
    }

    /// How many sets are in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
