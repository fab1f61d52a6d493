//! The owner's side of sharing: answering those who ask, and taking note of what they give back.
//!
//! What is lent is in memory, and in the journal, before the write that says so is sent. From the object the owner takes
//! two things only: requests made since its last write for addresses that are free in its memory, and records that give
//! back exactly what it has lent. Everything else that an object shows of others is of another time, and goes with the next write.

use std::net::IpAddr;
use std::time::Instant;

use caracal_api::AllocationRecord;
use caracal_api::ipam_block::AllocationKind;

use crate::block::{Block, Used};
use crate::machine::Ipam;
use crate::request::Now;

/// Whether a record asks for an address.
fn asks(record: &AllocationRecord) -> bool {
    let asked = matches!(record.kind, AllocationKind::AskedWorkload | AllocationKind::AskedTunnel);
    asked && record.borrower.is_some()
}

impl Block {
    /// Whether addresses of this own block are lent to other nodes.
    pub(crate) fn has_loans(&self) -> bool {
        self.borrower.is_none() && self.used.values().any(|used| used.record.is_some())
    }

    /// Ends the loans that the object says were given back; those addresses rest until `until`. Notes whether anybody waits for
    /// an answer.
    pub(crate) fn take_note(&mut self, until: Instant) {
        let Some(object) = self.object.clone() else { return };
        self.asked = false;
        self.is_outdated = object.spec.revision < self.revision;
        self.revision = self.revision.max(object.spec.revision);
        for (key, text) in &object.spec.allocations {
            let (Ok(ordinal), Ok(shown)) = (key.parse::<u32>(), text.parse::<AllocationRecord>()) else {
                continue;
            };
            if shown.borrower.is_none() {
                continue;
            }
            let lent = self.used.get(&ordinal).and_then(Used::loan);
            self.asked |= lent.as_ref() != Some(&shown);
            if lent.is_some_and(|lent| lent.returned() == shown) {
                self.used.remove(&ordinal);
                self.rest(ordinal, until);
            }
        }
    }

    /// Lends whoever asks what is free.
    fn grant_asks(&mut self, passes: impl Fn(IpAddr) -> bool) {
        let Some(object) = self.object.clone() else { return };
        for (key, text) in &object.spec.allocations {
            let (Ok(ordinal), Ok(shown)) = (key.parse::<u32>(), text.parse::<AllocationRecord>()) else {
                continue;
            };
            let free = self.free.contains(&ordinal) && self.cidr.address(ordinal).is_some_and(&passes);
            if free && asks(&shown) {
                self.occupy(ordinal, shown.granted().to_string());
                self.empty_since = None;
            }
        }
    }
}

impl Ipam {
    /// Answers those who ask for addresses of own blocks, and those who gave some back. Whoever gets none is answered, too:
    /// the write shows what is there. What was asked in an object older than the last write may be of another time, when nobody
    /// waits for it any more: it goes, and who still wants it asks again.
    pub(crate) fn lend(&mut self, now: Now) {
        if !self.blocks.values().any(|block| block.asked && block.is_owned()) {
            return;
        }
        let lends = self.shares() && self.barred(now).is_none();
        let Some(pools) = self.pools.clone() else { return };
        for block in self.blocks.values_mut().filter(|block| block.asked && block.is_owned()) {
            block.asked = false;
            if lends && !block.is_outdated {
                block.grant_asks(|address| !pools.is_reserved(address));
            }
            block.publish_at = Some(now.monotonic);
        }
    }
}
