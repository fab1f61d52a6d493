//! What is seen of tunnel devices and of what is kept on them.
//!
//! A change of a device is told in several events, of which only the last shows it as it is then. So what an event says is
//! noted with the links, and the tables are told when all events that have come were heard.

use std::time::Instant;

use crate::kernel::keeper::Keeper;
use crate::netlink::Error;
use crate::object::address::{Address, AddressKey, Assigned};
use crate::object::forwarding::{self, Forwarding, ForwardingKey};
use crate::object::link::{IfName, Link};
use crate::object::setting::{Setting, SettingKey};
use crate::object::tunnel::{Tunnel, TunnelKind};
use crate::sysctl;
use crate::table::Owner;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;

impl Keeper {
    /// Tells the tables how the devices stand that events were about.
    pub(super) fn look_at_touched(&mut self) {
        for device in std::mem::take(&mut self.touched) {
            self.look_at_tunnel(&device);
            let settings = self.tables.settings.keys().filter(|key| key.device == device);
            let settings: Vec<SettingKey> = settings.copied().collect();
            settings.iter().for_each(|key| self.look_at_setting(key));
        }
    }

    pub(super) fn look_at_tunnel(&mut self, device: &IfName) {
        let now = Instant::now();
        match self.links.get(device) {
            Some(link) => {
                let owner = self.tunnel_owner(link);
                let tunnel = Tunnel::of(link);
                self.tables.tunnels.saw(now, *device, Some(tunnel), owner);
            }
            None => {
                self.tables.tunnels.saw(now, *device, None, Owner::Ours);
                self.tables.tunnels.saw(now, *device, None, Owner::Foreign);
            }
        }
    }

    /// With its device gone nobody meddled with a setting.
    pub(super) fn look_at_setting(&mut self, key: &SettingKey) {
        match read_setting(key) {
            Some(seen) => self.tables.settings.saw(Instant::now(), *key, Some(seen), Owner::Ours),
            None => self.tables.settings.lost(key),
        }
    }

    pub(super) fn look_at_address(&mut self, key: &AddressKey) {
        let found = self.links.addresses().find(|address| address.assigned().0 == *key);
        if let Some((value, owner)) = found.map(|address| (address.assigned().1, self.address_owner(address)))
        {
            self.tables.addresses.saw(Instant::now(), *key, Some(value), owner);
        }
    }

    /// Whose a device is. The kernel's own is ours while we keep it.
    fn tunnel_owner(&self, link: &Link) -> Owner {
        let kept = self.tables.tunnels.wants(&link.name) || self.tables.tunnels.owns(&link.name);
        let ours = match Tunnel::of(link).kind {
            TunnelKind::Ipip => kept,
            TunnelKind::Vxlan(_) => kept || link.name.as_str().ends_with(&self.settings.tunnel_suffix),
            TunnelKind::Other(_) => false,
        };
        if ours { Owner::Ours } else { Owner::Foreign }
    }

    /// Whether this is a tunnel device of ours.
    pub(super) fn is_own_tunnel(&self, device: &IfName) -> bool {
        self.links.get(device).is_some_and(|link| self.tunnel_owner(link) == Owner::Ours)
    }

    fn address_owner(&self, address: &Address) -> Owner {
        let ours = address.protocol == self.settings.protocol || self.is_own_tunnel(&address.device);
        if ours { Owner::Ours } else { Owner::Foreign }
    }

    /// An address is there now.
    pub(super) fn tunnel_address_is(&mut self, now: Instant, address: &Address) {
        let owner = self.address_owner(address);
        let (key, assigned) = address.assigned();
        self.tables.addresses.saw(now, key, Some(assigned), owner);
    }

    /// An address is gone. With its device down nobody meddled: IPv6 addresses go with it.
    pub(super) fn tunnel_address_gone(&mut self, now: Instant, address: &Address) {
        let (key, _) = address.assigned();
        if self.links.get(&key.device).is_some_and(|link| link.up) {
            self.tables.addresses.saw(now, key, None, Owner::Ours);
        } else {
            self.tables.addresses.lost(&key);
        }
        self.tables.addresses.saw(now, key, None, Owner::Foreign);
    }

    /// A forwarding entry is there now (`true`) or gone.
    pub(super) fn forwarding_is(&mut self, now: Instant, message: &NeighbourMessage, there: bool) {
        let Some(device) = self.links.known(message.header.ifindex) else { return };
        let Some((key, entry)) = forwarding::read(message, device) else { return };
        if self.is_own_tunnel(&device) {
            self.tables.forwarding.saw(now, key, there.then_some(entry), Owner::Ours);
        } else if !there {
            self.tables.forwarding.lost(&key);
        }
    }

    /// A device is gone, and what was on it.
    pub(super) fn tunnel_gone(&mut self, device: &IfName) {
        let tables = &mut self.tables;
        let keys: Vec<AddressKey> =
            tables.addresses.keys().filter(|key| key.device == *device).copied().collect();
        keys.iter().for_each(|key| tables.addresses.lost(key));
        let keys: Vec<ForwardingKey> =
            tables.forwarding.keys().filter(|key| key.device == *device).copied().collect();
        keys.iter().for_each(|key| tables.forwarding.lost(key));
    }

    /// Brings what is known of tunnels in line with the links just listed, and lists what only the kernel knows.
    pub(super) fn resync_tunnels(&mut self) -> Result<(), Error> {
        let found: Vec<(IfName, Tunnel, Owner)> =
            self.links.all().map(|link| (link.name, Tunnel::of(link), self.tunnel_owner(link))).collect();
        self.tables.tunnels.resync(|_, _| true, found);
        let keys: Vec<SettingKey> = self.tables.settings.keys().copied().collect();
        let found = keys.into_iter().filter_map(|key| Some((key, read_setting(&key)?, Owner::Ours)));
        self.tables.settings.resync(|_, _| true, found);
        let found: Vec<(AddressKey, Assigned, Owner)> = self
            .links
            .addresses()
            .map(|address| {
                let (key, assigned) = address.assigned();
                (key, assigned, self.address_owner(address))
            })
            .collect();
        self.tables.addresses.resync(|_, _| true, found);
        // Bridges may have many entries, which are not ours to look at.
        let any = self.links.all().any(|link| link.vxlan.is_some() && self.tunnel_owner(link) == Owner::Ours);
        let found = if any { self.list_forwarding()? } else { Vec::new() };
        self.tables.forwarding.resync(|_, _| true, found);
        Ok(())
    }

    fn list_forwarding(&mut self) -> Result<Vec<(ForwardingKey, Forwarding, Owner)>, Error> {
        let query = RouteNetlinkMessage::GetNeighbour(forwarding::query());
        let links = &self.links;
        let found = self.writer.list("listing forwarding entries", &query, |found| match found {
            RouteNetlinkMessage::NewNeighbour(found) => {
                forwarding::read(&found, links.known(found.header.ifindex)?)
            }
            _ => None,
        })?;
        let own = found.into_iter().filter(|(key, _)| self.is_own_tunnel(&key.device));
        Ok(own.map(|(key, entry)| (key, entry, Owner::Ours)).collect())
    }
}

fn read_setting(key: &SettingKey) -> Option<Setting> {
    sysctl::read(&key.path()).ok()?.trim().parse().ok().map(Setting)
}
