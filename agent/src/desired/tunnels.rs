//! Tunnel devices and what belongs to them, from the pools, this node and the others.
//!
//! `tunl0` carries IPv4 in IPv4 (RFC 2003). `vxlan.caracal` carries both families in UDP over IPv4 (RFC 7348), and
//! `vxlan6.caracal` does the same over IPv6 towards nodes with which this one has no IPv4 in common. Nothing is learned
//! from packets: the Ethernet address of a VXLAN end follows from the IP address it sends from, so that neighbours and
//! forwarding entries follow from the `NetworkNode`s. IPv4 routes name the node as gateway; IPv6 routes, and IPv4 routes
//! over `vxlan6.caracal`, name the end's link-local address, since the kernel takes no other IPv6 gateway there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use caracal_api::network_node::TunnelDevice;
use caracal_api::{EncapsulationMode, IpPool};
use caracal_linux::kernel::{ObjectKey, Wanted};
use caracal_linux::object::address::{AddressKey, Assigned};
use caracal_linux::object::forwarding::{Forwarding, ForwardingKey};
use caracal_linux::object::link::{IfName, Mac};
use caracal_linux::object::neighbour::{Neighbour, NeighbourKey};
use caracal_linux::object::setting::{Setting, SettingKey, SettingName};
use caracal_linux::object::tunnel::{Tunnel, Vxlan};
use ipnetwork::IpNetwork;
use sha1::{Digest, Sha1};

use super::handover::Ends;
use super::mtu::{IPIP_OVERHEAD, VXLAN_V4_OVERHEAD, VXLAN_V6_OVERHEAD};
use super::surroundings::{Ability, Remote, Surroundings};
use crate::cluster::Snapshot;

/// The device of IP in IP: the kernel's own.
pub const IPIP: &str = "tunl0";
/// The device of VXLAN over IPv4.
pub const VXLAN_V4: &str = "vxlan.caracal";
/// The device of VXLAN over IPv6.
pub const VXLAN_V6: &str = "vxlan6.caracal";
/// The VXLAN network identifier.
pub const VNI: u32 = 4096;
/// The UDP port of VXLAN (RFC 7348 §5).
pub const PORT: u16 = 4789;
/// The least MTU of a tunnel: what IPv6 demands of every link (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;

/// What an address of a tunnel device is for: each is an allocation of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TunnelAddress {
    /// IPv4, on `tunl0`.
    Ipip,
    /// IPv4, on the VXLAN devices.
    VxlanV4,
    /// IPv6, on the VXLAN devices.
    VxlanV6,
}

impl TunnelAddress {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::VxlanV4, Self::VxlanV6];

    /// Its name, as in the handle under which it is held.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::VxlanV4 => "vxlan-v4",
            Self::VxlanV6 => "vxlan-v6",
        }
    }

    /// The device it is shown with.
    pub fn device(self) -> IfName {
        device(match self {
            Self::Ipip => TunnelDevice::Ipip,
            Self::VxlanV4 | Self::VxlanV6 => TunnelDevice::VxlanV4,
        })
    }

    /// Whether a pool's packets travel by this tunnel, and its addresses are of this family.
    pub fn serves(self, pool: &IpPool) -> bool {
        let spec = &pool.spec;
        let v4 = !spec.cidr.contains(':');
        match self {
            Self::Ipip => v4 && spec.ipip_mode != EncapsulationMode::Never,
            Self::VxlanV4 => v4 && spec.vxlan_mode != EncapsulationMode::Never,
            Self::VxlanV6 => !v4 && spec.vxlan_mode != EncapsulationMode::Never,
        }
    }
}

/// The addresses of this node's tunnel devices.
pub type TunnelAddresses = BTreeMap<TunnelAddress, IpAddr>;

/// Which tunnels any pool asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// IP in IP.
    pub ipip: bool,
    /// VXLAN.
    pub vxlan: bool,
}

/// Which tunnels the pools ask for, even across subnets only.
pub fn asked(pools: &Snapshot<IpPool>) -> Asked {
    let any = |uses: &[TunnelAddress]| pools.values().any(|pool| uses.iter().any(|one| one.serves(pool)));
    Asked { ipip: any(&[TunnelAddress::Ipip]), vxlan: any(&[TunnelAddress::VxlanV4, TunnelAddress::VxlanV6]) }
}

/// Every tunnel device.
pub const ALL: [TunnelDevice; 3] = [TunnelDevice::Ipip, TunnelDevice::VxlanV4, TunnelDevice::VxlanV6];

/// The name of a device, as text.
pub fn device_name(which: TunnelDevice) -> &'static str {
    match which {
        TunnelDevice::Ipip => IPIP,
        TunnelDevice::VxlanV4 => VXLAN_V4,
        TunnelDevice::VxlanV6 => VXLAN_V6,
    }
}

/// The name of a device. The constants here are names.
pub fn device(which: TunnelDevice) -> IfName {
    IfName::new(device_name(which)).unwrap_or(IfName::LOOPBACK)
}

/// The Ethernet address of the VXLAN end that sends from this address.
pub fn vtep_mac(address: IpAddr) -> Mac {
    let digest = <[u8; 20]>::from(Sha1::digest(address.to_string().as_bytes()));
    // Made up (locally administered), and of one device (not a group).
    let [a, b, c, d, e, ..] = digest;
    Mac([0x02, a, b, c, d, e])
}

/// The link-local address that follows from an Ethernet address (RFC 4291, appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// All that is wanted of the kernel for these ends of tunnels. `uplink_mtu` is the smallest MTU of the devices that carry this
/// node's addresses, in bytes.
pub fn tunnels(
    surroundings: &Surroundings,
    ends: &Ends,
    addresses: &TunnelAddresses,
    uplink_mtu: u32,
) -> BTreeMap<ObjectKey, Wanted> {
    let mut wanted = Vec::new();
    for subnet in &surroundings.subnets {
        wanted.push(loose_filter(subnet.device));
    }
    wanted.extend(ignored_without_carrier(surroundings));
    let ability = &surroundings.ability;
    for end in ends {
        match end {
            TunnelDevice::Ipip if ability.ipip.is_ok() => ipip(addresses, uplink_mtu, &mut wanted),
            TunnelDevice::Ipip => {}
            TunnelDevice::VxlanV4 | TunnelDevice::VxlanV6 => {
                vxlan(*end, surroundings, addresses, uplink_mtu, &mut wanted);
            }
        }
    }
    wanted.into_iter().map(|one| (one.key(), one)).collect()
}

fn ipip(addresses: &TunnelAddresses, uplink_mtu: u32, wanted: &mut Vec<Wanted>) {
    let name = device(TunnelDevice::Ipip);
    wanted.push(Wanted::Tunnel(name, Some(Tunnel::ipip(mtu(uplink_mtu, TunnelDevice::Ipip)))));
    wanted.push(loose_filter(name));
    wanted.extend(addresses.get(&TunnelAddress::Ipip).map(|own| address(name, IpNetwork::from(*own))));
}

fn vxlan(
    which: TunnelDevice,
    around: &Surroundings,
    addresses: &TunnelAddresses,
    uplink_mtu: u32,
    wanted: &mut Vec<Wanted>,
) {
    let v4 = which == TunnelDevice::VxlanV4;
    let local = if v4 { &around.ability.vxlan_v4 } else { &around.ability.vxlan_v6 };
    let Ok(local) = *local else { return };
    let (name, mac) = (device(which), vtep_mac(local));
    let vxlan = Vxlan { vni: VNI, port: PORT, local, mac, learning: false };
    wanted.push(Wanted::Tunnel(name, Some(Tunnel::vxlan(vxlan, mtu(uplink_mtu, which)))));
    wanted.push(loose_filter(name));
    wanted.push(address(name, ipv6(link_local(mac))));
    let own = [TunnelAddress::VxlanV4, TunnelAddress::VxlanV6];
    let own = own.iter().filter_map(|which| addresses.get(which));
    wanted.extend(own.map(|own| address(name, IpNetwork::from(*own))));
    let others = around.remotes().filter_map(|remote| vtep(&around.ability, remote).ok());
    for Vtep { address: to, .. } in others.filter(|end| end.device == name) {
        let mac = vtep_mac(to);
        let neighbour =
            |address| Wanted::Neighbour(NeighbourKey { device: name, address }, Some(Neighbour { mac }));
        wanted.push(Wanted::Forwarding(ForwardingKey { device: name, mac }, Some(Forwarding::to(to))));
        wanted.push(neighbour(IpAddr::V6(link_local(mac))));
        if to.is_ipv4() {
            wanted.push(neighbour(to));
        }
    }
}

/// Where a VXLAN tunnel leads: the other end, and the device it is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// The other end's address.
    pub address: IpAddr,
    /// Which kind of device it is reached by, on both sides.
    pub end: TunnelDevice,
    /// The own device.
    pub device: IfName,
}

impl Vtep {
    /// The gateway for packets of this family, and whether it must be taken to be on the link.
    pub fn gateway(&self, v4: bool) -> (IpAddr, bool) {
        if v4 && self.address.is_ipv4() {
            (self.address, true)
        } else {
            (IpAddr::V6(link_local(vtep_mac(self.address))), false)
        }
    }
}

/// Where the VXLAN tunnel to a node leads: over IPv4 where both have it, else over IPv6.
///
/// # Errors
/// Why there is none, in words for people.
pub fn vtep(ability: &Ability, remote: &Remote) -> Result<Vtep, String> {
    let ways = [
        (&ability.vxlan_v4, remote.v4, TunnelDevice::VxlanV4),
        (&ability.vxlan_v6, remote.v6, TunnelDevice::VxlanV6),
    ];
    let mut refusal = None;
    for (own, other, end) in ways {
        match (own, other) {
            (Ok(_), Some(address)) => return Ok(Vtep { address, end, device: device(end) }),
            (Err(why), Some(_)) => refusal = refusal.or(Some(why.clone())),
            (_, None) => {}
        }
    }
    Err(refusal.unwrap_or_else(|| format!("node {} has no address that this node could reach", remote.name)))
}

/// The largest packet inside a tunnel over uplinks of this MTU, both in bytes.
pub fn mtu(uplink: u32, which: TunnelDevice) -> u32 {
    let overhead = match which {
        TunnelDevice::Ipip => IPIP_OVERHEAD,
        TunnelDevice::VxlanV4 => VXLAN_V4_OVERHEAD,
        TunnelDevice::VxlanV6 => VXLAN_V6_OVERHEAD,
    };
    uplink.saturating_sub(overhead).max(LEAST_MTU)
}

fn address(device: IfName, network: IpNetwork) -> Wanted {
    Wanted::Address(AddressKey { device, network }, Some(Assigned::LASTING))
}

fn ipv6(address: Ipv6Addr) -> IpNetwork {
    IpNetwork::new(address.into(), 64).unwrap_or_else(|_| IpNetwork::from(IpAddr::V6(address)))
}

/// Of several uplinks one without a carrier is left out by the kernel itself, at once, whatever leads by it: the host's own
/// routes, too, and before this program has heard of it. A single uplink stays as the host has it.
fn ignored_without_carrier(around: &Surroundings) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for v4 in [true, false] {
        let own = around.subnets.iter().filter(|subnet| subnet.network.is_ipv4() == v4);
        let uplinks: BTreeSet<IfName> =
            own.map(|subnet| subnet.device).filter(|device| *device != IfName::LOOPBACK).collect();
        let name = if v4 { SettingName::IgnoreLinkDownV4 } else { SettingName::IgnoreLinkDownV6 };
        if uplinks.len() > 1 {
            let set = |device| Wanted::Setting(SettingKey { device, name }, Some(Setting(1)));
            wanted.extend(uplinks.into_iter().map(set));
        }
    }
    wanted
}

/// Answers may come by another device than that by which the question went: with the strict filter they would be lost.
fn loose_filter(device: IfName) -> Wanted {
    Wanted::Setting(SettingKey { device, name: SettingName::ReversePathFilter }, Some(Setting(2)))
}

#[cfg(test)]
mod tests;
