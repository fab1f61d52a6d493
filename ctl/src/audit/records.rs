//! The records of blocks against pods and tunnels, and the other way round.

use std::collections::BTreeSet;
use std::net::IpAddr;

use caracal_api::block_cidr::masked;
use caracal_api::ipam_block::AllocationKind;
use caracal_api::{AllocationRecord, BlockCidr, IpamBlock};

use super::{Evidence, Finding, Fix, Holders, Problem};

/// The interface whose addresses a pod's status names; those of further networks it does not.
const FIRST_INTERFACE: &str = "eth0";

pub(super) fn judge(evidence: &Evidence, blocks: &[(&IpamBlock, BlockCidr)]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut recorded = Holders::new();
    for (block, cidr) in blocks {
        for (ordinal, text) in &block.spec.allocations {
            let address = ordinal.parse().ok().and_then(|ordinal: u32| cidr.address(ordinal));
            let Some(address) = address else {
                let words = format!("it records ordinal {ordinal}, which {cidr} does not have");
                found.push(Finding::of_block(Problem::Unreadable, block, words));
                continue;
            };
            let record = match text.parse::<AllocationRecord>() {
                Ok(record) => record,
                Err(error) => {
                    let finding = Finding::of_block(Problem::Unreadable, block, error.to_string());
                    found.push(Finding { address: Some(address), ..finding });
                    continue;
                }
            };
            if !record.kind.is_taken() {
                continue;
            }
            recorded.entry(address).or_default().push(holder(&record));
            found.extend(Recorded { evidence, block, ordinal, text, address, record }.judge());
        }
    }
    let pods = evidence.pods.iter().filter(|pod| pod.lives());
    let mut told = Holders::new();
    for (address, pod) in pods.flat_map(|pod| pod.addresses.iter().map(move |ip| (*ip, pod))) {
        told.entry(address).or_default().push(pod.label());
        if !recorded.contains_key(&address) && in_a_pool(evidence, address) {
            let block = blocks.iter().find(|(_, cidr)| cidr.ordinal(address).is_some());
            let words = match block {
                Some((block, cidr)) => format!(
                    "the pod runs on {} and has it; block {cidr} of {} does not record it",
                    pod.node, block.spec.owner.name
                ),
                None => format!("the pod runs on {} and has it; it lies in no block", pod.node),
            };
            let finding = Finding::of_address(Problem::MissingRecord, address, &pod.label(), words);
            found.push(Finding {
                block: block.map(|(block, _)| block.spec.cidr.clone()),
                node: Some(pod.node.clone()),
                fix: Some(Fix::Publish { node: pod.node.clone() }),
                ..finding
            });
        }
    }
    found.extend(doubled(&told, "pods have it"));
    found.extend(doubled(&recorded, "holders are recorded for it"));
    found
}

fn doubled(holders: &Holders, have_it: &str) -> Vec<Finding> {
    let several = holders.iter().filter_map(|(address, holders)| {
        let different: BTreeSet<&str> = holders.iter().map(String::as_str).collect();
        let all = different.iter().copied().collect::<Vec<_>>().join(", ");
        let words = format!("{} {have_it}: {all}", different.len());
        (different.len() > 1).then(|| Finding::of_address(Problem::DoubledAddress, *address, &all, words))
    });
    several.collect()
}

fn in_a_pool(evidence: &Evidence, address: IpAddr) -> bool {
    evidence.pools.iter().filter_map(|pool| pool.spec.network()).any(|range| masked(range).contains(address))
}

fn holder(record: &AllocationRecord) -> String {
    if record.pod.is_empty() { record.handle.clone() } else { format!("{}/{}", record.namespace, record.pod) }
}

/// One record of a block.
struct Recorded<'a> {
    evidence: &'a Evidence,
    block: &'a IpamBlock,
    ordinal: &'a str,
    text: &'a str,
    address: IpAddr,
    record: AllocationRecord,
}

impl Recorded<'_> {
    fn judge(&self) -> Option<Finding> {
        let owner = &self.block.spec.owner;
        let (node, uid) = match &self.record.borrower {
            Some(borrower) => (&borrower.node, &borrower.node_uid),
            None => (&owner.name, &owner.node_uid),
        };
        let there = self.evidence.has_node(node, uid);
        match (there, &self.record.borrower) {
            // The whole block is told of.
            (false, None) => None,
            (false, Some(_)) => Some(self.without_borrower(node)),
            (true, _) if self.record.kind == AllocationKind::Tunnel => {
                let has = self.evidence.tunnels.get(&self.address);
                let words = match has {
                    Some(other) if other == node => return None,
                    Some(other) => format!("it is recorded for a tunnel of {node}, and {other} has it"),
                    None => {
                        format!("it is recorded for a tunnel of {node}, whose NetworkNode does not name it")
                    }
                };
                Some(self.finding(Problem::StaleHandle, node, words, true))
            }
            (true, _) => {
                let why = self.why_leaked(node)?;
                Some(self.finding(Problem::LeakedAddress, node, why, true))
            }
        }
    }

    fn without_borrower(&self, node: &str) -> Finding {
        let words = format!("node {node} borrowed it, and that Node is gone or another one now");
        let mut finding = self.finding(Problem::AbsentBorrower, node, words, false);
        if self.evidence.holder(self.address).is_none() {
            finding.fix = Some(Fix::TakeOut {
                block: self.block.metadata.name.clone().unwrap_or_default(),
                uid: self.block.metadata.uid.clone().unwrap_or_default(),
                ordinal: self.ordinal.to_owned(),
                record: self.text.to_owned(),
            });
        }
        finding
    }

    fn finding(&self, problem: Problem, node: &str, found: String, release: bool) -> Finding {
        let handle = self.record.handle.clone();
        let fix = Fix::Release { node: node.to_owned(), address: self.address, handle };
        Finding {
            problem,
            block: Some(self.block.spec.cidr.clone()),
            address: Some(self.address),
            node: Some(node.to_owned()),
            holder: Some(holder(&self.record)),
            found,
            fix: release.then_some(fix),
        }
    }

    /// Why the pod of the record does not have the address; nothing if it does, or may.
    fn why_leaked(&self, node: &str) -> Option<String> {
        let AllocationRecord { namespace, pod: name, handle, .. } = &self.record;
        if name.is_empty() {
            // Who called the plugin did not say for which pod: nothing to compare with.
            return None;
        }
        let Some(pod) = self.evidence.pod(namespace, name) else {
            return Some(format!(
                "it is recorded for pod {namespace}/{name} on {node}, which does not exist"
            ));
        };
        if let Some(how) = &pod.ended {
            return Some(format!(
                "it is recorded for pod {namespace}/{name} on {node}, which has ended ({how})"
            ));
        }
        if !pod.node.is_empty() && pod.node != node {
            return Some(format!(
                "it is recorded for pod {namespace}/{name} on {node}, which runs on {} now",
                pod.node
            ));
        }
        let first = handle.rsplit('.').next() == Some(FIRST_INTERFACE);
        let other = first && !pod.addresses.is_empty() && !pod.addresses.contains(&self.address);
        other.then(|| {
            let has: Vec<String> = pod.addresses.iter().map(IpAddr::to_string).collect();
            format!("it is recorded for pod {namespace}/{name} on {node}, which has {}", has.join(", "))
        })
    }
}
