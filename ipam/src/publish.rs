//! Bringing the block's object up to what is so.
//!
//! Nobody waits for this, so changes gather for some seconds and go out as one write of the whole block. The object's
//! resource version is the precondition: if anyone else wrote, the block is read and judged before it is written again.

use caracal_api::IpamBlock;

use crate::machine::Ipam;
use crate::request::Now;

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
