//! What lies under BGP: the routes by which next hops are reached (RFC 4271 §9.1.2.1).
//!
//! Whoever knows the machine's routing table gives it whole ([`super::Change::Underlay`]) whenever it changes. A next
//! hop is then reached by the most specific of these routes, a default route among them; one whose route names a
//! gateway and no interface is looked up again, by the gateway. The distance of a next hop is the metric of the route
//! first found.
//!
//! Routes that this speaker itself puts into the table must not be among them: a route may not be the ground on which
//! its own next hop stands.
//!
//! As long as nobody has given any, every next hop counts as reachable and near.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use prefix_trie::joint::JointPrefixMap;

use super::next_hops::Reach;

/// How many gateways are followed before the routes count as a circle.
const DEEPEST: usize = 8;

/// One route of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnderlayRoute {
    /// Where it leads; host bits mean nothing.
    pub prefix: IpNetwork,
    /// Its metric: of several routes to one prefix the lowest counts.
    pub metric: u32,
    /// How.
    pub way: Way,
}

/// How a route leads on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The destination is on the link of this interface.
    Link(Arc<str>),
    /// By this gateway; the interface is that of the gateway's own route if it is not said.
    Gateway(IpAddr, Option<Arc<str>>),
    /// Packets are dropped.
    Nowhere,
}

/// All routes of the machine.
#[derive(Default)]
pub struct Underlay {
    best: JointPrefixMap<IpNetwork, (u32, Way)>,
}

impl std::fmt::Debug for Underlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.best.iter()).finish()
    }
}

impl FromIterator<UnderlayRoute> for Underlay {
    fn from_iter<I: IntoIterator<Item = UnderlayRoute>>(routes: I) -> Self {
        let mut best: JointPrefixMap<IpNetwork, (u32, Way)> = JointPrefixMap::new();
        for UnderlayRoute { prefix, metric, way } in routes {
            let prefix = IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix);
            if best.get(&prefix).is_none_or(|(other, _)| metric < *other) {
                best.insert(prefix, (metric, way));
            }
        }
        Underlay { best }
    }
}

impl Underlay {
    /// Whether and how far, and through which interface.
    pub fn resolve(&self, next_hop: IpAddr) -> (Reach, Option<Arc<str>>) {
        let nowhere = (Reach::Unreachable, None);
        let (mut address, mut distance) = (next_hop, None);
        for _ in 0..DEEPEST {
            let Some((_, (metric, way))) = self.best.get_lpm(&IpNetwork::from(address)) else {
                return nowhere;
            };
            let distance = *distance.get_or_insert(*metric);
            match way {
                Way::Link(interface) | Way::Gateway(_, Some(interface)) => {
                    return (Reach::At(distance), Some(Arc::clone(interface)));
                }
                Way::Gateway(gateway, None) => address = *gateway,
                Way::Nowhere => return nowhere,
            }
        }
        nowhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, metric: u32, way: Way) -> UnderlayRoute {
        UnderlayRoute { prefix: prefix.parse().unwrap(), metric, way }
    }

    fn link(name: &str) -> Way {
        Way::Link(name.into())
    }

    fn by(gateway: &str) -> Way {
        Way::Gateway(gateway.parse().unwrap(), None)
    }

    fn resolve(routes: &[UnderlayRoute], next_hop: &str) -> Option<(u32, String)> {
        let underlay: Underlay = routes.iter().cloned().collect();
        match underlay.resolve(next_hop.parse().unwrap()) {
            (Reach::At(metric), Some(interface)) => Some((metric, interface.to_string())),
            (Reach::At(metric), None) => Some((metric, String::new())),
            (Reach::Unreachable, _) => None,
        }
    }

    #[test]
    fn the_most_specific_route_counts_and_of_equal_ones_the_nearest() {
        let routes = [
            route("192.0.2.7/24", 100, link("eth0")),
            route("192.0.2.0/24", 50, link("eth1")),
            route("192.0.2.128/25", 600, link("eth2")),
            route("2001:db8::/64", 256, link("eth0")),
        ];
        assert_eq!(resolve(&routes, "192.0.2.1"), Some((50, "eth1".into())));
        assert_eq!(resolve(&routes, "192.0.2.200"), Some((600, "eth2".into())));
        assert_eq!(resolve(&routes, "2001:db8::9"), Some((256, "eth0".into())));
        assert_eq!(resolve(&routes, "198.51.100.1"), None);
    }

    #[test]
    fn gateways_are_followed_to_an_interface_and_the_first_metric_stays() {
        let routes = [
            route("0.0.0.0/0", 20, by("10.0.0.1")),
            route("10.0.0.0/24", 5, by("192.0.2.1")),
            route("192.0.2.0/24", 0, link("eth0")),
            route("203.0.113.0/24", 7, Way::Gateway("10.9.9.9".parse().unwrap(), Some("tun0".into()))),
        ];
        assert_eq!(resolve(&routes, "198.51.100.1"), Some((20, "eth0".into())));
        assert_eq!(resolve(&routes, "203.0.113.1"), Some((7, "tun0".into())), "the machine knows its way");
    }

    #[test]
    fn circles_dead_ends_and_dropped_packets_are_no_way() {
        let circle = [route("10.0.0.0/24", 0, by("10.1.0.1")), route("10.1.0.0/24", 0, by("10.0.0.1"))];
        assert_eq!(resolve(&circle, "10.0.0.9"), None);
        let itself = [route("10.0.0.0/24", 0, by("10.0.0.1"))];
        assert_eq!(resolve(&itself, "10.0.0.9"), None);
        let dropped = [route("0.0.0.0/0", 0, link("eth0")), route("10.0.0.0/8", 0, Way::Nowhere)];
        assert_eq!(resolve(&dropped, "10.0.0.9"), None);
        assert_eq!(resolve(&[], "10.0.0.9"), None);
    }
}
