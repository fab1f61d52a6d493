//! Tunnel devices: what they are made with, and how one that is there compares.
//!
//! `tunl0` is the kernel's own: it appears with the module `ipip` and takes every IPv4-in-IPv4 packet that no other device
//! asks for. It is changed, never made or removed, and has neither a local nor a remote address. A VXLAN device is made by
//! us. It is bound to no uplink, so that the routes decide by which of several its packets leave; and it learns nothing,
//! since all it could learn is known beforehand.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use crate::object::link::{IfName, Link, Mac};

/// A tunnel device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// What it carries packets in.
    pub kind: TunnelKind,
    /// The largest packet it takes, in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
}

/// What packets travel in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// IPv4 (RFC 2003): `tunl0`.
    Ipip,
    /// Ethernet frames in UDP (RFC 7348).
    Vxlan(Vxlan),
    /// Something else that has the name.
    Other(Option<String>),
}

/// A VXLAN tunnel's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vxlan {
    /// The network identifier that its packets carry, 24 bits.
    pub vni: u32,
    /// The UDP port, of both ends.
    pub port: u16,
    /// The own address, which its packets come from.
    pub local: IpAddr,
    /// The Ethernet address that frames to it bear.
    pub mac: Mac,
    /// Whether it learns from packets who is where.
    pub learning: bool,
}

impl Tunnel {
    /// `tunl0`, up.
    pub fn ipip(mtu: u32) -> Self {
        Self { kind: TunnelKind::Ipip, mtu, up: true }
    }

    /// A VXLAN device, up.
    pub fn vxlan(vxlan: Vxlan, mtu: u32) -> Self {
        Self { kind: TunnelKind::Vxlan(vxlan), mtu, up: true }
    }

    /// What a link that is there would have to be wanted as.
    pub(crate) fn of(link: &Link) -> Self {
        let kind = match (link.kind.as_deref(), link.vxlan, link.mac) {
            (Some("ipip"), ..) => TunnelKind::Ipip,
            (Some("vxlan"), Some(seen), Some(mac)) => TunnelKind::Vxlan(Vxlan { mac, ..seen }),
            _ => TunnelKind::Other(link.kind.clone()),
        };
        Self { kind, mtu: link.mtu, up: link.up }
    }

    /// Whether a device that is there can become this one without being made anew.
    pub(crate) fn can_follow(&self, seen: &Self) -> bool {
        match (&self.kind, &seen.kind) {
            (TunnelKind::Ipip, TunnelKind::Ipip) => true,
            (TunnelKind::Vxlan(this), TunnelKind::Vxlan(that)) => Vxlan { mac: that.mac, ..*this } == *that,
            (TunnelKind::Ipip | TunnelKind::Vxlan(_) | TunnelKind::Other(_), _) => false,
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TunnelKind::Ipip => f.write_str("ipip")?,
            TunnelKind::Vxlan(vxlan) => {
                write!(f, "vxlan id {} dstport {} local {}", vxlan.vni, vxlan.port, vxlan.local)?;
            }
            TunnelKind::Other(kind) => f.write_str(kind.as_deref().unwrap_or("hardware"))?,
        }
        write!(f, " mtu {}", self.mtu)
    }
}

/// The message that makes the device.
pub(crate) fn creation(name: &IfName, tunnel: &Tunnel) -> LinkMessage {
    let mut message = state(tunnel);
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    let info = match &tunnel.kind {
        TunnelKind::Vxlan(vxlan) => {
            let local = match vxlan.local {
                IpAddr::V4(address) => InfoVxlan::Local(address),
                IpAddr::V6(address) => InfoVxlan::Local6(address),
            };
            let data = vec![
                InfoVxlan::Id(vxlan.vni),
                local,
                InfoVxlan::Port(vxlan.port),
                InfoVxlan::Learning(vxlan.learning),
            ];
            vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))]
        }
        TunnelKind::Ipip => vec![LinkInfo::Kind(InfoKind::IpIp)],
        TunnelKind::Other(kind) => {
            vec![LinkInfo::Kind(InfoKind::Other(kind.clone().unwrap_or_default()))]
        }
    };
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

/// The message that brings the device with this index to what is wanted, as far as [`Tunnel::can_follow`] goes.
pub(crate) fn change(index: u32, tunnel: &Tunnel) -> LinkMessage {
    let mut message = state(tunnel);
    message.header.index = index;
    message
}

/// The message that sets a device down.
pub(crate) fn down(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// The message that removes a device.
pub(crate) fn removal(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn state(tunnel: &Tunnel) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.change_mask = LinkFlags::Up;
    if tunnel.up {
        message.header.flags = LinkFlags::Up;
    }
    message.attributes.push(LinkAttribute::Mtu(tunnel.mtu));
    if let TunnelKind::Vxlan(vxlan) = &tunnel.kind {
        message.attributes.push(LinkAttribute::Address(vxlan.mac.0.to_vec()));
    }
    message
}

/// What a message says of a VXLAN device, but for the Ethernet address, which is not among its data.
pub(crate) fn read_vxlan(data: &[InfoVxlan]) -> Option<Vxlan> {
    let (mut vni, mut port, mut local, mut learning) = (None, None, None, true);
    for one in data {
        match one {
            InfoVxlan::Id(id) => vni = Some(*id),
            InfoVxlan::Port(number) => port = Some(*number),
            InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
            InfoVxlan::Learning(learns) => learning = *learns,
            _ => {}
        }
    }
    Some(Vxlan { vni: vni?, port: port?, local: local?, mac: Mac([0; 6]), learning })
}
