//! What container runtimes ask of this node: attach a pod, detach it, look after it.
//!
//! The plugin passes each call over a unix socket ([`server`]), one task carries it out (`request`), and the parts are
//! always taken in the same order: addresses from the allocator, the record into the journal, the devices made, the host's
//! routes acknowledged by the kernel, and only then the answer. DEL goes the same way back. Nothing here asks the API server.
//!
//! Addresses may come from another IPAM plugin, which our plugin has asked before; then they are the record's alone. Or another
//! plugin makes the interface and asks for addresses only (`delegated`).
//!
//! An agent that is killed at any point leaves at most a record without a finished device, and [`recover`] undoes that at the
//! next start. A device of ours is finished when it is up, which is the last thing done to it.

mod add;
mod addresses;
mod bandwidth;
mod check;
pub mod conflist;
mod del;
mod delegated;
mod extras;
mod follow;
mod foreign;
mod gc;
mod leftovers;
mod locks;
mod records;
mod recover;
mod release;
mod request;
pub mod server;
mod status;
mod wiring;

use std::collections::BTreeSet;
use std::sync::Arc;

use caracal_api::IpPool;
use caracal_cni::name::{self, Alias};
use caracal_linux::kernel::Kernel;
use caracal_linux::netlink;
use caracal_linux::object::link::{BadIfName, IfName};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Namespace;
use tokio::sync::{RwLock, watch};

use crate::attachments::{Attachment, AttachmentKey, Journal};
use crate::cluster::events::Events;
use crate::cluster::snapshot::SnapshotReceiver;
use crate::desired::grants::Grants;
use crate::ipam::Ipam;

pub use follow::follow;
pub use leftovers::keep as keep_leftovers;
pub use recover::{Outcome, recover};
pub use release::{ReleaseError, release};

use locks::Locks;
use records::Records;
use wiring::Wiring;

/// Those who own what a call needs.
#[derive(Clone, Debug)]
pub struct Owners {
    /// This node's name.
    pub node: Arc<str>,
    /// MTU for pods, in bytes.
    pub mtu: watch::Receiver<u32>,
    /// The pools, to know which families pods get.
    pub pools: SnapshotReceiver<IpPool>,
    /// Namespaces, whose labels and annotations choose pools.
    pub namespaces: SnapshotReceiver<Namespace>,
    /// Where pods are told why they get no address.
    pub events: Events,
    /// The allocator.
    pub ipam: Ipam,
    /// The journal.
    pub journal: Journal,
    /// The kernel's routes and neighbours.
    pub kernel: Kernel,
    /// Where it is told what some pods have beyond their addresses.
    pub grants: watch::Sender<Arc<Grants>>,
}

/// Everything that the tasks of calls share.
#[derive(Debug)]
pub struct CniContext {
    node: Arc<str>,
    mtu: watch::Receiver<u32>,
    pools: SnapshotReceiver<IpPool>,
    namespaces: SnapshotReceiver<Namespace>,
    events: Events,
    ipam: Ipam,
    kernel: Kernel,
    records: Records,
    wiring: Wiring,
    locks: Locks,
    /// Held by each ADD, and by GC alone: an ADD whose plugin was killed is over for the runtime, but not here yet.
    gate: Arc<RwLock<()>>,
    /// Blocks whose addresses other plugins put on links of their own.
    subnets: watch::Sender<BTreeSet<IpNetwork>>,
}

impl CniContext {
    /// Prepares to serve, in the namespace of the calling thread. `attachments` are those that the journal held at the start.
    ///
    /// # Errors
    /// When no netlink socket can be opened.
    pub fn new(owners: Owners, attachments: Vec<Attachment>) -> Result<Self, netlink::Error> {
        Ok(Self {
            node: owners.node,
            mtu: owners.mtu,
            pools: owners.pools,
            namespaces: owners.namespaces,
            events: owners.events,
            ipam: owners.ipam,
            kernel: owners.kernel,
            subnets: watch::Sender::new(delegated::subnets(&attachments)),
            records: Records::new(owners.journal, attachments, owners.grants),
            wiring: Wiring::open()?,
            locks: Locks::default(),
            gate: Arc::default(),
        })
    }

    /// The blocks that are subnets of other plugins' networks, as they change.
    pub fn subnets(&self) -> watch::Receiver<BTreeSet<IpNetwork>> {
        self.subnets.subscribe()
    }
}

/// The attachment as its device's alias names it.
fn alias_of(key: &AttachmentKey) -> Result<Alias, BadIfName> {
    let interface = IfName::new(&key.interface)?;
    Ok(Alias { network: key.network.clone(), container: key.container.clone(), interface })
}

/// How the devices of pods begin.
pub const HOST_PREFIX: &str = name::HOST_PREFIX;
