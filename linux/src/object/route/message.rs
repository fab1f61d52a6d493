//! Routes to and from the kernel's messages.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
};

use crate::object::link::IfName;
use crate::object::route::{Family, Hop, Route, RouteKey, RouteKind, Scope};

impl Family {
    pub(crate) fn code(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// Reads a route. None for what is no route of a table to us: cache entries, local, broadcast and multicast routes, and
/// IPv4 routes for one type of service, which may stand beside the same key.
pub(crate) fn read(message: &RouteMessage, name: impl Fn(u32) -> IfName) -> Option<(RouteKey, Route)> {
    let header = &message.header;
    if header.flags.contains(RouteFlags::Cloned) || header.tos != 0 {
        return None;
    }
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut table = u32::from(header.table);
    let (mut priority, mut source, mut mtu) = (0, None, None);
    let (mut via, mut device, mut multipath) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => priority = *number,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Via(address) => via = other_family(address),
            RouteAttribute::Oif(index) => device = Some(name(*index)),
            RouteAttribute::MultiPath(hops) => multipath = Some(hops),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(bytes) => Some(*bytes),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast(match multipath {
            Some(hops) => hops.iter().map(|hop| read_hop(hop, &name)).collect(),
            None => {
                let onlink = header.flags.contains(RouteFlags::Onlink);
                vec![Hop { via, device: device?, onlink, weight: 1 }]
            }
        }),
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => return None,
    };
    let key = RouteKey {
        table,
        destination: IpNetwork::new(destination, header.destination_prefix_length).ok()?,
        priority,
    };
    let route = Route {
        kind,
        source,
        scope: Scope::from_code(u8::from(header.scope)),
        protocol: u8::from(header.protocol),
        mtu,
    };
    Some((key, route.normalised(&key)))
}

/// The message that adds or replaces a route. `index` finds a device's number; a device it does not know is the error.
pub(crate) fn write(
    key: &RouteKey,
    route: &Route,
    index: impl Fn(&IfName) -> Option<u32>,
) -> Result<RouteMessage, IfName> {
    let mut message = base(key);
    message.header.protocol = match route.protocol {
        0 => RouteProtocol::Boot,
        number => RouteProtocol::from(number),
    };
    message.header.scope = RouteScope::from(route.scope.code());
    match &route.kind {
        RouteKind::Blackhole => message.header.kind = RouteType::BlackHole,
        RouteKind::Unreachable => message.header.kind = RouteType::Unreachable,
        RouteKind::Prohibit => message.header.kind = RouteType::Prohibit,
        RouteKind::Unicast(hops) => {
            message.header.kind = RouteType::Unicast;
            match hops.as_slice() {
                [hop] => {
                    if hop.onlink {
                        message.header.flags |= RouteFlags::Onlink;
                    }
                    message.attributes.extend(hop.via.map(|via| gateway(key, via)));
                    message.attributes.push(RouteAttribute::Oif(index(&hop.device).ok_or(hop.device)?));
                }
                hops => {
                    let hops =
                        hops.iter().map(|hop| write_hop(key, hop, &index)).collect::<Result<_, _>>()?;
                    message.attributes.push(RouteAttribute::MultiPath(hops));
                }
            }
        }
    }
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message.attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    Ok(message)
}

/// The message that removes the route with this key made by `protocol`, whatever its hops; 0 for anyone's.
pub(crate) fn removal(key: &RouteKey, protocol: u8) -> RouteMessage {
    let mut message = base(key);
    message.header.protocol = RouteProtocol::from(protocol);
    // The kernel reads this as "any scope".
    message.header.scope = RouteScope::NoWhere;
    message
}

/// The message that asks for a list. The kernel heeds the filter only on a socket with strict checking.
pub(crate) fn query(
    family: Family,
    table: Option<u32>,
    protocol: Option<u8>,
    device: Option<u32>,
) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family.code();
    message.header.protocol = RouteProtocol::from(protocol.unwrap_or_default());
    message.attributes.extend(table.map(RouteAttribute::Table));
    message.attributes.extend(device.map(RouteAttribute::Oif));
    message
}

fn base(key: &RouteKey) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match key.destination {
        IpNetwork::V4(_) => AddressFamily::Inet,
        IpNetwork::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = key.destination.prefix();
    match u8::try_from(key.table) {
        Ok(table) => message.header.table = table,
        Err(_) => {
            message.header.table = RouteHeader::RT_TABLE_UNSPEC;
            message.attributes.push(RouteAttribute::Table(key.table));
        }
    }
    message.attributes.push(RouteAttribute::Destination(key.destination.network().into()));
    if key.priority != 0 {
        message.attributes.push(RouteAttribute::Priority(key.priority));
    }
    message
}

fn gateway(key: &RouteKey, via: IpAddr) -> RouteAttribute {
    if via.is_ipv6() == key.destination.is_ipv6() {
        RouteAttribute::Gateway(via.into())
    } else {
        RouteAttribute::Via(via.into())
    }
}

fn write_hop(
    key: &RouteKey,
    hop: &Hop,
    index: &impl Fn(&IfName) -> Option<u32>,
) -> Result<RouteNextHop, IfName> {
    let mut written = RouteNextHop::default();
    written.interface_index = index(&hop.device).ok_or(hop.device)?;
    // The kernel counts weights from zero.
    written.hops = hop.weight.saturating_sub(1);
    if hop.onlink {
        written.flags |= RouteNextHopFlags::Onlink;
    }
    written.attributes.extend(hop.via.map(|via| gateway(key, via)));
    Ok(written)
}

fn read_hop(hop: &RouteNextHop, name: &impl Fn(u32) -> IfName) -> Hop {
    let via = hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(address) => other_family(address),
        _ => None,
    });
    Hop {
        via,
        device: name(hop.interface_index),
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
        weight: hop.hops.saturating_add(1),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn other_family(address: &RouteVia) -> Option<IpAddr> {
    match address {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: u32) -> IfName {
        IfName::new(&format!("eth{index}")).unwrap()
    }

    fn index(name: &IfName) -> Option<u32> {
        name.as_str().strip_prefix("eth")?.parse().ok()
    }

    fn round(destination: &str, route: Route) {
        let key = RouteKey::main(destination.parse().unwrap());
        let route = Route { protocol: 67, ..route }.normalised(&key);
        let message = write(&key, &route, index).unwrap();
        assert_eq!(read(&message, name), Some((key, route)));
    }

    #[test]
    fn a_route_reads_back_as_it_was_written() {
        let gateway = |text: &str| text.parse().unwrap();
        round("10.0.0.1/32", Route::direct(name(3)));
        round("10.0.0.0/26", Route::new(RouteKind::Blackhole));
        round("fd00::/122", Route::new(RouteKind::Unreachable));
        round("fd00::1/128", Route::direct(name(4)));
        round("0.0.0.0/0", Route { mtu: Some(1400), ..Route::via(gateway("192.0.2.1"), name(2)) });
        round(
            "10.9.0.0/16",
            Route { source: Some(gateway("192.0.2.7")), ..Route::via(gateway("fe80::1"), name(2)) },
        );
        round(
            "10.8.0.0/16",
            Route::new(RouteKind::Unicast(vec![
                Hop::via(gateway("192.0.2.9"), name(2)).onlink(),
                Hop { weight: 20, ..Hop::via(gateway("fe80::9"), name(3)) },
            ])),
        );
    }

    #[test]
    fn a_hop_through_an_unknown_device_names_it() {
        let key = RouteKey::main("10.0.0.1/32".parse().unwrap());
        let gone = IfName::new("cali1").unwrap();
        assert_eq!(write(&key, &Route::direct(gone), index), Err(gone));
    }

    #[test]
    fn routes_of_other_tables_than_the_first_255_keep_their_number() {
        let key = RouteKey { table: 70_000, ..RouteKey::main("10.0.0.1/32".parse().unwrap()) };
        let message = write(&key, &Route { protocol: 3, ..Route::direct(name(1)) }, index).unwrap();
        assert_eq!(read(&message, name).unwrap().0, key);
    }
}
