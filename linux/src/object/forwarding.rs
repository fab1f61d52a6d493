//! Forwarding entries of a VXLAN device: behind which host an Ethernet address is.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;

use crate::object::link::{IfName, Mac};

/// What names an entry: one for an Ethernet address on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardingKey {
    /// The VXLAN device.
    pub device: IfName,
    /// The Ethernet address that frames bear.
    pub mac: Mac,
}

impl fmt::Display for ForwardingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.mac, self.device)
    }
}

/// A lasting entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Forwarding {
    /// The host that packets with such frames are sent to.
    pub destination: IpAddr,
    /// Whether it stays until removed: not learned, not aging.
    pub permanent: bool,
}

impl Forwarding {
    /// A lasting entry.
    pub fn to(destination: IpAddr) -> Self {
        Self { destination, permanent: true }
    }
}

/// Reads an entry of a device's own table; none for those of bridges and for the one that stands for everybody else.
pub(crate) fn read(message: &NeighbourMessage, device: IfName) -> Option<(ForwardingKey, Forwarding)> {
    let header = &message.header;
    if header.family != AddressFamily::Bridge || !header.flags.contains(NeighbourFlags::Own) {
        return None;
    }
    let (mut mac, mut destination) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(*address));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(*address));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
                destination = v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok();
            }
            _ => {}
        }
    }
    let mac = mac.filter(|mac| mac.0 != [0; 6])?;
    let permanent = header.state == NeighbourState::Permanent;
    Some((ForwardingKey { device, mac }, Forwarding { destination: destination?, permanent }))
}

/// The message that sets an entry, or (without a value) names one for removal.
pub(crate) fn message(mac: Mac, index: u32, value: Option<&Forwarding>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.kind = RouteType::Unspec;
    message.header.flags = NeighbourFlags::Own;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    if let Some(entry) = value {
        message.attributes.push(NeighbourAttribute::Destination(entry.destination.into()));
    }
    message
}

/// The message that asks for all entries.
pub(crate) fn query() -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message
}
