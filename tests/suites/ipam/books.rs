//! What runtimes were told, kept beside what the agents keep, and compared with it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use anyhow::{Context, ensure};
use caracal_api::ipam_block::AllocationKind;
use caracal_api::{AllocationRecord, BlockCidr, IpamBlock};
use caracal_lab::{Lab, Node, Pod};

/// Who holds each address: the pod's name.
pub(crate) type Held = BTreeMap<IpAddr, String>;

/// Who holds each address by the answers that runtimes got. Of all nodes, so that no two give the same.
#[derive(Debug, Default)]
pub(crate) struct Books(Mutex<Held>);

impl Books {
    /// An ADD was answered: nobody may hold these addresses already.
    pub(crate) fn take(&self, pod: &Pod) -> anyhow::Result<()> {
        ensure!(pod.addresses().len() == 2, "{} has {:?} instead of two", pod.name(), pod.addresses());
        let mut held = self.0.lock().map_err(|_| anyhow::anyhow!("a worker has panicked"))?;
        for address in pod.addresses() {
            if let Some(other) = held.insert(*address, pod.name().to_owned()) {
                anyhow::bail!("{address} was given to {} while {other} holds it", pod.name());
            }
        }
        Ok(())
    }

    /// A DEL was answered.
    pub(crate) fn leave(&self, pod: &Pod) -> anyhow::Result<()> {
        let mut held = self.0.lock().map_err(|_| anyhow::anyhow!("a worker has panicked"))?;
        for address in pod.addresses() {
            held.remove(address);
        }
        Ok(())
    }

    /// All that is held.
    pub(crate) fn held(&self) -> anyhow::Result<Held> {
        Ok(self.0.lock().map_err(|_| anyhow::anyhow!("a worker has panicked"))?.clone())
    }
}

/// What the blocks in the API say: pods' addresses, each in a block of the node that the pod is on.
pub(crate) fn published(blocks: &[IpamBlock]) -> anyhow::Result<Held> {
    let mut held = Held::new();
    for block in blocks {
        let spec = &block.spec;
        let cidr: BlockCidr = spec.cidr.parse().with_context(|| format!("`{}` is no block", spec.cidr))?;
        for (ordinal, record) in &spec.allocations {
            let record: AllocationRecord =
                record.parse().with_context(|| format!("{}, ordinal {ordinal}", spec.cidr))?;
            if record.kind != AllocationKind::Workload {
                continue;
            }
            let ordinal: u32 =
                ordinal.parse().with_context(|| format!("{}: ordinal {ordinal}", spec.cidr))?;
            let address = cidr.address(ordinal).with_context(|| format!("{} has no {ordinal}", spec.cidr))?;
            let (node, _) = record.pod.split_once('-').with_context(|| format!("the pod {record}"))?;
            ensure!(node == spec.owner.name, "{} of {} records {record}", spec.cidr, spec.owner.name);
            if let Some(other) = held.insert(address, record.pod.clone()) {
                anyhow::bail!("{address} is recorded for {other} and for {}", record.pod);
            }
        }
    }
    Ok(held)
}

/// How two accounts differ, in words; nothing if they do not.
pub(crate) fn difference(what: &str, found: &Held, held: &Held) -> Option<String> {
    let lost = held.iter().filter(|(address, pod)| found.get(address) != Some(pod));
    let leaked = found.iter().filter(|(address, _)| !held.contains_key(address));
    let lost: Vec<_> = lost.map(|(address, pod)| format!("{address} ({pod})")).collect();
    let leaked: Vec<_> = leaked.map(|(address, pod)| format!("{address} ({pod})")).collect();
    let same = lost.is_empty() && leaked.is_empty();
    (!same).then(|| format!("{what} lacks [{}], has too much [{}]", lost.join(" "), leaked.join(" ")))
}

/// Whether a node's kernel leads exactly the addresses of its pods to pods' devices.
pub(crate) async fn check_kernel(node: &Node, held: &Held) -> anyhow::Result<()> {
    let routes = node.netns().routes().await?;
    let pods = routes.iter().filter(|route| route.dev.as_deref().is_some_and(|dev| dev.starts_with("cali")));
    let ours = pods.filter(|route| route.protocol.as_deref() == Some("67"));
    let here: Held = ours.filter_map(|route| Some((route.destination()?.ip(), String::new()))).collect();
    let begins = format!("{}-", node.name());
    let expected: Held = held
        .iter()
        .filter(|(_, pod)| pod.starts_with(&begins))
        .map(|(address, _)| (*address, String::new()))
        .collect();
    match difference(&format!("the kernel of {}", node.name()), &here, &expected) {
        None => Ok(()),
        Some(words) => anyhow::bail!("{words}"),
    }
}

/// The blocks' account against the runtimes'.
pub(crate) async fn compare(lab: &Lab, books: &Books) -> anyhow::Result<Option<String>> {
    let published = published(&lab.cluster().blocks().await?)?;
    Ok(difference("the blocks' account", &published, &books.held()?))
}
