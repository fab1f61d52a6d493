//! Own blocks as `blackhole` routes: an address that no pod has must not follow the default route, and loop.
//!
//! Where another plugin has put a block on a bridge of its own, the kernel's connected route has the same destination. It has to
//! come first, so the blackhole of such a block has a worse metric: it stands for the time when the bridge is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use caracal_ipam::Presence;
use caracal_linux::kernel::{Kernel, Wanted};
use caracal_linux::object::route::{Route, RouteKey, RouteKind, Scope};
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tracing::warn;

/// Metric of the blackhole of a block that may be on a link.
const BEHIND_LINKS: u32 = 32_768;

/// A blackhole route's destination, and its metric.
type Blackhole = (IpNetwork, u32);

/// What this node has.
#[derive(Debug)]
pub struct OwnRanges {
    /// Its blocks.
    pub blocks: watch::Receiver<Arc<Vec<Presence>>>,
    /// Those of them that other plugins put on links.
    pub subnets: watch::Receiver<BTreeSet<IpNetwork>>,
}

/// Keeps a blackhole route for every own block. Runs until the agent ends.
pub async fn keep(kernel: Kernel, mut own: OwnRanges, protocol: u8) {
    let mut standing = BTreeSet::new();
    loop {
        let wanted = blackholes(&own.blocks.borrow_and_update(), &own.subnets.borrow_and_update());
        let gone = standing.difference(&wanted).map(|one| removed(*one));
        let new = wanted.difference(&standing).map(|one| added(*one, protocol));
        // The new ones first: a block that changes its metric is never without.
        let changes: Vec<Wanted> = new.chain(gone).collect();
        if !changes.is_empty() {
            let Ok(refused) = kernel.want(changes).await else { return };
            for refusal in refused {
                warn!(%refusal, "a block's blackhole route is not in the kernel");
            }
        }
        standing = wanted;
        tokio::select! {
            changed = own.blocks.changed() => if changed.is_err() { return },
            changed = own.subnets.changed() => if changed.is_err() { return },
        }
    }
}

/// The blocks that get one: not those of a single address, whose blackhole would shadow the pod itself, nor those of
/// which this node holds single addresses only.
fn blackholes(blocks: &[Presence], subnets: &BTreeSet<IpNetwork>) -> BTreeSet<Blackhole> {
    let several = |network: &IpNetwork| network.prefix() < if network.is_ipv4() { 32 } else { 128 };
    let metric = |network: &IpNetwork| if subnets.contains(network) { BEHIND_LINKS } else { 0 };
    let whole = blocks.iter().filter(|block| block.whole).map(|block| block.cidr).filter(several);
    whole.map(|network| (network, metric(&network))).collect()
}

fn key((destination, priority): Blackhole) -> RouteKey {
    RouteKey { priority, ..RouteKey::main(destination) }.normalised()
}

fn added(blackhole: Blackhole, protocol: u8) -> Wanted {
    let scope = Scope::Universe;
    let route = Route { kind: RouteKind::Blackhole, source: None, scope, protocol, mtu: None };
    Wanted::Route(key(blackhole), Some(route))
}

fn removed(blackhole: Blackhole) -> Wanted {
    Wanted::Route(key(blackhole), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_ipam::BlockState;

    #[test]
    fn blocks_of_one_address_have_no_blackhole() {
        let block = |cidr: &str| Presence {
            name: String::new(),
            cidr: cidr.parse().unwrap(),
            uid: String::new(),
            pool: String::new(),
            state: BlockState::Owned,
            whole: true,
            single: Vec::new(),
            lent: Vec::new(),
        };
        let mut blocks =
            ["10.244.0.0/26", "10.244.1.7/32", "fd00::/122", "fd00::1/128", "10.244.9.0/26"].map(block);
        blocks[4].whole = false;
        let keys = |subnets: &[&str]| {
            let subnets = subnets.iter().map(|cidr| cidr.parse().unwrap()).collect();
            blackholes(&blocks, &subnets).into_iter().map(|one| key(one).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&[]), ["10.244.0.0/26", "fd00::/122"]);
        assert_eq!(keys(&["10.244.0.0/26"]), ["10.244.0.0/26 metric 32768", "fd00::/122"]);
    }
}
