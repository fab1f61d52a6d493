//! What is looked at.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_api::{BlockCidr, IpPool, IpamBlock};

/// Everything, as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// All blocks.
    pub(crate) blocks: Vec<IpamBlock>,
    /// All pools.
    pub(crate) pools: Vec<IpPool>,
    /// UIDs of the Nodes, by name.
    pub(crate) nodes: BTreeMap<String, String>,
    /// Addresses of tunnel devices, with the node that has each.
    pub(crate) tunnels: BTreeMap<IpAddr, String>,
    /// Pods that have, or may get, addresses of their own: not those of the host's network.
    pub(crate) pods: Vec<PodSeen>,
    /// What the agents say that were asked.
    pub(crate) locals: Vec<Local>,
    /// Why others that were to be asked said nothing, by node.
    pub(crate) silent: BTreeMap<String, String>,
}

/// A pod, as far as addresses go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodSeen {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The node it runs on; empty while it has none.
    pub(crate) node: String,
    /// Its addresses; none while it has not got them, or has not told.
    pub(crate) addresses: Vec<IpAddr>,
    /// How it ended (`Succeeded`, `Failed`): its addresses are free then.
    pub(crate) ended: Option<String>,
}

/// What an agent says of its own node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Local {
    pub(crate) node: String,
    pub(crate) blocks: Vec<LocalBlock>,
}

/// One block, as an agent's allocator has it: restored from its journal, and changed since.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalBlock {
    pub(crate) name: String,
    /// `Owned`, `Disputed`, `Borrowed` or `Returning`.
    pub(crate) state: String,
    /// Why it is disputed.
    pub(crate) dispute: Option<String>,
    /// Who holds what.
    pub(crate) handles: BTreeMap<IpAddr, String>,
}

impl PodSeen {
    /// Namespace and name.
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it holds its addresses.
    pub(crate) fn lives(&self) -> bool {
        self.ended.is_none()
    }
}

impl Evidence {
    /// Whether there is this very Node. What names none cannot be said to lack one.
    pub(crate) fn has_node(&self, name: &str, uid: &str) -> bool {
        uid.is_empty() || self.nodes.get(name).is_some_and(|found| found == uid)
    }

    /// Living pods with an address in a block.
    pub(crate) fn holders_inside(&self, cidr: BlockCidr) -> impl Iterator<Item = (IpAddr, String)> {
        self.pods.iter().filter(|pod| pod.lives()).flat_map(move |pod| {
            let inside = pod.addresses.iter().filter(move |ip| cidr.ordinal(**ip).is_some());
            inside.map(|ip| (*ip, pod.label()))
        })
    }

    /// The living pod that has an address.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<&PodSeen> {
        self.pods.iter().find(|pod| pod.lives() && pod.addresses.contains(&address))
    }

    /// The pod of this name.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&PodSeen> {
        self.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name)
    }
}
