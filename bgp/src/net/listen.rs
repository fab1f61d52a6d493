//! Accepting connections, and handing each to the session of the address it came from.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use ipnetwork::IpNetwork;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::dial::GTSM_TTL;
use super::protect::{self, Keys, ProtectError, Whom};
use crate::config::Password;
use crate::wire::notification::{Cause, Cease, Notification};

/// How many connections the system keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// The pause after accepting failed, as it does when descriptors run out.
const PAUSE: Duration = Duration::from_millis(200);

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "listening for BGP on {address}: {source}: check that nothing else uses the port and that it is allowed"
)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A connection from a range of peers, of whom none is at its address yet.
#[derive(Debug)]
pub struct Newcomer {
    /// Where it comes from.
    pub address: IpAddr,
    /// The connection.
    pub stream: TcpStream,
}

/// Who looks at newcomers, and from where.
#[derive(Debug)]
struct Ranges {
    networks: Vec<IpNetwork>,
    door: mpsc::Sender<Newcomer>,
}

/// Where a connection comes from: an address, and for a link-local one the index of its device (zero for others).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(IpAddr, u32);

impl From<SocketAddr> for Place {
    fn from(end: SocketAddr) -> Self {
        let scope = match end {
            SocketAddr::V6(end) if end.ip().is_unicast_link_local() => end.scope_id(),
            SocketAddr::V4(_) | SocketAddr::V6(_) => 0,
        };
        Place(end.ip().to_canonical(), scope)
    }
}

impl From<IpAddr> for Place {
    fn from(address: IpAddr) -> Self {
        Place(address, 0)
    }
}

/// Who wants the connections of which address.
#[derive(Debug, Default)]
pub struct Directory {
    ranges: RwLock<Option<Ranges>>,
    sessions: RwLock<HashMap<Place, mpsc::Sender<TcpStream>>>,
}

impl Directory {
    /// Connections from there go to this session from now on.
    pub fn insert(&self, from: impl Into<Place>, session: mpsc::Sender<TcpStream>) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(from.into(), session);
    }

    /// Connections from there are refused from now on.
    pub fn remove(&self, from: impl Into<Place>) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&from.into());
    }

    /// Newcomers from these networks go through this door from now on, all others are refused.
    pub fn admit(&self, networks: Vec<IpNetwork>, door: mpsc::Sender<Newcomer>) {
        *self.ranges.write().unwrap_or_else(PoisonError::into_inner) = Some(Ranges { networks, door });
    }

    /// The door for newcomers from this address. What is of one link has no range.
    fn door(&self, address: IpAddr) -> Option<mpsc::Sender<Newcomer>> {
        let of_link = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let ranges = ranges.as_ref().filter(|_| !of_link)?;
        let known = ranges.networks.iter().any(|network| network.contains(address));
        known.then(|| ranges.door.clone())
    }

    fn get(&self, from: Place) -> Option<mpsc::Sender<TcpStream>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&from).cloned()
    }
}

/// Sockets that listen; they are closed when this is dropped.
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<SocketAddr>,
    sockets: Vec<Arc<TcpListener>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Listens on every address, or on none; those that `keys` are for are held to theirs from the first SYN on. A key
    /// that cannot be set is the business of [`Listeners::set_key`]: without it the peer is not to be let in.
    ///
    /// Must be called on a tokio runtime.
    pub fn bind(
        addresses: &[SocketAddr],
        directory: &Arc<Directory>,
        keys: &Keys,
    ) -> Result<Listeners, ListenError> {
        let listen = |address: &SocketAddr| {
            let socket = bind(*address, keys).map_err(|source| ListenError { address: *address, source })?;
            Ok(Arc::new(socket))
        };
        let sockets: Vec<Arc<TcpListener>> = addresses.iter().map(listen).collect::<Result<_, _>>()?;
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let serve =
            |socket: &Arc<TcpListener>| tokio::spawn(accept(Arc::clone(socket), Arc::clone(directory)));
        let tasks = sockets.iter().map(serve).collect();
        Ok(Listeners { addresses, sockets, tasks })
    }

    /// Holds a peer to this key from now on, or with `None` to none.
    pub fn set_key(&self, whom: Whom, key: Option<&Password>) -> Result<(), ProtectError> {
        for (socket, address) in self.sockets.iter().zip(&self.addresses) {
            if address.is_ipv4() == whom.0.is_ipv4() {
                protect::sign(socket.as_fd(), whom, key)?;
            }
        }
        Ok(())
    }

    /// Where connections are accepted, ports that the system chose included.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn bind(address: SocketAddr, keys: &Keys) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    for (whom, key) in keys.iter().filter(|(whom, _)| whom.0.is_ipv4() == address.is_ipv4()) {
        if let Err(error) = protect::sign(socket.as_fd(), *whom, Some(key)) {
            tracing::debug!(%address, %error, "a key could not be set before listening");
        }
    }
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A peer that checks TTLs (RFC 5082) must be able to take the SYN-ACK, which no connection's own options reach.
    if address.is_ipv6() {
        // IPv4 has a socket of its own, so that addresses never come in mapped form.
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(GTSM_TTL.into())?;
    } else {
        socket.set_ttl_v4(GTSM_TTL.into())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn accept(socket: Arc<TcpListener>, directory: Arc<Directory>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => dispatch(stream, remote, &directory),
            Err(error) => {
                tracing::warn!(%error, "accepting a BGP connection failed; going on in {PAUSE:?}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn dispatch(stream: TcpStream, remote: SocketAddr, directory: &Directory) {
    let Some(session) = directory.get(remote.into()) else {
        meet(stream, remote, directory);
        return;
    };
    // A full queue means that connections come faster than the machine can look at them: the peer comes again.
    if let Err(unwanted) = session.try_send(stream) {
        refuse(&unwanted.into_inner());
    }
}

/// Nobody has this address.
fn meet(stream: TcpStream, remote: SocketAddr, directory: &Directory) {
    let address = remote.ip().to_canonical();
    let Some(door) = directory.door(address) else {
        tracing::info!(%remote, "a BGP connection came from an address that is no peer's; it is refused");
        refuse(&stream);
        return;
    };
    if let Err(unwanted) = door.try_send(Newcomer { address, stream }) {
        tracing::debug!(%remote, "newcomers come faster than they can be looked at: one is refused, and may come again");
        refuse(&unwanted.into_inner().stream);
    }
}

/// Says why, if it can be said at once. The connection ends when its owner drops it.
pub fn refuse(stream: &TcpStream) {
    let mut words = BytesMut::new();
    Notification::from(Cause::Cease(Cease::Rejected)).encode(&mut words);
    if let Err(error) = stream.try_write(&words) {
        tracing::debug!(%error, "a refused connection was gone already");
    }
}
