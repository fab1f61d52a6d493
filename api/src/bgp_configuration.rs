//! `BGPConfiguration`: settings of the speakers, cluster-wide (`default`) or for one node (`node.<name>`).

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bgp_peer::Bfd;
use crate::restart_time::PATTERN;
use crate::secret_key_ref::BgpPassword;

/// AS number of the cluster when nothing says otherwise.
pub const DEFAULT_AS_NUMBER: u32 = 64512;
/// TCP port of BGP (RFC 4271).
pub const DEFAULT_PORT: u16 = 179;
/// Hold time offered by default, in seconds (RFC 4271 §10 suggests 90).
pub const DEFAULT_HOLD_TIME: u16 = 90;

/// A range of Service addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ServiceBlock {
    /// The range.
    #[schemars(length(min = 4, max = 48))]
    pub cidr: String,
}

/// Whether addresses are announced by their range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Aggregation {
    /// By their range.
    Enabled,
    /// One by one.
    Disabled,
}

/// Settings of the BGP speakers: `default` for all nodes, `node.<name>` for one.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "BGPConfiguration",
    root = "BgpConfiguration",
    plural = "bgpconfigurations",
    singular = "bgpconfiguration",
    shortname = "bgpconfig",
    category = "caracal",
    derive = "PartialEq",
    doc = "Settings of the BGP speakers: default for all nodes, node.<name> for one.",
    validation = Rule::new("self.metadata.name == 'default' || self.metadata.name.startsWith('node.')").message("a BGPConfiguration is named default, or node.<name> for one node"),
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(name = "Mesh", type_ = "boolean", json_path = ".spec.nodeToNodeMeshEnabled")
)]
#[serde(rename_all = "camelCase")]
pub struct BgpConfigurationSpec {
    /// AS number of the nodes (64512 if left out); a node's own is set on `node.<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: Option<u32>,
    /// Whether every node peers with every other (true if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_to_node_mesh_enabled: Option<bool>,
    /// TCP port the speakers listen on (179 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub listen_port: Option<u16>,
    /// Ranges whose Services' `clusterIPs` are announced.
    #[serde(default, rename = "serviceClusterIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_cluster_ips: Vec<ServiceBlock>,
    /// Ranges whose Services' `externalIPs` are announced.
    #[serde(default, rename = "serviceExternalIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_external_ips: Vec<ServiceBlock>,
    /// Ranges whose Services' load balancer addresses are announced.
    #[serde(default, rename = "serviceLoadBalancerIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_load_balancer_ips: Vec<ServiceBlock>,
    /// Whether ranges of load balancers are announced as a whole (`Enabled`, if left out) or one by one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_load_balancer_aggregation: Option<Aggregation>,
    /// Hold time offered to peers, in seconds: 0 (never) or 3 and more (90 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    #[x_kube(validation = Rule::new("self == 0 || self >= 3").message("holdTime is 0 or at least 3 seconds (RFC 4271 §4.2)"))]
    pub hold_time: Option<u16>,
    /// How long the other nodes keep a node's routes while its agent restarts (`120s` if left out): whole seconds, minutes
    /// or hours, up to 4095s; 0s: they drop them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), regex(pattern = PATTERN))]
    pub node_mesh_max_restart_time: Option<String>,
    /// For how many seconds more the other nodes keep a node's routes as a last resort when that time is over (RFC 9494; not
    /// at all if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_215))]
    pub node_mesh_long_lived_stale_time: Option<u32>,
    /// The password of the sessions between nodes (TCP-MD5, RFC 2385); they are not opened while it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_mesh_password: Option<BgpPassword>,
    /// The paths to other nodes, and to peers that say nothing else, are watched by BFD (not at all if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<Bfd>,
    /// Names for communities, to be used in `prefixAdvertisements`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub communities: Vec<NamedCommunity>,
    /// Communities that routes are announced with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// Collectors that are told what the peers of every node say (BMP, RFC 7854).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub bmp_collectors: Vec<BmpCollector>,
}

/// A collector of what peers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmpCollector {
    /// Where it is dialled: `collector.example:5000`, `192.0.2.1:5000`, `[2001:db8::1]:5000`.
    #[schemars(length(max = 259), regex(pattern = r"^(\[[0-9a-fA-F:.]+\]|[^:\[\] ]+):[0-9]{1,5}$"))]
    pub address: String,
    /// What it is told: routes as they came (`PrePolicy`, if left out), as import left them (`PostPolicy`), or both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub monitoring: Vec<BmpMonitoring>,
    /// How often it is told counts, in seconds (never if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub statistics_interval: Option<u32>,
}

/// On which side of import a route is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum BmpMonitoring {
    /// As the peer sent it.
    PrePolicy,
    /// As import left it.
    PostPolicy,
}

/// A name for a community.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct NamedCommunity {
    /// The name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// `64512:7` or `64512:1:2`.
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+:[0-9]+(:[0-9]+)?$"))]
    pub value: String,
}

/// Communities for what is announced inside a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct PrefixAdvertisement {
    /// The network.
    #[schemars(length(min = 4, max = 48))]
    pub cidr: String,
    /// Communities, by name or value.
    #[schemars(length(min = 1, max = 50), inner(length(max = 64)))]
    pub communities: Vec<String>,
}
