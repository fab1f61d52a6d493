//! What a restart finds in the journal.
//!
//! Three things can have happened besides a plain restart. The machine was booted anew: no pod of the old boot lives,
//! so their records go, and only tunnel addresses stay. The file is damaged: it is moved aside, and the allocator is
//! told that its records cannot be trusted to be complete. The file came from another machine, as in a copied disk
//! image: it is moved aside likewise, since the blocks in it have another owner.
//!
//! Comparing the records with the kernel's devices (their aliases carry the key) belongs to the audit.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use caracal_api::{BlockOwner, IpamBlock, OwnerKind};
use caracal_ipam::{Held, JournalTrust};

use super::attachment::{Attachment, Phase};

/// How far a wall clock may be behind the journal's without being doubted.
const TRUSTED_DRIFT: Duration = Duration::from_secs(300);
/// Longer than any limit.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What a journal held when it was opened.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Every attachment that may still live.
    pub attachments: Vec<Attachment>,
    /// Attachments of an earlier boot, already removed from the journal.
    pub ended: Vec<Attachment>,
    /// Blocks this node owned, as they were last.
    pub blocks: Vec<IpamBlock>,
    /// UID of the Node when it was seen last; empty if never.
    pub node_uid: String,
    /// This machine.
    pub machine_id: String,
    /// Random token that marks this journal's claims.
    pub claim_token: String,
    /// When the API server last confirmed the ownership of blocks, by the wall clock.
    pub last_live: Option<SystemTime>,
    /// Whether the machine was booted since the journal was written.
    pub rebooted: bool,
    /// Whether the records are all that was ever promised.
    pub trust: JournalTrust,
    /// What was wrong with the file, if anything.
    pub damage: Option<Damage>,
}

/// A journal that could not be used as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the file is now; `None` if it stayed in use.
    pub moved_to: Option<PathBuf>,
    /// What was wrong.
    pub cause: String,
}

impl Recovered {
    /// The owner as it is written into claimed blocks.
    pub fn owner(&self, node: &str) -> BlockOwner {
        BlockOwner {
            kind: OwnerKind::Node,
            name: node.to_owned(),
            node_uid: self.node_uid.clone(),
            machine_id: self.machine_id.clone(),
            claim_token: self.claim_token.clone(),
        }
    }

    /// The addresses that are in use.
    pub fn held(&self) -> Vec<Held> {
        let of = |attachment: &Attachment| {
            let (handle, attributes) = (attachment.key.handle(), attachment.attributes.clone());
            let held = attachment.own_addresses().cloned();
            held.map(|allocation| Held { handle: handle.clone(), allocation, attributes: attributes.clone() })
                .collect::<Vec<_>>()
        };
        self.attachments.iter().flat_map(of).collect()
    }

    /// How long ago the API server last confirmed the ownership of blocks. A wall clock that was set back a little counts
    /// as no time; one that was set back far cannot tell, and counts as for ever: nothing new is given then until the
    /// API server has answered.
    pub fn unseen_for(&self, now: SystemTime) -> Duration {
        match self.last_live.map(|then| now.duration_since(then)) {
            None => Duration::ZERO,
            Some(Ok(passed)) => passed,
            Some(Err(ahead)) if ahead.duration() <= TRUSTED_DRIFT => Duration::ZERO,
            Some(Err(_)) => FOREVER,
        }
    }
}

/// Splits attachments into those that may live after a reboot and those that ended with it.
pub(super) fn after_boot(rebooted: bool, attachments: Vec<Attachment>) -> (Vec<Attachment>, Vec<Attachment>) {
    attachments.into_iter().partition(|a| !rebooted || a.phase == Phase::Tunnel)
}
