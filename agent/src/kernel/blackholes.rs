//! Own blocks as `blackhole` routes: an address that no pod has must not follow the default route, and loop.

use std::collections::BTreeSet;
use std::sync::Arc;

use caracal_ipam::Presence;
use caracal_linux::kernel::{Kernel, Wanted};
use caracal_linux::object::route::{Route, RouteKey, RouteKind, Scope};
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tracing::warn;

/// Keeps a blackhole route for every own block. Runs until the agent ends.
pub async fn keep(kernel: Kernel, mut blocks: watch::Receiver<Arc<Vec<Presence>>>, protocol: u8) {
    let mut standing = BTreeSet::new();
    loop {
        let wanted = blackholes(&blocks.borrow_and_update());
        let gone = standing.difference(&wanted).map(|network| removed(*network));
        let new = wanted.difference(&standing).map(|network| added(*network, protocol));
        let changes: Vec<Wanted> = gone.chain(new).collect();
        if !changes.is_empty() {
            let Ok(refused) = kernel.want(changes).await else { return };
            for refusal in refused {
                warn!(%refusal, "a block's blackhole route is not in the kernel");
            }
        }
        standing = wanted;
        if blocks.changed().await.is_err() {
            return;
        }
    }
}

/// The blocks that get one: not those of a single address, whose blackhole would shadow the pod itself, nor those of
/// which this node holds single addresses only.
fn blackholes(blocks: &[Presence]) -> BTreeSet<IpNetwork> {
    let several = |network: &IpNetwork| network.prefix() < if network.is_ipv4() { 32 } else { 128 };
    blocks.iter().filter(|block| block.whole).map(|block| block.cidr).filter(several).collect()
}

fn added(network: IpNetwork, protocol: u8) -> Wanted {
    let scope = Scope::Universe;
    let route = Route { kind: RouteKind::Blackhole, source: None, scope, protocol, mtu: None };
    Wanted::Route(RouteKey::main(network), Some(route))
}

fn removed(network: IpNetwork) -> Wanted {
    Wanted::Route(RouteKey::main(network), None)
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
        let networks: Vec<_> = blackholes(&blocks).iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.244.0.0/26", "fd00::/122"]);
    }
}
