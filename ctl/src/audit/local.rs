//! What agents' allocators have, each of which began with its journal, against the blocks' objects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_api::{AllocationRecord, BlockCidr, IpamBlock};

use super::{Evidence, Finding, Fix, Local, LocalBlock, Problem};

pub(super) fn compare(evidence: &Evidence, blocks: &[(&IpamBlock, BlockCidr)]) -> Vec<Finding> {
    evidence.locals.iter().flat_map(|local| compare_one(local, blocks)).collect()
}

fn compare_one(local: &Local, blocks: &[(&IpamBlock, BlockCidr)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for here in &local.blocks {
        let object = blocks.iter().find(|(block, _)| block.metadata.name.as_deref() == Some(&here.name));
        let Some((block, cidr)) = object else {
            found.extend(missing(&local.node, here));
            continue;
        };
        if let Some(why) = &here.dispute {
            let finding = Finding::of_block(Problem::Disputed, block, format!("{}: {why}", local.node));
            found.push(Finding { node: Some(local.node.clone()), ..finding });
        }
        found.extend(differences(&local.node, here, block, *cidr));
    }
    found
}

/// The agent has a block that the API server has not.
fn missing(node: &str, here: &LocalBlock) -> Option<Finding> {
    let cidr = BlockCidr::from_object_name(&here.name)?;
    (here.state != "Returning").then(|| Finding {
        problem: Problem::Disputed,
        block: Some(cidr.to_string()),
        address: None,
        node: Some(node.to_owned()),
        holder: None,
        found: format!("the agent of {node} has the block ({}), and its object does not exist", here.state),
        fix: None,
    })
}

fn differences(node: &str, here: &LocalBlock, block: &IpamBlock, cidr: BlockCidr) -> Vec<Finding> {
    let recorded = recorded(node, block, cidr);
    let finding = |problem, address, handle: &str, words: String| Finding {
        block: Some(block.spec.cidr.clone()),
        node: Some(node.to_owned()),
        fix: Some(Fix::Publish { node: node.to_owned() }),
        ..Finding::of_address(problem, address, handle, words)
    };
    let unpublished = here.handles.iter().filter(|(ip, handle)| recorded.get(ip) != Some(handle));
    let unpublished = unpublished.map(|(ip, handle)| {
        let words = match recorded.get(ip) {
            Some(other) => format!("the agent of {node} gave it to {handle}, and the block records {other}"),
            None => format!("the agent of {node} gave it to {handle}, and the block does not record it"),
        };
        finding(Problem::Unpublished, *ip, handle, words)
    });
    let unknown = recorded.iter().filter(|(ip, _)| !here.handles.contains_key(ip)).map(|(ip, handle)| {
        let words = format!("it is recorded for {handle}, which the agent of {node} does not know");
        finding(Problem::UnknownToAgent, *ip, handle, words)
    });
    unpublished.chain(unknown).collect()
}

/// What a block records as held on a node: by its owner, or as borrowed.
fn recorded(node: &str, block: &IpamBlock, cidr: BlockCidr) -> BTreeMap<IpAddr, String> {
    let read = block.spec.allocations.iter().filter_map(|(ordinal, text)| {
        let record: AllocationRecord = text.parse().ok()?;
        let by = record.borrower.as_ref().map_or(&block.spec.owner.name, |borrower| &borrower.node);
        let counts = record.kind.is_taken() && by == node;
        counts.then_some((cidr.address(ordinal.parse().ok()?)?, record.handle))
    });
    read.collect()
}
