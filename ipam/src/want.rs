//! What is asked for, and what is given.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use caracal_api::AllowedUse;
use caracal_api::ipam_block::AllocationKind;

/// Who holds addresses: `network.containerID.interface` for pods, `tunnel-ipip-<node>` and the like for tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub String);

impl Handle {
    /// The handle of one interface of one container in one network.
    pub fn attachment(network: &str, container: &str, interface: &str) -> Self {
        Self(format!("{network}.{container}.{interface}"))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The annotation by which a pod or namespace names pools of the family, without its prefix.
    pub(crate) fn annotation(self) -> &'static str {
        match self {
            Self::V4 => "ipv4pools",
            Self::V6 => "ipv6pools",
        }
    }

    /// The family of a network.
    pub fn of_network(network: IpNetwork) -> Self {
        if network.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Families in which an address is wanted: all of them are granted, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WantFamilies {
    /// One IPv4 address.
    pub v4: bool,
    /// One IPv6 address.
    pub v6: bool,
}

impl WantFamilies {
    /// One address of each family.
    pub const DUAL: Self = Self { v4: true, v6: true };
    /// One IPv4 address.
    pub const V4: Self = Self { v4: true, v6: false };
    /// One IPv6 address.
    pub const V6: Self = Self { v4: false, v6: true };

    /// The families that are wanted, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        [self.v4.then_some(Family::V4), self.v6.then_some(Family::V6)].into_iter().flatten()
    }
}

/// What addresses are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// A pod.
    #[default]
    Workload,
    /// A tunnel device of the node.
    Tunnel,
}

impl Purpose {
    /// The use that a pool must allow.
    pub fn usage(self) -> AllowedUse {
        match self {
            Self::Workload => AllowedUse::Workload,
            Self::Tunnel => AllowedUse::Tunnel,
        }
    }

    /// How the allocation is marked in the block.
    pub fn kind(self) -> AllocationKind {
        match self {
            Self::Workload => AllocationKind::Workload,
            Self::Tunnel => AllocationKind::Tunnel,
        }
    }
}

/// Who the addresses are for, as shown to people and matched by pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Pod or tunnel.
    pub kind: Purpose,
    /// Namespace of the pod; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the pod; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Interface inside the pod, or name of the tunnel device.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Labels of the namespace as far as they are known, for pools with a `namespaceSelector`. The label
    /// `kubernetes.io/metadata.name` is added from `namespace`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_labels: BTreeMap<String, String>,
}

/// A wish for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Who will hold them. Asking again with a handle that already holds addresses returns those.
    pub handle: Handle,
    /// Families; all or nothing.
    pub families: WantFamilies,
    /// Particular addresses, at most one a family. They imply their family, and may lie in `Manual` pools.
    pub requested: Vec<IpAddr>,
    /// Names or CIDRs of the pools to use; they may be `Manual`, and their selectors are not asked.
    pub pools: Option<Vec<String>>,
    /// Who it is for.
    pub attributes: Attributes,
}

/// One granted address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allocation {
    /// The address.
    pub address: IpAddr,
    /// Name of the `IPAMBlock`.
    pub block: String,
    /// CIDR of the block.
    pub block_cidr: IpNetwork,
    /// UID of the block object when the address was granted.
    pub block_uid: String,
    /// Number of this grant in its block; a release that names another number frees nothing.
    pub sequence: u64,
    /// Name of the pool.
    pub pool: String,
}
