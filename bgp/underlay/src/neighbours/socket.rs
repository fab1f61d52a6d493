//! The socket by which routers of one link find each other: ICMPv6, on one device.
//!
//! The kernel checks and writes checksums, and drops what is no router advertisement or solicitation before it gets here.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use caracal_linux::object::link::{IfName, Mac};
use nix::errno::Errno;
use nix::sys::socket::sockopt::Ipv6RecvHopLimit;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::link::Action;
use super::message::{self, HOP_LIMIT, Message};

/// The nodes of a link (ff02::1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Its routers (ff02::2).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What is read of one message: options of no meaning here may be cut off, which makes it one that is not listened to.
const LONGEST: usize = 2048;
/// Classic BPF: load an octet at a fixed place, compare with a constant, end with so many octets taken.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const TAKE: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// The socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("finding neighbours on device {device}: {source}: {}", hint(source))]
pub struct SocketError {
    /// The device.
    device: IfName,
    /// What the system said.
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "it takes the capability CAP_NET_RAW: give it, or name the peer by `address`"
        }
        _ => "it is tried again in a while",
    }
}

/// Hears and says what routers of a link do.
#[derive(Debug)]
pub(super) struct NeighbourSocket {
    /// Of the kind that can be waited for; which protocol its messages have does not matter to that.
    socket: UdpSocket,
    index: u32,
    mac: Option<Mac>,
}

impl NeighbourSocket {
    /// On the device with this index.
    pub(super) fn open(device: IfName, index: u32, mac: Option<Mac>) -> Result<Self, SocketError> {
        let open = || -> io::Result<UdpSocket> {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.attach_filter(&[
                SockFilter::new(LOAD, 0, 0, 0),
                SockFilter::new(EQUAL, 1, 0, message::SOLICITATION.into()),
                SockFilter::new(EQUAL, 0, 1, message::ADVERTISEMENT.into()),
                SockFilter::new(TAKE, 0, 0, u32::MAX),
                SockFilter::new(TAKE, 0, 0, 0),
            ])?;
            socket.set_nonblocking(true)?;
            socket.bind_device(Some(device.as_str().as_bytes()))?;
            setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
            socket.set_multicast_loop_v6(false)?;
            // A machine that forwards nothing is no router to its own kernel, and would not hear who asks for routers.
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            UdpSocket::from_std(socket.into())
        };
        let socket = open().map_err(|source| SocketError { device, source })?;
        Ok(NeighbourSocket { socket, index, mac })
    }

    /// The device it is on.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Says something to all on the link.
    pub(super) fn say(&self, action: Action) -> io::Result<()> {
        let (to, octets) = match action {
            Action::Advertise => (ALL_NODES, message::advertisement(self.mac)),
            Action::Solicit => (ALL_ROUTERS, message::solicitation(self.mac)),
        };
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        SockRef::from(&self.socket).send_to(&octets, &to.into()).map(drop)
    }

    /// The next message that has to be listened to.
    pub(super) async fn hear(&self) -> io::Result<(Message, Ipv6Addr)> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || receive(&self.socket, self.index)) {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) => (),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Err(error),
            }
        }
    }
}

/// One message, or nothing if it must be dropped.
fn receive(socket: &UdpSocket, index: u32) -> io::Result<Option<(Message, Ipv6Addr)>> {
    let mut octets = [0; LONGEST];
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut slices = [IoSliceMut::new(&mut octets)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let received =
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(received) => received,
            Err(Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    let mut hop_limit = None;
    for control in received.cmsgs()? {
        if let ControlMessageOwned::Ipv6HopLimit(found) = control {
            hop_limit = u8::try_from(found).ok();
        }
    }
    let from = received.address.and_then(|address| address.as_sockaddr_in6().copied());
    let (length, Some(from)) = (received.bytes, from) else { return Ok(None) };
    let (from, scope) = (from.ip(), from.scope_id());
    // Something may have come by another device before the socket was on this one.
    if from.is_unicast_link_local() && scope != index {
        return Ok(None);
    }
    match message::read(octets.get(..length).unwrap_or_default(), from, hop_limit) {
        Ok(message) => Ok(Some((message, from))),
        Err(why) => {
            tracing::debug!(%from, "something was sent that looks like a router's word and is not listened to: {why}");
            Ok(None)
        }
    }
}
