//! What must hold after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::node::Node;
use super::store::Store;
use crate::machine::Ipam;

/// No address twice, none outside its block, none in a block that is not its node's.
pub(super) fn always(nodes: &[Node], store: &Store) -> Result<(), String> {
    let mut holders: BTreeMap<IpAddr, String> = BTreeMap::new();
    for node in nodes {
        for (handle, allocations) in node.pods.iter().chain(&node.granted) {
            for allocation in allocations {
                let holder = format!("{handle} on {}", node.name);
                if let Some(other) = holders.insert(allocation.address, holder.clone())
                    && other != holder
                {
                    return Err(format!("{} is held by {other} and by {holder}", allocation.address));
                }
                if !allocation.block_cidr.contains(allocation.address) {
                    return Err(format!(
                        "{} lies outside its block {}",
                        allocation.address, allocation.block
                    ));
                }
                match store.blocks.get(&allocation.block) {
                    Some(block) if block.spec.owner.node_uid == node.uid => {}
                    Some(block) => {
                        let owner = &block.spec.owner.name;
                        return Err(format!("{} of {holder} lies in a block of {owner}", allocation.address));
                    }
                    None => return Err(format!("{} of {holder} lies in no block", allocation.address)),
                }
            }
        }
    }
    Ok(())
}

/// Every ordinal of every block is in use, free, or rests: exactly one of these.
pub(super) fn partition(agent: &Ipam) -> Result<(), String> {
    for block in agent.blocks.values() {
        let mut ordinals = block.ordinals();
        ordinals.sort_unstable();
        let all: Vec<u32> = (0..block.cidr.size()).collect();
        if ordinals != all {
            return Err(format!("block {} has the ordinals {ordinals:?}", block.name));
        }
    }
    let held: BTreeSet<(&str, u32)> =
        agent.holders.values().flatten().map(|(name, ordinal)| (name.as_str(), *ordinal)).collect();
    let used: BTreeSet<(&str, u32)> =
        agent.blocks.values().flat_map(|b| b.used.keys().map(|o| (b.name.as_str(), *o))).collect();
    if held != used {
        return Err(format!("holders know {held:?}, blocks {used:?}"));
    }
    Ok(())
}

/// After everything healed, all pods ended and time passed: every block is known to its owner and wholly free, and the
/// objects say so.
pub(super) fn at_the_end(nodes: &[Node], store: &Store) -> Result<(), String> {
    for node in nodes {
        let agent = node.agent.as_ref().ok_or("an agent is down")?;
        for object in store.owned_by(&node.name) {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let block = agent.blocks.get(name).ok_or(format!("{} lost block {name}", node.name))?;
            if !block.is_owned() || block.free() != block.cidr.size() as usize {
                return Err(format!(
                    "{} lost addresses of {name}: {:?}, {} free",
                    node.name,
                    block.standing,
                    block.free()
                ));
            }
            if !object.spec.allocations.is_empty() {
                return Err(format!("{name} still shows {:?}", object.spec.allocations));
            }
        }
        for name in agent.blocks.keys() {
            if !store.owned_by(&node.name).any(|b| b.metadata.name.as_ref() == Some(name)) {
                return Err(format!("{} believes that it owns {name}", node.name));
            }
        }
        for v4 in [true, false] {
            let own = agent.blocks.values().filter(|b| b.cidr.is_ipv4() == v4).count();
            if own > 1 {
                return Err(format!("{} keeps {own} empty blocks", node.name));
            }
        }
    }
    Ok(())
}
