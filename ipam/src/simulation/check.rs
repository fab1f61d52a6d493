//! What must hold after every step, and at the end.

use std::collections::BTreeMap;
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
        let mut seen = [0_u8; 256];
        for ordinal in block.ordinals() {
            seen[ordinal as usize] += 1;
        }
        let size = block.cidr.size() as usize;
        if seen[..size].iter().any(|n| *n != 1) || seen[size..].iter().any(|n| *n != 0) {
            return Err(format!("block {} keeps its ordinals {seen:?} times", block.name));
        }
    }
    let mut held = 0;
    for (handle, places) in &agent.holders {
        for (name, ordinal) in places {
            held += 1;
            if agent.blocks.get(name).and_then(|b| b.used.get(ordinal)).is_none_or(|u| u.handle != *handle) {
                return Err(format!("{handle} holds ordinal {ordinal} of {name}, which does not know it"));
            }
        }
    }
    let used: usize = agent.blocks.values().map(|b| b.used.len()).sum();
    if held != used {
        return Err(format!("{held} addresses have holders, {used} are in use"));
    }
    Ok(())
}

/// After everything healed, all pods ended and time passed: every block is known to its owner and wholly free, and the
/// objects say so.
pub(super) fn at_the_end(nodes: &[Node], store: &Store) -> Result<(), String> {
    for node in nodes {
        let agent = node.agent.as_ref().ok_or("an agent is down")?;
        // What a former node of the name left behind is the controller's to free.
        for object in store.owned_by(&node.name).filter(|b| b.spec.owner.node_uid == node.uid) {
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
