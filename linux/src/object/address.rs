//! Addresses on links.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

use crate::object::link::IfName;
use crate::object::route::Scope;

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
}

impl Address {
    /// Reads an address from the kernel's message; `device` is the name of the link that the message gives by index.
    pub(crate) fn from_message(message: &AddressMessage, device: IfName) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(wide) => flags = *wide,
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
        })
    }
}
