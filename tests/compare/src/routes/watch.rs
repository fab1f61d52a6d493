//! The kernel's own word on routes: its events, heard on a socket with room for all of them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
};

use crate::generator::family;

/// RTMGRP_IPV4_ROUTE (rtnetlink(7)).
const IPV4_ROUTES: u32 = 0x40;
/// Octets that may wait: some 768 for each event.
const ROOM: usize = 512 << 20;
/// What the kernel says at once.
const PIECE: usize = 64 << 10;
/// Octets of `struct nlmsghdr` and `struct rtmsg`.
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// RTA_DST.
const DESTINATION: u16 = 1;

/// What has become of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It is there, anew or changed (RTM_NEWROUTE).
    New,
    /// It is gone (RTM_DELROUTE).
    Gone,
}

/// A socket that hears of IPv4 routes of this namespace.
pub(super) struct Watch {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Watch {
    /// Begins to listen.
    pub(super) fn open() -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .context("making a netlink socket")?;
        setsockopt(&socket, RcvBufForce, &ROOM).context("making room for the kernel's events")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, IPV4_ROUTES)).context("listening to the kernel")?;
        Ok(Self { socket, buffer: vec![0; PIECE] })
    }

    /// Passes over what has come so far.
    pub(super) fn forget(&mut self) -> anyhow::Result<()> {
        while self.receive()?.is_some() {}
        Ok(())
    }

    /// Waits until this has become of so many routes, counted from the first; when that was.
    pub(super) async fn all(&mut self, event: Event, wanted: u32) -> anyhow::Result<Instant> {
        let mut seen = vec![false; usize::try_from(wanted)?];
        let mut lacking = seen.len();
        while lacking > 0 {
            self.hear(|what, number| {
                let Some(seen) = usize::try_from(number).ok().and_then(|at| seen.get_mut(at)) else { return };
                lacking -= usize::from(what == event && !std::mem::replace(seen, what == event || *seen));
            })
            .await?;
        }
        Ok(Instant::now())
    }

    /// Waits until this has become of one route; when that was.
    pub(super) async fn one(&mut self, event: Event, wanted: u32) -> anyhow::Result<Instant> {
        let mut found = false;
        while !found {
            self.hear(|what, number| found |= (what, number) == (event, wanted)).await?;
        }
        Ok(Instant::now())
    }

    /// Waits for events and tells of all that there are. It looks again and again: its CPU has nothing else to do, and is not to
    /// be late.
    async fn hear(&mut self, mut each: impl FnMut(Event, u32)) -> anyhow::Result<()> {
        let mut any = false;
        while !any {
            tokio::task::yield_now().await;
            while let Some(size) = self.receive()? {
                events(self.buffer.get(..size).unwrap_or_default(), &mut each);
                any = true;
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<Option<usize>> {
        match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(size) => Ok(Some(size)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(Errno::ENOBUFS) => bail!("the kernel's events came faster than they were heard: no figure"),
            Err(errno) => Err(errno).context("hearing the kernel's events"),
        }
    }
}

/// Each route of the load that is told of.
fn events(mut bytes: &[u8], each: &mut impl FnMut(Event, u32)) {
    while let Some((size, kind)) = head(bytes) {
        let Some((message, rest)) = bytes.split_at_checked(size.max(HEADER)) else { return };
        let event = match kind {
            24 => Some(Event::New),
            25 => Some(Event::Gone),
            _ => None,
        };
        let number = message.get(HEADER..).and_then(destination).and_then(family::number_of_v4);
        if let (Some(event), Some(number)) = (event, number) {
            each(event, number);
        }
        bytes = rest.get((size.next_multiple_of(4) - size).min(rest.len())..).unwrap_or_default();
    }
}

/// The length and the type of a message.
fn head(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((usize::try_from(length).ok()?, kind))
}

/// The first three octets of the destination, if it is a /24.
fn destination(body: &[u8]) -> Option<[u8; 3]> {
    let mut attributes = body.get(ROUTE..).filter(|_| body.get(1) == Some(&24))?;
    loop {
        let size = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        if kind == DESTINATION {
            return attributes.get(4..7)?.try_into().ok();
        }
        attributes = attributes.get(size.next_multiple_of(4).max(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as the kernel writes it, with an attribute before the destination.
    fn message(kind: u16, length: u8, to: [u8; 4]) -> Vec<u8> {
        let mut body = vec![2, length, 0, 0, 254, 67, 0, 1, 0, 0, 0, 0];
        body.extend([8_u16, 15].map(u16::to_ne_bytes).concat());
        body.extend(254_u32.to_ne_bytes());
        body.extend([8_u16, DESTINATION].map(u16::to_ne_bytes).concat());
        body.extend(to);
        let size = u32::try_from(HEADER + body.len()).unwrap();
        [size.to_ne_bytes().to_vec(), kind.to_ne_bytes().to_vec(), vec![0; 10], body].concat()
    }

    #[test]
    fn routes_of_the_load_are_told_apart_from_others() {
        let bytes = [
            message(24, 24, [20, 0, 0, 0]),
            message(25, 24, [20, 0, 7, 0]),
            message(24, 16, [20, 0, 0, 0]),
            message(24, 24, [10, 0, 0, 0]),
            message(16, 24, [20, 0, 1, 0]),
        ]
        .concat();
        let mut heard = Vec::new();
        events(&bytes, &mut |event, number| heard.push((event, number)));
        assert_eq!(heard, [(Event::New, 0), (Event::Gone, 7)]);
        for cut in 0..bytes.len() {
            events(&bytes[..cut], &mut |_, _| ());
        }
    }
}
