//! Blocks of this node's that its memory does not know yet: claimed just now, left behind by an earlier life, or known from
//! the journal or an attachment alone.

use std::sync::Arc;

use caracal_api::IpamBlock;

use crate::block::{Block, Standing};
use crate::closing::{is_of_before, shows_loans};
use crate::machine::Ipam;
use crate::recover::{JournalTrust, journal_of};
use crate::refusal::Dispute;
use crate::request::Now;
use crate::sharing::{Shown, shown};

impl Ipam {
    /// A block of ours that this life does not know: claimed in an earlier one that ended before the answer, being given
    /// back by it, or late news of one that is gone.
    ///
    /// A delete that was sent then may still be on its way, and would take the block from under the pods it was
    /// granted to. So nothing is granted from this version of it. A whole journal knows every block that has pods, or was
    /// lent from: this one has none and goes back, whatever it shows (it may come from an old backup, and be another node's
    /// by now). That is not so of loans from before there was asking. A lost journal does not. Then it is read, and written
    /// before it is granted from: no delete of the former version hits it then.
    pub(crate) fn take_up_again(&mut self, now: Now, object: Arc<IpamBlock>) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let returns = self.trust == JournalTrust::Whole && !(is_of_before(&object) && shows_loans(&object));
        let standing = if returns { Standing::Returning } else { Standing::Disputed(Dispute::Unconfirmed) };
        self.adopt(now, object, standing);
        if let Some(block) = self.blocks.get_mut(&name) {
            block.left_behind = returns;
            block.read_wanted = !returns;
        }
    }

    /// Adds a block that is not known yet. What its object shows beyond the journal is settled.
    pub(crate) fn adopt(&mut self, now: Now, object: Arc<IpamBlock>, standing: Standing) -> bool {
        let Some(mut block) = Block::of_object(now, object, standing) else { return false };
        block.revision = block.object.as_ref().map_or(0, |object| object.spec.revision);
        self.heard_live(now);
        self.settle_unaccounted(now, &mut block);
        self.blocks.insert(block.name.clone(), block);
        true
    }

    /// Settles ordinals that the object shows in use and the journal does not. A whole journal means they were
    /// released: they rest. A lost one means that they are in use, and that others may be: those rest too.
    pub(crate) fn settle_unaccounted(&mut self, now: Now, block: &mut Block) {
        let Some(object) = block.object.clone() else { return };
        let until = now.monotonic + self.cooldown();
        let lost = journal_of(&object.spec.owner) != journal_of(&self.owner);
        let uid = block.uid().to_owned();
        for (key, text) in &object.spec.allocations {
            let Ok(ordinal) = key.parse::<u32>() else { continue };
            if block.used.contains_key(&ordinal) {
                continue;
            }
            let used = match shown(&uid, text) {
                Shown::Ours(used) => Some(used),
                Shown::Held => None,
                Shown::Lent => {
                    // A whole journal knows what was lent: what an object shows beyond that is of another time.
                    if lost || block.from_journal {
                        block.occupy(ordinal, text.clone());
                    }
                    continue;
                }
            };
            match used {
                Some(used) if lost && !self.rebooted => {
                    let known = self.holders.entry(used.handle.clone()).or_default();
                    known.push((block.name.clone(), ordinal));
                    block.restore(ordinal, used);
                }
                // No pod of an earlier boot lives: nothing has to rest.
                Some(_) | None if self.rebooted => {}
                Some(_) | None => block.hold(ordinal, until),
            }
        }
        if lost && !self.rebooted {
            block.hold_all(until);
        }
        block.rotate_queue();
        block.touched = true;
    }
}
