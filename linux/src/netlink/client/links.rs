//! Links: looking, making, changing, removing.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::namespace::Namespace;
use crate::netlink::client::Client;
use crate::netlink::error::Error;
use crate::object::link::{IfName, Link, Mac};

/// A pair of linked devices to be made: this end here, the other in its place.
#[derive(Debug, Clone)]
pub struct Veth<'a> {
    /// The name of this end.
    pub name: IfName,
    /// Its Ethernet address; the kernel takes one by chance if none is given.
    pub mac: Option<Mac>,
    /// Its MTU in bytes; 1500 if none is given.
    pub mtu: Option<u32>,
    /// Text kept with this end.
    pub alias: Option<String>,
    /// Whether to set this end up.
    pub up: bool,
    /// The other end.
    pub peer: VethEnd<'a>,
}

/// The other end of a [`Veth`]. It is born in its namespace, down, with its name: it is never seen elsewhere.
#[derive(Debug, Clone)]
pub struct VethEnd<'a> {
    /// Its name there.
    pub name: IfName,
    /// Its Ethernet address; the kernel takes one by chance if none is given.
    pub mac: Option<Mac>,
    /// Its MTU in bytes; 1500 if none is given.
    pub mtu: Option<u32>,
    /// Where it is to be.
    pub namespace: &'a Namespace,
}

/// What to change of a link; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct LinkChange<'a> {
    /// Set it up or down.
    pub up: Option<bool>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Text kept with it.
    pub alias: Option<String>,
    /// A new name; the link must be down.
    pub name: Option<IfName>,
    /// Make it a port of this bridge, bond or VRF, or (`Some(None)`) of none.
    pub master: Option<Option<IfName>>,
    /// Move it into this namespace.
    pub namespace: Option<&'a Namespace>,
}

impl Client {
    /// The link with this name, if there is one.
    pub async fn link(&self, name: &IfName) -> Result<Option<Link>, Error> {
        let found = self.look(named(name), || format!("looking for device {name}")).await?;
        Ok(found.as_ref().and_then(Link::from_message))
    }

    /// The link with this number, if there is one.
    pub async fn link_at(&self, index: u32) -> Result<Option<Link>, Error> {
        let mut query = LinkMessage::default();
        query.header.index = index;
        Ok(self
            .look(query, || format!("looking for device {index}"))
            .await?
            .as_ref()
            .and_then(Link::from_message))
    }

    /// The other end of a veth whose other end is in another namespace, as it is there. None if there is no such device, or
    /// its other end is here.
    pub async fn peer(&self, name: &IfName) -> Result<Option<Link>, Error> {
        let doing = || format!("looking for the other end of {name}");
        let Some(here) = self.look(named(name), doing).await? else { return Ok(None) };
        let (mut there, mut namespace) = (None, None);
        for attribute in &here.attributes {
            match attribute {
                LinkAttribute::Link(index) => there = Some(*index),
                LinkAttribute::LinkNetNsId(number) => namespace = Some(*number),
                _ => {}
            }
        }
        let Some((there, namespace)) = there.zip(namespace) else { return Ok(None) };
        let mut query = LinkMessage::default();
        query.header.index = there;
        query.attributes.push(LinkAttribute::IfNetnsId(namespace));
        Ok(self.look(query, doing).await?.as_ref().and_then(Link::from_message))
    }

    async fn look(
        &self,
        query: LinkMessage,
        doing: impl Fn() -> String,
    ) -> Result<Option<LinkMessage>, Error> {
        match self.get(doing, lookup(query)).await {
            Ok(RouteNetlinkMessage::NewLink(message)) => Ok(Some(message)),
            Ok(_) => Ok(None),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let mut query = LinkMessage::default();
        query.header.interface_family = AddressFamily::Unspec;
        query.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.list(
            || "listing devices".to_owned(),
            RouteNetlinkMessage::GetLink(query),
            |message| match message {
                RouteNetlinkMessage::NewLink(message) => Link::from_message(&message),
                _ => None,
            },
        )
        .await
    }

    /// Makes a pair of devices and returns this end. If the last step fails, nothing is left behind.
    pub async fn create_veth(&self, veth: &Veth<'_>) -> Result<Link, Error> {
        let doing = || veth.doing();
        let message = RouteNetlinkMessage::NewLink(veth.message());
        self.change(doing, message, NLM_F_CREATE | NLM_F_EXCL).await?;
        // The kernel takes no alias with the creation.
        let change = LinkChange { up: Some(veth.up), alias: veth.alias.clone(), ..LinkChange::default() };
        let finished = match self.change_link(&veth.name, &change).await {
            Ok(()) => self.link(&veth.name).await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(Error::NoDevice { doing: doing(), device: veth.name }),
            Err(error) => {
                self.delete_link(&veth.name).await?;
                Err(error)
            }
        }
    }

    /// Makes a bridge: an Ethernet switch in software. It is down.
    pub async fn create_bridge(&self, name: &IfName) -> Result<(), Error> {
        let mut message = end(name, None, None).build();
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        let doing = || format!("making the bridge {name}");
        self.change(doing, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Changes a link, all at once.
    pub async fn change_link(&self, name: &IfName, change: &LinkChange<'_>) -> Result<(), Error> {
        let doing = || format!("changing device {name}");
        let mut message = LinkMessageBuilder::<LinkUnspec>::new();
        // The kernel finds the device by its name, unless that is what changes.
        message = match change.name {
            Some(_) => message.index(self.index(&doing, name).await?),
            None => message.name(name.as_str()),
        };
        message = match change.up {
            Some(true) => message.up(),
            Some(false) => message.down(),
            None => message,
        };
        let mut message = message.build();
        let attributes = &mut message.attributes;
        attributes.extend(change.mtu.map(LinkAttribute::Mtu));
        attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(change.alias.clone().map(LinkAttribute::IfAlias));
        attributes.extend(change.name.map(|name| LinkAttribute::IfName(name.to_string())));
        attributes.extend(change.namespace.map(|ns| LinkAttribute::NetNsFd(ns.as_fd().as_raw_fd())));
        if let Some(master) = &change.master {
            let index = match master {
                Some(master) => self.index(&doing, master).await?,
                None => 0,
            };
            message.attributes.push(LinkAttribute::Controller(index));
        }
        match self.change(doing, RouteNetlinkMessage::SetLink(message), 0).await {
            Err(error) if error.errno() == Some(libc::ENODEV) => {
                Err(Error::NoDevice { doing: doing(), device: *name })
            }
            changed => changed,
        }
    }

    /// Removes a link, and with it its other end; false if there was none.
    pub async fn delete_link(&self, name: &IfName) -> Result<bool, Error> {
        let message = RouteNetlinkMessage::DelLink(named(name));
        match self.change(|| format!("removing device {name}"), message, 0).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The number of this device.
    pub(super) async fn index(&self, doing: &impl Fn() -> String, device: &IfName) -> Result<u32, Error> {
        match self.link(device).await? {
            Some(link) => Ok(link.index),
            None => Err(Error::NoDevice { doing: doing(), device: *device }),
        }
    }
}

impl Veth<'_> {
    /// The message that makes both.
    pub(crate) fn message(&self) -> LinkMessage {
        let peer = end(&self.peer.name, self.peer.mac, self.peer.mtu)
            .append_extra_attribute(LinkAttribute::NetNsFd(self.peer.namespace.as_fd().as_raw_fd()))
            .build();
        let mut message = end(&self.name, self.mac, self.mtu).build();
        let data = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), data]));
        message
    }

    /// What making it is called in errors.
    pub fn doing(&self) -> String {
        let (name, peer) = (&self.name, &self.peer);
        format!("making the veth {name} with {} in the namespace {}", peer.name, peer.namespace.name())
    }
}

/// A message about the link with this name.
pub(crate) fn named(name: &IfName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message
}

/// The question about a link, of which nobody wants to know the counters.
pub(crate) fn lookup(mut query: LinkMessage) -> RouteNetlinkMessage {
    query.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(query)
}

fn end(name: &IfName, mac: Option<Mac>, mtu: Option<u32>) -> LinkMessageBuilder<LinkUnspec> {
    let mut builder = LinkMessageBuilder::<LinkUnspec>::new().name(name.as_str());
    if let Some(mac) = mac {
        builder = builder.address(mac.0.to_vec());
    }
    if let Some(mtu) = mtu {
        builder = builder.mtu(mtu);
    }
    builder
}
