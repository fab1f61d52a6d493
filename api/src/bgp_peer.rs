//! `BGPPeer`: a session that some or all nodes hold, beside or instead of the mesh.

mod whom;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::restart_time::PATTERN;
use crate::secret_key_ref::BgpPassword;

pub use whom::{AsNumbers, PeerAddress, Whom, WhomError, parse_peer_ip};

/// A BGP session that some or all nodes hold, beside or instead of the mesh.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "BGPPeer",
    root = "BgpPeer",
    plural = "bgppeers",
    singular = "bgppeer",
    category = "caracal",
    status = "BgpPeerStatus",
    derive = "PartialEq",
    doc = "A BGP session that some or all nodes hold, beside or instead of the mesh.",
    printcolumn(name = "Peer", type_ = "string", json_path = ".spec.peerIP"),
    printcolumn(name = "Selector", type_ = "string", json_path = ".spec.peerSelector"),
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".spec.nodeSelector"),
    printcolumn(name = "Range", type_ = "string", json_path = ".spec.peerRange", priority = 1),
    printcolumn(name = "Interface", type_ = "string", json_path = ".spec.interface", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.peerIP), has(self.peerSelector), has(self.peerRange), has(self.interface)].exists_one(given, given)").message("name the peer by exactly one of peerIP, peerSelector, peerRange and interface"),
    validation = Rule::new("!(has(self.node) && has(self.nodeSelector))").message("choose nodes by node or by nodeSelector, not both"),
    validation = Rule::new("has(self.peerSelector) || [has(self.asNumber) && self.asNumber > 0, has(self.asNumbers), has(self.asType)].exists_one(given, given)").message("asNumber is required with peerIP, peerRange and interface, or one of asNumbers and asType in its place"),
    validation = Rule::new("!has(self.peerSelector) || !(has(self.asNumbers) || has(self.asType))").message("the AS numbers of nodes are known: take asNumbers and asType away"),
    validation = Rule::new("has(self.peerRange) || !has(self.maxPeers)").message("maxPeers is for peerRange"),
    validation = Rule::new("!has(self.peerRange) || !(has(self.connectRetry) || has(self.device) || has(self.passive) || has(self.sourceAddress))").message("peers of a range are never dialled: take connectRetry, device, passive and sourceAddress away"),
    validation = Rule::new("!has(self.interface) || !(has(self.device) || has(self.sourceAddress))").message("interface says where the peer is: take device and sourceAddress away"),
    validation = Rule::new("!(has(self.ttlSecurity) && has(self.multihop))").message("ttlSecurity says that the peer is near and multihop that it is not: keep one of them"),
    validation = Rule::new("!has(self.longLivedStaleTime) || !has(self.maxRestartTime) || !self.maxRestartTime.matches('^(0+[smh])+$')").message("longLivedStaleTime begins when maxRestartTime is over, and that is never: take one of them away"),
    validation = Rule::new("!has(self.tcpAO)").message("TCP-AO (RFC 5925) is not offered, as the kernels this runs on do not have it: take tcpAO away; password signs segments with TCP-MD5 (RFC 2385), which peers with TCP-AO can do as well")
)]
pub struct BgpPeerSpec {
    /// The one node that holds this session; left out with `nodeSelector`: every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// The nodes that hold this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub node_selector: Option<String>,
    /// Address of the peer, with a port if it is not 179, and with the device if it is link-local: `192.0.2.1`,
    /// `192.0.2.1:1179`, `[2001:db8::1]:1179`, `fe80::1%eth0`.
    #[serde(default, rename = "peerIP", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub peer_ip: Option<String>,
    /// Nodes to peer with, by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub peer_selector: Option<String>,
    /// Nobody is named: whoever connects from this network, in CIDR form, is a peer with the fields of this definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 48))]
    pub peer_range: Option<String>,
    /// With `peerRange`: how many of them may be there at once (100 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_peers: Option<u16>,
    /// The peer is the only other router on the link of this device, whatever its address (unnumbered): each end finds the
    /// other by router advertisements (RFC 4861).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[^/%\s]+$"))]
    pub interface: Option<String>,
    /// AS number of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_294_u32))]
    pub as_number: Option<u32>,
    /// AS numbers of which the peer may have any: its OPEN says which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(range(min = 1, max = 4_294_967_294_u32)))]
    pub as_numbers: Vec<u32>,
    /// On which side of the node's AS the peer is, whatever its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_type: Option<AsType>,
    /// AS number to show this peer instead of the node's own.
    #[serde(default, rename = "localASNumber", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub local_as_number: Option<u32>,
    /// Which next hop is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop_mode: Option<NextHopMode>,
    /// Hold time offered, in seconds: 0 or at least 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    #[x_kube(validation = Rule::new("self == 0 || self >= 3").message("holdTime is 0 or at least 3 seconds (RFC 4271 §4.2)"))]
    pub hold_time: Option<u16>,
    /// How often to say KEEPALIVE (a third of the hold time if left out, and never less often): whole seconds, minutes or
    /// hours, such as `20s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), regex(pattern = PATTERN))]
    pub keepalive_time: Option<String>,
    /// Whether the node waits for the peer to connect instead of connecting itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<bool>,
    /// Time between attempts to connect, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub connect_retry: Option<u16>,
    /// How long the peer keeps the node's routes while its agent restarts (`120s` if left out): whole seconds, minutes or
    /// hours, up to 4095s; 0s: it drops them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), regex(pattern = PATTERN))]
    pub max_restart_time: Option<String>,
    /// For how many seconds more routes are kept as a last resort when `maxRestartTime` is over (RFC 9494; not at all if left
    /// out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_215))]
    pub long_lived_stale_time: Option<u32>,
    /// The password of the session (TCP-MD5, RFC 2385); the session is not opened while it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<BgpPassword>,
    /// Whether the session's source is the node's address (default) or what the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<SourceAddress>,
    /// The device connected through, whatever the node's routes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[^/%\s]+$"))]
    pub device: Option<String>,
    /// The TTL of packets to a peer of another AS (255 if left out; on one link 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub multihop: Option<u8>,
    /// The peer is at most so many hops away and sends with a TTL of 255: nothing from farther is taken (GTSM, RFC 5082).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub ttl_security: Option<u8>,
    /// TCP-AO (RFC 5925) is not offered: this is here to say so.
    #[serde(default, rename = "tcpAO", skip_serializing_if = "Option::is_none")]
    pub tcp_ao: Option<TcpAo>,
    /// `BGPFilter`s, tried in this order before what holds without filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub filters: Vec<String>,
    /// How often the node's own AS may be in the AS_PATH of a route from the peer, which is a loop otherwise (0 if left
    /// out). For sites that share an AS number.
    #[serde(default, rename = "numAllowedLocalASNumbers", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub num_allowed_local_as_numbers: Option<u8>,
    /// How many prefixes the peer may send (no limit if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<MaxPrefixes>,
    /// Several paths of one prefix on the session (RFC 7911); the best alone if left out. Both ends must want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_paths: Option<AddPaths>,
    /// The path to the peer is watched by BFD (RFC 5880): when packets no longer pass, the session ends at once. As the
    /// BGPConfiguration has it if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<Bfd>,
}

/// On which side of the node's AS a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum AsType {
    /// In any AS but the one that the node shows it.
    External,
    /// In the one that the node shows it.
    Internal,
}

/// What somebody says of TCP-AO (RFC 5925), which is refused whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TcpAo {}

impl<'de> Deserialize<'de> for TcpAo {
    fn deserialize<D: serde::Deserializer<'de>>(said: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(said).map(|_| TcpAo {})
    }
}

impl JsonSchema for TcpAo {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TcpAo".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// BFD for sessions: times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bfd {
    /// How often to send (300 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub min_tx: Option<u32>,
    /// How often the peer may send (300 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub min_rx: Option<u32>,
    /// How many packets in a row are missed before the path is down (3 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub multiplier: Option<u8>,
}

/// Several paths of one prefix on a session (RFC 7911).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.sendMax) || (has(self.send) && self.send)").message("sendMax is for send: true")
)]
pub struct AddPaths {
    /// The peer may send several.
    #[serde(default)]
    pub receive: bool,
    /// The peer is sent several: all that could be used, or the best `sendMax`.
    #[serde(default)]
    pub send: bool,
    /// How many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub send_max: Option<u8>,
}

/// How many prefixes a peer may send, and what is done beyond.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ipv4) || has(self.ipv6)").message("give a limit for ipv4, ipv6 or both"),
    validation = Rule::new("!has(self.restartSeconds) || self.action == 'Restart'").message("restartSeconds is for action Restart")
)]
pub struct MaxPrefixes {
    /// For IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub ipv4: Option<u32>,
    /// For IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub ipv6: Option<u32>,
    /// What is done beyond a limit.
    #[serde(default)]
    pub action: LimitAction,
    /// After how many seconds action Restart tries again (300 if left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub restart_seconds: Option<u16>,
}

/// What is done with a peer that sends more prefixes than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum LimitAction {
    /// It is told; the session stands.
    Warn,
    /// The session ends and is tried again after a while.
    #[default]
    Restart,
    /// The session ends and stays down until somebody resets it.
    Stop,
}

/// Which next hop a peer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum NextHopMode {
    /// The node itself for its own routes and towards other ASes; kept towards the same AS.
    #[default]
    Auto,
    /// The node itself, always.
    #[serde(rename = "Self")]
    SelfAlways,
    /// As received.
    Keep,
}

/// Source of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum SourceAddress {
    /// The node's BGP address.
    #[default]
    UseNodeIP,
    /// The kernel chooses.
    None,
}

/// What is wrong or right about a peer's definition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerStatus {
    /// `Accepted`: whether the definition can be used, and why not.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
