//! Giving blocks back.
//!
//! A block that has been empty for a while goes back when the node does not need it: its pool no longer serves the
//! node, or without it half of what the node owns there is still free. The last block of a pool stays, so that the
//! next pod need not wait; under pressure (the pool is nearly full) any empty block but the last goes.
//!
//! The shell forgets the block in the journal before it sends the delete: a restart in between must not believe that
//! the block is still owned.

use crate::block::{Block, Standing};
use crate::claim::fill_below;
use crate::machine::Ipam;
use crate::pool::Pools;
use crate::request::Now;

impl Ipam {
    /// Starts giving back what is not needed.
    pub(crate) fn give_back(&mut self, now: Now) {
        let Some(pools) = self.pools.clone() else { return };
        let names: Vec<String> = self.blocks.keys().cloned().collect();
        for name in names {
            let Some(block) = self.blocks.get_mut(&name) else { continue };
            if block.borrower.is_some() {
                self.leave(now, &name);
                continue;
            }
            if !block.is_empty() {
                block.empty_since = None;
                continue;
            }
            let since = *block.empty_since.get_or_insert(now.monotonic);
            if !block.may_go() || now.monotonic < since + self.settings.give_back_after {
                continue;
            }
            let needed = self.blocks.get(&name).is_some_and(|b| self.is_needed(&pools, b));
            if let Some(block) = self.blocks.get_mut(&name) {
                if needed {
                    // Looked at again after as long.
                    block.empty_since = Some(now.monotonic);
                } else {
                    block.standing = Standing::Returning;
                    block.publish_at = None;
                }
            }
        }
    }

    /// Forgets a block of another node that nothing is borrowed from any more, once its owner knows that.
    fn leave(&mut self, now: Now, name: &str) {
        let Some(block) = self.blocks.get_mut(name) else { return };
        if block.own_used().next().is_some() {
            block.empty_since = None;
            return;
        }
        let since = *block.empty_since.get_or_insert(now.monotonic);
        if now.monotonic < since + self.settings.give_back_after || block.work.is_some() {
            return;
        }
        if block.owes(&self.owner) {
            // Its owner has not taken note of what was given back, as far as was read: looked at again after as long.
            block.empty_since = Some(now.monotonic);
        } else {
            self.blocks.remove(name);
        }
    }

    fn is_needed(&self, pools: &Pools, block: &Block) -> bool {
        let labels = self.node.as_ref().map(|n| &n.labels);
        let Some(pool) = pools.get(&block.pool) else {
            // A pool that is not known may be one that was not heard of yet.
            return true;
        };
        if pool.closed().is_some() || pool.rejects_node(labels).is_some() || pool.uid != block.pool_uid {
            return false;
        }
        let others =
            || self.blocks.values().filter(|b| b.is_owned() && b.pool == block.pool && b.name != block.name);
        let (free, size) =
            others().fold((0, 0), |(f, s), b| (f + b.free() as u64, s + u64::from(b.cidr.size())));
        let enough = if fill_below(pool, 80) { free * 2 >= size } else { free > 0 };
        size == 0 || !enough
    }
}
