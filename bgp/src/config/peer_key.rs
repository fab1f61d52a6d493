//! What names a peer.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::interface::{IllegalInterface, Interface};

/// The identity of a peer: sessions, routes and commands refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKey {
    /// The peer is known by its address.
    Address(IpAddr),
    /// By an address that says nothing without the link it is on: the same on another link is another peer (RFC 4007).
    LinkLocal(Ipv6Addr, Interface),
    /// By nothing but the device on whose link it is: it is the only other router there, at whatever address.
    Interface(Interface),
}

impl PeerKey {
    /// The address the peer is known by. Of one that is known by its device alone it is `::`, which is nobody's.
    pub fn address(&self) -> IpAddr {
        match self {
            PeerKey::Address(address) => *address,
            PeerKey::LinkLocal(address, _) => IpAddr::V6(*address),
            PeerKey::Interface(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The device on whose link the peer is, where that is part of its identity.
    pub fn interface(&self) -> Option<Interface> {
        match self {
            PeerKey::Address(_) => None,
            PeerKey::LinkLocal(_, interface) | PeerKey::Interface(interface) => Some(*interface),
        }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerKey::Address(address) => address.fmt(f),
            PeerKey::LinkLocal(address, interface) => write!(f, "{address}%{interface}"),
            PeerKey::Interface(interface) => interface.fmt(f),
        }
    }
}

impl From<IpAddr> for PeerKey {
    fn from(address: IpAddr) -> Self {
        PeerKey::Address(address)
    }
}

/// A text that names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalPeerKey {
    /// There is no address in it.
    #[error("`{text}` is no IP address: write for example 192.0.2.1, 2001:db8::1 or fe80::1%eth0")]
    Address {
        /// The text.
        text: String,
    },
    /// The device behind the address cannot be one.
    #[error(transparent)]
    Interface(#[from] IllegalInterface),
    /// Only link-local addresses are of one link.
    #[error(
        "`{text}`: only a link-local address (fe80::/10) has a device behind it: take `%{interface}` away"
    )]
    NotLinkLocal {
        /// The text.
        text: String,
        /// The device.
        interface: Interface,
    },
}

/// An address, or `fe80::1%eth0` (RFC 4007 §11.2). A device alone is not read: it looks like a name.
impl FromStr for PeerKey {
    type Err = IllegalPeerKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let illegal = |_: AddrParseError| IllegalPeerKey::Address { text: text.to_owned() };
        let Some((address, interface)) = text.split_once('%') else {
            return text.parse().map(PeerKey::Address).map_err(illegal);
        };
        let interface = Interface::new(interface)?;
        match address.parse().map_err(illegal)? {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                Ok(PeerKey::LinkLocal(address, interface))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {
                Err(IllegalPeerKey::NotLinkLocal { text: text.to_owned(), interface })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_what_it_writes_and_only_link_local_addresses_have_a_device() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "fe80::1%eth1"] {
            assert_eq!(text.parse::<PeerKey>().unwrap().to_string(), text);
        }
        for bad in ["", "eth0", "fe80::1%", "fe80::1%a b", "2001:db8::1%eth0", "192.0.2.1%eth0", "%eth0"] {
            assert!(bad.parse::<PeerKey>().is_err(), "{bad}");
        }
    }
}
