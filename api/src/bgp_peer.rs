//! `BGPPeer`: a session that some or all nodes hold, beside or instead of the mesh.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bgp_configuration::DEFAULT_PORT;
use crate::restart_time::PATTERN;
use crate::secret_key_ref::BgpPassword;

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
    printcolumn(name = "Nodes", type_ = "string", json_path = ".spec.nodeSelector")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.peerIP) != has(self.peerSelector)").message("name the peer by exactly one of peerIP and peerSelector"),
    validation = Rule::new("!(has(self.node) && has(self.nodeSelector))").message("choose nodes by node or by nodeSelector, not both"),
    validation = Rule::new("has(self.peerSelector) || (has(self.asNumber) && self.asNumber > 0)").message("asNumber is required with peerIP")
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
    /// Address of the peer, with a port if it is not 179: `192.0.2.1`, `192.0.2.1:1179`, `[2001:db8::1]:1179`.
    #[serde(default, rename = "peerIP", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub peer_ip: Option<String>,
    /// Nodes to peer with, by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub peer_selector: Option<String>,
    /// AS number of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_294_u32))]
    pub as_number: Option<u32>,
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
    /// Time between attempts to connect, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub connect_retry: Option<u16>,
    /// How long the peer keeps the node's routes while its agent restarts (`120s` if left out): whole seconds, minutes or
    /// hours, up to 4095s; 0s: it drops them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), regex(pattern = PATTERN))]
    pub max_restart_time: Option<String>,
    /// The password of the session (TCP-MD5, RFC 2385); the session is not opened while it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<BgpPassword>,
    /// Whether the session's source is the node's address (default) or what the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<SourceAddress>,
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

/// Why `peerIP` could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "peerIP '{0}' is not an address with an optional port: write 192.0.2.1, 192.0.2.1:1179, 2001:db8::1 or [2001:db8::1]:1179"
)]
pub struct PeerIpError(pub String);

/// Reads `peerIP`: an address, with port 179 unless it names another.
///
/// # Errors
/// [`PeerIpError`] when the text is neither.
pub fn parse_peer_ip(text: &str) -> Result<SocketAddr, PeerIpError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, DEFAULT_PORT));
    }
    if let Some(Ok(address)) =
        text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).map(str::parse::<IpAddr>)
    {
        return Ok(SocketAddr::new(address, DEFAULT_PORT));
    }
    text.parse().map_err(|_| PeerIpError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_addresses_carry_an_optional_port() {
        for (text, want) in [
            ("192.0.2.1", "192.0.2.1:179"),
            ("192.0.2.1:1179", "192.0.2.1:1179"),
            ("2001:db8::1", "[2001:db8::1]:179"),
            ("[2001:db8::1]", "[2001:db8::1]:179"),
            ("[2001:db8::1]:1179", "[2001:db8::1]:1179"),
        ] {
            assert_eq!(parse_peer_ip(text).unwrap(), want.parse().unwrap(), "{text}");
        }
        assert!(parse_peer_ip("router-a").is_err());
    }
}
