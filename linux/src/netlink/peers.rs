//! Hears of changes to devices in the namespaces that this one is connected with: the other ends of pods' veths.
//!
//! A socket may listen to all namespaces that have a number in its own (NETLINK_LISTEN_ALL_NSID of netlink(7)), and one gets a
//! number with the first veth that leads there. So one socket serves all pods, and keeps none of their namespaces alive. What
//! it hears is a hint, never a fact: a namespace can be made to say anything. The fact is asked for ([`Client::peer`]).
//!
//! [`Client::peer`]: crate::netlink::client::Client::peer

use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tracing::debug;

use crate::netlink::channel::messages;
use crate::netlink::error::Error;
use crate::object::link::{IfName, Link, Mac};

/// RTMGRP_LINK of linux/rtnetlink.h.
const LINKS: u32 = 1;
/// The longest datagram of events.
const DATAGRAM: usize = 64 << 10;

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerNews {
    /// What devices are said to be.
    Said(Vec<Said>),
    /// Some news was lost.
    Lost,
}

/// A device with its other end in another namespace: a pod's, or this namespace's own end of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The number that its other end has where that is.
    pub other: u32,
    /// Its own name.
    pub name: IfName,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// A listener.
pub struct PeerEvents {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for PeerEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerEvents")
    }
}

impl PeerEvents {
    /// Starts listening, in the namespace of the calling thread and within a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let open = || -> io::Result<TokioSocket> {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_ref().set_listen_all_namespaces(true)?;
            socket.socket_mut().bind(&SocketAddr::new(0, LINKS))?;
            Ok(socket)
        };
        let doing = || "listening to the devices of pods".to_owned();
        let socket = open().map_err(|source| Error::Socket { doing: doing(), source })?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for the next news.
    pub async fn next(&mut self) -> Result<PeerNews, Error> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(PeerNews::Lost),
                Err(source) => {
                    return Err(Error::Socket { doing: "hearing of the devices of pods".to_owned(), source });
                }
            }
            let mut said = Vec::new();
            messages(&self.buffer, &mut |bytes| match NetlinkMessage::deserialize(bytes) {
                Ok(message) => {
                    if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload
                    {
                        said.extend(peer(&link));
                    }
                }
                Err(error) => debug!(%error, "an event was not understood and is skipped"),
            });
            if !said.is_empty() {
                return Ok(PeerNews::Said(said));
            }
        }
    }
}

fn peer(link: &LinkMessage) -> Option<Said> {
    let link = Link::from_message(link).filter(|link| link.peer_elsewhere)?;
    Some(Said { other: link.peer_index?, name: link.name, mac: link.mac? })
}
