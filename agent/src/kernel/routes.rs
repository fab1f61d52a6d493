//! Best routes into the kernel: pulled from the speaker, turned into kernel routes, wanted in batches.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use caracal_bgp::speaker::{BestPaths, Feed};
use caracal_bgp::{Family, PeerKey};
use caracal_linux::kernel::{Kernel, Wanted};
use caracal_linux::object::route::RouteKey;
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::desired::routes::{NotInstalled, in_place_of, route};
use crate::desired::surroundings::Surroundings;

/// Most changes pulled at once: large enough to batch, small enough that urgent work passes soon.
const BUDGET: usize = 1024;

/// Which best routes are not in the kernel, and why: read by status and explanations.
#[derive(Clone, Debug, Default)]
pub struct NotInstalledRoutes(Arc<Mutex<BTreeMap<IpNetwork, NotInstalled>>>);

impl NotInstalledRoutes {
    /// The reasons as they are now.
    pub fn all(&self) -> BTreeMap<IpNetwork, NotInstalled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, prefix: IpNetwork, why: Option<NotInstalled>) {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => {
                if reasons.get(&prefix) != Some(&why) {
                    warn!(%prefix, reason = why.code(), "not installed: {why}");
                }
                reasons.insert(prefix, why);
            }
            None => {
                reasons.remove(&prefix);
            }
        }
    }
}

/// The consumer that writes best routes into the kernel.
pub struct RouteWriter {
    /// Best routes.
    pub feed: Feed,
    /// Where they go.
    pub kernel: Kernel,
    /// What they depend on besides.
    pub surroundings: watch::Receiver<Arc<Surroundings>>,
    /// Protocol number of our routes.
    pub protocol: u8,
    /// Where reasons are kept.
    pub not_installed: NotInstalledRoutes,
    /// Told when everything a peer had to say first is in the kernel.
    pub end_of_rib: mpsc::Sender<(PeerKey, Family)>,
}

impl RouteWriter {
    /// Writes until the speaker stops.
    pub async fn run(mut self) {
        let mut known: HashMap<IpNetwork, BestPaths> = HashMap::new();
        let mut around = self.surroundings.borrow_and_update().clone();
        loop {
            let (changes, ended) = tokio::select! {
                batch = self.feed.pull(BUDGET) => {
                    let Ok(batch) = batch else { return };
                    let mut changes = Vec::with_capacity(batch.changes.len());
                    for change in batch.changes {
                        changes.extend(self.wanted(change.prefix, change.best.as_ref(), &around));
                        match change.best {
                            Some(best) => known.insert(change.prefix, best),
                            None => known.remove(&change.prefix),
                        };
                    }
                    (changes, batch.end_of_rib)
                }
                changed = self.surroundings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    around = self.surroundings.borrow_and_update().clone();
                    let changes = known.iter().filter_map(|(prefix, best)| self.wanted(*prefix, Some(best), &around));
                    (changes.collect(), Vec::new())
                }
            };
            if !changes.is_empty() {
                debug!(routes = changes.len(), "to the kernel");
                let Ok(refused) = self.kernel.want(changes).await else { return };
                if let Some(first) = refused.first() {
                    warn!(refused = refused.len(), %first, "not every route is in the kernel");
                }
            }
            for end in ended {
                if self.end_of_rib.send(end).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What the kernel should have for a prefix. None where it is not this writer's: own announcements.
    fn wanted(&self, prefix: IpNetwork, best: Option<&BestPaths>, around: &Surroundings) -> Option<Wanted> {
        let key = RouteKey::main(prefix);
        let Some(best) = best else {
            self.not_installed.set(prefix, None);
            return Some(Wanted::Route(key, None));
        };
        match route(prefix, best, around, self.protocol) {
            Ok(route) => {
                self.not_installed.set(prefix, None);
                Some(Wanted::Route(key, Some(route)))
            }
            Err(NotInstalled::Originated) => {
                self.not_installed.set(prefix, None);
                None
            }
            Err(why) => {
                let instead = in_place_of(prefix, &why, around, self.protocol);
                self.not_installed.set(prefix, Some(why));
                Some(Wanted::Route(key, instead))
            }
        }
    }
}
