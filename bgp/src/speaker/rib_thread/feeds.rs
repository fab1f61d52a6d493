//! Followers of the best paths ([`crate::speaker::Feed`]): they pull, and are answered when there is news.

use tokio::sync::oneshot;

use super::RibThread;
use crate::rib::{Af, BestBatch, PeerSlot, V4, V6};
use crate::speaker::feed::{BestChange, BestPath, BestPaths, FeedBatch, FeedId};
use crate::wire::nlri::Prefix;

/// A follower whose pull waits.
#[derive(Debug)]
pub(super) struct Parked {
    /// How many changes it takes at most.
    pub(super) budget: usize,
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<FeedBatch>,
}

impl RibThread {
    /// Another follower.
    pub(super) fn open_feed(&mut self) -> FeedId {
        let feed = FeedId(self.next_feed);
        self.next_feed += 1;
        self.v4.open_feed(feed);
        self.v6.open_feed(feed);
        self.feeds.insert(feed, None);
        feed
    }

    /// A follower waits for news.
    pub(super) fn park(&mut self, feed: FeedId, waiting: Parked) {
        if let Some(parked) = self.feeds.get_mut(&feed) {
            *parked = Some(waiting);
        }
    }

    /// A follower is gone.
    pub(super) fn close_feed(&mut self, feed: FeedId) {
        self.feeds.remove(&feed);
        self.v4.close_feed(feed);
        self.v6.close_feed(feed);
    }

    /// Answers those that wait and for whom there is news.
    pub(super) fn serve_feeds(&mut self) {
        let waiting: Vec<FeedId> =
            self.feeds.iter().filter(|(_, parked)| parked.is_some()).map(|(feed, _)| *feed).collect();
        for feed in waiting {
            let Some(parked) = self.feeds.get_mut(&feed).and_then(Option::take) else { continue };
            if parked.reply.is_closed() {
                self.close_feed(feed);
                continue;
            }
            let batch = self.feed_batch(feed, parked.budget);
            if batch.changes.is_empty() && batch.end_of_rib.is_empty() {
                self.feeds.insert(feed, Some(parked));
            } else if parked.reply.send(batch).is_err() {
                // The feed keeps the receiver until it is dropped: there is nobody to miss this.
                self.close_feed(feed);
            }
        }
    }

    /// What a follower is told: empty only when there is nothing left.
    fn feed_batch(&mut self, feed: FeedId, budget: usize) -> FeedBatch {
        let mut out = FeedBatch::default();
        while out.changes.is_empty() && out.end_of_rib.is_empty() && self.v4.feed_has_news(feed) {
            let batch = self.v4.pull_feed(feed, budget.max(1));
            self.show::<V4>(batch, &mut out);
        }
        let left = budget.saturating_sub(out.changes.len());
        if left > 0 && self.v6.feed_has_news(feed) {
            let batch = self.v6.pull_feed(feed, left);
            self.show::<V6>(batch, &mut out);
        }
        while out.changes.is_empty() && out.end_of_rib.is_empty() && self.v6.feed_has_news(feed) {
            let batch = self.v6.pull_feed(feed, budget.max(1));
            self.show::<V6>(batch, &mut out);
        }
        out
    }

    fn show<A: Af>(&self, batch: BestBatch<A::Prefix>, out: &mut FeedBatch) {
        let key = |slot: PeerSlot| self.keys.get(&slot).map(|seat| seat.key);
        out.changes.extend(batch.changes.into_iter().map(|(prefix, paths)| BestChange {
            prefix: prefix.to_network(),
            best: (!paths.is_empty()).then(|| {
                BestPaths {
                    paths: paths
                        .iter()
                        .map(|path| BestPath {
                            next_hop: path.next_hop,
                            peer: key(path.peer),
                            source: path.source,
                        })
                        .collect(),
                }
            }),
        }));
        out.end_of_rib.extend(batch.end_of_rib.into_iter().filter_map(|slot| Some((key(slot)?, A::FAMILY))));
    }
}
