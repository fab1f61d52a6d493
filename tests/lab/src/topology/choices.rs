//! The choices of a lab: small sets of words, the same on the command line and in a file.

use std::fmt;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// Who peers with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Design {
    /// Every node with every other, iBGP.
    Mesh,
    /// Every node with its rack's router, eBGP, and no mesh.
    Tor,
    /// Every node has two uplinks, one to the router of each of two racks, and peers with both routers by eBGP; its own
    /// address is on `lo`. No mesh.
    DualTor,
    /// So many nodes reflect (RFC 4456), the others are their clients.
    Reflectors(u8),
}

impl Design {
    /// Whether nodes peer with routers, which know the pods then.
    pub fn tells_routers(self) -> bool {
        matches!(self, Self::Tor | Self::DualTor)
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("node-to-node mesh"),
            Self::Tor => f.write_str("nodes peer with their rack's router"),
            Self::DualTor => f.write_str("nodes have two uplinks and peer with both routers"),
            Self::Reflectors(1) => f.write_str("1 route reflector"),
            Self::Reflectors(count) => write!(f, "{count} route reflectors"),
        }
    }
}

/// How packets for pods travel from rack to rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// As they are: the routers between the racks must know the pods' addresses (or there is one rack).
    Never,
    /// IPv4 in IPIP (`tunl0`), IPv6 in VXLAN.
    Ipip,
    /// In VXLAN (`vxlan.caracal`).
    Vxlan,
    /// Plain where the routers know the pods; else IPIP where the kernel has it; else VXLAN.
    #[default]
    Auto,
}

/// A kind of tunnel that a pool asks for across subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// `tunl0`.
    Ipip,
    /// `vxlan.caracal`.
    Vxlan,
}

/// Which IP versions the machines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// Both.
    #[default]
    Dual,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Families {
    /// Whether addresses like this one exist.
    pub fn has(self, network: &IpNetwork) -> bool {
        match self {
            Self::Dual => true,
            Self::V4 => network.is_ipv4(),
            Self::V6 => network.is_ipv6(),
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dual => "IPv4 and IPv6",
            Self::V4 => "IPv4 only",
            Self::V6 => "IPv6 only",
        })
    }
}

/// What a router runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, clap::ValueEnum, Deserialize, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum RouterKind {
    /// `caracal-bgpd`.
    #[default]
    Caracal,
    /// BIRD 2, of Debian's package `bird2`.
    Bird,
    /// FRRouting, of Debian's package `frr`.
    Frr,
}

impl RouterKind {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caracal => "caracal",
            Self::Bird => "bird",
            Self::Frr => "frr",
        }
    }
}
