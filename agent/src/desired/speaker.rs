//! What the `BGPConfiguration`s say for one node: `default`, overlaid by `node.<name>`.

use std::net::{IpAddr, Ipv4Addr};

use caracal_api::bgp_configuration::{DEFAULT_AS_NUMBER, DEFAULT_HOLD_TIME, DEFAULT_PORT};
use caracal_api::{BgpConfiguration, BgpConfigurationSpec, DEFAULT_NAME};
use caracal_bgp::{Asn, HoldTime, RouterId};
use sha1::{Digest, Sha1};

use crate::cluster::Snapshot;
use crate::node::NodeAddresses;

/// Settings of one node's speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerSettings {
    /// AS number of this node.
    pub local_as: Asn,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Whether every node peers with every other.
    pub mesh: bool,
    /// Hold time offered to peers that do not say otherwise.
    pub hold_time: HoldTime,
}

/// The settings of a node. What a schema would refuse falls back to the default.
pub fn settings(node_name: &str, configurations: &Snapshot<BgpConfiguration>) -> SpeakerSettings {
    let own = configurations.get(&format!("node.{node_name}")).map(|c| &c.spec);
    let all = configurations.get(DEFAULT_NAME).map(|c| &c.spec);
    fn first<T>(
        specs: [Option<&BgpConfigurationSpec>; 2],
        field: impl Fn(&BgpConfigurationSpec) -> Option<T>,
    ) -> Option<T> {
        specs.into_iter().flatten().find_map(field)
    }
    let specs = [own, all];
    SpeakerSettings {
        local_as: Asn(first(specs, |s| s.as_number).unwrap_or(DEFAULT_AS_NUMBER)),
        listen_port: first(specs, |s| s.listen_port).unwrap_or(DEFAULT_PORT),
        mesh: first(specs, |s| s.node_to_node_mesh_enabled).unwrap_or(true),
        hold_time: hold_time(first(specs, |s| s.hold_time)),
    }
}

/// A hold time from seconds; the default where none is given or it is not a legal one.
pub fn hold_time(seconds: Option<u16>) -> HoldTime {
    let legal = |seconds| HoldTime::try_from(seconds).ok();
    seconds.and_then(legal).or_else(|| legal(DEFAULT_HOLD_TIME)).unwrap_or(HoldTime::NEVER)
}

/// The router id: the IPv4 address, else, on an IPv6-only node, one made from the node's name.
pub fn router_id(node_name: &str, addresses: &NodeAddresses) -> Option<RouterId> {
    if let Some(IpAddr::V4(v4)) = addresses.v4.map(|a| a.network.ip()) {
        return RouterId::try_from(v4).ok();
    }
    addresses.v6.map(|_| named_router_id(node_name))
}

/// A router id made from a name: the same at every start, and different on other nodes but for a chance of 2⁻³¹ a pair.
pub fn named_router_id(node_name: &str) -> RouterId {
    let digest = <[u8; 20]>::from(Sha1::digest(node_name.as_bytes()));
    let [a, b, c, d, ..] = digest;
    // Its first octet is odd, so the id is never zero.
    RouterId::try_from(Ipv4Addr::new(a | 1, b, c, d)).unwrap_or(RouterId::LOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(name: &str, spec: &BgpConfigurationSpec) -> BgpConfiguration {
        BgpConfiguration::new(name, spec.clone())
    }

    #[test]
    fn a_nodes_own_configuration_wins_field_by_field() {
        let all = BgpConfigurationSpec {
            as_number: Some(64600),
            node_to_node_mesh_enabled: Some(false),
            hold_time: Some(30),
            ..BgpConfigurationSpec::default()
        };
        let own = BgpConfigurationSpec { as_number: Some(65001), ..BgpConfigurationSpec::default() };
        let both = [configuration("default", &all), configuration("node.n1", &own)].into_iter().collect();
        let n1 = settings("n1", &both);
        assert_eq!((n1.local_as, n1.mesh, n1.hold_time), (Asn(65001), false, hold_time(Some(30))));
        assert_eq!(settings("n2", &both).local_as, Asn(64600));
        let none = settings("n1", &Snapshot::default());
        assert_eq!((none.local_as, none.mesh, none.listen_port), (Asn(64512), true, 179));
    }

    #[test]
    fn an_illegal_hold_time_falls_back_to_the_default() {
        assert_eq!(hold_time(Some(2)), hold_time(None));
        assert_ne!(hold_time(Some(0)), hold_time(None));
    }
}
