//! The task that owns the configuration, the listeners and the sessions.
//!
//! It does what a person asks for and nothing in a hurry: timers, dialling and reading are the sessions' own. A new
//! configuration is carried out by its difference to the present one, in an order that leaves no gap: what cannot be
//! had (a listener) is tried first, so that a refusal changes nothing; peers that are gone say goodbye; the RIB learns
//! of the new policies; only then new peers are opened.

mod dynamic;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use ipnetwork::IpNetwork;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::bfd_thread::{Bfd, Follow};
use super::command::Command;
use super::error::{ConfigureError, ControlError, StartError, Stopped};
use super::event::{SpeakerEvent, announce_sessions};
use super::ranges::{RangeStatus, Refusals};
use super::status::{PeerCounts, PeerStatus};
use crate::config::diff::{Step, diff};
use crate::config::{Config, PeerConfig, PeerKey, PeerOrigin};
use crate::net::{Directory, Keys, ListenError, Listeners, Newcomer, RefreshError, SessionHandle, session};
use crate::peer::{SessionState, Stop};
use crate::wire::notification::Cease;

/// How many orders wait.
const QUEUE: usize = 64;
/// How many connections from ranges of peers wait to be looked at.
const NEWCOMERS: usize = 64;

/// How sessions are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// With a NOTIFICATION Cease (RFC 4486): peers drop the routes at once.
    Cease(Cease),
    /// By closing the connection without a word, as a crash would.
    Silent,
}

impl From<Farewell> for Stop {
    fn from(farewell: Farewell) -> Self {
        match farewell {
            Farewell::Cease(cease) => Stop::Cease(cease),
            Farewell::Silent => Stop::Silent,
        }
    }
}

/// What the task is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Go over to another configuration.
    Configure {
        /// Which; validated.
        config: Box<Config>,
        /// What was done.
        reply: oneshot::Sender<Result<Vec<(PeerKey, Step)>, ConfigureError>>,
    },
    /// Tell of the peers.
    Peers {
        /// What the RIB knows of them.
        counts: BTreeMap<PeerKey, PeerCounts>,
        /// The answer.
        reply: oneshot::Sender<Vec<PeerStatus>>,
    },
    /// Tell of the ranges of peers.
    Ranges {
        /// The answer.
        reply: oneshot::Sender<Vec<RangeStatus>>,
    },
    /// End a session; it comes back by itself.
    Reset {
        /// Whose.
        key: PeerKey,
        /// For the operator of the peer (RFC 9003).
        words: Option<Arc<str>>,
        /// The answer.
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
    /// End a session for good.
    Halt {
        /// Whose.
        key: PeerKey,
        /// For the operator of the peer (RFC 9003).
        words: Option<Arc<str>>,
        /// The answer.
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
    /// Let a session come up again that was ended for good, or by a limit.
    Restore {
        /// Whose.
        key: PeerKey,
        /// The answer.
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
    /// Send a ROUTE-REFRESH.
    Refresh {
        /// To whom.
        key: PeerKey,
        /// The answer.
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
    /// Have peers wait for another process.
    Restarting {
        /// Told when they know.
        reply: oneshot::Sender<()>,
    },
    /// End everything.
    Stop {
        /// How.
        farewell: Farewell,
        /// Told when the sessions are closed.
        reply: oneshot::Sender<()>,
    },
}

/// Starts the task. It ends with [`Order::Stop`] or when the last handle is gone.
pub(super) fn start(
    config: Arc<Config>,
    rib: mpsc::Sender<Command>,
    events: broadcast::Sender<SpeakerEvent>,
    bfd_memory: Option<PathBuf>,
) -> Result<mpsc::Sender<Order>, StartError> {
    let (orders, receiver) = mpsc::channel(QUEUE);
    let (door, newcomers) = mpsc::channel(NEWCOMERS);
    let (vacancies, leaving) = mpsc::channel(QUEUE);
    let mut peering = Peering {
        rib,
        events,
        directory: Arc::default(),
        listeners: BTreeMap::new(),
        sessions: BTreeMap::new(),
        deaf: BTreeMap::new(),
        deaf_ranges: BTreeMap::new(),
        refusals: Refusals::default(),
        door,
        vacancies,
        bfd: Bfd::new(bfd_memory),
        config: Arc::clone(&config),
    };
    peering.listeners = peering.listen(&config)?;
    for (key, peer) in &config.peers {
        peering.open(*key, peer);
    }
    peering.admit_ranges();
    tokio::spawn(peering.run(receiver, newcomers, leaving));
    Ok(orders)
}

struct Peering {
    /// What is in force, with the peers of ranges that are there.
    config: Arc<Config>,
    rib: mpsc::Sender<Command>,
    events: broadcast::Sender<SpeakerEvent>,
    directory: Arc<Directory>,
    listeners: BTreeMap<SocketAddr, Listeners>,
    sessions: BTreeMap<PeerKey, SessionHandle>,
    /// Peers that are not let in, because their password could not be asked for, and why.
    deaf: BTreeMap<PeerKey, String>,
    /// Ranges from which nobody is let in, for the same reason.
    deaf_ranges: BTreeMap<IpNetwork, String>,
    refusals: Refusals,
    /// Where connections from ranges go.
    door: mpsc::Sender<Newcomer>,
    /// Where sessions of ranges tell that nothing is left of them.
    vacancies: mpsc::Sender<PeerKey>,
    bfd: Bfd,
}

impl Peering {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut newcomers: mpsc::Receiver<Newcomer>,
        mut leaving: mpsc::Receiver<PeerKey>,
    ) {
        self.watch_paths().await;
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                Some(newcomer) = newcomers.recv() => {
                    self.welcome(newcomer).await;
                    continue;
                }
                Some(key) = leaving.recv() => {
                    self.leave(key).await;
                    continue;
                }
            };
            let Some(order) = order else { break };
            match order {
                Order::Configure { config, reply } => {
                    let steps = self.configure(*config).await;
                    self.watch_paths().await;
                    answer(reply, steps);
                }
                Order::Peers { counts, reply } => {
                    let peers = self.peers(&counts).await;
                    answer(reply, peers);
                }
                Order::Ranges { reply } => answer(reply, self.ranges()),
                Order::Reset { key, words, reply } => {
                    let session = self.session(key);
                    if let Ok(session) = &session {
                        session.reset(words).await;
                    }
                    answer(reply, session.map(drop));
                }
                Order::Halt { key, words, reply } => {
                    let session = self.session(key);
                    if let Ok(session) = &session {
                        session.halt(words).await;
                    }
                    answer(reply, session.map(drop));
                }
                Order::Restore { key, reply } => {
                    let session = self.session(key);
                    if let Ok(session) = &session {
                        session.start().await;
                    }
                    answer(reply, session.map(drop));
                }
                Order::Refresh { key, reply } => {
                    let done = self.refresh(key).await;
                    answer(reply, done);
                }
                Order::Restarting { reply } => {
                    let time = |(key, peer): (&PeerKey, &PeerConfig)| {
                        Some((*key, peer.session.graceful_restart.as_ref()?.time))
                    };
                    let times = self.config.peers.iter().filter_map(time).collect();
                    self.bfd.leave(times).await;
                    answer(reply, ());
                }
                Order::Stop { farewell, reply } => {
                    self.stop(farewell.into()).await;
                    answer(reply, ());
                    return;
                }
            }
        }
        self.stop(Stop::Silent).await;
    }

    async fn stop(&mut self, how: Stop) {
        self.listeners.clear();
        join_all(std::mem::take(&mut self.sessions).into_values().map(|session| session.stop(how.clone())))
            .await;
        self.bfd.stop(how != Stop::Silent).await;
    }

    /// Has BFD watch the paths that are to be watched, and sessions follow it.
    async fn watch_paths(&mut self) {
        let keys: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for key in keys {
            self.watch_path(key).await;
        }
    }

    async fn watch_path(&mut self, key: PeerKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        match self.bfd.configure(&self.config, key, self.config.peers.get(&key)).await {
            Follow::Same => (),
            Follow::Now(reports) => session.follow_bfd(reports).await,
        }
    }

    /// Listens on the addresses that are not listened on yet.
    fn listen(&self, config: &Config) -> Result<BTreeMap<SocketAddr, Listeners>, ListenError> {
        let keys = keys(config);
        let new = config.listen.iter().filter(|address| !self.listeners.contains_key(address));
        new.map(|address| Ok((*address, Listeners::bind(&[*address], &self.directory, &keys)?))).collect()
    }

    /// Holds a peer to its password. Where that cannot be had it is not let in; it can still be dialled. A peer of a range
    /// is held to the range's. Nor is one let in that cannot be reached: nobody has its address.
    fn admit(&mut self, key: PeerKey, peer: &PeerConfig, session: mpsc::Sender<TcpStream>) {
        if let PeerOrigin::Range(_) = peer.origin {
            return self.directory.insert(peer.remote, session);
        }
        let password = peer.password.as_ref();
        self.deaf.remove(&key);
        if peer.waits.is_some() {
            return self.directory.remove(peer.remote);
        }
        let whom = (peer.remote.ip(), None);
        let refused = self.listeners.values().find_map(|one| one.set_key(whom, password).err());
        match refused {
            // Without a password of its own there is nobody to be kept out.
            Some(error) if password.is_some() => {
                tracing::error!(peer = %key, %error, "the peer is not let in");
                self.directory.remove(peer.remote);
                self.deaf.insert(key, error.to_string());
            }
            Some(_) | None => self.directory.insert(peer.remote, session),
        }
    }

    fn open(&mut self, key: PeerKey, peer: &PeerConfig) {
        let config = Arc::new(peer.clone());
        let session = session::spawn(key, config, self.config.router_id, self.rib.clone());
        tokio::spawn(announce_sessions(key, session.watch(), self.events.clone()));
        self.admit(key, peer, session.incoming());
        self.sessions.insert(key, session);
    }

    async fn configure(&mut self, config: Config) -> Result<Vec<(PeerKey, Step)>, ConfigureError> {
        let listeners = self.listen(&config)?;
        let config = Arc::new(self.with_living(config));
        let steps = diff(&self.config, &config);
        self.listeners.extend(listeners);
        self.listeners.retain(|address, _| config.listen.contains(address));
        self.close_those_gone(&config).await;
        let (reply, done) = oneshot::channel();
        let command = Command::Configure { config: Arc::clone(&config), reply };
        self.rib.send(command).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)?;
        let old = std::mem::replace(&mut self.config, config);
        // All that moved first: one may be where another was.
        for (key, before) in &old.peers {
            if self.config.peers.get(key).is_some_and(|peer| peer.remote != before.remote) {
                self.directory.remove(before.remote);
            }
        }
        for (key, peer) in &Arc::clone(&self.config).peers {
            let Some(session) = self.sessions.get(key) else {
                self.open(*key, peer);
                continue;
            };
            // What the machine does not need a new session for it takes up on the running one.
            if old.peers.get(key) != Some(peer) || old.router_id != self.config.router_id {
                let incoming = session.incoming();
                self.admit(*key, peer, incoming);
                let Some(session) = self.sessions.get(key) else { continue };
                session.configure(Arc::new(peer.clone()), self.config.router_id).await;
            }
        }
        self.admit_ranges();
        Ok(steps)
    }

    async fn close_those_gone(&mut self, config: &Config) {
        let gone: Vec<PeerKey> =
            self.sessions.keys().filter(|key| !config.peers.contains_key(key)).copied().collect();
        let mut farewells = Vec::new();
        for key in gone {
            if let Some(peer) = self.config.peers.get(&key) {
                self.directory.remove(peer.remote);
            }
            self.deaf.remove(&key);
            if let Follow::Now(Some(_)) = self.bfd.configure(config, key, None).await {
                tracing::debug!(peer = %key, "the path to a peer that is gone is still watched");
            }
            farewells
                .extend(self.sessions.remove(&key).map(|one| one.stop(Stop::Cease(Cease::Deconfigured))));
        }
        join_all(farewells).await;
        let forget = |whom| self.listeners.values().find_map(|one| one.set_key(whom, None).err());
        for error in
            keys(&self.config).into_keys().filter(|whom| !keys(config).contains_key(whom)).filter_map(forget)
        {
            tracing::warn!(%error, "the password of a peer that is gone stays in force");
        }
    }

    fn session(&self, key: PeerKey) -> Result<&SessionHandle, ControlError> {
        self.sessions.get(&key).ok_or(ControlError::UnknownPeer(key))
    }

    async fn refresh(&self, key: PeerKey) -> Result<(), ControlError> {
        self.session(key)?.refresh().await.map_err(|error| match error {
            RefreshError::NotEstablished => ControlError::NotEstablished(key),
            RefreshError::NotSupported => ControlError::RefreshNotSupported(key),
        })
    }

    async fn peers(&mut self, counts: &BTreeMap<PeerKey, PeerCounts>) -> Vec<PeerStatus> {
        let mut paths = self.bfd.status().await;
        let status = |(key, session): (&PeerKey, &SessionHandle)| {
            let config = self.config.peers.get(key)?;
            let counts = counts.get(key).copied().unwrap_or_default();
            let mut status = PeerStatus::new(*key, config, session, counts);
            status.bfd = paths.remove(key);
            let established = session.status().state == SessionState::Established;
            let waits = config.waits.as_deref();
            if let Some(why) = waits.or(self.deaf.get(key).map(String::as_str)).filter(|_| !established) {
                status.last_error = Some(why.to_owned());
            }
            Some(status)
        };
        self.sessions.iter().filter_map(status).collect()
    }
}

/// The keys that listening sockets need.
fn keys(config: &Config) -> Keys {
    let named = config.peers.values().filter(|peer| !matches!(peer.origin, PeerOrigin::Range(_)));
    let known = named.filter(|peer| peer.waits.is_none());
    let of_peers = known.filter_map(|peer| Some(((peer.remote.ip(), None), peer.password.clone()?)));
    let of_ranges = config.ranges.iter().filter_map(|(prefix, range)| {
        Some(((prefix.network(), Some(prefix.prefix())), range.terms.password.clone()?))
    });
    of_peers.chain(of_ranges).collect()
}

/// Answers; that the asker has gone in the meantime is its own affair.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("an order was given up before its answer");
    }
}
