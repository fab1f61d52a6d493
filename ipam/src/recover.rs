//! Starting from what a restart finds: the journal's records, and the blocks as they were last.
//!
//! Blocks that the journal kept are owned at once, so that allocation goes on without the API server. A block that is
//! known only because an attachment names it is not granted from until it was read. The blocks must come from the
//! journal and not from a cache of the watch: the journal forgets a block before it is given back, a cache does not.

use std::sync::Arc;
use std::time::Duration;

use caracal_api::{BlockCidr, BlockOwner, IpamBlock};

use crate::block::{Block, Standing, Used};
use crate::machine::Ipam;
use crate::refusal::Dispute;
use crate::request::Now;
use crate::settings::Settings;
use crate::verify::Ownership;
use crate::want::{Allocation, Attributes, Handle};

/// Between the journal's token and the number of this life in a claim token.
const LIFE: char = '.';

/// The part of a claim token that a journal keeps; the rest tells one life of the agent from another.
pub(crate) fn journal_of(owner: &BlockOwner) -> &str {
    owner.claim_token.split(LIFE).next().unwrap_or_default()
}

/// An address that is in use, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who holds it.
    pub handle: Handle,
    /// The address.
    pub allocation: Allocation,
    /// Who it is for.
    pub attributes: Attributes,
}

/// Whether the journal's records are all that was ever promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalTrust {
    /// They are: what the block's object has beyond them was released, only not published yet.
    Whole,
    /// The journal is new, or was damaged: what the block's object has is in use too, and what it does not have may be.
    Lost,
}

/// What a restart finds.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Who we are. The Node UID is the one seen last, empty if none was; the claim token is the journal's.
    pub owner: BlockOwner,
    /// Blocks that the journal kept.
    pub blocks: Vec<IpamBlock>,
    /// Addresses in use.
    pub held: Vec<Held>,
    /// Whether these are all.
    pub trust: JournalTrust,
    /// Whether the machine was booted since: then no pod of before lives.
    pub rebooted: bool,
    /// How long ago the API server last confirmed anything.
    pub unseen_for: Duration,
}

impl Ipam {
    /// A machine that goes on where the journal ended.
    pub fn recover(now: Now, settings: Settings, recovery: Recovery) -> Self {
        let mut owner = recovery.owner;
        owner.claim_token = format!("{}{LIFE}{:08x}", owner.claim_token, settings.seed as u32);
        let mut ipam = Self::empty(now, settings, owner);
        ipam.trust = recovery.trust;
        ipam.rebooted = recovery.rebooted;
        ipam.unseen_before = recovery.unseen_for;
        for object in recovery.blocks {
            let borrowed = object.spec.owner.name != ipam.owner.name;
            let standing = if borrowed { Standing::Borrowed } else { Standing::Owned };
            if (borrowed || ipam.judge(&object.spec.owner) == Ownership::Ours)
                && let Some(mut block) = Block::of_object(now, Arc::new(object), standing)
            {
                block.borrower = borrowed.then(|| ipam.as_borrower());
                block.read_wanted = borrowed;
                if !borrowed {
                    block.revision = block.object.as_ref().map_or(0, |object| object.spec.revision);
                }
                block.from_journal = true;
                if block.resource_version().is_empty() {
                    block.standing = Standing::Disputed(Dispute::Unconfirmed);
                    block.read_wanted = true;
                }
                if !borrowed && block.is_open() {
                    block.standing = Standing::Disputed(Dispute::Open);
                    block.read_wanted = true;
                }
                ipam.blocks.insert(block.name.clone(), block);
            }
        }
        for held in recovery.held {
            ipam.take_back(now, held);
        }
        let names: Vec<String> = ipam.blocks.keys().cloned().collect();
        for name in names {
            if let Some(mut block) = ipam.blocks.remove(&name) {
                if block.borrower.is_some() {
                    ipam.follow(&mut block);
                } else {
                    ipam.settle_unaccounted(now, &mut block);
                }
                ipam.blocks.insert(name, block);
            }
        }
        ipam
    }

    fn take_back(&mut self, now: Now, held: Held) {
        let Ok(cidr) = BlockCidr::new(held.allocation.block_cidr) else { return };
        let Some(ordinal) = cidr.ordinal(held.allocation.address) else { return };
        let block = self.blocks.entry(cidr.object_name()).or_insert_with(|| {
            let unread = Standing::Disputed(Dispute::Unconfirmed);
            let mut block = Block::new(now, cidr, held.allocation.pool.clone(), unread);
            block.read_wanted = true;
            block
        });
        let used = Used {
            handle: held.handle.clone(),
            sequence: held.allocation.sequence,
            uid: held.allocation.block_uid,
            attributes: held.attributes,
            record: None,
        };
        let name = block.name.clone();
        block.restore(ordinal, used);
        self.holders.entry(held.handle).or_default().push((name, ordinal));
    }
}
