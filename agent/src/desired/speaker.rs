//! What the `BGPConfiguration`s say for one node: `default`, overlaid by `node.<name>`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use caracal_api::bgp_configuration::{
    BmpCollector, BmpMonitoring, DEFAULT_AS_NUMBER, DEFAULT_HOLD_TIME, DEFAULT_PORT,
};
use caracal_api::bgp_peer::Bfd;
use caracal_api::restart_time::{DEFAULT_RESTART_TIME, parse_restart_time};
use caracal_api::secret_key_ref::SecretKeyRef;
use caracal_api::{BgpConfiguration, BgpConfigurationSpec, DEFAULT_NAME};
use caracal_bgp::bfd::Timers as BfdTimers;
use caracal_bgp::bmp::{IllegalHostPort, StationConfig, Views};
use caracal_bgp::policy::AnyCommunity;
use caracal_bgp::{Asn, HoldTime, RouterId};
use ipnetwork::IpNetwork;
use sha1::{Digest, Sha1};

use super::policies::Advertisement;
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
    /// Where the password of the mesh is, if it has one.
    pub mesh_password: Option<SecretKeyRef>,
    /// How long the nodes of the mesh keep each other's routes over a restart; zero: not at all.
    pub mesh_restart_time: Duration,
    /// How much longer they keep them as a last resort; `None`: no longer.
    pub mesh_long_lived: Option<Duration>,
    /// How paths to nodes, and to peers that do not say otherwise, are watched by BFD; `None`: not at all.
    pub bfd: Option<BfdTimers>,
    /// Communities that routes are announced with.
    pub advertisements: Vec<Advertisement>,
    /// Who is told what peers say, by address.
    pub collectors: BTreeMap<String, StationConfig>,
    /// What of `prefixAdvertisements` and `bmpCollectors` could not be read, and why.
    pub unreadable: Vec<String>,
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
    let named = |spec: &BgpConfigurationSpec| {
        (!spec.prefix_advertisements.is_empty()).then(|| advertisements(spec, all))
    };
    let (advertisements, mut unreadable) = first(specs, named).unwrap_or_default();
    let told = first(specs, |s| (!s.bmp_collectors.is_empty()).then(|| s.bmp_collectors.clone()));
    let mut collectors = BTreeMap::new();
    for one in told.unwrap_or_default() {
        match station(node_name, &one) {
            Ok(station) => drop(collectors.insert(one.address, station)),
            Err(why) => unreadable.push(format!("bmpCollectors: {why}")),
        }
    }
    SpeakerSettings {
        advertisements,
        collectors,
        unreadable,
        local_as: Asn(first(specs, |s| s.as_number).unwrap_or(DEFAULT_AS_NUMBER)),
        listen_port: first(specs, |s| s.listen_port).unwrap_or(DEFAULT_PORT),
        mesh: first(specs, |s| s.node_to_node_mesh_enabled).unwrap_or(true),
        hold_time: hold_time(first(specs, |s| s.hold_time)),
        mesh_password: first(specs, |s| s.node_mesh_password.clone()).map(|password| password.secret_key_ref),
        mesh_restart_time: first(specs, |s| {
            parse_restart_time(s.node_mesh_max_restart_time.as_deref()?).ok()
        })
        .unwrap_or(DEFAULT_RESTART_TIME),
        mesh_long_lived: first(specs, |s| s.node_mesh_long_lived_stale_time)
            .map(|seconds| Duration::from_secs(seconds.into())),
        bfd: first(specs, |s| s.bfd.as_ref().map(bfd_timers)),
    }
}

/// The communities of what is announced: those of one configuration, by name or value; names are looked up in it and in
/// the cluster's.
fn advertisements(
    spec: &BgpConfigurationSpec,
    all: Option<&BgpConfigurationSpec>,
) -> (Vec<Advertisement>, Vec<String>) {
    let value = |text: &str| {
        let names = spec.communities.iter().chain(all.into_iter().flat_map(|all| &all.communities));
        let found = names.into_iter().find(|one| one.name == text).map_or(text, |one| one.value.as_str());
        found.parse::<AnyCommunity>()
    };
    let (mut read, mut unreadable) = (Vec::new(), Vec::new());
    for one in &spec.prefix_advertisements {
        let network = one.cidr.parse::<IpNetwork>();
        let network = network.map_err(|_| format!("cidr '{}' is not a network in CIDR form", one.cidr));
        let communities: Result<Vec<AnyCommunity>, _> =
            one.communities.iter().map(|text| value(text)).collect();
        match (network, communities) {
            (Ok(network), Ok(communities)) => read.push(Advertisement { network, communities }),
            (Err(why), _) => unreadable.push(why),
            (Ok(network), Err(why)) => {
                unreadable.push(format!("{network}: {why}, or a name from communities"))
            }
        }
    }
    (read, unreadable)
}

/// How this node tells a collector.
fn station(node_name: &str, collector: &BmpCollector) -> Result<StationConfig, IllegalHostPort> {
    let has = |view| collector.monitoring.contains(&view);
    let post_policy = has(BmpMonitoring::PostPolicy);
    Ok(StationConfig {
        name: collector.address.clone(),
        address: collector.address.parse()?,
        views: Views { pre_policy: has(BmpMonitoring::PrePolicy) || !post_policy, post_policy },
        statistics: collector.statistics_interval.map(|seconds| Duration::from_secs(seconds.into())),
        sys_name: node_name.to_owned(),
    })
}

/// The times of BFD; the usual ones where none are given.
pub fn bfd_timers(spec: &Bfd) -> BfdTimers {
    let usual = BfdTimers::DEFAULT;
    let millis = |given: Option<u32>, usual| given.map_or(usual, |time| Duration::from_millis(time.into()));
    BfdTimers {
        min_tx: millis(spec.min_tx, usual.min_tx),
        min_rx: millis(spec.min_rx, usual.min_rx),
        multiplier: spec.multiplier.and_then(NonZeroU8::new).unwrap_or(usual.multiplier),
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
    fn communities_are_announced_by_name_or_value_and_what_is_neither_is_told() {
        let all: BgpConfigurationSpec = serde_json::from_value(serde_json::json!({
            "communities": [{"name": "pods", "value": "64512:100"}],
            "prefixAdvertisements": [
                {"cidr": "10.244.0.0/16", "communities": ["pods", "64512:1:2"]},
                {"cidr": "10.245.0.0/16", "communities": ["services"]}
            ]
        }))
        .unwrap();
        let settings = settings("n1", &[configuration("default", &all)].into_iter().collect());
        let communities = ["64512:100", "64512:1:2"].map(|text| text.parse().unwrap()).to_vec();
        let network = "10.244.0.0/16".parse().unwrap();
        assert_eq!(settings.advertisements, [Advertisement { network, communities }]);
        assert!(settings.unreadable[0].starts_with("10.245.0.0/16: 'services' is no community"));
    }

    #[test]
    fn collectors_are_told_what_came_unless_they_are_to_be_told_only_what_import_left() {
        let all: BgpConfigurationSpec = serde_json::from_value(serde_json::json!({"bmpCollectors": [
            {"address": "collector.example:5000"},
            {"address": "[2001:db8::1]:5000", "monitoring": ["PostPolicy"], "statisticsInterval": 60},
            {"address": "192.0.2.1:70000"}
        ]}))
        .unwrap();
        let settings = settings("n1", &[configuration("default", &all)].into_iter().collect());
        let told: Vec<_> = settings.collectors.values().map(|one| (one.views, one.statistics)).collect();
        let views = |pre_policy, post_policy| Views { pre_policy, post_policy };
        let minute = Some(Duration::from_secs(60));
        assert_eq!(told, [(views(false, true), minute), (views(true, false), None)]);
        assert!(settings.collectors.values().all(|one| one.sys_name == "n1"));
        assert!(settings.unreadable[0].contains("192.0.2.1:70000"), "{:?}", settings.unreadable);
    }

    #[test]
    fn an_illegal_hold_time_falls_back_to_the_default() {
        assert_eq!(hold_time(Some(2)), hold_time(None));
        assert_ne!(hold_time(Some(0)), hold_time(None));
    }
}
