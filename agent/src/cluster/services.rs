//! The Service addresses that this node announces, followed as Services and their endpoints change.
//!
//! All Services and EndpointSlices of the cluster are watched, but only while a `BGPConfiguration` asks for their addresses.
//! They are not kept on disk, since endpoints change all the time: after a start without the API server ranges are announced
//! and single addresses not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use caracal_api::BgpConfiguration;
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::sync::watch;

use super::snapshot::SnapshotReceiver;
use super::watch::{self as watching, WatchSettings};
use crate::desired::services::{HeldBack, ServiceRanges, ServiceRoutes, services};
use crate::node::FactsReceiver;

/// What this node announces of Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAddresses {
    /// The ranges that they lie in.
    pub ranges: BTreeSet<IpNetwork>,
    /// What is announced: ranges, and single addresses.
    pub announced: BTreeSet<IpNetwork>,
    /// All that this follows from is known: nothing is missing that will be there in a moment.
    pub complete: bool,
}

/// How they are handed out.
pub type ServiceAddressesReceiver = watch::Receiver<Arc<ServiceAddresses>>;

/// Follows them for this node.
pub fn follow(
    client: Client,
    configurations: SnapshotReceiver<BgpConfiguration>,
    facts: FactsReceiver,
) -> ServiceAddressesReceiver {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(async move {
        let keeper = Keeper { client, configurations, facts, held: HeldBack::default(), told: sender };
        keeper.run().await;
    });
    receiver
}

/// The kinds that are watched while they are needed.
struct Watches {
    services: SnapshotReceiver<Service>,
    slices: SnapshotReceiver<EndpointSlice>,
}

struct Keeper {
    client: Client,
    configurations: SnapshotReceiver<BgpConfiguration>,
    facts: FactsReceiver,
    held: HeldBack,
    told: watch::Sender<Arc<ServiceAddresses>>,
}

impl Keeper {
    async fn run(mut self) {
        let mut watches: Option<Watches> = None;
        loop {
            let (ranges, read) = {
                let configurations = self.configurations.borrow_and_update();
                let read = configurations.synced || !configurations.items.is_empty();
                (ServiceRanges::of(&configurations), read)
            };
            if ranges.is_empty() {
                watches = None;
                self.held = HeldBack::default();
                self.tell(ServiceAddresses { complete: read, ..ServiceAddresses::default() });
                if self.configurations.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let Watches { services, slices } = watches.get_or_insert_with(|| Watches {
                services: watching::spawn(Api::all(self.client.clone()), WatchSettings::unsaved()),
                slices: watching::spawn(Api::all(self.client.clone()), WatchSettings::unsaved()),
            });
            let (routes, known) = self.routes(&ranges, services, slices);
            let (single, next) = if known {
                self.held.update(Instant::now(), &routes.single)
            } else {
                (BTreeSet::new(), None)
            };
            let announced = routes.whole.into_iter().chain(single).collect();
            self.tell(ServiceAddresses { ranges: ranges.all(), announced, complete: known });
            let ripe = tokio::time::sleep_until(next.unwrap_or_else(Instant::now).into());
            let changed = tokio::select! {
                () = ripe, if next.is_some() => Ok(()),
                changed = self.configurations.changed() => changed,
                changed = self.facts.changed() => changed,
                changed = services.changed() => changed,
                changed = slices.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// What is wanted, and whether all that it follows from is known.
    fn routes(
        &mut self,
        ranges: &ServiceRanges,
        all: &mut SnapshotReceiver<Service>,
        slices: &mut SnapshotReceiver<EndpointSlice>,
    ) -> (ServiceRoutes, bool) {
        let facts = self.facts.borrow_and_update();
        let (all, slices) = (all.borrow_and_update(), slices.borrow_and_update());
        let routes = services(&facts.name, &facts.labels, ranges, &all, &slices);
        (routes, all.synced && slices.synced)
    }

    fn tell(&self, now: ServiceAddresses) {
        self.told.send_if_modified(|told| {
            let news = **told != now;
            if news {
                *told = Arc::new(now);
            }
            news
        });
    }
}
