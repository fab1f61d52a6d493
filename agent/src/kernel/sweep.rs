//! When routes of an earlier run may be removed.
//!
//! At start the kernel's own routes are adopted, not flushed: packets keep flowing while sessions come back. What
//! nobody has asked for is swept once every peer has said all it had (End-of-RIB), or after a peer's usual restart
//! time, and never before the API server has said which blocks are ours.

use std::collections::BTreeSet;
use std::time::Duration;

use caracal_bgp::speaker::Handle;
use caracal_bgp::{Family, PeerKey};
use caracal_linux::kernel::Kernel;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use crate::cluster::Cluster;

/// How long peers have to come back: the restart time most speakers use.
const RESTART_TIME: Duration = Duration::from_secs(120);
/// How often the state is looked at while nothing is heard.
const LOOK: Duration = Duration::from_secs(1);

/// Releases the sweep once, then returns.
pub async fn release_when_due(
    kernel: Kernel,
    speaker: Handle,
    cluster: Cluster,
    mut ended: mpsc::Receiver<(PeerKey, Family)>,
) {
    let due = Instant::now() + RESTART_TIME;
    let mut heard = BTreeSet::new();
    let mut blocks = cluster.own_blocks.clone();
    loop {
        let synced = blocks.borrow().synced && cluster.network_nodes.borrow().synced;
        if synced && (Instant::now() >= due || complete(&speaker, &heard).await) {
            if kernel.release_sweep().await.is_err() {
                return;
            }
            info!("routes that nobody asked for since the start are swept");
            break;
        }
        tokio::select! {
            end = ended.recv() => match end {
                Some(end) => drop(heard.insert(end)),
                None => return,
            },
            changed = blocks.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    while ended.recv().await.is_some() {}
}

/// Whether every configured peer has said all it had, in every family negotiated with it.
async fn complete(speaker: &Handle, heard: &BTreeSet<(PeerKey, Family)>) -> bool {
    let Ok(peers) = speaker.peers().await else { return false };
    !peers.is_empty()
        && peers.iter().all(|peer| {
            peer.is_established() && peer.families.iter().all(|family| heard.contains(&(peer.key, family)))
        })
}
