//! Those who watch every peer and every path: whoever tells a BMP collector.
//!
//! Like a [`super::Feed`] a monitor is pulled, never pushed. What is pulled are first the sessions that came and went,
//! in their order, then the present state of paths that changed. A monitor that has let too much wait is told that it is
//! overrun, and has to start anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::error::Stopped;
use super::pull::Pull;
use super::tables::Tables;
use crate::config::PeerKey;
use crate::net::{Ending, Opens};
use crate::peer::Negotiated;
use crate::rib::{self, PeerSlot, V4, V6};
use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix};

/// How many comings and goings of sessions may wait for one monitor.
const MOST_EVENTS: usize = 8192;

/// A session that is up.
#[derive(Clone, Debug)]
pub struct MonitoredPeer {
    /// With whom.
    pub key: PeerKey,
    /// What people call the peer.
    pub name: String,
    /// The terms.
    pub negotiated: Arc<Negotiated>,
    /// What both ends opened with.
    pub opens: Arc<Opens>,
    /// Since when.
    pub since: SystemTime,
}

/// A session has come or gone.
#[derive(Clone, Debug)]
pub enum PeerChange {
    /// It is up. Paths name it by this slot, until it is down.
    Up(PeerSlot, Arc<MonitoredPeer>),
    /// It is over, and so are all its paths.
    Down(PeerSlot, Ending),
}

/// What a monitor pulled.
#[derive(Clone, Debug, Default)]
pub struct MonitorBatch {
    /// Sessions that came and went, in their order; before everything else.
    pub peers: Vec<PeerChange>,
    /// Paths of IPv4 unicast.
    pub ipv4: rib::MonitorBatch<Ipv4Prefix>,
    /// Paths of IPv6 unicast.
    pub ipv6: rib::MonitorBatch<Ipv6Prefix>,
    /// Too much has waited: what was told is no longer the state, and the monitor must start anew.
    pub overrun: bool,
}

impl MonitorBatch {
    fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.ipv4.is_empty() && self.ipv6.is_empty() && !self.overrun
    }
}

/// A monitor's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonitorNumber(u64);

/// What monitors ask of the RIB's thread.
#[derive(Debug)]
pub enum MonitorRequest {
    /// A new monitor.
    Open {
        /// Its number.
        reply: oneshot::Sender<MonitorNumber>,
    },
    /// It wants what changed; it is answered when something has.
    Pull {
        /// Who.
        monitor: MonitorNumber,
        /// How many destinations of each family are looked at.
        budget: usize,
        /// The answer.
        reply: oneshot::Sender<MonitorBatch>,
    },
    /// It is gone.
    Close(MonitorNumber),
}

/// A monitor of every session and path. It ends when it is dropped.
#[derive(Debug)]
pub struct Monitor {
    number: MonitorNumber,
    rib: mpsc::Sender<Command>,
    answer: Pull<MonitorBatch>,
}

impl Monitor {
    pub(super) fn new(number: MonitorNumber, rib: mpsc::Sender<Command>) -> Self {
        Monitor { number, rib, answer: Pull::idle() }
    }

    /// Waits until something has changed and returns it. May be cancelled: nothing is lost.
    ///
    /// # Errors
    /// When the speaker has stopped.
    pub async fn pull(&mut self, budget: usize) -> Result<MonitorBatch, Stopped> {
        let monitor = self.number;
        let ask = |reply| Command::Monitor(MonitorRequest::Pull { monitor, budget, reply });
        self.answer.next(&self.rib, ask).await
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let close = Command::Monitor(MonitorRequest::Close(self.number));
        if self.rib.try_send(close).is_err() {
            tracing::debug!(monitor = self.number.0, "the RIB will notice by itself that a monitor is gone");
        }
    }
}

/// One monitor, as the RIB's thread knows it.
#[derive(Debug)]
struct Watch {
    v4: rib::MonitorId,
    v6: rib::MonitorId,
    peers: VecDeque<PeerChange>,
    overrun: bool,
    parked: Option<(usize, oneshot::Sender<MonitorBatch>)>,
}

/// All of them, on the RIB's thread.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    watches: BTreeMap<MonitorNumber, Watch>,
    next: u64,
    /// Who is up: what a new monitor is told first.
    up: BTreeMap<PeerSlot, Arc<MonitoredPeer>>,
}

impl Monitors {
    pub(super) fn up(&mut self, slot: PeerSlot, peer: MonitoredPeer) {
        let peer = Arc::new(peer);
        self.tell(&PeerChange::Up(slot, Arc::clone(&peer)));
        self.up.insert(slot, peer);
    }

    pub(super) fn down(&mut self, slot: PeerSlot, ending: Ending) {
        if self.up.remove(&slot).is_some() {
            self.tell(&PeerChange::Down(slot, ending));
        }
    }

    fn tell(&mut self, change: &PeerChange) {
        for watch in self.watches.values_mut() {
            watch.overrun |= watch.peers.len() >= MOST_EVENTS;
            if watch.overrun {
                watch.peers.clear();
            } else {
                watch.peers.push_back(change.clone());
            }
        }
    }

    pub(super) fn request(&mut self, request: MonitorRequest, v4: &mut Tables<V4>, v6: &mut Tables<V6>) {
        match request {
            MonitorRequest::Open { reply } => {
                let number = MonitorNumber(self.next);
                self.next += 1;
                let peers = self.up.iter().map(|(slot, peer)| PeerChange::Up(*slot, Arc::clone(peer)));
                let watch = Watch {
                    v4: v4.rib.open_monitor(),
                    v6: v6.rib.open_monitor(),
                    peers: peers.collect(),
                    overrun: false,
                    parked: None,
                };
                self.watches.insert(number, watch);
                if reply.send(number).is_err() {
                    self.close(number, v4, v6);
                }
            }
            MonitorRequest::Pull { monitor, budget, reply } => {
                if let Some(watch) = self.watches.get_mut(&monitor) {
                    watch.parked = Some((budget.max(1), reply));
                }
            }
            MonitorRequest::Close(number) => self.close(number, v4, v6),
        }
    }

    fn close(&mut self, number: MonitorNumber, v4: &mut Tables<V4>, v6: &mut Tables<V6>) {
        if let Some(watch) = self.watches.remove(&number) {
            v4.rib.close_monitor(watch.v4);
            v6.rib.close_monitor(watch.v6);
        }
    }

    /// Answers those that wait and for whom there is news; true when one may have more at once.
    pub(super) fn serve(&mut self, v4: &mut Tables<V4>, v6: &mut Tables<V6>) -> bool {
        let (mut gone, mut more) = (Vec::new(), false);
        for (number, watch) in &mut self.watches {
            let Some((budget, reply)) = watch.parked.take() else { continue };
            if reply.is_closed() {
                gone.push(*number);
                continue;
            }
            let mut batch = MonitorBatch {
                peers: watch.peers.drain(..).collect(),
                ipv4: v4.rib.pull_monitor(watch.v4, budget),
                ipv6: v6.rib.pull_monitor(watch.v6, budget),
                overrun: watch.overrun,
            };
            batch.overrun |= batch.ipv4.overrun || batch.ipv6.overrun;
            if batch.is_empty() {
                watch.parked = Some((budget, reply));
                // The walk may be on its way through places with nothing for it.
                more |= v4.rib.monitor_has_news(watch.v4) || v6.rib.monitor_has_news(watch.v6);
            } else if reply.send(batch).is_err() {
                gone.push(*number);
            }
        }
        for number in gone {
            self.close(number, v4, v6);
        }
        more
    }
}
