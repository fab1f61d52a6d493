//! Best routes into the kernel: pulled from the speaker, turned into kernel routes, wanted in batches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use caracal_bgp::speaker::{BestPaths, Feed};
use caracal_bgp::{Family, PeerKey};
use caracal_linux::kernel::{Kernel, Stopped, Wanted};
use caracal_linux::object::link::IfName;
use caracal_linux::object::route::{Route, RouteKey, RouteKind};
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::cni::HOST_PREFIX as PODS;
use crate::desired::handover::{Ends, of_devices};
use crate::desired::routes::{NotInstalled, Terrain, off_subnet, outcome};
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
    /// Told which tunnels the routes lead through.
    pub used: watch::Sender<Ends>,
}

impl RouteWriter {
    /// Writes until the speaker stops.
    pub async fn run(mut self) {
        let Ok(adopted) = self.kernel.routes().await else { return };
        let mut known: HashMap<IpNetwork, BestPaths> = HashMap::new();
        let mut standing = Standing::of(adopted);
        let mut around = self.surroundings.borrow_and_update().clone();
        let (mut gateways_told, mut refusals) = (self.kernel.gateways(), self.kernel.refusals());
        let mut gateways = gateways_told.borrow_and_update().clone();
        let mut followed = BTreeSet::new();
        loop {
            self.tell_used(&standing, refusals.borrow_and_update().total > 0);
            let mut batch = None;
            tokio::select! {
                pulled = self.feed.pull(BUDGET) => match pulled {
                    Ok(pulled) => batch = Some(pulled),
                    Err(_) => return,
                },
                changed = self.surroundings.changed() => match changed {
                    Ok(()) => around = self.surroundings.borrow_and_update().clone(),
                    Err(_) => return,
                },
                changed = gateways_told.changed() => match changed {
                    Ok(()) => gateways = gateways_told.borrow_and_update().clone(),
                    Err(_) => return,
                },
                changed = refusals.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            let terrain = Terrain { around: &around, gateways: &gateways, protocol: self.protocol };
            let (changes, ended, all_anew) = match batch {
                Some(batch) => {
                    let mut changes = Vec::with_capacity(batch.changes.len());
                    let mut strange = false;
                    for change in batch.changes {
                        // What this node announced itself has a route of its own: withdrawing it takes none away.
                        let was_own = known.get(&change.prefix).is_some_and(is_own);
                        changes.push(match &change.best {
                            None if was_own => (change.prefix, Change::NotOurs),
                            best => self.wanted(change.prefix, best.as_ref(), &standing, terrain),
                        });
                        let next_hops = off_subnet(change.best.iter(), &around);
                        strange |= !next_hops.is_subset(&followed);
                        match change.best {
                            Some(best) => known.insert(change.prefix, best),
                            None => known.remove(&change.prefix),
                        };
                    }
                    (changes, batch.end_of_rib, strange)
                }
                None => {
                    let wanted = |(prefix, best): (&IpNetwork, &BestPaths)| {
                        self.wanted(*prefix, Some(best), &standing, terrain)
                    };
                    (known.iter().map(wanted).collect(), Vec::new(), true)
                }
            };
            if all_anew && self.follow(off_subnet(known.values(), &around), &mut followed).await.is_err() {
                return;
            }
            let changes = standing.note(changes);
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

    /// Tells which tunnels the routes lead through. While some are refused, what they would replace may still be there.
    fn tell_used(&self, standing: &Standing, refused: bool) {
        self.used.send_if_modified(|used| {
            let mut now = standing.ends();
            if refused {
                now.extend(used.iter().copied());
            }
            let news = *used != now;
            *used = now;
            news
        });
    }

    /// Asks for the ways to the next hops that are on no subnet.
    async fn follow(&self, now: BTreeSet<IpAddr>, followed: &mut BTreeSet<IpAddr>) -> Result<(), Stopped> {
        if now != *followed {
            self.kernel.follow_gateways(now.clone()).await?;
            *followed = now;
        }
        Ok(())
    }

    /// What the kernel should have for a prefix.
    fn wanted(
        &self,
        prefix: IpNetwork,
        best: Option<&BestPaths>,
        standing: &Standing,
        terrain: Terrain<'_>,
    ) -> (IpNetwork, Change) {
        let Some(best) = best else {
            self.not_installed.set(prefix, None);
            return (prefix, Change::To(None));
        };
        match outcome(prefix, best, standing.routes.get(&prefix), terrain) {
            Some(outcome) => {
                self.not_installed.set(prefix, outcome.why);
                (prefix, Change::To(outcome.route))
            }
            None => {
                self.not_installed.set(prefix, None);
                (prefix, Change::NotOurs)
            }
        }
    }
}

/// Whether the best path is this node's own announcement.
fn is_own(best: &BestPaths) -> bool {
    best.paths.first().is_some_and(|path| path.next_hop.is_none())
}

/// What becomes of a prefix.
enum Change {
    /// This is wanted of the kernel.
    To(Option<Route>),
    /// This node announces it: what it has for it is not this writer's.
    NotOurs,
}

/// The routes as they were last wanted or, before that, found.
struct Standing {
    routes: HashMap<IpNetwork, Route>,
    /// How many hops lead through each device.
    devices: BTreeMap<IfName, usize>,
    /// Found at the start, and not spoken of since.
    adopted: BTreeSet<IpNetwork>,
}

impl Standing {
    /// Starts from what an earlier run left. Routes to own pods and blackholes of own blocks are others' to keep.
    fn of(found: Vec<(RouteKey, Route)>) -> Self {
        let mut standing =
            Self { routes: HashMap::new(), devices: BTreeMap::new(), adopted: BTreeSet::new() };
        let to_pods = |route: &Route| route.hops().iter().any(|hop| hop.device.as_str().starts_with(PODS));
        for (key, route) in found {
            if route.kind != RouteKind::Blackhole && !to_pods(&route) {
                standing.put(key.destination, Some(route));
                standing.adopted.insert(key.destination);
            }
        }
        standing
    }

    /// Takes in what is wanted now, and leaves of it what differs.
    fn note(&mut self, changes: Vec<(IpNetwork, Change)>) -> Vec<Wanted> {
        let mut wanted = Vec::with_capacity(changes.len());
        for (prefix, change) in changes {
            // What was adopted has to be asked for once, or the sweep takes it.
            let adopted = self.adopted.remove(&prefix);
            match change {
                Change::NotOurs => self.put(prefix, None),
                Change::To(route) if adopted || self.routes.get(&prefix) != route.as_ref() => {
                    self.put(prefix, route.clone());
                    wanted.push(Wanted::Route(RouteKey::main(prefix), route));
                }
                Change::To(_) => {}
            }
        }
        wanted
    }

    fn put(&mut self, prefix: IpNetwork, route: Option<Route>) {
        let new = route.iter().flat_map(Route::hops).map(|hop| hop.device).collect::<Vec<_>>();
        let old = match route {
            Some(route) => self.routes.insert(prefix, route),
            None => self.routes.remove(&prefix),
        };
        for device in new {
            *self.devices.entry(device).or_default() += 1;
        }
        for hop in old.iter().flat_map(Route::hops) {
            if let Some(count) = self.devices.get_mut(&hop.device) {
                *count -= 1;
                if *count == 0 {
                    self.devices.remove(&hop.device);
                }
            }
        }
    }

    /// The tunnels that they lead through.
    fn ends(&self) -> Ends {
        of_devices(self.devices.keys().map(IfName::as_str))
    }
}
