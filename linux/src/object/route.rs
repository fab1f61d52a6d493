//! Routes: key, value, and the one normal form in which wanted and seen routes compare.
//!
//! The conversions to and from the kernel's messages are in the private half `route/message.rs`.

pub(crate) mod message;

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::object::link::IfName;

/// The main routing table.
pub const TABLE_MAIN: u32 = 254;

/// The metric that the kernel gives an IPv6 route that names none (IP6_RT_PRIO_USER).
pub const IPV6_DEFAULT_PRIORITY: u32 = 1024;

/// What names a route: in one table there is at most one for a destination and priority (a route with several next hops is
/// still one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The routing table's number.
    pub table: u32,
    /// Where packets go that take it; host bits are zero.
    pub destination: IpNetwork,
    /// The metric: the lowest wins.
    pub priority: u32,
}

impl RouteKey {
    /// A route of the main table with the priority that the kernel gives when none is named.
    pub fn main(destination: IpNetwork) -> Self {
        Self { table: TABLE_MAIN, destination, priority: 0 }.normalised()
    }

    /// The same key as the kernel would show it: no host bits, table 0 is the main one, an IPv6 priority is never 0.
    #[must_use]
    pub fn normalised(self) -> Self {
        let destination =
            IpNetwork::new(self.destination.network(), self.destination.prefix()).unwrap_or(self.destination);
        let priority =
            if destination.is_ipv6() && self.priority == 0 { IPV6_DEFAULT_PRIORITY } else { self.priority };
        let table = if self.table == 0 { TABLE_MAIN } else { self.table };
        Self { table, destination, priority }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if self.table != TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        if self.priority != Self::main(self.destination).priority {
            write!(f, " metric {}", self.priority)?;
        }
        Ok(())
    }
}

/// How far away a destination is. IPv6 has no scopes: its routes are all [`Scope::Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Scope {
    /// Anywhere: behind a gateway.
    #[default]
    Universe,
    /// Within this site.
    Site,
    /// On the link itself.
    Link,
    /// This host.
    Host,
    /// Nowhere: no such destination.
    Nowhere,
    /// A number with a meaning of its own on this host.
    Other(u8),
}

impl Scope {
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Universe,
            200 => Self::Site,
            253 => Self::Link,
            254 => Self::Host,
            255 => Self::Nowhere,
            other => Self::Other(other),
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Universe => 0,
            Self::Site => 200,
            Self::Link => 253,
            Self::Host => 254,
            Self::Nowhere => 255,
            Self::Other(code) => code,
        }
    }
}

/// One way out of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The gateway; none where the destination is on the link itself. May be IPv6 for an IPv4 route (RFC 8950).
    pub via: Option<IpAddr>,
    /// The device packets leave by.
    pub device: IfName,
    /// Take the gateway to be on the link, whatever the routes say. Only with a gateway.
    pub onlink: bool,
    /// Its share of the traffic against the other hops of the route, 1 to 255; a single hop has 1.
    pub weight: u8,
}

impl Hop {
    /// The destination is on this link.
    pub fn device(device: IfName) -> Self {
        Self { via: None, device, onlink: false, weight: 1 }
    }

    /// The destination is behind this gateway.
    pub fn via(gateway: IpAddr, device: IfName) -> Self {
        Self { via: Some(gateway), device, onlink: false, weight: 1 }
    }

    /// The same, with the gateway taken to be on the link.
    #[must_use]
    pub fn onlink(self) -> Self {
        Self { onlink: true, ..self }
    }
}

/// What a route does with a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends it on, by one hop or spread over several.
    Unicast(Vec<Hop>),
    /// Drops it in silence.
    Blackhole,
    /// Drops it and says "host unreachable".
    Unreachable,
    /// Drops it and says "administratively prohibited".
    Prohibit,
}

/// What a route says besides its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// What it does with a packet.
    pub kind: RouteKind,
    /// The source address of packets that this host itself sends by it.
    pub source: Option<IpAddr>,
    /// How far the destination is (IPv4).
    pub scope: Scope,
    /// Who made it: the number by which rtnetlink tells routing daemons apart.
    pub protocol: u8,
    /// The largest packet sent by it, in bytes, where it is smaller than the device's.
    pub mtu: Option<u32>,
}

impl Route {
    /// A route of this kind with nothing else set. `protocol` is filled in by [`crate::kernel::Kernel`]; for
    /// [`crate::netlink::client::Client`] 0 means `boot`, as for routes made by hand.
    pub fn new(kind: RouteKind) -> Self {
        Self { kind, source: None, scope: Scope::Universe, protocol: 0, mtu: None }
    }

    /// The destination is on this link.
    pub fn direct(device: IfName) -> Self {
        Self { scope: Scope::Link, ..Self::new(RouteKind::Unicast(vec![Hop::device(device)])) }
    }

    /// The destination is behind this gateway.
    pub fn via(gateway: IpAddr, device: IfName) -> Self {
        Self::new(RouteKind::Unicast(vec![Hop::via(gateway, device)]))
    }

    /// The hops; none for a route that drops.
    pub fn hops(&self) -> &[Hop] {
        match &self.kind {
            RouteKind::Unicast(hops) => hops,
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => &[],
        }
    }

    /// Whether any hop leaves by this device.
    pub fn uses(&self, device: &IfName) -> bool {
        self.hops().iter().any(|hop| hop.device == *device)
    }

    /// The same route as the kernel would show it under this key.
    #[must_use]
    pub fn normalised(mut self, key: &RouteKey) -> Self {
        match &mut self.kind {
            RouteKind::Unicast(hops) => {
                let alone = hops.len() == 1;
                for hop in hops.iter_mut() {
                    hop.weight = if alone { 1 } else { hop.weight.max(1) };
                    hop.onlink &= hop.via.is_some();
                }
                // The order of hops means nothing, and the kernel keeps IPv6's in its own.
                hops.sort_unstable();
            }
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
                self.scope = Scope::Universe
            }
        }
        if key.destination.is_ipv6() {
            self.scope = Scope::Universe;
        }
        self.mtu = self.mtu.filter(|mtu| *mtu != 0);
        self
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RouteKind::Blackhole => f.write_str("blackhole")?,
            RouteKind::Unreachable => f.write_str("unreachable")?,
            RouteKind::Prohibit => f.write_str("prohibit")?,
            RouteKind::Unicast(hops) => {
                for (at, hop) in hops.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    if let Some(via) = hop.via {
                        write!(f, "via {via} ")?;
                    }
                    write!(f, "dev {}", hop.device)?;
                    if hops.len() > 1 {
                        write!(f, " weight {}", hop.weight)?;
                    }
                    if hop.onlink {
                        f.write_str(" onlink")?;
                    }
                }
            }
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        write!(f, " proto {}", self.protocol)
    }
}

/// Which routes to list.
#[derive(Debug, Clone, Default)]
pub struct RouteFilter {
    /// Only IPv4 or only IPv6; both when none.
    pub family: Option<Family>,
    /// Only this table.
    pub table: Option<u32>,
    /// Only those of this protocol.
    pub protocol: Option<u8>,
    /// Only those with a hop through this device.
    pub device: Option<IfName>,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_brought_to_the_form_the_kernel_shows() {
        let v4 = RouteKey { table: 0, destination: network("10.1.2.3/24"), priority: 0 }.normalised();
        assert_eq!(v4, RouteKey { table: 254, destination: network("10.1.2.0/24"), priority: 0 });
        let v6 = RouteKey { table: 254, destination: network("fd00::1/64"), priority: 0 }.normalised();
        assert_eq!(v6, RouteKey { table: 254, destination: network("fd00::/64"), priority: 1024 });
        assert_eq!(RouteKey { priority: 7, ..v6 }.normalised().priority, 7);
    }

    #[test]
    fn a_single_hop_has_weight_one_and_the_order_of_hops_is_lost() {
        let key = RouteKey::main(network("10.0.0.0/8"));
        let eth = |n: &str| IfName::new(n).unwrap();
        let mut one = Route::direct(eth("eth0"));
        one.kind = RouteKind::Unicast(vec![Hop { weight: 9, ..Hop::device(eth("eth0")) }]);
        assert_eq!(one.normalised(&key).hops()[0].weight, 1);

        let a = Hop::via("192.0.2.1".parse().unwrap(), eth("eth0"));
        let b = Hop { weight: 3, ..Hop::via("192.0.2.2".parse().unwrap(), eth("eth0")) };
        let there = Route::new(RouteKind::Unicast(vec![a.clone(), b.clone()]));
        let back = Route::new(RouteKind::Unicast(vec![b, a]));
        assert_eq!(there.normalised(&key), back.normalised(&key));
    }

    #[test]
    fn ipv6_has_no_scopes() {
        let key = RouteKey::main(network("fd00::1/128"));
        assert_eq!(Route::direct(IfName::LOOPBACK).normalised(&key).scope, Scope::Universe);
    }
}
