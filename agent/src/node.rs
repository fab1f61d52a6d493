//! This node: who it is, where it is on the network, and what the others are told of it.

pub mod address;
pub mod detection;
pub mod forwarding;
pub mod network_node;
pub mod pod_cidrs;
pub mod tunnel_addresses;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use caracal_api::NetworkNode;
use caracal_linux::kernel::Underlay;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;
use tracing::warn;

pub use address::{AddressTaken, NodeAddress, NodeAddresses};

use crate::cluster::Snapshot;
use detection::Detection;

/// What this node knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name in Kubernetes.
    pub name: String,
    /// UID of the Node object; `None` until it was seen once.
    pub uid: Option<String>,
    /// Where the node is reached, per family.
    pub addresses: NodeAddresses,
    /// Addresses that would be this node's, but are another's.
    pub taken: Vec<AddressTaken>,
    /// Every address of the node's uplinks.
    pub underlay: Vec<NodeAddress>,
    /// Labels of the Node object.
    pub labels: BTreeMap<String, String>,
    /// Set where the node is to reflect routes: its cluster id (RFC 4456), from an annotation of the Node.
    pub cluster_id: Option<Ipv4Addr>,
}

/// Annotations of a Node that make it a route reflector; the second is Calico's, honoured too.
const CLUSTER_ID: [&str; 2] =
    ["caracal.dev/route-reflector-cluster-id", "projectcalico.org/RouteReflectorClusterID"];

/// How facts are handed out.
pub type FactsReceiver = watch::Receiver<Arc<NodeFacts>>;

/// Puts together what the Node object, the links and the other nodes say. Facts change with each of them.
pub fn facts(
    name: &str,
    node: Option<&Node>,
    links: &Underlay,
    nodes: &Snapshot<NetworkNode>,
    detection: &Detection,
) -> NodeFacts {
    let Some(node) = node else { return NodeFacts { name: name.to_owned(), ..NodeFacts::default() } };
    let chosen = address::choose(node, links, detection, detection::leaves_from);
    let (addresses, taken) = address::settle(name, chosen, nodes);
    NodeFacts {
        name: name.to_owned(),
        uid: node.metadata.uid.clone(),
        addresses,
        taken,
        underlay: detection::underlay(links),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        cluster_id: cluster_id(node),
    }
}

fn cluster_id(node: &Node) -> Option<Ipv4Addr> {
    let annotations = node.metadata.annotations.as_ref()?;
    let text = CLUSTER_ID.iter().find_map(|key| annotations.get(*key))?;
    let id = text.parse().ok();
    if id.is_none() {
        warn!(text, "the route reflector cluster id is no dotted quad: the node does not reflect");
    }
    id
}
