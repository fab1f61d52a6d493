//! Neighbours: which Ethernet address an IP address has on a link.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteProtocol, RouteType};

use crate::object::link::{IfName, Mac};

/// What names a neighbour: one entry for an address on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourKey {
    /// The device it is reached through.
    pub device: IfName,
    /// Its address.
    pub address: IpAddr,
}

impl fmt::Display for NeighbourKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.device)
    }
}

/// A permanent neighbour entry: the kernel neither asks for it nor forgets it while the device stays up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Where frames for it are sent.
    pub mac: Mac,
}

/// A neighbour as the kernel shows it, learned ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenNeighbour {
    /// Device and address.
    pub key: NeighbourKey,
    /// Where frames for it are sent; none while it is not resolved.
    pub mac: Option<Mac>,
    /// Whether it was set by hand or program and stays.
    pub permanent: bool,
    /// The protocol number of who set it; 0 where nobody said.
    pub protocol: u8,
}

impl SeenNeighbour {
    /// Reads an entry of the IPv4 or IPv6 neighbour table; none for bridge entries and proxies, which are other tables.
    pub(crate) fn from_message(message: &NeighbourMessage, device: IfName) -> Option<Self> {
        if message.header.flags.contains(NeighbourFlags::Proxy) {
            return None;
        }
        let (mut address, mut mac, mut protocol) = (None, None, 0);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6))
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
                }
                NeighbourAttribute::Protocol(number) => protocol = u8::from(*number),
                _ => {}
            }
        }
        Some(Self {
            key: NeighbourKey { device, address: address? },
            mac,
            permanent: message.header.state == NeighbourState::Permanent,
            protocol,
        })
    }
}

/// The message that sets a permanent entry, or (without a value) names one for removal.
pub(crate) fn message(
    address: IpAddr,
    index: u32,
    value: Option<&Neighbour>,
    protocol: u8,
) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = index;
    message.header.kind = RouteType::Unspec;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    if let Some(neighbour) = value {
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
        message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(protocol)));
    }
    message
}
