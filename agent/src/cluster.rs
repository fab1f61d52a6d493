//! What the API server said last: one read-only snapshot a kind.
//!
//! Each kind has one watch ([`watch`]) whose result is also saved on disk ([`last_good`]), so that a restart without
//! the API server starts from it, marked as not synced. Nothing else in the agent lists or watches.

pub mod blocks;
pub mod events;
pub mod last_good;
pub mod lease;
pub mod publish;
pub mod secrets;
pub mod services;
pub mod snapshot;
pub mod watch;

use std::path::Path;

use caracal_api::{
    BgpConfiguration, BgpFilter, BgpPeer, IpPool, IpReservation, IpamBlock, IpamConfig, NetworkNode,
};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::{Api, Client};

pub use snapshot::{Snapshot, SnapshotReceiver};

use watch::{OnEmptyList, WatchSettings};

/// The snapshots an agent lives on.
#[derive(Clone)]
pub struct Cluster {
    /// Pools of addresses.
    pub ip_pools: SnapshotReceiver<IpPool>,
    /// `IPAMConfig` `default`.
    pub ipam_configs: SnapshotReceiver<IpamConfig>,
    /// Addresses that are never given out.
    pub ip_reservations: SnapshotReceiver<IpReservation>,
    /// Namespaces, for the pools that choose them and for their annotations.
    pub namespaces: SnapshotReceiver<Namespace>,
    /// Blocks whose owner has this node's name.
    pub own_blocks: SnapshotReceiver<IpamBlock>,
    /// Settings of the speakers.
    pub bgp_configurations: SnapshotReceiver<BgpConfiguration>,
    /// Sessions beside the mesh.
    pub bgp_peers: SnapshotReceiver<BgpPeer>,
    /// What passes between nodes and peers.
    pub bgp_filters: SnapshotReceiver<BgpFilter>,
    /// All nodes of the network.
    pub network_nodes: SnapshotReceiver<NetworkNode>,
    /// This node's own Node object.
    pub node: SnapshotReceiver<Node>,
}

impl Cluster {
    /// Starts the watches of an agent. Never waits for the API server: each snapshot begins with what `folder` kept.
    pub fn start(client: &Client, node_name: &str, folder: &Path) -> Self {
        let own_block = WatchSettings::all(folder).fields(format!("spec.owner.name={node_name}"));
        let own_node = WatchSettings::all(folder).fields(format!("metadata.name={node_name}"));
        let machine_written = WatchSettings::all(folder).on_empty_list(OnEmptyList::Doubt);
        let user_written = WatchSettings::all(folder);
        Self {
            ip_pools: watch::spawn(Api::all(client.clone()), user_written.clone()),
            ipam_configs: watch::spawn(Api::all(client.clone()), user_written.clone()),
            ip_reservations: watch::spawn(Api::all(client.clone()), user_written.clone()),
            namespaces: watch::spawn(Api::all(client.clone()), user_written.clone()),
            own_blocks: watch::spawn(Api::all(client.clone()), own_block.on_empty_list(OnEmptyList::Doubt)),
            bgp_configurations: watch::spawn(Api::all(client.clone()), user_written.clone()),
            bgp_peers: watch::spawn(Api::all(client.clone()), user_written.clone()),
            bgp_filters: watch::spawn(Api::all(client.clone()), user_written),
            network_nodes: watch::spawn(Api::all(client.clone()), machine_written),
            node: watch::spawn(Api::all(client.clone()), own_node.on_empty_list(OnEmptyList::Doubt)),
        }
    }
}

/// What is known of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// Plural name of the kind.
    pub kind: &'static str,
    /// Objects held.
    pub objects: usize,
    /// Whether a live list was seen since start.
    pub synced: bool,
}

impl Cluster {
    /// How each watch stands.
    pub fn watches(&self) -> Vec<WatchState> {
        fn state<T>(kind: &'static str, receiver: &SnapshotReceiver<T>) -> WatchState {
            let snapshot = receiver.borrow();
            WatchState { kind, objects: snapshot.items.len(), synced: snapshot.synced }
        }
        vec![
            state("ippools", &self.ip_pools),
            state("ipamconfigs", &self.ipam_configs),
            state("ipreservations", &self.ip_reservations),
            state("namespaces", &self.namespaces),
            state("ipamblocks", &self.own_blocks),
            state("bgpconfigurations", &self.bgp_configurations),
            state("bgpfilters", &self.bgp_filters),
            state("bgppeers", &self.bgp_peers),
            state("networknodes", &self.network_nodes),
            state("nodes", &self.node),
        ]
    }
}
