//! Making connections.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU8;
use std::os::fd::AsFd;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::protect::{self, ProtectError};
use crate::config::{Password, PeerConfig};
use crate::peer::Loss;

/// The TTL of what is sent where the peer checks it (RFC 5082).
pub(super) const GTSM_TTL: u8 = u8::MAX;

/// What a connection to a peer needs besides the peer's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bound before dialling.
    pub local: Option<IpAddr>,
    /// The TTL, or hop limit, of what is sent.
    pub ttl: Option<u8>,
    /// The peer is at most so many hops away (RFC 5082).
    pub ttl_security: Option<NonZeroU8>,
    /// The device dialled through.
    pub device: Option<Arc<str>>,
    /// What segments are signed with (RFC 2385).
    pub password: Option<Password>,
}

impl Options {
    /// External peers are one hop away unless configured otherwise (RFC 4271 §5.1.3, and common sense).
    pub fn of(config: &PeerConfig) -> Options {
        let near = (!config.is_internal()).then_some(1);
        let ttl = config.ttl_security.map(|_| GTSM_TTL).or(config.multihop).or(near);
        Options {
            local: config.local_address,
            ttl,
            ttl_security: config.ttl_security,
            device: config.device.clone(),
            password: config.password.clone(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network, or the peer, says no.
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    /// A socket could not be made.
    #[error("making a socket: {0}")]
    Socket(#[source] io::Error),
    /// It could not be bound.
    #[error("dialling from {local}: {source}: give an address of this machine")]
    Bind {
        /// The address.
        local: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The device cannot be used.
    #[error("dialling through device {device}: {source}: name a device of this machine")]
    Device {
        /// The device.
        device: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be protected as configured.
    #[error(transparent)]
    Protect(#[from] ProtectError),
}

impl DialError {
    /// What the machine is told.
    pub(super) fn loss(&self) -> Loss {
        let why = |what, error: &io::Error| Loss::Unprepared(what, error.kind());
        match self {
            DialError::Connect(error) => Loss::Failed(error.kind()),
            DialError::Socket(error) => why("no socket could be made", error),
            DialError::Bind { source, .. } => why("the local address cannot be dialled from", source),
            DialError::Device { source, .. } => why("the device cannot be dialled through", source),
            DialError::Protect(ProtectError::Key { source, .. }) => {
                why("the TCP-MD5 key cannot be set", source)
            }
            DialError::Protect(ProtectError::Ttl { source, .. }) => why("TTL security cannot be had", source),
        }
    }
}

/// Dials `remote`. The time limit is the caller's.
pub async fn dial(remote: SocketAddr, options: Options) -> Result<TcpStream, DialError> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))
        .map_err(DialError::Socket)?;
    socket.set_nonblocking(true).map_err(DialError::Socket)?;
    // Everything must be right from the first SYN on.
    set_ttl(&socket, remote.ip(), options.ttl).map_err(DialError::Socket)?;
    if let Some(hops) = options.ttl_security {
        protect::check_ttl(socket.as_fd(), remote.ip(), hops)?;
    }
    if let Some(password) = &options.password {
        protect::sign(socket.as_fd(), (remote.ip(), None), Some(password))?;
    }
    if let Some(device) = options.device {
        socket.bind_device(Some(device.as_bytes())).map_err(|source| DialError::Device { device, source })?;
    }
    if let Some(local) = options.local {
        let from = own_end(local, remote);
        socket.bind(&from.into()).map_err(|source| DialError::Bind { local, source })?;
    }
    let stream =
        TcpSocket::from_std_stream(socket.into()).connect(remote).await.map_err(DialError::Connect)?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(stream)
}

/// An own address as one to dial from: a link-local one is of the peer's link.
fn own_end(local: IpAddr, remote: SocketAddr) -> SocketAddr {
    match (local, remote) {
        (IpAddr::V6(address), SocketAddr::V6(remote)) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, 0, 0, remote.scope_id()).into()
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => SocketAddr::new(local, 0),
    }
}

/// Gives an accepted connection what a dialled one has. Its key it has from the socket that listened; one that was made
/// before that had the key takes nothing any more from a peer that does not know it.
pub fn prepare(stream: &TcpStream, remote: IpAddr, options: &Options) -> Result<(), DialError> {
    stream.set_nodelay(true).map_err(DialError::Socket)?;
    if let Some(hops) = options.ttl_security {
        protect::check_ttl(stream.as_fd(), remote, hops)?;
    }
    if let Some(password) = &options.password {
        rekey(stream, remote, password)?;
    }
    set_ttl(&SockRef::from(stream), remote, options.ttl).map_err(DialError::Socket)
}

/// Goes over to another key on a connection that has one. What is on its way with the old key is lost and sent again.
pub(super) fn rekey(stream: &TcpStream, remote: IpAddr, password: &Password) -> Result<(), ProtectError> {
    protect::sign(stream.as_fd(), (remote, None), Some(password))
}

fn set_ttl(socket: &Socket, remote: IpAddr, ttl: Option<u8>) -> io::Result<()> {
    match (ttl.map(u32::from), remote) {
        (None, _) => Ok(()),
        (Some(ttl), IpAddr::V4(_)) => socket.set_ttl_v4(ttl),
        (Some(ttl), IpAddr::V6(_)) => socket.set_unicast_hops_v6(ttl),
    }
}
