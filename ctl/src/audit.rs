//! Looking for what does not fit together among blocks, pools, Nodes, pods and what one node's agent says: pure.
//!
//! A [`Finding`] is a suspicion: lists of different kinds are read one after the other, and what a node has granted is
//! published some seconds later. So a shell looks twice before it tells of what time alone may explain
//! ([`Problem::settles`]), and asks the API server again for everything that a [`Fix`] stands on right before doing it.

mod evidence;
mod finding;
mod local;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_api::block_cidr::masked;
use caracal_api::{BlockCidr, IpPool, IpamBlock, OwnerKind};

pub(crate) use evidence::{Evidence, Local, LocalBlock, PodSeen};
pub(crate) use finding::{Finding, Fix, Problem};

/// Everything that does not fit, in order of problem and place.
pub(crate) fn audit(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut blocks = Vec::new();
    for block in &evidence.blocks {
        let name = block.metadata.name.as_deref().unwrap_or_default();
        match block.spec.cidr.parse::<BlockCidr>() {
            Ok(cidr) if cidr.object_name() == name => blocks.push((block, cidr)),
            Ok(cidr) => found.push(Finding::of_block(
                Problem::Unreadable,
                block,
                format!("its range {cidr} is named {} and not {name}", cidr.object_name()),
            )),
            Err(error) => found.push(Finding::of_block(Problem::Unreadable, block, error.to_string())),
        }
    }
    for (block, cidr) in &blocks {
        found.extend(outside_pools(evidence, block, *cidr));
        found.extend(without_node(evidence, block, *cidr));
    }
    found.extend(overlapping(&blocks));
    found.extend(records::judge(evidence, &blocks));
    found.extend(local::compare(evidence, &blocks));
    found.sort_by(|a, b| a.place().cmp(&b.place()));
    found.dedup();
    found
}

/// A block that no pool explains.
fn outside_pools(evidence: &Evidence, block: &IpamBlock, cidr: BlockCidr) -> Option<Finding> {
    let network = cidr.network();
    let contains = |pool: &&IpPool| {
        pool.spec.network().map(masked).is_some_and(|range| {
            range.is_ipv4() == network.is_ipv4()
                && range.prefix() <= network.prefix()
                && range.contains(network.network())
        })
    };
    let pool = evidence.pools.iter().find(contains);
    let name = |pool: &IpPool| pool.metadata.name.clone().unwrap_or_default();
    let why = match pool {
        None => format!("it was cut from pool {}, and no pool holds {cidr} any more", block.spec.pool),
        Some(pool) if pool.spec.block_prefix() != network.prefix() => {
            format!(
                "pool {} has blocks of /{} and not /{}",
                name(pool),
                pool.spec.block_prefix(),
                network.prefix()
            )
        }
        Some(pool) if name(pool) == block.spec.pool => {
            let replaced = pool.metadata.uid.as_deref().is_some_and(|uid| uid != block.spec.pool_uid);
            return replaced.then(|| {
                let found = format!("pool {} was made anew since the block was cut from it", name(pool));
                Finding::of_block(Problem::PoolReplaced, block, found)
            });
        }
        Some(_) => return None,
    };
    let mut finding = Finding::of_block(Problem::OutsidePools, block, why);
    if block.spec.allocations.is_empty() && evidence.holders_inside(cidr).next().is_none() {
        finding.fix = Some(Fix::delete_empty(block));
    }
    Some(finding)
}

/// A block whose owner's Node is gone, or is another Node of that name.
fn without_node(evidence: &Evidence, block: &IpamBlock, cidr: BlockCidr) -> Option<Finding> {
    let owner = &block.spec.owner;
    if owner.kind != OwnerKind::Node || evidence.has_node(&owner.name, &owner.node_uid) {
        return None;
    }
    let node = &owner.name;
    let mut why = match evidence.nodes.get(node) {
        None => format!("there is no Node {node}"),
        Some(uid) => format!("Node {node} is another one now (UID {uid}, not {})", owner.node_uid),
    };
    let live: Vec<String> = evidence.holders_inside(cidr).map(|(ip, pod)| format!("{ip} ({pod})")).collect();
    let mut finding = if live.is_empty() {
        let fix = Fix::delete_of_node(block);
        Finding { fix: Some(fix), ..Finding::of_block(Problem::AbsentNode, block, String::new()) }
    } else {
        why = format!("{why}, and pods of others have addresses in it: {}", live.join(", "));
        Finding::of_block(Problem::AbsentNode, block, String::new())
    };
    finding.found = why;
    Some(finding)
}

/// Blocks that share addresses: two pools with blocks of different sizes had the same range.
fn overlapping(blocks: &[(&IpamBlock, BlockCidr)]) -> Vec<Finding> {
    let mut sorted: Vec<_> = blocks.iter().collect();
    sorted.sort_by_key(|(_, cidr)| (cidr.network().ip(), cidr.network().prefix()));
    let mut found = Vec::new();
    let mut widest: Option<&(&IpamBlock, BlockCidr)> = None;
    for here in sorted {
        match widest {
            Some((other, cidr)) if cidr.network().contains(here.1.network().ip()) => {
                let words = format!("it lies inside {cidr} of node {}", other.spec.owner.name);
                found.push(Finding::of_block(Problem::OverlappingBlocks, here.0, words));
            }
            Some(_) | None => widest = Some(here),
        }
    }
    found
}

/// Who holds an address, by the kind of account; more than one of a kind is one too many.
type Holders = BTreeMap<IpAddr, Vec<String>>;
