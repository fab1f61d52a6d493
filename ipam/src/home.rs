//! Blocks follow their range into another pool.
//!
//! A pool that is split, or made anew over the same range, leaves blocks behind. They are worth as much as before: their
//! names are locks whichever pool they were cut from, as long as their size stays. So a block whose pool is gone or going
//! becomes the first pool's that takes it, and its owner writes that into the object with its next write.

use crate::block::Standing;
use crate::machine::Ipam;

impl Ipam {
    /// Brings each block of this node into the pool that holds it now. What is borrowed follows when its owner wrote it.
    pub(crate) fn follow_pools(&mut self) {
        let Some(pools) = self.pools.clone() else { return };
        for block in self.blocks.values_mut().filter(|block| block.standing != Standing::Borrowed) {
            let Some(home) = pools.new_home(&block.pool, &block.pool_uid, block.cidr) else { continue };
            block.pool.clone_from(&home.name);
            block.pool_uid.clone_from(&home.uid);
            block.touched = true;
        }
    }
}
