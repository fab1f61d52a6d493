//! What is kept of one attachment.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use caracal_linux::object::link::Mac;

use caracal_ipam::{Allocation, Attributes, Handle};

/// Names one interface of one container in one network: the unit of ADD, CHECK and DEL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// CNI network name.
    pub network: String,
    /// Container id; for a tunnel address the name of the tunnel (`tunnel-ipip-<node>`).
    pub container: String,
    /// Interface inside the container; for a tunnel address the device.
    pub interface: String,
}

impl AttachmentKey {
    /// The handle under which the attachment's addresses are held.
    pub fn handle(&self) -> Handle {
        Handle::attachment(&self.network, &self.container, &self.interface)
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.network, self.container, self.interface)
    }
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub key: AttachmentKey,
    /// The pod, where the runtime said so.
    pub pod: Option<PodRef>,
    /// Path of the network namespace as the runtime gave it; empty for a tunnel.
    pub netns: PathBuf,
    /// Name of the host side's device; empty where another plugin makes the interface, and for a subnet's addresses.
    pub host: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Who the addresses are for, as the allocator was told.
    #[serde(default)]
    pub attributes: Attributes,
    /// How far the attachment has come.
    pub phase: Phase,
    /// MTU of both ends, 0 where none was set.
    #[serde(default)]
    pub mtu: u32,
    /// The Ethernet address of the pod's end, where it is not the one that follows from the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What it has beyond its addresses.
    #[serde(default, skip_serializing_if = "Extras::is_empty")]
    pub extras: Extras,
}

/// What a pod may have beyond its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// Prefixes in whose name it may speak.
    #[serde(default)]
    pub sources: Vec<IpNetwork>,
    /// Addresses that lead to it besides its own.
    #[serde(default)]
    pub floating: Vec<IpAddr>,
}

impl Extras {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.floating.is_empty()
    }
}

impl Attachment {
    /// The addresses that this node's allocator granted.
    pub fn own_addresses(&self) -> impl Iterator<Item = &Allocation> {
        self.addresses.iter().filter_map(|a| match a {
            Address::Own(allocation) => Some(allocation),
            Address::Foreign(_) => None,
        })
    }

    /// Every address.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(|a| match a {
            Address::Own(allocation) => allocation.address,
            Address::Foreign(network) => network.ip(),
        })
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, where the runtime said it.
    #[serde(default)]
    pub uid: String,
}

/// One address of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// Granted by this node's allocator, to which it returns.
    Own(Allocation),
    /// Given by another plugin (`ipam` in the CNI configuration).
    Foreign(IpNetwork),
}

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Addresses are granted; the devices may be half made.
    Adding,
    /// Wired and answered.
    Ready,
    /// Being taken down; its addresses are not free yet.
    Removing,
    /// An address of one of the node's tunnel devices: freed by no container's end and by no reboot.
    Tunnel,
    /// Addresses given to another plugin for an interface that it makes: no device of ours tells whether it lives.
    Delegated,
    /// An address that a block needs as the subnet of such interfaces: its gateway, its ends. Freed by a reboot alone.
    Subnet,
}
