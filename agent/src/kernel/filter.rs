//! The nftables table: wanted when anything it follows from changes.
//!
//! Holding pods to their own addresses needs a part of nftables (`nft_fib`) that some kernels lack, and a table is taken whole
//! or not at all. So a refused table is tried once more without it, and the log says what is missing.

use std::sync::Arc;

use caracal_api::IpPool;
use caracal_linux::nft::Nftables;
use tokio::sync::watch;
use tracing::warn;

use crate::cluster::SnapshotReceiver;
use crate::cluster::services::ServiceAddressesReceiver;
use crate::desired::filter::filter;
use crate::desired::grants::GrantsReceiver;
use crate::desired::surroundings::Surroundings;

/// Keeps the table as it should be. Runs until the agent ends. A refusal is logged by the table's keeper and shown by its
/// standing; it is tried again there.
pub async fn keep(
    nftables: Nftables,
    mut pools: SnapshotReceiver<IpPool>,
    mut around: watch::Receiver<Arc<Surroundings>>,
    mut services: ServiceAddressesReceiver,
    mut grants: GrantsReceiver,
) {
    let mut own_sources = true;
    loop {
        let wanted = {
            let (pools, around) = (pools.borrow_and_update(), around.borrow_and_update());
            let (services, grants) = (services.borrow_and_update(), grants.borrow_and_update());
            // Without a word of the API server, now or earlier, what an earlier run left is better than nothing.
            (pools.synced || !pools.items.is_empty()).then(|| {
                let table = |own| filter(&pools, &around, &services.ranges, &grants, own);
                (table(own_sources), table(false))
            })
        };
        if let Some((wanted, lesser)) = wanted
            && let Err(refused) = nftables.want(wanted.clone()).await
        {
            tracing::debug!(%refused, "the nftables table is not in place");
            if own_sources && nftables.want(lesser).await.is_ok() {
                own_sources = false;
                warn!(
                    %refused,
                    "pods are held to their own addresses for IPv4 only (rp_filter): the kernel lacks the module nft_fib_inet"
                );
            } else if let Err(refused) = nftables.want(wanted).await {
                // Something else is wrong: the keeper goes on trying the whole.
                tracing::debug!(%refused, "the nftables table is not in place");
            }
        }
        let changed = tokio::select! {
            changed = pools.changed() => changed,
            changed = around.changed() => changed,
            changed = services.changed() => changed,
            changed = grants.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
