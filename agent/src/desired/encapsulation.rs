//! How packets to a remote prefix travel: plain, or inside a tunnel.

use std::fmt;
use std::net::IpAddr;

use caracal_api::EncapsulationMode;
use ipnetwork::IpNetwork;

use super::surroundings::Surroundings;

/// Kinds of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// IP in IP (RFC 2003) on `tunl0`.
    Ipip,
    /// VXLAN (RFC 7348) on `vxlan.caracal`.
    Vxlan,
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipip => "IPIP",
            Self::Vxlan => "VXLAN",
        })
    }
}

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// As they are, along the network between the nodes.
    Plain,
    /// Inside a tunnel to the next hop.
    Through(Tunnel),
}

/// Whether an address is on the link of whoever told it, and means nothing elsewhere.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The way to a prefix by a next hop.
///
/// Only prefixes inside pools are ever encapsulated. With `CrossSubnet` it is this node's own subnet that decides: what
/// lies inside it is reached directly, whatever mask the other side has, and so is who is on one of its links.
pub fn way(prefix: IpNetwork, next_hop: IpAddr, surroundings: &Surroundings) -> Way {
    let Some(pool) = surroundings.pool_of(prefix) else { return Way::Plain };
    let wanted = |mode| match mode {
        EncapsulationMode::Never => false,
        EncapsulationMode::Always => true,
        EncapsulationMode::CrossSubnet => {
            !is_link_local(next_hop) && surroundings.subnet_of(next_hop).is_none()
        }
    };
    if wanted(pool.ipip) {
        Way::Through(Tunnel::Ipip)
    } else if wanted(pool.vxlan) {
        Way::Through(Tunnel::Vxlan)
    } else {
        Way::Plain
    }
}
