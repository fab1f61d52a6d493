//! Tunnel devices into the kernel: wanted when anything they follow from changes, in one batch of what differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use caracal_linux::kernel::{Kernel, ObjectKey, Wanted};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::desired::handover::{Ends, Kept, needed};
use crate::desired::surroundings::Surroundings;
use crate::desired::tunnels::{TunnelAddresses, tunnels};

/// What tunnels follow from.
pub struct TunnelSources {
    /// This node, the others, the pools, the kernel's features.
    pub surroundings: watch::Receiver<Arc<Surroundings>>,
    /// The tunnels that this node's routes lead through.
    pub used: watch::Receiver<Ends>,
    /// The devices' addresses.
    pub addresses: watch::Receiver<Arc<TunnelAddresses>>,
    /// The smallest MTU of the uplinks, in bytes.
    pub uplink_mtu: watch::Receiver<u32>,
}

/// Keeps tunnels as they should be. Runs until the agent ends.
pub async fn keep(kernel: Kernel, mut sources: TunnelSources) {
    let mut standing: BTreeMap<ObjectKey, Wanted> = BTreeMap::new();
    let mut kept = Kept::default();
    loop {
        let wanted = {
            let around = sources.surroundings.borrow_and_update();
            let ends = kept.update(Instant::now(), needed(&around, &sources.used.borrow_and_update()));
            let addresses = sources.addresses.borrow_and_update();
            tunnels(&around, &ends, &addresses, *sources.uplink_mtu.borrow_and_update())
        };
        let changes = changes(&standing, &wanted);
        if !changes.is_empty() {
            for change in &changes {
                if let Wanted::Tunnel(device, tunnel) = change {
                    match tunnel {
                        Some(tunnel) => info!(%device, "a tunnel device is wanted: {tunnel}"),
                        None => info!(%device, "a tunnel device is not wanted any more"),
                    }
                }
            }
            let Ok(refused) = kernel.want(changes).await else { return };
            for refusal in refused {
                warn!(%refusal, "a part of a tunnel is not in the kernel");
            }
        }
        standing = wanted;
        let leave = kept.deadline();
        let leaving = tokio::time::sleep_until(leave.unwrap_or_else(Instant::now).into());
        let changed = tokio::select! {
            () = leaving, if leave.is_some() => Ok(()),
            changed = sources.surroundings.changed() => changed,
            changed = sources.used.changed() => changed,
            changed = sources.addresses.changed() => changed,
            changed = sources.uplink_mtu.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// What has to be told: devices before what is on them, and what is on them before they go.
fn changes(standing: &BTreeMap<ObjectKey, Wanted>, wanted: &BTreeMap<ObjectKey, Wanted>) -> Vec<Wanted> {
    let gone = standing.keys().rev().filter(|key| !wanted.contains_key(*key)).map(|key| key.unwanted());
    let new = wanted.iter().filter(|(key, value)| standing.get(*key) != Some(*value));
    gone.chain(new.map(|(_, value)| value.clone())).collect()
}
