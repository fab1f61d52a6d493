//! The kernel thread's own rtnetlink socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use tracing::debug;

use crate::netlink::channel::Channel;

/// A bound, blocking socket of rtnetlink.
pub(crate) struct Socket {
    channel: Channel,
}

impl Socket {
    /// Opens a socket in the namespace of the calling thread that hears these multicast groups (a mask), with buffers of this
    /// many bytes if the kernel grants them.
    pub(crate) fn open(groups: u32, buffer: usize) -> io::Result<Self> {
        Ok(Self { channel: Channel::open(NETLINK_ROUTE, groups, buffer)? })
    }

    /// The kernel's name for this socket: what it does is announced under it.
    pub(crate) fn port(&self) -> u32 {
        self.channel.port()
    }

    /// Whether the big buffers were granted; if not, batches must be smaller.
    pub(crate) fn roomy(&self) -> bool {
        self.channel.roomy()
    }

    /// Sends one datagram to the kernel.
    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.channel.send(datagram)
    }

    /// Takes one datagram and gives its messages to `each`; false if none came until then.
    pub(crate) fn receive(
        &mut self,
        until: Instant,
        mut each: impl FnMut(NetlinkMessage<RouteNetlinkMessage>),
    ) -> io::Result<bool> {
        self.channel.receive(until, |bytes| match NetlinkMessage::deserialize(bytes) {
            Ok(message) => each(message),
            Err(error) => debug!(%error, "a netlink message was not understood and is skipped"),
        })
    }

    /// The same with the messages as they came.
    pub(crate) fn receive_raw(&mut self, until: Instant, each: impl FnMut(&[u8])) -> io::Result<bool> {
        self.channel.receive(until, each)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
