//! By what address pods of pools with `natOutgoing` are seen outside.
//!
//! Masquerading takes the address of the device that a connection leaves by, and the connection ends with that device. Where the
//! node's own address is on no uplink but on `lo`, there is a better one: routers by any uplink know the way to it, so that a
//! connection goes on by another uplink. That holds for the uplinks by which this node tells its address, and for no others: by a
//! network that does not know the address (of management, say) no answer would come back, so what leaves there is masqueraded
//! as before.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use caracal_bgp::policy::{PeerType, Subject, Verdict};
use caracal_bgp::rib::Source;
use caracal_bgp::wire::attribute::AttributeSet;
use caracal_bgp::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Prefix};
use caracal_bgp::{Config, Family, PeerConfig, PeerKey};
use caracal_bgp_underlay::next_hops::near;
use caracal_linux::kernel::Underlay;
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use tokio::sync::watch;

use crate::node::detection::is_uplink;
use crate::node::{NodeAddress, NodeAddresses};

/// Which address pods are seen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OutgoingAddress {
    /// The node's where it is on no uplink and told by the one that packets leave by, else the uplink's.
    #[default]
    Auto,
    /// That of the device that they leave by.
    Uplink,
    /// The node's.
    Node,
    /// These, at most one of a family; of the other it is as with [`Self::Auto`].
    Of(Vec<IpAddr>),
}

/// A text that names no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no address for natOutgoing: say auto, uplink, node, an IP address, or one of each family with a comma \
     between"
)]
pub struct BadOutgoingAddress {
    text: String,
}

impl FromStr for OutgoingAddress {
    type Err = BadOutgoingAddress;

    fn from_str(text: &str) -> Result<Self, BadOutgoingAddress> {
        let bad = || BadOutgoingAddress { text: text.to_owned() };
        match text {
            "auto" => Ok(Self::Auto),
            "uplink" => Ok(Self::Uplink),
            "node" => Ok(Self::Node),
            list => {
                let one = |part: &str| part.trim().parse::<IpAddr>().ok().filter(can_be_sent_from);
                let all: Option<Vec<IpAddr>> = list.split(',').map(one).collect();
                let all = all.ok_or_else(bad)?;
                let of = |v4: bool| all.iter().filter(|one| one.is_ipv4() == v4).count();
                if of(true) > 1 || of(false) > 1 { Err(bad()) } else { Ok(Self::Of(all)) }
            }
        }
    }
}

impl fmt::Display for OutgoingAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Uplink => f.write_str("uplink"),
            Self::Node => f.write_str("node"),
            Self::Of(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                f.write_str(&all.join(","))
            }
        }
    }
}

fn can_be_sent_from(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// An address that packets take which leave by a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departure {
    /// The address.
    pub address: IpAddr,
    /// The device; none: whichever.
    pub by: Option<IfName>,
}

/// The addresses that are taken instead of the device's. `told` are those that routers by a device are told.
pub fn departures(
    choice: &OutgoingAddress,
    addresses: &NodeAddresses,
    told: &BTreeSet<Departure>,
) -> Vec<Departure> {
    let anywhere = |address: IpAddr| Departure { address, by: None };
    match choice {
        OutgoingAddress::Auto => told.iter().copied().collect(),
        OutgoingAddress::Uplink => Vec::new(),
        OutgoingAddress::Node => addresses.iter().map(|own| anywhere(own.network.ip())).collect(),
        OutgoingAddress::Of(given) => {
            let lacks = |one: &&Departure| given.iter().all(|own| own.is_ipv4() != one.address.is_ipv4());
            given.iter().copied().map(anywhere).chain(told.iter().filter(lacks).copied()).collect()
        }
    }
}

/// What [`told`] has found; `None` until there was a first configuration.
pub type Told = Option<Arc<BTreeSet<Departure>>>;
/// How it is handed out.
pub type ToldReceiver = watch::Receiver<Told>;

/// This node's addresses that are on no uplink, and the devices by which a router is told them.
pub fn told(config: &Config, addresses: &NodeAddresses, links: &Underlay) -> BTreeSet<Departure> {
    let roaming = |own: &NodeAddress| own.is_single() && !is_uplink(own.device.as_str());
    let own: Vec<IpNetwork> = addresses.iter().filter(roaming).map(|own| own.network).collect();
    let sessions = config.peers.iter().filter_map(|(key, peer)| Some((peer, device(*key, peer, links)?)));
    sessions
        .flat_map(|(peer, device)| {
            let told = own.iter().filter(move |own| is_told(peer, own));
            told.map(move |own| Departure { address: own.ip(), by: Some(device) })
        })
        .collect()
}

/// The device that leads to a peer on a link of this node, whose session is that link's.
fn device(key: PeerKey, peer: &PeerConfig, links: &Underlay) -> Option<IfName> {
    match key.interface() {
        Some(interface) => IfName::new(interface.as_str()).ok(),
        None => near(key, peer, links).map(|own| own.device),
    }
}

/// Whether what is said to this peer has this node's address in it. Its filters may keep it back.
fn is_told(peer: &PeerConfig, own: &IpNetwork) -> bool {
    let attributes = AttributeSet::default();
    let subject = Subject {
        attributes: &attributes,
        next_hop: None,
        interface: None,
        source: Source::Local,
        peer: if peer.is_internal() { PeerType::Internal } else { PeerType::External },
    };
    let (v4, v6) = (Ipv4Prefix::from_network(own), Ipv6Prefix::from_network(own));
    let decision = v4.map(|own| peer.export.decide(own, &subject));
    let decision = decision.or_else(|| v6.map(|own| peer.export.decide(own, &subject)));
    let passes = decision.is_some_and(|decision| decision.verdict == Verdict::Accept);
    passes && peer.families.contains(Family::of(own))
}

#[cfg(test)]
mod tests;
