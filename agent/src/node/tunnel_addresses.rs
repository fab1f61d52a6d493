//! The addresses of this node's tunnel devices: ordinary allocations with handles of their own, kept in the journal.
//!
//! A packet that the node itself sends through a tunnel carries the tunnel's address, which lies in a block of this node:
//! so the answer finds the way back by the same routes as a pod's. An address is held for as long as a pool that serves
//! the tunnel contains it, and after that for as long as the device has it: with its last IPv4 address a device loses its
//! routes, and others may not have changed to another way yet. It is given back when it is on no device, since a pod may
//! get it next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use caracal_api::network_node::TunnelDevice;
use caracal_api::{AllowedUse, AssignmentMode, IpPool, Selector};
use caracal_ipam::{Allocation, Attributes, Purpose, Want, WantFamilies};
use caracal_linux::features::Features;
use caracal_linux::kernel::{Kernel, Wanted};
use caracal_linux::object::address::AddressKey;
use ipnetwork::IpNetwork;
use kube::ResourceExt;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{FactsReceiver, NodeFacts};
use crate::attachments::{Address, Attachment, AttachmentKey, Extras, Journal, Phase};
use crate::cluster::{Snapshot, SnapshotReceiver};
use crate::desired::tunnels::{TunnelAddress, TunnelAddresses, device};
use crate::ipam::Ipam;

/// The network under which tunnel addresses are recorded.
const NETWORK: &str = "caracal";
/// How long to wait for an address, before the pools are looked at again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY: Duration = Duration::from_secs(5);

/// Those who are needed to hold addresses.
pub struct TunnelAddressOwners {
    /// This node.
    pub facts: FactsReceiver,
    /// The pools.
    pub pools: SnapshotReceiver<IpPool>,
    /// Gives addresses, and takes them back.
    pub ipam: Ipam,
    /// Keeps what was given.
    pub journal: Journal,
    /// Has the devices.
    pub kernel: Kernel,
    /// What it can do.
    pub features: Arc<Features>,
}

/// Holds addresses for the tunnels in use.
pub struct TunnelAddressKeeper {
    owners: TunnelAddressOwners,
    node: String,
    held: BTreeMap<TunnelAddress, Allocation>,
    told: watch::Sender<Arc<TunnelAddresses>>,
}

impl TunnelAddressKeeper {
    /// Starts from what the journal held.
    pub fn new(
        node: &str,
        owners: TunnelAddressOwners,
        recovered: &[Attachment],
    ) -> (Self, watch::Receiver<Arc<TunnelAddresses>>) {
        let held: BTreeMap<_, _> = TunnelAddress::ALL
            .into_iter()
            .filter_map(|which| {
                let record = recovered.iter().find(|record| record.key == key(which, node))?;
                Some((which, record.own_addresses().next()?.clone()))
            })
            .collect();
        let (told, receiver) = watch::channel(Arc::new(addresses(&held)));
        (Self { owners, node: node.to_owned(), held, told }, receiver)
    }

    /// Runs until the agent ends.
    pub async fn run(mut self) {
        let mut links = self.owners.kernel.underlay();
        loop {
            let mut unsettled = false;
            let on_a_device = links.borrow_and_update().clone();
            let (pools, facts) = (
                Arc::clone(&self.owners.pools.borrow_and_update()),
                Arc::clone(&self.owners.facts.borrow_and_update()),
            );
            // What is not known to be gone is kept.
            let known = pools.synced;
            for which in TunnelAddress::ALL {
                if !self.can_be(which) {
                    continue;
                }
                let stays = |held: &&Allocation| is_served(which, &pools, held.address);
                let held = self.held.get(&which).filter(|held| !stays(held));
                let pools = giving(which, &pools, &facts);
                if let Some(held) = held.filter(|_| known) {
                    if !pools.is_empty() || !on_a_device.is_own(held.address) {
                        self.give_back(which).await;
                    }
                } else if held.is_some() {
                    unsettled = true;
                }
                if !self.held.contains_key(&which) && !pools.is_empty() {
                    unsettled |= !self.take(which, pools).await;
                }
            }
            let changed = tokio::select! {
                changed = self.owners.pools.changed() => changed,
                changed = self.owners.facts.changed() => changed,
                changed = links.changed() => changed,
                () = tokio::time::sleep(RETRY), if unsettled => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Whether the kernel can have such a device. Without it an address would be of no use.
    fn can_be(&self, which: TunnelAddress) -> bool {
        let features = &self.owners.features;
        match which {
            TunnelAddress::Ipip => features.ipip.is_present(),
            TunnelAddress::VxlanV4 | TunnelAddress::VxlanV6 => features.vxlan.is_present(),
        }
    }

    /// Gets an address from one of these pools; false if that has to be tried again.
    async fn take(&mut self, which: TunnelAddress, pools: Vec<String>) -> bool {
        let key = key(which, &self.node);
        let attributes = Attributes {
            kind: Purpose::Tunnel,
            interface: which.device().to_string(),
            ..Attributes::default()
        };
        let families = if which == TunnelAddress::VxlanV6 { WantFamilies::V6 } else { WantFamilies::V4 };
        let want = Want {
            handle: key.handle(),
            families,
            requested: Vec::new(),
            pools: Some(pools),
            attributes: attributes.clone(),
        };
        let granted = match tokio::time::timeout(PATIENCE, self.owners.ipam.allocate(want)).await {
            Ok(Ok(granted)) => granted,
            Ok(Err(refusal)) => {
                warn!(tunnel = which.name(), %refusal, "the tunnel has no address yet; trying again");
                return false;
            }
            Err(_) => return false,
        };
        let Some(allocation) = granted.first().cloned() else { return false };
        let record = Attachment {
            key: key.clone(),
            pod: None,
            netns: PathBuf::new(),
            host: which.device().to_string(),
            addresses: vec![Address::Own(allocation.clone())],
            attributes,
            phase: Phase::Tunnel,
            mtu: 0,
            mac: None,
            extras: Extras::default(),
        };
        if let Err(error) = self.owners.journal.put(record).await {
            warn!(%error, tunnel = which.name(), "the tunnel's address cannot be kept; trying again");
            self.owners.ipam.release(key.handle(), granted).await;
            return false;
        }
        info!(tunnel = which.name(), address = %allocation.address, "the tunnel has an address");
        self.held.insert(which, allocation);
        self.tell();
        true
    }

    /// Gives an address back, after the devices have lost it.
    async fn give_back(&mut self, which: TunnelAddress) {
        let Some(allocation) = self.held.remove(&which) else { return };
        self.tell();
        let devices = match which {
            TunnelAddress::Ipip => vec![which.device()],
            TunnelAddress::VxlanV4 | TunnelAddress::VxlanV6 => {
                vec![device(TunnelDevice::VxlanV4), device(TunnelDevice::VxlanV6)]
            }
        };
        let network = IpNetwork::from(allocation.address);
        let unwanted =
            devices.into_iter().map(|device| Wanted::Address(AddressKey { device, network }, None));
        if self.owners.kernel.want(unwanted.collect()).await.is_err() {
            return;
        }
        let key = key(which, &self.node);
        match self.owners.journal.remove(&key).await {
            Ok(()) => {
                info!(tunnel = which.name(), address = %allocation.address, "the tunnel's address is given back");
                self.owners.ipam.release(key.handle(), vec![allocation]).await;
            }
            Err(error) => {
                warn!(%error, tunnel = which.name(), "the tunnel's address stays recorded until the next start");
            }
        }
    }

    fn tell(&self) {
        self.told.send_replace(Arc::new(addresses(&self.held)));
    }
}

fn addresses(held: &BTreeMap<TunnelAddress, Allocation>) -> TunnelAddresses {
    held.iter().map(|(which, held)| (*which, held.address)).collect::<BTreeMap<_, IpAddr>>()
}

fn key(which: TunnelAddress, node: &str) -> AttachmentKey {
    AttachmentKey {
        network: NETWORK.to_owned(),
        container: format!("tunnel-{}-{node}", which.name()),
        interface: which.device().to_string(),
    }
}

/// Whether an address lies in a pool that this tunnel serves, and may stay: whichever it was taken from, since pools are split.
fn is_served(which: TunnelAddress, pools: &Snapshot<IpPool>, address: IpAddr) -> bool {
    let holds = |pool: &IpPool| pool.spec.network().is_some_and(|range| range.contains(address));
    pools.values().any(|pool| which.serves(pool) && holds(pool))
}

/// The pools that an address for this tunnel may be taken from: those that give this node's pods addresses.
fn giving(which: TunnelAddress, pools: &Snapshot<IpPool>, facts: &NodeFacts) -> Vec<String> {
    let selects = |pool: &IpPool| {
        pool.spec.node_selector.parse::<Selector>().is_ok_and(|selector| selector.matches(&facts.labels))
    };
    pools
        .values()
        .filter(|pool| facts.uid.is_some() && which.serves(pool) && selects(pool))
        .filter(|pool| pool.spec.allows(AllowedUse::Tunnel))
        .filter(|pool| pool.spec.assignment_mode == AssignmentMode::Automatic)
        .filter(|pool| pool.is_allocatable())
        .map(|pool| pool.name_any())
        .collect()
}
