//! What must hold after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use caracal_api::ipam_block::AllocationKind;
use caracal_api::{AllocationRecord, BlockCidr, Borrower, IpamBlock};

use super::node::Node;
use super::store::Store;
use crate::block::Standing;
use crate::machine::Ipam;
use crate::pool::{Pool, Pools};
use crate::recover::journal_of;
use crate::want::{Allocation, Handle};

/// Who holds each address that a pod has, or that was just answered.
#[derive(Default)]
pub(super) struct Holders(BTreeMap<IpAddr, (usize, Handle)>);

impl Holders {
    /// A grant was answered: nobody else may hold these.
    pub(super) fn take(
        &mut self,
        n: usize,
        handle: &Handle,
        allocations: &[Allocation],
    ) -> Result<(), String> {
        for allocation in allocations {
            let holder = (n, handle.clone());
            if let Some(other) = self.0.insert(allocation.address, holder.clone())
                && other != holder
            {
                return Err(format!(
                    "{} is held by {} on machine {} and by {handle} on machine {n}",
                    allocation.address, other.1, other.0
                ));
            }
            if !allocation.block_cidr.contains(allocation.address) {
                return Err(format!("{} lies outside its block {}", allocation.address, allocation.block));
            }
        }
        Ok(())
    }

    /// The holder has ended.
    pub(super) fn leave(&mut self, n: usize, handle: &Handle, allocations: &[Allocation]) {
        for allocation in allocations {
            if self.0.get(&allocation.address).is_some_and(|(m, h)| *m == n && h == handle) {
                self.0.remove(&allocation.address);
            }
        }
    }

    /// Everyone inside a block.
    pub(super) fn inside(&self, cidr: BlockCidr) -> impl Iterator<Item = (IpAddr, usize, &Handle)> {
        let last = cidr.address(cidr.size() - 1).unwrap();
        self.0.range(cidr.network().ip()..=last).map(|(address, (n, handle))| (*address, *n, handle))
    }

    /// Forgets whoever of a removed node holds an address.
    pub(super) fn forget_one(&mut self, address: IpAddr) {
        self.0.remove(&address);
    }

    /// Forgets everyone inside a block on machines that are off, as whoever removed the Node said.
    pub(super) fn forget(&mut self, cidr: BlockCidr, is_off: impl Fn(IpAddr, usize) -> bool) {
        let off = self.inside(cidr).filter(|(address, n, _)| is_off(*address, *n));
        let inside: Vec<IpAddr> = off.map(|(address, ..)| address).collect();
        for address in inside {
            self.0.remove(&address);
        }
    }
}

/// Whether a machine is the owner that a block names.
pub(super) fn is_owner(node: &Node, object: &IpamBlock) -> bool {
    let owner = &object.spec.owner;
    owner.name == node.name && owner.machine_id == node.machine_id && journal_of(owner) == node.disk.token
}

/// Whether a block records that a handle holds an address.
pub(super) fn records(object: &IpamBlock, address: IpAddr, handle: &Handle) -> bool {
    record_of(object, address).is_some_and(|record| record.handle == handle.0)
}

/// Who borrowed an address, by the block's record.
pub(super) fn borrower_of(object: &IpamBlock, address: IpAddr) -> Option<Borrower> {
    record_of(object, address)?.borrower
}

fn record_of(object: &IpamBlock, address: IpAddr) -> Option<AllocationRecord> {
    let cidr: BlockCidr = object.spec.cidr.parse().ok()?;
    let ordinal = cidr.ordinal(address)?;
    object.spec.allocations.get(&ordinal.to_string())?.parse().ok()
}

/// A new grant lies in a block of the node that gave it, or is recorded there as lent.
pub(super) fn lawful(
    node: &Node,
    store: &Store,
    handle: &Handle,
    allocation: &Allocation,
) -> Result<(), String> {
    let told = |what: &str| Err(format!("{} given to {handle} on {}: {what}", allocation.address, node.name));
    let Some(object) = store.blocks.get(&allocation.block) else { return told("its block is gone") };
    let recorded = record_of(object, allocation.address)
        .is_some_and(|record| record.handle == handle.0 && record.sequence == allocation.sequence);
    if is_owner(node, object) || recorded {
        Ok(())
    } else {
        told(&format!("its block is {}'s", object.spec.owner.name))
    }
}

/// Every ordinal of every block is in use, free, or rests: exactly one of these.
pub(super) fn partition(agent: &Ipam) -> Result<(), String> {
    let mut used = 0;
    for block in agent.blocks.values() {
        let mut seen = [0_u64; 4];
        let mut twice = false;
        let mut count = 0;
        for ordinal in block.ordinals() {
            let (word, bit) = (ordinal as usize / 64, 1_u64 << (ordinal % 64));
            twice |= seen[word] & bit != 0;
            seen[word] |= bit;
            count += 1;
        }
        if twice || count != block.cidr.size() {
            let ordinals: Vec<u32> = block.ordinals().collect();
            return Err(format!("block {} keeps its ordinals as {ordinals:?}", block.name));
        }
        used += block.own_used().count();
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
    if held != used {
        return Err(format!("{held} addresses have holders, {used} are in use"));
    }
    Ok(())
}

/// After everything healed and while pods run on: the objects of blocks show what those who may write them have there, and
/// name the pool that holds them.
pub(super) fn published(nodes: &[Node], store: &Store, pools: &Pools) -> Result<(), String> {
    for node in nodes.iter().filter(|n| n.runs) {
        let agent = node.agent.as_ref().ok_or("an agent is down")?;
        for block in agent.blocks.values().filter(|block| block.awaited_since.is_none()) {
            if !matches!(block.standing, Standing::Owned | Standing::Borrowed) {
                continue;
            }
            let Some(object) = store.blocks.get(&block.name) else {
                return Err(format!("{} has {}, which is missing", node.name, block.name));
            };
            let is = match &block.borrower {
                Some(me) => block.rendered_in(object, me),
                None => block.rendered(),
            };
            let shown = &object.spec.allocations;
            if *shown != is {
                return Err(format!("{} has {is:?} in {}, which shows {shown:?}", node.name, block.name));
            }
            let of = (&object.spec.pool, &object.spec.pool_uid);
            let holds = |pool: &&Pool| pool.takes(block.cidr);
            if !pools.iter().filter(holds).any(|pool| of == (&pool.name, &pool.uid))
                && pools.iter().any(|pool| holds(&pool))
            {
                return Err(format!(
                    "{} says that it is of pool {of:?}, and another one holds it",
                    block.name
                ));
            }
        }
    }
    Ok(())
}

/// Whether a block, whose owner's machine is gone, is kept for a loan that a living node knows nothing of: a backup brought it
/// back, and nobody is left who could tell that it has ended (see docs/ipam.md).
fn shows_loan_of_another_time(nodes: &[Node], object: &IpamBlock) -> bool {
    let living = |record: AllocationRecord| {
        let mut agents = nodes.iter().filter(|n| n.runs).filter_map(|n| n.agent.as_ref());
        record.kind != AllocationKind::Held
            && agents.any(|agent| {
                let knows = object.metadata.name.as_ref().is_some_and(|name| agent.blocks.contains_key(name));
                record.borrower == Some(agent.as_borrower()) && !knows
            })
    };
    object.spec.allocations.values().filter_map(|text| text.parse().ok()).any(living)
}

/// After everything healed, all pods ended and time passed: every block is known to its owner and wholly free, and the
/// objects say so. One thing is known to stay: see [`shows_loan_of_another_time`].
pub(super) fn at_the_end(nodes: &[Node], store: &Store, tampered: &BTreeSet<String>) -> Result<(), String> {
    for (name, object) in &store.blocks {
        let owner = &object.spec.owner;
        let Some(node) = nodes.iter().find(|n| n.runs && is_owner(n, object)) else {
            if tampered.contains(name) && shows_loan_of_another_time(nodes, object) {
                continue;
            }
            return Err(format!("{name} of {} {} was never freed", owner.name, owner.node_uid));
        };
        let agent = node.agent.as_ref().ok_or("an agent is down")?;
        if owner.node_uid != agent.owner().node_uid {
            return Err(format!(
                "{name} of the former node {} {} was never freed",
                owner.name, owner.node_uid
            ));
        }
        let block = agent.blocks.get(name).ok_or(format!("{} lost block {name}", node.name))?;
        if !block.is_owned() || block.free() != block.cidr.size() as usize {
            let (standing, free, used) = (&block.standing, block.free(), &block.used);
            return Err(format!(
                "{} lost addresses of {name}: {standing:?}, {free} free, {used:?}",
                node.name
            ));
        }
        if !object.spec.allocations.is_empty() {
            return Err(format!("{name} still shows {:?}", object.spec.allocations));
        }
    }
    for node in nodes.iter().filter(|n| n.runs) {
        let agent = node.agent.as_ref().ok_or("an agent is down")?;
        let mut empty: BTreeMap<(&str, bool), usize> = BTreeMap::new();
        // One that was borrowed from and is looked for stays known for an hour.
        for block in agent.blocks.values().filter(|block| block.awaited_since.is_none()) {
            if store.blocks.get(&block.name).is_none_or(|object| !is_owner(node, object)) {
                return Err(format!(
                    "{} believes that it has {}: {:?}",
                    node.name, block.name, block.standing
                ));
            }
            *empty.entry((&block.pool, block.cidr.is_ipv4())).or_default() += 1;
        }
        if let Some(((pool, _), count)) = empty.iter().find(|(_, count)| **count > 1) {
            return Err(format!("{} keeps {count} empty blocks of {pool}", node.name));
        }
    }
    Ok(())
}
