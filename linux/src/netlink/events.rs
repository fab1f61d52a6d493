//! The kernel's announcements: links, addresses, neighbours and routes, all in one socket, so that they come in the order in
//! which things happened.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;

use crate::netlink::socket::Socket;

/// RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;

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
    /// Starts listening in the namespace of the calling thread; this many bytes of events may wait.
    pub(crate) fn open(buffer: usize) -> io::Result<Self> {
        Ok(Self { socket: Socket::open(GROUPS, buffer)? })
    }

    /// Reads one datagram of events, if there is one, without waiting. `each` is given a message and the port of the socket
    /// that caused it.
    pub(crate) fn read(&mut self, mut each: impl FnMut(u32, RouteNetlinkMessage)) -> io::Result<Read> {
        let received = self.socket.receive(Instant::now(), |message| {
            let port = message.header.port_number;
            if let NetlinkPayload::InnerMessage(event) = message.payload {
                each(port, event);
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

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
