//! The controller: one leader per cluster that judges what no single node can.
//!
//! It judges pools and peers, keeps the pools' status, and frees the blocks of removed nodes. It holds nothing that a node
//! needs to go on: while no controller runs, nodes keep their blocks, addresses and routes. Losing the election cancels its
//! work; whoever leads next reads everything again.

pub mod peer_status;
pub mod pool_status;
pub mod reclaim;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tracing::info;

use crate::cluster::events::Events;
use crate::cluster::lease::Candidate;
use crate::cluster::watch::{self, OnEmptyList, WatchSettings};
use crate::settings::ControllerSettings;

/// Name of the Lease.
pub const LEASE: &str = "caracal-controller";

/// Runs a controller: waits to be elected, works while it leads, and waits again.
///
/// # Errors
/// When no client can be made.
pub async fn run(settings: &ControllerSettings) -> anyhow::Result<()> {
    let client = settings.api.client().await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let mut candidate = Candidate::new(leases, LEASE, &settings.identity);
    loop {
        candidate.elected().await;
        tokio::select! {
            () = candidate.lost() => info!("stopping the leader's work"),
            () = lead(&client, settings) => {}
        }
    }
}

async fn lead(client: &Client, settings: &ControllerSettings) {
    let events = Events::start(client.clone(), "caracal-controller", &settings.identity);
    let pools = watch::spawn(Api::all(client.clone()), WatchSettings::unsaved());
    let blocks = watch::spawn(Api::all(client.clone()), WatchSettings::unsaved());
    let nodes =
        watch::spawn(Api::all(client.clone()), WatchSettings::unsaved().on_empty_list(OnEmptyList::Doubt));
    let peers = watch::spawn(Api::all(client.clone()), WatchSettings::unsaved());
    tokio::join!(
        pool_status::keep(Api::all(client.clone()), pools, blocks.clone(), events),
        reclaim::keep(client.clone(), blocks, nodes, settings.quarantine()),
        peer_status::keep(Api::all(client.clone()), peers),
    );
}
