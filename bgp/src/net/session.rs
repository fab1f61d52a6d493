//! The session task of one peer: it drives the pure machine, reads, dials, and reports to the RIB.
//!
//! Everything the task waits for is one `wait::Happening`; each becomes an event of the machine, whose actions are
//! carried out at once. While reports wait for room in the RIB's queue the established connection is not read; the
//! machine's timers go on all the same.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::report::{BfdReport, Report, Signal};
use super::statistics::Statistics;
use crate::config::{PeerConfig, PeerKey, RouterId};
use crate::peer::{Actions, Event, Negotiated, Peer, Reason, SessionState, Stop};

mod carry_out;
mod connection;
mod read;
mod wait;

use connection::Connection;
use wait::{Dialing, Happening};

/// Orders waiting for the task.
const ORDERS: usize = 16;
/// Accepted connections waiting for the task.
const INCOMING: usize = 4;
/// The time writers have for their last words when a session is stopped.
const PARTING: Duration = Duration::from_secs(2);

/// How a session stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionStatus {
    /// The state of RFC 4271 §8.2.2.
    pub state: SessionState,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// The terms, while established.
    pub negotiated: Option<Arc<Negotiated>>,
    /// Why the last session, or attempt at one, ended.
    pub last_error: Option<Reason>,
    /// When and why the last session that was established ended: attempts since then do not hide it.
    pub last_down: Option<(SystemTime, Reason)>,
    /// It is kept down by an operator or by a limit until [`SessionHandle::start`].
    pub halted: bool,
    /// It is one of a range, and has nothing here any more: see [`SessionHandle::retire`].
    pub vacant: bool,
    /// How many times the state has changed to or from Established.
    pub transitions: u64,
}

/// Why a peer could not be asked for its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// There is no session.
    #[error("asking the peer for its routes again: the session is not established")]
    NotEstablished,
    /// The peer does not know how.
    #[error(
        "asking the peer for its routes again: it does not offer route refresh (RFC 2918): reset the session"
    )]
    NotSupported,
}

#[derive(Debug)]
enum Order {
    Configure(Arc<PeerConfig>, RouterId),
    Reset(Option<Arc<str>>),
    Halt(Option<Arc<str>>),
    Start,
    Refresh(oneshot::Sender<Result<(), RefreshError>>),
    Bfd(Option<watch::Receiver<BfdReport>>),
    Retire(oneshot::Sender<bool>),
    Stop(Stop),
}

/// The way to a session's task. The session ends with [`SessionHandle::stop`]; dropping the handle ends it without a
/// word.
#[derive(Debug)]
pub struct SessionHandle {
    orders: mpsc::Sender<Order>,
    incoming: mpsc::Sender<TcpStream>,
    status: watch::Receiver<SessionStatus>,
    statistics: Arc<Statistics>,
    task: JoinHandle<()>,
}

/// Starts the session of a peer: it dials (unless passive) and accepts at once. Reports go to `to_rib`; the task ends
/// if that is closed.
pub fn spawn<C>(
    key: PeerKey,
    config: Arc<PeerConfig>,
    router_id: RouterId,
    to_rib: mpsc::Sender<C>,
) -> SessionHandle
where
    C: From<Report> + Send + 'static,
{
    let (orders, to_do) = mpsc::channel(ORDERS);
    let (incoming, accepted) = mpsc::channel(INCOMING);
    let statistics = Arc::new(Statistics::default());
    let (report, status) = watch::channel(SessionStatus {
        state: SessionState::Idle,
        since: SystemTime::now(),
        negotiated: None,
        last_error: None,
        last_down: None,
        halted: false,
        vacant: false,
        transitions: 0,
    });
    let session = Session {
        key,
        peer: Peer::new(Arc::clone(&config), router_id, rand::random()),
        config,
        router_id,
        dialing: None,
        newcomer: None,
        active: None,
        passive: None,
        signals: None,
        bfd: None,
        path_downs: None,
        held_path: None,
        read_before_time: false,
        outbox: VecDeque::new(),
        to_rib,
        status: report,
        statistics: Arc::clone(&statistics),
        partings: Vec::new(),
    };
    let task = tokio::spawn(session.run(to_do, accepted));
    SessionHandle { orders, incoming, status, statistics, task }
}

impl SessionHandle {
    /// Where accepted connections of this peer go.
    pub fn incoming(&self) -> mpsc::Sender<TcpStream> {
        self.incoming.clone()
    }

    /// Hands over another configuration. The session is made anew only if it must be.
    pub async fn configure(&self, config: Arc<PeerConfig>, router_id: RouterId) {
        self.order(Order::Configure(config, router_id)).await;
    }

    /// Ends the session with Cease, Administrative Reset, and words for the operator of the peer (RFC 9003); it comes
    /// back by itself.
    pub async fn reset(&self, words: Option<Arc<str>>) {
        self.order(Order::Reset(words)).await;
    }

    /// Ends the session with Cease, Administrative Shutdown, and words for the operator of the peer (RFC 9003); it stays
    /// down until [`SessionHandle::start`].
    pub async fn halt(&self, words: Option<Arc<str>>) {
        self.order(Order::Halt(words)).await;
    }

    /// From now on BFD says so of the path, or with `None` nobody does.
    pub async fn follow_bfd(&self, reports: Option<watch::Receiver<BfdReport>>) {
        self.order(Order::Bfd(reports)).await;
    }

    /// Lets a session come up again that was halted by an operator or by a limit.
    pub async fn start(&self) {
        self.order(Order::Start).await;
    }

    /// Asks the peer to announce everything again, in every family.
    pub async fn refresh(&self) -> Result<(), RefreshError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Refresh(reply)).await;
        answer.await.unwrap_or(Err(RefreshError::NotEstablished))
    }

    /// Ends the session for good; returns when the RIB was told and the last words are written.
    pub async fn stop(self, stop: Stop) {
        self.order(Order::Stop(stop)).await;
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a session task did not end by itself");
        }
    }

    /// Ends the session if it has nothing here any more, and nobody has come meanwhile whose connection it was handed; else
    /// it is given back.
    pub async fn retire(self) -> Result<(), SessionHandle> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Retire(reply)).await;
        // A task that has ended answers nothing.
        if !answer.await.unwrap_or(true) {
            return Err(self);
        }
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a session task did not end by itself");
        }
        Ok(())
    }

    /// How the session stands.
    pub fn status(&self) -> SessionStatus {
        self.status.borrow().clone()
    }

    /// For those who wait for a change.
    pub fn watch(&self) -> watch::Receiver<SessionStatus> {
        self.status.clone()
    }

    /// The peer's counters.
    pub fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::debug!("an order came for a session that has ended");
        }
    }
}

struct Session<C> {
    key: PeerKey,
    config: Arc<PeerConfig>,
    router_id: RouterId,
    peer: Peer,
    dialing: Option<Dialing>,
    /// A connection the machine has not yet taken or refused.
    newcomer: Option<TcpStream>,
    active: Option<Connection>,
    passive: Option<Connection>,
    /// What the RIB has to say, while the session stands.
    signals: Option<mpsc::Receiver<Signal>>,
    /// What BFD says, while it watches the path.
    bfd: Option<watch::Receiver<BfdReport>>,
    /// How many times it has said that the path is down; `None`: it has said nothing yet.
    path_downs: Option<u64>,
    /// What it said while the peer had closed the connection, which was not noticed yet.
    held_path: Option<BfdReport>,
    /// What was there to be read was looked at since time last did something.
    read_before_time: bool,
    /// Reports waiting for room in the RIB's queue.
    outbox: VecDeque<Report>,
    to_rib: mpsc::Sender<C>,
    status: watch::Sender<SessionStatus>,
    statistics: Arc<Statistics>,
    /// Writers of closed connections that may still be at their last words.
    partings: Vec<JoinHandle<()>>,
}

impl<C: From<Report>> Session<C> {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut accepted: mpsc::Receiver<TcpStream>) {
        self.on(Event::Start);
        self.on(Event::Tick);
        loop {
            self.send_reports();
            let happening = self.wait(&mut orders, &mut accepted).await;
            let done = match happening {
                Happening::Ordered(Order::Retire(reply)) => self.retires(&mut accepted, reply),
                other => self.handle(other),
            };
            if done.is_break() {
                break;
            }
            self.held_path();
        }
        while let Some(report) = self.outbox.pop_front() {
            if self.to_rib.send(C::from(report)).await.is_err() {
                break;
            }
        }
        let farewells = futures::future::join_all(self.partings.drain(..));
        if tokio::time::timeout(PARTING, farewells).await.is_err() {
            tracing::debug!(peer = %self.key, "a peer did not take the last words");
        }
    }

    /// Whether it may end: what was accepted for it is looked at first.
    fn retires(
        &mut self,
        accepted: &mut mpsc::Receiver<TcpStream>,
        reply: oneshot::Sender<bool>,
    ) -> ControlFlow<()> {
        while let Ok(stream) = accepted.try_recv() {
            self.accepted(stream);
        }
        let vacant = self.peer.is_vacant();
        if reply.send(vacant).is_err() {
            tracing::debug!(peer = %self.key, "nobody waits for the session to end any more");
        }
        if vacant { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Gives an event to the machine and does what it says.
    fn on(&mut self, event: Event) {
        let mut actions = Actions::new();
        self.peer.on(Instant::now(), event, &mut actions);
        self.carry_out(actions);
        self.publish();
    }

    /// Reports go out as far as there is room; the rest is waited for.
    fn send_reports(&mut self) {
        while !self.outbox.is_empty() {
            let Ok(permit) = self.to_rib.try_reserve() else { return };
            if let Some(report) = self.outbox.pop_front() {
                permit.send(C::from(report));
            }
        }
    }

    fn publish(&self) {
        let state = self.peer.state(Instant::now());
        let (last_error, last_down) = (self.peer.last_error(), self.peer.last_down());
        let (halted, vacant) = (self.peer.is_stopped(), self.peer.is_vacant());
        self.status.send_if_modified(|status| {
            let moved = status.state != state;
            if moved {
                let crossed = [status.state, state].contains(&SessionState::Established);
                if status.state == SessionState::Established {
                    status.last_down = last_down.cloned().map(|reason| (SystemTime::now(), reason));
                }
                status.transitions += u64::from(crossed);
                tracing::debug!(peer = %self.key, from = %status.state, to = %state, "session state");
                status.state = state;
                status.since = SystemTime::now();
                status.negotiated = self.peer.negotiated().cloned();
            }
            let told = status.last_error.as_ref() != last_error;
            if told {
                status.last_error = last_error.cloned();
            }
            let changed = moved || told || (status.halted, status.vacant) != (halted, vacant);
            (status.halted, status.vacant) = (halted, vacant);
            changed
        });
    }
}
