//! The nftables table: wanted when anything it follows from changes.
//!
//! Holding pods to their own addresses and leaving VXLAN untracked need parts of nftables (`nft_fib`, `nft_ct`) that some
//! kernels lack, and a table is taken whole or not at all. So a refused table is tried once more without them, and the log says
//! what is missing.

use std::sync::Arc;

use caracal_api::IpPool;
use caracal_linux::nft::{Nftables, Ruleset};
use tokio::sync::watch;
use tracing::warn;

use crate::cluster::SnapshotReceiver;
use crate::cluster::services::ServiceAddressesReceiver;
use crate::desired::filter::filter;
use crate::desired::grants::GrantsReceiver;
use crate::desired::outgoing::{OutgoingAddress, ToldReceiver, departures};
use crate::desired::surroundings::Surroundings;
use crate::node::FactsReceiver;

/// What the table follows from.
pub struct FilterSources {
    /// Which addresses are pods' and which of them are masqueraded.
    pub pools: SnapshotReceiver<IpPool>,
    /// The other nodes, and the tunnels.
    pub around: watch::Receiver<Arc<Surroundings>>,
    /// The announced ranges of Services.
    pub services: ServiceAddressesReceiver,
    /// What some pods have beyond their addresses.
    pub grants: GrantsReceiver,
    /// This node's addresses.
    pub facts: FactsReceiver,
    /// By which devices routers are told them; `None` until that is known.
    pub told: ToldReceiver,
    /// Which address pods are seen by outside.
    pub outgoing: OutgoingAddress,
}

impl FilterSources {
    /// The table, and the one without what the kernel may lack. None as long as too little is known.
    fn tables(&mut self, whole: bool) -> Option<(Ruleset, Ruleset)> {
        let (pools, around) = (self.pools.borrow_and_update(), self.around.borrow_and_update());
        let (services, grants) = (self.services.borrow_and_update(), self.grants.borrow_and_update());
        let (facts, told) = (self.facts.borrow_and_update(), self.told.borrow_and_update());
        // Without a word of the API server, now or earlier, what an earlier run left is better than nothing.
        let known = pools.synced || !pools.items.is_empty();
        let told = told.as_ref().filter(|_| known)?;
        let departures = departures(&self.outgoing, &facts.addresses, told);
        let table = |whole| filter(&pools, &around, &services.ranges, &grants, &departures, whole);
        Some((table(whole), table(false)))
    }

    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.pools.changed() => changed,
            changed = self.around.changed() => changed,
            changed = self.services.changed() => changed,
            changed = self.grants.changed() => changed,
            changed = self.facts.changed() => changed,
            changed = self.told.changed() => changed,
        }
    }
}

/// Keeps the table as it should be. Runs until the agent ends. A refusal is logged by the table's keeper and shown by its
/// standing; it is tried again there.
pub async fn keep(nftables: Nftables, mut sources: FilterSources) {
    let mut whole = true;
    loop {
        let wanted = sources.tables(whole);
        if let Some((wanted, lesser)) = wanted
            && let Err(refused) = nftables.want(wanted.clone()).await
        {
            tracing::debug!(%refused, "the nftables table is not in place");
            if whole && nftables.want(lesser).await.is_ok() {
                whole = false;
                warn!(
                    %refused,
                    "pods are held to their own addresses for IPv4 only (rp_filter), and connections of VXLAN packets are \
                     tracked: the kernel lacks the module nft_fib_inet or nft_ct"
                );
            } else if let Err(refused) = nftables.want(wanted).await {
                // Something else is wrong: the keeper goes on trying the whole.
                tracing::debug!(%refused, "the nftables table is not in place");
            }
        }
        if sources.changed().await.is_err() {
            return;
        }
    }
}
