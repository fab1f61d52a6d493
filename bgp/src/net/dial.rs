//! Making connections.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

/// What a connection to a peer needs besides the peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bound before dialling.
    pub local: Option<IpAddr>,
    /// The TTL, or hop limit, of what is sent.
    pub ttl: Option<u8>,
}

/// Dials `remote`. The time limit is the caller's.
pub async fn dial(remote: SocketAddr, options: Options) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // The TTL must be right from the first SYN on.
    set_ttl(&socket, remote.ip(), options.ttl)?;
    if let Some(local) = options.local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    let stream = TcpSocket::from_std_stream(socket.into()).connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Gives an accepted connection what a dialled one has.
pub fn prepare(stream: &TcpStream, remote: IpAddr, options: Options) -> io::Result<()> {
    stream.set_nodelay(true)?;
    set_ttl(&socket2::SockRef::from(stream), remote, options.ttl)
}

fn set_ttl(socket: &Socket, remote: IpAddr, ttl: Option<u8>) -> io::Result<()> {
    match (ttl.map(u32::from), remote) {
        (None, _) => Ok(()),
        (Some(ttl), IpAddr::V4(_)) => socket.set_ttl_v4(ttl),
        (Some(ttl), IpAddr::V6(_)) => socket.set_unicast_hops_v6(ttl),
    }
}
