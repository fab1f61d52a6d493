//! Addresses on links.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};

use crate::object::link::IfName;
use crate::object::route::Scope;

/// What names an address that is to stay on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressKey {
    /// The device.
    pub device: IfName,
    /// The address with the prefix length of its subnet.
    pub network: IpNetwork,
}

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.network, self.device)
    }
}

/// How an address stays on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Assigned {
    /// Whether it stays until removed and is used for new connections.
    pub lasting: bool,
}

impl Assigned {
    /// For good.
    pub const LASTING: Self = Self { lasting: true };
}

/// An address on a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The device that has it.
    pub device: IfName,
    /// The address with the prefix length of its subnet; host bits are kept.
    pub network: IpNetwork,
    /// The other end of a point-to-point link, if one is set.
    pub peer: Option<IpAddr>,
    /// How far the address is valid.
    pub scope: Scope,
    /// Whether it stays until removed; false for addresses with a lifetime, from router advertisements or DHCP.
    pub permanent: bool,
    /// Whether duplicate address detection has not ended yet or has failed: nothing can be sent from it.
    pub tentative: bool,
    /// Whether another address of the same subnet is preferred as source (IPv4 secondary, IPv6 temporary).
    pub secondary: bool,
    /// Whether it should not be used for new connections any more.
    pub deprecated: bool,
    /// The protocol number of who set it (Linux 5.18); 0 where nobody said.
    pub protocol: u8,
}

impl Address {
    /// Whether others may be told it: valid everywhere, known to be unique, no second one of its subnet and none that is to go.
    pub fn is_sound(&self) -> bool {
        self.scope == Scope::Universe && !self.tentative && !self.secondary && !self.deprecated
    }

    /// An address that is there for good, valid everywhere, and nobody has said who set it.
    pub fn lasting(device: IfName, network: IpNetwork) -> Self {
        Self {
            device,
            network,
            peer: None,
            scope: Scope::Universe,
            permanent: true,
            tentative: false,
            secondary: false,
            deprecated: false,
            protocol: 0,
        }
    }

    /// Reads an address from the kernel's message; `device` is the name of the link that the message gives by index.
    pub(crate) fn from_message(message: &AddressMessage, device: IfName) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        let (mut local, mut address, mut protocol) = (None, None, 0);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(wide) => flags = *wide,
                AddressAttribute::Protocol(number) => protocol = u8::from(*number),
                _ => {}
            }
        }
        // IFA_LOCAL is the address itself; IFA_ADDRESS is the other end where the two differ. IPv6 without a peer has only
        // the latter.
        let own = local.or(address)?;
        Some(Self {
            device,
            network: IpNetwork::new(own, message.header.prefix_len).ok()?,
            peer: address.filter(|other| *other != own),
            scope: Scope::from_code(u8::from(message.header.scope)),
            permanent: flags.contains(AddressFlags::Permanent),
            tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
            secondary: flags.contains(AddressFlags::Secondary),
            deprecated: flags.contains(AddressFlags::Deprecated),
            protocol,
        })
    }

    /// What names it, and how it stays.
    pub(crate) fn assigned(&self) -> (AddressKey, Assigned) {
        let key = AddressKey { device: self.device, network: self.network };
        (key, Assigned { lasting: self.permanent && !self.deprecated })
    }
}

/// The message that adds an address, or names one for removal. No link is asked whether another has it (IPv6). With a
/// protocol it says who set it, which old kernels do not keep.
pub(crate) fn message(index: u32, network: IpNetwork, nodad: bool, protocol: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match network {
        IpNetwork::V4(_) => AddressFamily::Inet,
        IpNetwork::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = network.prefix();
    message.header.index = index;
    if nodad && network.is_ipv6() {
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Local(network.ip()));
    message.attributes.push(AddressAttribute::Address(network.ip()));
    if protocol != 0 {
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(protocol)));
    }
    message
}
