//! What this node tells the network: its own blocks, except those of pools that are not to be announced.

use std::collections::BTreeSet;

use caracal_api::IpPool;
use caracal_ipam::BlockState;
use ipnetwork::IpNetwork;

use crate::cluster::Snapshot;
use crate::ipam::OwnBlock;

/// The prefixes to originate.
///
/// A block whose pool is unknown is announced: its pods are reachable by nothing else, and a pool that is missing for
/// a moment must not cut them off.
pub fn announcements(blocks: &[OwnBlock], pools: &Snapshot<IpPool>) -> BTreeSet<IpNetwork> {
    blocks
        .iter()
        .filter(|block| block.state == BlockState::Owned)
        .filter(|block| pools.get(&block.pool).is_none_or(|pool| !pool.spec.disable_bgp_export))
        .map(|block| block.cidr)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn block(cidr: &str, pool: &str, state: BlockState) -> OwnBlock {
        let pool = pool.to_owned();
        OwnBlock { name: String::new(), cidr: cidr.parse().unwrap(), uid: String::new(), pool, state }
    }

    #[test]
    fn owned_blocks_are_announced_unless_their_pool_forbids_it() {
        let pool = |name: &str, hidden: bool| {
            let spec = json!({"cidr": "10.244.0.0/16", "disableBGPExport": hidden});
            IpPool::new(name, serde_json::from_value(spec).unwrap())
        };
        let pools = [pool("open", false), pool("hidden", true)].into_iter().collect();
        let blocks = [
            block("10.244.0.0/26", "open", BlockState::Owned),
            block("10.244.1.0/26", "hidden", BlockState::Owned),
            block("10.244.2.0/26", "unknown", BlockState::Owned),
            block("10.244.3.0/26", "open", BlockState::Disputed),
            block("10.244.4.0/26", "open", BlockState::Returning),
        ];
        let announced: Vec<_> = announcements(&blocks, &pools).iter().map(ToString::to_string).collect();
        assert_eq!(announced, ["10.244.0.0/26", "10.244.2.0/26"]);
    }
}
