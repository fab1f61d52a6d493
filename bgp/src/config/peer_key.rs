//! What names a peer.

use std::fmt;
use std::net::IpAddr;

/// The identity of a peer: sessions, routes and commands refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKey {
    /// The peer is known by its address.
    Address(IpAddr),
}

impl PeerKey {
    /// The address connections of this peer come from.
    pub fn address(&self) -> IpAddr {
        match self {
            PeerKey::Address(address) => *address,
        }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerKey::Address(address) => address.fmt(f),
        }
    }
}

impl From<IpAddr> for PeerKey {
    fn from(address: IpAddr) -> Self {
        PeerKey::Address(address)
    }
}
