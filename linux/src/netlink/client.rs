//! An async client for single questions and changes, in any namespace: links of pods, addresses, routes inside a pod.
//!
//! It stands on `rtnetlink`, with three rules of its own, each from a fault seen there. Every request asks for an answer (a
//! connection with un-acknowledged requests stops sending after some ten of them). Every wait is bounded, since an answer
//! lost to a full buffer never comes. And an end of the stream without an answer is an error, not a success.
//!
//! Whoever makes a pod's devices does so by [`crate::netlink::hand`]. What must stay as wanted on the host side is
//! [`crate::kernel::Kernel`]'s, not this client's.

mod addresses;
pub(crate) mod links;
mod neighbours;
mod routes;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use futures::{Stream, StreamExt};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::runtime;
use tracing::debug;

use crate::namespace::Namespace;
use crate::netlink::error::{Error, Refused};
use crate::object::link::IfName;

pub use links::{LinkChange, Veth, VethEnd};

/// How long an answer may take. The kernel holds one lock for all links and routes of a host, so that a busy host can be
/// slow; what takes longer than this is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a list is read again when it changed meanwhile.
const DUMP_TRIES: usize = 5;

/// Enough for the answers to everything one client has under way.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A connection to the kernel's network configuration in one namespace. Clones share it.
#[derive(Clone)]
pub struct Client {
    handle: rtnetlink::Handle,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Connects in this namespace, or in that of the calling thread. Must be called within a tokio runtime, which then
    /// carries the connection for as long as the client or a clone of it lives.
    pub fn open(namespace: Option<&Namespace>) -> Result<Self, Error> {
        let failed = |source| Error::Socket { doing: "opening a netlink socket".to_owned(), source };
        let runtime = runtime::Handle::try_current().map_err(|error| failed(io::Error::other(error)))?;
        let socket = match namespace {
            None => open_socket(),
            Some(namespace) => {
                let within = runtime.clone();
                namespace.run(move || {
                    let _entered = within.enter();
                    open_socket()
                })?
            }
        };
        let (mut connection, handle, events) = rtnetlink::from_socket(socket.map_err(failed)?);
        drop(events);
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        runtime.spawn(connection);
        Ok(Self { handle })
    }

    /// Asks for a change and waits until it is made.
    async fn change(
        &self,
        doing: impl Fn() -> String,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Error> {
        let work = async {
            let mut answers =
                self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags).map_err(|_| closed(&doing))?;
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::Error(error) => {
                        return match Refused::from_message(answer.header.flags, &error) {
                            None => Ok(()),
                            Some(refused) => Err(Error::Refused { doing: doing(), refused }),
                        };
                    }
                    NetlinkPayload::Overrun(_) => return Err(Error::Overrun { doing: doing() }),
                    _ => {}
                }
            }
            Err(closed(&doing))
        };
        bounded(&doing, work).await
    }

    /// Asks for one object.
    async fn get(
        &self,
        doing: impl Fn() -> String,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, Error> {
        let work = async {
            let mut answers = self.send(message, NLM_F_REQUEST).map_err(|_| closed(&doing))?;
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(object) => return Ok(object),
                    NetlinkPayload::Error(error) => {
                        if let Some(refused) = Refused::from_message(answer.header.flags, &error) {
                            return Err(Error::Refused { doing: doing(), refused });
                        }
                    }
                    NetlinkPayload::Overrun(_) => return Err(Error::Overrun { doing: doing() }),
                    _ => {}
                }
            }
            Err(closed(&doing))
        };
        bounded(&doing, work).await
    }

    /// Asks for a list, and again if it changed while it was read.
    async fn list<T>(
        &self,
        doing: impl Fn() -> String,
        message: RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for attempt in 1..=DUMP_TRIES {
            match bounded(&doing, self.list_once(&doing, message.clone(), &read)).await? {
                Some(list) => return Ok(list),
                None => debug!(attempt, "{}: the list changed meanwhile", doing()),
            }
        }
        Err(Error::Interrupted { doing: doing() })
    }

    async fn list_once<T>(
        &self,
        doing: &impl Fn() -> String,
        message: RouteNetlinkMessage,
        read: &impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let mut answers = self.send(message, NLM_F_REQUEST | NLM_F_DUMP).map_err(|_| closed(doing))?;
        let (mut list, mut steady) = (Vec::new(), true);
        while let Some(answer) = answers.next().await {
            steady &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(object) => list.extend(read(object)),
                NetlinkPayload::Done(end) if end.code < 0 => {
                    let refused = Refused { errno: end.code.saturating_abs(), text: None };
                    return Err(Error::Refused { doing: doing(), refused });
                }
                NetlinkPayload::Done(_) => return Ok(steady.then_some(list)),
                NetlinkPayload::Error(error) => {
                    if let Some(refused) = Refused::from_message(answer.header.flags, &error) {
                        return Err(Error::Refused { doing: doing(), refused });
                    }
                }
                NetlinkPayload::Overrun(_) => return Err(Error::Overrun { doing: doing() }),
                _ => {}
            }
        }
        Err(closed(doing))
    }

    fn send(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin + use<>, rtnetlink::Error>
    {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        self.handle.clone().request(request)
    }

    /// The numbers of these devices.
    async fn indexes(
        &self,
        doing: &impl Fn() -> String,
        devices: Vec<IfName>,
    ) -> Result<HashMap<IfName, u32>, Error> {
        let mut indexes = HashMap::new();
        for device in devices {
            indexes.insert(device, self.index(doing, &device).await?);
        }
        Ok(indexes)
    }
}

fn open_socket() -> io::Result<TokioSocket> {
    let socket = TokioSocket::new(NETLINK_ROUTE)?;
    let raw = socket.socket_ref();
    raw.set_ext_ack(true)?;
    raw.set_cap_ack(true)?;
    raw.set_netlink_get_strict_chk(true)?;
    // Only a courtesy to big answers: without the right to it, the default size has to do.
    if let Err(error) = setsockopt(raw, sockopt::RcvBufForce, &RECEIVE_BUFFER) {
        debug!(%error, "the netlink client keeps its small receive buffer");
    }
    Ok(socket)
}

fn closed(doing: &impl Fn() -> String) -> Error {
    Error::Socket { doing: doing(), source: io::ErrorKind::NotConnected.into() }
}

async fn bounded<T>(
    doing: &impl Fn() -> String,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut { doing: doing(), waited: PATIENCE }),
    }
}
