//! Those who follow the best paths: whoever puts them into a kernel.

use ipnetwork::IpNetwork;
use smallvec::SmallVec;
use std::net::IpAddr;
use tokio::sync::mpsc;

use super::command::Command;
use super::error::Stopped;
use super::pull::Pull;
use crate::config::{Family, PeerKey};
use crate::rib::Source;

/// A follower's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub(super) u64);

/// A follower of the best paths.
///
/// It is pulled, never pushed: what is pulled is the state at that moment, so a follower that is slow misses states in
/// between and is never behind.
#[derive(Debug)]
pub struct Feed {
    id: FeedId,
    rib: mpsc::Sender<Command>,
    answer: Pull<FeedBatch>,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedBatch {
    /// The present state of each prefix that changed; each at most once.
    pub changes: Vec<BestChange>,
    /// Peers whose first table is complete, told only when every route before its end was pulled.
    pub end_of_rib: Vec<(PeerKey, Family)>,
}

/// The present state of one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestChange {
    /// The prefix.
    pub prefix: IpNetwork,
    /// Its paths in use; `None`: there is no path any more.
    pub best: Option<BestPaths>,
}

/// The paths in use; more than one: equal-cost multipath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestPaths {
    /// The best first; never empty.
    pub paths: SmallVec<[BestPath; 1]>,
}

/// One path in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestPath {
    /// Where packets go; `None`: originated here.
    pub next_hop: Option<IpAddr>,
    /// Who told; `None`: originated here.
    pub peer: Option<PeerKey>,
    /// Of what kind.
    pub source: Source,
}

impl Feed {
    pub(super) fn new(id: FeedId, rib: mpsc::Sender<Command>) -> Self {
        Feed { id, rib, answer: Pull::idle() }
    }

    /// Waits until something has changed and returns about `budget` changes. May be cancelled: nothing is lost.
    pub async fn pull(&mut self, budget: usize) -> Result<FeedBatch, Stopped> {
        let feed = self.id;
        self.answer.next(&self.rib, |reply| Command::PullFeed { feed, budget, reply }).await
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // If the queue is full the thread finds out by itself: the answer to a pull has no taker.
        if self.rib.try_send(Command::CloseFeed(self.id)).is_err() {
            tracing::debug!(feed = self.id.0, "the RIB will notice by itself that a feed is gone");
        }
    }
}
