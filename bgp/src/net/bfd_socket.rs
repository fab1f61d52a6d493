//! The sockets of BFD: where packets are heard, and one to send from for each session (RFC 5881 §4–5, RFC 5883 §3–5).
//!
//! A packet over one hop is sent with a TTL of 255 and taken only with one; which it came with is for
//! [`crate::bfd::Sessions`] to judge. Each session has a source port of its own from 49152 on. Packets are marked as
//! network control (CS6), like those of every routing protocol, so that a full link drops others first.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bfd::packet::{LENGTH, Packet};
use crate::bfd::sessions::TTL;
use crate::bfd::{Arrival, Hops, Place};

/// RFC 5881 §4.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// How many of them are tried.
const ATTEMPTS: usize = 64;
/// DSCP CS6 in the octet of the type of service.
const NETWORK_CONTROL: u32 = 0xc0;
/// A packet with authentication has up to 28 octets more than one without; nobody sends longer ones.
const LONGEST: usize = 128;

/// A socket that BFD needs could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BfdSocketError {
    /// There is nowhere to hear packets.
    #[error(
        "hearing BFD on {address}: {source}: check that no other BFD daemon runs here and that the address is there"
    )]
    Receive {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is nowhere to send from.
    #[error("sending BFD to {remote} from {local}: {source}: give an address and a device of this machine")]
    Send {
        /// To whom.
        remote: IpAddr,
        /// From where.
        local: IpAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Hears the packets of all sessions of a family and kind.
#[derive(Debug)]
pub struct BfdReceiver {
    socket: UdpSocket,
    hops: Hops,
}

impl BfdReceiver {
    /// Hears what comes to `address`, which may be that of every device, on the port for `hops`.
    ///
    /// # Errors
    /// [`BfdSocketError::Receive`].
    pub fn bind(address: IpAddr, hops: Hops) -> Result<BfdReceiver, BfdSocketError> {
        let address = SocketAddr::new(address, hops.port());
        let bind = || -> io::Result<UdpSocket> {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            if address.is_ipv6() {
                // IPv4 has a socket of its own, so that addresses never come in mapped form.
                socket.set_only_v6(true)?;
                setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
            } else {
                setsockopt(&socket, Ipv4RecvTtl, &true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            Ok(socket.into())
        };
        let socket = bind().map_err(|source| BfdSocketError::Receive { address, source })?;
        Ok(BfdReceiver { socket, hops })
    }

    /// The next packet that has come, and its octets at the beginning of `buffer`; `None`: there is none now.
    ///
    /// # Errors
    /// What the system says.
    pub fn receive<'a>(&self, buffer: &'a mut BfdBuffer) -> io::Result<Option<(Arrival, &'a [u8])>> {
        let mut control = nix::cmsg_space!(libc::c_int);
        let octets = &mut buffer.0;
        let mut slices = [IoSliceMut::new(octets)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut ttl = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::Ipv4Ttl(found) | ControlMessageOwned::Ipv6HopLimit(found) = control {
                ttl = u8::try_from(found).ok();
            }
        }
        let address = message.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
            let v6 = |v6: &nix::sys::socket::SockaddrIn6| {
                SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into()
            };
            v4.or_else(|| address.as_sockaddr_in6().map(v6))
        });
        let length = message.bytes;
        let from = Place::from(address.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
        let octets = octets.get(..length).unwrap_or_default();
        Ok(Some((Arrival { from, hops: self.hops, ttl }, octets)))
    }
}

impl AsFd for BfdReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one packet.
#[derive(Debug)]
pub struct BfdBuffer([u8; LONGEST]);

impl Default for BfdBuffer {
    fn default() -> Self {
        BfdBuffer([0; LONGEST])
    }
}

/// How a peer is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdPath {
    /// The peer.
    pub remote: Place,
    /// The own address; the system's choice where there is none.
    pub local: Option<IpAddr>,
    /// The device sent through, whatever the routes say.
    pub device: Option<Arc<str>>,
    /// How far it is.
    pub hops: Hops,
}

/// Sends the packets of one session.
#[derive(Debug)]
pub struct BfdSender {
    socket: UdpSocket,
    to: SocketAddr,
}

impl BfdSender {
    /// A socket with a source port of its own: this one, if it is free.
    ///
    /// # Errors
    /// [`BfdSocketError::Send`].
    pub fn bind(path: &BfdPath, port: Option<u16>) -> Result<BfdSender, BfdSocketError> {
        let Place { address: remote, scope } = path.remote;
        let to = match remote {
            IpAddr::V4(_) => SocketAddr::new(remote, path.hops.port()),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, path.hops.port(), 0, scope).into(),
        };
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let local = path.local.unwrap_or(any);
        let bind = || -> io::Result<UdpSocket> {
            let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
            if to.is_ipv6() {
                socket.set_only_v6(true)?;
                socket.set_unicast_hops_v6(TTL.into())?;
                socket.set_tclass_v6(NETWORK_CONTROL)?;
            } else {
                socket.set_ttl_v4(TTL.into())?;
                socket.set_tos_v4(NETWORK_CONTROL)?;
            }
            // Nothing is heard here; what strangers send is to take no room.
            socket.set_recv_buffer_size(0)?;
            socket.set_nonblocking(true)?;
            if let Some(device) = &path.device {
                socket.bind_device(Some(device.as_bytes()))?;
            }
            bind_source_port(&socket, local, port)?;
            Ok(socket.into())
        };
        let socket = bind().map_err(|source| BfdSocketError::Send { remote, local, source })?;
        Ok(BfdSender { socket, to })
    }

    /// The port its packets come from.
    pub fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok().map(|own| own.port())
    }

    /// Sends a packet, or drops it if it cannot be sent at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, packet: &Packet) -> io::Result<()> {
        let octets: [u8; LENGTH] = packet.encode();
        self.socket.send_to(&octets, self.to).map(drop)
    }
}

fn bind_source_port(socket: &Socket, local: IpAddr, wanted: Option<u16>) -> io::Result<()> {
    let mut result = Ok(());
    let wanted = wanted.filter(|port| SOURCE_PORTS.contains(port));
    for attempt in 0..ATTEMPTS {
        let port = wanted.filter(|_| attempt == 0).unwrap_or_else(|| rand::random_range(SOURCE_PORTS));
        result = socket.bind(&SocketAddr::new(local, port).into());
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => (),
            Ok(()) | Err(_) => break,
        }
    }
    result
}
