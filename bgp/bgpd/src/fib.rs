//! Best routes into the kernel: pulled from the speaker, turned into kernel routes, wanted in batches.
//!
//! The kernel follows the RIB like a peer: what changed is pulled when the last batch is acknowledged, so the last state
//! of a prefix wins. Only routes of our own protocol number are ever touched. At the start those of the run before are
//! adopted, and swept when every peer has sent all it had, or its usual restart time is over. When the daemon is told
//! to stop its routes go; when it is killed they stay for the next run.

mod route;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use caracal_bgp::speaker::{BestPaths, Feed, FeedBatch, Handle};
use caracal_bgp::{Family, PeerKey};
use caracal_linux::kernel::{Kernel, Underlay, Wanted};
use caracal_linux::object::route::RouteKey;
use ipnetwork::IpNetwork;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

pub use route::{NotInstalled, route};

/// Most changes pulled at once.
const BUDGET: usize = 1024;
/// How long peers have to come back after a restart of this daemon before routes of the run before are swept.
const RESTART_TIME: Duration = Duration::from_secs(120);

/// The consumer that writes best routes into the kernel.
pub struct Fib {
    /// Best routes.
    pub feed: Feed,
    /// Who knows which peers are still to be waited for.
    pub speaker: Handle,
    /// Where routes go.
    pub kernel: Kernel,
}

/// What the writer remembers.
#[derive(Default)]
struct Memory {
    known: HashMap<IpNetwork, BestPaths>,
    not_installed: BTreeMap<IpNetwork, NotInstalled>,
    heard: BTreeSet<(PeerKey, Family)>,
}

impl Fib {
    /// Writes until the speaker or the kernel's writer ends, or `stop` says so: then the routes are removed.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut memory = Memory::default();
        let mut underlay = self.kernel.underlay();
        let due = Instant::now() + RESTART_TIME;
        let mut sweep_is_due = self.complete(&memory).await;
        let mut swept = false;
        loop {
            if sweep_is_due && !swept {
                if self.kernel.release_sweep().await.is_err() {
                    return;
                }
                swept = true;
                info!("routes of an earlier run that nobody announces any more are removed");
            }
            let around = underlay.borrow_and_update().clone();
            tokio::select! {
                _ = &mut stop => break,
                batch = self.feed.pull(BUDGET) => {
                    let Ok(batch) = batch else { return };
                    let told = !batch.end_of_rib.is_empty();
                    if !self.take(batch, &mut memory, &around).await {
                        return;
                    }
                    sweep_is_due |= told && self.complete(&memory).await;
                }
                changed = underlay.changed() => {
                    if changed.is_err() || !self.again(&mut memory, &mut underlay).await {
                        return;
                    }
                }
                () = tokio::time::sleep_until(due), if !swept => sweep_is_due = true,
            }
        }
        let none = memory.known.keys().map(|prefix| Wanted::Route(RouteKey::main(*prefix), None)).collect();
        self.want(none).await;
        // What is still held back of an earlier run goes too: nobody will come for it.
        if self.kernel.release_sweep().await.is_err() {
            debug!("the kernel's writer ended first");
        }
    }

    /// Carries one batch out; false when the kernel's writer has ended.
    async fn take(&self, batch: FeedBatch, memory: &mut Memory, around: &Underlay) -> bool {
        let mut changes = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            changes.extend(memory.wanted(change.prefix, change.best.as_ref(), around));
            match change.best {
                Some(best) => memory.known.insert(change.prefix, best),
                None => memory.known.remove(&change.prefix),
            };
        }
        let lives = self.want(changes).await;
        memory.heard.extend(batch.end_of_rib);
        lives
    }

    /// The machine's addresses have changed: everything is looked at again.
    async fn again(&self, memory: &mut Memory, underlay: &mut watch::Receiver<Arc<Underlay>>) -> bool {
        let around = underlay.borrow_and_update().clone();
        let known = std::mem::take(&mut memory.known);
        let changes = known.iter().filter_map(|(prefix, best)| memory.wanted(*prefix, Some(best), &around));
        let changes: Vec<Wanted> = changes.collect();
        memory.known = known;
        self.want(changes).await
    }

    async fn want(&self, changes: Vec<Wanted>) -> bool {
        if changes.is_empty() {
            return true;
        }
        debug!(routes = changes.len(), "to the kernel");
        match self.kernel.want(changes).await {
            Ok(refused) => {
                if let Some(first) = refused.first() {
                    warn!(refused = refused.len(), "not every route is in the kernel: {first}");
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Whether every peer has said all it had, in every family negotiated with it. Who is still to come from a range nobody
    /// knows.
    async fn complete(&self, memory: &Memory) -> bool {
        let Ok(ranges) = self.speaker.ranges().await else { return false };
        if !ranges.is_empty() {
            return false;
        }
        let Ok(peers) = self.speaker.peers().await else { return false };
        peers.iter().all(|peer| {
            let said = |family| memory.heard.contains(&(peer.key, family));
            peer.is_established() && peer.families.iter().all(said)
        })
    }
}

impl Memory {
    /// What the kernel should have for a prefix. None where it is not this writer's: own announcements.
    fn wanted(&mut self, prefix: IpNetwork, best: Option<&BestPaths>, around: &Underlay) -> Option<Wanted> {
        let key = RouteKey::main(prefix);
        let Some(best) = best else {
            self.not_installed.remove(&prefix);
            return Some(Wanted::Route(key, None));
        };
        match route(best, around) {
            Ok(route) => {
                self.not_installed.remove(&prefix);
                Some(Wanted::Route(key, Some(route)))
            }
            Err(why) => {
                let news = self.not_installed.get(&prefix) != Some(&why);
                if news && why != NotInstalled::Originated {
                    warn!(%prefix, reason = why.code(), "not installed: {why}");
                }
                self.not_installed.insert(prefix, why);
                Some(Wanted::Route(key, None))
            }
        }
    }
}
