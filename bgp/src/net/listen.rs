//! Accepting connections, and handing each to the session of the address it came from.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

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

/// Who wants the connections of which address.
#[derive(Debug, Default)]
pub struct Directory {
    sessions: RwLock<HashMap<IpAddr, mpsc::Sender<TcpStream>>>,
}

impl Directory {
    /// Connections from `address` go there from now on.
    pub fn insert(&self, address: IpAddr, session: mpsc::Sender<TcpStream>) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(address, session);
    }

    /// Connections from `address` are refused from now on.
    pub fn remove(&self, address: IpAddr) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    fn get(&self, address: IpAddr) -> Option<mpsc::Sender<TcpStream>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }
}

/// Sockets that listen; they are closed when this is dropped.
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Listens on every address, or on none. Must be called on a tokio runtime.
    pub fn bind(addresses: &[SocketAddr], directory: &Arc<Directory>) -> Result<Listeners, ListenError> {
        let listen =
            |address: &SocketAddr| bind(*address).map_err(|source| ListenError { address: *address, source });
        let sockets: Vec<TcpListener> = addresses.iter().map(listen).collect::<Result<_, _>>()?;
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let serve = |socket| tokio::spawn(accept(socket, Arc::clone(directory)));
        Ok(Listeners { addresses, tasks: sockets.into_iter().map(serve).collect() })
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

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, so that addresses never come in mapped form.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(socket: TcpListener, directory: Arc<Directory>) {
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
    let Some(session) = directory.get(remote.ip().to_canonical()) else {
        tracing::info!(%remote, "a BGP connection came from an address that is no peer's; it is refused");
        refuse(&stream);
        return;
    };
    // A full queue means that connections come faster than the machine can look at them: the peer comes again.
    if let Err(unwanted) = session.try_send(stream) {
        refuse(&unwanted.into_inner());
    }
}

/// Says why, if it can be said at once. The connection ends when its owner drops it.
fn refuse(stream: &TcpStream) {
    let mut words = BytesMut::new();
    Notification::from(Cause::Cease(Cease::Rejected)).encode(&mut words);
    if let Err(error) = stream.try_write(&words) {
        tracing::debug!(%error, "a refused connection was gone already");
    }
}
