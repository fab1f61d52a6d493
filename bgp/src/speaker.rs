//! The speaker: sessions, RIB and their one [`Handle`].
//!
//! One OS thread owns the RIB ([`rib_thread`]). Everybody else speaks to it through one bounded queue of
//! [`command::Command`]s: sessions report what peers say and stop reading their sockets while the queue is full, the
//! handle asks questions, update groups ([`group`]) pull what they have to send. The thread answers and never waits
//! for anybody. One task ([`peering`]) owns the configuration and the sessions. The paths to peers are watched by a thread of
//! their own ([`bfd_thread`]).

mod bfd_memory;
pub mod bfd_thread;
pub mod command;
mod deferral;
mod encode;
mod error;
mod event;
mod feed;
mod feeding;
pub mod group;
mod limits;
mod listing;
mod member;
mod memory_file;
mod monitor;
mod origination;
mod peer_memory;
pub mod peering;
mod pull;
mod query;
mod ranges;
pub mod rib_thread;
mod status;
mod tables;
mod terms;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ipnetwork::IpNetwork;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use bfd_thread::BfdStatus;
pub use error::{ConfigureError, ControlError, StartError, Stopped};
pub use event::SpeakerEvent;
pub use feed::{BestChange, BestPath, BestPaths, Feed, FeedBatch};
pub use listing::RouteListing;
pub use monitor::{Monitor, MonitorBatch, MonitorNumber, MonitorRequest, MonitoredPeer, PeerChange};
pub use origination::Origination;
pub use peering::Farewell;
pub use ranges::RangeStatus;
pub use rib_thread::Beginning;
pub use status::{FamilyCounts, PeerCounts, PeerStatus, RouteQuery, RouteStatus};

use crate::config::diff::Step;
use crate::config::{Config, PeerKey};
use crate::rib::Underlay;
use command::Command;
use peering::Order;

/// How many commands wait for the RIB before senders have to.
const QUEUE: usize = 1024;
/// How many events a listener may be behind before it loses the oldest.
const EVENTS: usize = 1024;

/// A running speaker. Clones are the same speaker; it ends with [`Handle::stop`] or with the last of them.
#[derive(Clone, Debug)]
pub struct Handle {
    rib: mpsc::Sender<Command>,
    orders: mpsc::Sender<Order>,
    events: broadcast::Sender<SpeakerEvent>,
}

impl Handle {
    /// Starts a speaker on the present tokio runtime: binds the listeners, starts the RIB's thread, opens the peers.
    pub fn start(config: Config) -> Result<Handle, StartError> {
        Handle::begin(config, Beginning::default())
    }

    /// Starts a speaker that may have run before.
    pub fn begin(config: Config, mut beginning: Beginning) -> Result<Handle, StartError> {
        config.validate()?;
        let config = Arc::new(config);
        let memory = beginning.bfd_memory.take();
        let (rib, commands) = mpsc::channel(QUEUE);
        let (events, _) = broadcast::channel(EVENTS);
        let runtime = tokio::runtime::Handle::current();
        let tables = rib_thread::Start {
            config: Arc::clone(&config),
            beginning,
            own: rib.downgrade(),
            events: events.clone(),
            runtime,
        };
        rib_thread::spawn(tables, commands)?;
        let orders = peering::start(config, rib.clone(), events.clone(), memory)?;
        Ok(Handle { rib, orders, events })
    }

    /// Goes over to another configuration by its difference to the present one; sessions whose own parameters stay the
    /// same stay up. An invalid configuration is refused as a whole and the present one goes on.
    pub async fn configure(&self, config: Config) -> Result<Vec<(PeerKey, Step)>, ConfigureError> {
        config.validate()?;
        self.order(|reply| Order::Configure { config: Box::new(config), reply }).await?
    }

    /// Announces and withdraws own routes, in this order. Returns when the RIB has taken them.
    pub async fn originate(&self, changes: Vec<Origination>) -> Result<(), Stopped> {
        self.ask(|reply| Command::Originate { changes, reply }).await
    }

    /// Everything that is to be announced after the start has been originated: peers may be told End-of-RIB. Only speakers
    /// that announce later ([`Beginning::announces_later`]) have to say so.
    pub async fn announced(&self) -> Result<(), Stopped> {
        self.ask(|reply| Command::Announced { reply }).await
    }

    /// A new follower of the best paths. It starts with everything there is.
    pub async fn feed(&self) -> Result<Feed, Stopped> {
        let id = self.ask(|reply| Command::OpenFeed { reply }).await?;
        Ok(Feed::new(id, self.rib.clone()))
    }

    /// A new monitor of every session and path. It starts with everything there is.
    ///
    /// # Errors
    /// When the speaker has stopped.
    pub async fn monitor(&self) -> Result<Monitor, Stopped> {
        let number = self.ask(|reply| Command::Monitor(MonitorRequest::Open { reply })).await?;
        Ok(Monitor::new(number, self.rib.clone()))
    }

    /// Every configured peer.
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, Stopped> {
        let counts = self.ask(|reply| Command::Counts { reply }).await?;
        self.order(|reply| Order::Peers { counts, reply }).await
    }

    /// Every range of peers.
    ///
    /// # Errors
    /// When the speaker has stopped.
    pub async fn ranges(&self) -> Result<Vec<RangeStatus>, Stopped> {
        self.order(|reply| Order::Ranges { reply }).await
    }

    /// The machine's routes, by which next hops are reached, are these from now on; those that this speaker puts into
    /// its kernel must not be among them. Until this is called every next hop counts as reachable and near.
    pub async fn underlay(&self, underlay: Arc<Underlay>) -> Result<(), Stopped> {
        self.ask(|reply| Command::Underlay { underlay, reply }).await
    }

    /// Every path that the query asks for, rejected ones too, each with where it stands and why: a page at a time, in
    /// the order of their prefixes.
    pub fn list_routes(&self, query: RouteQuery) -> RouteListing {
        RouteListing::new(self.rib.clone(), query)
    }

    /// All pages of [`Handle::list_routes`] at once, for queries that are known to be about few prefixes.
    pub async fn routes(&self, query: RouteQuery) -> Result<Vec<RouteStatus>, Stopped> {
        let mut listing = self.list_routes(query);
        let mut routes = Vec::new();
        while let Some(page) = listing.next().await? {
            routes.extend(page);
        }
        Ok(routes)
    }

    /// Every path to any of these prefixes, rejected ones too.
    ///
    /// # Errors
    /// When the speaker has stopped.
    pub async fn routes_to(&self, prefixes: Vec<IpNetwork>) -> Result<Vec<RouteStatus>, Stopped> {
        self.ask(|reply| Command::Routes { prefixes, peer: None, reply }).await
    }

    /// Ends the session of a peer, with words for its operator (RFC 9003); it comes back by itself.
    pub async fn reset(&self, key: &PeerKey, words: Option<&str>) -> Result<(), ControlError> {
        let words = words.map(Arc::from);
        self.order(|reply| Order::Reset { key: *key, words, reply }).await?
    }

    /// Ends the session of a peer, with words for its operator (RFC 9003); it stays down until [`Handle::restore`], or
    /// until this speaker ends.
    pub async fn halt(&self, key: &PeerKey, words: Option<&str>) -> Result<(), ControlError> {
        let words = words.map(Arc::from);
        self.order(|reply| Order::Halt { key: *key, words, reply }).await?
    }

    /// Lets the session of a peer come up again that was halted, or ended by a limit.
    pub async fn restore(&self, key: &PeerKey) -> Result<(), ControlError> {
        self.order(|reply| Order::Restore { key: *key, reply }).await?
    }

    /// Asks a peer to send everything again (RFC 2918).
    pub async fn refresh(&self, key: &PeerKey) -> Result<(), ControlError> {
        self.order(|reply| Order::Refresh { key: *key, reply }).await?
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<SpeakerEvent> {
        self.events.subscribe()
    }

    /// This process is about to end and another to take its place: those whose path is watched by BFD, and who keep routes over a
    /// restart, are asked to take no silence for a failure for as long. Returns when they have understood, or after 2 s.
    /// Only with [`Beginning::bfd_memory`] the next process can go on.
    pub async fn restarting(&self) {
        if self.order(|reply| Order::Restarting { reply }).await.is_err() {
            tracing::debug!("a speaker that had already stopped is told of a restart");
        }
    }

    /// Ends every session and the speaker. Returns when the sessions are closed.
    pub async fn stop(&self, farewell: Farewell) {
        if self.order(|reply| Order::Stop { farewell, reply }).await.is_err() {
            tracing::debug!("asked to stop a speaker that had already stopped");
        }
        if self.rib.send(Command::Stop).await.is_err() {
            tracing::debug!("the RIB had already stopped");
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.rib.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
