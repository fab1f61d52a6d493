//! The nftables table: wanted when anything it follows from changes.

use std::sync::Arc;

use caracal_api::IpPool;
use caracal_linux::nft::Nftables;
use tokio::sync::watch;

use crate::cluster::SnapshotReceiver;
use crate::cluster::services::ServiceAddressesReceiver;
use crate::desired::filter::filter;
use crate::desired::surroundings::Surroundings;

/// Keeps the table as it should be. Runs until the agent ends. A refusal is logged by the table's keeper and shown by its
/// standing; it is tried again there.
pub async fn keep(
    nftables: Nftables,
    mut pools: SnapshotReceiver<IpPool>,
    mut around: watch::Receiver<Arc<Surroundings>>,
    mut services: ServiceAddressesReceiver,
) {
    loop {
        let wanted = {
            let (pools, around) = (pools.borrow_and_update(), around.borrow_and_update());
            let services = services.borrow_and_update();
            // Without a word of the API server, now or earlier, what an earlier run left is better than nothing.
            (pools.synced || !pools.items.is_empty()).then(|| filter(&pools, &around, &services.ranges))
        };
        if let Some(wanted) = wanted
            && let Err(refused) = nftables.want(wanted).await
        {
            tracing::debug!(%refused, "the nftables table is not in place");
        }
        let changed = tokio::select! {
            changed = pools.changed() => changed,
            changed = around.changed() => changed,
            changed = services.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
