//! Settings of a device under `/proc/sys/net`, as far as they must stay as they are.

use std::fmt;

use crate::object::link::IfName;

/// What names a setting. [`IfName::ALL`] stands for all devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingKey {
    /// The device.
    pub device: IfName,
    /// Which of its settings.
    pub name: SettingName,
}

/// Which setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingName {
    /// `rp_filter`: whether the source of an IPv4 packet is checked against the routes. 0: no, 1: it must be reached by the
    /// same device, 2: it must be reached at all.
    ReversePathFilter,
    /// `forwarding` of IPv4. That of all devices writes over that of each.
    ForwardingV4,
    /// The same of IPv6.
    ForwardingV6,
    /// `proxy_arp`: whether the host answers for every IPv4 address that it would send packets on to.
    ProxyArp,
    /// `proxy_ndp`: whether the host answers for those IPv6 addresses that it is told to answer for.
    ProxyNdp,
    /// `ignore_routes_with_linkdown` of IPv4: whether routes by this device count for nothing while it has no carrier. 1: yes,
    /// and of a route of several hops the others are taken.
    IgnoreLinkDownV4,
    /// The same of IPv6.
    IgnoreLinkDownV6,
    /// `accept_ra`: whether router advertisements are heeded. 2: even on a router.
    AcceptRouterAdvertisements,
}

impl SettingKey {
    /// The path below `/proc/sys`.
    pub fn path(&self) -> String {
        let device = self.device;
        match self.name {
            SettingName::ReversePathFilter => format!("net/ipv4/conf/{device}/rp_filter"),
            SettingName::ForwardingV4 => format!("net/ipv4/conf/{device}/forwarding"),
            SettingName::ForwardingV6 => format!("net/ipv6/conf/{device}/forwarding"),
            SettingName::ProxyArp => format!("net/ipv4/conf/{device}/proxy_arp"),
            SettingName::ProxyNdp => format!("net/ipv6/conf/{device}/proxy_ndp"),
            SettingName::IgnoreLinkDownV4 => format!("net/ipv4/conf/{device}/ignore_routes_with_linkdown"),
            SettingName::IgnoreLinkDownV6 => format!("net/ipv6/conf/{device}/ignore_routes_with_linkdown"),
            SettingName::AcceptRouterAdvertisements => format!("net/ipv6/conf/{device}/accept_ra"),
        }
    }
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setting(pub u32);
