//! The task that owns the configuration and the sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::command::Command;
use super::error::{ConfigureError, ControlError, StartError, Stopped};
use super::event::SpeakerEvent;
use super::status::{PeerCounts, PeerStatus};
use crate::config::diff::{Step, diff};
use crate::config::{Config, PeerKey};

/// How many orders wait.
const QUEUE: usize = 64;

/// How sessions are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// With a NOTIFICATION Cease of this subcode (RFC 4486): peers drop the routes at once.
    Cease(u8),
    /// By closing the connection without a word, as a crash would.
    Silent,
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
    /// End a session; it comes back by itself.
    Reset {
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
) -> Result<mpsc::Sender<Order>, StartError> {
    let (orders, receiver) = mpsc::channel(QUEUE);
    let peering = Peering { config, rib, events };
    tokio::spawn(peering.run(receiver));
    Ok(orders)
}

struct Peering {
    config: Arc<Config>,
    rib: mpsc::Sender<Command>,
    #[expect(dead_code, reason = "sessions report their end through it")]
    events: broadcast::Sender<SpeakerEvent>,
}

impl Peering {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Configure { config, reply } => {
                    let steps = self.configure(*config).await;
                    answer(reply, steps);
                }
                Order::Peers { counts: _, reply } => answer(reply, Vec::new()),
                Order::Reset { key, reply } => answer(reply, Err(ControlError::UnknownPeer(key))),
                Order::Refresh { key, reply } => answer(reply, Err(ControlError::UnknownPeer(key))),
                Order::Stop { farewell: _, reply } => {
                    answer(reply, ());
                    return;
                }
            }
        }
    }

    async fn configure(&mut self, config: Config) -> Result<Vec<(PeerKey, Step)>, ConfigureError> {
        let config = Arc::new(config);
        let steps = diff(&self.config, &config);
        let (reply, done) = oneshot::channel();
        let command = Command::Configure { config: Arc::clone(&config), reply };
        self.rib.send(command).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)?;
        self.config = config;
        Ok(steps)
    }
}

/// Answers; that the asker has gone in the meantime is its own affair.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("an order was given up before its answer");
    }
}
