//! For whoever makes one device with all that belongs to it and is done: a socket that is waited at, and lists of changes of
//! which each goes to the kernel in one datagram.
//!
//! [`Client`] carries each change through two tasks and a wake-up for each of them. A pod has some fifteen changes, and when many
//! pods start at once, that is more work than the kernel's own.
//!
//! [`Client`]: crate::netlink::client::Client

use std::fmt;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use crate::netlink::batch::{Failure, Request, Writer};
use crate::netlink::client::Veth;
use crate::netlink::client::links::{lookup, named};
use crate::netlink::error::Error;
use crate::netlink::shape::Shape;
use crate::object::address;
use crate::object::link::{IfName, Link};
use crate::object::neighbour::{self, Neighbour, NeighbourKey};
use crate::object::route::{Route, RouteKey, message};

/// Enough for errors to all changes of a list.
const BUFFER: usize = 256 << 10;

/// A socket in one namespace. Each call waits for the kernel: not for threads that tasks share.
pub struct Hand {
    writer: Writer,
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hand")
    }
}

/// What is to be done to one device, in order.
#[derive(Debug)]
pub struct Changes {
    device: IfName,
    index: u32,
    list: Vec<Change>,
}

struct Change {
    request: Request,
    doing: Box<dyn Fn() -> String + Send>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.doing)())
    }
}

/// Whether the namespace of the calling thread has a device of this name. It asks without the kernel's lock of all links, which
/// the making of other devices holds.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn exists(device: &IfName) -> Result<bool, Error> {
    match if_nametoindex(device.as_str()) {
        Ok(_) => Ok(true),
        Err(Errno::ENODEV | Errno::ENXIO) => Ok(false),
        Err(errno) => {
            Err(Error::Socket { doing: format!("looking for device {device}"), source: errno.into() })
        }
    }
}

impl Hand {
    /// Opens the socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::Socket { doing: "opening a netlink socket".to_owned(), source };
        Ok(Self { writer: Writer::with_buffer(BUFFER).map_err(failed)? })
    }

    /// The link with this name, if there is one.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn link(&mut self, name: &IfName) -> Result<Option<Link>, Error> {
        let found =
            self.writer.get(
                &format!("looking for device {name}"),
                lookup(named(name)),
                |found| match found {
                    RouteNetlinkMessage::NewLink(found) => Link::from_message(&found),
                    _ => None,
                },
            );
        match found {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            found => found,
        }
    }

    /// Makes a pair of devices and returns this end.
    ///
    /// # Errors
    /// When the kernel refuses ([`Error::already_exists`] where a name is taken here or there). If a later step fails, nothing
    /// is left behind.
    pub fn create_veth(&mut self, veth: &Veth<'_>) -> Result<Link, Error> {
        let message = RouteNetlinkMessage::NewLink(veth.message());
        self.perform_all(vec![change(message, NLM_F_CREATE | NLM_F_EXCL, {
            let doing = veth.doing();
            move || doing.clone()
        })])?;
        match self.finish(veth) {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(Error::NoDevice { doing: veth.doing(), device: veth.name }),
            Err(error) => {
                let name = veth.name;
                let removal = RouteNetlinkMessage::DelLink(named(&name));
                self.perform_all(vec![change(removal, 0, move || format!("removing device {name}"))])?;
                Err(error)
            }
        }
    }

    /// The kernel takes no alias with the creation.
    fn finish(&mut self, veth: &Veth<'_>) -> Result<Option<Link>, Error> {
        let mut message = named(&veth.name);
        message.attributes.extend(veth.alias.clone().map(LinkAttribute::IfAlias));
        if veth.up {
            message.header.flags |= LinkFlags::Up;
            message.header.change_mask |= LinkFlags::Up;
        }
        let name = veth.name;
        let changing = move || format!("changing device {name}");
        self.perform_all(vec![change(RouteNetlinkMessage::SetLink(message), 0, changing)])?;
        self.link(&veth.name)
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// The first refusal. What comes after it may be done nevertheless.
    pub fn perform(&mut self, changes: Changes) -> Result<(), Error> {
        self.perform_all(changes.list)
    }

    fn perform_all(&mut self, list: Vec<Change>) -> Result<(), Error> {
        let (requests, doing): (Vec<_>, Vec<_>) =
            list.into_iter().map(|change| (change.request, change.doing)).unzip();
        let about = || doing.first().map(|doing| doing()).unwrap_or_default();
        let results =
            self.writer.perform(requests).map_err(|source| Error::Socket { doing: about(), source })?;
        for (result, doing) in results.into_iter().zip(&doing) {
            match result {
                Ok(()) => {}
                Err(Failure::Refused(refused)) => return Err(Error::Refused { doing: doing(), refused }),
                Err(Failure::NoAnswer) => return Err(Error::Overrun { doing: doing() }),
            }
        }
        Ok(())
    }
}

impl Changes {
    /// Nothing yet, of the device with this name and number.
    pub fn of(device: IfName, index: u32) -> Self {
        Self { device, index, list: Vec::new() }
    }

    /// Sets a device up, this one or another.
    pub fn up(&mut self, device: IfName) {
        let mut message = named(&device);
        message.header.flags |= LinkFlags::Up;
        message.header.change_mask |= LinkFlags::Up;
        self.add(RouteNetlinkMessage::SetLink(message), 0, move || format!("setting device {device} up"));
    }

    /// Limits what leaves by it.
    pub fn shape(&mut self, shape: Shape) {
        let device = self.device;
        let message = RouteNetlinkMessage::NewQueueDiscipline(shape.message(self.index));
        self.add(message, NLM_F_CREATE | NLM_F_REPLACE, move || shape.doing(&device));
    }

    /// Gives it an address, which it has at once: the link is not asked whether another has it.
    pub fn address(&mut self, network: IpNetwork) {
        let device = self.device;
        let message = RouteNetlinkMessage::NewAddress(address::message(self.index, network, true, 0));
        let doing = move || format!("adding address {network} to device {device}");
        self.add(message, NLM_F_CREATE | NLM_F_REPLACE, doing);
    }

    /// Sets a permanent neighbour on it.
    pub fn neighbour(&mut self, key: &NeighbourKey, value: &Neighbour) {
        let (address, mac, device) = (key.address, value.mac, self.device);
        let message = neighbour::message(address, self.index, Some(value), 0);
        let doing = move || format!("setting neighbour {address} dev {device} to {mac}");
        self.add(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, doing);
    }

    /// Adds a route through it; it is refused if there is one with this key.
    ///
    /// # Errors
    /// When the route leads through another device.
    pub fn route(&mut self, key: &RouteKey, route: &Route) -> Result<(), Error> {
        let key = key.normalised();
        let route = route.clone().normalised(&key);
        let message =
            message::write(&key, &route, |device| (*device == self.device).then_some(self.index))
                .map_err(|device| Error::NoDevice { doing: format!("adding route {key} {route}"), device })?;
        let doing = move || format!("adding route {key} {route}");
        self.add(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, doing);
        Ok(())
    }

    fn add(&mut self, message: RouteNetlinkMessage, flags: u16, doing: impl Fn() -> String + Send + 'static) {
        self.list.push(change(message, flags, doing));
    }
}

fn change(message: RouteNetlinkMessage, flags: u16, doing: impl Fn() -> String + Send + 'static) -> Change {
    Change { request: Request { message, flags }, doing: Box::new(doing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_through_another_device_is_refused_before_the_kernel_sees_it() {
        let mut changes = Changes::of(IfName::new("eth0").unwrap(), 7);
        let key = RouteKey::main("0.0.0.0/0".parse().unwrap());
        let other = Route::direct(IfName::new("eth1").unwrap());
        assert!(matches!(changes.route(&key, &other), Err(Error::NoDevice { .. })));
        assert!(changes.list.is_empty());
    }

    #[test]
    fn a_device_is_found_by_its_name_or_not() {
        assert!(exists(&IfName::LOOPBACK).unwrap());
        assert!(!exists(&IfName::new("no-such-device").unwrap()).unwrap());
    }
}
