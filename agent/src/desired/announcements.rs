//! What this node tells the network: its own blocks, and single addresses that its pods hold in blocks of others, except
//! those of pools that are not to be announced.

use std::collections::BTreeSet;

use caracal_api::IpPool;
use caracal_ipam::Presence;
use ipnetwork::IpNetwork;

use crate::cluster::Snapshot;

/// The prefixes to originate.
///
/// A block whose pool is unknown is announced: its pods are reachable by nothing else, and a pool that is missing for
/// a moment must not cut them off.
pub fn announcements(blocks: &[Presence], pools: &Snapshot<IpPool>) -> BTreeSet<IpNetwork> {
    blocks
        .iter()
        .filter(|block| pools.get(&block.pool).is_none_or(|pool| !pool.spec.disable_bgp_export))
        .flat_map(|block| {
            let whole = block.whole.then_some(block.cidr);
            whole.into_iter().chain(block.single.iter().map(|address| IpNetwork::from(*address)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_ipam::BlockState;
    use serde_json::json;

    fn block(cidr: &str, pool: &str, state: BlockState) -> Presence {
        Presence {
            name: String::new(),
            cidr: cidr.parse().unwrap(),
            uid: String::new(),
            pool: pool.to_owned(),
            state,
            whole: state == BlockState::Owned,
            single: Vec::new(),
            lent: Vec::new(),
        }
    }

    #[test]
    fn owned_blocks_and_borrowed_addresses_are_announced_unless_their_pool_forbids_it() {
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
            Presence {
                single: vec!["10.244.5.7".parse().unwrap()],
                ..block("10.244.5.0/26", "open", BlockState::Borrowed)
            },
            Presence {
                single: vec!["10.244.6.7".parse().unwrap()],
                ..block("10.244.6.0/26", "hidden", BlockState::Borrowed)
            },
        ];
        let announced: Vec<_> = announcements(&blocks, &pools).iter().map(ToString::to_string).collect();
        assert_eq!(announced, ["10.244.0.0/26", "10.244.2.0/26", "10.244.5.7/32"]);
    }
}
