//! This node: who it is, where it is on the network, and what the others are told of it.

pub mod address;
pub mod forwarding;
pub mod network_node;
pub mod tunnel_addresses;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use caracal_linux::object::address::Address;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;
use tracing::warn;

pub use address::{NodeAddress, NodeAddresses};

/// What this node knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name in Kubernetes.
    pub name: String,
    /// UID of the Node object; `None` until it was seen once.
    pub uid: Option<String>,
    /// Where the node is reached, per family.
    pub addresses: NodeAddresses,
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

/// Puts together what the Node object and the links say. Facts change with either.
pub fn facts(name: &str, node: Option<&Node>, links: &[Address]) -> NodeFacts {
    let Some(node) = node else { return NodeFacts { name: name.to_owned(), ..NodeFacts::default() } };
    NodeFacts {
        name: name.to_owned(),
        uid: node.metadata.uid.clone(),
        addresses: address::choose(node, links),
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
