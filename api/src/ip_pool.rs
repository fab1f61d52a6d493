//! `IPPool`: a range from which nodes claim blocks.

use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions;

/// The condition without which nothing is allocated from a pool.
pub const ALLOCATABLE: &str = "Allocatable";

/// The annotation of a pool that was made by splitting another one: the UID of that. Both may be there for a while.
pub const SPLIT_FROM: &str = "caracal.dev/split-from";

/// A range of addresses, cut into blocks that nodes own.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "IPPool",
    root = "IpPool",
    plural = "ippools",
    singular = "ippool",
    shortname = "ipp",
    category = "caracal",
    status = "IpPoolStatus",
    derive = "PartialEq",
    doc = "A range of addresses, cut into blocks that nodes own.",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Block", type_ = "integer", json_path = ".spec.blockSize"),
    printcolumn(name = "IPIP", type_ = "string", json_path = ".spec.ipipMode"),
    printcolumn(name = "VXLAN", type_ = "string", json_path = ".spec.vxlanMode"),
    printcolumn(name = "NAT", type_ = "boolean", json_path = ".spec.natOutgoing"),
    printcolumn(
        name = "Allocatable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Allocatable')].status"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.cidr == oldSelf.cidr").message("cidr cannot be changed: make a new pool and delete this one"),
    validation = Rule::new("(has(self.blockSize) ? self.blockSize : 0) == (has(oldSelf.blockSize) ? oldSelf.blockSize : 0)").message("blockSize cannot be changed: make a new pool and delete this one"),
    validation = Rule::new("isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()").message("cidr must be a network in CIDR form without host bits, such as 10.244.0.0/16"),
    validation = Rule::new("!isCIDR(self.cidr) || !has(self.blockSize) || (cidr(self.cidr).ip().family() == 4 ? (self.blockSize >= 24 && self.blockSize <= 32) : (self.blockSize >= 120 && self.blockSize <= 128))").message("blockSize must be 24 to 32 for IPv4 and 120 to 128 for IPv6"),
    validation = Rule::new("!isCIDR(self.cidr) || cidr(self.cidr).prefixLength() <= (has(self.blockSize) ? self.blockSize : (cidr(self.cidr).ip().family() == 4 ? 26 : 122))").message("the pool is smaller than one block: choose a larger blockSize or a shorter cidr prefix"),
    validation = Rule::new("self.ipipMode == 'Never' || self.vxlanMode == 'Never'").message("ipipMode and vxlanMode cannot both be on"),
    validation = Rule::new("self.ipipMode == 'Never' || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4").message("ipipMode is for IPv4 pools only: use vxlanMode for IPv6")
)]
pub struct IpPoolSpec {
    /// The range, such as `10.244.0.0/16`. Cannot be changed.
    #[schemars(length(min = 4, max = 48))]
    pub cidr: String,
    /// Prefix length of the blocks: 24 to 32 (IPv4, 26 if left out), 120 to 128 (IPv6, 122 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 24, max = 128))]
    pub block_size: Option<u8>,
    /// When packets to a pod on another node travel inside IPIP.
    #[serde(default)]
    pub ipip_mode: EncapsulationMode,
    /// When packets to a pod on another node travel inside VXLAN.
    #[serde(default)]
    pub vxlan_mode: EncapsulationMode,
    /// Whether packets from this pool to addresses outside all pools take the node's address.
    #[serde(default)]
    pub nat_outgoing: bool,
    /// No new addresses from this pool; those in use stay.
    #[serde(default)]
    pub disabled: bool,
    /// Blocks of this pool are not announced by BGP.
    #[serde(default, rename = "disableBGPExport")]
    pub disable_bgp_export: bool,
    /// Nodes that may own blocks of this pool, in the selector language (`all()`, `rack == 'a' && !has(edge)`).
    #[serde(default = "all")]
    #[schemars(length(max = 1024))]
    pub node_selector: String,
    /// Namespaces whose pods may take addresses here; empty: every namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub namespace_selector: String,
    /// What the addresses may be used for; empty means workloads and tunnels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub allowed_uses: Vec<AllowedUse>,
    /// `Manual` pools are used only when a pod or namespace names them.
    #[serde(default)]
    pub assignment_mode: AssignmentMode,
}

fn all() -> String {
    "all()".to_owned()
}

/// When traffic between nodes is encapsulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum EncapsulationMode {
    /// Never: the network between the nodes routes pod addresses.
    #[default]
    Never,
    /// Always.
    Always,
    /// Only where the next hop is outside the node's own subnet.
    CrossSubnet,
}

/// What addresses of a pool may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum AllowedUse {
    /// Pods.
    Workload,
    /// Tunnel devices of nodes.
    Tunnel,
    /// Services of type LoadBalancer.
    LoadBalancer,
}

/// Whether a pool is used without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum AssignmentMode {
    /// Used for every pod it selects.
    #[default]
    Automatic,
    /// Used only when named.
    Manual,
}

/// What the controller found out about a pool.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpPoolStatus {
    /// `Allocatable`, for the generation it names.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Addresses in the pool, as text since IPv6 pools exceed integers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub capacity: Option<String>,
    /// Blocks claimed inside the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub blocks: Option<i64>,
    /// Addresses in use, as published by the owners of the blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub used: Option<i64>,
    /// How many of a hundred addresses are in use, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent_used: Option<u8>,
}

impl IpPoolSpec {
    /// The range as a network, if the text is one (the schema ensures it for stored objects).
    pub fn network(&self) -> Option<IpNetwork> {
        self.cidr.parse().ok()
    }

    /// The prefix length of this pool's blocks, defaults applied.
    pub fn block_prefix(&self) -> u8 {
        self.block_size.unwrap_or_else(|| if self.cidr.contains(':') { 122 } else { 26 })
    }

    /// Whether the pool serves this use; an empty list means workloads and tunnels.
    pub fn allows(&self, usage: AllowedUse) -> bool {
        if self.allowed_uses.is_empty() {
            return matches!(usage, AllowedUse::Workload | AllowedUse::Tunnel);
        }
        self.allowed_uses.contains(&usage)
    }
}

impl IpPool {
    /// Whether a pool is a part of another one that was, or is just being, split: its range lies inside that of the other,
    /// and its blocks have the same size. So both cut the same blocks, and a block's name is one lock for both.
    pub fn is_part_of(&self, whole: &Self) -> bool {
        let of = self.metadata.annotations.as_ref().and_then(|all| all.get(SPLIT_FROM));
        let inside = |(part, whole): (IpNetwork, IpNetwork)| {
            part.is_ipv4() == whole.is_ipv4()
                && part.prefix() >= whole.prefix()
                && whole.contains(part.network())
        };
        of.is_some()
            && of == whole.metadata.uid.as_ref()
            && self.spec.block_prefix() == whole.spec.block_prefix()
            && self.spec.network().zip(whole.spec.network()).is_some_and(inside)
    }

    /// Whether the controller found this generation of the pool free of overlaps. Until then nothing is claimed.
    pub fn is_allocatable(&self) -> bool {
        let found = self.status.as_ref().map_or(&[][..], |s| &s.conditions);
        !self.spec.disabled
            && self.metadata.deletion_timestamp.is_none()
            && conditions::holds(found, ALLOCATABLE, self.metadata.generation)
    }
}
