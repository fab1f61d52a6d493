//! Bringing the block's object up to what is so.
//!
//! Nobody waits for this, so changes gather for some seconds and go out as one write of the whole block. The object's
//! resource version is the precondition: if anyone else wrote, the block is read and judged before it is written again.

use std::collections::BTreeMap;

use caracal_api::{BlockOwner, IpamBlock};

use crate::block::{Block, new_object};
use crate::machine::Ipam;
use crate::recover::journal_of;
use crate::request::Now;
use crate::sharing::{held_record, record};

impl Block {
    /// Whether the object shows something else than what is so. `shares`: whether addresses of an own block are to be lent.
    pub(crate) fn is_unpublished(&self, owner: &BlockOwner, shares: bool) -> bool {
        let Some(object) = &self.object else { return false };
        if let Some(me) = &self.borrower {
            return object.spec.allocations != self.rendered_in(object, me);
        }
        let same_owner = |shown: &BlockOwner| {
            // Which life wrote it is no news: a restart alone writes nothing.
            BlockOwner { claim_token: owner.claim_token.clone(), ..shown.clone() } == *owner
                && journal_of(shown) == journal_of(owner)
        };
        !same_owner(&object.spec.owner)
            || (&object.spec.pool, &object.spec.pool_uid) != (&self.pool, &self.pool_uid)
            || (object.spec.lends, object.spec.shared) != (shares, false)
            || object.spec.allocations != self.rendered()
    }

    /// The object with what is so now, for a replace of the version that was seen last.
    pub(crate) fn to_publish(&self, owner: &BlockOwner, shares: bool) -> Option<IpamBlock> {
        let mut object = IpamBlock::clone(self.object.as_ref()?);
        if let Some(me) = &self.borrower {
            object.spec.allocations = self.rendered_in(&object, me);
        } else {
            object.spec.owner = owner.clone();
            object.spec.pool.clone_from(&self.pool);
            object.spec.pool_uid.clone_from(&self.pool_uid);
            object.spec.lends = shares;
            object.spec.shared = false;
            object.spec.revision = self.next_sequence;
            object.spec.allocations = self.rendered();
        }
        Some(object)
    }

    /// A new object of this block, for a create.
    pub(crate) fn to_create(&self, owner: &BlockOwner) -> IpamBlock {
        let mut object = new_object(self.cidr, owner, &self.pool, &self.pool_uid);
        object.spec.revision = self.next_sequence;
        object.spec.allocations = self.rendered();
        object
    }

    /// A write of the owner was sent: the next one has another number.
    pub(crate) fn count_write(&mut self) {
        self.next_sequence += 1;
    }

    /// Numbers go on after those that the object has.
    pub(crate) fn count_on_from(&mut self, revision: u64) {
        self.next_sequence = self.next_sequence.max(revision.saturating_add(1));
    }

    /// The allocations as the object of an own block should show them.
    pub(crate) fn rendered(&self) -> BTreeMap<String, String> {
        let used = self.used.iter().map(|(ordinal, used)| (ordinal.to_string(), record(used, None)));
        used.chain(self.resting().map(|ordinal| (ordinal.to_string(), held_record()))).collect()
    }
}

impl Ipam {
    /// Sets the time of the next write of a block that changed.
    pub(crate) fn schedule_publish(&mut self, now: Now, name: &str) {
        let touched = self.blocks.get_mut(name).is_some_and(|b| std::mem::take(&mut b.touched));
        if !touched {
            return;
        }
        let after = self.settings.publish_after;
        let at = now.monotonic + self.jittered(after);
        if let Some(block) = self.blocks.get_mut(name) {
            block.publish_at.get_or_insert(at);
        }
    }

    /// What is to be written of a block now, if anything: only what the object does not show already.
    pub(crate) fn publication(&mut self, now: Now, name: &str) -> Option<IpamBlock> {
        let shares = self.shares();
        let block = self.blocks.get_mut(name)?;
        if block.publish_at.is_none_or(|at| at > now.monotonic) {
            return None;
        }
        block.publish_at = None;
        if !block.is_unpublished(&self.owner, shares) {
            return None;
        }
        block.to_publish(&self.owner, shares)
    }

    /// Writes everything unpublished without waiting for more.
    pub(crate) fn publish_now(&mut self, now: Now) {
        let shares = self.shares();
        for block in self.blocks.values_mut() {
            if block.is_unpublished(&self.owner, shares) {
                block.publish_at = Some(now.monotonic);
            }
        }
    }
}
