//! Events: what they mean for what is wanted.

use std::time::Instant;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use tracing::{debug, warn};

use crate::kernel::ObjectKey;
use crate::kernel::keeper::Keeper;
use crate::kernel::underlay::Change;
use crate::netlink::Error;
use crate::netlink::events::{Event, Read};
use crate::object::address::Address;
use crate::object::link::{IfName, Link};
use crate::object::neighbour::{Neighbour, NeighbourKey, SeenNeighbour};
use crate::object::route::{Route, RouteKey, TABLE_MAIN, message};
use crate::table::{Owner, Refusal};

/// The most datagrams of events heard in one turn, so that a host that never stops changing does not stop us.
const MOST: usize = 1000;

impl Keeper {
    /// Hears all events that have come so far.
    pub(super) fn listen(&mut self) -> Result<(), Error> {
        let mut heard = Vec::new();
        for _ in 0..MOST {
            let read = self
                .events
                .read(|event| heard.push(event))
                .map_err(|source| Error::Socket { doing: "hearing events".to_owned(), source })?;
            let now = Instant::now();
            for event in heard.drain(..) {
                match event {
                    Event::Object(object) => self.hear(now, object),
                    Event::Settings(None) => drop(self.touched.insert(IfName::ALL)),
                    Event::Settings(Some(index)) => self.touched.extend(self.links.known(index)),
                }
            }
            match read {
                Read::All => break,
                Read::Some => {}
                Read::Overrun => {
                    self.counts.overruns += 1;
                    warn!(
                        "events were lost, since they came faster than they were heard: listing everything"
                    );
                    self.due.everything();
                }
            }
        }
        self.look_at_touched();
        Ok(())
    }

    fn hear(&mut self, now: Instant, event: RouteNetlinkMessage) {
        match event {
            RouteNetlinkMessage::NewLink(message) => self.link_is(&message),
            RouteNetlinkMessage::DelLink(message) => self.link_gone(&message),
            RouteNetlinkMessage::NewAddress(message) => self.address_is(now, &message),
            RouteNetlinkMessage::DelAddress(message) => self.address_gone(now, &message),
            RouteNetlinkMessage::NewRoute(message) => self.route_is(now, &message),
            RouteNetlinkMessage::DelRoute(message) => self.route_gone(now, &message),
            RouteNetlinkMessage::NewNeighbour(message) if of_a_bridge(&message) => {
                self.forwarding_is(now, &message, true);
            }
            RouteNetlinkMessage::DelNeighbour(message) if of_a_bridge(&message) => {
                self.forwarding_is(now, &message, false);
            }
            RouteNetlinkMessage::NewNeighbour(message) => self.neighbour_is(now, &message),
            RouteNetlinkMessage::DelNeighbour(message) => self.neighbour_gone(now, &message),
            _ => {}
        }
    }

    fn link_is(&mut self, message: &LinkMessage) {
        // A bridge tells of its ports under the same numbers, with less in it.
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let Some(link) = Link::from_message(message) else { return };
        let device = link.name;
        let change = self.links.put(link);
        self.underlay_changed = true;
        self.touched.insert(device);
        match change {
            Change::None => {}
            Change::New => self.retry_device(&device),
            // IPv4 routes went without a word when it went down, perhaps after that was heard.
            Change::Up => {
                self.due.device(device);
                self.retry_device(&device);
            }
            Change::Down => self.due.fallen(device),
            Change::Renamed(old) => {
                debug!(%old, new = %device, "a device was renamed: what is known by its name is listed anew");
                self.touched.insert(old);
                self.due.everything();
                self.retry_device(&device);
            }
        }
    }

    fn link_gone(&mut self, message: &LinkMessage) {
        // Also sent when a port leaves its bridge.
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let Some(device) = self.links.remove(message.header.index) else { return };
        self.underlay_changed = true;
        self.touched.insert(device);
        if self.links.get(&device).is_some() {
            // Another has its name already; what is there must be that one's.
            self.due.device(device);
            return;
        }
        let gone: Vec<RouteKey> = self
            .tables
            .routes
            .own()
            .filter(|(_, route)| route.uses(&device) && route.hops().len() == 1)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.tables.routes.lost(&key);
        }
        self.others.device_gone(&device);
        // A route over several devices lives on without this one.
        if self.tables.routes.any(|_, route| route.hops().len() > 1 && route.uses(&device)) {
            self.due.everything();
        }
        self.tunnel_gone(&device);
        let gone: Vec<NeighbourKey> = self
            .tables
            .neighbours
            .own()
            .filter(|(key, _)| key.device == device)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.tables.neighbours.lost(&key);
        }
    }

    fn address_is(&mut self, now: Instant, message: &AddressMessage) {
        let index = message.header.index;
        let Some(address) = self.links.known(index).and_then(|name| Address::from_message(message, name))
        else {
            return;
        };
        self.tunnel_address_is(now, &address);
        self.links.put_address(index, address);
        self.underlay_changed = true;
        // A gateway or a source address that was refused may be good now.
        self.retry_refused();
    }

    fn address_gone(&mut self, now: Instant, message: &AddressMessage) {
        let index = message.header.index;
        let Some(address) = self.links.known(index).and_then(|name| Address::from_message(message, name))
        else {
            return;
        };
        self.links.remove_address(index, &address);
        self.tunnel_address_gone(now, &address);
        self.underlay_changed = true;
        // With its last IPv4 address a device loses its IPv4 routes, and routes lose an address they name as source: all in
        // silence.
        let ip = address.network.ip();
        let devices: Vec<IfName> = self
            .tables
            .routes
            .own()
            .filter(|(_, route)| route.source == Some(ip))
            .flat_map(|(_, route)| route.hops().iter().map(|hop| hop.device))
            .collect();
        devices.into_iter().chain([address.device]).for_each(|device| self.due.device(device));
    }

    fn route_is(&mut self, now: Instant, message: &RouteMessage) {
        let links = &self.links;
        let Some((key, route)) = message::read(message, |index| links.name(index)) else { return };
        if key.table == TABLE_MAIN {
            let owner = self.owner(&route);
            self.reach.foreign_change(owner);
            match owner {
                Owner::Foreign => self.others.put(key, route.clone()),
                Owner::Ours => self.others.remove(&key),
            }
            self.tables.routes.saw(now, key, Some(route), owner);
        }
    }

    fn route_gone(&mut self, now: Instant, message: &RouteMessage) {
        let links = &self.links;
        let Some((key, route)) = message::read(message, |index| links.name(index)) else { return };
        if key.table != TABLE_MAIN {
            return;
        }
        let owner = self.owner(&route);
        self.reach.foreign_change(owner);
        if owner == Owner::Foreign {
            self.others.remove(&key);
        }
        let down = |device: &IfName| !self.links.get(device).is_some_and(|link| link.up);
        if owner == Owner::Ours && route.hops().iter().any(|hop| down(&hop.device)) {
            // It went with its device (IPv6), which is nobody's meddling.
            self.tables.routes.lost(&key);
        } else {
            self.tables.routes.saw(now, key, None, owner);
        }
    }

    fn neighbour_is(&mut self, now: Instant, message: &NeighbourMessage) {
        let Some(device) = self.links.known(message.header.ifindex) else { return };
        let Some(seen) = SeenNeighbour::from_message(message, device) else { return };
        match self.judge(&seen) {
            Some((key, neighbour, owner)) => self.tables.neighbours.saw(now, key, Some(neighbour), owner),
            // A learned entry, or one that has just become one: ours is not there.
            None => self.no_neighbour(now, seen.key),
        }
    }

    fn neighbour_gone(&mut self, now: Instant, message: &NeighbourMessage) {
        let Some(device) = self.links.known(message.header.ifindex) else { return };
        let Some(seen) = SeenNeighbour::from_message(message, device) else { return };
        self.no_neighbour(now, seen.key);
    }

    fn no_neighbour(&mut self, now: Instant, key: NeighbourKey) {
        if self.links.get(&key.device).is_some_and(|link| link.up) {
            self.tables.neighbours.saw(now, key, None, Owner::Ours);
        } else {
            self.tables.neighbours.lost(&key);
        }
        self.tables.neighbours.saw(now, key, None, Owner::Foreign);
    }

    /// Whether this is the host's end of a pod.
    pub(super) fn is_workload(&self, device: &IfName) -> bool {
        device.as_str().starts_with(&self.settings.workload_prefix)
    }

    /// The protocol number that a route of ours bears.
    pub(super) fn protocol_of(&self, route: &Route) -> u8 {
        let to_a_pod = |number: &u8| {
            *number != self.settings.protocol
                && !route.hops().is_empty()
                && route.hops().iter().all(|hop| self.is_workload(&hop.device))
        };
        self.settings.workload_protocol.filter(to_a_pod).unwrap_or(self.settings.protocol)
    }

    /// Whose a route is.
    pub(super) fn owner(&self, route: &Route) -> Owner {
        if route.protocol == self.protocol_of(route) { Owner::Ours } else { Owner::Foreign }
    }

    /// Whose a neighbour is; none for one that does not count: learned ones, which may be replaced, and those without our mark
    /// on a pod's device that nobody wants, which are left.
    pub(super) fn judge(&self, seen: &SeenNeighbour) -> Option<(NeighbourKey, Neighbour, Owner)> {
        if !seen.permanent {
            return None;
        }
        let neighbour = Neighbour { mac: seen.mac? };
        let our_device = self.is_workload(&seen.key.device) || self.is_own_tunnel(&seen.key.device);
        let ours = seen.protocol == self.settings.protocol
            || (our_device && self.tables.neighbours.wants(&seen.key));
        let owner = if ours { Owner::Ours } else { Owner::Foreign };
        Some((seen.key, neighbour, owner))
    }

    /// A device has appeared or come up: what waits for it may go on.
    fn retry_device(&mut self, device: &IfName) {
        self.tables.routes.retry(|_, want, why| {
            want.is_some_and(|route| route.uses(device)) || waits_for(why, device) || transient(why)
        });
        self.tables.retry(|object, why| is_on(object, device) || waits_for(why, device));
    }

    fn retry_refused(&mut self) {
        self.tables.routes.retry(|_, _, why| transient(why));
    }

    /// Everything is known anew: whatever was refused may be tried.
    pub(super) fn retry_all(&mut self) {
        self.tables.retry(|_, why| !matches!(why, Refusal::Conflict { .. }));
    }
}

/// Whether the entry is of a bridge's or VXLAN device's own table, and no IP neighbour.
fn of_a_bridge(message: &NeighbourMessage) -> bool {
    message.header.family == AddressFamily::Bridge
}

fn is_on(object: &ObjectKey, device: &IfName) -> bool {
    match object {
        ObjectKey::Tunnel(_) | ObjectKey::Route(_) => false,
        ObjectKey::Setting(key) => key.device == *device,
        ObjectKey::Address(key) => key.device == *device,
        ObjectKey::Forwarding(key) => key.device == *device,
        ObjectKey::Neighbour(key) => key.device == *device,
    }
}

fn waits_for(why: &Refusal, device: &IfName) -> bool {
    matches!(why, Refusal::LinkMissing(missing) | Refusal::LinkDown(missing) if missing == device)
}

/// What a change of links or addresses may mend: an unreachable gateway, a source address that was not there yet.
fn transient(why: &Refusal) -> bool {
    matches!(why, Refusal::Kernel { .. } | Refusal::NoAnswer)
}
