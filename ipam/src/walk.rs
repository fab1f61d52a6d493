//! The order in which a node tries the block CIDRs of a pool.
//!
//! Nodes that try the same CIDRs in the same order would all lose but one, again and again. So the order is seeded by
//! the node's name: a start and an odd stride. The number of blocks is a power of two, hence the stride visits each
//! block once, and two nodes that meet at one CIDR part at the next.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use caracal_api::BlockCidr;

/// A walk over the blocks of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    network: IpNetwork,
    block_prefix: u8,
    start: u128,
    stride: u128,
    taken: u128,
    count: Option<u128>,
}

impl Walk {
    /// The walk of a node over the blocks of `block_prefix` in `network`.
    pub(crate) fn new(node: &str, network: IpNetwork, block_prefix: u8) -> Self {
        let seed = hash(node.as_bytes(), hash(network.to_string().as_bytes(), 0xcbf2_9ce4_8422_2325));
        let bits = u32::from(block_prefix.saturating_sub(network.prefix()));
        Self {
            network,
            block_prefix,
            start: wide(seed),
            stride: wide(mix(seed ^ 0x9e37_79b9_7f4a_7c15)) | 1,
            taken: 0,
            count: 1_u128.checked_shl(bits),
        }
    }

    /// Whether it goes over this range, by blocks of this size.
    pub(crate) fn is_over(&self, network: IpNetwork, block_prefix: u8) -> bool {
        (self.network, self.block_prefix) == (network, block_prefix)
    }
}

impl Iterator for Walk {
    type Item = BlockCidr;

    fn next(&mut self) -> Option<BlockCidr> {
        if self.count.is_some_and(|count| self.taken >= count) {
            return None;
        }
        let mask = self.count.map_or(u128::MAX, |count| count - 1);
        let index = self.start.wrapping_add(self.stride.wrapping_mul(self.taken)) & mask;
        self.taken += 1;
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        let shift = u32::from(bits - self.block_prefix);
        let offset = index.checked_shl(shift).unwrap_or(0);
        let address: IpAddr = match self.network.network() {
            IpAddr::V4(base) => IpAddr::V4((u32::from(base) | u32::try_from(offset).unwrap_or(0)).into()),
            IpAddr::V6(base) => IpAddr::V6((u128::from(base) | offset).into()),
        };
        IpNetwork::new(address, self.block_prefix).ok().and_then(|n| BlockCidr::new(n).ok())
    }
}

/// Where a name stands in the order of a node.
pub(crate) fn order_of(node: &str, name: &str) -> u64 {
    mix(hash(name.as_bytes(), hash(node.as_bytes(), 0xcbf2_9ce4_8422_2325)))
}

/// FNV-1a, since the order must not change with the version of a hashing library.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(seed, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Spreads every bit of the input over the output (the finisher of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn wide(seed: u64) -> u128 {
    (u128::from(mix(seed)) << 64) | u128::from(mix(seed.wrapping_add(1)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn walk(node: &str, pool: &str, prefix: u8) -> Walk {
        Walk::new(node, pool.parse().unwrap(), prefix)
    }

    #[test]
    fn every_block_of_a_pool_is_visited_once() {
        for (pool, prefix, count) in [
            ("10.244.0.0/16", 26, 1024),
            ("10.0.0.0/26", 26, 1),
            ("10.0.0.0/24", 32, 256),
            ("fd00::/112", 122, 1024),
        ] {
            let network: IpNetwork = pool.parse().unwrap();
            let seen: BTreeSet<BlockCidr> = walk("n1", pool, prefix).collect();
            assert_eq!(seen.len(), count, "{pool}");
            assert_eq!(walk("n1", pool, prefix).count(), count, "{pool}");
            assert!(
                seen.iter()
                    .all(|b| network.contains(b.network().network()) && b.network().prefix() == prefix)
            );
        }
    }

    #[test]
    fn a_huge_pool_is_walked_without_end_and_without_repeats() {
        let seen: BTreeSet<BlockCidr> = walk("n1", "fd00:244::/48", 122).take(5000).collect();
        assert_eq!(seen.len(), 5000);
        assert_eq!(walk("n1", "::/0", 128).take(10).count(), 10);
    }

    #[test]
    fn two_nodes_that_meet_at_one_block_part_at_the_next() {
        let first: BTreeSet<BlockCidr> =
            (0..100).filter_map(|n| walk(&format!("node-{n}"), "10.244.0.0/16", 26).next()).collect();
        assert!(first.len() > 80, "{} of 100 nodes start at blocks of their own", first.len());
        let strides: BTreeSet<u128> =
            (0..100).map(|n| walk(&format!("node-{n}"), "10.244.0.0/16", 26).stride & 1023).collect();
        assert!(strides.len() > 80, "{} of 100 nodes have a stride of their own", strides.len());
    }

    #[test]
    fn the_order_of_a_node_is_always_the_same() {
        let one: Vec<BlockCidr> = walk("n1", "10.244.0.0/16", 26).take(20).collect();
        let two: Vec<BlockCidr> = walk("n1", "10.244.0.0/16", 26).take(20).collect();
        assert_eq!(one, two);
    }
}
