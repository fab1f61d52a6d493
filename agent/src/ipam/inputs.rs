//! Turns snapshots into inputs of the machine.
//!
//! Only what was heard live speaks about blocks and the Node: an old snapshot from disk may show a block that was given
//! back since. Pools are taken from it all the same, so that allocation goes on without the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use caracal_api::{DEFAULT_NAME, IpPool, IpReservation, IpamBlock, IpamConfig};
use caracal_ipam::{Delta, Input, Pools};
use k8s_openapi::api::core::v1::Node;

use crate::cluster::Snapshot;
use crate::cluster::blocks::node_view;

/// The pools and how they are used; `None` while none were ever heard of.
pub(super) fn pools(
    pools: &Snapshot<IpPool>,
    configs: &Snapshot<IpamConfig>,
    reservations: &Snapshot<IpReservation>,
) -> Option<Input> {
    if pools.items.is_empty() && !pools.synced {
        return None;
    }
    let reserved = reservations.values().flat_map(|r| r.spec.networks().collect::<Vec<_>>()).collect();
    let config = configs.get(DEFAULT_NAME).map(|c| c.spec.clone()).unwrap_or_default();
    Some(Input::Pools(Arc::new(Pools::read(pools.values().map(AsRef::as_ref), config, reserved))))
}

/// What a live snapshot says about the own Node.
pub(super) fn node(snapshot: &Snapshot<Node>, name: &str) -> Option<Input> {
    if !snapshot.synced {
        return None;
    }
    Some(Input::Node(snapshot.get(name).map(|node| node_view(node))))
}

/// Compares each snapshot of own blocks with the one before.
#[derive(Default)]
pub(super) struct BlockNews {
    seen: BTreeMap<String, Arc<IpamBlock>>,
    live: bool,
}

impl BlockNews {
    /// What is new in a snapshot.
    pub(super) fn of(&mut self, snapshot: &Snapshot<IpamBlock>) -> Vec<Input> {
        let was_live = std::mem::replace(&mut self.live, snapshot.synced);
        if !snapshot.synced {
            return Vec::new();
        }
        let is_known = |name: &String, block: &Arc<IpamBlock>| {
            was_live && self.seen.get(name).is_some_and(|seen| Arc::ptr_eq(seen, block))
        };
        let fresh = snapshot.items.iter().filter(|(name, block)| !is_known(name, block));
        let mut news: Vec<Delta> = fresh.map(|(_, block)| Delta::Saw(Arc::clone(block))).collect();
        if was_live {
            let gone = self.seen.keys().filter(|name| !snapshot.items.contains_key(*name));
            news.extend(gone.cloned().map(Delta::Gone));
        } else {
            news.push(Delta::Listed(snapshot.items.keys().cloned().collect()));
        }
        self.seen.clone_from(&snapshot.items);
        news.into_iter().map(Input::Blocks).collect()
    }
}

#[cfg(test)]
mod tests {
    use caracal_api::{BlockOwner, IpamBlockSpec, OwnerKind};

    use super::*;

    fn block(name: &str) -> IpamBlock {
        let owner = BlockOwner {
            kind: OwnerKind::Node,
            name: "n1".into(),
            node_uid: String::new(),
            machine_id: String::new(),
            claim_token: String::new(),
        };
        let spec = IpamBlockSpec {
            cidr: "10.0.0.0/26".into(),
            owner,
            pool: "p".into(),
            pool_uid: String::new(),
            lends: false,
            shared: false,
            revision: 0,
            allocations: BTreeMap::new(),
        };
        IpamBlock::new(name, spec)
    }

    fn words(inputs: &[Input]) -> Vec<String> {
        let word = |input: &Input| match input {
            Input::Blocks(Delta::Saw(b)) => format!("saw {}", b.metadata.name.as_deref().unwrap_or_default()),
            Input::Blocks(Delta::Gone(name)) => format!("gone {name}"),
            Input::Blocks(Delta::Listed(names)) => format!("listed {}", names.len()),
            other => format!("{other:?}"),
        };
        inputs.iter().map(word).collect()
    }

    #[test]
    fn only_live_snapshots_speak_about_blocks_and_each_change_is_told_once() {
        let mut news = BlockNews::default();
        let mut old: Snapshot<IpamBlock> = [block("a")].into_iter().collect();
        old.synced = false;
        assert!(news.of(&old).is_empty(), "a snapshot from disk may show what was given back since");
        let live: Snapshot<IpamBlock> = [block("a"), block("b")].into_iter().collect();
        assert_eq!(words(&news.of(&live)), ["saw a", "saw b", "listed 2"]);
        assert!(news.of(&live).is_empty());
        let mut next = Snapshot { items: live.items.clone(), synced: true };
        next.items.remove("a");
        assert_eq!(words(&news.of(&next)), ["gone a"]);
    }
}
