//! Blocks that agents of before loans wrote, while nodes are upgraded one by one.
//!
//! Those agents know no asking. Where such an owner says `shared`, others take an address by writing it into the object, and the
//! object alone knows that they did. So the owner, once its agent is a present one, grants nothing from such a block before it
//! has read it, taken over what it shows, and written it with a revision and without `shared`: by compare-and-swap, so whoever
//! takes an address in between is seen, and nobody can afterwards. Who borrows here never asks such an owner, and gives back
//! only what the object still shows as lent to it: that owner lets an address rest by itself, and then gives it to others.

use std::time::Instant;

use caracal_api::IpamBlock;

use crate::block::Block;
use crate::sharing::{Shown, shown};

/// Whether an object was written last by an agent that knows no revisions.
pub(crate) fn is_of_before(object: &IpamBlock) -> bool {
    object.spec.revision == 0
}

/// Whether an object shows addresses that other nodes have.
pub(crate) fn shows_loans(object: &IpamBlock) -> bool {
    object.spec.allocations.values().any(|text| matches!(shown("", text), Shown::Lent))
}

impl Block {
    /// Whether others may have taken addresses of this own block, or take some, that only its object tells of.
    pub(crate) fn is_open(&self) -> bool {
        let of_before =
            |object: &IpamBlock| is_of_before(object) && (object.spec.shared || shows_loans(object));
        self.revision == 0 && self.object.as_deref().is_some_and(of_before)
    }

    /// Takes over what others took without asking; what they gave back since rests until `until`.
    pub(crate) fn take_over(&mut self, until: Instant) {
        let Some(object) = self.object.clone() else { return };
        if self.revision > 0 || !is_of_before(&object) {
            return;
        }
        let is_lent = |ordinal: &u32| {
            let text = object.spec.allocations.get(&ordinal.to_string());
            text.is_some_and(|text| matches!(shown("", text), Shown::Lent))
        };
        let lent = self.used.iter().filter(|(_, used)| used.record.is_some());
        let ended: Vec<u32> = lent.map(|(ordinal, _)| *ordinal).filter(|o| !is_lent(o)).collect();
        for ordinal in ended {
            self.used.remove(&ordinal);
            self.rest(ordinal, until);
        }
        for ordinal in (0..self.cidr.size()).filter(is_lent) {
            let own = self.used.get(&ordinal).is_some_and(|used| used.record.is_none());
            if let (false, Some(text)) = (own, object.spec.allocations.get(&ordinal.to_string())) {
                self.occupy(ordinal, text.clone());
            }
        }
    }

    /// What the journal keeps of a block that was not seen written with a revision says so: a restart reads it first.
    pub(crate) fn keep_open(&self, object: &mut IpamBlock) {
        if let (0, None, Some(known)) = (self.revision, &self.borrower, &self.object) {
            object.spec.revision = 0;
            object.spec.shared = known.spec.shared;
        }
    }
}
