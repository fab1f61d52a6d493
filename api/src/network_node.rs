//! `NetworkNode`: what the other nodes must know of a node. Written by its agent, rarely changing.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the other nodes must know of a node; written by its agent.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "NetworkNode",
    root = "NetworkNode",
    plural = "networknodes",
    singular = "networknode",
    shortname = "nn",
    category = "caracal",
    derive = "PartialEq",
    doc = "What the other nodes must know of a node; written by its agent.",
    printcolumn(name = "IPv4", type_ = "string", json_path = ".spec.ipv4"),
    printcolumn(name = "IPv6", type_ = "string", json_path = ".spec.ipv6"),
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber")
)]
#[serde(rename_all = "camelCase")]
pub struct NetworkNodeSpec {
    /// IPv4 address used for BGP and as next hop, with the length of its subnet (`172.30.0.11/24`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub ipv4: Option<String>,
    /// IPv6 address used for BGP and as next hop, with the length of its subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub ipv6: Option<String>,
    /// Every address of the node's uplinks, with subnet: packets may come from any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 48)))]
    pub underlay: Vec<String>,
    /// The largest packet that the node's uplinks carry, in bytes: the others send it none that is larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<u32>,
    /// The node's AS number.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: u32,
    /// TCP port the node's speaker listens on, if not 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub bgp_port: Option<u16>,
    /// Set where the node reflects routes: its cluster id (RFC 4456).
    #[serde(default, rename = "routeReflectorClusterID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub route_reflector_cluster_id: Option<String>,
    /// Addresses of the node's tunnel devices.
    #[serde(default, skip_serializing_if = "TunnelAddresses::is_empty")]
    pub tunnels: TunnelAddresses,
    /// Tunnels through which the node takes IPv4 packets now: the others move to one only when it is named here.
    #[serde(rename = "receivesIPv4", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub receives_v4: Vec<TunnelDevice>,
    /// The same for IPv6 packets.
    #[serde(rename = "receivesIPv6", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub receives_v6: Vec<TunnelDevice>,
    /// Tunnels through which the node sends, or may at any moment: the others keep their ends while one is named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub sends: Vec<TunnelDevice>,
    /// A copy of the Node's labels, so that agents need not watch Nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
    /// UID of the Node.
    #[serde(rename = "nodeUID", default)]
    #[schemars(length(max = 64))]
    pub node_uid: String,
}

/// One of the tunnel devices that a node may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TunnelDevice {
    /// `tunl0`: IPv4 in IPv4.
    Ipip,
    /// `vxlan.caracal`: VXLAN over IPv4.
    VxlanV4,
    /// `vxlan6.caracal`: VXLAN over IPv6.
    VxlanV6,
}

/// Addresses of tunnel devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelAddresses {
    /// `tunl0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub ipip: Option<String>,
    /// IPv4, of the VXLAN devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub vxlan_v4: Option<String>,
    /// IPv6, of the VXLAN devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub vxlan_v6: Option<String>,
}

impl TunnelAddresses {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl NetworkNodeSpec {
    /// The BGP addresses that can be read, IPv4 first, each with its subnet.
    pub fn addresses(&self) -> impl Iterator<Item = IpNetwork> + '_ {
        [&self.ipv4, &self.ipv6].into_iter().flatten().filter_map(|text| text.parse().ok())
    }
}
