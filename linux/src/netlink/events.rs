//! The kernel's announcements: links, addresses, neighbours and routes, all in one socket, so that they come in the order in
//! which things happened.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;

use tracing::debug;

use crate::netlink::filter;
use crate::netlink::socket::Socket;

/// RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE of linux/rtnetlink.h, and the groups
/// RTNLGRP_IPV4_NETCONF and _IPV6_NETCONF.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400 | 1 << 23 | 1 << 24;

/// RTM_NEWNETCONF: a setting of a device under /proc/sys/net has changed.
const SETTINGS: u16 = 80;
/// NETCONFA_IFINDEX.
const DEVICE: u16 = 1;
/// NETCONFA_IFINDEX_ALL: what holds for all devices has changed.
const ALL: i32 = -1;

/// Something that has happened.
pub(crate) enum Event {
    /// An object is there, or gone.
    Object(RouteNetlinkMessage),
    /// A setting of the device with this index has changed; `None`: one of all devices.
    Settings(Option<u32>),
}

/// The socket that listens.
pub(crate) struct Events {
    socket: Socket,
}

/// How a reading of events ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// There are no more for now.
    All,
    /// There may be more.
    Some,
    /// The buffer had overflowed: events are lost, and only a listing tells what is.
    Overrun,
}

impl Events {
    /// Starts listening in the namespace of the calling thread, but not to routes and neighbours that the socket with this port
    /// changes; this many bytes of events may wait.
    pub(crate) fn open(buffer: usize, own: u32) -> io::Result<Self> {
        let socket = Socket::open(GROUPS, buffer)?;
        filter::deaf_to(&socket, own)?;
        Ok(Self { socket })
    }

    /// Reads one datagram of events, if there is one, without waiting.
    pub(crate) fn read(&mut self, mut each: impl FnMut(Event)) -> io::Result<Read> {
        let received = self.socket.receive_raw(Instant::now(), |bytes| {
            if NetlinkBuffer::new_checked(bytes).is_ok_and(|message| message.message_type() == SETTINGS) {
                device(bytes)
                    .into_iter()
                    .for_each(|index| each(Event::Settings((index != ALL.cast_unsigned()).then_some(index))));
                return;
            }
            match NetlinkMessage::deserialize(bytes) {
                Ok(message) => {
                    if let NetlinkPayload::InnerMessage(event) = message.payload {
                        each(Event::Object(event));
                    }
                }
                Err(error) => debug!(%error, "an event was not understood and is skipped"),
            }
        });
        match received {
            Ok(true) => Ok(Read::Some),
            Ok(false) => Ok(Read::All),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Read::Overrun),
            Err(error) => Err(error),
        }
    }
}

/// The device that a change of settings is about: after the header and the family, padded to four bytes, come attributes.
fn device(bytes: &[u8]) -> Option<u32> {
    let attributes = bytes.get(20..)?;
    let found =
        NlasIterator::new(attributes).filter_map(Result::ok).find(|attribute| attribute.kind() == DEVICE)?;
    found.value().get(..4)?.try_into().ok().map(u32::from_ne_bytes)
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
