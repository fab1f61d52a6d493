//! From a topology to its machines: cables, addresses, routes. Pure arithmetic on positions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::{Design, NodePlan, RackPlan, Topology, neighbours};

/// The last part of a router's addresses in its rack.
pub const GATEWAY: u8 = 1;
/// The last part of the control plane's addresses in rack 0.
pub const CONTROL: u8 = 2;
/// The last part of the lab's own addresses in rack 0.
pub const LAB: u8 = 3;
/// The segment between the routers, and the name of their devices on it.
pub const SPINE: &str = "spine";
/// The name of the host outside the cluster.
pub const OUTSIDE: &str = "outside";
/// The last part of its addresses on the spine.
const OUTSIDE_HOST: u8 = 100;
/// The device by which every machine that is no router is connected.
const UPLINK: &str = "eth0";

/// A machine, as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachinePlan {
    /// Its name and that of its namespace.
    pub name: String,
    /// Its own addresses on `lo`, if it has any there.
    pub loopback: Vec<IpNetwork>,
    /// Its cables; the first one's addresses are the machine's own where there are none on `lo`.
    pub cables: Vec<Cable>,
    /// Routes it is born with.
    pub routes: Vec<Via>,
    /// Whether it forwards packets of others.
    pub forwards: bool,
}

/// One cable, from a machine's device to a port of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cable {
    /// The bridge.
    pub segment: String,
    /// The port's name on the bridge.
    pub port: String,
    /// The device's name in the machine.
    pub device: String,
    /// The device's addresses, with the segment's prefix lengths.
    pub addresses: Vec<IpNetwork>,
    /// The last part of the addresses, for the link-local one.
    pub host: u8,
    /// The device's MAC address; the kernel's choice if there is none.
    pub mac: Option<String>,
    /// Neighbours that are not to be discovered, with their MAC addresses.
    pub neighbours: Vec<(IpAddr, String)>,
}

/// A route through a gateway, or spread over several; to everywhere without a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The destination.
    pub to: Option<IpNetwork>,
    /// The gateways, of one family, at least one.
    pub gateways: Vec<IpAddr>,
}

impl RackPlan {
    /// Addresses of a host in this rack with the rack's prefix length, IPv4 and IPv6.
    fn both(&self, host: u8) -> [IpNetwork; 2] {
        [
            v4(172, 30, self.number, host, 24),
            v6([0xfd00, 0x30, 0, digits(self.number), 0, 0, 0, digits(host)], 64),
        ]
    }
}

impl Topology {
    /// The names of all segments.
    pub fn segments(&self) -> impl Iterator<Item = String> {
        let racks = self.racks.iter().map(|rack| rack.name.clone());
        racks.chain([SPINE.to_owned()]).chain(self.uplink_segments())
    }

    /// Addresses of a host in a rack, of the families there are.
    pub fn addresses(&self, rack: &RackPlan, host: u8) -> Vec<IpNetwork> {
        self.of_families(rack.both(host))
    }

    /// The subnets of a rack.
    pub fn subnets(&self, rack: &RackPlan) -> Vec<IpNetwork> {
        let masked = |one: IpNetwork| IpNetwork::new(one.network(), one.prefix()).unwrap_or(one);
        self.addresses(rack, 0).into_iter().map(masked).collect()
    }

    /// Addresses on the spine of a rack's router.
    pub fn spine(&self, rack: &RackPlan) -> Vec<IpNetwork> {
        self.on_spine(1 + rack.number)
    }

    /// A router's id (RFC 4271 §4.2): its IPv4 address on the spine, even where it has none.
    pub fn router_id(&self, rack: &RackPlan) -> Ipv4Addr {
        Ipv4Addr::new(172, 29, 0, 1 + rack.number)
    }

    /// The address by which BGP sessions with a rack's router are held by its nodes: IPv4 where there is one.
    pub fn router_in_rack(&self, rack: &RackPlan) -> Option<IpAddr> {
        self.addresses(rack, GATEWAY).first().map(|network| network.ip())
    }

    /// The lab's own end in rack 0: addresses, MAC address and neighbours of its bridge.
    pub(crate) fn lab(&self) -> Option<Cable> {
        let rack = self.racks.first()?;
        self.in_rack(&rack.name, rack, LAB).cables.pop()
    }

    /// The machine of the control plane.
    pub fn control(&self) -> Option<MachinePlan> {
        Some(self.in_rack("control", self.racks.first()?, CONTROL))
    }

    /// The machine of a node.
    pub fn machine(&self, node: &NodePlan) -> Option<MachinePlan> {
        if self.design == Design::DualTor {
            return Some(self.with_two_uplinks(node));
        }
        Some(self.in_rack(&node.name, self.racks.get(node.rack)?, node.host))
    }

    /// The router of a rack: one leg in the rack, one on the spine. Routes to other racks are its daemon's matter.
    pub fn router(&self, rack: &RackPlan) -> MachinePlan {
        let name = rack.router_name();
        let in_rack = Cable {
            segment: rack.name.clone(),
            port: format!("{name}-rack"),
            device: rack.name.clone(),
            addresses: self.addresses(rack, GATEWAY),
            host: GATEWAY,
            mac: Some(neighbours::mac(rack, GATEWAY)),
            neighbours: self.neighbours(rack, GATEWAY),
        };
        let on_spine = Cable {
            segment: SPINE.into(),
            port: format!("{name}-spine"),
            device: SPINE.into(),
            addresses: self.spine(rack),
            host: 1 + rack.number,
            mac: None,
            neighbours: Vec::new(),
        };
        let cables = [in_rack, on_spine].into_iter().chain(self.to_nodes(rack)).collect();
        MachinePlan { name, loopback: Vec::new(), cables, routes: Vec::new(), forwards: true }
    }

    /// The host outside: it knows which rack is behind which router, and asks the first one about everything else.
    pub fn outside(&self) -> MachinePlan {
        let mut routes = Vec::new();
        for rack in &self.racks {
            for (to, gateway) in self.subnets(rack).into_iter().zip(self.spine(rack)) {
                routes.push(Via { to: Some(to), gateways: vec![gateway.ip()] });
            }
        }
        if let Some(first) = self.racks.first() {
            routes.extend(
                self.spine(first).iter().map(|gateway| Via { to: None, gateways: vec![gateway.ip()] }),
            );
        }
        let cable = Cable {
            segment: SPINE.into(),
            port: OUTSIDE.into(),
            device: UPLINK.into(),
            addresses: self.on_spine(OUTSIDE_HOST),
            host: OUTSIDE_HOST,
            mac: None,
            neighbours: Vec::new(),
        };
        MachinePlan {
            name: OUTSIDE.into(),
            loopback: Vec::new(),
            cables: vec![cable],
            routes,
            forwards: false,
        }
    }

    fn in_rack(&self, name: &str, rack: &RackPlan, host: u8) -> MachinePlan {
        let gateways = self.addresses(rack, GATEWAY);
        let cable = Cable {
            segment: rack.name.clone(),
            port: name.into(),
            device: UPLINK.into(),
            addresses: self.addresses(rack, host),
            host,
            mac: Some(neighbours::mac(rack, host)),
            neighbours: self.neighbours(rack, host),
        };
        let routes = gateways.iter().map(|gateway| Via { to: None, gateways: vec![gateway.ip()] }).collect();
        MachinePlan { name: name.into(), loopback: Vec::new(), cables: vec![cable], routes, forwards: false }
    }

    fn on_spine(&self, host: u8) -> Vec<IpNetwork> {
        self.of_families([v4(172, 29, 0, host, 24), v6([0xfd00, 0x29, 0, 0, 0, 0, 0, digits(host)], 64)])
    }

    pub(super) fn of_families(&self, both: [IpNetwork; 2]) -> Vec<IpNetwork> {
        both.into_iter().filter(|network| self.families.has(network)).collect()
    }
}

/// The decimal digits of a number as hexadecimal ones: 11 becomes 0x11.
pub(super) fn digits(number: u8) -> u16 {
    u16::from(number / 100) << 8 | u16::from(number / 10 % 10) << 4 | u16::from(number % 10)
}

pub(super) fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNetwork {
    let address = Ipv4Addr::new(a, b, c, d);
    // The prefix lengths here are constants below 33; a longer one would mean one host.
    IpNetwork::V4(Ipv4Network::new(address, prefix).unwrap_or_else(|_| address.into()))
}

pub(super) fn v6(parts: [u16; 8], prefix: u8) -> IpNetwork {
    let address = Ipv6Addr::from(parts);
    IpNetwork::V6(Ipv6Network::new(address, prefix).unwrap_or_else(|_| address.into()))
}

#[cfg(test)]
mod tests {
    use super::super::Families;
    use super::*;

    fn words(addresses: &[IpNetwork]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_can_be_read_like_names() {
        let topology = Topology::default();
        let third = topology.machine(&topology.nodes[2]).unwrap();
        assert_eq!(words(&third.cables[0].addresses), ["172.30.1.13/24", "fd00:30:0:1::13/64"]);
        assert_eq!(
            words(&topology.addresses(&topology.racks[0], 110)),
            ["172.30.0.110/24", "fd00:30::110/64"]
        );
        assert_eq!(words(&topology.spine(&topology.racks[1])), ["172.29.0.2/24", "fd00:29::2/64"]);
        assert_eq!(words(&topology.subnets(&topology.racks[1])), ["172.30.1.0/24", "fd00:30:0:1::/64"]);
    }

    #[test]
    fn a_router_stands_in_its_rack_and_on_the_spine() {
        let topology = Topology::default();
        let router = topology.router(&topology.racks[1]);
        assert!(router.forwards && router.routes.is_empty());
        assert_eq!(words(&router.cables[0].addresses), ["172.30.1.1/24", "fd00:30:0:1::1/64"]);
        assert_eq!(words(&router.cables[1].addresses), ["172.29.0.2/24", "fd00:29::2/64"]);
    }

    #[test]
    fn the_outside_host_knows_which_router_leads_where() {
        let routes = Topology::default().outside().routes;
        let words: Vec<String> = routes
            .iter()
            .map(|via| {
                format!("{} {}", via.to.map_or("default".into(), |to| to.to_string()), via.gateways[0])
            })
            .collect();
        assert_eq!(
            words,
            [
                "172.30.0.0/24 172.29.0.1",
                "fd00:30::/64 fd00:29::1",
                "172.30.1.0/24 172.29.0.2",
                "fd00:30:0:1::/64 fd00:29::2",
                "default 172.29.0.1",
                "default fd00:29::1",
            ]
        );
    }

    #[test]
    fn a_single_stack_has_one_address_everywhere() {
        let topology = Topology::default().with_families(Families::V6);
        let node = topology.machine(&topology.nodes[0]).unwrap();
        assert_eq!(words(&node.cables[0].addresses), ["fd00:30::11/64"]);
        assert_eq!(node.routes.len(), 1);
        assert_eq!(topology.router_id(&topology.racks[0]).to_string(), "172.29.0.1");
    }
}
